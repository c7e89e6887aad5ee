package web_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// fromSite is what a form of another site sends: without our cookies, which
// SameSite=Lax keeps back; those of the answer are kept.
func (b *browser) fromSite(path string, q url.Values, options ...option) *answer {
	b.t.Helper()
	options = append(options, body("application/x-www-form-urlencoded", q.Encode()),
		header("Origin", "https://rp1.test"), header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "navigate"))
	a := b.do(http.MethodPost, path, options...)
	for _, c := range a.cookies {
		b.jar[c.Name] = c.Value
	}
	return a
}

// Token in URL: whatever a client posts with an ID token, no address that the
// server makes has it, and no page has it at all.
func TestTokenInURL(t *testing.T) {
	x := newProvider(t, setup{})
	g, b := x.clientLogin("web1", cb1)
	long := strings.Repeat("s", 8000)
	clean := func(what string, a *answer) {
		t.Helper()
		for _, text := range append(a.links(), a.Header.Get("Location"), strings.Join(a.Header.Values("Set-Cookie"), " "), a.Body) {
			if strings.Contains(text, g.id) || strings.Contains(text, "id_token_hint") {
				t.Errorf("%s: %d has the token: %.200s", what, a.Status, text)
			}
		}
	}
	walk := func(what string, a *answer) *answer {
		t.Helper()
		clean(what, a)
		for strings.HasPrefix(a.Header.Get("Location"), publicURL) {
			if to := a.Header.Get("Location"); len(to) > 600 {
				t.Errorf("%s: an address of %d bytes", what, len(to))
			}
			a = b.send(http.MethodGet, a.Header.Get("Location"))
			clean(what, a)
		}
		return a
	}
	q := walk("authorize", b.fromSite("/oauth2/authorize", request("web1", cb1, "id_token_hint", g.id, "state", long, "claims", `{"userinfo":{"name":null}}`))).sentTo(cb1)
	if q.Get("code") == "" || q.Get("state") != long {
		t.Errorf("%.300v", q)
	}
	x.Clock.Advance(2 * time.Second)
	again := walk("login", b.fromSite("/oauth2/authorize", request("web1", cb1, "id_token_hint", g.id, "prompt", "login")))
	if again.want(200); b.open(strings.TrimPrefix(hidden(again, "next"), publicURL)).Status == 303 {
		t.Error("prompt=login by POST is answered by the login that was there")
	}
	if q := b.logIn(again, "alice").sentTo(cb1); q.Get("code") == "" {
		t.Errorf("%v", q)
	}
	root := x.loggedIn("root")
	b.jar, root.jar = root.jar, b.jar // root, with alice's token
	// First: of two at once, which may share a cookie's name, the last one is known.
	walk("logout by GET", b.send(http.MethodGet, "/oauth2/logout?id_token_hint="+g.id)).want(200).says("Log out?")
	asked := walk("logout by POST", b.fromSite("/oauth2/logout", url.Values{"id_token_hint": {g.id}, "post_logout_redirect_uri": {"https://rp1.test/out"}, "state": {"bye"}})).want(200).says("Log out?")
	for _, link := range asked.links() {
		if strings.Contains(link, "ui_locales=de") {
			walk("in German", b.open(link)).want(200).says("web1 möchte Sie abmelden.")
		}
	}
	if to := b.post("/oauth2/logout/confirm", "id", hidden(asked, "id")).location().String(); to != "https://rp1.test/out?state=bye" {
		t.Errorf("to %s", to)
	}
	x.refreshAt("web1", g.refresh).refused(400, broker.LoggedOut, "login")
}

