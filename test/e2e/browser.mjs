// What the browser tests share: Chromium, and the checks that every page of
// Latchkey must pass.
import { strict as assert } from 'node:assert';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const shots = fileURLToPath(new URL('./shots/', import.meta.url));

export async function withBrowser(run, args = []) {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync', ...args],
  });
  try {
    await run(browser);
  } catch (err) {
    for (const context of browser.contexts()) {
      console.error(...context.pages().map((page) => `a page is at ${page.url()}`), complaints.get(context));
    }
    throw err;
  } finally {
    await browser.close();
  }
}

const complaints = new WeakMap(); // of a context

// open makes a page in a context of its own. What the browser complains of is
// collected; done() closes, and throws if there was anything.
export async function open(browser, base, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(10_000);
  const heard = [];
  complaints.set(context, heard);
  await context.addInitScript(() => document.addEventListener('securitypolicyviolation', (e) => {
    console.error(`the policy of ${e.documentURI} forbids ${e.violatedDirective}: ${e.blockedURI}`);
  }));
  context.on('weberror', (err) => heard.push(`script error: ${err.error().message}`));
  context.on('console', (message) => {
    // Expected: a page with an error status is said on the console, too, and over
    // plain http that it is no secure context.
    const own = message.location().url.startsWith(base) || message.location().url === '';
    if (own && message.type() === 'error' && !/Failed to load resource: .* status of (400|401|403|404|409|503)|^The Cross-Origin-Opener-Policy header has been ignored, because the URL's origin was untrustworthy/.test(message.text())) {
      heard.push(`console: ${message.text()}`);
    }
  });
  const page = await context.newPage();
  const done = async () => {
    await context.close();
    assert.deepEqual(heard, [], 'the browser complained');
  };
  return { page, context, done };
}

// fits checks that nothing overflows the window.
export async function fits(page, what) {
  const measure = () => page.evaluate(() => {
    const root = document.documentElement;
    const outside = [...document.querySelectorAll('main *')].filter((e) => {
      const box = e.getBoundingClientRect();
      return box.width > 0 && (box.right > root.clientWidth + 0.500 || box.left < -0.500);
    });
    return { scroll: root.scrollWidth, client: root.clientWidth, wide: outside.map((e) => e.outerHTML.slice(0, 80)) };
  });
  // The layout of a new width may take a moment on a machine that is busy.
  let { scroll, client, wide } = await measure();
  for (let tries = 0; tries < 20 && (scroll > client || wide.length > 0); tries++) {
    await page.waitForTimeout(100);
    ({ scroll, client, wide } = await measure());
  }
  assert.ok(scroll <= client, `${what}: ${scroll} px wide, ${client} px are there: ${wide.join(' ')}`);
  assert.deepEqual(wide, [], `${what}: outside of the window`);
}

// lookAt takes pictures of a page at every width, light and dark, and checks
// that nothing overflows: at 320 px (WCAG 1.4.10) and with text of 200 %, too.
export async function lookAt(page, name, widths = [360, 768, 1280]) {
  mkdirSync(shots, { recursive: true });
  const fit = (how) => fits(page, `${name}, ${how}`);
  await page.emulateMedia({ reducedMotion: 'reduce' }); // no colour is looked at on its way
  for (const width of widths) {
    await page.setViewportSize({ width, height: 800 });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: `${shots}${name}-${width}-${colorScheme}.png`, fullPage: true });
    }
    await fit(`${width} px`);
  }
  await page.setViewportSize({ width: 320, height: 640 });
  await fit('320 px');
  await page.setViewportSize({ width: 640, height: 450 }); // 1280 px at a zoom of 200 %
  await page.evaluate(() => { document.documentElement.style.fontSize = '200%'; });
  await fit('text of 200 %');
  await page.screenshot({ path: `${shots}${name}-zoom.png`, fullPage: true });
  await page.evaluate(() => { document.documentElement.style.fontSize = ''; });
  await page.setViewportSize({ width: 1280, height: 900 });
  await accessible(page, name);
}

// accessible checks what a screen reader needs: a language, a title, one
// heading, a name for every control, no text under 4.5 : 1.
async function accessible(page, name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    const found = await page.evaluate(() => {
      const faults = [];
      if (!document.documentElement.lang) faults.push('no lang');
      if (!document.title) faults.push('no title');
      if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
      if (document.querySelectorAll('main').length !== 1) faults.push('not one main');
      for (const e of document.querySelectorAll('input:not([type=hidden])')) {
        if (!e.labels.length) faults.push(`no label: ${e.id}`);
      }
      for (const id of [...document.querySelectorAll('[aria-describedby]')].flatMap((e) => e.getAttribute('aria-describedby').split(' '))) {
        if (!document.getElementById(id)) faults.push(`aria-describedby names no element: ${id}`);
      }
      const channels = (color) => color.match(/[\d.]+/g).map(Number);
      const luminance = ([r, g, b]) => [r, g, b]
        .map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = (e) => {
        for (let at = e; at; at = at.parentElement) {
          const color = channels(getComputedStyle(at).backgroundColor);
          if (color.length < 4 || color[3] === 1) return color;
        }
        return [255, 255, 255];
      };
      for (const e of document.querySelectorAll('body *')) {
        const text = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
        if (!text && e.tagName !== 'INPUT') continue;
        const [a, b] = [luminance(channels(getComputedStyle(e).color)), luminance(ground(e))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${e.outerHTML.slice(0, 80)}`);
      }
      for (const e of document.querySelectorAll('button, .button, input:not([type=hidden])')) {
        if (e.checkVisibility() && e.getBoundingClientRect().height < 44) faults.push(`hit target under 44 px: ${e.outerHTML.slice(0, 80)}`);
      }
      return faults;
    });
    assert.deepEqual(found, [], `${name}, ${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: null });
}

// focused says what has the focus, after checking that it can be seen.
export async function focused(page) {
  const at = await page.evaluate(() => {
    const e = document.activeElement;
    const style = getComputedStyle(e);
    return {
      what: e.id || e.innerText.trim() || e.tagName,
      ring: style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2,
    };
  });
  assert.ok(at.ring, `the focus on "${at.what}" cannot be seen`);
  return at.what;
}

// tabTo presses Tab until something has the focus.
export async function tabTo(page, what) {
  const passed = [];
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press('Tab');
    // A page that was opened this moment may not have the keyboard yet: the key is lost.
    if (await page.evaluate(() => document.activeElement === document.body)) continue;
    const at = await focused(page);
    if (at.split('\n').some((line) => line.trim() === what)) return; // a button has more lines than its name
    passed.push(at);
  }
  assert.fail(`Tab does not lead to "${what}", but past ${passed.join(', ')}`);
}

// logInAtOP fills in the OP's own login form and gives consent. It ends where
// the OP sends the browser back.
export async function logInAtOP(page, op, account) {
  await page.waitForURL((url) => url.origin === op);
  await page.fill('input[name=login]', account);
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
  const consent = page.locator('input[name=prompt][value=consent]');
  await consent.waitFor({ state: 'attached' });
  await page.click('button[type=submit]');
}
