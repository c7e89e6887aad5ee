package web_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/web"
)

func TestCheck13StartOfAnAppsLogin(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	p := newApp(x)
	a := p.start(nil).noCookies()
	given := a.location()
	if given.Scheme != "https" || given.Host != "id.example.org" || given.Path != "/auth/openid/authorize" || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Location %s", given)
	}
	q := given.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": "latchkey-app", "scope": "openid profile email", "code_challenge": p.challenge,
		"code_challenge_method": "S256", "redirect_uri": publicURL + "/auth/openid/mobile-redirect",
	} {
		if q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	if len(q) != 7 || q.Get("state") == "" {
		t.Errorf("parameters %v", q)
	}
	if n := idp.Count(providertest.EndpointDiscovery); n != 0 {
		t.Errorf("the IdP was asked %d times", n)
	}
	// The same state and challenge get the same answer; another app URI none.
	chosen := url.Values{"state": {"the app's own"}}
	one, two := p.start(chosen).location(), p.start(chosen).location()
	if one.String() != two.String() || one.Query().Get("state") != "the app's own" {
		t.Errorf("%s and %s", one, two)
	}
	chosen.Set("redirect_uri", "shelfplayer://callback")
	p.start(chosen).want(400)

	// Of the seven parameters, state and challenge decide; a nonce is checked.
	open, err := url.Parse(p.open(given))
	if err != nil {
		t.Fatal(err)
	}
	atIdP := p.do(http.MethodGet, open.String()).noCookies().location()
	for _, name := range []string{"nonce", "state", "code_challenge"} {
		if atIdP.Query().Get(name) == "" || atIdP.Query().Get(name) == q.Get(name) {
			t.Errorf("the IdP gets %s %q", name, atIdP.Query().Get(name))
		}
	}
	if atIdP.Query().Get("redirect_uri") != publicURL+"/auth/openid/callback" {
		t.Errorf("redirect_uri at the IdP %q", atIdP.Query().Get("redirect_uri"))
	}
	back := p.do(http.MethodGet, p.atIdP(idp, atIdP.String(), "anna")).location()
	got := p.redeem(back.Query().Get("code")).pair()
	if name := p.me(got.access).want(200).text("username"); name != "anna" {
		t.Errorf("username %q", name)
	}
}

func TestCheck13NonceIsChecked(t *testing.T) {
	idp := startIdP(t)
	idp.Script(func(s *providertest.Script) {
		s.EditIDToken = func(claims map[string]any) { claims["nonce"] = "of another login" }
	})
	p := newApp(newSite(t, setup{idp: idp}))
	back := p.do(http.MethodGet, p.atIdP(idp, p.toIdP(), "anna")).location()
	if q := back.Query(); back.Scheme != "audiobookshelf" || q.Get("error") != "server_error" || q.Get("error_description") != "nonce_mismatch" || q.Has("code") {
		t.Errorf("the app is sent %s", back)
	}
}

