// A person logs in to Latchkey's own pages through the IdP, and out again.
//   node web.mjs '{"base", "op", "javaScript", "shots"}'
import { strict as assert } from 'node:assert';
import { logInAtOP, lookAt, open, withBrowser } from './browser.mjs';

const { base, op, javaScript, shots } = JSON.parse(process.argv[2]);

await withBrowser(async (browser) => {
  const { page, context, done } = await open(browser, base, { javaScriptEnabled: javaScript });
  const cookies = async () => (await context.cookies(base)).map((c) => c.name).filter((n) => n === 'refresh_token' || n.endsWith('latchkey_session'));

  await page.goto(`${base}/`);
  assert.equal(page.url(), `${base}/login`, 'a stranger at / is sent to the login');
  if (shots) await lookAt(page, 'login');
  await page.click('text=Continue with The Test IdP');
  await logInAtOP(page, op, 'anna');
  await page.waitForURL(`${base}/`);
  assert.equal(await page.innerText('h1'), 'Hello Anna Example');
  assert.match(await page.innerText('dl'), /anna@example\.org/);
  assert.match(await page.innerText('dl'), /through The Test IdP/);
  assert.equal((await cookies()).length, 2, 'both cookies of the session are set');
  if (shots) await lookAt(page, 'home');

  await page.goto(`${base}/login?switch=1`);
  assert.match(await page.innerText('.who'), /You are logged in as Anna Example/);
  if (shots) await lookAt(page, 'login-switch');
  await page.click('text="Continue"');
  await page.waitForURL(`${base}/`);
  await page.goto(`${base}/login`);
  assert.equal(page.url(), `${base}/`, 'whoever is logged in needs no login');

  // The form leads on to the IdP's own logout, which form-action must permit.
  await page.click('text=Log out');
  await page.waitForURL((url) => url.origin === op);
  await page.click('text=Yes, sign me out');
  await page.waitForURL(`${base}/login`);
  assert.deepEqual(await cookies(), [], 'the cookies are gone');
  await page.goto(`${base}/login?ended=logged_out`);
  assert.match(await page.innerText('.note'), /You logged out on this device\./);
  if (shots) await lookAt(page, 'login-ended');
  await page.goto(`${base}/`);
  assert.equal(page.url(), `${base}/login`, 'the session is over');

  // The IdP's session is over too: it asks who is there, and may be told that nobody is.
  await page.click('text=Continue with The Test IdP');
  await page.waitForURL((url) => url.origin === op);
  await page.click('text=Cancel');
  await page.waitForURL((url) => url.origin === new URL(base).origin);
  assert.equal(await page.innerText('h1'), 'Log in', 'what the IdP refuses leads to the other ways in');
  assert.match(await page.innerText('.note'), /The Test IdP refused the login\./);
  if (shots) await lookAt(page, 'login-refused');
  await done();
});