// Replay of a reference by another browser: what is kept is good in the browser
// that posted it, once, for its own client, and not for long.
func TestReplayOfAReferenceByAnotherBrowser(t *testing.T) {
	x := newProvider(t, setup{})
	g, b := x.clientLogin("web1", cb1)
	mallory := x.loggedIn("root")
	post := func() string { return b.fromSite("/oauth2/authorize", request("web1", cb1)).location().String() }
	gone := func(what string, who *browser, to string) {
		t.Helper()
		who.send(http.MethodGet, to).staysHere(what, broker.InvalidRequestURI)
	}
	to := post()
	gone("another browser", mallory, to)
	gone("a browser without cookies", x.newBrowser(), to)
	for name := range b.jar {
		if strings.Contains(name, "latchkey_kept_") {
			mallory.jar[name] = "a secret of mallory's own"
		}
	}
	gone("another secret", mallory, to)
	gone("another client", b, strings.Replace(to, "client_id=web1", "client_id=web2", 1))
	if b.send(http.MethodGet, to).sentTo(cb1).Get("code") == "" {
		t.Error("the browser itself has no code")
	}
	gone("twice", b, to)
	to = post()
	x.Clock.Advance(91 * time.Second)
	gone("late", b, to)
	// It is no reference of a request that waits for a person, and none of a logout.
	id := url.QueryEscape(strings.TrimPrefix(b.fromSite("/oauth2/authorize", request("web1", cb1)).location().Query().Get("request_uri"), "urn:ietf:params:oauth:request_uri:"))
	b.send(http.MethodGet, "/oauth2/continue?id="+id).staysHere("as one that waits", broker.InvalidState)
	b.send(http.MethodGet, "/oauth2/logout/confirm?id="+id).staysHere("as a logout", broker.InvalidState)

	out := b.fromSite("/oauth2/logout", url.Values{"id_token_hint": {g.id}}).location().String()
	mallory.send(http.MethodGet, out).staysHere("a logout in another browser", broker.InvalidState)
	mallory.post("/oauth2/logout/confirm", "id", out[strings.Index(out, "id=")+3:]).staysHere("confirmed in another browser", broker.InvalidState)
	x.alive("web1", g)
	b.send(http.MethodGet, out).want(303)
	x.refreshAt("web1", g.refresh).refused(400, broker.LoggedOut, "login")
	b.jar = mallory.jar // logged in again, as somebody
	b.send(http.MethodGet, out).staysHere("a logout twice", broker.InvalidState)
	mallory.open("/").want(200)
}

// Silent login in a frame of another site: no cookie of ours is ever there, so that
// the client is told at once that nobody is logged in (OpenID Connect Core section
// 3.1.2.6), where it is registered and nowhere else, and nothing is kept.
func TestSilentLoginInAFrameOfAnotherSite(t *testing.T) {
	x := newProvider(t, setup{})
	g, b := x.clientLogin("web1", cb1)
	frame := header("Sec-Fetch-Dest", "iframe")
	told := func(what string, a *answer) {
		t.Helper()
		if q := a.sentTo(cb1); q.Get("error") != "login_required" || q.Get("state") != "a state" || q.Get("code") != "" || len(a.cookies) > 0 {
			t.Errorf("%s: %v, cookies %v", what, q, a.cookies)
		}
	}
	told("without a hint", b.fromSite("/oauth2/authorize", request("web1", cb1, "prompt", "none"), frame))
	told("with a hint", b.fromSite("/oauth2/authorize", request("web1", cb1, "prompt", "none", "id_token_hint", g.id), frame))
	pushed := x.do(http.MethodPost, "/oauth2/par", body("application/x-www-form-urlencoded", request("web1", cb1, "prompt", "none").Encode()), basic("web1", webSecret)).want(201).text("request_uri")
	told("pushed", b.fromSite("/oauth2/authorize", url.Values{"client_id": {"web1"}, "request_uri": {pushed}}, frame))
	form := b.fromSite("/oauth2/authorize", request("web1", cb1, "prompt", "none", "response_mode", "form_post"), frame).want(200)
	if hidden(form, "error") != "login_required" || hidden(form, "state") != "a state" || !strings.Contains(form.Body, `action="`+cb1+`"`) {
		t.Errorf("%.600s", form.Body)
	}
	b.fromSite("/oauth2/authorize", request("web1", "https://evil.test/cb", "prompt", "none"), frame).staysHere("another redirect_uri", broker.InvalidRedirectURI)
	b.fromSite("/oauth2/authorize", request("nobody", cb1, "prompt", "none"), frame).staysHere("another client", broker.ClientUnknown)
	// In the whole window the cookies come with the GET, and so does the person; a
	// frame of our own site brings them itself.
	onward := func(a *answer) string { return a.want(303).location().String() }
	for what, post := range map[string]func() *answer{ // one after the other: two at once may share a name
		"window": func() *answer {
			return b.fromSite("/oauth2/authorize", request("web1", cb1, "prompt", "none"), header("Sec-Fetch-Dest", "document"))
		},
		"own frame": func() *answer {
			return b.send(http.MethodPost, "/oauth2/authorize", body("application/x-www-form-urlencoded", request("web1", cb1, "prompt", "none").Encode()), frame)
		},
	} {
		if q := b.send(http.MethodGet, onward(post())).sentTo(cb1); q.Get("code") == "" {
			t.Errorf("%s: %v", what, q)
		}
	}
	// With another prompt there is somebody to ask.
	if to := onward(b.fromSite("/oauth2/authorize", request("web1", cb1), frame)); !strings.HasPrefix(to, publicURL+"/oauth2/authorize?") {
		t.Errorf("to %s", to)
	}
}

