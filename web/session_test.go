package web_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// browser logs in and keeps the cookies.
func (x *site) browser(name string) []*http.Cookie {
	x.t.Helper()
	return x.sendLogin(name, harness.PasswordOf(name)).want(200).cookies
}

// page logs in on the login page, which gives both cookies.
func (x *site) page(name string) []*http.Cookie {
	x.t.Helper()
	a := x.do(http.MethodPost, "/login/password", body("application/x-www-form-urlencoded", "username="+name+"&password=password+of+"+name))
	a.location()
	return a.cookies
}

func named(list []*http.Cookie, name string) *http.Cookie {
	for _, c := range list {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func (x *site) endCause(session string) broker.EndCause {
	x.t.Helper()
	s, _, err := x.Store.SessionByID(context.Background(), session)
	if err != nil {
		x.t.Fatal(err)
	}
	return s.EndCause
}

// A header wins over a cookie, on every route (S09).
func TestS09HeaderWinsOverCookie(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "bob", broker.RoleUser)

	t.Run("logout by refresh token", func(t *testing.T) {
		x := x.in(t)
		alice, bob := x.browser("alice"), x.login("bob")
		x.do(http.MethodPost, "/logout", refreshHeader(bob.refresh), cookies(alice)).want(200).noCookies()
		x.refresh(bob.refresh).want(401)
		x.do(http.MethodPost, "/auth/refresh", cookies(alice)).want(200)
	})
	t.Run("logout by access token", func(t *testing.T) {
		x := x.in(t)
		alice, bob := x.browser("alice"), x.login("bob")
		x.do(http.MethodPost, "/logout", bearer(bob.access), cookies(alice)).want(200).noCookies()
		x.refresh(bob.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
		x.do(http.MethodPost, "/auth/refresh", cookies(alice)).want(200)
	})
	t.Run("logout by garbage", func(t *testing.T) {
		x := x.in(t)
		alice := x.page("alice")
		x.do(http.MethodPost, "/logout", refreshHeader("garbage"), cookies(alice)).want(200).noCookies()
		x.do(http.MethodPost, "/logout", refreshHeader("garbage"), cookies([]*http.Cookie{named(alice, "__Host-latchkey_session")})).want(200).noCookies()
		x.do(http.MethodPost, "/auth/refresh", cookies(alice)).want(200)
	})
	t.Run("both of one session", func(t *testing.T) {
		x := x.in(t)
		alice := x.page("alice")
		a := x.do(http.MethodPost, "/logout", refreshHeader(named(alice, "refresh_token").Value), cookies(alice)).want(200)
		if c := a.cookie("refresh_token"); c == nil || c.MaxAge >= 0 {
			t.Errorf("the session's own cookie stays: %v", a.Header.Values("Set-Cookie"))
		}
		x.do(http.MethodPost, "/auth/refresh", cookies(alice)).refused(401, broker.LoggedOut, web.VerdictLogin)
	})
	t.Run("API", func(t *testing.T) {
		x := x.in(t)
		alice, bob := x.page("alice"), x.login("bob")
		if name := x.do(http.MethodGet, "/api/me", bearer(bob.access), cookies(alice)).want(200).text("username"); name != "bob" {
			t.Errorf("username %q", name)
		}
		// A cookie is no access token, and a page's cookie opens no API.
		x.do(http.MethodGet, "/api/me", cookies(alice)).refused(401, broker.NoToken, web.VerdictLogin)
	})
	t.Run("password", func(t *testing.T) {
		x := x.in(t)
		x.User(t, "carol", broker.RoleUser)
		alice, carol := x.browser("alice"), x.login("carol")
		a := x.changePassword(carol.access, harness.PasswordOf("carol"), "a new password", refreshHeader(carol.refresh), cookies(alice)).want(200).noCookies()
		x.refresh(a.text("user.refreshToken")).pair()
		// Somebody else's cookie in the jar is no reason to put a session there.
		x.User(t, "dave", broker.RoleUser)
		dave := x.login("dave")
		a = x.changePassword(dave.access, harness.PasswordOf("dave"), "a new password", cookies(alice)).want(200).noCookies()
		x.refresh(a.text("user.refreshToken")).pair()
		x.do(http.MethodPost, "/auth/refresh", cookies(alice)).want(200)
	})
}

func TestLogoutByCookies(t *testing.T) {
	x := newSite(t, setup{})
	cleared := func(t *testing.T, a *answer) {
		t.Helper()
		for _, name := range []string{"refresh_token", "__Host-latchkey_session"} {
			if c := a.cookie(name); c == nil || c.MaxAge >= 0 || c.Value != "" {
				t.Errorf("%s stays: %v", name, a.Header.Values("Set-Cookie"))
			}
		}
	}
	ended := func(t *testing.T, x *site, list []*http.Cookie) {
		t.Helper()
		if cause := x.endCause(claimsOf(t, named(list, "refresh_token").Value)["sid"].(string)); cause != broker.LoggedOut {
			t.Errorf("end cause %q", cause)
		}
	}
	for name, with := range map[string]func(list []*http.Cookie) []option{
		"refresh cookie": func(list []*http.Cookie) []option {
			return []option{cookies([]*http.Cookie{named(list, "refresh_token")})}
		},
		"page cookie": func(list []*http.Cookie) []option {
			return []option{cookies([]*http.Cookie{named(list, "__Host-latchkey_session")})}
		},
		"page cookie beside a stale refresh cookie": func(list []*http.Cookie) []option {
			return []option{cookie("refresh_token", "stale"), cookies([]*http.Cookie{named(list, "__Host-latchkey_session")})}
		},
		"cookies beside an expired access token": func(list []*http.Cookie) []option { return []option{bearer("expired"), cookies(list)} },
	} {
		t.Run(name, func(t *testing.T) {
			x := x.in(t)
			list := x.page("alice")
			cleared(t, x.do(http.MethodPost, "/logout", with(list)...).want(200))
			ended(t, x, list)
		})
	}
	t.Run("the page's own button", func(t *testing.T) {
		x := x.in(t)
		list := x.page("alice")
		cleared(t, x.do(http.MethodPost, "/session/end", cookies(list)))
		ended(t, x, list)
	})
}

func TestPasswordChangeOfABrowser(t *testing.T) {
	x := newSite(t, setup{})
	list := x.browser("alice")
	first := x.do(http.MethodPost, "/auth/refresh", cookies(list)).want(200)
	a := x.changePassword(first.text("user.accessToken"), harness.PasswordOf("alice"), "a new password", cookies(list)).want(200)
	if a.Body != "OK" {
		t.Errorf("body %q", a.Body)
	}
	x.do(http.MethodPost, "/auth/refresh", cookies(list)).refused(401, broker.PasswordChanged, web.VerdictLogin)
	x.do(http.MethodPost, "/auth/refresh", cookie("refresh_token", a.cookie("refresh_token").Value)).want(200)
}

// A client that shows its access token alone gets the new session too: it has
// just lost its old one, and nobody else could use it.
func TestPasswordChangeWithAccessTokenAlone(t *testing.T) {
	x := newSite(t, setup{})
	p := x.login("alice")
	a := x.changePassword(p.access, harness.PasswordOf("alice"), "a new password").want(200).noCookies()
	x.refresh(a.text("user.refreshToken")).pair()
	if n := len(x.sessions("alice", true)); n != 1 {
		t.Errorf("%d sessions are alive", n)
	}
}

func TestFirstPasswordOfAnIdPUser(t *testing.T) {
	idp := startIdP(t)
	p := newApp(newSite(t, setup{idp: idp}))
	got := p.loginThrough(idp, "anna")
	text := `{"password":null,"newPassword":"a first password"}`
	set := func(access, refresh string) *answer {
		return p.do(http.MethodPatch, "/api/me/password", bearer(access), refreshHeader(refresh), jsonBody(text))
	}
	// A token that was stolen an hour ago cannot make itself at home.
	p.Clock.Advance(6 * time.Minute)
	if body := set(got.access, got.refresh).refused(400, broker.WrongPassword, "").Body; body != "Invalid password" {
		t.Errorf("body %q", body)
	}
	p.refresh(got.refresh).pair()
	// Nor by a refresh, which is no login.
	p.Clock.Advance(grace)
	got = p.refresh(got.refresh).pair()
	set(got.access, got.refresh).refused(400, broker.WrongPassword, "")

	p.Clock.Advance(-16 * time.Minute)
	fresh := newApp(p.site).loginThrough(idp, "anna")
	a := set(fresh.access, fresh.refresh).want(200)
	p.refresh(fresh.refresh).refused(401, broker.PasswordChanged, web.VerdictLogin)
	p.refresh(a.text("user.refreshToken")).pair()
	p.sendLogin("anna", "a first password", returnTokens).pair()
	// From now on the password is asked for.
	set(a.text("user.accessToken"), a.text("user.refreshToken")).refused(400, broker.WrongPassword, "")
	newApp(p.site).loginThrough(idp, "anna") // and the IdP is still a way in
}

func TestSessionList(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "bob", broker.RoleUser)
	bob := x.login("bob")
	var last pair
	for i := range 12 {
		x.Clock.Advance(time.Minute)
		last = x.login("alice", header("User-Agent", "device "+string(rune('a'+i))), from("192.0.2.7"))
	}
	a := x.do(http.MethodGet, "/api/me/sessions?itemsPerPage=5&page=2", bearer(last.access)).want(200)
	v := a.json()
	if v["total"] != 12.0 || v["numPages"] != 3.0 || v["page"] != 2.0 || v["itemsPerPage"] != 5.0 || len(v["sessions"].([]any)) != 2 {
		t.Errorf("page %v", v)
	}
	list := x.do(http.MethodGet, "/api/me/sessions", bearer(last.access)).json()["sessions"].([]any)
	newest := list[0].(map[string]any)
	if len(list) != 10 || newest["id"] != last.session || newest["current"] != true || newest["ipAddress"] != "192.0.2.7" || newest["userAgent"] != "device l" {
		t.Errorf("newest %v of %d", newest, len(list))
	}
	oldest := list[9].(map[string]any)["id"].(string)
	for _, bad := range []string{"?page=-1&itemsPerPage=0", "?page=x", "?page=99999999999999999999", "?itemsPerPage=1000000", "?page=0&page=1", "?page=%00%27"} {
		x.do(http.MethodGet, "/api/me/sessions"+bad, bearer(last.access)).want(200)
	}
	del := func(id string) *answer { return x.do(http.MethodDelete, "/api/me/sessions/"+id, bearer(last.access)) }
	for _, bad := range []string{"x", "%27%20OR%201=1", "%00", strings.Repeat("a", 36)} {
		del(bad).want(400)
	}
	del(bob.session).refused(404, broker.NotFound, "")
	x.refresh(bob.refresh).pair()
	if got := del(oldest).want(200).Body; got != "OK" {
		t.Errorf("body %q", got)
	}
	if cause := x.endCause(oldest); cause != broker.RevokedByUser {
		t.Errorf("end cause %q", cause)
	}
	del(oldest).want(404)
	x.User(t, "guest", broker.RoleGuest)
	guest := x.login("guest")
	if v, _ := x.do(http.MethodGet, "/api/me/sessions", bearer(guest.access)).want(200).at("total"); v != 0.0 {
		t.Errorf("a guest sees %v", v)
	}
	x.do(http.MethodDelete, "/api/me/sessions/"+guest.session, bearer(guest.access)).refused(403, broker.Forbidden, "")
}

func TestCookieAttributes(t *testing.T) {
	idp := startIdP(t)
	for name, tc := range map[string]struct {
		setup  setup
		header []option
		prefix string
	}{
		"http":            {setup{publicURL: "http://localhost:8080"}, nil, ""},
		"https":           {setup{}, nil, "__Host-"},
		"trusted proxy":   {setup{publicURL: "http://localhost:8080", web: trust("127.0.0.0/8")}, []option{header("X-Forwarded-Proto", "http, https")}, "__Host-"},
		"untrusted proxy": {setup{publicURL: "http://localhost:8080", web: trust("192.0.2.1/32")}, []option{header("X-Forwarded-Proto", "http, https")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tc.setup.idp = idp
			x := newSite(t, tc.setup)
			form := body("application/x-www-form-urlencoded", "username=alice&password=password+of+alice")
			login := x.do(http.MethodPost, "/login/password", append(tc.header, form)...)
			begin := x.do(http.MethodGet, "/auth/openid?callback=/", tc.header...)
			if named(login.cookies, "refresh_token") == nil || named(login.cookies, tc.prefix+"latchkey_session") == nil || len(begin.cookies) != 1 ||
				!strings.HasPrefix(begin.cookies[0].Name, tc.prefix+"latchkey_flow_") {
				t.Fatalf("cookies %v %v", login.Header.Values("Set-Cookie"), begin.Header.Values("Set-Cookie"))
			}
			for _, c := range append(login.cookies, begin.cookies...) {
				if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge <= 0 || c.Secure != (tc.prefix != "") {
					t.Errorf("cookie %s", c.Raw)
				}
			}
		})
	}
}

// Of two cookies of one name, one was tossed in by a neighbour (S02).
func TestS02TossedCookies(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "mallory", broker.RoleUser)
	alice, mallory := x.page("alice"), x.page("mallory")
	x.do(http.MethodPost, "/auth/refresh", cookies(mallory), cookies(alice)).refused(401, broker.NoToken, web.VerdictLogin).noCookies()
	page := named(alice, "__Host-latchkey_session").Value
	home := func(options ...option) string { return x.do(http.MethodGet, "/", options...).Header.Get("Location") }
	if to := home(cookie("__Host-latchkey_session", page)); to != "" {
		t.Errorf("alice's own cookie leads to %s", to)
	}
	for how, options := range map[string][]option{
		"twice":            {cookie("__Host-latchkey_session", page), cookie("__Host-latchkey_session", named(mallory, "__Host-latchkey_session").Value)},
		"unprefixed":       {cookie("latchkey_session", page)},
		"a refresh token":  {cookie("__Host-latchkey_session", named(alice, "refresh_token").Value)},
		"another's MAC":    {cookie("__Host-latchkey_session", page[:36]+named(mallory, "__Host-latchkey_session").Value[36:])},
		"no MAC":           {cookie("__Host-latchkey_session", page[:36])},
		"an empty session": {cookie("__Host-latchkey_session", "")},
	} {
		if to := home(options...); !strings.HasPrefix(to, publicURL+"/login") {
			t.Errorf("%s: Location %q", how, to)
		}
	}
}

