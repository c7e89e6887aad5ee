// Looks at every page with axe-core and for what does not fit, in each language,
// light and dark, and takes the pictures of docs/screens.
//   node screens.mjs '{"base", "setup", "link", "user", "temporary", "codes", "now", "pictures", "language", "axe"}'
import { strict as assert } from 'node:assert';
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import axe from 'axe-core';
import { fits, open, withBrowser } from './browser.mjs';
import { setup as setupPages } from './screens_setup.mjs';
import accountRooms from './screens_account_rooms.mjs';
import { overview } from './screens_overview.mjs';
import { providers } from './screens_providers.mjs';
import devices from './screens_devices.mjs';
import { clients } from './screens_clients.mjs';
import { people } from './screens_people.mjs';
import factors from './screens_factors.mjs';

const { base, doors, setup, link, user, temporary, codes, now, pictures, language, axe: withAxe } = JSON.parse(process.argv[2]);
// The pages of one part of the house each, in a file of its own. They get m, a
// page where an administrator is logged in.
const areas = [setupPages, accountRooms, providers, overview, devices, clients, people, factors];
const password = `password of ${user}`;
const sizes = { 360: 800, 390: 844, 1280: 800 }; // pictures are of the last two
if (pictures) mkdirSync(pictures, { recursive: true });

const authorize = (differ = {}) => `${base}/oauth2/authorize?${new URLSearchParams({
  client_id: 'shelf', redirect_uri: 'https://shelf.example/cb', response_type: 'code', scope: 'openid', state: 'a state', nonce: 'a nonce', prompt: 'consent',
  code_challenge: createHash('sha256').update('a-verifier-of-forty-three-characters-or-more').digest('base64url'), code_challenge_method: 'S256', ...differ,
})}`;

async function userCode() {
  const res = await fetch(`${base}/oauth2/device_authorization`, { method: 'POST', body: new URLSearchParams({ client_id: 'tv', scope: 'openid profile' }) });
  return (await res.json()).user_code;
}

