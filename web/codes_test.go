package web_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// WWW-Authenticate tells no token from an expired, an ended and a broken one
// (RFC 6750 section 3).
func TestChallenges(t *testing.T) {
	x := newSite(t, setup{})
	p := x.login("alice")
	challenge := func(a *answer) string {
		t.Helper()
		if a.want(401).Body != "Unauthorized" || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("body %q, Cache-Control %q", a.Body, a.Header.Get("Cache-Control"))
		}
		return a.Header.Get("WWW-Authenticate")
	}
	want := func(what, got, text string) {
		t.Helper()
		full := "Bearer"
		if text != "" {
			full = `Bearer error="invalid_token", error_description="` + text + `"`
		}
		if got != full {
			t.Errorf("%s: %s, want %s", what, got, full)
		}
	}
	want("none", challenge(x.do(http.MethodGet, "/api/me").refused(401, broker.NoToken, web.VerdictLogin)), "")
	want("other scheme", challenge(x.do(http.MethodGet, "/api/me", header("Authorization", "Basic YTpi")).refused(401, broker.NoToken, web.VerdictLogin)), "")
	want("malformed", challenge(x.me("x").refused(401, broker.InvalidToken, web.VerdictLogin)), "the access token is malformed or not from this issuer")
	want("refresh token", challenge(x.me(p.refresh).refused(401, broker.WrongTokenType, web.VerdictLogin)), "the token is not an access token")
	gone := x.login("alice")
	x.do(http.MethodPost, "/logout", refreshHeader(gone.refresh))
	want("ended", challenge(x.me(gone.access).refused(401, broker.LoggedOut, web.VerdictLogin)), "the session has ended: logged_out")
	x.Clock.Advance(time.Hour + time.Minute)
	want("expired", challenge(x.me(p.access).refused(401, broker.TokenExpired, web.VerdictRefresh)), "the access token has expired")
	x.do(http.MethodPost, "/api/authorize", bearer(p.access)).refused(401, broker.TokenExpired, web.VerdictRefresh)
	// Of a token that is both, the client is told to refresh, and learns the rest there.
	x.me(gone.access).refused(401, broker.TokenExpired, web.VerdictRefresh)
	x.refresh(gone.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
}

// A clock that was set back makes tokens of the future, of which nothing is proven
// bad: a refresh gets one of now.
func TestClockThatWasSetBackAsksForARefresh(t *testing.T) {
	x := newSite(t, setup{})
	x.Clock.Advance(2 * time.Hour) // so that its key is older than what the clock is set back by
	p := x.login("alice")
	x.Clock.Advance(-time.Hour)
	a := x.me(p.access).refused(401, broker.TokenExpired, web.VerdictRefresh)
	if said := a.Header.Get("WWW-Authenticate"); !strings.Contains(said, "from the future: a clock was set") {
		t.Errorf("challenge %q", said)
	}
	x.me(x.refresh(p.refresh).pair().access).want(200)
}

// Where an administrator asked for it, the app is told to remove its data: in
// header and body, of the refresh and of the API alike.
func TestWipe(t *testing.T) {
	x := newSite(t, setup{})
	p, other := x.login("alice"), x.login("alice")
	if _, err := x.Broker.EndSessions(context.Background(), broker.SessionFilter{ID: p.session}, broker.RevokedByAdmin, true, ""); err != nil {
		t.Fatal(err)
	}
	x.refresh(p.refresh).refused(401, broker.RevokedByAdmin, web.VerdictWipe)
	x.me(p.access).refused(401, broker.RevokedByAdmin, web.VerdictWipe)
	x.refresh(other.refresh).pair()
	// An expired access token still asks for a refresh first, which then says so.
	x.Clock.Advance(2 * time.Hour)
	x.me(p.access).refused(401, broker.TokenExpired, web.VerdictRefresh)
	x.refresh(p.refresh).refused(401, broker.RevokedByAdmin, web.VerdictWipe)
}

