// A person goes through the rooms of the account: links a login and undoes it,
// changes the password, makes a key, uses and deletes it, and takes the own data
// home. Without JavaScript.
//   node account_rooms.mjs '{"base", "op", "password"}'
import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { logInAtOP, open, withBrowser } from './browser.mjs';

const { base, op, password } = JSON.parse(process.argv[2]);
const fresh = 'three quiet words more';

await withBrowser(async (browser) => {
  const { page, done } = await open(browser, base, { javaScriptEnabled: false, acceptDownloads: true });
  const note = () => page.innerText('.note');
  const logIn = async (secret) => {
    await page.fill('#username', 'root');
    await page.fill('#password', secret);
    await page.click('#log-in');
  };

  await page.goto(`${base}/account/identities`);
  await logIn(password);
  await page.waitForURL(`${base}/account/identities`);
  await page.click('text=Link a login of The Test IdP');
  await logInAtOP(page, op, 'anna');
  await page.waitForURL(`${base}/account/identities?done=linked`);
  assert.match(await note(), /is linked to your account/);
  await page.click('summary:has-text("Undo this link")');
  assert.match(await page.innerText('details[open]'), /becomes again what it was before the link\.\s+No device is logged in through it/);
  await page.click('text=Undo the link of The Test IdP');
  await page.waitForURL(`${base}/account/identities?done=unlinked`);
  assert.match(await page.innerText('.empty'), /No login of an identity provider is linked/);

  await page.goto(`${base}/account/password`);
  assert.equal(await page.locator('input[name=username]').isVisible(), false, 'the username is for password managers');
  await page.fill('#current', 'wrong');
  await page.fill('#password', fresh);
  await page.press('#password', 'Enter');
  assert.match(await page.innerText('#current-problem'), /The current password is wrong/);
  await page.fill('#current', password);
  await page.fill('#password', fresh);
  await page.press('#password', 'Enter');
  await page.waitForURL(`${base}/account/password?done=changed`);

  await page.goto(`${base}/account/api-keys`);
  await page.fill('#name', 'Nightly backup');
  await page.press('#name', 'Enter');
  const key = await page.innerText('#key');
  const me = async () => {
    const res = await fetch(`${base}/api/me`, { headers: { Authorization: `Bearer ${key}` } });
    return [res.status, res.ok && (await res.json()).username];
  };
  assert.deepEqual(await me(), [200, 'root']);
  assert.ok((await page.innerText('#try')).includes(`Bearer ${key}" ${base}/api/me`));
  await page.reload();
  await page.waitForURL(`${base}/account/api-keys?done=twice`);
  assert.ok(!(await page.content()).includes(key), 'a reload shows the key again');
  assert.equal(await page.locator('.rows > li').count(), 1, 'a reload made another key');

  await page.goto(`${base}/account/data`);
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('text=Download all of it')]);
  assert.equal(download.suggestedFilename(), 'latchkey-root.json');
  const text = readFileSync(await download.path(), 'utf8');
  const data = JSON.parse(text);
  assert.equal(data.user.username, 'root');
  assert.equal(data.apiKeys[0].name, 'Nightly backup');
  assert.ok(data.sessions.some((s) => s.endCause === 'password_changed') && data.events.some((e) => e.name === 'identity.unlinked'));
  assert.ok(!text.includes(key) && !text.includes(fresh), 'a secret is in the file');

  await page.goto(`${base}/account/api-keys`);
  await page.click('text=Manage');
  await page.click('text="Switch off"');
  await page.waitForURL(/done=off/);
  assert.equal((await me())[0], 401);
  await page.click('text="Switch on"');
  await page.waitForURL(/done=on/);
  assert.equal((await me())[0], 200);
  await page.click('summary:has-text("Delete")');
  await page.click('text=Delete the key');
  await page.waitForURL(`${base}/account/api-keys?done=deleted`);
  assert.equal((await me())[0], 401);
  await done();
});
