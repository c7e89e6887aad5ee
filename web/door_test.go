package web_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/web"
)

func dataURL(kind, image string) string {
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString([]byte(image))
}

const hostileSVG = `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(document.cookie)</script><image href="https://evil.test/x"/></svg>`

// W: a logo is an image and nothing else, whoever opens it.
func TestLogoIsAnImageAlone(t *testing.T) {
	x, root := providersSite(t, false)
	put := func(logo string) *answer {
		return x.do("PUT", "/api/providers/pocket", root, jsonBody(`{"issuer":"https://pocket.example","client_id":"latchkey","logo":"`+logo+`"}`))
	}
	x.do("POST", "/api/providers", root, jsonBody(`{"id":"pocket","name":"pocket ID","issuer":"https://pocket.example","client_id":"latchkey"}`)).want(201)
	x.do(http.MethodGet, "/login").want(200).contains(`<span class="mark" aria-hidden="true">P</span>`)
	x.do(http.MethodGet, "/auth/pocket/logo").want(404)
	x.do(http.MethodGet, "/auth/nobody/logo").want(404)

	png := "\x89PNG\r\n\x1a\n"
	for _, bad := range []string{
		"https://pocket.example/logo.png", "data:image/png,x", "data:image/png;base64,x", dataURL("text/html", "<svg>"), dataURL("image/png", "<svg>"),
		dataURL("image/svg+xml", "no image"), dataURL("image/svg+xml;charset=x", "<svg>"), dataURL("image/png", png+strings.Repeat("x", 16<<10)),
		"DATA:" + dataURL("image/png", png)[5:], dataURL("image/webp", "RIFF"), dataURL("image/png", png) + " ",
	} {
		a := put(bad).want(400)
		if field, _ := a.at("field"); field != "logo" {
			t.Errorf("%.60s: %s", bad, a.Body)
		}
	}
	for kind, image := range map[string]string{"image/png": png + "rest", "image/webp": "RIFF\x00\x00\x00\x00WEBPVP8 ", "image/svg+xml": hostileSVG} {
		put(dataURL(kind, image)).want(200)
		door := x.do(http.MethodGet, "/login").want(200).contains(`<img class="mark" src="`).saysNot("data:", "evil.test").secure(false)
		at := strings.TrimPrefix(between(t, door.Body, `<img class="mark" src="`, `"`), publicURL)
		logo := x.do(http.MethodGet, at).want(200).noCookies()
		if logo.Body != image || logo.Header.Get("Content-Type") != kind {
			t.Errorf("%s: %q", logo.Header.Get("Content-Type"), logo.Body)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox", "X-Content-Type-Options": "nosniff",
			"Cache-Control": "public, max-age=31536000, immutable",
		} {
			if got := logo.Header.Get(name); got != want {
				t.Errorf("%s: %s", name, got)
			}
		}
		if got := x.do(http.MethodGet, "/auth/pocket/logo?v=0").want(200).Header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("another version: %s", got)
		}
	}
}

// between is what stands between two texts.
func between(t *testing.T, body, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(body, from)
	got, _, closed := strings.Cut(rest, to)
	if !ok || !closed {
		t.Fatalf("no %s in %s", from, body)
	}
	return got
}

