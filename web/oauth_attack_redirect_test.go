package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// staysHere expects an error page of ours: the browser is sent nowhere, and
// nobody gets a cookie.
func (a *answer) staysHere(what string, codes ...broker.Code) {
	a.t.Helper()
	got := broker.Code(a.Header.Get("Latchkey-Code"))
	known := false
	for _, code := range codes {
		known = known || got == code
	}
	if a.Status != 400 || !known || a.Header.Get("Location") != "" || len(a.cookies) > 0 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
		a.t.Errorf("%s: %s: %d %s to %q, cookies %v, want a page 400 of %v", what, a.request, a.Status, got, a.Header.Get("Location"), a.cookies, codes)
	}
}

// loggedIn is a browser in which alice is logged in, so that nothing but the
// check under test stands between a request and a code.
func (x *site) loggedIn(name string) *browser {
	x.t.Helper()
	b := x.newBrowser()
	if to := b.post("/login/password", "username", name, "password", harness.PasswordOf(name)).location().String(); to != publicURL+"/" {
		x.t.Fatalf("the login leads to %s", to)
	}
	return b
}

// N01: a redirect URI is the registered one, byte for byte, at every way in. Of
// an app's loopback URI the port is free, and nothing else.
func TestN01RedirectAllowListBypass(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	const good = "https://rp1.test/cb"
	evil := map[string][]string{
		"web1": {
			"https://rp1.test.evil.test/cb", good + "/", good + "/../x", good + "%2f..%2fx", "https://rp1.test/CB", "https://RP1.test/cb", "HTTPS://rp1.test/cb",
			"https://rp1.test:443/cb", "http://rp1.test/cb", "https://rp1xtest/cb", good + "?a=b", good + "?", good + ";x", good + " ", " " + good, good + "\t", good + "\n",
			good + "\x00", good + "%00", good + "#", good + "#x", "https://rp1.test@evil.test/cb", "https://evil.test@rp1.test/cb", "https://user:pass@rp1.test/cb",
			"https://rp1.test\\@evil.test/cb", "https://rp1.test\\.evil.test/cb", "https://rp1.test%2f@evil.test/cb", "https://rp1.test%00.evil.test/cb",
			"//rp1.test/cb", "/cb", "rp1.test/cb", "https:/rp1.test/cb", "https:///rp1.test/cb", "https:rp1.test/cb", "https://rp1.test./cb", "https://rp1.test//cb",
			"https://rp1.test/./cb", "https://rp1.test/%63b", "https://rp1.test/cb%20", "https://rp1.test/c", "https://rp1.test", "https://rp1.test/", good + good,
			good + "," + good, "https://rp2.test/cb", "https://evil.test/?" + good, "https://evil.test/#" + good, "https://xn--rp1-.test/cb", "https://ｒｐ１.test/cb", "",
		},
		"web2": {"", "https://rp2.test", "https://rp2.test/", "https://rp2.test/cb3", "https://rp2.test/cb22"}, // missing while two are registered
		"nat1": {
			"http://127.0.0.1/cb/", "http://127.0.0.1:1/CB", "http://127.0.0.1:1/cb?x", "http://127.0.0.1:1/cb#", "https://127.0.0.1:1/cb", "HTTP://127.0.0.1:1/cb",
			"http://127.0.0.1:/cb", "http://127.0.0.1:0/cb", "http://127.0.0.1:-1/cb", "http://127.0.0.1:65536/cb", "http://127.0.0.1:1:2/cb", "http://127.0.0.1: 1/cb",
			"http://127.0.0.1:+1/cb", "http://127.0.0.1:1@evil.test/cb", "http://127.0.0.1@evil.test/cb", "http://x@127.0.0.1:1/cb", "http://127.0.0.1.evil.test/cb",
			"http://127.0.0.1:1.evil.test/cb", "http://localhost:1/cb", "http://127.0.0.2:1/cb", "http://127.1:1/cb", "http://2130706433/cb", "http://0x7f.1/cb",
			"http://[::1]:1/cb", "http://[::ffff:127.0.0.1]:1/cb", "http://0.0.0.0:1/cb", "http://127.0.0.1%3a1/cb", "http://127.0.0.1:1\\@evil.test/cb", "http://127.0.0.1:1",
			"app.one:/OAUTH", "App.one:/oauth", "app.one://oauth", "app.one:oauth", "app.one:///oauth", "app.one:/oauth?x", "app.one.evil:/oauth", "app.one:/oauth/",
		},
	}
	for client, uris := range evil {
		for _, uri := range uris {
			what := fmt.Sprintf("%s at %q", client, uri)
			q := request(client, uri)
			b.send(http.MethodGet, "/oauth2/authorize?"+q.Encode()).staysHere(what, broker.InvalidRedirectURI, broker.InvalidRequest)
			if strings.ContainsRune(uri, 0) {
				continue
			}
			b.send(http.MethodPost, "/oauth2/authorize", body("application/x-www-form-urlencoded", q.Encode())).
				staysHere(what+" by POST", broker.InvalidRedirectURI, broker.InvalidRequest)
			pushed := x.do(http.MethodPost, "/oauth2/par", body("application/x-www-form-urlencoded", q.Encode()), credentialsOf(client))
			if client != "nat1" {
				pushed.oauthError(400, "invalid_redirect_uri")
			} else if pushed.Status != 400 {
				t.Errorf("%s pushed: %d", what, pushed.Status)
			}
		}
	}
	for _, uri := range []string{"http://127.0.0.1/cb", "http://127.0.0.1:1/cb", "http://127.0.0.1:65535/cb", "app.one:/oauth"} {
		if b.authorize(request("nat1", uri)).sentTo(uri).Get("code") == "" {
			t.Errorf("%s: no code", uri)
		}
	}
	if b.authorize(request("web1", good)).sentTo(good).Get("code") == "" {
		t.Error("the registered one gets no code")
	}
}

