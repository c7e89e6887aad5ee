// Somebody who has never seen Latchkey: from the setup link in the log to a login
// through an identity provider, a device list and an API key, by what the pages
// say and nothing else. It keeps a picture of each step.
//   node first_run.mjs '{"base", "setup", "op", "pictures"}'
import { strict as assert } from 'node:assert';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { logInAtOP, open, withBrowser } from './browser.mjs';

const { base, setup, op, pictures } = JSON.parse(process.argv[2]);
const folder = pictures || fileURLToPath(new URL('./shots/', import.meta.url));
mkdirSync(folder, { recursive: true });
const password = 'nobody guesses these words';

await withBrowser(async (browser) => {
  const admin = await open(browser, base, { colorScheme: 'light' });
  const { page } = admin;
  let step = 0;
  const picture = async (name, of = page) => {
    step += 1;
    await of.screenshot({ path: `${folder}/first-run-${step}-${name}.png`, caret: 'hide', animations: 'disabled' });
  };
  const label = (text) => page.getByLabel(text, { exact: false }).first();
  const press = (text, of = page) => of.getByRole('button', { name: text }).or(of.getByRole('link', { name: text })).first().click();
  const stepIs = (id, state) => page.waitForSelector(`#${id} .pill:text("${state}")`);

  // The address that people try first says where the link is.
  await page.goto(base);
  assert.match(await page.innerText('.note'), /Open the setup link/);

  // 1. The link from the log.
  await page.goto(setup);
  await label('Username').fill('robin');
  await label('Password').fill(password);
  await picture('setup');
  await press('Create the administrator');
  await page.waitForURL(`${base}/admin/setup`);
  await stepIs('address', 'done');
  await stepIs('provider', 'to do');
  await stepIs('app', 'to do');
  await picture('steps');

  // 2. An identity provider: the page says what to register there, before anything is saved.
  await press('Connect an identity provider');
  await page.getByLabel('Another OpenID provider').check();
  await press('Next: what to register there');
  const id = await page.inputValue('input[name=id]');
  await page.getByText(`${base}/auth/${id}/callback`, { exact: true }).first().waitFor();
  await label('Name on the login page').fill('Example');
  await label('Issuer').fill(op);
  await label('Client id').fill('latchkey');
  await label('Client secret').fill('a secret of a test');
  await page.getByText('More settings').click();
  await page.getByLabel('It is at a private address').check(); // as most in a home network are
  await picture('provider');
  await press('Save the provider');
  await page.waitForURL(`${base}/admin/providers/${id}?**`);
  await press('Try the connection');
  await page.waitForSelector('.findings .good');
  assert.equal(await page.locator('.findings .bad').count(), 0, await page.innerText('main'));
  await picture('provider-checked');

  // 3. An app: its address is all that is asked.
  await press('Back to the set-up');
  await stepIs('provider', 'done');
  await press('Connect an app');
  await press('oauth2-proxy');
  await page.getByLabel('Address of the app').fill('https://shelf.example.org');
  await press('Register it');
  const pasted = await page.innerText('main');
  assert.match(pasted, new RegExp(`oidc_issuer_url = "${base}/?"`), pasted);
  assert.match(pasted, /client_secret = "[\w-]{20,}"/);
  await picture('app');
  await press('Back to the set-up');
  await stepIs('app', 'done');

  // 4. Somebody logs in through the identity provider, and sees the device.
  const someone = await open(browser, base, { colorScheme: 'light', viewport: { width: 390, height: 844 } });
  const phone = someone.page;
  await phone.goto(base);
  await picture('login', phone);
  await press('Continue with Example', phone);
  await logInAtOP(phone, op, 'anna');
  await phone.waitForURL(`${base}/`);
  await press('Devices', phone);
  await phone.waitForURL(`${base}/account`);
  assert.match(await phone.innerText('main'), /This device/);
  assert.match(await phone.innerText('main'), /through Example/);
  await picture('devices', phone);

  // 5. An API key, which works.
  await press('API keys', phone);
  await phone.getByLabel('Name', { exact: true }).last().fill('Nightly backup');
  await press('Make the key', phone);
  const key = await phone.innerText('#key');
  await picture('api-key', phone);
  const me = await fetch(`${base}/api/me`, { headers: { Authorization: `Bearer ${key}` } });
  assert.equal(me.status, 200);
  assert.equal((await me.json()).username, 'anna');
  await someone.done();

  // 6. The set-up has seen it, and the overview is there.
  await page.reload();
  await stepIs('login', 'done');
  assert.match(await page.innerText('#login'), /anna has logged in through Example/i);
  await picture('done');
  await press('Finish the set-up');
  await page.waitForURL(`${base}/admin`);
  assert.equal(await page.getByText('Back to the set-up').count(), 0);
  await admin.done();
});
