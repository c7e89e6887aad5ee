// An administrator connects an app on the page, without JavaScript; then the app
// logs somebody in with the settings that the page showed, and nothing else.
//   node clients.mjs '{"base", "site", "user", "password"}'
import { strict as assert } from 'node:assert';
import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto';
import { open, withBrowser } from './browser.mjs';

const { base, site, user, password } = JSON.parse(process.argv[2]);

// app is a client of these settings: a file of oauth2-proxy.
async function app(file) {
  const set = Object.fromEntries([...file.matchAll(/^(\w+) = "(.*)"$/gm)].map(([, name, value]) => [name, value]));
  const at = await (await fetch(`${set.oidc_issuer_url}/.well-known/openid-configuration`)).json();
  assert.equal(at.issuer, set.oidc_issuer_url);
  const verifier = randomBytes(32).toString('base64url');
  const ask = async (fields) => {
    const res = await fetch(at.token_endpoint, {
      method: 'POST', body: new URLSearchParams(fields), headers: { authorization: `Basic ${btoa(`${set.client_id}:${set.client_secret}`)}` },
    });
    return { status: res.status, ...await res.json() };
  };
  return {
    set,
    begins: `${at.authorization_endpoint}?${new URLSearchParams({
      client_id: set.client_id, redirect_uri: set.redirect_url, response_type: 'code', scope: set.scope, state: 'a state', nonce: 'a nonce',
      code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: set.code_challenge_method,
    })}`,
    redeem: (code) => ask({ grant_type: 'authorization_code', code, redirect_uri: set.redirect_url, code_verifier: verifier }),
    refresh: (token) => ask({ grant_type: 'refresh_token', refresh_token: token }),
    check: async (idToken) => {
      const [head, body, signature] = idToken.split('.');
      const said = (part) => JSON.parse(Buffer.from(part, 'base64url'));
      const { keys } = await (await fetch(at.jwks_uri)).json();
      const key = createPublicKey({ key: keys.find((k) => k.kid === said(head).kid), format: 'jwk' });
      assert.equal(said(head).alg, 'RS256');
      assert.ok(verify('RSA-SHA256', Buffer.from(`${head}.${body}`), key, Buffer.from(signature, 'base64url')), 'the signature of the ID token');
      return said(body);
    },
    who: async (token) => (await fetch(at.userinfo_endpoint, { headers: { authorization: `Bearer ${token}` } })).json(),
  };
}

await withBrowser(async (browser) => {
  const admin = await open(browser, base, { javaScriptEnabled: false });
  const { page } = admin;
  const logIn = async (at) => {
    await at.fill('#username', user);
    await at.fill('#password', password);
    await at.click('#log-in');
  };
  await page.goto(`${base}/admin/clients`);
  await logIn(page);
  await page.click('main >> text=Connect an app');
  await page.click('text=oauth2-proxy');

  // A bad address says so at its field, and is kept; a good one shows the secret.
  await page.fill('#client_uri', `${site}/?page=1`);
  await page.click('text=Register it');
  assert.equal(await page.inputValue('#client_uri'), `${site}/?page=1`);
  assert.equal(await page.getAttribute('#client_uri', 'aria-invalid'), 'true');
  await page.fill('#client_uri', `${site}/`);
  await page.click('text=Register it');
  const secret = await page.innerText('#secret code');
  const client = await app(await page.innerText('#app pre'));
  assert.equal(client.set.client_secret, secret);

  // Somebody logs in to it.
  const person = await open(browser, base, { javaScriptEnabled: false });
  await person.page.goto(client.begins);
  await logIn(person.page);
  await person.page.waitForURL((url) => url.href.startsWith(client.set.redirect_url));
  const got = Object.fromEntries(new URLSearchParams(await person.page.innerText('#got')));
  assert.equal(got.state, 'a state');
  const tokens = await client.redeem(got.code);
  assert.equal(tokens.status, 200, JSON.stringify(tokens));
  const { iss, aud, nonce } = await client.check(tokens.id_token);
  assert.deepEqual({ iss, aud, nonce }, { iss: base, aud: client.set.client_id, nonce: 'a nonce' });
  assert.equal((await client.who(tokens.access_token)).preferred_username, user);
  await person.done();

  // The secret is gone from the page, and a new one ends the old one.
  await page.click('text=Go on, the secret is copied');
  assert.ok(!(await page.content()).includes(secret), 'the secret is shown twice');
  assert.equal(await page.locator('text=Make a new secret').isVisible(), false, 'it asks first');
  await page.click('#new-secret > summary');
  await page.click('text=Make a new secret');
  const renewed = await app(await page.innerText('#app pre'));
  assert.notEqual(renewed.set.client_secret, secret);
  assert.equal((await client.refresh(tokens.refresh_token)).error, 'invalid_client');
  const fresh = await renewed.refresh(tokens.refresh_token);
  assert.equal(fresh.status, 200, JSON.stringify(fresh));

  // Its name is changed, and then it is deleted, with its sessions.
  await page.goto(`${base}/admin/clients/oauth2-proxy`);
  await page.fill('#client_name', 'The door');
  await page.click('text=Save');
  await page.waitForURL(/done=saved/);
  assert.equal(await page.innerText('h1'), 'The door');
  await page.click('#delete-client > summary');
  await page.click('text=Delete The door');
  await page.waitForURL(/done=deleted/);
  assert.equal((await renewed.refresh(fresh.refresh_token)).error, 'invalid_client');
  await admin.done();
});
