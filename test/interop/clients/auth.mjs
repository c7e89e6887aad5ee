// Auth.js (@auth/core in @auth/express), with the pages that it brings along.
// It keeps no tokens unless told to, and its logout is its own alone.
import { base, begin, client, issuer, serve, who } from './site.mjs';
import { ExpressAuth, getSession } from '@auth/express';

process.env.AUTH_URL = `${base}/auth`;
const config = {
  secret: 'a secret of a test, and long enough',
  trustHost: true,
  basePath: '/auth',
  providers: [{
    id: 'latchkey', name: 'Latchkey', type: 'oidc', issuer,
    clientId: client.client_id, clientSecret: client.client_secret, checks: ['pkce', 'state', 'nonce'],
  }],
  callbacks: {
    jwt: ({ token, profile }) => (profile ? { ...token, profile } : token),
    session: ({ session, token }) => ({ ...session, profile: token.profile }),
  },
};

const app = begin();
app.use('/auth', ExpressAuth(config));
app.get('/', (_req, res) => res.redirect('/me'));
app.get('/me', async (req, res) => who(res, (await getSession(req, config))?.profile));

serve(app);
