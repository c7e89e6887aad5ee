package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// idpApp is an app of a site whose rows are counted.
func (x *idpSite) app() *app { return newApp(x.site) }

// code is the app's login up to its one-time code.
func (x *idpSite) code(p *app) string {
	x.t.Helper()
	back := p.do(http.MethodGet, x.visit(p.toIdP(), "anna")).location()
	return back.Query().Get("code")
}

// idpAppAnswer expects the app to be told of a failure, and of nothing else.
func idpAppAnswer(t *testing.T, p *app, a *answer, said string, code broker.Code) {
	t.Helper()
	to := a.noCookies().location()
	want := url.Values{"error": {said}, "error_description": {string(code)}, "state": {p.state}}
	if !strings.HasPrefix(to.String(), "audiobookshelf://oauth?") || to.Query().Encode() != want.Encode() {
		t.Errorf("the app is sent %s, want %s", to, want.Encode())
	}
}

// N01, N03: an app URI is compared as a string and nothing else.
func TestN01RedirectURITricks(t *testing.T) {
	x := idpStart(t, nil)
	before := x.tally()
	for _, uri := range []string{
		"audiobookshelf://oauth/", "audiobookshelf://OAUTH", "AUDIOBOOKSHELF://oauth", "audiobookshelf://oauth.evil.test", "audiobookshelf://oauthx",
		"audiobookshelf://oaut", "audiobookshelf://oauth#x", "audiobookshelf://oauth#", "audiobookshelf://oauth?a=b", "audiobookshelf://oauth?",
		"audiobookshelf://oauth;x", "audiobookshelf://oauth ", " audiobookshelf://oauth", "audiobookshelf://oauth\n", "audiobookshelf://oauth\t",
		"audiobookshelf://oauth/../x", "audiobookshelf://oauth%2f..%2fx", "audiobookshelf://oauth@evil.test", "audiobookshelf://evil@oauth",
		"audiobookshelf://oauth:443", "audiobookshelf:/oauth", "audiobookshelf:oauth", "audiobookshelf:", "audiobookshelf:///oauth", "//oauth",
		"javascript:alert(1)//audiobookshelf://oauth", "data:text/html,audiobookshelf://oauth", "vbscript:x", "file:///etc/passwd", "about:blank", "*",
		"https://evil.test", "http://127.0.0.1:1/", "evil://oauth", "audiobookshelf://oauth,shelfplayer://callback", "shelfplayer://callback/",
		"", "\x00", "audiobookshelf://oauth\x00", "audiobookshelf://\u043eauth", "audiobookshelf://oauth\u200b", strings.Repeat("a", 7000),
	} {
		a := x.app().start(url.Values{"redirect_uri": {uri}})
		if a.Status != 400 || a.Header.Get("Location") != "" || !strings.HasPrefix(a.Body, "Invalid redirect_uri") {
			t.Errorf("%q: %d %q to %q", uri, a.Status, a.Body, a.Header.Get("Location"))
		}
	}
	x.app().start(url.Values{"redirect_uri": {"shelfplayer://callback"}}).location()
	if n := x.idp.Count(providertest.EndpointDiscovery); n != 0 || x.tally() != before {
		t.Errorf("the IdP was asked %d times, rows %+v", n, x.tally())
	}
}

