package web_test

import (
	"encoding/base64"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// unsignedToken has a header that says none, and an empty signature.
func unsignedToken(claims map[string]any) string {
	segment := base64.RawURLEncoding.EncodeToString
	return segment([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + segment([]byte(toJSON(claims))) + "."
}

// O14: what a client asks of a login is heeded or refused, never half.
func TestO14PromptMaxAgeAndHints(t *testing.T) {
	x := newProvider(t, setup{})
	if q := x.newBrowser().open("/oauth2/authorize?" + request("web1", cb1, "prompt", "none").Encode()).sentTo(cb1); q.Get("error") != "login_required" || q.Get("state") != "a state" {
		t.Errorf("nobody is logged in: %v", q)
	}
	g, b := x.clientLogin("web1", cb1)
	rootToken := x.redeem("web1", cb1, x.codeFor(x.loggedIn("root"), "web1", cb1)).granted().id
	forged := claimsOf(t, g.id)
	for what, c := range map[string]struct {
		differ []string
		want   string
	}{
		"none with another":           {[]string{"prompt", "none login"}, "invalid_request"},
		"an unknown prompt":           {[]string{"prompt", "create"}, "invalid_request"},
		"max_age below 0":             {[]string{"max_age", "-1"}, "invalid_request"},
		"max_age of no number":        {[]string{"max_age", "abc"}, "invalid_request"},
		"max_age with a plus":         {[]string{"max_age", "+1"}, "invalid_request"},
		"max_age beyond all":          {[]string{"max_age", "99999999999999999999"}, "invalid_request"},
		"max_age in hex":              {[]string{"max_age", "0x10"}, "invalid_request"},
		"another's hint":              {[]string{"prompt", "none", "id_token_hint", rootToken}, "login_required"},
		"an unsigned hint":            {[]string{"prompt", "none", "id_token_hint", unsignedToken(forged)}, "login_required"},
		"a hint that is none":         {[]string{"prompt", "none", "id_token_hint", "x"}, "login_required"},
		"an access token as hint":     {[]string{"prompt", "none", "id_token_hint", g.access}, "login_required"},
		"max_age 0 and none":          {[]string{"prompt", "none", "max_age", "0"}, ""}, // the login is not older than 0 s
		"claims asks for another sub": {[]string{"prompt", "none", "claims", `{"id_token":{"sub":{"value":"` + claimsOf(t, rootToken)["sub"].(string) + `"}}}`}, "login_required"},
		"claims is no JSON":           {[]string{"claims", "{"}, "invalid_request"},
		"claims is a list":            {[]string{"claims", "[]"}, "invalid_request"},
		"the hint of alice":           {[]string{"prompt", "none", "id_token_hint", g.id}, ""},
	} {
		q := b.open("/oauth2/authorize?" + request("web1", cb1, c.differ...).Encode()).sentTo(cb1)
		if q.Get("error") != c.want || (q.Get("code") != "") != (c.want == "") {
			t.Errorf("%s: %v, want %q", what, q, c.want)
		}
	}
	if page := b.open("/oauth2/authorize?" + request("web1", cb1, "max_age", "0").Encode()); page.Status != 200 {
		t.Errorf("max_age 0 in the second of the login: %d to %s", page.Status, page.Header.Get("Location"))
	}
	before := claimsOf(t, g.id)["auth_time"].(float64)
	for _, differ := range [][]string{{"max_age", "0"}, {"max_age", "1"}, {"prompt", "login"}} {
		x.Clock.Advance(2 * time.Second)
		page := b.open("/oauth2/authorize?" + request("web1", cb1, differ...).Encode()).want(200)
		if q := b.open(strings.TrimPrefix(hidden(page, "next"), publicURL)); q.Status == 303 { // going on without logging in
			t.Errorf("%v: without a login: %s", differ, q.Header.Get("Location"))
		}
		again := x.redeem("web1", cb1, b.logIn(page, "alice").sentTo(cb1).Get("code")).granted()
		if now := claimsOf(t, again.id)["auth_time"].(float64); now < before+2 {
			t.Errorf("%v: auth_time %v, before %v", differ, now, before)
		} else {
			before = now
		}
	}
	// With another's hint another account must log in; alice again does not do.
	page := b.open("/oauth2/authorize?" + request("web1", cb1, "id_token_hint", rootToken).Encode()).want(200)
	if q := b.logIn(page, "alice").sentTo(cb1); q.Get("error") != "login_required" || q.Has("code") {
		t.Errorf("alice for root's hint: %v", q)
	}
	hint := x.newBrowser().open("/oauth2/authorize?" + request("web1", cb1, "login_hint", `"><img src=x onerror=alert(1)>`).Encode()).want(200)
	if strings.Contains(hint.Body, "<img src=x") {
		t.Error("login_hint is not escaped")
	}
}

// O15: request objects are refused where the answer may go, and nothing is
// fetched for them.
func TestO15RequestObjects(t *testing.T) {
	var asked atomic.Int64
	listener := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer listener.Close()
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	object := unsignedToken(map[string]any{"client_id": "web1", "redirect_uri": "https://evil.test/cb", "response_type": "code", "iss": "web1", "aud": publicURL})
	for what, c := range map[string]struct{ name, value, want string }{
		"an unsigned object":     {"request", object, "request_not_supported"},
		"another client's":       {"request", unsignedToken(map[string]any{"client_id": "web2"}), "request_not_supported"},
		"nonsense":               {"request", "x", "request_not_supported"},
		"a URL of ours to fetch": {"request_uri", listener.URL + "/object", "request_uri_not_supported"},
		"a private address":      {"request_uri", "http://169.254.169.254/latest/meta-data", "request_uri_not_supported"},
		"a file":                 {"request_uri", "file:///etc/passwd", "request_uri_not_supported"},
		"another urn":            {"request_uri", "urn:example:x", "request_uri_not_supported"},
	} {
		q := b.open("/oauth2/authorize?" + request("web1", cb1, c.name, c.value).Encode()).sentTo(cb1)
		if q.Get("error") != c.want || q.Has("code") || q.Get("state") != "a state" {
			t.Errorf("%s: %v, want %s", what, q, c.want)
		}
		// An object does not bring a redirect URI.
		b.send(http.MethodGet, "/oauth2/authorize?"+request("web1", "https://evil.test/cb", c.name, c.value).Encode()).staysHere(what, broker.InvalidRedirectURI)
	}
	// A pushed request is its client's, and good once.
	push := func(differ ...string) string {
		return x.do(http.MethodPost, "/oauth2/par", body("application/x-www-form-urlencoded", request("web1", cb1, differ...).Encode()), basic("web1", webSecret)).want(201).text("request_uri")
	}
	uri := push()
	b.send(http.MethodGet, "/oauth2/authorize?"+url.Values{"client_id": {"web2"}, "request_uri": {uri}}.Encode()).staysHere("another client", broker.InvalidRequestURI)
	b.send(http.MethodGet, "/oauth2/authorize?"+url.Values{"client_id": {"web1"}, "request_uri": {uri + "x"}}.Encode()).staysHere("another name", broker.InvalidRequestURI)
	evil := url.Values{"client_id": {"web1"}, "request_uri": {uri}, "redirect_uri": {"https://evil.test/cb"}, "scope": {"openid latchkey:admin"}, "state": {"evil"}}
	if q := b.open("/oauth2/authorize?" + evil.Encode()).sentTo(cb1); q.Get("code") == "" || q.Get("state") != "a state" {
		t.Errorf("what stands beside a pushed request counts: %v", q)
	}
	b.send(http.MethodGet, "/oauth2/authorize?"+url.Values{"client_id": {"web1"}, "request_uri": {uri}}.Encode()).staysHere("twice", broker.InvalidRequestURI)
	late := push()
	x.Clock.Advance(91 * time.Second)
	b.send(http.MethodGet, "/oauth2/authorize?"+url.Values{"client_id": {"web1"}, "request_uri": {late}}.Encode()).staysHere("late", broker.InvalidRequestURI)
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests went out", n)
	}
}

// noReferrerAbroad: no other origin learns of a page's URL (W05).
func noReferrerAbroad(a *answer) bool {
	policy := a.Header.Get("Referrer-Policy")
	return policy == "no-referrer" || policy == "same-origin"
}

// O16: no response_mode but ours, and what goes into a page is inert; the state
// comes back byte for byte.
func TestO16ResponseModesAndInjection(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	for _, mode := range []string{"fragment", "query.jwt", "jwt", "form_post.jwt", "web_message", "zzz", "Query", "query form_post"} {
		a := b.open("/oauth2/authorize?" + request("web1", cb1, "response_mode", mode).Encode())
		if q := a.sentTo(cb1); q.Get("error") != "invalid_request" || q.Has("code") || strings.Contains(a.Header.Get("Location"), "#") {
			t.Errorf("%s: %v", mode, q)
		}
	}
	printable := ""
	for c := ' '; c <= '~'; c++ {
		printable += string(c)
	}
	for _, state := range []string{
		`"><script>alert(1)</script>`, "'><img src=x onerror=alert(1)>", "</form></body>", "{{.Token}}", "javascript:alert(1)", "a\r\nSet-Cookie: x=y", "é ü ☃ \u202e", printable,
		strings.Repeat(printable+"x", 3)[:128], strings.Repeat("s", 4096), "+ %20&=;#", "\t",
	} {
		if q := b.open("/oauth2/authorize?" + request("web1", cb1, "state", state).Encode()).sentTo(cb1); q.Get("state") != state || q.Get("code") == "" {
			t.Errorf("state %q came back as %q", state, q.Get("state"))
		}
		for _, prompt := range []string{"", "create"} { // a code, and an error
			page := b.open("/oauth2/authorize?" + request("web1", cb1, "state", state, "response_mode", "form_post", "prompt", prompt).Encode()).want(200)
			if got := hidden(page, "state"); strings.ReplaceAll(got, "\r\n", "\n") != strings.ReplaceAll(state, "\r\n", "\n") {
				t.Errorf("state %q is in the form as %q", state, got)
			}
			policy := page.Header.Get("Content-Security-Policy")
			if strings.Contains(page.Body, "<script>") || strings.Contains(page.Body, "<img") || strings.Count(page.Body, "</form>") != 1 ||
				strings.Contains(policy, "unsafe") || !strings.Contains(policy, "script-src 'self'") || !strings.Contains(policy, "frame-ancestors 'none'") {
				t.Errorf("state %q: %s\n%s", state, policy, page.Body)
			}
			if page.Header.Get("Cache-Control") != "no-store" || !noReferrerAbroad(page) || page.Header.Get("Set-Cookie") != "" {
				t.Errorf("headers %v", page.Header)
			}
		}
	}
	// On an error page, too.
	for _, name := range []string{"client_id", "redirect_uri", "scope", "state"} {
		page := b.open("/oauth2/authorize?" + request("web1", "https://evil.test", name, `"><script>alert(1)</script>`).Encode()).want(400)
		if strings.Contains(page.Body, "<script>alert") {
			t.Errorf("%s is not escaped: %s", name, page.Body)
		}
	}
}

// O17: the id of a request that waits is worth nothing without its browser.
func TestO17StealingAPendingLogin(t *testing.T) {
	x := newProvider(t, setup{})
	alice := x.loggedIn("alice")
	page := alice.authorize(request("asking", "https://asking.test/cb")).want(200)
	id := hidden(page, "id")
	root, nobody := x.loggedIn("root"), x.newBrowser()
	for what, b := range map[string]*browser{"another user": root, "nobody": nobody} {
		b.open("/oauth2/continue?id="+url.QueryEscape(id)).staysHere(what+" continues", broker.InvalidState)
		b.post("/oauth2/consent", "id", id, "decision", "allow").staysHere(what+" consents", broker.InvalidState)
		b.post("/oauth2/consent", "id", id, "decision", "deny").staysHere(what+" refuses", broker.InvalidState)
		login := b.do(http.MethodGet, "/login?next="+url.QueryEscape(publicURL+"/oauth2/continue?id="+id))
		if strings.Contains(login.Body, "Asking App") {
			t.Errorf("%s: the login page names the client", what)
		}
	}
	// The cookie of another request of one's own does not open it.
	other := root.authorize(request("asking", "https://asking.test/cb")).want(200)
	for name, value := range root.jar {
		if strings.Contains(name, "latchkey_flow_") {
			for aliceName := range alice.jar {
				if strings.Contains(aliceName, "latchkey_flow_") {
					x.do(http.MethodGet, "/oauth2/continue?id="+url.QueryEscape(id), cookie(aliceName, value), cookie("__Host-latchkey_session", root.jar["__Host-latchkey_session"])).
						staysHere("another's secret: "+name, broker.InvalidState)
				}
			}
		}
	}
	if hidden(other, "id") == id {
		t.Error("two requests have one id")
	}
	x.Clock.Advance(15 * time.Minute)
	alice.open("/oauth2/continue?id="+url.QueryEscape(id)).staysHere("after 15 minutes", broker.InvalidState)
	alice.post("/oauth2/consent", "id", id, "decision", "allow").staysHere("consent after 15 minutes", broker.InvalidState)
	if list := x.sessions("alice", false); len(list) != 1 {
		t.Errorf("%d sessions", len(list))
	}
}

// O18: consent is given on our page by the person, to what the record says.
func TestO18ConsentCSRF(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	page := b.authorize(request("asking", "https://asking.test/cb", "scope", "openid")).want(200)
	id := hidden(page, "id")
	for what, forged := range map[string][]option{
		"cross-site": {header("Sec-Fetch-Site", "cross-site")}, "same site": {header("Sec-Fetch-Site", "same-site")}, "Origin": {header("Origin", "https://evil.test")},
		"null": {header("Origin", "null")}, "an old browser": {header("Origin", "https://asking.test")},
	} {
		a := b.send(http.MethodPost, "/oauth2/consent", append(forged, form("id", id, "decision", "allow"))...)
		if a.refused(403, broker.CrossSite, ""); t.Failed() {
			t.Fatal(what)
		}
	}
	b.send(http.MethodGet, "/oauth2/consent?id="+url.QueryEscape(id)+"&decision=allow").want(405)
	for _, decision := range []string{"", "yes", "ALLOW"} {
		b.post("/oauth2/consent", "id", id, "decision", decision).want(400)
	}
	// W03 wants form-action too: it is left out where a form leads on to a client,
	// because browsers hold it against every redirect of the client's as well.
	if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "script-src 'self'") ||
		!strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "base-uri 'none'") {
		t.Errorf("policy %s", policy)
	}
	if inline := regexp.MustCompile(`(?i)<script>|\son[a-z]+=|javascript:`).FindString(html.UnescapeString(page.Body)); inline != "" {
		t.Errorf("inline script: %s", inline)
	}
	a := b.post("/oauth2/consent", "id", id, "decision", "allow", "scope", "openid profile email groups latchkey:admin", "client_id", "web1", "redirect_uri", cb1, "state", "evil")
	q := a.sentTo("https://asking.test/cb")
	g := x.redeem("asking", "https://asking.test/cb", q.Get("code")).granted()
	if claimsOf(t, g.access)["scope"] != "openid" || q.Get("state") != "a state" {
		t.Errorf("scope %v, %v", claimsOf(t, g.access)["scope"], q)
	}
}
