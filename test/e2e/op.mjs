// A certified OpenID provider (npm oidc-provider) as the external IdP.
//   node op.mjs <port> <file>
// The file is JSON: {"redirect_uris", "post_logout_redirect_uris", "accounts"}. An account's claims are what its id
// stands for in accounts; they are read again at each use, so that they may change.
// It ends when its standard input does: it does not outlive who started it.
import { readFileSync } from 'node:fs';
import './node18.mjs';

const { Provider } = await import('oidc-provider');

const [port, file] = process.argv.slice(2);
const read = () => JSON.parse(readFileSync(file, 'utf8'));
const { redirect_uris, post_logout_redirect_uris } = read();
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'latchkey',
    client_secret: 'a secret of a test',
    redirect_uris,
    post_logout_redirect_uris,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username', 'groups', 'may'] },
  // In the ID token as well as in userinfo, as most providers do: a dry run has the ID token alone.
  conformIdTokenClaims: false,
  findAccount: (_ctx, id) => {
    const claims = read().accounts[id];
    return claims && { accountId: id, claims: () => ({ ...claims, sub: id }) };
  },
  rotateRefreshToken: true,
  cookies: { keys: ['a cookie key of a test'] },
  features: {
    devInteractions: { enabled: true }, introspection: { enabled: true }, revocation: { enabled: true }, rpInitiatedLogout: { enabled: true },
  },
  pkce: { required: () => true },
});

for (const event of ['server_error', 'grant.error', 'authorization.error', 'end_session.error']) {
  provider.on(event, (_ctx, err) => console.error(event, err.message, err.error_description ?? '', err.error_detail ?? ''));
}
const server = provider.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${issuer}`));
server.on('error', (err) => { console.error(err.message); process.exit(1); });
process.stdin.resume().on('end', () => process.exit(0));