func TestN06PKCEParameters(t *testing.T) {
	x := idpStart(t, nil)
	good := x.app().challenge
	for name, change := range map[string]url.Values{
		"none":          {"code_challenge": nil},
		"empty":         {"code_challenge": {""}},
		"plain":         {"code_challenge_method": {"plain"}},
		"S512":          {"code_challenge_method": {"S512"}},
		"s256":          {"code_challenge_method": {"s256"}},
		"10 characters": {"code_challenge": {good[:10]}},
		"42 characters": {"code_challenge": {good[:42]}},
		"44 characters": {"code_challenge": {good + "A"}},
		"200":           {"code_challenge": {strings.Repeat("A", 200)}},
		"padding":       {"code_challenge": {good[:42] + "="}},
		"plus":          {"code_challenge": {good[:42] + "+"}},
		"not ASCII":     {"code_challenge": {good[:41] + "é"}},
		"a verifier":    {"code_challenge": {strings.Repeat("~", 43)}},
		"token":         {"response_type": {"token"}},
		"code token":    {"response_type": {"code token"}},
		"long state":    {"state": {strings.Repeat("s", 1025)}},
		"state":         {"state": {"a\r\nSet-Cookie: x=y"}},
	} {
		if a := x.app().start(change); a.Status != 400 || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %s", name, a.Status, a.Header.Get("Location"))
		}
	}
	p := x.app()
	code, before := x.code(p), x.tally()
	right := p.verifier
	for _, verifier := range []string{
		"", right[:42], strings.Repeat("a", 43), strings.Repeat("a", 129), right[:42] + "!", right[:42] + "é", right + " ", p.challenge,
	} {
		p.verifier = verifier
		a := p.redeem(code)
		if a.Status != 401 && a.Status != 400 || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") || a.Header.Get("Location") != "" {
			t.Errorf("%q: %d %s", verifier, a.Status, a.Body)
		}
		if a.noCookies(); x.tally() != before {
			t.Errorf("%q: rows %+v", verifier, x.tally())
		}
	}
	// N05: whoever guessed burned nothing.
	p.verifier = right
	p.redeem(code).noCookies().pair()
	x.quiet("")
}

// N07: what comes back to the page between IdP and app.
func TestN07AppReturnPage(t *testing.T) {
	x := idpStart(t, nil)
	before := x.tally()
	page := "/auth/openid/mobile-redirect?"
	x.noLogin(x.do(http.MethodGet, page+"code=x&state=unknown"), before, 400, broker.InvalidState)

	atIdP, _ := x.begin() // of a web flow, without its cookie
	webState := idpQuery(t, atIdP).Get("state")
	x.noLogin(x.do(http.MethodGet, page+"code=x&state="+webState), before, 400, broker.StateMismatch)

	p := x.app()
	state := idpQuery(t, p.toIdP()).Get("state")
	a := x.do(http.MethodGet, page+"error=access_denied&error_description=no&redirect_uri=evil:/&state="+state)
	idpAppAnswer(t, p, a, "access_denied", broker.AccessDenied)
	x.noLogin(x.do(http.MethodGet, page+"error=access_denied&state="+state), before, 400, broker.InvalidState) // once

	p = x.app()
	callback := strings.Replace(x.visit(p.toIdP(), "anna"), "/callback?", "/mobile-redirect?redirect_uri=evil:/&", 1)
	back := p.do(http.MethodGet, callback).noCookies().location()
	if !strings.HasPrefix(back.String(), "audiobookshelf://oauth?") || len(back.Query()) != 2 {
		t.Errorf("the app is sent %s", back)
	}
	x.noLogin(x.do(http.MethodGet, callback), idpTally{1, 1, 0}, 400, broker.InvalidState)
	p.redeem(back.Query().Get("code")).pair()
}

// N08: an app is given a link of somebody else's login.
func TestN08FixationInTheApp(t *testing.T) {
	x := idpStart(t, nil)
	mallory := x.app()
	code := x.code(mallory)
	before := x.tally()
	alice := x.app()
	alice.verifier = strings.Repeat("fedcba9876543210", 4)
	alice.state = mallory.state
	alice.redeem(code).refused(401, broker.CodeInvalid, "login").noCookies()
	for _, query := range []string{"", "&code_verifier=", "&code_verifier=" + alice.verifier} {
		a := x.do(http.MethodGet, "/auth/openid/callback?state="+mallory.state+"&code="+code+query)
		if a.Status != 400 && a.Status != 401 || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d", query, a.Status)
		}
	}
	if x.tally() != before {
		t.Errorf("rows %+v", x.tally())
	}
	mallory.redeem(code).pair()
}

