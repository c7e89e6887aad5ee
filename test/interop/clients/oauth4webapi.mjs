// oauth4webapi: every step by hand, with client_secret_basic; logout is the
// revocation of the refresh token (RFC 7009).
import { base, begin, callback, client, issuer, scope, serve, sessions, who } from './site.mjs';
import * as oauth from 'oauth4webapi';

const http = { [oauth.allowInsecureRequests]: true };
const auth = oauth.ClientSecretBasic(client.client_secret);
const as = await oauth.discoveryRequest(new URL(issuer), http).then((res) => oauth.processDiscoveryResponse(new URL(issuer), res));

const app = begin(sessions);

app.get('/login', async (req, res) => {
  const checks = { verifier: oauth.generateRandomCodeVerifier(), state: oauth.generateRandomState(), nonce: oauth.generateRandomNonce() };
  req.session.checks = checks;
  const to = new URL(as.authorization_endpoint);
  to.search = new URLSearchParams({
    client_id: client.client_id, redirect_uri: callback, response_type: 'code', scope, state: checks.state, nonce: checks.nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(checks.verifier), code_challenge_method: 'S256',
  });
  res.redirect(to.href);
});

app.get('/callback', async (req, res) => {
  const { verifier, state, nonce } = req.session.checks;
  const params = oauth.validateAuthResponse(as, client, new URL(req.originalUrl, base), state);
  const answer = await oauth.authorizationCodeGrantRequest(as, client, auth, params, callback, verifier, http);
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, answer, { expectedNonce: nonce, requireIdToken: true });
  await oauth.validateApplicationLevelSignature(as, answer, http);
  await keep(req, tokens, oauth.getValidatedIdTokenClaims(tokens).sub);
  res.redirect('/me');
});

async function keep(req, tokens, sub) {
  const answer = await oauth.userInfoRequest(as, client, tokens.access_token, http);
  req.session.user = await oauth.processUserInfoResponse(as, client, sub, answer);
  req.session.tokens = { ...req.session.tokens, ...tokens };
}

app.get('/me', (req, res) => who(res, req.session.user));

const refresh = async (token) => oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, auth, token, http));

app.get('/refresh', async (req, res) => {
  const old = req.session.tokens;
  const tokens = await refresh(old.refresh_token);
  await keep(req, tokens, req.session.user.sub);
  res.json({ renewed: tokens.access_token !== old.access_token });
});

app.get('/logout', async (req, res) => {
  const { refresh_token: token } = req.session.tokens;
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, token, http));
  const refused = await refresh(token).catch((err) => err);
  req.session.destroy(() => res.json({ over: refused.error === 'invalid_grant' }));
});

serve(app);
