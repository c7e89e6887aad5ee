// AppAuth, as an app on a computer uses it (RFC 8252): the system browser, a
// loopback redirect to a port that is free at the moment, PKCE, refresh,
// revocation. What the app shows is at base, for the test to look at.
import { begin, client, issuer, scope, serve, who } from './site.mjs';
import { once } from 'node:events';
import { createServer, Server } from 'node:http';
import {
  AuthorizationNotifier, AuthorizationRequest, AuthorizationServiceConfiguration, BaseTokenRequestHandler, RevokeTokenRequest, TokenRequest,
} from '@openid/appauth';
import { NodeCrypto } from '@openid/appauth/built/src/node_support/index.js';
import { NodeBasedHandler } from '@openid/appauth/built/src/node_support/node_request_handler.js';
import { NodeRequestor } from '@openid/appauth/built/src/node_support/node_requestor.js';
import { browser } from 'opener';

// AppAuth's server would be open to the whole network.
const { listen } = Server.prototype;
Server.prototype.listen = function (port, ...rest) {
  return typeof rest[0] === 'string' ? listen.call(this, port, ...rest) : listen.call(this, port, '127.0.0.1', ...rest);
};

const requestor = new NodeRequestor();
const config = await AuthorizationServiceConfiguration.fetchFromIssuer(issuer, requestor);
const tokens = new BaseTokenRequestHandler(requestor);
const { client_id } = client;

async function freePort() {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

let login, user, session;

async function logIn() {
  const port = await freePort();
  const redirect_uri = `http://127.0.0.1:${port}/callback`;
  const handler = new NodeBasedHandler(port);
  const notifier = new AuthorizationNotifier();
  handler.setAuthorizationNotifier(notifier);
  login = new Promise((resolve, reject) => {
    notifier.setAuthorizationListener((request, response, error) => {
      if (error) return reject(new Error(`${error.error} ${error.errorDescription ?? ''}`));
      // AppAuth leaves it to the app to compare the state.
      if (response.state !== request.state) return reject(new Error('another state came back'));
      return tokens.performTokenRequest(config, new TokenRequest({
        client_id, redirect_uri, grant_type: 'authorization_code', code: response.code, extras: { code_verifier: request.internal.code_verifier },
      })).then(keep).then(resolve, reject);
    });
  });
  login.catch(() => {}); // /me tells it
  handler.performAuthorizationRequest(config, new AuthorizationRequest({ client_id, redirect_uri, scope, response_type: 'code' }, new NodeCrypto()));
}

async function keep(response) {
  session = { ...response, refreshToken: response.refreshToken ?? session?.refreshToken };
  user = await requestor.xhr({ url: config.userInfoEndpoint, method: 'GET', dataType: 'json', headers: { Authorization: `Bearer ${response.accessToken}` } });
}

const refresh = () => tokens.performTokenRequest(config, new TokenRequest({
  client_id, redirect_uri: '', grant_type: 'refresh_token', refresh_token: session.refreshToken,
}));

const app = begin();
app.get('/login', async (_req, res) => {
  const opened = once(browser, 'open');
  await logIn();
  res.redirect((await opened)[0]);
});
app.get('/me', async (_req, res) => {
  await login;
  who(res, user);
});
app.get('/refresh', async (_req, res) => {
  const old = session.accessToken;
  await keep(await refresh());
  res.json({ renewed: session.accessToken !== old });
});
app.get('/logout', async (_req, res) => {
  await tokens.performRevokeTokenRequest(config, new RevokeTokenRequest({ client_id, token: session.refreshToken, token_type_hint: 'refresh_token' }));
  user = undefined;
  const refused = await refresh().then(() => undefined, (err) => err);
  res.json({ over: refused !== undefined });
});
serve(app);