// N09: a browser returns to our own origin, below our own path, and to no other.
func TestN09OpenRedirect(t *testing.T) {
	x := idpStart(t, nil)
	evil := []string{
		"//evil.test", "/\\evil.test", "\\\\evil.test", "/%5cevil.test", "https:evil.test", "https:/evil.test", "https:///evil.test", "///evil.test",
		"////evil.test", "/%2f%2fevil.test", "//evil.test/%2f..", "/\t/evil.test", "/%09/evil.test", "/%0d%0aLocation:x", "/\n/evil.test",
		"https://id.example.org@evil.test/", "https://evil.test#id.example.org", "https://id.example.org.evil.test/", "https://id.example.org:443/",
		"http://id.example.org/", "https://2130706433/", "javascript:alert(1)", "data:text/html,x", "evil.test", "?x", "#x", " /x", "/x y", "https://",
		"//id.example.org@evil.test", "/\u2028/evil.test", "https://user@id.example.org/", "https://id.example.org\\@evil.test", ".", "..", "x/../..",
	}
	for _, target := range evil {
		a := x.do(http.MethodGet, "/auth/openid?callback="+url.QueryEscape(target))
		if a.noCookies(); a.Status != 400 || !strings.Contains(a.Body, "Invalid callback URL - must be same-origin") {
			t.Errorf("%q: %d to %q", target, a.Status, a.Header.Get("Location"))
		}
	}
	for target, want := range map[string]string{
		"/": publicURL + "/", "/account?tab=1#x": publicURL + "/account?tab=1#x", publicURL + "/a": publicURL + "/a", publicURL: publicURL,
	} {
		begin := x.do(http.MethodGet, "/auth/openid?callback="+url.QueryEscape(target))
		if to := x.do(http.MethodGet, x.visit(begin.location().String(), "anna"), cookies(begin.cookies)).location().String(); to != want {
			t.Errorf("%q lands on %s", target, to)
		}
	}
	// Others live on this origin, outside our path.
	under := &idpSite{idp: x.idp}
	under.site = openSite(t, setup{idp: x.idp, publicURL: publicURL + "/id"})
	for target, want := range map[string]int{
		"/id/": 302, "/id": 302, "/id/account": 302, publicURL + "/id/x": 302, "/": 400, "/other": 400, "/idx": 400, "/id/../other": 400,
		"/id/%2e%2e/other": 400, publicURL: 400, publicURL + "/": 400, publicURL + "/other": 400,
	} {
		if a := under.do(http.MethodGet, "/auth/openid?callback="+url.QueryEscape(target)); a.Status != want {
			t.Errorf("below /id: %q: %d, want %d", target, a.Status, want)
		}
	}
}

// N10: a parameter that is repeated is no parameter.
func TestN10RepeatedParameters(t *testing.T) {
	x := idpStart(t, nil)
	p := x.app()
	for _, name := range []string{"redirect_uri", "state", "code_challenge", "code_challenge_method", "response_type"} {
		q := url.Values{
			"redirect_uri": {"audiobookshelf://oauth"}, "state": {"s"}, "code_challenge": {p.challenge}, "code_challenge_method": {"S256"}, "response_type": {"code"},
		}
		q.Add(name, q.Get(name))
		if a := x.do(http.MethodGet, "/auth/openid?"+q.Encode()); a.Status != 400 || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d", name, a.Status)
		}
	}
	x.do(http.MethodGet, "/auth/openid?callback=/&callback=/").want(400)
	before := x.tally()
	atIdP, flow := x.begin()
	callback := x.visit(atIdP, "anna")
	for _, name := range []string{"state", "code", "iss"} {
		x.noLogin(x.do(http.MethodGet, callback+"&"+name+"=x", cookies(flow)), before, 400, broker.InvalidRequest)
	}
	x.do(http.MethodGet, callback, cookies(flow)).location() // nothing was consumed
	code := x.code(p)
	a := x.do(http.MethodGet, "/auth/openid/callback?state="+p.state+"&code="+code+"&code_verifier="+p.verifier+"&code_verifier=x")
	if a.Status != 400 || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		t.Errorf("an app's repeated verifier: %d %s", a.Status, a.Header.Get("Content-Type"))
	}
	given := p.start(url.Values{"state": {"t"}}).location().String()
	x.do(http.MethodGet, given+"&state=t").want(400)
}

