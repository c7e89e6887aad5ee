// The page of devices: of one who has many, of one who has one, of a guest; what
// ended, by each cause; and its forms, without JavaScript.
import { strict as assert } from 'node:assert';

export default async function devices({ browser, options, at, look, logIn, base, m }) {
  const openAsks = (page) => page.evaluate(() => document.querySelectorAll('details').forEach((d) => { d.open = true; }));
  const as = async (name, differ, run) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options, ...differ });
    const page = await context.newPage();
    await page.goto(`${base}/login`);
    await logIn(page, name);
    await page.waitForURL(`${base}/`);
    await run(page);
    await context.close();
  };

  await at(m, 'devices', `${base}/account`);
  await openAsks(m);
  await look(m, 'devices-ask');
  await at(m, 'devices-ended', `${base}/account/ended`);
  await as('single', {}, async (page) => {
    await look(page, 'home-user');
    await at(page, 'devices-one', `${base}/account`);
    await at(page, 'devices-ended-empty', `${base}/account/ended`);
  });
  await as('kiosk', {}, (page) => at(page, 'devices-guest', `${base}/account`));

  // Driven without JavaScript, as on any old tablet.
  await as('single', { javaScriptEnabled: false }, async (page) => {
    const rows = () => page.locator('.devices').first().locator('> li');
    await page.goto(`${base}/account`);
    const before = await rows().count();
    assert.ok(before >= 2, 'the first browser is still there');
    const here = rows().first();
    await here.locator('summary').first().click();
    await here.locator('input[name=name]').fill('The kitchen');
    await here.locator('input[name=name]').press('Enter');
    await page.waitForURL(/done=named/);
    assert.match(await rows().first().innerText(), /The kitchen/);
    const other = rows().nth(1);
    await other.locator('summary').last().click();
    await other.locator('button.danger').click();
    await page.waitForURL(/done=ended/);
    assert.equal(await rows().count(), before - 1, 'one was ended');
    for (let i = 0; i < 2; i += 1) await as('single', {}, async () => {});
    await page.goto(`${base}/account`);
    await page.click('#end-others summary');
    await page.click('#end-others button');
    await page.waitForURL(/done=others/);
    assert.equal(await rows().count(), 1, 'this browser is left');
    await as('single', {}, async () => {});
    await page.goto(`${base}/account`);
    await page.click('#end-all summary');
    await page.click('#end-all button');
    await page.waitForURL(/\/login/);
    assert.equal(await page.locator('.note').count(), 1, 'the login says why');
    assert.match(await page.innerText('.note'), /revoked_by_user/);
  });
}