// violations are those of axe-core, one line each.
async function violations(page) {
  if (!await page.evaluate(() => window.axe)) await page.evaluate(axe.source);
  return page.evaluate(async () => {
    const { violations: found, passes } = await window.axe.run(document, { resultTypes: ['violations'] });
    if (!passes.some((p) => p.id === 'color-contrast')) return ['axe-core has looked at nothing'];
    return found.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target} ${n.html.slice(0, 120)} ${n.failureSummary}`));
  });
}

// top is the page from its beginning, as far as a picture shows more.
const top = async (page) => ({
  fullPage: true, clip: await page.evaluate(() => ({ x: 0, y: 0, width: innerWidth, height: Math.min(Math.max(document.documentElement.scrollHeight, innerHeight), 2000) })),
});

await withBrowser(async (browser) => {
  const seen = [];
  // look is at a page as it stands, on a phone and on a desk, light and dark; at a
  // state of it (login-error of login) in two of these. So are pictures taken.
  const look = async (page, name) => {
    const state = seen.some((one) => name.startsWith(`${one}-`));
    seen.push(name);
    assert.equal(await page.getAttribute('html', 'lang'), language, name);
    await page.evaluate(() => { // what differs each time
      for (const e of document.querySelectorAll('p.user-code')) e.textContent = 'BCDF-GHJK';
      for (const e of document.querySelectorAll('input.user-code')) e.value = e.value && 'BCDF-GHJK';
    });
    await page.emulateMedia({ reducedMotion: 'reduce' });
    for (const [width, height] of Object.entries(sizes)) {
      await page.setViewportSize({ width: Number(width), height });
      await fits(page, `${name} in ${language}, ${width} px`);
      for (const colorScheme of ['light', 'dark']) {
        if (state && (width !== '1280') !== (colorScheme === 'dark')) continue;
        await page.emulateMedia({ colorScheme });
        if (withAxe && width !== '390') {
          assert.deepEqual(await violations(page), [], `${name} in ${language}, ${width} px, ${colorScheme}`);
        }
        if (pictures && width !== '360') {
          await page.screenshot({ path: `${pictures}/${name}-${width === '390' ? 'phone' : 'desktop'}-${colorScheme}.png`, ...await top(page), caret: 'hide', animations: 'disabled' });
        }
      }
    }
  };
  const options = { locale: { en: 'en-US', de: 'de-DE' }[language] };
  const stranger = await open(browser, base, options);
  const p = stranger.page;
  const logIn = async (page, name = user, secret = password) => {
    await page.fill('#username', name);
    await page.fill('#password', secret);
    await page.click('#log-in');
  };
  const at = async (page, name, url) => { await page.goto(url); await look(page, name); };

  await at(p, 'setup', setup);
  await p.fill('#username', '   ');
  await p.fill('#password', 'password1234567');
  await p.press('#password', 'Enter');
  await p.waitForSelector('.note.bad');
  await look(p, 'setup-error');
  await at(p, 'login', `${base}/login`);
  await logIn(p, user, 'wrong');
  await p.waitForSelector('.note.bad');
  await look(p, 'login-error');
  await at(p, 'login-ended', `${base}/login?ended=token_reused`);
  await at(p, 'login-app', authorize());
  await at(p, 'password-link', link);
  await p.fill('#password', 'anna@example.org');
  await p.press('#password', 'Enter');
  await p.waitForSelector('.note.bad');
  await look(p, 'password-link-error');
  await p.goto(`${base}/login`);
  await logIn(p, temporary);
  await p.waitForSelector('input[name=ticket]', { state: 'attached' });
  await look(p, 'password-temporary');
  await at(p, 'error', `${base}/nothing`);
  await at(p, 'error-app', authorize({ redirect_uri: 'https://elsewhere.example/' }));
  await p.goto(`${base}/login?next=/device`);
  await look(p, 'login-device');
  await at(p, 'login-many', `${doors.many}/login`);
  await at(p, 'login-dark', `${doors.dark}/login`);
  await at(p, 'login-alone', `${doors.alone}/login?autoLaunch=0`);
  await at(p, 'confirm-app', doors.confirm);
  // The app is told, by a redirect that the policy of the page lets through.
  const [told] = await Promise.all([p.waitForResponse((r) => r.request().method() === 'POST'), p.click('#deny')]);
  assert.equal(told.status(), 302);
  assert.match(told.headers().location, /^audiobookshelf:\/\/oauth\?error=access_denied&/);
  await stranger.done();

  const member = await open(browser, base, options);
  const m = member.page;
  await m.route('**/submit.js*', (route) => route.fulfill({ body: '' })); // the page stays
  await m.goto(`${base}/login`);
  await logIn(m);
  await m.waitForURL(`${base}/`);
  await look(m, 'home');
  await at(m, 'identities', `${base}/account/identities`);
  await at(m, 'login-switch', `${base}/login?switch=1`);
  await at(m, 'consent', authorize({ scope: 'openid profile email groups offline_access latchkey:api' }));
  await at(m, 'consent-least', authorize({ scope: 'openid' }));
  await at(m, 'login-again', authorize({ prompt: 'login' }));
  await m.goto(authorize({ response_mode: 'form_post' }));
  await m.click('#deny');
  await m.waitForSelector('#form-post');
  await look(m, 'form-post');
  await at(m, 'device', `${base}/device`);
  await m.fill('#user_code', 'nothing');
  await m.press('#user_code', 'Enter');
  await m.waitForSelector('.note.bad');
  await look(m, 'device-error');
  await at(m, 'device-ask', `${base}/device?user_code=${await userCode()}`);
  await m.click('#allow');
  await m.waitForURL(/done=allowed/);
  await look(m, 'device-done');
  await at(m, 'logout', `${base}/oauth2/logout?client_id=shelf`);
  for (const area of areas) await area({ browser, options, at, look, logIn, base, mail: doors.mail, codes, now, m, setup, user });
  await m.request.get(`${base}/test/later`);
  await at(m, 'identities-later', `${base}/account/identities`);
  await at(m, 'api-keys-later', `${base}/account/api-keys`);
  await member.done();
});