func TestWebFlowTwoTabs(t *testing.T) {
	x := idpStart(t, nil)
	one, first := x.begin()
	two, second := x.begin()
	both := append(first, second...)
	a, b := x.visit(one, "anna"), x.visit(two, "anna")
	done := x.do(http.MethodGet, b, cookies(both))
	done.location()
	for _, c := range done.cookies {
		if c.Name == first[0].Name {
			t.Error("one tab undoes the other")
		}
	}
	x.do(http.MethodGet, a, cookies(first)).location()
	x.do(http.MethodGet, a, cookies(both)).refused(400, broker.InvalidState, "").noCookies() // a state is used once
	if n := x.tally().sessions; n != 2 {
		t.Errorf("%d sessions", n)
	}
	if f := first[0]; !f.HttpOnly || !f.Secure || f.SameSite != http.SameSiteLaxMode || f.Path != "/" || f.Domain != "" || f.MaxAge != 600 {
		t.Errorf("the flow's cookie: %s", f)
	}
}

// Logins that are begun and left do not fill the headers.
func TestWebFlowCookiesAreBounded(t *testing.T) {
	x := idpStart(t, nil)
	jar := map[string]*http.Cookie{}
	most := 0
	for range 40 {
		list := []*http.Cookie{}
		for _, c := range jar {
			list = append(list, c)
		}
		for _, c := range x.do(http.MethodGet, "/auth/openid?callback=/", cookies(list)).cookies {
			if jar[c.Name] = c; c.MaxAge < 0 {
				delete(jar, c.Name)
			}
		}
		most = max(most, len(jar))
	}
	if most > 11 {
		t.Errorf("%d cookies", most)
	}
}

func TestWebFlowExpires(t *testing.T) {
	x := idpStart(t, nil)
	before := x.tally()
	atIdP, flow := x.begin()
	callback := x.visit(atIdP, "anna")
	x.Clock.Advance(10*time.Minute + time.Second)
	x.noLogin(x.do(http.MethodGet, callback, cookies(flow)), before, 400, broker.InvalidState)
}

// The same (S, C) is the same login; with another app URI it is none.
func TestMobileFlowBegunTwice(t *testing.T) {
	x := idpStart(t, nil)
	p := x.app()
	one, two := p.start(url.Values{"state": {"S"}}), p.start(url.Values{"state": {"S"}})
	if one.location().String() != two.location().String() {
		t.Errorf("%s and %s", one.location(), two.location())
	}
	p.start(url.Values{"state": {"S"}, "redirect_uri": {"shelfplayer://callback"}}).want(400)
	p.start(url.Values{"state": {"T"}, "redirect_uri": {"shelfplayer://callback"}}).location()
	if q := one.location().Query(); q.Get("state") != "S" || len(q) != 7 {
		t.Errorf("%v", q)
	}
	if q := p.start(nil).location().Query(); len(q.Get("state")) < 32 {
		t.Errorf("our own state is %q", q.Get("state"))
	}
}

// It may be opened again, each time by a U of its own, until a K is redeemed.
func TestMobileFlowOpenedTwice(t *testing.T) {
	x := idpStart(t, nil)
	p := x.app()
	link := p.open(p.start(nil).location())
	open := func() string { return p.do(http.MethodGet, link).noCookies().location().String() }
	one, two, three := open(), open(), open()
	if idpQuery(t, one).Get("state") == idpQuery(t, two).Get("state") || idpQuery(t, one).Get("state") == p.state {
		t.Error("one U for two openings")
	}
	late := x.visit(three, "anna")
	first := p.do(http.MethodGet, x.visit(one, "anna")).location().Query().Get("code")
	second := p.do(http.MethodGet, x.visit(two, "anna")).location().Query().Get("code")
	if first == second {
		t.Error("one K for two logins")
	}
	p.redeem(second).pair()
	before := x.tally()
	x.noLogin(x.do(http.MethodGet, link), before, 400, broker.InvalidState)
	x.noLogin(x.do(http.MethodGet, late), before, 400, broker.InvalidState)
}

func TestMobileFlowUnknownChallenge(t *testing.T) {
	x := idpStart(t, nil)
	p := x.app()
	given := p.start(nil).location()
	for name, value := range map[string]string{"state": "other", "code_challenge": strings.Repeat("A", 43)} {
		q := given.Query()
		q.Set(name, value)
		x.noLogin(x.do(http.MethodGet, "/auth/openid/authorize?"+q.Encode()), idpTally{}, 400, broker.InvalidState)
	}
	q := given.Query() // the others are not read
	for _, name := range []string{"response_type", "client_id", "scope", "redirect_uri", "code_challenge_method"} {
		q.Set(name, "anything")
	}
	x.do(http.MethodGet, "/auth/openid/authorize?"+q.Encode()).location()
}

