package web_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// The numbers are those of the contract's black-box checks. The login through
// an IdP (13 to 16) and outages (21) have files of their own.

func TestCheck01StatusAndPing(t *testing.T) {
	x := newSite(t, setup{idp: startIdP(t)})
	status := x.do(http.MethodGet, "/status").want(200)
	s := status.json()
	if s["app"] != "audiobookshelf" || s["isInit"] != true || s["language"] == "" || s["latchkeyVersion"] != "test" {
		t.Errorf("status %s", status.Body)
	}
	major, rest, _ := strings.Cut(s["serverVersion"].(string), ".")
	minor, _, _ := strings.Cut(rest, ".")
	if n, _ := strconv.Atoi(minor); major != "2" || n < 26 {
		t.Errorf("serverVersion %v", s["serverVersion"])
	}
	if methods := s["authMethods"].([]any); len(methods) != 2 || methods[0] != "local" || methods[1] != "openid" {
		t.Errorf("authMethods %v", methods)
	}
	if form := s["authFormData"].(map[string]any); form["authOpenIDButtonText"] == "" || form["authOpenIDAutoLaunch"] != false {
		t.Errorf("authFormData %v", form)
	}
	if got := x.do(http.MethodGet, "/ping").want(200).Body; got != `{"success":true}` {
		t.Errorf("ping %s", got)
	}
	if got := x.do(http.MethodGet, "/healthcheck").want(200).Body; got != "OK" {
		t.Errorf("healthcheck %s", got)
	}
}

func TestCheck01NotSetUp(t *testing.T) {
	x := openSite(t, setup{})
	if v, _ := x.do(http.MethodGet, "/status").want(200).at("isInit"); v != false {
		t.Errorf("isInit %v without an administrator", v)
	}
}

// wantPayload checks what the app reads of every login answer.
func wantPayload(t *testing.T, a *answer) {
	t.Helper()
	for path, want := range map[string]any{"user.token": "", "user.username": "alice", "user.type": "user", "user.isActive": true, "Source": "latchkey"} {
		if got, ok := a.at(path); !ok || got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	for _, path := range []string{"user.librariesAccessible", "user.mediaProgress", "user.bookmarks", "user.itemTagsSelected", "ereaderDevices"} {
		if v, _ := a.at(path); v == nil {
			t.Errorf("%s is no array", path)
		} else if _, ok := v.([]any); !ok {
			t.Errorf("%s is %T, want an array", path, v)
		}
	}
	if v, ok := a.at("userDefaultLibraryId"); !ok || v != nil {
		t.Errorf("userDefaultLibraryId %v", v)
	}
	if v, _ := a.at("user.permissions.download"); v != true {
		t.Errorf("permissions %v", v)
	}
	if a.text("serverSettings.version") < "2.26.0" || a.text("serverSettings.language") == "" || len(a.text("user.id")) != 36 {
		t.Error("version, language or id are not what the app reads")
	}
	if v, ok := a.at("user.isOldToken"); ok {
		t.Errorf("isOldToken is there: %v", v)
	}
}

func TestCheck02LoginOfAnApp(t *testing.T) {
	x := newSite(t, setup{})
	a := x.sendLogin("alice", harness.PasswordOf("alice"), returnTokens)
	p := a.pair()
	wantPayload(t, a.noCookies())
	if a.Header.Get("Cache-Control") != "no-store" {
		t.Error("tokens may be cached")
	}
	if v, _ := a.at("expires_in"); v != 3600.0 {
		t.Errorf("expires_in %v", v)
	}
	if v, _ := a.at("refresh_expires_in"); v != 30*24*3600.0 {
		t.Errorf("refresh_expires_in %v", v)
	}
	if p.session != claimsOf(t, p.access)["sid"] {
		t.Error("session_id is not the sid")
	}
	x.me(p.access).want(200)
	// A form is as good, and the name has no case.
	x.do(http.MethodPost, "/login", body("application/x-www-form-urlencoded", "username=ALICE&password=password+of+alice"), returnTokens).pair()
	// The header is compared to the exact string.
	if v, ok := x.sendLogin("alice", harness.PasswordOf("alice"), header("X-Return-Tokens", "True")).want(200).at("user.refreshToken"); !ok || v != nil {
		t.Error("X-Return-Tokens: True returned a token")
	}
}

func TestCheck03LoginOfABrowser(t *testing.T) {
	for name, tc := range map[string]struct {
		setup  setup
		header []option
		secure bool
	}{
		"http":                  {setup{publicURL: "http://localhost:8080"}, nil, false},
		"https public URL":      {setup{}, nil, true},
		"trusted proxy":         {setup{publicURL: "http://localhost:8080", web: trust("192.0.2.0/24")}, []option{from("192.0.2.9"), header("X-Forwarded-Proto", "http, https")}, true},
		"trusted proxy, http":   {setup{publicURL: "http://localhost:8080", web: trust("192.0.2.0/24")}, []option{from("192.0.2.9"), header("X-Forwarded-Proto", "http")}, false},
		"untrusted proxy":       {setup{publicURL: "http://localhost:8080", web: trust("192.0.2.0/24")}, []option{from("198.51.100.9"), header("X-Forwarded-Proto", "http, https")}, false},
		"no proxy is ever told": {setup{publicURL: "http://localhost:8080"}, []option{header("X-Forwarded-Proto", "https")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t, tc.setup)
			a := x.sendLogin("alice", harness.PasswordOf("alice"), tc.header...).want(200)
			wantPayload(t, a)
			if v, ok := a.at("user.refreshToken"); !ok || v != nil {
				t.Errorf("refreshToken is %v, want null", v)
			}
			if len(a.cookies) != 1 {
				t.Fatalf("cookies %v", a.Header.Values("Set-Cookie"))
			}
			c := a.cookie("refresh_token")
			if c == nil || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 30*24*3600 || c.Secure != tc.secure {
				t.Errorf("cookie %v, want Secure %v", a.Header.Values("Set-Cookie"), tc.secure)
			}
		})
	}
}