// Flooding: posted requests are rows, so many an address, and of a bounded size.
func TestFloodingWithPostedRequests(t *testing.T) {
	x := newProvider(t, setup{broker: func(c *broker.Config) {
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Limiter, c.Limits.Starts = limiter, broker.Quota{Max: 4, Window: 10 * time.Minute, Own: true}
	}})
	flood := from("203.0.113.9")
	b := x.newBrowser()
	for i := range 6 {
		want := 303
		if i >= 4 {
			want = 429
		}
		if i%2 == 0 {
			b.fromSite("/oauth2/authorize", request("web1", cb1), flood).want(want)
		} else {
			b.fromSite("/oauth2/logout", url.Values{"client_id": {"web1"}}, flood).want(want)
		}
	}
	// Others go on, and one login by POST is one start and not two.
	other := x.newBrowser()
	for range 4 {
		page := other.fromSite("/oauth2/authorize", request("web1", cb1), from("203.0.113.10"))
		other.send(http.MethodGet, page.want(303).location().String(), from("203.0.113.10")).want(303)
	}
	for what, q := range map[string]url.Values{
		"a long state": {"state": {strings.Repeat("s", 9000)}}, "a long hint": {"id_token_hint": {strings.Repeat("h", 17<<10)}},
		"a long body": {"x": {strings.Repeat("x", 70_000)}},
	} {
		if a := b.fromSite("/oauth2/logout", q); a.Status != 400 && a.Status != 413 {
			t.Errorf("%s: %d", what, a.Status)
		}
	}
}

// Cookie stuffing: a hostile site makes a browser post 200 times. No cookie of ours
// comes with that (SameSite), so none can be trimmed there; yet what the browser sends
// afterwards stays under what any proxy takes, and the login page works.
func TestCookieStuffingByAnotherSite(t *testing.T) {
	x := newProvider(t, setup{})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	here, _ := url.Parse("https://login.test/")
	browser := x.newBrowser()
	door := browser.open("/oauth2/authorize?" + request("web1", cb1).Encode()).want(200) // a login of its owner's is under way
	for i := range 200 {
		path, q := "/oauth2/authorize", request("web1", cb1)
		if i%2 == 1 {
			path, q = "/oauth2/logout", url.Values{"client_id": {"web1"}}
		}
		a := x.do(http.MethodPost, path, body("application/x-www-form-urlencoded", q.Encode()),
			header("Origin", "https://evil.test"), header("Sec-Fetch-Site", "cross-site")).want(303)
		jar.SetCookies(here, a.cookies)
		for _, c := range a.cookies {
			browser.jar[c.Name] = c.Value
		}
	}
	size, sent := 0, jar.Cookies(here)
	for name, value := range browser.jar {
		size += len(name) + len(value) + 3
	}
	if len(sent) == 0 || len(sent) > 16 || size > 4096 {
		t.Errorf("%d cookies of the posts; with those of the login %d bytes", len(sent), size)
	}
	if got := browser.logIn(door, "alice").sentTo(cb1); got.Get("code") == "" {
		t.Errorf("the login that was under way: %v", got)
	}
}

// Logins that were begun and left go, the oldest first, and not the one that the
// next step is about.
func TestTheOldestLoginsUnderWayGo(t *testing.T) {
	x := newProvider(t, setup{idp: startIdP(t)})
	b := x.newBrowser()
	door := b.open("/oauth2/authorize?" + request("web1", cb1).Encode()).want(200)
	next := hidden(door, "next")
	for range 30 { // through the IdP, and left there
		b.send(http.MethodGet, "/auth/openid?callback="+url.QueryEscape(next)).want(302)
	}
	if len(b.jar) > 12 {
		t.Errorf("%d cookies", len(b.jar))
	}
	if got := b.logIn(door, "alice").sentTo(cb1); got.Get("code") == "" {
		t.Errorf("the request in use is lost: %v", got)
	}
}
