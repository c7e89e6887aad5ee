// A certified OpenID provider (npm oidc-provider): the IdP behind Latchkey or,
// with clients of its own, in Latchkey's place, to tell a client's fault from
// Latchkey's.
//   node op.mjs '{"port", "clients"}'
// It ends when its standard input does.
import '../e2e/node18.mjs';

const { Provider } = await import('oidc-provider');

const { port, clients } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;

const account = (username, name) => ({ email: `${username}@example.org`, email_verified: true, preferred_username: username, name });
const accounts = { anna: account('anna', 'Anna Example'), olga: account('olga', 'Olga Example') };

const provider = new Provider(issuer, {
  clients: clients.map((c) => ({ grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], ...c })),
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'] },
  findAccount: (_ctx, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
  cookies: { keys: ['a cookie key of a test'] },
  features: {
    devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true }, backchannelLogout: { enabled: true }, revocation: { enabled: true }, dPoP: { enabled: true },
  },
  clientBasedCORS: () => true,
  conformIdTokenClaims: false,
  fetch: (url, { dispatcher, ...options }) => fetch(url, options), // without its guard against local addresses
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  pkce: { required: (_ctx, client) => client.clientAuthMethod === 'none' },
});

for (const event of ['server_error', 'grant.error', 'authorization.error', 'end_session.error', 'backchannel.error', 'userinfo.error']) {
  provider.on(event, (_ctx, err) => console.error(event, err.message, err.error_description ?? '', err.error_detail ?? '', err.cause ?? ''));
}
const server = provider.listen(port, '127.0.0.1', () => console.log(`listening on ${issuer}`));
server.on('error', (err) => { console.error(err.message); process.exit(1); });
process.stdin.resume().on('end', () => process.exit(0));