func TestMobileFlowExpiries(t *testing.T) {
	x := idpStart(t, nil)
	p := x.app()
	link := p.open(p.start(nil).location())
	x.Clock.Advance(9*time.Minute + 59*time.Second)
	opened := p.do(http.MethodGet, link).location().String()
	x.Clock.Advance(2 * time.Second)
	x.noLogin(x.do(http.MethodGet, link), idpTally{}, 400, broker.InvalidState)

	// Whoever opened it in time has ten minutes at the IdP.
	x.idp.Script(func(s *providertest.Script) {
		s.EditIDToken = func(c map[string]any) {
			c["iat"], c["exp"] = x.Clock.Now().Unix(), x.Clock.Now().Add(time.Hour).Unix()
		}
	})
	x.Clock.Advance(9 * time.Minute)
	code := p.do(http.MethodGet, x.visit(opened, "anna")).location().Query().Get("code")
	x.Clock.Advance(5*time.Minute + time.Second)
	p.redeem(code).refused(401, broker.CodeInvalid, "login")

	p = x.app()
	late := x.visit(p.toIdP(), "anna")
	x.Clock.Advance(10*time.Minute + time.Second)
	x.noLogin(x.do(http.MethodGet, late), idpTally{1, 1, 0}, 400, broker.InvalidState)

	p = x.app()
	code = x.code(p)
	x.Clock.Advance(4*time.Minute + 59*time.Second)
	p.redeem(code).pair()
}

// A second redemption proves that two hold the code.
func TestMobileFlowCodeReuse(t *testing.T) {
	x := idpStart(t, nil)
	p := x.app()
	code := x.code(p)
	right := p.verifier
	got := p.redeem(code).noCookies().pair()
	// Whoever cannot prove the challenge ends nothing.
	p.verifier = strings.Repeat("w", 64)
	p.redeem(code).refused(401, broker.CodeInvalid, "login")
	p.verifier = right
	p.state += "x"
	p.redeem(code).refused(401, broker.CodeInvalid, "login")
	p.state = strings.TrimSuffix(p.state, "x")
	x.me(got.access).want(200)

	p.redeem(code).refused(401, broker.CodeReused, "login").noCookies()
	x.refresh(got.refresh).refused(401, broker.CodeReused, "login")
	x.me(got.access).want(401)
	if rows := x.sessions("anna", false); len(rows) != 1 || rows[0].EndCause != broker.CodeReused {
		t.Errorf("%+v", rows)
	}
}

// Several providers: a U and a K are one provider's, and openid is the first.
func TestMobileFlowSeveralProviders(t *testing.T) {
	x, second := idpTwo(t)
	p := x.app()
	x.do(http.MethodGet, "/auth/p3?callback=/").want(404)
	given := p.start(nil).location() // of openid, which is p1
	p.state = given.Query().Get("state")
	atIdP := p.do(http.MethodGet, p.open(given)).location().String()
	if !strings.HasPrefix(atIdP, x.idp.Issuer()) || idpQuery(t, atIdP).Get("redirect_uri") != publicURL+"/auth/p1/callback" {
		t.Errorf("openid leads to %s", atIdP)
	}
	callback := x.visit(atIdP, "anna")
	for _, path := range []string{"callback", "mobile-redirect"} {
		a := x.do(http.MethodGet, strings.Replace(callback, "/p1/callback", "/p2/"+path, 1))
		x.noLogin(a, idpTally{}, 400, broker.InvalidState)
	}
	code := p.do(http.MethodGet, callback).location().Query().Get("code")
	q := url.Values{"state": {p.state}, "code": {code}, "code_verifier": {p.verifier}}.Encode()
	x.do(http.MethodGet, "/auth/p2/callback?"+q).refused(400, broker.InvalidState, "")
	x.do(http.MethodGet, "/auth/p1/callback?"+q).pair() // not consumed; p1 and openid are one
	x.do(http.MethodGet, "/auth/p2/callback?"+q).refused(400, broker.InvalidState, "")
	// The request is p1's as well.
	other := x.app()
	link := other.open(other.start(url.Values{"state": {"S2"}}).location())
	x.do(http.MethodGet, strings.Replace(link, "/auth/openid/", "/auth/p2/", 1)).want(400)
	x.do(http.MethodGet, strings.Replace(link, "/auth/openid/", "/auth/p1/", 1)).location()
	if n := second.Count(providertest.EndpointToken) + second.Count(providertest.EndpointAuthorize); n != 0 {
		t.Errorf("p2 was asked %d times", n)
	}
}

