package web_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens"
)

// A login at a client ends in a row, an access token, a refresh token and an ID
// token, with no scope but openid.
func TestAuthorizationCode(t *testing.T) {
	x := newProvider(t, setup{})
	for client, uri := range map[string]string{
		"web1": "https://rp1.test/cb", "spa": "https://spa.test/cb", "nat1": "app.one:/oauth", "web2": "https://rp2.test/cb2",
	} {
		t.Run(client, func(t *testing.T) {
			x := x.in(t)
			g, b := x.clientLogin(client, uri, "scope", "openid")
			if g.access == "" || g.refresh == "" || g.id == "" {
				t.Fatal(g.answer.Body)
			}
			s, u, err := x.Store.SessionByID(t.Context(), g.session)
			if err != nil || s.ClientID != client || u.Username != "alice" || s.ParentID == "" || s.FollowsParent != (client != "nat1") {
				t.Errorf("session %+v, %v", s, err)
			}
			info := x.do(http.MethodGet, "/oauth2/userinfo", bearer(g.access)).want(200)
			if info.text("sub") != u.ID {
				t.Errorf("userinfo %s", info.Body)
			}
			if _, has := info.at("email"); has {
				t.Errorf("userinfo has more than was asked for: %s", info.Body)
			}
			// Silently again, in the same browser.
			q := b.authorize(request(client, uri, "prompt", "none")).sentTo(uri)
			if q.Get("code") == "" {
				t.Errorf("silent login: %v", q)
			}
			x.Clock.Advance(time.Hour)
			again := x.refreshAt(client, g.refresh).granted()
			if again.session != g.session || again.refresh == "" || again.id == "" {
				t.Error(again.answer.Body)
			}
		})
	}
}

// Whoever is not first-party asks, once, unless it asks anew or for more.
func TestConsent(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.newBrowser()
	const uri = "https://asking.test/cb"
	page := b.authorize(request("asking", uri)).want(200)
	page.says("Asking App")
	answer := b.post("/oauth2/consent", "id", hidden(page, "id"), "decision", "allow")
	x.redeem("asking", uri, answer.sentTo(uri).Get("code")).granted()
	if b.authorize(request("asking", uri)).sentTo(uri).Get("code") == "" {
		t.Error("it asks again")
	}
	page = b.authorize(request("asking", uri, "prompt", "consent")).want(200)
	denied := b.post("/oauth2/consent", "id", hidden(page, "id"), "decision", "deny").sentTo(uri)
	if denied.Get("error") != "access_denied" || denied.Get("code") != "" {
		t.Error(denied)
	}
	b.post("/oauth2/consent", "id", hidden(page, "id"), "decision", "allow").refused(400, broker.InvalidState, "")
	b.authorize(request("asking", uri, "scope", "openid groups")).want(200)
}

// A device shows a code, a person types it elsewhere, and the device is logged
// in; an answer that was lost is answered again.
func TestDeviceGrant(t *testing.T) {
	x := newProvider(t, setup{})
	d := x.do(http.MethodPost, "/oauth2/device_authorization", form("client_id", "nat1", "scope", "openid profile")).want(200)
	poll := func() *answer {
		return x.callToken([]string{"grant_type", broker.GrantDeviceCode, "device_code", d.text("device_code"), "client_id", "nat1"})
	}
	poll().oauthError(400, "authorization_pending")
	poll().oauthError(400, "slow_down")
	b := x.newBrowser()
	page := b.logIn(b.open(d.text("verification_uri_complete")), "alice").want(200)
	page.says("nat1")
	b.follow(b.post("/device", "user_code", hidden(page, "user_code"), "decision", "allow")).want(200).says("connected")
	x.Clock.Advance(11 * time.Second)
	g := poll().granted()
	x.Clock.Advance(6 * time.Second)
	if again := poll().granted(); again.session != g.session {
		t.Error("a poll that was repeated made another session")
	}
	x.Clock.Advance(time.Hour)
	x.refreshAt("nat1", g.refresh).granted()
	poll().oauthError(400, "invalid_grant")
	x.refreshAt("nat1", g.refresh).granted()
}