func TestCheck14BadStart(t *testing.T) {
	p := newApp(newSite(t, setup{idp: startIdP(t)}))
	for name, tc := range map[string]struct {
		change url.Values
		want   string
	}{
		"no challenge":       {url.Values{"code_challenge": nil}, "code_challenge required for mobile flow (PKCE)"},
		"plain":              {url.Values{"code_challenge_method": {"plain"}}, "Only S256 code_challenge_method method supported"},
		"unknown URI":        {url.Values{"redirect_uri": {"evil://oauth"}}, "Invalid redirect_uri"},
		"longer URI":         {url.Values{"redirect_uri": {"audiobookshelf://oauth/x"}}, "Invalid redirect_uri"},
		"URI in capitals":    {url.Values{"redirect_uri": {"Audiobookshelf://oauth"}}, "Invalid redirect_uri"},
		"star":               {url.Values{"redirect_uri": {"*"}}, "Invalid redirect_uri"},
		"no URI":             {url.Values{"redirect_uri": nil}, "Invalid redirect_uri"},
		"token":              {url.Values{"response_type": {"token"}}, "Invalid response_type, only code supported"},
		"no type":            {url.Values{"response_type": nil}, "Invalid response_type, only code supported"},
		"short challenge":    {url.Values{"code_challenge": {"short"}}, "Invalid code_challenge, 43 base64url characters are needed"},
		"long state":         {url.Values{"state": {strings.Repeat("s", 1025)}}, "Invalid state"},
		"control in state":   {url.Values{"state": {"a\r\nb"}}, "Invalid state"},
		"repeated state":     {url.Values{"state": {"a", "b"}}, "Invalid request, state is repeated"},
		"repeated challenge": {url.Values{"code_challenge": {p.challenge, p.challenge}}, "Invalid request, code_challenge is repeated"},
	} {
		a := p.start(tc.change).want(400).noCookies()
		if a.Body != tc.want || a.Header.Get("Location") != "" {
			t.Errorf("%s: %q, want %q", name, a.Body, tc.want)
		}
	}
	if got := p.do(http.MethodGet, "/auth/openid").want(400).Body; got != `{"message":"No callback parameter"}` {
		t.Errorf("no callback: %s", got)
	}
	if got := p.do(http.MethodGet, "/auth/openid?callback=/&state=x").want(400).Body; got != "Invalid state, not allowed on web flow" {
		t.Errorf("state on web: %s", got)
	}
	for _, evil := range []string{
		"//evil", `/\evil`, "/%2F%2Fevil", `\/\/evil`, "https://evil.example", "https://id.example.org.evil.example/", "https://id.example.org@evil.example/",
		"http://id.example.org/", "https://id.example.org:444/", "javascript:alert(1)", "/\tevil", "evil", "https:evil", "//id.example.org/", " /", "/\u2028",
	} {
		a := p.do(http.MethodGet, "/auth/openid?callback="+url.QueryEscape(evil)).want(400).noCookies()
		if a.Body != `{"message":"Invalid callback URL - must be same-origin"}` {
			t.Errorf("%q: %s", evil, a.Body)
		}
	}
	p.do(http.MethodGet, "/auth/nobody?callback=/").refused(404, broker.ProviderUnknown, "")
}

func TestCheck15BackFromTheIdP(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	for _, path := range []string{"callback", "mobile-redirect"} {
		p := newApp(x)
		callback := p.atIdP(idp, p.toIdP(), "anna")
		callback = strings.Replace(callback, "/callback?", "/"+path+"?", 1)
		a := p.do(http.MethodGet, callback).noCookies()
		back := a.location()
		atIdP, err := url.Parse(callback)
		if err != nil {
			t.Fatal(err)
		}
		q := back.Query()
		if back.Scheme+"://"+back.Host != "audiobookshelf://oauth" || q.Get("state") != p.state || q.Get("code") == "" || len(q) != 2 {
			t.Errorf("%s: the app is sent %s", path, back)
		}
		if q.Get("code") == atIdP.Query().Get("code") || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: the IdP's own code, or one that is cached", path)
		}
		again := p.do(http.MethodGet, callback).refused(400, broker.InvalidState, "")
		if again.Header.Get("Location") != "" {
			t.Errorf("%s: the second time goes to %s", path, again.Header.Get("Location"))
		}
		p.redeem(q.Get("code")).pair()
	}
}

func TestCheck15ErrorsReachTheApp(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	p := newApp(x)
	q := p.do(http.MethodGet, p.atIdP(idp, p.toIdP(), "")).location().Query()
	if q.Get("error") != "access_denied" || q.Get("error_description") != "access_denied" || q.Get("state") != p.state || q.Has("code") {
		t.Errorf("Cancel: %v", q)
	}
	// An unknown state is an error of this page, and goes nowhere.
	for _, query := range []string{"", "?code=x", "?code=x&state=unknown", "?error=access_denied&state=unknown", "?state="} {
		a := p.do(http.MethodGet, "/auth/openid/callback"+query, header("Accept", "text/html")).refused(400, broker.InvalidState, "")
		if a.Header.Get("Location") != "" || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: Location %q, type %q", query, a.Header.Get("Location"), a.Header.Get("Content-Type"))
		}
	}
}

func TestCheck15RestartInBetween(t *testing.T) {
	idp := startIdP(t)
	file := "sqlite:" + t.TempDir() + "/latchkey.db"
	before := newSite(t, setup{idp: idp, database: file})
	p := newApp(before)
	given := p.start(nil).location()
	before.stop()

	p.site = openSite(t, setup{idp: idp, database: file})
	atIdP := p.do(http.MethodGet, p.open(given)).location().String()
	p.stop()

	p.site = openSite(t, setup{idp: idp, database: file})
	back := p.do(http.MethodGet, p.atIdP(idp, atIdP, "anna")).location()
	p.stop()

	p.site = openSite(t, setup{idp: idp, database: file})
	got := p.redeem(back.Query().Get("code")).pair()
	p.stop()

	after := openSite(t, setup{idp: idp, database: file})
	after.me(got.access).want(200)
	after.refresh(got.refresh).pair()
}