// The door tells of an IdP in trouble, offers what works first, and asks nobody.
func TestDoorTellsOfDarkIdP(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	first := func(a *answer) string {
		if strings.Index(a.Body, `id="login"`) < strings.Index(a.Body, `class="ways"`) {
			return "password"
		}
		return "provider"
	}
	if a := x.do(http.MethodGet, "/login").want(200).saysNot("does not answer at the moment"); first(a) != "provider" {
		t.Errorf("nothing is known, and the password comes first: %s", a.Body)
	}
	idp.SetDown(true)
	x.Clock.Advance(time.Hour)
	x.do(http.MethodGet, "/auth/openid?callback=/", htmlOnly).want(503)
	asked := idp.Count(providertest.EndpointDiscovery)
	began := time.Now()
	for range 5 {
		dark := x.do(http.MethodGet, "/login").want(200).says("It does not answer at the moment.", "or another way").contains(`aria-describedby="trouble-0"`)
		if first(dark) != "password" || !dark.linksTo(publicURL+"/auth/openid?callback="+url.QueryEscape(publicURL+"/")) {
			t.Errorf("the password is not first, or the button is gone: %s", dark.Body)
		}
	}
	if n := idp.Count(providertest.EndpointDiscovery); n != asked || time.Since(began) > 4*time.Second {
		t.Errorf("the IdP was asked %d times", n-asked)
	}
	idp.SetDown(false)
	idp.Script(func(s *providertest.Script) {
		s.Respond[providertest.EndpointDiscovery] = func(http.ResponseWriter, *http.Request) bool {
			x.Clock.Advance(2500 * time.Millisecond)
			return false
		}
	})
	x.do(http.MethodGet, "/auth/openid?callback=/", htmlOnly).want(302)
	x.do(http.MethodGet, "/login", inGerman).want(200).says("Antwortet im Moment langsam.")
	idp.Script(func(s *providertest.Script) { *s = providertest.Script{} })
	x.do(http.MethodGet, "/auth/openid?callback=/", htmlOnly).want(302)
	if a := x.do(http.MethodGet, "/login").want(200).saysNot("at the moment"); first(a) != "provider" {
		t.Errorf("it answers, and the password comes first")
	}
}

// launching is a site whose door leads on to its IdP.
func launching(t *testing.T) (*site, *providertest.IdP) {
	idp := startIdP(t)
	return newSite(t, setup{idp: idp, web: func(c *web.Config) { c.AutoLaunch = "openid" }}), idp
}

func (x *site) launches(options ...option) bool {
	x.t.Helper()
	return x.launchesAt("/login", options...)
}

func (x *site) launchesAt(path string, options ...option) bool {
	x.t.Helper()
	a := x.do(http.MethodGet, path, options...)
	if a.Status == http.StatusFound {
		if to := a.location(); to.Path != "/auth/openid" {
			x.t.Errorf("%s leads to %s", path, to)
		}
		return true
	}
	a.want(200).says("Continue with Test IdP", "Password")
	return false
}

func TestAutoLaunch(t *testing.T) {
	x, idp := launching(t)
	if to := x.do(http.MethodGet, "/login?next=/account").want(302).location(); to.Query().Get("callback") != publicURL+"/account" {
		t.Errorf("where it was on the way to is lost: %s", to)
	}
	for path, want := range map[string]bool{
		"/login": true, "/login?autoLaunch=1": true, "/login?autoLaunch=x": true, "/login?autoLaunch=0": false, "/login?switch=1": false,
		"/login?ended=logged_out": false, "/login?ended=revoked_by_admin": false, "/login?error=access_denied": false, "/login?password=set": false,
	} {
		if got := x.launchesAt(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if on, _ := x.do(http.MethodGet, "/status").at("authFormData.authOpenIDAutoLaunch"); on != true {
		t.Errorf("the status says %v", on)
	}
	idp.SetDown(true)
	x.Clock.Advance(time.Hour)
	// A known IdP that turns out to be dark: the door, with the password.
	x.do(http.MethodGet, "/auth/openid?callback=/", htmlOnly).want(503).says("Test IdP does not answer at the moment.", "Password")
	if x.launches() {
		t.Error("the door leads on to a dark IdP")
	}
}

// Without the setting, the door leads on only where its address says so.
func TestAutoLaunchByAddress(t *testing.T) {
	x := newSite(t, setup{idp: startIdP(t)})
	if x.launches() || !x.launchesAt("/login?autoLaunch=1") {
		t.Error("autoLaunch=1 is what leads on")
	}
	if on, _ := x.do(http.MethodGet, "/status").at("authFormData.authOpenIDAutoLaunch"); on != false {
		t.Errorf("the status says %v", on)
	}
	none := newSite(t, setup{web: func(c *web.Config) { c.AutoLaunch = "gone" }})
	none.do(http.MethodGet, "/login?autoLaunch=1").want(200).says("Password")
}

// Whoever logged out stays logged out: at the door with the notice, also where
// the IdP ended its session too and brings the browser back without a word.
func TestAutoLaunchIsNoLoginLoopAfterLogout(t *testing.T) {
	x, idp := launching(t)
	jar := x.idpLogin(idp.Authorize)
	out := x.do(http.MethodPost, "/session/end", cookies(jar)).want(302 + 1)
	if back := out.location().Query().Get("post_logout_redirect_uri"); back != publicURL+"/login" {
		t.Fatalf("the IdP brings the browser back to %q", back)
	}
	for range 3 {
		x.do(http.MethodGet, "/login", cookies(out.cookies)).want(200).says("You logged out on this device.", "Continue with Test IdP")
	}
	if !x.launches() {
		t.Error("another browser stays at the door too")
	}
	// Logged in again, and lost by other means: that is over.
	in := x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "password of alice"), cookies(out.cookies)).want(303)
	for _, c := range in.cookies {
		if strings.HasSuffix(c.Name, "latchkey_stay") && c.MaxAge >= 0 {
			t.Errorf("%+v", c)
		}
	}
	// A session that an administrator ended is told of, and not replaced unseen.
	if _, err := x.Broker.EndSessions(t.Context(), broker.SessionFilter{ID: x.sessions("alice", true)[0].ID}, broker.RevokedByAdmin, false, ""); err != nil {
		t.Fatal(err)
	}
	told := x.do(http.MethodGet, "/login", cookies(in.cookies)).want(200).says("An administrator ended this device")
	x.do(http.MethodGet, "/login", cookies(told.cookies)).want(200)
}