// Logging out at a client logs the browser out, and the other sites with it;
// apps stay.
func TestLogoutFromClient(t *testing.T) {
	x := newProvider(t, setup{})
	g, b := x.clientLogin("web1", "https://rp1.test/cb")
	other := x.redeem("web2", "https://rp2.test/cb", x.codeFor(b, "web2", "https://rp2.test/cb")).granted()
	app := x.redeem("nat1", "app.one:/oauth", x.codeFor(b, "nat1", "app.one:/oauth")).granted()
	a := b.open("/oauth2/logout?id_token_hint=" + g.id + "&post_logout_redirect_uri=https://rp1.test/out&state=bye")
	if a.Header.Get("Location") != "https://rp1.test/out?state=bye" {
		t.Fatal(a.Header)
	}
	x.refreshAt("web1", g.refresh).oauthError(400, "invalid_grant").refused(400, broker.LoggedOut, "login")
	x.refreshAt("web2", other.refresh).refused(400, broker.LoggedOut, "login")
	x.refreshAt("nat1", app.refresh).granted()
	q := b.authorize(request("web1", "https://rp1.test/cb", "prompt", "none")).sentTo("https://rp1.test/cb")
	if q.Get("error") != "login_required" {
		t.Error(q)
	}
}

// A browser is one device, however often somebody logs in there: a new login
// takes the place of the one before, and the sites that followed it follow on.
func TestLoginAgainInOneBrowser(t *testing.T) {
	x := newProvider(t, setup{})
	const uri = "https://rp1.test/cb"
	g, b := x.clientLogin("web1", uri)
	live := func() (browsers int) {
		list, _, err := x.Broker.Sessions(t.Context(), userIDOf(t, x, "alice"), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if s.ClientID == broker.AppClientID {
				browsers++
			}
		}
		return browsers
	}
	for range 3 {
		x.Clock.Advance(time.Minute)
		page := b.authorize(request("web1", uri, "prompt", "login"))
		if page.sentTo(uri).Get("code") == "" || live() != 1 {
			t.Fatalf("%d sessions of one browser", live())
		}
	}
	x.refreshAt("web1", g.refresh).granted()
	b.send(http.MethodPost, "/session/end", header("Sec-Fetch-Site", "same-origin"))
	x.refreshAt("web1", g.refresh).refused(400, broker.LoggedOut, "login")
}

func userIDOf(t testing.TB, x *site, name string) string {
	t.Helper()
	u, err := x.Broker.FindUser(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}

// The list of ended sessions changes with them alone, so that whoever has it
// need not fetch it again.
func TestRevocationList(t *testing.T) {
	x := newProvider(t, setup{})
	g, _ := x.clientLogin("web1", "https://rp1.test/cb")
	first := x.do(http.MethodGet, "/oauth2/revocations").want(200)
	x.Clock.Advance(10 * time.Second)
	tag := first.Header.Get("ETag")
	x.do(http.MethodGet, "/oauth2/revocations", header("If-None-Match", tag)).want(304)
	x.do(http.MethodPost, "/oauth2/revoke", form("token", g.refresh), basic("web1", webSecret)).want(200)
	x.Clock.Advance(10 * time.Second)
	next := x.do(http.MethodGet, "/oauth2/revocations", header("If-None-Match", tag)).want(200)
	keys, err := tokens.ParseKeySet(x.Broker.KeyRing().JWKS())
	if err != nil {
		t.Fatal(err)
	}
	list, err := tokens.ParseRevocations(t.Context(), next.Body, publicURL, keys, x.Clock.Now())
	if err != nil || !list.Has(g.session) || list.Has(g.session+"x") {
		t.Errorf("%v, %v", list, err)
	}
	x.Clock.Advance(2 * time.Hour) // no access token of it is left
	last := x.do(http.MethodGet, "/oauth2/revocations").want(200)
	if list, err := tokens.ParseRevocations(t.Context(), last.Body, publicURL, keys, x.Clock.Now()); err != nil || list.Has(g.session) {
		t.Errorf("%v, %v", list, err)
	}
}

// A code that waits while its browser logs in again, in another tab, is good:
// nobody was logged out.
func TestCodeAcrossALoginInTheSameBrowser(t *testing.T) {
	x := newProvider(t, setup{})
	const uri = "https://rp1.test/cb"
	b := x.newBrowser()
	code := x.codeFor(b, "web1", uri)
	for range 2 {
		b.authorize(request("web2", "https://rp2.test/cb", "prompt", "login")).sentTo("https://rp2.test/cb")
	}
	g := x.redeem("web1", uri, code).granted()
	b.send(http.MethodPost, "/session/end", header("Sec-Fetch-Site", "same-origin"))
	x.refreshAt("web1", g.refresh).refused(400, broker.LoggedOut, "login")
}
