package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// From an app to the login and back, and every end of the browser's login is the
// end at the app.
func TestForwardJourney(t *testing.T) {
	x := forwardSite(t)
	a := x.do("GET", "/forward-auth?mode=redirect", about("https://app1.test/x?y=1&z=%2F"), htmlOnly).want(302)
	if to := a.Header.Get("Location"); to != "https://app1.test/.latchkey/login?to=%2Fx%3Fy%3D1%26z%3D%252F" {
		t.Fatal(to)
	}
	x.do("GET", "/forward-auth?mode=redirect", about("https://app1.test/x", "X-Forwarded-Method", "POST"), htmlOnly).want(303)
	b, jars := x.newBrowser(), map[string]*browser{}
	page := b.opens(jars, "https://app1.test/x?y=1&z=%2F").says("Continue to app1.test")
	if strings.Contains(page.Header.Get("Content-Security-Policy"), "form-action") {
		t.Error("the form may not lead on to the app")
	}
	sent := b.post("/login/password", "username", "alice", "password", "password of alice", "next", hidden(page, "next")).want(303)
	in := b.opens(jars, sent.Header.Get("Location")).want(200)
	app := jars["app1.test"]
	for what, end := range map[string]func(b *browser){
		"logout":           func(b *browser) { b.post("/session/end").want(303) },
		"an administrator": func(*browser) { x.endAll() },
	} {
		session := in.Header.Get("Remote-Session")
		if s := x.row(session); s.ParentID != b.session() || !s.FollowsParent || s.ClientID != "forward-auth:app1.test" {
			t.Fatalf("%+v", s)
		}
		app.send("GET", "/forward-auth", about("https://app1.test/")).want(200)
		b.open("/account").want(200).says("app1.test")
		end(b)
		app.send("GET", "/forward-auth", about("https://app1.test/")).want(401)
		if x.row(session).EndCause == "" {
			t.Error(what, "did not end the session")
		}
		b = x.at("alice")
		in = b.opens(jars, "https://app1.test/").want(200)
	}
}

// endAll is an administrator who ends what alice has.
func (x *site) endAll() {
	x.t.Helper()
	if _, err := x.Broker.EndSessions(x.t.Context(), broker.SessionFilter{UserID: x.idOf("alice")}, broker.RevokedByAdmin, false, ""); err != nil {
		x.t.Fatal(err)
	}
}

// A browser has one session at an app, and keeps it when it logs in again.
func TestForwardSessionsDoNotPileUp(t *testing.T) {
	x := forwardSite(t)
	b, jars := x.loggedInAt("alice", "https://app1.test/")
	old := jars["app1.test"].jar[appCookie]
	delete(jars["app1.test"].jar, appCookie)
	b.opens(jars, "https://app1.test/").want(200)
	x.asks("https://app1.test/", cookie(appCookie, old)).refused(401, broker.LoggedOut, "login")
	now := cookie(appCookie, jars["app1.test"].jar[appCookie])
	b.post("/login/password", "username", "alice", "password", "password of alice").want(303)
	x.asks("https://app1.test/", now).want(200)
	b.post("/session/end").want(303)
	x.asks("https://app1.test/", now).refused(401, broker.LoggedOut, "login")
}

// A check costs one statement, and once an hour a second one that notes the use;
// what is used does not expire.
func TestForwardStatements(t *testing.T) {
	x := forwardSite(t)
	_, jars := x.loggedInAt("alice", "https://app1.test/")
	own := cookie(appCookie, jars["app1.test"].jar[appCookie])
	cost := func(options ...option) int64 {
		before := x.Statements.Load()
		x.asks("https://app1.test/x", options...).want(200)
		return x.Statements.Load() - before
	}
	access := x.login("alice").access
	for what, option := range map[string]option{"cookie": own, "token": bearer(access)} {
		if n := cost(option); n != 1 {
			t.Errorf("%s: %d statements", what, n)
		}
	}
	x.Clock.Advance(2 * time.Hour)
	if first, second := cost(own), cost(own); first != 2 || second != 1 {
		t.Errorf("after two hours %d and %d statements", first, second)
	}
	for range 40 {
		x.Clock.Advance(24 * time.Hour)
		cost(own)
	}
	before := x.Statements.Load()
	x.asks("https://app1.test/x").want(401)
	x.asks("https://app1.test/public/x").want(200)
	if n := x.Statements.Load() - before; n != 0 {
		t.Errorf("without credentials: %d statements", n)
	}
}

// Programs come with a key or a token, by their scope, and are sent to no login.
func TestForwardKeysAndTokens(t *testing.T) {
	x := forwardSite(t)
	key := func(scope string) option {
		_, text, err := x.Broker.CreateAPIKey(t.Context(), nil, broker.NewAPIKey{Name: "k", UserID: x.idOf("alice"), Scope: scope}, broker.Device{})
		if err != nil {
			t.Fatal(err)
		}
		return bearer(text.Reveal())
	}
	forward, api := key("latchkey:forward"), key("latchkey:api")
	for _, host := range []string{"https://app1.test/", "https://key.test/"} {
		a := x.asks(host, forward).want(200)
		if a.Header.Get("Remote-User") != "alice" || a.Header.Get("Remote-Session") != "" {
			t.Errorf("%v", a.Header)
		}
		x.asks(host, api).refused(403, broker.InsufficientScope, "")
		x.asks(host, bearer("lk_none")).refused(401, broker.InvalidToken, "login")
		x.do("GET", "/forward-auth?mode=redirect", about(host), header("Authorization", "Bearer x"), htmlOnly).want(401)
	}
	x.asks("https://app2.test/", forward).refused(403, broker.GroupNotAllowed, "")
	x.do("GET", "/api/me", forward).refused(403, broker.InsufficientScope, "")
	access := x.login("alice").access
	x.asks("https://app1.test/", bearer(access)).want(200)
	x.asks("https://key.test/", bearer(access)).refused(403, broker.Forbidden, "")
	granted := x.grant(x.at("alice"), "web1")
	x.asks("https://app1.test/", bearer(granted)).refused(403, broker.InsufficientScope, "")
	for _, program := range []option{
		header("Accept", "application/json"), header("X-Requested-With", "XMLHttpRequest"), header("Sec-Fetch-Mode", "cors"), header("Sec-WebSocket-Key", "x"),
	} {
		if a := x.do("GET", "/forward-auth?mode=redirect", about("https://app1.test/"), program); a.Status != 401 || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%d %v", a.Status, a.Header)
		}
	}
	x.do("GET", "/forward-auth?mode=redirect", about("https://key.test/"), htmlOnly).want(401)
}

// grant logs a browser in at a client, and returns the access token.
func (x *site) grant(b *browser, client string) string {
	x.t.Helper()
	a := x.callToken([]string{
		"grant_type", "authorization_code", "code", x.codeFor(b, client, "https://rp1.test/cb"), "redirect_uri", "https://rp1.test/cb", "code_verifier", verifier,
	}, basic(client, webSecret))
	return a.want(http.StatusOK).json()["access_token"].(string)
}
