// An administrator invites somebody, who chooses a password in another browser,
// logs in, and is disabled; then the session of the person's phone is ended.
// Without JavaScript.
//   node office_people.mjs '{"base", "password"}'
import { strict as assert } from 'node:assert';
import { open, withBrowser } from './browser.mjs';

const { base, password } = JSON.parse(process.argv[2]);
const chosen = 'three quiet words more';

// refresh is a refresh of the phone, and what it is told.
async function refresh(token) {
  const res = await fetch(`${base}/auth/refresh`, { method: 'POST', headers: { 'x-refresh-token': token } });
  const body = await res.json();
  return { status: res.status, code: body.code, token: body.user?.refreshToken };
}

async function phoneLogin() {
  const res = await fetch(`${base}/login`, {
    method: 'POST', headers: { 'content-type': 'application/json', 'x-return-tokens': 'true', 'user-agent': 'Shelf/2.0' },
    body: JSON.stringify({ username: 'ben', password: chosen }),
  });
  return { status: res.status, token: res.ok ? (await res.json()).user.refreshToken : '' };
}

await withBrowser(async (browser) => {
  const quiet = { javaScriptEnabled: false };
  const { page, done } = await open(browser, base, quiet);
  const logIn = async (at, name, secret) => {
    await at.fill('#username', name);
    await at.fill('#password', secret);
    await at.click('#log-in');
  };
  await page.goto(`${base}/admin/users/new`);
  await logIn(page, 'root', password);
  await page.waitForURL(`${base}/admin/users/new`);
  await page.fill('#username', 'root');
  await page.fill('#name', 'Ben');
  await page.click('text=Make this user');
  assert.match(await page.innerText('#username-problem'), /taken/);
  assert.equal(await page.inputValue('#name'), 'Ben');
  await page.fill('#username', 'ben');
  await page.click('text=Make this user');
  const link = await page.innerText('code[data-copy]');

  const other = await open(browser, base, quiet);
  await other.page.goto(link);
  await other.page.fill('#password', chosen);
  await other.page.press('#password', 'Enter');
  await other.page.waitForURL(/password=set/);
  await logIn(other.page, 'ben', chosen);
  await other.page.waitForURL(`${base}/`);

  await page.click('text=Go on to the account');
  const user = page.url();
  await page.click('summary:has-text("Disable the account")');
  assert.match(await page.innerText('details[open]'), /Ben can no longer log in/);
  await page.click('button:has-text("Disable the account")');
  await page.waitForURL(`${user}?done=disabled`);
  await other.page.goto(`${base}/account`);
  assert.match(await other.page.innerText('.note'), /disabled by an administrator/);
  assert.equal((await phoneLogin()).status, 401);
  await page.click('text=Enable the account');
  await page.waitForURL(`${user}?done=enabled`);

  const phone = await phoneLogin();
  assert.equal(phone.status, 200);
  await page.goto(`${base}/admin/sessions?user=ben&state=live`);
  await page.click('tbody a');
  assert.equal(await page.innerText('h1'), 'Shelf');
  await page.click('summary:has-text("End this session")');
  await page.click('button:has-text("End this session")');
  await page.waitForURL(/done=ended/);
  const refused = await refresh(phone.token);
  assert.equal(refused.status, 401);
  assert.equal(refused.code, 'revoked_by_admin');
  await other.done();
  await done();
});