func TestS03CrossSiteRequests(t *testing.T) {
	x := newSite(t, setup{})
	alice := x.page("alice")
	p := x.login("alice")
	json := toJSON(map[string]string{"username": "alice", "password": harness.PasswordOf("alice")})
	form := "username=alice&password=password+of+alice"
	const urlencoded = "application/x-www-form-urlencoded"
	for name, forged := range map[string]option{
		"Sec-Fetch-Site": header("Sec-Fetch-Site", "cross-site"),
		"same site":      header("Sec-Fetch-Site", "same-site"),
		"Origin":         header("Origin", "https://evil.example"),
		"null Origin":    header("Origin", "null"),
		"look-alike":     header("Origin", "https://id.example.org.evil.example"),
		"other scheme":   header("Origin", "http://id.example.org"),
	} {
		for path, with := range map[string][]option{
			"/login":               {jsonBody(json)},
			"/login ":              {body(urlencoded, form)},
			"/login  ":             {body("text/plain", json)},
			"/auth/refresh":        {cookies(alice)},
			"/logout":              {cookies(alice)},
			"/logout?allDevices=1": {cookies(alice)},
			"/login/password":      {body(urlencoded, form)},
			"/session/end":         {cookies(alice)},
			"/setup":               {body(urlencoded, form+"&token=x")},
		} {
			a := x.do(http.MethodPost, strings.TrimSpace(path), append(with, forged)...).refused(403, broker.CrossSite, "").noCookies()
			if t.Failed() {
				t.Fatalf("%s %s: %s", name, path, a.Body)
			}
		}
		x.do(http.MethodPatch, "/api/me/password", bearer(p.access), jsonBody(`{"password":"x","newPassword":"y"}`), forged).want(403)
	}
	// A program, and our own pages, may.
	x.do(http.MethodPost, "/auth/refresh", cookies(alice)).want(200)
	x.do(http.MethodPost, "/auth/refresh", cookies(alice), header("Origin", publicURL), header("Sec-Fetch-Site", "same-origin")).want(200)
	x.do(http.MethodPost, "/auth/refresh", cookies(alice), header("Origin", publicURL)).want(200)
	// A form that a text/plain trick dresses as JSON is not JSON.
	x.do(http.MethodPost, "/login", body("text/plain", json)).want(400).noCookies()
}

