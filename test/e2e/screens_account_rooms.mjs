// The rooms of the account beside the devices: logins, password, API keys and the
// own data, full, empty and refused.
export default async function accountRooms({ browser, options, at, look, logIn, base, m }) {
  const openAsk = (page) => page.evaluate(() => document.querySelectorAll('details').forEach((d) => { d.open = true; }));

  await m.goto(`${base}/account/identities?done=linked`);
  await openAsk(m);
  await look(m, 'identities-ask');
  await at(m, 'account-password', `${base}/account/password`);
  await m.fill('#current', 'wrong');
  await m.fill('#password', 'three quiet words more');
  await m.press('#password', 'Enter');
  await m.waitForSelector('#current-problem');
  await look(m, 'account-password-error');

  const keys = `${base}/account/api-keys`;
  await at(m, 'account-keys-empty', keys);
  const make = async (name, expires) => {
    await m.goto(keys);
    await m.fill('#name', name);
    await m.fill('#description', 'Reads what is new every night and writes it to the attic.');
    await m.selectOption('#expires', expires);
    await m.press('#name', 'Enter');
  };
  // alike makes of random keys the same each time.
  const alike = () => m.evaluate(() => {
    for (const e of document.querySelectorAll('main code')) {
      e.textContent = e.textContent.replace(/lk_[\w-]{16}_([\w-]*)/, (all, rest) => `lk_3vKq0ZbT1mXw8RfA_${rest && '9dQm2xV7cLk0Rt5yWn8sHb3fGj6pZa1eUo4iQwXvBnM'}`);
    }
  });
  await make('Home automation', 'never');
  await m.goto(keys);
  await m.click('.rows .button >> nth=0');
  await m.click('button[name=active]');
  await m.waitForURL(/done=off/);
  await alike();
  await look(m, 'account-key-off');
  await openAsk(m);
  await look(m, 'account-key-ask');
  await make('Kurzbefehlssammlungsverwaltung-fuer-das-ganze-Haus-im-Dachgeschoss', '30');
  await make('Nightly backup', '90');
  await m.waitForSelector('#key');
  await alike();
  await look(m, 'account-key-made');
  await at(m, 'account-keys', keys);
  await make('Nightly backup', 'date');
  await m.waitForSelector('#until-problem');
  await look(m, 'account-key-error');

  await at(m, 'account-data', `${base}/account/data`);
  await openAsk(m);
  await look(m, 'account-data-ask');

  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const other = await context.newPage();
  await other.goto(`${base}/login`);
  await logIn(other, 'kiosk');
  await other.waitForURL(`${base}/`);
  await at(other, 'account-password-guest', `${base}/account/password`);
  await at(other, 'identities-guest', `${base}/account/identities`);
  await at(other, 'account-keys-guest', keys);
  await at(other, 'account-data-empty', `${base}/account/data`);
  await context.close();
}
