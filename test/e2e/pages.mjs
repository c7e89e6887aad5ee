// Setup and login by keyboard alone, without JavaScript, and the looks of every
// page.
//   node pages.mjs '{"base", "setup", "bare", "name", "password"}'
import { strict as assert } from 'node:assert';
import { focused, lookAt, open, tabTo, withBrowser } from './browser.mjs';

const { base, setup, bare, name, password } = JSON.parse(process.argv[2]);

await withBrowser(async (browser) => {
  const { page, done } = await open(browser, base, { javaScriptEnabled: false });
  const type = (text) => page.keyboard.type(text);
  const cursorIn = (id) => page.waitForSelector(`#${id}:focus`); // autofocus comes a moment after the page

  // Setup: the cursor is in the first field.
  await page.goto(setup);
  await cursorIn('username');
  assert.equal(await focused(page), 'username');
  await lookAt(page, 'setup');
  await page.goto(setup);
  await cursorIn('username');
  await type(name);
  await tabTo(page, 'password');
  await type(name); // the one password that is refused
  await page.keyboard.press('Enter');
  await page.waitForSelector('.note.bad');
  await cursorIn('password');
  assert.equal(await page.inputValue('#username'), name, 'the name is kept');
  assert.equal(await page.inputValue('#password'), '', 'the password is not');
  await lookAt(page, 'setup-error');
  await page.focus('#password');
  await type(password);
  await tabTo(page, 'Create the administrator');
  await page.keyboard.press('Enter');
  await page.waitForURL(`${base}/admin/setup`);
  assert.equal(await page.innerText('h1'), 'Set up Latchkey');
  await lookAt(page, 'admin-setup');
  await page.goto(`${base}/`);
  assert.equal(await page.innerText('h1'), `Hello ${name}`);
  await lookAt(page, 'home-long-name');
  await page.goto(setup);
  await lookAt(page, 'setup-done');
  assert.equal(await page.innerText('h1'), 'Already set up', 'the link works once');

  // Log out and in.
  await page.goto(`${base}/`);
  await tabTo(page, 'log-out');
  await page.keyboard.press('Enter');
  await page.waitForURL(/ended=logged_out/);
  await page.goto(`${base}/login`);
  await lookAt(page, 'login-many');
  await page.goto(`${base}/login`);
  await tabTo(page, 'username');
  await type(name);
  await tabTo(page, 'password');
  await type('wrong');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.note.bad');
  await cursorIn('password');
  assert.equal(await page.inputValue('#username'), name);
  await lookAt(page, 'login-wrong');
  await page.focus('#password');
  await type(password);
  await tabTo(page, 'log-in');
  await page.keyboard.press('Enter');
  await page.waitForURL(`${base}/`);

  // An IdP that is dark.
  await page.goto(`${base}/login?switch=1`);
  await lookAt(page, 'login-switch-many');
  await page.goto(`${base}/login?switch=1`);
  await tabTo(page, 'Continue with Dark');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.note.bad');
  assert.match(await page.innerText('.note.bad'), /Dark does not answer at the moment/);
  await lookAt(page, 'login-dark');

  await page.goto(`${base}/nothing/here`);
  assert.equal(await page.innerText('h1'), 'Not found');
  await lookAt(page, 'error');
  await page.goto(`${base}/auth/dark/callback?state=used&code=used`);
  await lookAt(page, 'error-login');
  await tabTo(page, 'Log in again');
  await done();

  // No way in at all.
  const nobody = await open(browser, bare, { javaScriptEnabled: false });
  await nobody.page.goto(`${bare}/login`);
  await lookAt(nobody.page, 'login-none');
  await nobody.done();
});