func TestCORS(t *testing.T) {
	const friend, evil = "https://books.example.com", "https://evil.example"
	acao := func(a *answer) string { return a.Header.Get("Access-Control-Allow-Origin") }
	preflight := []option{header("Access-Control-Request-Method", "POST"), header("Access-Control-Request-Headers", "x-refresh-token")}

	closed := newSite(t, setup{})
	for _, origin := range []string{friend, "null", publicURL, publicURL + ".evil.example"} {
		p := closed.login("alice")
		if got := acao(closed.do(http.MethodGet, "/api/me", bearer(p.access), header("Origin", origin))); got != "" {
			t.Errorf("%s: Access-Control-Allow-Origin %q", origin, got)
		}
		if got := acao(closed.do(http.MethodOptions, "/auth/refresh", append(preflight, header("Origin", origin))...)); got != "" {
			t.Errorf("%s: preflight %q", origin, got)
		}
	}

	open := newSite(t, setup{web: func(c *web.Config) { c.CORSOrigins = []string{friend, "capacitor://localhost"} }})
	p := open.login("alice")
	for _, origin := range []string{friend, "capacitor://localhost"} {
		a := open.do(http.MethodOptions, "/auth/refresh", append(preflight, header("Origin", origin))...)
		if a.Status/100 != 2 || acao(a) != origin || a.Header.Get("Access-Control-Allow-Credentials") != "true" ||
			!strings.Contains(strings.ToLower(a.Header.Get("Access-Control-Allow-Headers")), "x-refresh-token") {
			t.Errorf("%s: preflight %d %v", origin, a.Status, a.Header)
		}
		a = open.refresh("garbage", header("Origin", origin), header("Sec-Fetch-Site", "cross-site")).refused(401, broker.InvalidToken, web.VerdictLogin)
		exposed := strings.ToLower(a.Header.Get("Access-Control-Expose-Headers"))
		if acao(a) != origin || a.Header.Get("Access-Control-Allow-Credentials") != "true" || !strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Origin") {
			t.Errorf("%s: headers %v", origin, a.Header)
		}
		for _, name := range []string{"latchkey-code", "latchkey-verdict", "retry-after", "ratelimit-remaining"} {
			if !strings.Contains(exposed, name) {
				t.Errorf("%s is not exposed: %s", name, exposed)
			}
		}
	}
	for _, origin := range []string{evil, "null", friend + ".evil.example", "http://books.example.com"} {
		if a := open.do(http.MethodGet, "/api/me", bearer(p.access), header("Origin", origin)); acao(a) != "" {
			t.Errorf("%s: %v", origin, a.Header)
		}
		if a := open.do(http.MethodOptions, "/auth/refresh", append(preflight, header("Origin", origin))...); acao(a) != "" {
			t.Errorf("%s: preflight %v", origin, a.Header)
		}
		open.refresh(p.refresh, header("Origin", origin)).want(403)
	}
	// Our own pages are no strangers, whatever Host a proxy leaves us.
	x := open.page("alice")
	open.do(http.MethodPost, "/auth/refresh", cookies(x), header("Origin", publicURL)).want(200)
	// Keys and metadata are for everybody, and never with credentials.
	for _, origin := range []string{evil, friend} {
		for _, path := range []string{"/.well-known/jwks.json", "/.well-known/openid-configuration"} {
			a := open.do(http.MethodGet, path, header("Origin", origin)).want(200)
			if acao(a) != "*" || a.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s for %s: %v", path, origin, a.Header)
			}
		}
	}
}