func TestCheck04LoginRefused(t *testing.T) {
	x := newSite(t, setup{})
	a := x.sendLogin("alice", "wrong").refused(401, broker.InvalidCredentials, "").noCookies()
	if a.Body != "Unauthorized" {
		t.Errorf("body %q", a.Body)
	}
	for _, text := range []string{`{"username":"alice"}`, `{"password":"x"}`, `{}`, ``, `{"username":null,"password":"x"}`, `{"username":7,"password":"x"}`} {
		if got := x.do(http.MethodPost, "/login", jsonBody(text)).refused(400, broker.InvalidRequest, "").Body; got != "Bad Request" {
			t.Errorf("%s: %q", text, got)
		}
	}
	off := newSite(t, setup{broker: func(c *broker.Config) { c.LocalLogin = false }})
	off.sendLogin("alice", harness.PasswordOf("alice")).refused(403, broker.LocalLoginDisabled, web.VerdictRetry).json()
	if v, _ := off.do(http.MethodGet, "/status").at("authMethods"); len(v.([]any)) != 0 {
		t.Errorf("authMethods %v", v)
	}
}

func TestCheck05RefreshWithEmptyBody(t *testing.T) {
	x := newSite(t, setup{})
	p := x.login("alice")
	for name, with := range map[string]option{
		"empty, as JSON": jsonBody(""), "braces": jsonBody("{}"), "nothing at all": func(*http.Request) {}, "nonsense": jsonBody("not JSON"),
	} {
		a := x.refresh(p.refresh, with).noCookies()
		next := a.pair()
		wantPayload(t, a)
		if next.access == p.access || next.refresh == p.refresh || next.session != p.session {
			t.Errorf("%s: the pair is not new, or not of the session", name)
		}
		x.me(next.access).want(200)
		x.refresh(next.refresh).pair()
	}
}

func TestCheck06RefreshByCookie(t *testing.T) {
	x := newSite(t, setup{})
	login := x.sendLogin("alice", harness.PasswordOf("alice")).want(200)
	old := login.cookie("refresh_token")
	x.Clock.Advance(grace)
	a := x.do(http.MethodPost, "/auth/refresh", cookie(old.Name, old.Value)).want(200)
	if v, ok := a.at("user.refreshToken"); !ok || v != nil {
		t.Errorf("refreshToken is %v, want null", v)
	}
	fresh := a.cookie("refresh_token")
	if fresh == nil || fresh.Value == old.Value {
		t.Fatalf("cookies %v", a.Header.Values("Set-Cookie"))
	}
	if _, g, _ := generation(t, fresh.Value); g != 1 {
		t.Errorf("generation %v, want 1", g)
	}
	x.do(http.MethodPost, "/auth/refresh", cookie(fresh.Name, fresh.Value)).want(200)

	// Header and cookie of two sessions: the header's rotates, the cookie's not.
	byHeader := x.login("alice")
	x.Clock.Advance(grace)
	b := x.refresh(byHeader.refresh, cookie(fresh.Name, fresh.Value)).noCookies().pair()
	if sid, g, _ := generation(t, b.refresh); sid != byHeader.session || g != 1 {
		t.Errorf("session %s generation %v, want the header's next", sid, g)
	}
	for _, s := range x.sessions("alice", true) {
		if s.ID != byHeader.session && s.Generation > 1 {
			t.Error("the cookie's session rotated")
		}
	}
}

