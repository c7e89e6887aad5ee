// openid-client: login with PKCE, state and nonce, userinfo, refresh,
// RP-initiated logout. The ID token's signature is verified, too. With a key in
// the place of a secret it is as strict as it can be: the request is pushed
// (RFC 9126) and all tokens are bound to another key (DPoP, RFC 9449).
import { base, begin, callback, client, issuer, key, scope, serve, sessions, who } from './site.mjs';
import * as oidc from 'openid-client';

const auth = key && oidc.PrivateKeyJwt({
  key: await crypto.subtle.importKey('jwk', key, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']), kid: key.kid,
});
const config = await oidc.discovery(new URL(issuer), client.client_id, client.client_secret, auth, {
  execute: [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks],
});
const bound = key && { DPoP: oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair()) };

const app = begin(sessions);

app.get('/login', async (req, res) => {
  const verifier = oidc.randomPKCECodeVerifier();
  const checks = { verifier, state: oidc.randomState(), nonce: oidc.randomNonce() };
  req.session.checks = checks;
  const params = {
    redirect_uri: callback, scope, state: checks.state, nonce: checks.nonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  };
  const to = bound ? await oidc.buildAuthorizationUrlWithPAR(config, params, bound) : oidc.buildAuthorizationUrl(config, params);
  res.redirect(to.href);
});

app.get('/callback', async (req, res) => {
  const { verifier, state, nonce } = req.session.checks;
  const tokens = await oidc.authorizationCodeGrant(config, new URL(req.originalUrl, base), {
    pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true,
  }, undefined, bound);
  await keep(req, tokens, tokens.claims().sub);
  res.redirect('/me');
});

async function keep(req, tokens, sub) {
  req.session.user = await oidc.fetchUserInfo(config, tokens.access_token, sub, bound);
  req.session.tokens = { ...req.session.tokens, ...tokens };
}

app.get('/me', (req, res) => who(res, req.session.user));

app.get('/refresh', async (req, res) => {
  const old = req.session.tokens;
  const tokens = await oidc.refreshTokenGrant(config, old.refresh_token, undefined, bound);
  await keep(req, tokens, req.session.user.sub);
  if (bound && tokens.token_type !== 'dpop') throw new Error(`the tokens are ${tokens.token_type}`);
  res.json({ renewed: tokens.access_token !== old.access_token && tokens.claims()?.sub === req.session.user.sub });
});

let last;
app.get('/logout', (req, res) => {
  last = req.session.tokens.refresh_token;
  const to = oidc.buildEndSessionUrl(config, { post_logout_redirect_uri: `${base}/bye`, id_token_hint: req.session.tokens.id_token, state: 'bye' });
  req.session.destroy(() => res.redirect(to.href));
});

// The session is over at the provider, too: it gives nothing for its tokens.
app.get('/bye', async (req, res) => {
  if (req.query.state !== 'bye') throw new Error('no state came back');
  const refused = await oidc.refreshTokenGrant(config, last, undefined, bound).catch((err) => err);
  res.json({ over: refused.error === 'invalid_grant' });
});

serve(app);