// Every failure at the IdP reaches the app, in one of three words and with the code.
func TestMobileFlowErrorsReachTheApp(t *testing.T) {
	for name, c := range map[string]struct {
		lie  func(x *idpSite, s *providertest.Script)
		said string
		code broker.Code
	}{
		"denied":      {func(_ *idpSite, s *providertest.Script) { s.EditCallback = idpError("access_denied") }, "access_denied", broker.AccessDenied},
		"no iss":      {func(_ *idpSite, s *providertest.Script) { s.EditCallback = idpError("access_denied", "iss") }, "access_denied", broker.AccessDenied},
		"other":       {func(_ *idpSite, s *providertest.Script) { s.EditCallback = idpError("login_required") }, "access_denied", broker.IdPRefused},
		"unavailable": {func(_ *idpSite, s *providertest.Script) { s.EditCallback = idpError("temporarily_unavailable") }, "temporarily_unavailable", broker.TemporarilyUnavailable},
		"no code":     {func(_ *idpSite, s *providertest.Script) { s.EditCallback = func(v url.Values) { v.Del("code") } }, "server_error", broker.InvalidRequest},
		"mix-up":      {func(_ *idpSite, s *providertest.Script) { s.EditCallback = func(v url.Values) { v.Set("iss", "x") } }, "server_error", broker.IssuerMismatch},
		"nonce":       {idpClaim("nonce", "x"), "server_error", broker.NonceMismatch},
		"ID token":    {idpClaim("exp", nil), "server_error", broker.IdPBadResponse},
		"unverified":  {idpClaim("email_verified", false), "access_denied", broker.EmailNotVerified},
		"refused": {func(_ *idpSite, s *providertest.Script) {
			s.Respond[providertest.EndpointToken] = providertest.Body(400, "application/json", `{"error":"invalid_grant"}`)
		}, "access_denied", broker.IdPRefused},
	} {
		t.Run(name, func(t *testing.T) {
			x := idpStart(t, nil)
			x.lie(func(s *providertest.Script) { c.lie(x, s) })
			p := x.app()
			idpAppAnswer(t, p, p.do(http.MethodGet, x.visit(p.toIdP(), "anna")), c.said, c.code)
			if x.tally() != (idpTally{}) {
				t.Errorf("rows %+v", x.tally())
			}
			x.quiet("")
			x.lie(nil) // and the same request may be opened again
			x.code(x.app())
		})
	}
}

func idpError(code string, without ...string) func(url.Values) {
	return func(v url.Values) {
		v.Del("code")
		v.Set("error", code)
		v.Set("error_description", "because")
		for _, name := range without {
			v.Del(name)
		}
	}
}

// A user who was disabled in the meantime gets neither code nor session.
func TestMobileFlowDisabledUser(t *testing.T) {
	x := idpStart(t, nil)
	x.browse("anna").location()
	u, err := x.Broker.FindUser(t.Context(), "anna")
	if err != nil {
		t.Fatal(err)
	}
	p := x.app()
	code := x.code(p)
	if err := x.Broker.SetDisabled(t.Context(), u.ID, true); err != nil {
		t.Fatal(err)
	}
	before := x.tally()
	p.redeem(code).refused(401, broker.UserDisabled, "login").noCookies()
	x.noLogin(x.browse("anna"), before, 401, broker.UserDisabled)
	again := x.app()
	idpAppAnswer(t, again, again.do(http.MethodGet, x.visit(again.toIdP(), "anna")), "access_denied", broker.UserDisabled)
}
