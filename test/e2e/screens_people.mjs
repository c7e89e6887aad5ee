// Users and sessions, as administrators see them.
const show = (page) => page.evaluate(() => { for (const e of document.querySelectorAll('details')) e.open = true; });

export async function people({ m, at, look, base }) {
  const users = `${base}/admin/users`;
  const sessions = `${base}/admin/sessions`;
  await at(m, 'admin-users', users);
  await at(m, 'admin-users-none', `${users}?search=nobody-at-all`);
  await at(m, 'admin-user-new', `${users}/new`);
  await m.fill('#username', 'root');
  await m.fill('#email', 'root@home');
  await m.click('main form button');
  await m.waitForSelector('#username-problem');
  await look(m, 'admin-user-new-error');
  await m.fill('#username', 'invited');
  await m.click('main form button');
  await m.waitForSelector('[data-copy]');
  await m.evaluate(() => { document.querySelector('[data-copy]').textContent = 'https://id.example.org/password?token=a-secret-of-forty-three-characters-or-so-x'; });
  await look(m, 'admin-user-invited');
  await m.click('main a.secondary');
  await m.waitForSelector('#logins');
  await look(m, 'admin-user-empty');
  for (const [name, search] of [['admin-user', 'z-'], ['admin-user-disabled', 'disabled'], ['admin-user-root', 'root']]) {
    await m.goto(`${users}?search=${search}`);
    await m.click('tbody a');
    await m.waitForSelector('#logins');
    await look(m, name);
    if (name !== 'admin-user') continue;
    await show(m);
    await look(m, 'admin-user-open');
  }
  await at(m, 'admin-sessions', sessions);
  await at(m, 'admin-sessions-none', `${sessions}?user=nobody-at-all`);
  await m.goto(`${sessions}?client=shelf&state=live`);
  await show(m);
  await look(m, 'admin-sessions-client');
  await m.click('tbody a');
  await m.waitForSelector('#timeline');
  await show(m);
  await look(m, 'admin-session');
  await m.goto(`${sessions}?cause=token_reused`);
  await m.click('tbody a');
  await m.waitForSelector('#timeline');
  await look(m, 'admin-session-reused');
}
