// Walks through every page behind the door by keyboard, and compares each with
// what it says without JavaScript.
//   node keyboard.mjs '{"base", "user"}'
import { strict as assert } from 'node:assert';
import { open, withBrowser } from './browser.mjs';

const { base, user } = JSON.parse(process.argv[2]);

// kindOf is what the addresses of one page have in common, whatever it is about.
const kindOf = (url) => `${url.pathname.replace(/[0-9a-f]{8}-[0-9a-f-]{27}|(?<=\/(users|clients|providers|sessions|api-keys)\/)(?!new$)[^/]+/g, ':')} ${[...url.searchParams.keys()].sort()}`;

// linksOf are the addresses of ours that a page leads to.
const linksOf = (page) => page.evaluate(() => [...document.querySelectorAll('.house a[href]')].map((a) => a.href.split('#')[0]));

// stops are what Tab has to reach, in the order of the document.
const stops = (page) => page.evaluate(() => {
  window.stops = [...document.querySelectorAll('a[href], button, input, select, textarea, summary')].filter((e) => !e.disabled && e.tabIndex >= 0 && e.checkVisibility()
    && (e.type !== 'radio' || e.checked)); // one of a group; the others by the arrow keys
  return window.stops.length;
});

async function walk(page, at) {
  const count = await stops(page);
  await page.evaluate(() => window.stops[0].focus());
  for (let i = 0; i < count; i++) {
    if (i > 0) await page.keyboard.press('Tab');
    // A date has a stop for each of its parts.
    for (let part = 0; part < 4 && await page.evaluate((n) => n > 0 && document.activeElement === window.stops[n - 1] && document.activeElement.type === 'date', i); part++) {
      await page.keyboard.press('Tab');
    }
    const { reached, what, ring } = await page.evaluate(() => {
      const e = document.activeElement;
      const style = getComputedStyle(e);
      return { reached: window.stops.indexOf(e), what: e.outerHTML.slice(0, 100), ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 };
    });
    assert.equal(reached, i, `${at}: after ${i} times Tab, the focus is on ${what}`);
    if (i > 0) assert.ok(ring, `${at}: the focus cannot be seen on ${what}`);
  }
  await page.evaluate(() => document.querySelector('a.skip').focus());
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'content', `${at}: the skip link leads elsewhere`);
}

const said = (page) => page.evaluate(() => {
  for (const e of document.querySelectorAll('.copy button, noscript')) e.remove(); // which only JavaScript can offer, or what only its absence needs
  return document.body.innerText.replace(/\s+/g, ' ');
});

await withBrowser(async (browser) => {
  const { page, context, done } = await open(browser, base);
  await page.goto(`${base}/login`);
  await page.fill('#username', user);
  await page.fill('#password', `password of ${user}`);
  await page.click('#log-in');
  await page.waitForURL((url) => !url.pathname.startsWith('/login'));
  const without = await open(browser, base, { javaScriptEnabled: false, storageState: await context.storageState() });

  const queue = [`${base}/account`, `${base}/admin`];
  const known = new Set(queue.map((url) => kindOf(new URL(url))));
  const seen = [];
  while (queue.length > 0) {
    const url = queue.shift();
    const answer = await page.goto(url);
    if (answer.status() !== 200 || !await page.$('.house')) continue;
    seen.push(url);
    for (const link of await linksOf(page)) {
      const to = new URL(link);
      if (to.origin !== base || !/^\/(account|admin)/.test(to.pathname) || to.searchParams.has('ui_locales') || known.has(kindOf(to))) continue;
      if (/\.(json|jsonl|csv)$/.test(to.pathname)) continue; // a download
      known.add(kindOf(to));
      queue.push(link);
    }
    await walk(page, url);
    await without.page.goto(url);
    assert.equal(await said(without.page), await said(page), `${url} says something else without JavaScript`);
  }
  console.log(`${seen.length} pages: ${seen.map((url) => new URL(url).pathname).join(' ')}`);
  assert.ok(seen.length >= 10, `only ${seen}`);
  await without.done();
  await done();
});
