// A person logs in to clients through Latchkey, with every page on the way.
//   node oauth.mjs '{"base", "door", "op", "site", "plain", "loopback", "password", "javaScript", "shots"}'
// base and door are two Latchkeys, the second one over plain http at a name that
// is not localhost. site is a client's server over https, plain the same over
// http, loopback the same by its address; see clientSite.
import { strict as assert } from 'node:assert';
import { createHash } from 'node:crypto';
import { focused, logInAtOP, lookAt, open, tabTo, withBrowser } from './browser.mjs';

const { base, door, op, site, plain, loopback, password, javaScript, shots } = JSON.parse(process.argv[2]);
const verifier = 'a-verifier-of-forty-three-characters-or-more';
const back = { shelf: `${site}/cb`, asking: `${site}/asking`, hostile: `${site}/hostile`, strict: `${site}/strict`, home: `${plain}/cb`, loop: `${loopback}/cb`, native: 'app.one:/oauth' };

const authorize = (client, differ = {}) => `${base}/oauth2/authorize?${new URLSearchParams({
  client_id: client, redirect_uri: back[client], response_type: 'code', scope: 'openid profile email', state: 'a state', nonce: 'a nonce',
  code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256', ...differ,
})}`;

async function token(fields) {
  const res = await fetch(`${base}/oauth2/token`, { method: 'POST', body: new URLSearchParams(fields) });
  return { status: res.status, ...await res.json() };
}
const redeem = (client, code) => token({ grant_type: 'authorization_code', client_id: client, code, redirect_uri: back[client], code_verifier: verifier });