// A browser that takes no session, and an IdP that logs in or refuses at once, do
// not go round for ever.
func TestAutoLaunchIsNoLoopWithoutCookies(t *testing.T) {
	x, idp := launching(t)
	began := x.do(http.MethodGet, "/login").want(302)
	counts := began.cookies
	for range 5 {
		a := x.do(http.MethodGet, "/login", cookies(counts))
		if a.Status == 200 {
			a.says("You came back here several times without being logged in.")
			counts = nil
			break
		}
		counts = a.cookies
	}
	if counts != nil {
		t.Error("the door leads on for ever")
	}
	// All cookies are blocked: what comes back from the IdP is refused on a page
	// that leads nowhere by itself, and its button to a door that stays.
	back := idpCallback(t, idp, x.do(http.MethodGet, "/auth/openid?callback=/").location().String())
	if a := x.do(http.MethodGet, back, htmlOnly).refused(400, broker.StateMismatch, ""); !a.linksTo(publicURL + "/login?autoLaunch=0") {
		t.Errorf("no way to the door: %v", a.links())
	}
	begin := x.do(http.MethodGet, "/auth/openid?callback=/")
	state := begin.location().Query().Get("state")
	refused := x.do(http.MethodGet, "/auth/openid/callback?error=access_denied&state="+state, cookies(begin.cookies), htmlOnly)
	refused.want(403).says("Test IdP refused the login.", "Password", "Continue with Test IdP")
	for _, forged := range []string{"-1", "99999999999999999999", "x"} {
		got := x.do(http.MethodGet, "/login", cookie("__Host-latchkey_launch", forged)).Status
		if want := map[bool]int{true: 200, false: 302}[forged == "-1" || len(forged) > 1]; got != want {
			t.Errorf("%s: %d", strconv.Quote(forged), got)
		}
	}
}

// idpCallback is a trip to the IdP; it returns where the browser comes back.
func idpCallback(t *testing.T, idp *providertest.IdP, to string) string {
	t.Helper()
	back, err := idp.Authorize(t.Context(), to, "anna")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(back, publicURL)
}

// Whoever is to log in once more, for something that asks for it, finds no way
// around it on the page: that would lead back to the same question.
func TestLoginOnceMoreOffersNoWayAround(t *testing.T) {
	x := newSite(t, setup{idp: providertest.Start(t, providertest.Config{})})
	browser := []*http.Cookie{{Name: "__Host-latchkey_session", Value: x.Broker.PageCookie(x.Login(t, "alice").Session.ID)}}
	page := x.do(http.MethodGet, "/login?switch=1&next="+url.QueryEscape(broker.LoginAnew(publicURL+"/account/api-keys")), cookies(browser)).want(200)
	page.says("You are logged in as alice. Log in once more, to show that it is you.").contains(`value="alice"`).says("Continue with Test IdP")
	for _, not := range []string{`id="continue"`, "or with another account"} {
		if strings.Contains(string(page.Body), not) {
			t.Errorf("the page has %s", not)
		}
	}
}
