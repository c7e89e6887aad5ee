// Second factors: the room where they are set up, the second step of a login, the
// passkey on the login page, and the pages of a forgotten password.
import { oneTimeCode, passkeysOf } from './authenticator.mjs';

const password = (name) => `password of ${name}`;

export default async function factors({ browser, options, at, look, logIn, base, mail, codes, now, m }) {
  const room = `${base}/account/factors`;
  const stranger = async (run) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    await run(await context.newPage());
    await context.close();
  };
  const begin = async (page, name) => {
    await page.goto(`${base}/login`);
    await logIn(page, name, password(name));
  };
  const said = (page, selector = '[role=alert]:not([hidden])') => page.waitForSelector(selector);

  let secret;
  await stranger(async (page) => {
    await begin(page, 'starter');
    await page.waitForURL(`${base}/`);
    await at(page, 'account-factors', room);
    await page.fill('#proof-app', 'wrong');
    await page.press('#proof-app', 'Enter');
    await said(page);
    await look(page, 'account-factors-error');
    await page.goto(room);
    const device = await passkeysOf(page);
    await device.answer(false);
    await page.fill('#passkey-name', 'Laptop');
    await page.fill('#proof-passkey', password('starter'));
    await page.press('#proof-passkey', 'Enter');
    await said(page, '#new-passkey > [role=alert]:not([hidden])');
    await look(page, 'account-factors-refused');

    await page.goto(room);
    await page.fill('#proof-app', password('starter'));
    await page.press('#proof-app', 'Enter');
    await look(page, 'account-factors-app');
    secret = await page.innerText('#totp-secret');
    await page.fill('#code', '000000');
    await page.press('#code', 'Enter');
    await said(page);
    await look(page, 'account-factors-app-error');
    await page.fill('#code', oneTimeCode(secret, now));
    await page.press('#code', 'Enter');
    await page.waitForSelector('#recovery-codes');
    await page.evaluate(() => { // what differs each time
      const shown = document.querySelector('#recovery-codes');
      shown.textContent = shown.textContent.replace(/\w/g, (_, i) => 'kq7mwz3hd5tn'[i % 12]);
    });
    await look(page, 'account-factors-codes');
  });
  await stranger(async (page) => {
    await begin(page, 'starter');
    await page.waitForURL(/\/login\/second/);
    await look(page, 'second');
    await page.fill('#code', '000000');
    await page.press('#code', 'Enter');
    await said(page);
    await look(page, 'second-error');

    await begin(page, 'holder');
    await page.waitForURL(/\/login\/second/);
    await look(page, 'second-passkey');
    await passkeysOf(page);
    await page.click('#use-passkey');
    await said(page);
    await look(page, 'second-passkey-error');
    await page.goto(`${base}/login`);
    await page.click('#use-passkey');
    await said(page);
    await look(page, 'login-passkey-error');

    await begin(page, 'guarded');
    await page.waitForURL(/\/login\/second/);
    await look(page, 'second-both');
    await page.fill('#code', codes[0]);
    await page.press('#code', 'Enter');
    await page.waitForURL(`${base}/`);
    await at(page, 'account-factors-all', room);
    await page.evaluate(() => document.querySelectorAll('details').forEach((d) => { d.open = true; }));
    await look(page, 'account-factors-ask');
    await m.request.get(`${base}/test/later`);
    await at(page, 'account-password-code', `${base}/account/password`);
  });
  await stranger(async (page) => {
    await page.goto(`${base}/login`);
    await logIn(page, 'kiosk');
    await page.waitForURL(`${base}/`);
    await at(page, 'account-factors-guest', room);
  });
  await stranger(async (page) => {
    await at(page, 'login-forgotten', `${mail}/login`);
    await at(page, 'forgotten', `${mail}/login/forgotten`);
    await page.fill('#account', '   ');
    await page.press('#account', 'Enter');
    await said(page);
    await look(page, 'forgotten-error');
    await page.fill('#account', 'root');
    await page.press('#account', 'Enter');
    await page.waitForURL(/done=asked/);
    await look(page, 'forgotten-sent');
    await at(page, 'password-dead', `${mail}/password?token=${'x'.repeat(43)}`);
    await page.click('main a.button');
    await page.waitForURL(`${mail}/login/forgotten`);
  });
}
