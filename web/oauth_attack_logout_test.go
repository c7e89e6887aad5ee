package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/web"
)

// throughIdP logs somebody of the IdP in, in a browser.
func (x *site) throughIdP(idp *providertest.IdP, name string) *browser {
	x.t.Helper()
	b := x.newBrowser()
	begun := b.send(http.MethodGet, "/auth/openid?callback=/")
	callback, err := idp.Authorize(x.t.Context(), begun.location().String(), name)
	if err != nil {
		x.t.Fatal(err)
	}
	b.send(http.MethodGet, callback).want(302)
	return b
}

// idpSID is the IdP's own session behind a session of ours.
func (x *site) idpSID(session string) string {
	x.t.Helper()
	s, _, err := x.Store.SessionByID(x.t.Context(), session)
	if err != nil || s.IdPSession == "" {
		x.t.Fatalf("%+v %v", s, err)
	}
	return s.IdPSession
}

// U23: what is no logout token of the IdP ends nothing; the real one ends one
// session of the IdP, with all that came of it, once.
func TestU23ForgedBackChannelLogout(t *testing.T) {
	idp := startIdP(t)
	x := newProvider(t, setup{idp: idp})
	first, second := x.throughIdP(idp, "anna"), x.throughIdP(idp, "anna")
	mine := x.redeem("web1", cb1, x.codeFor(first, "web1", cb1)).granted()
	app := x.redeem("nat1", "app.one:/oauth", x.codeFor(first, "nat1", "app.one:/oauth")).granted()
	other := x.redeem("web1", cb1, x.codeFor(second, "web1", cb1)).granted()
	alice, _ := x.clientLogin("web1", cb1)
	sid := x.idpSID(mine.session)
	if sid == x.idpSID(other.session) {
		t.Fatal("the IdP has one session for two logins")
	}
	idp.SetClient(providertest.Client{ID: "latchkey", Secret: "the IdP's client secret", RedirectURIs: []string{publicURL + "/auth/openid/callback"}})
	now := x.Clock.Now().Unix()
	mint := func(alg string, unknown bool, bend providertest.Bend) string {
		idp.Script(func(s *providertest.Script) { s.SignAlg, s.SignWithUnknownKey = alg, unknown })
		defer idp.Script(func(s *providertest.Script) { s.SignAlg, s.SignWithUnknownKey = "", false })
		token, err := idp.MintLogoutToken("latchkey", "s-anna", sid, bend)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	post := func(token string) *answer {
		return x.do(http.MethodPost, "/auth/openid/backchannel-logout", form("logout_token", token))
	}
	idToken, err := idp.MintIDToken("latchkey", "anna", "", claimed("sid", sid))
	if err != nil {
		t.Fatal(err)
	}
	forged := map[string]string{
		"alg none": mint("none", false, nil), "alg NONE": mint("NONE", false, nil), "HS256 with the public key": mint(providertest.AlgHS256PublicPEM, false, nil), "HS256 with the client secret": mint(providertest.AlgHS256ClientSecret, false, nil),
		"another key": mint("", true, nil), "another iss": mint("", false, claimed("iss", "https://evil.test")), "iss with a slash": mint("", false, claimed("iss", idp.Issuer()+"/")), "another aud": mint("", false, claimed("aud", "web1")),
		"no aud": mint("", false, claimed("aud", nil)), "no events": mint("", false, claimed("events", nil)), "another event": mint("", false, claimed("events", map[string]any{"http://schemas.openid.net/event/x": map[string]any{}})),
		"events a list": mint("", false, claimed("events", []string{providertest.LogoutEvent})), "the event no object": mint("", false, claimed("events", map[string]any{providertest.LogoutEvent: true})), "a nonce": mint("", false, claimed("nonce", "n")),
		"an empty nonce": mint("", false, claimed("nonce", "")), "nobody": mint("", false, claimed("sub", nil, "sid", nil)), "empty sub and sid": mint("", false, claimed("sub", "", "sid", "")), "an ID token": idToken, "an ID token's shape": mint("", false, claimed("events", nil, "nonce", "n")),
		"no jti": mint("", false, claimed("jti", nil)), "expired": mint("", false, claimed("exp", now-120)), "no exp": mint("", false, claimed("exp", nil)), "no iat": mint("", false, claimed("iat", nil)), "an hour old": mint("", false, claimed("iat", now-3600, "exp", now+60)),
		"typ of an ID token's kin": mint("", false, func(h, _ map[string]any) { h["typ"] = "at+jwt" }), "our own logout token": mine.id, "an access token": mine.access, "nonsense": "x", "empty": "", "long": strings.Repeat("a", 30_000),
		"SUB for sub": mint("", false, claimed("sub", nil, "sid", nil, "SUB", "s-anna", "SID", sid)),
	}
	for what, token := range forged {
		a := post(token)
		if a.oauthError(400, "invalid_request"); t.Failed() {
			t.Fatal(what)
		}
	}
	good := mint("", false, nil)
	x.do(http.MethodPost, "/auth/openid/backchannel-logout", jsonBody(toJSON(map[string]string{"logout_token": good}))).oauthError(400, "invalid_request")
	x.do(http.MethodPost, "/auth/openid/backchannel-logout?logout_token="+good, form()).oauthError(400, "invalid_request")
	x.do(http.MethodPost, "/auth/openid/backchannel-logout", body("application/x-www-form-urlencoded", "logout_token="+good+"&logout_token="+good)).oauthError(400, "invalid_request")
	x.do(http.MethodGet, "/auth/openid/backchannel-logout?logout_token="+good).want(405)
	if a := x.do(http.MethodPost, "/auth/nobody/backchannel-logout", form("logout_token", good)); a.Status != 404 {
		t.Errorf("an unknown provider: %d", a.Status)
	}
	// A subject and a session that do not belong together name nobody.
	post(mint("", false, claimed("sub", "s-bert"))).want(200)
	post(mint("", false, claimed("sid", "another"))).want(200)
	for _, g := range []granted{mine, app, other, alice} {
		x.userinfo(g.access).want(200)
	}

	if a := post(good).want(200); a.Header.Get("Cache-Control") != "no-store" || a.Body != "" {
		t.Errorf("%v %s", a.Header, a.Body)
	}
	for client, g := range map[string]granted{"web1": mine, "nat1": app} {
		x.userinfo(g.access).bearerError(401, "invalid_token")
		x.refreshAt(client, g.refresh).oauthError(400, "invalid_grant").refused(400, broker.IdPLogout, "login")
	}
	if to := first.send(http.MethodGet, "/").location().String(); !strings.HasPrefix(to, publicURL+"/login") {
		t.Errorf("the browser is still logged in: %s", to)
	}
	second.open("/").want(200)
	x.alive("web1", other)
	x.alive("web1", alice)
	post(good).oauthError(400, "invalid_request")

	// Of a subject alone: everything that the IdP knows by it, and nobody else.
	post(mint("", false, claimed("sid", nil))).want(200)
	x.refreshAt("web1", other.refresh).refused(400, broker.IdPLogout, "login")
	x.alive("web1", alice)
	if log := x.log.String(); strings.Contains(log, good) || strings.Contains(log, "panic") {
		t.Error("a logout token, or a panic, is in the log")
	}
}

// U23: another provider's token does not end what came through this one.
func TestU23LogoutTokenOfAnotherProvider(t *testing.T) {
	idp, evil := startIdP(t), startIdP(t)
	x := newProvider(t, setup{idp: idp, broker: func(c *broker.Config) {
		p := c.Providers[0]
		p.ID, p.IdP = "evil", oidc.New(oidc.Config{Issuer: evil.Issuer(), ClientID: "latchkey", Cache: c.Store.(*storage.Store), Now: c.Now})
		c.Providers = append(c.Providers, p)
	}})
	g := x.redeem("web1", cb1, x.codeFor(x.throughIdP(idp, "anna"), "web1", cb1)).granted()
	token, err := evil.MintLogoutToken("latchkey", "s-anna", x.idpSID(g.session), nil)
	if err != nil {
		t.Fatal(err)
	}
	x.do(http.MethodPost, "/auth/openid/backchannel-logout", form("logout_token", token)).oauthError(400, "invalid_request")
	x.do(http.MethodPost, "/auth/evil/backchannel-logout", form("logout_token", token)).want(200)
	x.alive("web1", g)
}

// A session is not made once its user is disabled, or the browser's session is
// over, between the code and its redemption; expiry is no such end.
func TestCodeOfAnEndedLogin(t *testing.T) {
	for what, c := range map[string]struct {
		end func(x *site, b *browser) error
		ok  bool
	}{
		"logged out": {func(_ *site, b *browser) error { b.post("/session/end").location(); return nil }, false},
		"disabled": {func(x *site, _ *browser) error {
			return x.Broker.SetDisabled(x.t.Context(), x.sessions("alice", true)[0].UserID, true)
		}, false},
		"revoked": {func(x *site, _ *browser) error {
			_, err := x.Broker.EndSessions(x.t.Context(), broker.SessionFilter{ID: x.sessions("alice", true)[0].ID}, broker.RevokedByAdmin, false, "")
			return err
		}, false},
		"deleted": {func(x *site, _ *browser) error {
			return x.Broker.DeleteUser(x.t.Context(), x.sessions("alice", true)[0].UserID)
		}, false},
		"nothing": {func(*site, *browser) error { return nil }, true},
	} {
		for client, uri := range map[string]string{"web1": cb1, "nat1": "app.one:/oauth"} {
			x := newProvider(t, setup{})
			b := x.loggedIn("alice")
			code := x.codeFor(b, client, uri)
			device := x.do(http.MethodPost, "/oauth2/device_authorization", form("client_id", "nat1")).want(200)
			b.follow(b.post("/device", "user_code", device.text("user_code"), "decision", "allow")).want(200)
			before := x.rows()
			if err := c.end(x, b); err != nil {
				t.Fatal(err)
			}
			a := x.redeem(client, uri, code)
			poll := x.callToken([]string{"grant_type", broker.GrantDeviceCode, "device_code", device.text("device_code"), "client_id", "nat1"})
			if c.ok {
				a.granted()
				poll.granted()
				continue
			}
			a.oauthError(400, "invalid_grant")
			if poll.Status != 400 || x.rows() != before {
				t.Errorf("%s, %s: the device gets %d %s; %d rows, before %d", what, client, poll.Status, poll.Body, x.rows(), before)
			}
		}
	}
}

// The end of the browser's session ends what web clients have of it, and
// nothing of apps; its expiry ends nothing.
func TestEndOfTheBrowserSession(t *testing.T) {
	for what, end := range map[string]func(x *site, b *browser){
		"page": func(_ *site, b *browser) { b.post("/session/end").location() },
		"JSON": func(x *site, b *browser) {
			x.do(http.MethodPost, "/logout", cookie("refresh_token", b.jar["refresh_token"])).want(200)
		},
		"client": func(_ *site, b *browser) {
			page := b.open("/oauth2/logout").want(200)
			b.post("/oauth2/logout/confirm", "id", hidden(page, "id")).location()
		},
	} {
		x := newProvider(t, setup{})
		b := x.loggedIn("alice")
		web := x.redeem("web1", cb1, x.codeFor(b, "web1", cb1)).granted()
		spa := x.redeem("spa", "https://spa.test/cb", x.codeFor(b, "spa", "https://spa.test/cb")).granted()
		app := x.redeem("nat1", "app.one:/oauth", x.codeFor(b, "nat1", "app.one:/oauth")).granted()
		elsewhere, _ := x.clientLogin("web1", cb1)
		end(x, b)
		for client, g := range map[string]granted{"web1": web, "spa": spa} {
			x.refreshAt(client, g.refresh).refused(400, broker.LoggedOut, "login")
			x.userinfo(g.access).bearerError(401, "invalid_token")
		}
		x.alive("nat1", app)
		if x.alive("web1", elsewhere); t.Failed() {
			t.Fatal(what)
		}
	}
	x := newProvider(t, setup{broker: func(c *broker.Config) { c.Lifetimes.Refresh = 30 * 24 * time.Hour }})
	b := x.loggedIn("alice")
	web := x.redeem("web1", cb1, x.codeFor(b, "web1", cb1)).granted()
	for range 4 { // the client is used, the browser is not
		x.Clock.Advance(10 * 24 * time.Hour)
		web = x.refreshAt("web1", web.refresh).granted()
		if err := x.Broker.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if to := b.send(http.MethodGet, "/").location().String(); !strings.Contains(to, "session_expired") {
		t.Errorf("the browser's session has not expired: %s", to)
	}
	x.Clock.Advance(time.Hour)
	x.alive("web1", web)
}

// N09: a logout leads to a URI of the client that asks, and ends what it proves.
func TestN09PostLogoutRedirect(t *testing.T) {
	x := newProvider(t, setup{})
	g, b := x.clientLogin("web1", cb1)
	root := x.redeem("web1", cb1, x.codeFor(x.loggedIn("root"), "web1", cb1)).granted()
	for what, query := range map[string]string{
		"of nobody": "client_id=nobody&post_logout_redirect_uri=https://rp1.test/out", "a login's URI": "client_id=web1&post_logout_redirect_uri=" + cb1, "another client's": "client_id=web2&post_logout_redirect_uri=https://rp1.test/out",
		"by hint": "id_token_hint=" + g.id + "&post_logout_redirect_uri=https://rp1.test/out/", "hint and client differ": "id_token_hint=" + g.id + "&client_id=web2", "unsigned hint": "id_token_hint=" + unsignedToken(claimsOf(t, g.id)),
		"an access token": "id_token_hint=" + g.access, "a refresh token": "id_token_hint=" + g.refresh, "the app's client": "client_id=" + broker.AppClientID, "by hint, evil": "id_token_hint=" + g.id + "&post_logout_redirect_uri=https://evil.test",
	} {
		a := b.send(http.MethodGet, "/oauth2/logout?"+query)
		if a.Status != 400 || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %q", what, a.Status, a.Header.Get("Location"))
		}
	}
	// Without a hint of hers, alice is asked; another site cannot say yes for her.
	for _, query := range []string{"", "client_id=web1&post_logout_redirect_uri=https://rp1.test/out", "id_token_hint=" + root.id + "&post_logout_redirect_uri=https://rp1.test/out"} {
		id := hidden(b.open("/oauth2/logout?"+query).want(200).says("Log out?"), "id")
		b.send(http.MethodPost, "/oauth2/logout/confirm", form("id", id), header("Origin", "https://evil.test")).refused(403, broker.CrossSite, "")
		b.send(http.MethodPost, "/oauth2/logout/confirm", form("id", id), header("Sec-Fetch-Site", "cross-site")).refused(403, broker.CrossSite, "")
	}
	b.open("/").want(200)
	x.alive("web1", g)
	x.alive("web1", root)
	to := b.follow(b.send(http.MethodPost, "/oauth2/logout", form("id_token_hint", g.id, "post_logout_redirect_uri", "https://rp1.test/out", "state", "a b&c=d\r\nX: y"))).location()
	if to.Query().Get("state") != "a b&c=d\r\nX: y" || to.Host != "rp1.test" || to.Path != "/out" {
		t.Errorf("to %s", to)
	}
	x.refreshAt("web1", g.refresh).refused(400, broker.LoggedOut, "login")
	x.alive("web1", root)
}

// A client's tokens are its own affair: at the JSON API's doors they end
// nothing, and least of all everything.
func TestTokensOfClientsAtTheJSONAPI(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	g, b := x.clientLogin("web1", cb1)
	app, power := x.login("alice"), x.power("root")
	for range 2 {
		x.refresh(g.refresh).refused(401, broker.ClientMismatch, "retry")
		x.do(http.MethodPost, "/auth/refresh", cookie("refresh_token", g.refresh)).refused(401, broker.ClientMismatch, "retry")
		x.refresh(power.refresh).refused(401, broker.ClientMismatch, "retry")
		x.refreshAt("web1", app.refresh).oauthError(400, "invalid_grant").refused(400, broker.ClientMismatch, "retry")
		x.refreshAt("web2", g.refresh).oauthError(400, "invalid_grant").refused(400, broker.ClientMismatch, "retry")
		x.refreshAt("spa", g.refresh).refused(400, broker.ClientMismatch, "retry")
		x.Clock.Advance(grace + time.Minute) // rotated tokens of others, too
	}
	for _, token := range []string{g.refresh, g.access, app.refresh, app.access} {
		x.do(http.MethodPost, "/oauth2/revoke", form("token", token), basic("web2", web2Secret)).want(200)
	}
	x.alive("web1", g)
	// A logout there is one of the client's own session: who was not granted the
	// API has no say in the others.
	for _, path := range []string{"/logout", "/logout?allDevices=1"} {
		for what, with := range map[string]func(granted) option{
			"header": func(g granted) option { return refreshHeader(g.refresh) }, "cookie": func(g granted) option { return cookie("refresh_token", g.refresh) },
			"access token": func(g granted) option { return bearer(g.access) },
		} {
			before := len(x.sessions("alice", true))
			own := x.redeem("web1", cb1, x.codeFor(b, "web1", cb1)).granted()
			x.do(http.MethodPost, path, with(own)).want(200)
			if n := len(x.sessions("alice", true)); n < before || what == "access token" && n != before+1 {
				t.Errorf("%s with the client's %s: %d sessions are left, before its login %d", path, what, n, before)
			}
		}
	}
	x.alive("web1", g)
	b.open("/").want(200)
	x.me(x.refresh(app.refresh).pair().access).want(200)
}

// Login loop after logout: also where the login ran out before, and where the logout
// is asked for a second time, the browser stays at the door.
func TestLogoutOfAnExpiredLoginIsNoLoop(t *testing.T) {
	x := newProvider(t, setup{idp: startIdP(t), web: func(c *web.Config) { c.AutoLaunch = "openid" }})
	for name, path := range map[string]string{"at once": "/oauth2/logout", "asked twice": "/oauth2/logout/confirm?id=gone"} {
		for what, session := range map[string]string{"no cookie": "", "a cookie that is over": "gone.gone"} {
			b := x.newBrowser()
			if session != "" {
				b.jar["__Host-latchkey_session"] = session
			}
			out := b.open(path)
			if _, there := b.jar["__Host-latchkey_session"]; there || b.jar["__Host-latchkey_stay"] == "" {
				t.Errorf("%s, %s: the browser has %v", name, what, b.jar)
			}
			out.want(200)
			b.open("/login").want(200).says("You logged out on this device.")
		}
	}
}