// Nothing that a stranger writes into a request changes a URL that we send out.
func TestHostHeaderGames(t *testing.T) {
	x := newSite(t, setup{idp: startIdP(t)})
	evil := []option{
		func(r *http.Request) { r.Host = "evil.example" }, header("X-Forwarded-Host", "evil.example"), header("X-Forwarded-Proto", "gopher"),
		header("Forwarded", "host=evil.example"), header("X-Original-URL", "/evil"), header("X-Forwarded-Prefix", "//evil.example"),
	}
	p := newApp(x)
	for _, path := range []string{
		"/auth/openid?response_type=code&redirect_uri=audiobookshelf://oauth&code_challenge=" + p.challenge, "/auth/openid?callback=/", "/",
		"/.well-known/openid-configuration", "/login", "/login/", "/status", "/nowhere",
	} {
		a := x.do(http.MethodGet, path, evil...)
		if strings.Contains(a.Body, "evil.example") || strings.Contains(strings.Join(a.Header.Values("Location"), " "), "evil") {
			t.Errorf("%s: Location %q, body %.200s", path, a.Header.Get("Location"), a.Body)
		}
	}
	// A login is never sent on to another place.
	if a := x.do(http.MethodPost, "/login/", jsonBody(`{}`)); a.Status/100 == 3 {
		t.Errorf("POST /login/ leads to %s", a.Header.Get("Location"))
	}
}