await withBrowser(async (browser) => {
  const { page, context, done } = await open(browser, base, { javaScriptEnabled: javaScript, ignoreHTTPSErrors: true });
  const heading = () => page.innerText('h1');
  const look = async (name, at = page) => { if (shots) await lookAt(at, `oauth-${name}`, [360, 1280]); };
  // arrived waits at a client's page and returns what it was sent, and how.
  const arrived = async (client, at = page) => {
    await at.waitForURL((url) => url.href.split('?')[0] === back[client]);
    const got = Object.fromEntries(new URLSearchParams(await at.innerText('#got')));
    assert.equal(got.state, 'a state');
    assert.equal(got.iss, base);
    return got;
  };
  const logIn = async (at = page) => {
    await at.fill('#username', 'root');
    await at.fill('#password', password);
    await at.click('#login #log-in');
  };
  const forget = () => context.clearCookies();
  // posts sends a form of a client's own site, without our cookies.
  const posts = async (path, fields) => {
    await page.goto(`${plain}/post?${new URLSearchParams({ to: base + path, ...fields })}`);
    await page.click('#go');
  };
  // inApp does what ends in an app, on a page of its own: Chromium leaves that
  // standing under a dialog.
  const inApp = async (uri, todo) => {
    const own = await context.newPage();
    const called = own.waitForEvent('requestfailed', (request) => request.url().startsWith(uri));
    await todo(own);
    assert.equal((await called).failure().errorText, 'net::ERR_ABORTED'); // handed over to the system
    await own.close();
  };

  // By password, over https.
  await page.goto(authorize('shelf'));
  assert.equal(await heading(), 'Continue to Shelf');
  assert.equal(await page.innerText('.where'), `at ${new URL(site).host}`);
  assert.equal(await page.locator('#continue').count(), 0);
  await look('login');
  await logIn();
  const first = await arrived('shelf');
  assert.equal(first.method, 'GET');
  const tokens = await redeem('shelf', first.code);
  assert.equal(tokens.status, 200, JSON.stringify(tokens));

  // Silently, and again by force: no way past the login.
  await page.goto(authorize('shelf'));
  assert.ok((await arrived('shelf')).code);
  await page.goto(authorize('shelf', { prompt: 'login' }));
  assert.match(await page.innerText('.who'), /You are logged in as root, but the app asks you to log in once more\./);
  assert.equal(await page.locator('#continue').count(), 0, 'a forced login offers no way past it');
  await page.waitForSelector('#password:focus');
  assert.equal(await page.inputValue('#username'), 'root');
  await look('login-again');
  await page.fill('#password', 'wrong');
  await page.click('#log-in');
  await page.waitForSelector('.note.bad');
  assert.match(await page.innerText('.who'), /once more/);
  await page.waitForSelector('#password:focus');
  await page.keyboard.type(password);
  await page.keyboard.press('Enter');
  assert.ok((await arrived('shelf')).code);

  // Which account.
  await page.goto(authorize('shelf', { prompt: 'select_account' }));
  await look('login-choose');
  await page.click('#continue');
  assert.ok((await arrived('shelf')).code);

  // Consent, refused and given, by keyboard.
  const everything = 'openid profile email groups latchkey:api latchkey:admin shelf:read shelf:write';
  await page.goto(authorize('asking', { scope: everything, prompt: 'consent' }));
  assert.match(await heading(), /^Continue to Volkshochschule .*\?$/);
  assert.equal(await page.locator('#consent li').count() + await page.locator('main li').count(), 6);
  await look('consent');
  await tabTo(page, 'deny');
  await page.keyboard.press('Enter');
  const denied = await arrived('asking');
  assert.equal(denied.error, 'access_denied');
  await page.goto(authorize('asking', { scope: everything, prompt: 'consent' }));
  const consent = page.url();
  await page.click('text=Use another account');
  assert.match(await page.innerText('.who'), /You are logged in as root\./);
  await page.click('#continue');
  await tabTo(page, 'allow');
  assert.equal(await focused(page), 'allow');
  await page.keyboard.press('Enter');
  const granted = await arrived('asking');
  assert.ok(granted.code);
  await page.goto(consent);
  assert.equal(await heading(), 'This login is over');
  await look('finished');
  await page.goto(authorize('asking', { scope: 'openid' }));
  assert.ok((await arrived('asking')).code, 'a consent is remembered');

  // To a program on this device: a scheme of its own.
  await inApp('app.one:/oauth?code=', async (own) => {
    await own.goto(authorize('native', { scope: 'openid' }));
    assert.equal(await own.innerText('.where'), 'an app on this device');
    await look('consent-app', own);
    await own.click('#allow');
  });

  // Names that want to be more than names.
  await page.goto(authorize('hostile'));
  await look('consent-hostile');
  assert.match(await heading(), /"><svg onload=alert\(1\)>/);

  // Logout: asked for where nothing proves it.
  const out = `${base}/oauth2/logout?${new URLSearchParams({ client_id: 'shelf', post_logout_redirect_uri: `${site}/out`, state: 'bye' })}`;
  await page.goto(out);
  await look('logout');
  await page.click('#stay');
  await page.waitForURL(`${base}/`);
  await page.goto(out);
  await page.click('#logout #log-out');
  await page.waitForURL(`${site}/out?state=bye`);
  await page.goto(`${base}/oauth2/logout`);
  await page.waitForURL(`${base}/login?ended=logged_out`);
  await look('logged-out');

  // A hint; over plain http; by forms of that site, a login again and a logout with a proof.
  await page.goto(authorize('home', { login_hint: 'root' }));
  assert.equal(await page.inputValue('#username'), 'root');
  await page.waitForSelector('#password:focus');
  await look('login-hint');
  await page.focus('#password');
  await page.keyboard.type(password);
  await page.keyboard.press('Enter');
  const { id_token: hint } = await redeem('home', (await arrived('home')).code);
  const again = Object.fromEntries(new URL(authorize('home', { prompt: 'none', id_token_hint: hint })).searchParams);
  await posts('/oauth2/authorize', again);
  assert.ok((await arrived('home')).code);
  await posts('/oauth2/authorize', { ...again, prompt: 'login' });
  await logIn();
  assert.ok((await arrived('home')).code);
  await posts('/oauth2/logout', { id_token_hint: hint, post_logout_redirect_uri: `${plain}/out` });
  await page.waitForURL(`${plain}/out`);
  await page.goto(`${base}/`);
  assert.equal(page.url(), `${base}/login`, 'nobody is logged in');

  // To clients that lead on at once: to another host, and into their app.
  await page.goto(authorize('shelf', { redirect_uri: `${site}/on/web` }));
  await logIn();
  await page.waitForURL((url) => url.pathname === '/led-on');
  await forget();
  await inApp('shelf-app://oauth', async (own) => {
    await own.goto(authorize('shelf', { redirect_uri: `${site}/on/app` }));
    await logIn(own);
  });
  await forget();

  // To a loopback address; then as a form.
  await page.goto(authorize('loop'));
  assert.equal(await page.innerText('.where'), 'an app on this device');
  await logIn();
  assert.ok((await arrived('loop')).code);
  await page.goto(authorize('shelf', { response_mode: 'form_post' }));
  if (!javaScript) {
    await look('form-post');
    await page.click('#continue');
  }
  const posted = await arrived('shelf');
  assert.equal(posted.method, 'POST');
  assert.ok(posted.code);
  await forget();
  await page.goto(authorize('shelf', { response_mode: 'form_post' })); // straight from the login form
  await logIn();
  if (!javaScript) await page.click('#continue');
  assert.equal((await arrived('shelf')).method, 'POST');

  // A device, its code typed as people type.
  const device = async () => (await fetch(`${base}/oauth2/device_authorization`, { method: 'POST', body: new URLSearchParams({ client_id: 'tv', scope: 'openid profile' }) })).json();
  await forget();
  const tv = await device();
  await page.goto(tv.verification_uri);
  assert.equal(await heading(), 'Log in to connect a device');
  await look('device-login');
  await logIn();
  await page.waitForSelector('#user_code:focus');
  await look('device');
  await page.focus('#user_code');
  await page.keyboard.type('nothing');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.note.bad');
  await page.waitForSelector('#user_code:focus');
  await look('device-unknown');
  await page.fill('#user_code', ` ${tv.user_code.replace('-', '').toLowerCase()}`);
  await page.click('#device #continue');
  assert.equal(await heading(), 'Connect Living room TV?');
  assert.equal(await page.innerText('p.user-code'), tv.user_code);
  await look('device-ask');
  await page.click('#device-decision #allow');
  await page.waitForURL(`${base}/device?done=allowed`);
  assert.equal(await heading(), 'Device connected');
  await look('device-done');
  const seen = await token({ grant_type: 'urn:ietf:params:oauth:grant-type:device_code', client_id: 'tv', device_code: tv.device_code });
  assert.equal(seen.status, 200, JSON.stringify(seen));
  const other = await device();
  await page.goto(other.verification_uri_complete);
  assert.equal(await page.innerText('p.user-code'), other.user_code);
  await page.click('#deny');
  await page.waitForURL(`${base}/device?done=denied`);
  assert.equal(await heading(), 'Device not connected');
  assert.equal((await token({ grant_type: 'urn:ietf:params:oauth:grant-type:device_code', client_id: 'tv', device_code: other.device_code })).error, 'access_denied');

  // Only the way that the client takes; root's password is none.
  await page.goto(authorize('strict'));
  assert.equal(await page.locator('#login').count(), 0);
  assert.equal(await page.locator('#continue').count(), 0);
  await look('login-only');
  await page.goto(authorize('strict', { prompt: 'select_account' }));
  assert.equal(await page.locator('#continue').count(), 0, 'an account that does not do is not offered');
  await page.goto(authorize('strict'));
  await page.click('text=Continue with The Test IdP');
  await logInAtOP(page, op, 'anna');
  assert.ok((await arrived('strict')).code);

  // An app that is set up wrongly: the page leads nowhere but to us.
  const leads = async () => [...new Set(await page.locator('a').evaluateAll((all) => all.map((a) => a.origin)))];
  await page.goto(authorize('nobody', { redirect_uri: 'https://evil.test/' }));
  assert.equal(await heading(), 'This app is not set up correctly');
  assert.deepEqual(await leads(), [base]);
  await look('error-client');
  await page.goto(authorize('shelf', { redirect_uri: 'https://evil.test/' }));
  assert.deepEqual(await leads(), [base]);
  assert.match(await page.innerText('main'), /not registered/);
  await look('error-redirect');
  await page.goto(`${base}/oauth2/logout?client_id=nobody`);
  await look('error-logout');
  await page.click('text=Log out here');
  assert.equal(await heading(), 'Log out?');

  // A popup, from another origin: it keeps its opener to the end.
  if (javaScript) {
    for (const way of ['password', 'IdP']) {
      await forget();
      await page.goto(`${site}/`);
      const opened = page.waitForEvent('popup');
      await page.evaluate((url) => { window.popup = window.open(url); }, authorize('asking', { prompt: 'consent' }));
      const popup = await opened;
      if (way === 'password') {
        await logIn(popup);
      } else {
        await popup.click('text=Continue with The Test IdP');
        await logInAtOP(popup, op, 'anna');
      }
      assert.equal(await page.evaluate(() => window.popup.closed), false, `${way}: the popup is cut off`);
      await popup.dblclick('#allow'); // the second click spoils nothing
      await arrived('asking', popup);
      assert.equal(await popup.evaluate(() => window.opener?.location.pathname), '/', `${way}: the popup has lost its opener`);
      await popup.evaluate(() => window.close());
      await page.waitForFunction(() => window.popup.closed);
    }
  }
  await done();

  // Over plain http a browser tells us less of where a form comes from.
  const insecure = await open(browser, door, { javaScriptEnabled: javaScript });
  await insecure.page.goto(`${door}/login`);
  await logIn(insecure.page);
  await insecure.page.waitForURL(`${door}/`);
  await insecure.page.click('text=Log out');
  await insecure.page.waitForURL(`${door}/login?ended=logged_out`);
  await insecure.done();
}, ['--host-resolver-rules=MAP *.test 127.0.0.1']);