func TestCheck07RefreshRefused(t *testing.T) {
	x := newSite(t, setup{})
	p := x.login("alice")
	post := func(options ...option) *answer { return x.do(http.MethodPost, "/auth/refresh", options...) }
	post().refused(401, broker.NoToken, web.VerdictLogin).errorText("No refresh token provided")
	x.refresh(p.access).refused(401, broker.WrongTokenType, web.VerdictLogin).errorText("Invalid token type")
	for _, garbage := range []string{"garbage", "a.b.c", p.refresh + "x", p.refresh[:len(p.refresh)-4] + "AAAA", strings.Repeat("x", 9000)} {
		x.refresh(garbage).refused(401, broker.InvalidToken, web.VerdictLogin).errorText("Invalid refresh token")
	}
	x.Clock.Advance(30 * 24 * time.Hour)
	x.refresh(p.refresh).refused(401, broker.SessionExpired, web.VerdictLogin).errorText("Refresh token expired")

	capped := newSite(t, setup{broker: func(c *broker.Config) { c.Lifetimes.MaxAge = time.Hour }})
	p = capped.login("alice")
	capped.Clock.Advance(time.Hour)
	capped.refresh(p.refresh).refused(401, broker.SessionMaxAge, web.VerdictLogin).errorText("Refresh token expired")

	gone := newSite(t, setup{})
	p = gone.login("alice")
	u, _ := gone.Broker.FindUser(context.Background(), "alice")
	if err := gone.Broker.SetDisabled(context.Background(), u.ID, true); err != nil {
		t.Fatal(err)
	}
	gone.refresh(p.refresh).refused(401, broker.UserDisabled, web.VerdictLogin).errorText("User not found or inactive")
	if err := gone.Broker.DeleteUser(context.Background(), u.ID); err != nil {
		t.Fatal(err)
	}
	a := gone.refresh(p.refresh).want(401)
	a.errorText("User not found or inactive")
}

