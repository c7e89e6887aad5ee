// Looks at every page with axe-core and for what does not fit, in each language,
// light and dark, and takes the pictures of docs/screens.
//   node screens.mjs '{"base", "setup", "link", "user", "temporary", "pictures", "language", "axe"}'
import { strict as assert } from 'node:assert';
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import axe from 'axe-core';
import { fits, open, withBrowser } from './browser.mjs';

const { base, setup, link, user, temporary, pictures, language, axe: withAxe } = JSON.parse(process.argv[2]);
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

await withBrowser(async (browser) => {
  // look is at a page as it stands.
  const look = async (page, name) => {
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
        await page.emulateMedia({ colorScheme });
        if (withAxe && width !== '390') {
          assert.deepEqual(await violations(page), [], `${name} in ${language}, ${width} px, ${colorScheme}`);
        }
        if (pictures && width !== '360') {
          await page.screenshot({ path: `${pictures}/${name}-${width === '390' ? 'phone' : 'desktop'}-${colorScheme}.png`, fullPage: true, caret: 'hide', animations: 'disabled' });
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
  await p.goto(`${base}/login`);
  await logIn(p, temporary);
  await p.waitForSelector('input[name=ticket]', { state: 'attached' });
  await look(p, 'password-temporary');
  await at(p, 'error', `${base}/nothing`);
  await at(p, 'error-app', authorize({ redirect_uri: 'https://elsewhere.example/' }));
  await p.goto(`${base}/login?next=/device`);
  await look(p, 'login-device');
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
  await m.request.get(`${base}/test/later`);
  await at(m, 'identities-later', `${base}/account/identities`);
  await member.done();
});
