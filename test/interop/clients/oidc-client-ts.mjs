// oidc-client-ts in the browser: a page of its own origin that talks to the
// provider by fetch (CORS), keeps its tokens in the session storage, and renews
// them silently with the refresh token.
import { UserManager } from 'oidc-client-ts';

const { issuer, client } = JSON.parse(document.getElementById('settings').textContent);
const { origin } = location;

const manager = new UserManager({
  authority: issuer, client_id: client.client_id, scope: 'openid profile email', loadUserInfo: true, automaticSilentRenew: false,
  redirect_uri: `${origin}/callback`, post_logout_redirect_uri: `${origin}/bye`,
});

const pages = {
  '/login': () => manager.signinRedirect(),
  '/callback': async () => {
    await manager.signinRedirectCallback();
    location.replace('/me');
  },
  '/me': async () => {
    const user = await manager.getUser();
    if (!user) return { error: 'not logged in' };
    const { sub, preferred_username: username, email, name } = user.profile;
    return { sub, username, email, name };
  },
  '/refresh': async () => {
    const old = await manager.getUser();
    const user = await manager.signinSilent();
    return { renewed: user.access_token !== old.access_token && user.profile.sub === old.profile.sub };
  },
  '/logout': () => manager.signoutRedirect({ state: 'bye' }),
  '/bye': async () => {
    const { userState } = await manager.signoutRedirectCallback();
    return { over: userState === 'bye' && await manager.getUser() === null };
  },
};

const show = (what) => {
  const pre = document.createElement('pre');
  pre.textContent = JSON.stringify(what);
  document.body.append(pre);
};
pages[location.pathname]().then((what) => what && show(what), (err) => show({ error: `${err.error ?? ''} ${err.message}` }));
