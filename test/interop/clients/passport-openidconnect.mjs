// passport-openidconnect, a client of the older kind: no discovery, no PKCE, the
// secret in the body, no refresh and no logout.
import { begin, callback, client, issuer, serve, sessions, who } from './site.mjs';
import passport from 'passport';
import { Strategy } from 'passport-openidconnect';

const metadata = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();

passport.use(new Strategy({
  issuer, authorizationURL: metadata.authorization_endpoint, tokenURL: metadata.token_endpoint, userInfoURL: metadata.userinfo_endpoint,
  clientID: client.client_id, clientSecret: client.client_secret, callbackURL: callback, scope: ['profile', 'email'], nonce: true, maxAge: 3600,
}, (_issuer, userinfo, _idToken, _context, _raw, _access, _refresh, _params, done) => done(null, userinfo._json)));
passport.serializeUser((user, done) => done(null, user));
passport.deserializeUser((user, done) => done(null, user));

const app = begin(sessions, passport.session());
app.get('/login', passport.authenticate('openidconnect'));
app.get('/callback', passport.authenticate('openidconnect', { successRedirect: '/me', failWithError: true }));
app.get('/me', (req, res) => who(res, req.user));

serve(app);
