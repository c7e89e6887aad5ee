// express-openid-connect: its own /login, /callback and /logout, refresh, and
// back-channel logout.
import { base, begin, client, issuer, scope, serve, who } from './site.mjs';
import session from 'express-session';
import openid from 'express-openid-connect';

const app = begin(openid.auth({
  baseURL: base, issuerBaseURL: issuer, clientID: client.client_id, clientSecret: client.client_secret,
  secret: 'a secret of a test', authRequired: false, idpLogout: true, enableTelemetry: false,
  authorizationParams: { response_type: 'code', scope },
  session: { store: new session.MemoryStore() }, backchannelLogout: true,
}));

app.get('/', (_req, res) => res.redirect('/me'));
app.get('/me', async (req, res) => who(res, req.oidc.isAuthenticated() && await req.oidc.fetchUserInfo()));
app.get('/refresh', async (req, res) => {
  const old = req.oidc.accessToken.access_token;
  const { access_token: token } = await req.oidc.accessToken.refresh();
  res.json({ renewed: token !== old });
});

serve(app);
