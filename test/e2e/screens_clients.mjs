// Clients and signing keys, as administrators see them. It comes after the
// overview, which sets the other Latchkey up.
export async function clients({ browser, options, m, at, look, logIn, base, setup, user }) {
  const bare = new URL(setup).origin;
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const first = await context.newPage();
  await first.goto(`${bare}/login`);
  await logIn(first, user);
  await first.waitForURL(`${bare}/`);
  await at(first, 'admin-clients-empty', `${bare}/admin/clients`);
  await context.close();

  await at(m, 'admin-clients', `${base}/admin/clients`);
  await at(m, 'admin-clients-second', `${base}/admin/clients?next=client-49`);
  await at(m, 'admin-connect', `${base}/admin/connect`);
  await at(m, 'admin-connect-app', `${base}/admin/connect/grafana`);
  await m.fill('#client_uri', 'https://grafana.example.org/?not=this');
  await m.click('#connect button');
  await m.waitForSelector('#client_uri-problem');
  await look(m, 'admin-connect-error');
  await m.fill('#client_uri', 'grafana.example.org');
  await m.click('#connect button');
  await m.waitForSelector('#secret');
  await m.evaluate(() => { // what differs each time
    for (const e of document.querySelectorAll('code, pre')) e.textContent = e.textContent.replace(/lks_[\w-]{43}/, `lks_${'A-secret-of-43-characters'.repeat(2).slice(0, 43)}`);
  });
  await look(m, 'admin-client-secret');
  await at(m, 'admin-connect-web', `${base}/admin/connect/web`);
  await m.goto(`${base}/admin/clients/everything`);
  await m.click('details.more > summary');
  await m.fill('#access_ttl', 'soon');
  await m.click('#client > button');
  await m.waitForSelector('#access_ttl-problem');
  await m.evaluate(() => { for (const e of document.querySelectorAll('details')) e.open = true; });
  await look(m, 'admin-client-error');
  await at(m, 'admin-client-app', `${base}/admin/clients/audiobookshelf`);
  await at(m, 'admin-client-configured', `${base}/admin/clients/shelf`);
  await at(m, 'admin-client-built-in', `${base}/admin/clients/latchkey-app`);
  await at(m, 'admin-keys', `${base}/admin/keys`);
}
