// A person makes a passkey in Chromium, logs in by it, uses it as the second step,
// refuses it, meets another one's, and removes it.
//   node passkeys.mjs '{"base", "password"}'
import { strict as assert } from 'node:assert';
import { passkeysOf } from './authenticator.mjs';
import { open, withBrowser } from './browser.mjs';

const { base, password } = JSON.parse(process.argv[2]);
const room = `${base}/account/factors`;

await withBrowser(async (browser) => {
  const typed = async (page, name) => {
    await page.goto(`${base}/login`);
    await page.fill('#username', name);
    await page.fill('#password', password);
    await page.click('#log-in');
  };
  const make = async (page, name, proof) => {
    await page.goto(room);
    await page.fill('#passkey-name', name);
    await page.fill('#proof-passkey', proof);
    await page.click('#new-passkey button');
  };
  const wrong = async (page, form) => {
    const at = page.locator(`${form} > [role=alert]:not([hidden])`);
    await at.waitFor();
    assert.ok(await page.locator(`${form} button`).isEnabled(), 'it can be tried again');
    return at.innerText();
  };
  const amr = async (page) => { // of the session, in its access token
    const answer = await page.request.post(`${base}/auth/refresh`, { headers: { Origin: base } });
    if (!answer.ok()) return null;
    return JSON.parse(Buffer.from((await answer.json()).user.accessToken.split('.')[1], 'base64url')).amr.join(' ');
  };
  const begin = async (name) => {
    const { page, context, done } = await open(browser, base);
    const device = await passkeysOf(page);
    await typed(page, name);
    await page.waitForURL(`${base}/`);
    return { page, context, done, device };
  };

  const anna = await begin('anna');
  await make(anna.page, 'Laptop', 'wrong');
  assert.match(await wrong(anna.page, '#new-passkey'), /password or the code is wrong/);
  await anna.device.answer(false);
  await make(anna.page, 'Laptop', password);
  assert.match(await wrong(anna.page, '#new-passkey'), /No passkey was made: the browser or the device refused/);
  assert.equal((await anna.device.credentials()).length, 0);
  await anna.device.answer(true);
  await anna.page.click('#new-passkey button'); // what was typed is still there
  await anna.page.waitForSelector('#recovery-codes');
  const [recovery, another] = (await anna.page.innerText('#recovery-codes')).split('\n');
  const [credential] = await anna.device.credentials();
  assert.equal(credential.rpId, 'localhost');
  assert.ok(credential.isResidentCredential);

  // The same device keeps no second one for the account; the password asks for none any more.
  await make(anna.page, 'Again', password);
  assert.match(await wrong(anna.page, '#new-passkey'), /password or the code is wrong/);
  await make(anna.page, 'Again', another);
  assert.match(await wrong(anna.page, '#new-passkey'), /No passkey was made/);

  // By the passkey alone, from the door to where the login was to lead.
  await anna.context.clearCookies();
  await anna.page.goto(`${base}/login?next=/account/data`);
  await anna.device.answer(false);
  await anna.page.click('#use-passkey');
  assert.match(await wrong(anna.page, 'form.passkey'), /No passkey was used/);
  assert.equal(await amr(anna.page), null, 'a refusal logs nobody in');
  await anna.device.answer(true);
  await anna.page.click('#use-passkey');
  await anna.page.waitForURL(`${base}/account/data`);
  assert.equal(await amr(anna.page), 'hwk user mfa');

  // As the second step, after the password.
  await anna.context.clearCookies();
  await typed(anna.page, 'anna');
  await anna.page.waitForURL(/\/login\/second/);
  assert.equal(await amr(anna.page), null, 'the password alone logs nobody in');
  await anna.page.click('#use-passkey');
  await anna.page.waitForURL(`${base}/`);
  assert.equal(await amr(anna.page), 'pwd hwk user mfa');

  // Another account's: her browser offers none of it, and where it is made to, the
  // answer counts for nothing.
  const bo = await begin('bo');
  await make(bo.page, 'Phone', password);
  await bo.page.waitForSelector('#recovery-codes');
  await bo.context.clearCookies();
  await typed(bo.page, 'anna');
  await bo.page.waitForURL(/\/login\/second/);
  await bo.page.click('#use-passkey');
  assert.match(await wrong(bo.page, 'form.passkey'), /there is none for this site here/);
  await bo.page.route('**/login/second/passkey/options', async (route) => {
    const answer = await route.fetch();
    const { allowCredentials, ...options } = await answer.json();
    assert.equal(allowCredentials.length, 1);
    await route.fulfill({ response: answer, json: options });
  });
  await bo.page.click('#use-passkey');
  await bo.page.waitForSelector('.note.bad');
  assert.match(await bo.page.innerText('.note.bad'), /passkey_invalid/);
  assert.equal(await amr(bo.page), null, 'the passkey of another account logged in');
  await bo.page.goto(`${base}/login`);
  await bo.page.click('#use-passkey');
  await bo.page.waitForURL(`${base}/`);
  await bo.page.goto(`${base}/account`);
  assert.match(await bo.page.innerText('.me'), /bo/, 'a passkey opens its own account');
  await bo.done();

  // Without JavaScript the pages say so, and the recovery code does.
  const plain = await open(browser, base, { javaScriptEnabled: false });
  await plain.page.goto(`${base}/login`);
  assert.ok(!await plain.page.isVisible('#use-passkey'));
  assert.match(await plain.page.innerText('main'), /passkey needs JavaScript/);
  await typed(plain.page, 'anna');
  await plain.page.waitForURL(/\/login\/second/);
  assert.ok(!await plain.page.isVisible('#use-passkey'));
  assert.match(await plain.page.innerText('main'), /passkey needs JavaScript/);
  await plain.page.fill('#code', recovery);
  await plain.page.press('#code', 'Enter');
  await plain.page.waitForURL(`${base}/`);
  await plain.page.goto(room);
  assert.match(await plain.page.innerText('#new-passkey'), /Making a passkey needs JavaScript/);
  await plain.page.fill('#passkey-name', 'Tablet'); // who logged in with a code just now is asked for none
  await plain.page.press('#passkey-name', 'Enter');
  await plain.page.waitForURL(/done=no_script/);
  assert.match(await plain.page.innerText('.note'), /needs JavaScript/);
  await plain.done();

  // Removed, it opens nothing, though the device still offers it.
  await anna.page.goto(room);
  const row = anna.page.locator('.rows > li', { hasText: 'Laptop' });
  assert.match(await row.innerText(), /last used just now/);
  await row.locator('summary', { hasText: 'Remove' }).click();
  await row.locator('button.danger').click();
  await anna.page.waitForURL(/done=removed/);
  assert.equal(await anna.page.locator('.rows > li', { hasText: 'Laptop' }).count(), 0);
  await anna.context.clearCookies();
  await anna.page.goto(`${base}/login`);
  await anna.page.click('#use-passkey');
  await anna.page.waitForSelector('.note.bad');
  assert.match(await anna.page.innerText('.note.bad'), /not known here any more/);
  assert.equal(await amr(anna.page), null, 'a passkey that was removed logged in');
  await typed(anna.page, 'anna');
  await anna.page.waitForURL(`${base}/`); // the password is enough again
  await anna.done();
});