func TestPublicURLWithPrefix(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{publicURL: "https://example.org/id", idp: idp})
	for _, prefix := range []string{"", "/id"} {
		path := func(p string) string { return prefix + p }
		x.do(http.MethodGet, path("/ping")).want(200)
		x.do(http.MethodGet, path("/readyz")).want(200)
		x.do(http.MethodGet, path("/login")).want(200)
		text := toJSON(map[string]string{"username": "alice", "password": harness.PasswordOf("alice")})
		p := x.do(http.MethodPost, path("/login"), jsonBody(text), returnTokens).pair()
		x.do(http.MethodGet, path("/api/me"), bearer(p.access)).want(200)
		x.do(http.MethodPost, path("/auth/refresh"), refreshHeader(p.refresh)).pair()
		given := x.do(http.MethodGet, path("/auth/openid?response_type=code&redirect_uri=audiobookshelf://oauth&code_challenge="+newApp(x).challenge)).location()
		if !strings.HasPrefix(given.String(), "https://example.org/id/auth/openid/authorize?") ||
			given.Query().Get("redirect_uri") != "https://example.org/id/auth/openid/mobile-redirect" {
			t.Errorf("Location %s", given)
		}
		if v := x.do(http.MethodGet, path("/.well-known/openid-configuration")).json(); v["issuer"] != "https://example.org/id" || v["jwks_uri"] != "https://example.org/id/.well-known/jwks.json" {
			t.Errorf("metadata %v", v)
		}
	}
	// The prefix alone is the home page; what only begins like it is not ours.
	for _, path := range []string{"/id", "/id/"} {
		if to := x.do(http.MethodGet, path).location().String(); to != "https://example.org/id/login" {
			t.Errorf("%s leads to %q", path, to)
		}
	}
	x.do(http.MethodGet, "/identity").want(404)
	x.do(http.MethodGet, "/idp").want(404)
	// The whole login, by the URLs as they are sent out.
	p := newApp(x)
	open := strings.TrimPrefix(p.open(p.start(nil).location()), "https://example.org/id")
	back := p.do(http.MethodGet, p.atIdP(idp, p.do(http.MethodGet, open).location().String(), "anna")).location()
	p.redeem(back.Query().Get("code")).pair()
}

// Two at once end no session and share no row.
func TestTwoSessionsInOneInstant(t *testing.T) {
	x := newSite(t, setup{})
	a, b := x.login("alice"), x.login("alice")
	for range 5 {
		x.Clock.Advance(grace)
		next := [2]pair{}
		var group sync.WaitGroup
		for i, token := range []string{a.refresh, b.refresh} {
			group.Go(func() {
				if got, err := x.try(http.MethodPost, "/auth/refresh", refreshHeader(token)); err == nil && got.Status == 200 {
					next[i] = got.pair()
				}
			})
		}
		group.Wait()
		if next[0].session != a.session || next[1].session != b.session || next[0].refresh == next[1].refresh {
			t.Fatalf("sessions %v", next)
		}
		a, b = next[0], next[1]
	}
}
