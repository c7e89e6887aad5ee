// The system browser of an app: opens the URL that the app gives it, logs in at
// the OP if that asks, and prints the app's URI that it ends at.
//   node app.mjs '{"url", "op", "account"}'
import { strict as assert } from 'node:assert';
import { logInAtOP, open, withBrowser } from './browser.mjs';

const { url, op, account } = JSON.parse(process.argv[2]);

await withBrowser(async (browser) => {
  const { page, context, done } = await open(browser, new URL(url).origin);
  // Chromium knows no app for the scheme: the redirect itself is what counts.
  const called = new Promise((resolve) => {
    page.on('response', (response) => {
      const to = response.headers().location ?? '';
      if (to.startsWith('audiobookshelf:')) resolve(to);
    });
  });
  await page.goto(url).catch((err) => assert.match(err.message, /ERR_ABORTED|ERR_UNKNOWN_URL_SCHEME/));
  if (account) await logInAtOP(page, op, account);
  const late = new Promise((_, reject) => { setTimeout(reject, 15_000, new Error(`the app was not called; the browser is at ${page.url()}`)).unref(); });
  const uri = await Promise.race([called, late]);
  const own = (await context.cookies(new URL(url).origin)).map((c) => c.name);
  assert.deepEqual(own, [], 'the mobile flow sets no cookie of Latchkey');
  await done();
  console.log(uri);
});