// credentialsOf are a test client's own, by Basic; of a public client none.
func credentialsOf(client string) option {
	secret := map[string]string{"web1": webSecret, "web2": web2Secret, "asking": webSecret, "api": webSecret}[client]
	if secret == "" {
		return func(*http.Request) {}
	}
	return basic(client, secret)
}

// dangerousURIs run something, or read something, in a browser.
var dangerousURIs = []string{
	"https://rp1.test/cb#x", "https://rp1.test/cb#", "javascript:alert(1)//", "JavaScript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd",
	"about:blank", "blob:https://rp1.test/x", "*", "https://*.rp1.test/cb", "https://rp1.test/*", "app.one:", "app.one:/", "app.one://", "https:///cb", "https:rp1.test/cb", "http:",
	"//rp1.test/cb", "/cb", "cb", "https://user@rp1.test/cb", "https://@rp1.test/cb", "https://rp1.test/a/../cb", "https://rp1.test/%2e%2e/cb", "https://rp1.test\\cb",
	"https://rp1.test/cb x", " https://rp1.test/cb", "https://rp1.test/\"><script>", "view-source:https://rp1.test", "filesystem:https://rp1.test/x", "intent://x#Intent;end", "mailto:a@b.test",
}

// N03: fragments and dangerous schemes are no redirect URIs at the authorization
// endpoint. What registration says of them: see TestN03RegisterDangerousURIs.
func TestN03DangerousRedirectURIs(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	for _, client := range []string{"web1", "nat1", "spa"} {
		for _, uri := range dangerousURIs {
			for _, mode := range []string{"", "form_post"} {
				a := b.send(http.MethodGet, "/oauth2/authorize?"+request(client, uri, "response_mode", mode).Encode())
				a.staysHere(client+" "+uri, broker.InvalidRedirectURI)
				if strings.Contains(a.Body, `href="javascript`) || strings.Contains(a.Body, "<script>") {
					t.Errorf("%s: it is on the page: %s", uri, a.Body)
				}
			}
		}
	}
}

// N05: a hostile app that holds the same scheme gets a code, and nothing for it;
// the app that began the login gets its tokens all the same.
func TestN05CustomSchemeInterception(t *testing.T) {
	x := newProvider(t, setup{})
	code := x.codeFor(x.newBrowser(), "nat1", "app.one:/oauth")
	for what, guess := range map[string]string{
		"no verifier": "", "a guess": strings.Repeat("g", 43), "the challenge": challenge(verifier), "a shortened one": verifier[:43], "a longer one": verifier + "x",
	} {
		a := x.redeem("nat1", "app.one:/oauth", code, "code_verifier", guess)
		if a.oauthError(400, "invalid_grant"); t.Failed() {
			t.Fatal(what)
		}
	}
	if n := len(x.sessions("alice", true)); n != 1 {
		t.Errorf("%d sessions, want that of the browser", n)
	}
	x.redeem("nat1", "app.one:/oauth", code).granted()
}