func TestCheck16Redeem(t *testing.T) {
	idp := startIdP(t)
	p := newApp(newSite(t, setup{idp: idp}))
	back := p.do(http.MethodGet, p.atIdP(idp, p.toIdP(), "anna")).location()
	code := back.Query().Get("code")
	good := url.Values{"state": {p.state}, "code": {code}, "code_verifier": {p.verifier}}
	for name, change := range map[string]url.Values{
		"wrong verifier":    {"code_verifier": {strings.Repeat("x", 64)}},
		"short verifier":    {"code_verifier": {"x"}},
		"empty verifier":    {"code_verifier": {""}},
		"wrong state":       {"state": {"another"}},
		"no state":          {"state": nil},
		"wrong code":        {"code": {"another"}},
		"no code":           {"code": nil},
		"repeated code":     {"code": {code, code}},
		"repeated verifier": {"code_verifier": {p.verifier, p.verifier}},
		"NUL":               {"code": {code + "\x00"}},
	} {
		q := url.Values{}
		for _, values := range []url.Values{good, change} {
			for k, v := range values {
				if q[k] = v; v == nil {
					delete(q, k)
				}
			}
		}
		a := p.do(http.MethodGet, "/auth/openid/callback?"+q.Encode()).noCookies()
		if a.Status != 400 && a.Status != 401 {
			t.Errorf("%s: status %d", name, a.Status)
		}
		if !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %s, want JSON: %s", name, a.Header.Get("Content-Type"), a.Body)
		} else if a.text("error") == "" || a.text("code") == "" {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	if len(p.sessions("anna", false)) != 0 {
		t.Error("a session was made by a wrong redemption")
	}
	a := p.redeem(code).noCookies() // a wrong one changes nothing
	got := a.pair()
	if a.Header.Get("Cache-Control") != "no-store" {
		t.Error("tokens may be cached")
	}
	for path, want := range map[string]any{"user.token": "", "user.username": "anna", "user.email": "anna@example.org", "user.hasOpenIDLink": true} {
		if v, _ := a.at(path); v != want {
			t.Errorf("%s is %v, want %v", path, v, want)
		}
	}
	p.me(got.access).want(200)
	next := p.refresh(got.refresh).pair()
	// A second redemption is a theft: the session ends.
	p.redeem(code).refused(401, broker.CodeReused, web.VerdictLogin)
	p.refresh(next.refresh).refused(401, broker.CodeReused, web.VerdictLogin)
	p.me(next.access).refused(401, broker.CodeReused, web.VerdictLogin)
}

func TestCheck16CookiesOfAnotherLoginDoNotMatter(t *testing.T) {
	idp := startIdP(t)
	p := newApp(newSite(t, setup{idp: idp}))
	alice := p.sendLogin("alice", "password of alice").want(200)
	back := p.do(http.MethodGet, p.atIdP(idp, p.toIdP(), "anna"), cookies(alice.cookies)).location()
	a := p.redeem(back.Query().Get("code"), cookies(alice.cookies)).noCookies()
	if a.text("user.username") != "anna" {
		t.Errorf("logged in as %s", a.text("user.username"))
	}
}

func TestCheck17LogoutOfAnIdPLogin(t *testing.T) {
	idp := startIdP(t)
	p := newApp(newSite(t, setup{idp: idp}))
	got := p.loginThrough(idp, "anna")
	a := p.do(http.MethodPost, "/logout", refreshHeader(got.refresh)).want(200)
	to, err := url.Parse(a.text("redirect_url"))
	if err != nil || !strings.HasPrefix(to.String(), idp.Issuer()+"/logout?") || to.Query().Get("post_logout_redirect_uri") != publicURL+"/login" || to.Query().Has("id_token_hint") {
		t.Errorf("redirect_url %v %v", to, err)
	}
	p.refresh(got.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
}

func TestCheck21DarkIdP(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	p := newApp(x)
	alice, anna := x.login("alice"), p.loginThrough(idp, "anna")
	opened := p.toIdP()
	callback := p.atIdP(idp, opened, "anna")

	lost := func(how, state string, back *url.URL, took time.Duration) {
		t.Helper()
		q := back.Query()
		if back.Scheme != "audiobookshelf" || q.Get("error") != "temporarily_unavailable" || q.Get("error_description") != "temporarily_unavailable" || q.Get("state") != state {
			t.Errorf("%s: the app is sent %s", how, back)
		}
		if took > 5*time.Second {
			t.Errorf("%s: after %v", how, took)
		}
	}
	idp.SetDown(true)
	x.Clock.Advance(time.Minute) // nothing that was heard of the IdP is fresh
	begun := time.Now()
	lost("code", p.state, p.do(http.MethodGet, callback).location(), time.Since(begun))
	p = newApp(x)
	given := p.start(nil).location()
	begun = time.Now()
	lost("authorize", given.Query().Get("state"), p.do(http.MethodGet, p.open(given)).location(), time.Since(begun))
	x.refresh(alice.refresh).pair()
	x.refresh(anna.refresh).pair()
	x.me(anna.access).want(200)
	x.do(http.MethodGet, "/status").want(200)
	x.do(http.MethodGet, "/readyz").want(200)
	x.login("alice")
	x.do(http.MethodPost, "/logout", refreshHeader(anna.refresh)).want(200)

	idp.SetDown(false)
	p.open(given)
	p.atIdP(idp, p.do(http.MethodGet, p.open(given)).location().String(), "anna")
}

// An IdP that takes the connection and says nothing is as dark as none.
func TestCheck21StallingIdP(t *testing.T) {
	for _, endpoint := range []string{providertest.EndpointDiscovery, providertest.EndpointToken} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			idp := startIdP(t)
			x := newSite(t, setup{idp: idp})
			p := newApp(x)
			idp.Script(func(s *providertest.Script) { s.Respond[endpoint] = providertest.Stall })
			var target string
			if given := p.start(nil).location(); endpoint == providertest.EndpointDiscovery {
				target = p.open(given)
			} else {
				target = p.atIdP(idp, p.do(http.MethodGet, p.open(given)).location().String(), "anna")
			}
			begun := time.Now()
			back := p.do(http.MethodGet, target).location()
			if back.Query().Get("error") != "temporarily_unavailable" || time.Since(begun) > 5*time.Second {
				t.Errorf("after %v the app is sent %s", time.Since(begun), back)
			}
		})
	}
}