func TestCheck08ParallelRefreshes(t *testing.T) {
	x := newSite(t, setup{})
	p := x.login("alice")
	x.Clock.Advance(grace)
	const n = 50
	pairs := make([]pair, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			a, err := x.try(http.MethodPost, "/auth/refresh", refreshHeader(p.refresh), jsonBody(""))
			if err != nil || a.Status != 200 {
				t.Errorf("refresh %d: %v %v", i, a, err)
				return
			}
			pairs[i] = a.pair()
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	for _, got := range pairs {
		if sid, g, b := generation(t, got.refresh); sid != p.session || g != 1 || b != 0 {
			t.Errorf("session %s g %v b %v, want one successor", sid, g, b)
		}
		x.me(got.access).want(200)
	}
	if rows := x.sessions("alice", false); len(rows) != 1 || rows[0].Generation != 1 {
		t.Errorf("%d rows, want one of generation 1", len(rows))
	}
}

func TestCheck09LostAnswerAndReuse(t *testing.T) {
	x := newSite(t, setup{})
	first := x.login("alice")
	wait := func() { x.Clock.Advance(grace + time.Second) }
	wait()
	x.refresh(first.refresh).pair() // and the answer is lost
	wait()
	again := x.refresh(first.refresh).pair()
	if sid, g, b := generation(t, again.refresh); sid != first.session || g != 1 || b != 1 {
		t.Errorf("session %s g %v b %v, want a new branch of the same generation", sid, g, b)
	}
	wait()
	used := x.refresh(again.refresh).pair()
	wait()
	wait()
	x.refresh(first.refresh).refused(401, broker.TokenReused, web.VerdictLogin).errorText("Invalid refresh token")
	x.refresh(used.refresh).refused(401, broker.TokenReused, web.VerdictLogin)
	x.me(used.access).refused(401, broker.TokenReused, web.VerdictLogin)
	if rows := x.sessions("alice", false); len(rows) != 1 || rows[0].EndCause != broker.TokenReused {
		t.Errorf("rows %+v", rows)
	}
	events, err := x.Broker.Events(context.Background(), broker.EventFilter{SessionID: first.session, Name: "refresh.reuse", Limit: 10})
	if err != nil || len(events) != 1 || events[0].Detail["cause"] != "token_reused" {
		t.Errorf("events %v %v", events, err)
	}
	if !strings.Contains(x.log.String(), "refresh.reuse") {
		t.Error("the reuse is not in the log")
	}
}

func TestCheck10TwoSessionsInOneSecond(t *testing.T) {
	x := newSite(t, setup{})
	a, b := x.login("alice"), x.login("alice")
	x.Clock.Advance(grace)
	a2, b2 := x.refresh(a.refresh).pair(), x.refresh(b.refresh).pair()
	if a2.refresh == b2.refresh || a2.access == b2.access || a2.session == b2.session {
		t.Error("two sessions share a token")
	}
	x.do(http.MethodPost, "/logout", refreshHeader(a2.refresh)).want(200)
	x.refresh(a2.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
	x.refresh(b2.refresh).pair()
	x.me(b2.access).want(200)
}

func TestCheck11WhereTokensWork(t *testing.T) {
	x := newSite(t, setup{})
	p := x.login("alice")
	x.me(p.refresh).refused(401, broker.WrongTokenType, web.VerdictLogin)
	x.do(http.MethodGet, "/api/me?token="+p.access).want(200)
	x.do(http.MethodGet, "/api/me?token="+p.refresh).refused(401, broker.WrongTokenType, web.VerdictLogin)
	a := x.do(http.MethodGet, "/api/me").refused(401, broker.NoToken, web.VerdictLogin)
	if a.Body != "Unauthorized" {
		t.Errorf("body %q", a.Body)
	}
	// What changes something takes no token from a URL, and a refresh never does.
	x.do(http.MethodPost, "/api/authorize?token="+p.access).refused(401, broker.NoToken, web.VerdictLogin)
	x.do(http.MethodPost, "/auth/refresh?refresh_token="+p.refresh+"&token="+p.refresh).refused(401, broker.NoToken, web.VerdictLogin)
	x.do(http.MethodGet, "/api/me?access_token="+p.access).refused(401, broker.NoToken, web.VerdictLogin)
	// The header wins, even where it is bad.
	x.do(http.MethodGet, "/api/me?token="+p.access, bearer("garbage")).want(401)
	me := x.me(p.access).want(200)
	if _, wrapped := me.json()["user"]; wrapped || me.text("username") != "alice" {
		t.Errorf("/api/me %s", me.Body)
	}
	if v, _ := me.at("mediaProgress"); v == nil {
		t.Error("mediaProgress is missing")
	}
}

func TestCheck12Authorize(t *testing.T) {
	x := newSite(t, setup{})
	p := x.login("alice")
	for name, with := range map[string]option{"no body": func(*http.Request) {}, "null": jsonBody("null"), "braces": jsonBody("{}")} {
		a := x.do(http.MethodPost, "/api/authorize", bearer(p.access), with).want(200)
		wantPayload(t, a)
		for _, absent := range []string{"user.accessToken", "user.refreshToken", "user.isOldToken"} {
			if v, ok := a.at(absent); ok {
				t.Errorf("%s: %s is there: %v", name, absent, v)
			}
		}
		if strings.Contains(a.Body, p.access) {
			t.Errorf("%s: the token is echoed", name)
		}
		if a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: may be cached", name)
		}
	}
}

func TestCheck17Logout(t *testing.T) {
	x := newSite(t, setup{})
	p := x.login("alice")
	a := x.do(http.MethodPost, "/logout", refreshHeader(p.refresh), jsonBody("")).want(200)
	if a.Body != `{"redirect_url":null}` {
		t.Errorf("body %s", a.Body)
	}
	x.refresh(p.refresh).refused(401, broker.LoggedOut, web.VerdictLogin).errorText("Invalid refresh token")
	x.me(p.access).refused(401, broker.LoggedOut, web.VerdictLogin)
	// Again, and with nothing or nonsense: whoever asks is logged out.
	for _, o := range []option{refreshHeader(p.refresh), refreshHeader("garbage"), func(*http.Request) {}, bearer("garbage")} {
		x.do(http.MethodPost, "/logout", o).want(200)
	}

	t.Run("any generation", func(t *testing.T) {
		x := x.in(t)
		p := x.login("alice")
		newest := p
		for range 3 {
			x.Clock.Advance(grace)
			newest = x.refresh(newest.refresh).pair()
		}
		x.do(http.MethodPost, "/logout", refreshHeader(p.refresh)).want(200)
		x.refresh(newest.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
		x.me(newest.access).refused(401, broker.LoggedOut, web.VerdictLogin)
	})

	t.Run("access token alone", func(t *testing.T) {
		x := x.in(t)
		p := x.login("alice")
		x.do(http.MethodPost, "/logout", bearer(p.access)).want(200)
		x.refresh(p.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
		x.me(p.access).refused(401, broker.LoggedOut, web.VerdictLogin)
	})

	t.Run("all devices", func(t *testing.T) {
		x := x.in(t)
		x.User(t, "bob", broker.RoleUser)
		bob, one, two, three := x.login("bob"), x.login("alice"), x.login("alice"), x.login("alice")
		x.do(http.MethodPost, "/logout?allDevices=0", refreshHeader(three.refresh)).want(200)
		x.refresh(one.refresh).want(200)
		x.do(http.MethodPost, "/logout?allDevices=1", refreshHeader(one.refresh)).want(200)
		x.refresh(one.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
		x.refresh(two.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
		x.me(two.access).refused(401, broker.LoggedOut, web.VerdictLogin)
		x.refresh(bob.refresh).pair()
		// A dead token proves nothing about the sessions that came later.
		later := x.login("alice")
		x.do(http.MethodPost, "/logout?allDevices=1", refreshHeader(one.refresh)).want(200)
		x.refresh(later.refresh).pair()
		// Nor does one that nobody used for too long.
		idle := x.login("alice")
		for range 3 {
			x.Clock.Advance(12 * 24 * time.Hour)
			later = x.refresh(later.refresh).pair()
		}
		x.do(http.MethodPost, "/logout?allDevices=1", refreshHeader(idle.refresh)).want(200)
		x.refresh(later.refresh).pair()
	})

	t.Run("by GET", func(t *testing.T) {
		x := x.in(t)
		p := x.login("alice")
		x.do(http.MethodGet, "/logout", refreshHeader(p.refresh)).want(405)
		x.refresh(p.refresh).pair()
	})
}

func (x *site) changePassword(access, current, fresh string, options ...option) *answer {
	x.t.Helper()
	text := toJSON(map[string]string{"password": current, "newPassword": fresh})
	return x.do(http.MethodPatch, "/api/me/password", append([]option{bearer(access), jsonBody(text)}, options...)...)
}

func TestCheck18Password(t *testing.T) {
	x := newSite(t, setup{})
	const fresh = "a new password"
	other, p := x.login("alice"), x.login("alice")
	a := x.changePassword(p.access, harness.PasswordOf("alice"), fresh, refreshHeader(p.refresh)).want(200).noCookies()
	if v, _ := a.at("success"); v != true || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("answer %s, Cache-Control %q", a.Body, a.Header.Get("Cache-Control"))
	}
	for _, old := range []pair{other, p} {
		x.refresh(old.refresh).refused(401, broker.PasswordChanged, web.VerdictLogin).errorText("Invalid refresh token")
		x.me(old.access).refused(401, broker.PasswordChanged, web.VerdictLogin)
	}
	access, refresh := a.text("user.accessToken"), a.text("user.refreshToken")
	x.me(access).want(200)
	next := x.refresh(refresh).pair()
	if rows := x.sessions("alice", true); len(rows) != 1 || rows[0].ID != next.session {
		t.Errorf("%d sessions are alive, want the new one", len(rows))
	}
	x.sendLogin("alice", harness.PasswordOf("alice")).want(401)
	x.sendLogin("alice", fresh).want(200)

	t.Run("rename", func(t *testing.T) {
		x := x.in(t)
		p := x.login("root")
		u, err := x.Broker.FindUser(context.Background(), "root")
		if err != nil {
			t.Fatal(err)
		}
		name := "superuser"
		if _, err := x.Broker.UpdateUser(context.Background(), u.ID, broker.UserChange{Username: &name}); err != nil {
			t.Fatal(err)
		}
		x.Clock.Advance(grace)
		if got := x.me(p.access).want(200).text("username"); got != name {
			t.Errorf("username %q", got)
		}
		next := x.refresh(p.refresh).pair()
		if c := claimsOf(t, next.access); c["sub"] != u.ID || c["username"] != name {
			t.Errorf("claims %v", c)
		}
	})

	t.Run("refused", func(t *testing.T) {
		x := x.in(t)
		p := x.sendLogin("alice", fresh, returnTokens).pair()
		const missing = "Missing or invalid password or new password"
		for text, want := range map[string]string{
			`{}`: missing, ``: missing, `{"password":"x"}`: missing, `{"newPassword":"x"}`: missing, `{"password":1,"newPassword":"long enough"}`: missing,
			`{"password":"wrong","newPassword":"long enough"}`: "Invalid password",
			`{"password":null,"newPassword":"long enough"}`:    "Invalid password",
		} {
			if got := x.do(http.MethodPatch, "/api/me/password", bearer(p.access), jsonBody(text)).want(400).Body; got != want {
				t.Errorf("%s: %q, want %q", text, got, want)
			}
		}
		for _, weak := range []string{`"short"`, `"alice"`, `null`, `""`} {
			text := `{"password":` + toJSON(fresh) + `,"newPassword":` + weak + `}`
			a := x.do(http.MethodPatch, "/api/me/password", bearer(p.access), jsonBody(text)).refused(400, broker.WeakPassword, "")
			if !strings.HasPrefix(a.Body, "Invalid new password - ") {
				t.Errorf("%s: %q", weak, a.Body)
			}
		}
		x.refresh(p.refresh).pair() // nothing ended
	})

	t.Run("guest", func(t *testing.T) {
		x := x.in(t)
		x.User(t, "guest", broker.RoleGuest)
		p := x.login("guest")
		if got := x.changePassword(p.access, harness.PasswordOf("guest"), "another one").refused(403, broker.Forbidden, "").Body; got != "Forbidden" {
			t.Errorf("body %q", got)
		}
	})
}

func TestCheck20FailedLoginsAreLimited(t *testing.T) {
	x := newSite(t, setup{failures: 40})
	p := x.login("alice")
	for i := range 40 {
		a := x.sendLogin("nobody"+strconv.Itoa(i), "wrong").refused(401, broker.InvalidCredentials, "")
		if want := strconv.Itoa(39 - i); a.Header.Get("RateLimit-Remaining") != want {
			t.Errorf("attempt %d: RateLimit-Remaining %q, want %s", i+1, a.Header.Get("RateLimit-Remaining"), want)
		}
	}
	a := x.sendLogin("nobody", "wrong").refused(429, broker.RateLimited, web.VerdictRetry)
	a.errorText("Too many authentication requests")
	x.WantRefused(t, "invalid_credentials 40 password - latchkey-app - 127.0.0.1", "rate_limited 1 password - latchkey-app - 127.0.0.1")
	if a.Header.Get("RateLimit-Policy") != "40;w=600" || a.Header.Get("RateLimit-Limit") != "40" || a.Header.Get("RateLimit-Remaining") != "0" {
		t.Errorf("headers %v", a.Header)
	}
	retry, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if reset, _ := strconv.Atoi(a.Header.Get("RateLimit-Reset")); err != nil || retry < 1 || retry > 600 || reset < retry {
		t.Errorf("Retry-After %q, RateLimit-Reset %q", a.Header.Get("Retry-After"), a.Header.Get("RateLimit-Reset"))
	}
	// The address is shut for logins, right ones too, and for nothing else.
	x.sendLogin("alice", harness.PasswordOf("alice")).want(429)
	for range 60 {
		x.refresh(p.refresh).want(200)
	}
	x.me(p.access).want(200)
	// A forged header from an untrusted peer changes nothing.
	for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "True-Client-IP", "Forwarded"} {
		x.sendLogin("alice", "wrong", header(name, "203.0.113.77")).want(429)
	}
	// Others are not concerned, and the wait that was promised is enough.
	x.sendLogin("alice", harness.PasswordOf("alice"), from("203.0.113.9")).want(200)
	x.Clock.Advance(time.Duration(retry) * time.Second)
	x.sendLogin("alice", harness.PasswordOf("alice")).want(200)
}