// N06: public clients use PKCE with S256, and all clients that use it use S256.
func TestN06PKCEOfClients(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	good := challenge(verifier)
	for what, differ := range map[string][]string{
		"plain": {"code_challenge", verifier, "code_challenge_method", "plain"}, "method absent, raw verifier": {"code_challenge", verifier, "code_challenge_method", ""},
		"method absent": {"code_challenge_method", ""}, "10 characters": {"code_challenge", good[:10]}, "42 characters": {"code_challenge", good[:42]},
		"200 characters": {"code_challenge", strings.Repeat("a", 200)}, "S512": {"code_challenge_method", "S512"}, "s256": {"code_challenge_method", "s256"},
		"padding": {"code_challenge", good[:42] + "="}, "a method alone": {"code_challenge", ""}, "other alphabet": {"code_challenge", good[:42] + "+"},
	} {
		for client, uri := range map[string]string{"nat1": "app.one:/oauth", "spa": "https://spa.test/cb", "web1": "https://rp1.test/cb"} {
			q := b.authorize(request(client, uri, differ...)).sentTo(uri)
			if q.Get("error") != "invalid_request" || q.Get("code") != "" || q.Get("state") != "a state" {
				t.Errorf("%s, %s: %v", client, what, q)
			}
		}
	}
	for client, uri := range map[string]string{"nat1": "app.one:/oauth", "spa": "https://spa.test/cb"} {
		if q := b.authorize(request(client, uri, "code_challenge", "", "code_challenge_method", "")).sentTo(uri); q.Get("error") != "invalid_request" {
			t.Errorf("%s without a challenge: %v", client, q)
		}
		x.do(http.MethodPost, "/oauth2/par", body("application/x-www-form-urlencoded", request(client, uri, "code_challenge", "", "code_challenge_method", "").Encode())).
			oauthError(400, "invalid_request")
	}
	// At the token endpoint, a verifier is one by its form.
	for what, v := range map[string]string{
		"42 characters": verifier[:42], "129 characters": strings.Repeat("v", 129), "another alphabet": verifier + "!", "a space": verifier + " ", "umlaut": verifier + "ü", "NUL": verifier + "\x00",
	} {
		code := x.codeFor(b, "nat1", "app.one:/oauth", "code_challenge", challenge(v))
		a := x.redeem("nat1", "app.one:/oauth", code, "code_verifier", v)
		if said, _ := a.at("error"); a.Status != 400 || said != "invalid_grant" && said != "invalid_request" {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	for _, v := range []string{verifier[:43], strings.Repeat("v", 128), "-._~" + strings.Repeat("v", 40)} {
		code := x.codeFor(b, "nat1", "app.one:/oauth", "code_challenge", challenge(v))
		x.redeem("nat1", "app.one:/oauth", code, "code_verifier", v).granted()
	}
}

// strayTargets lead away from here in the eyes of some browser or parser: every
// way to write the beginning of an authority before every way to write one.
func strayTargets() (out []string) {
	for _, begin := range []string{
		"//", "///", "////", "/\\", "\\\\", "\\/", "/\\/", "\\/\\/", "/%5c", "/%5C/", "/%2f/", "/%2f%2f", "%2f%2f", "/%09/", "/\t/", "/%0a/", "/\n/", "/%0d%0a/", "/ /", "\t//", " //", "/.//",
		"/..//", "/;//", "https:", "https:/", "https://", "https:///", "https:\\\\", "HTTPS://", "http://", "http:", "ftp://", "h\tttps://", "\x01https://", publicURL + "@", publicURL + ".",
		publicURL + "\\@", publicURL + ":443@", publicURL + "%2f@", publicURL + "\t.", "https://user@", "//x:y@", publicURL + "%00.", publicURL + "%E3%80%82",
	} {
		for _, end := range []string{
			"evil.test", "evil.test/", "evil.test/%2e%2e", "evil.test/%2f..", "evil.test//", "evil.test:443", "evil.test#" + publicURL, "evil.test?" + publicURL, "evil%00.test", "evil%E3%80%82test",
			"2130706433", "0x7f.0x0.0x0.0x1", "017700000001", "[::1]", "[::ffff:127.0.0.1]", "id.example.org@evil.test", "evil.test\\@id.example.org", ";@evil.test",
		} {
			out = append(out, begin+end)
		}
	}
	return append(out, "javascript:alert(1)", "JavaScript:alert(1)//", "java\tscript:alert(1)", "data:text/html,x", "vbscript:x", "%68%74%74%70%3a%2f%2fevil.test", "@evil.test", ".evil.test",
		"<>//evil.test", "\";alert(0);//", "evil.test", "?x", "#x", ".", "..", "https://", publicURL+":443/", "http://id.example.org/", "https://id.example.org.evil.test/")
}

// ownOrigin reports whether every browser resolves a Location to our origin: it
// is absolute, and between our origin and the end there is nothing but a path.
func ownOrigin(to string) bool {
	rest, ok := strings.CutPrefix(to, publicURL)
	return ok && (rest == "" || rest[0] == '/' && !strings.ContainsAny(rest, "\\\t\n\r\x00"))
}

// N09: no parameter sends a browser to another place than ours or a registered one.
func TestN09OpenRedirectOfTheProvider(t *testing.T) {
	x := newProvider(t, setup{idp: startIdP(t)})
	b := x.loggedIn("alice")
	begun, gone := 0, 0
	for i, target := range strayTargets() {
		for what, a := range map[string]*answer{
			"next": b.send(http.MethodGet, "/login?next="+url.QueryEscape(target)), "callback": b.send(http.MethodGet, "/auth/openid?callback="+url.QueryEscape(target)),
		} {
			to := a.Header.Get("Location")
			switch {
			case what == "callback" && a.Status == 302 && strings.HasPrefix(to, "http://127.0.0.1"): // off to the IdP, and back to a page of ours
				begun++
			case a.Status == 400 && to == "", a.Status == 303 && ownOrigin(to):
			default:
				t.Errorf("%s=%q: %d to %q", what, target, a.Status, to)
			}
		}
		out := b.send(http.MethodGet, "/oauth2/logout?client_id=web1&post_logout_redirect_uri="+url.QueryEscape(target))
		if out.Status != 400 || out.Header.Get("Location") != "" {
			t.Errorf("post_logout_redirect_uri=%q: %d to %q", target, out.Status, out.Header.Get("Location"))
		}
		// Without a client there is no registered one: whatever it is, it is not followed.
		if out = b.send(http.MethodPost, "/oauth2/logout", form("post_logout_redirect_uri", target)); !ownOrigin(out.Header.Get("Location")) && out.Status != 400 {
			t.Errorf("post_logout_redirect_uri=%q by POST: %d to %q", target, out.Status, out.Header.Get("Location"))
		}
		if i%8 == 0 { // each costs a password
			login := x.newBrowser()
			a := login.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice"), "next", target)
			if to := a.Header.Get("Location"); a.Status != 400 && !ownOrigin(to) {
				t.Errorf("login with next=%q: %d to %q", target, a.Status, to)
			}
			gone++
		}
	}
	t.Logf("%d targets, %d logins, %d begun at the IdP with a target that is ours", len(strayTargets()), gone, begun)
	if b.open("/").want(200); len(x.sessions("alice", true)) < 1 {
		t.Error("somebody was logged out by a link that was refused")
	}
}

// N10: a parameter that is repeated is no parameter, in the query and in a form.
func TestN10ParameterPollution(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	good := request("web1", "https://rp1.test/cb")
	for _, name := range []string{
		"client_id", "response_type", "response_mode", "redirect_uri", "scope", "state", "nonce", "prompt", "max_age", "login_hint", "id_token_hint", "acr_values", "ui_locales",
		"claims", "code_challenge", "code_challenge_method", "dpop_jkt", "resource", "idp_hint", "request_uri", "request",
	} {
		for _, second := range []string{"https://evil.test/cb", good.Get(name), ""} {
			for _, text := range []string{good.Encode() + "&" + url.Values{name: {second}}.Encode(), url.Values{name: {second}}.Encode() + "&" + good.Encode()} {
				if !good.Has(name) {
					text += "&" + name + "=x"
				}
				b.send(http.MethodGet, "/oauth2/authorize?"+text).staysHere(name, broker.InvalidRequest)
				b.send(http.MethodPost, "/oauth2/authorize", body("application/x-www-form-urlencoded", text)).staysHere(name+" by POST", broker.InvalidRequest)
				x.do(http.MethodPost, "/oauth2/par", body("application/x-www-form-urlencoded", text), basic("web1", webSecret)).oauthError(400, "invalid_request")
			}
		}
	}
	for _, text := range []string{"id=a&id=b", "id=a&chosen=1&chosen=1"} {
		b.send(http.MethodGet, "/oauth2/continue?"+text).staysHere(text, broker.InvalidRequest)
		b.send(http.MethodPost, "/oauth2/consent", body("application/x-www-form-urlencoded", strings.ReplaceAll(text, "chosen", "decision"))).staysHere(text, broker.InvalidRequest)
	}
	for _, name := range []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"} {
		text := name + "=a&" + name + "=b"
		b.send(http.MethodGet, "/oauth2/logout?"+text).staysHere(name, broker.InvalidRequest)
		b.send(http.MethodPost, "/oauth2/logout", body("application/x-www-form-urlencoded", text)).staysHere(name, broker.InvalidRequest)
	}
	b.send(http.MethodGet, "/oauth2/logout/confirm?id=a&id=b").staysHere("id", broker.InvalidRequest)
	b.send(http.MethodPost, "/oauth2/logout/confirm", body("application/x-www-form-urlencoded", "id=a&id=b")).staysHere("id", broker.InvalidRequest)
	// Of a form with a query as well, the form alone counts; of a GET with a form, the query.
	a := b.send(http.MethodPost, "/oauth2/authorize?"+url.Values{"redirect_uri": {"https://evil.test/cb"}, "client_id": {"web2"}}.Encode(), body("application/x-www-form-urlencoded", good.Encode()))
	if b.follow(a).sentTo("https://rp1.test/cb").Get("code") == "" {
		t.Error("no code")
	}
}