// Every cause that can end a session is said as it is.
func TestEveryCauseIsSaid(t *testing.T) {
	x := newSite(t, setup{})
	for cause, text := range map[broker.EndCause]string{
		broker.SessionExpired: "Refresh token expired", broker.SessionMaxAge: "Refresh token expired", broker.SessionLimit: "Invalid refresh token",
		broker.LoggedOut: "Invalid refresh token", broker.RevokedByUser: "Invalid refresh token", broker.RevokedByAdmin: "Invalid refresh token",
		broker.PasswordChanged: "Invalid refresh token", broker.UserDisabled: "User not found or inactive", broker.UserDeleted: "User not found or inactive",
		broker.ClientRemoved: "Invalid refresh token", broker.IdPLogout: "Invalid refresh token", broker.IdPRevoked: "Invalid refresh token",
		broker.LinkUndone: "Invalid refresh token", broker.TokenReused: "Invalid refresh token", broker.CodeReused: "Invalid refresh token",
	} {
		p := x.login("alice")
		if _, err := x.Broker.EndSessions(context.Background(), broker.SessionFilter{ID: p.session}, cause, false, ""); err != nil {
			t.Fatal(err)
		}
		x.refresh(p.refresh).refused(401, cause, web.VerdictLogin).errorText(text)
		x.me(p.access).refused(401, cause, web.VerdictLogin)
	}
}

// Whatever holds a token or speaks of one is never kept by a cache.
func TestW04NothingWithATokenIsCached(t *testing.T) {
	idp := startIdP(t)
	p := newApp(newSite(t, setup{idp: idp}))
	alice := p.login("alice")
	callback := p.atIdP(idp, p.toIdP(), "anna")
	back := p.do(http.MethodGet, callback)
	for name, a := range map[string]*answer{
		"login": p.sendLogin("alice", "password of alice"), "login, header": p.sendLogin("alice", "password of alice", returnTokens),
		"login refused": p.sendLogin("alice", "x"), "refresh": p.refresh(alice.refresh), "refresh refused": p.refresh("x"),
		"me": p.me(alice.access), "me refused": p.me("x"), "authorize": p.do(http.MethodPost, "/api/authorize", bearer(alice.access)),
		"sessions": p.do(http.MethodGet, "/api/me/sessions", bearer(alice.access)), "me by URL": p.do(http.MethodGet, "/api/me?token="+alice.access),
		"start": p.start(nil), "web start": p.do(http.MethodGet, "/auth/openid?callback=/"), "open": p.do(http.MethodGet, p.open(p.start(nil).location())),
		"callback": back, "callback again": p.do(http.MethodGet, callback), "redeem": p.redeem("x"),
		"page login": p.do(http.MethodPost, "/login/password", body("application/x-www-form-urlencoded", "username=alice&password=password+of+alice")),
		"home":       p.do(http.MethodGet, "/", cookies(p.page("alice"))), "login page": p.do(http.MethodGet, "/login"), "status": p.do(http.MethodGet, "/status"),
		"logout":         p.do(http.MethodPost, "/logout", refreshHeader(alice.refresh)),
		"password":       p.changePassword(p.login("alice").access, "password of alice", "another password"),
		"logout by page": p.do(http.MethodPost, "/session/end"),
	} {
		if got := a.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, got)
		}
		if a.Header.Get("X-Content-Type-Options") != "nosniff" || !slices.Contains([]string{"no-referrer", "same-origin"}, a.Header.Get("Referrer-Policy")) || !strings.Contains(a.Header.Get("Content-Security-Policy"), "frame-ancestors") {
			t.Errorf("%s: headers %v", name, a.Header)
		}
	}
}

func TestKeysAndMetadata(t *testing.T) {
	x := newSite(t, setup{})
	p := x.login("alice")
	a := x.do(http.MethodGet, "/.well-known/jwks.json").want(200)
	keys := a.json()["keys"].([]any)
	ids := map[string]bool{}
	for _, k := range keys {
		key := k.(map[string]any)
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
			if _, there := key[private]; there {
				t.Errorf("the key set has %s", private)
			}
		}
		kinds := map[any]any{"ES256": "EC", "EdDSA": "OKP", "RS256": "RSA"}
		if key["use"] != "sig" || key["kty"] != kinds[key["alg"]] {
			t.Errorf("key %v", key)
		}
		ids[key["kid"].(string)] = true
	}
	if head := headerOf(t, p.access); len(keys) != 3 || !ids[head["kid"].(string)] || head["typ"] != "at+jwt" {
		t.Errorf("header %v, keys %v", head, ids)
	}
	if head := headerOf(t, p.refresh); ids[head["kid"].(string)] || head["typ"] != "rt+jwt" {
		t.Errorf("the refresh token's key is published: %v", head)
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		m := x.do(http.MethodGet, path).want(200).json()
		if m["issuer"] != publicURL {
			t.Errorf("issuer %v", m["issuer"])
		}
		for name, v := range m {
			target, isText := v.(string)
			if !isText || !strings.HasPrefix(target, publicURL+"/") {
				continue
			}
			if status := x.do(http.MethodGet, target).Status; status == 404 {
				t.Errorf("%s names %s, which does not exist", name, target)
			}
		}
	}
}
