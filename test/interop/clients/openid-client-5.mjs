// openid-client 5 with its Passport strategy, in the way in which the server of
// Audiobookshelf uses it: the provider's URLs from its settings, PKCE but no
// nonce, and userinfo for everything that it knows of a person.
import { base, begin, callback, client, issuer, scope, serve, sessions, who } from './site.mjs';
import { Issuer, Strategy } from 'openid-client-5';
import passport from 'passport';

const found = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
const settings = ['issuer', 'authorization_endpoint', 'token_endpoint', 'userinfo_endpoint', 'jwks_uri', 'end_session_endpoint'];
const provider = new Issuer(Object.fromEntries(settings.map((name) => [name, found[name]])));
const { client_id, client_secret } = client;
const app5 = new provider.Client({ client_id, client_secret, id_token_signed_response_alg: 'RS256' });

passport.use('oidc', new Strategy({ client: app5, params: { redirect_uri: callback, scope } }, (tokens, userinfo, done) => done(null, { ...userinfo, tokens })));
passport.serializeUser((user, done) => done(null, user));
passport.deserializeUser((user, done) => done(null, user));

const app = begin(sessions, passport.session());
app.get('/login', passport.authenticate('oidc'));
app.get('/callback', passport.authenticate('oidc', { successRedirect: '/me', failWithError: true }));
app.get('/me', (req, res) => who(res, req.user));
app.get('/refresh', async (req, res) => {
  const tokens = await app5.refresh(req.user.tokens.refresh_token);
  const { sub } = await app5.userinfo(tokens);
  res.json({ renewed: tokens.access_token !== req.user.tokens.access_token && sub === req.user.sub });
});
let last;
app.get('/logout', (req, res) => {
  last = req.user.tokens.refresh_token;
  const to = app5.endSessionUrl({ id_token_hint: req.user.tokens.id_token, post_logout_redirect_uri: `${base}/bye` });
  req.session.destroy(() => res.redirect(to));
});
app.get('/bye', async (_req, res) => {
  const refused = await app5.refresh(last).catch((err) => err);
  res.json({ over: refused.error === 'invalid_grant' });
});

serve(app);