func TestWebLoginThroughAnIdP(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	begin := x.do(http.MethodGet, "/auth/openid?callback="+url.QueryEscape(publicURL+"/account?tab=1"))
	at := begin.location().String()
	if len(begin.cookies) != 1 || !strings.HasPrefix(begin.cookies[0].Name, "__Host-latchkey_flow_") {
		t.Fatalf("cookies %v", begin.Header.Values("Set-Cookie"))
	}
	callback, err := idp.Authorize(context.Background(), at, "anna")
	if err != nil {
		t.Fatal(err)
	}
	done := x.do(http.MethodGet, callback, cookies(begin.cookies))
	if to := done.location().String(); to != publicURL+"/account?tab=1" {
		t.Errorf("lands on %s", to)
	}
	refresh, page := done.cookie("refresh_token"), done.cookie("__Host-latchkey_session")
	if refresh == nil || page == nil {
		t.Fatalf("cookies %v", done.Header.Values("Set-Cookie"))
	}
	if flow := done.cookie(begin.cookies[0].Name); flow == nil || flow.MaxAge >= 0 {
		t.Error("the flow's cookie stays")
	}
	if rows := x.sessions("anna", false); len(rows) != 1 || !strings.HasPrefix(page.Value, rows[0].ID+".") {
		t.Errorf("%d rows, want one for both cookies", len(rows))
	}
	if strings.Contains(page.Value, refresh.Value) {
		t.Error("the page's cookie holds a refresh token")
	}
	x.do(http.MethodPost, "/auth/refresh", cookie("refresh_token", refresh.Value)).want(200)

	// Somebody else's browser completes nothing (login CSRF).
	begin = x.do(http.MethodGet, "/auth/openid?callback=/")
	if callback, err = idp.Authorize(context.Background(), begin.location().String(), "anna"); err != nil {
		t.Fatal(err)
	}
	x.do(http.MethodGet, callback).refused(400, broker.StateMismatch, "").noCookies()
	x.do(http.MethodGet, callback, cookies(begin.cookies)).refused(400, broker.InvalidState, "").noCookies()
}
