// An administrator connects an identity provider on the pages, without
// JavaScript, and somebody logs in through it.
//   node providers.mjs '{"base", "wrong", "right", "secret", "password"}'
// wrong is an OP that knows another redirect URI of the client, right is one that
// knows ours.
import { strict as assert } from 'node:assert';
import { open, withBrowser } from './browser.mjs';

const { base, wrong, right, secret, password } = JSON.parse(process.argv[2]);

await withBrowser(async (browser) => {
  const { page, done } = await open(browser, base, { javaScriptEnabled: false });
  const text = () => page.innerText('main');
  const press = async (selector) => { await page.click(selector); await page.waitForLoadState(); };
  await page.goto(`${base}/login?next=/admin/providers`);
  await page.fill('#username', 'root');
  await page.fill('#password', password);
  await press('#log-in');
  assert.match(await text(), /An identity provider knows who people are/);

  await press('#new-provider');
  await page.check('#kind-oidc');
  await page.fill('#name', 'The Test IdP');
  await page.fill('#id', 'npm');
  await press('#next');
  for (const uri of ['/auth/npm/callback', '/login', '/auth/npm/backchannel-logout']) {
    assert.ok((await page.content()).includes(`>${base}${uri}</code>`), uri);
  }
  await page.fill('#issuer', wrong);
  await page.fill('#client_id', 'latchkey');
  await page.fill('#client_secret', secret);
  await press('#save');
  assert.match(await page.innerText('#issuer-problem'), /private address/);
  assert.equal(await page.inputValue('#client_id'), 'latchkey');
  assert.equal(await page.inputValue('#client_secret'), '');
  await page.fill('#client_secret', 'another secret');
  await page.click('details.more summary:text("More settings")');
  await page.check('#allow_private');
  await press('#save');
  assert.match(page.url(), /\/admin\/providers\/npm\?done=created-wrong$/);

  const step = (title) => page.innerText(`.findings li:has(strong:text-is("${title}"))`);
  assert.match(await step('Redirect URI'), new RegExp(`wrong\\s+It refused the request with the status 400. Probably the redirect URI ${base}/auth/npm/callback is not registered there`));
  assert.match(await step('Client secret'), /wrong\s+It refused the client id or the secret: invalid_client/);
  assert.match(await step('Issuer'), /good/);

  await page.goto(`${base}/admin/setup`);
  assert.equal(await page.innerText('#provider .pill'), 'to do');
  assert.match(await page.innerText('#provider'), /The Test IdP refuses the client id or the secret. Copy both from there once more/);
  await page.goto(`${base}/admin/providers/npm`);

  await page.fill('#issuer', right);
  await press('#save');
  assert.match(await page.innerText('#client_secret-problem'), /needed again/);
  await page.fill('#client_secret', secret);
  await press('#save');
  assert.match(page.url(), /done=changed$/);
  await press('#check');
  assert.equal(await page.locator('.findings .bad').count(), 0, await text());
  await page.goto(`${base}/admin/setup`);
  assert.equal(await page.innerText('#provider .pill'), 'done');
  assert.match(await page.innerText('#provider'), /The Test IdP takes the client id and the secret/);
  await page.goto(`${base}/admin/providers/npm`);
  await press('#check');
  for (const title of ['Discovery', 'Issuer', 'Authorization code flow', 'PKCE', 'Keys', 'Clock', 'Logout there', 'Redirect URI', 'Client secret']) {
    assert.match(await step(title), /good/, title);
  }

  await page.fill('#claims', '{"sub": "anna", "preferred_username": "anna", "email": "anna@example.org", "email_verified": false}');
  await press('#dry-run');
  assert.match(await text(), /The login is refused: the e-mail address is not verified/);
  await done();

  const other = await open(browser, base, { javaScriptEnabled: false });
  const p = other.page;
  await p.goto(`${base}/login`);
  await p.click('text=The Test IdP');
  await p.fill('input[name=login]', 'anna');
  await p.fill('input[name=password]', 'anything');
  await p.click('button[type=submit]');
  await p.click('button[type=submit]'); // the OP's consent
  await p.waitForURL(`${base}/**`);
  assert.match(await p.innerText('main'), /You are logged in/);
  await other.context.close(); // what the OP's own pages say is not ours
});
