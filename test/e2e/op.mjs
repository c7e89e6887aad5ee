// A certified OpenID provider (npm oidc-provider) as the external IdP.
//   node op.mjs <port> <Latchkey's public URL>
// It ends when its standard input does: it does not outlive who started it.
import './node18.mjs';

const { Provider } = await import('oidc-provider');

const [port, latchkey] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const accounts = {
  anna: { email: 'anna@example.org', email_verified: true, preferred_username: 'anna', name: 'Anna Example', groups: ['readers', 'editors'] },
  bo: { email: 'bo@example.org', email_verified: true, preferred_username: 'bo', name: 'Bo', groups: ['readers'] },
};

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'latchkey',
    client_secret: 'a secret of a test',
    redirect_uris: [`${latchkey}/auth/npm/callback`],
    post_logout_redirect_uris: [`${latchkey}/login`],
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username', 'groups'] },
  findAccount: (_ctx, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
  cookies: { keys: ['a cookie key of a test'] },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  pkce: { required: () => true },
});

for (const event of ['server_error', 'grant.error', 'authorization.error', 'end_session.error']) {
  provider.on(event, (_ctx, err) => console.error(event, err.message, err.error_description ?? '', err.error_detail ?? ''));
}
const server = provider.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${issuer}`));
server.on('error', (err) => { console.error(err.message); process.exit(1); });
process.stdin.resume().on('end', () => process.exit(0));
