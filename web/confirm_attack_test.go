package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// confirming is a site that asks before an app gets its code.
func confirming(t *testing.T, redirectURIs ...string) *idpSite {
	t.Helper()
	x := &idpSite{idp: startIdP(t)}
	x.site = openSite(t, setup{idp: x.idp, broker: func(c *broker.Config) {
		c.MobileConfirm, c.MobileRedirectURIs = true, append(c.MobileRedirectURIs, redirectURIs...)
	}})
	x.idp.Script(x.spy)
	return x
}

// asked is an app's login up to the page that asks, with the browser's cookies.
func (x *idpSite) asked(p *app) (page *answer, path string, browser option) {
	x.t.Helper()
	return x.askedFor(p, p.start(nil))
}

func (x *idpSite) askedFor(p *app, started *answer) (page *answer, path string, browser option) {
	x.t.Helper()
	toIdP := p.do(http.MethodGet, p.open(started.location())).noCookies().location().String()
	back := x.do(http.MethodGet, x.visit(toIdP, "anna")).want(303)
	to := back.location()
	path = strings.TrimPrefix(to.String(), publicURL)
	if to.Path != "/auth/openid/confirm" || len(to.Query()) != 1 || len(back.cookies) != 1 || strings.Contains(to.String(), back.cookies[0].Value) {
		x.t.Fatalf("%s, cookies %v", to, back.cookies)
	}
	return x.do(http.MethodGet, path, cookies(back.cookies)).want(200), path, cookies(back.cookies)
}

var ownForm = header("Sec-Fetch-Site", "same-origin")

func (x *idpSite) decide(page *answer, decision string, options ...option) *answer {
	x.t.Helper()
	return x.do(http.MethodPost, "/auth/openid/confirm", append(options, form("id", hidden(page, "id"), "decision", decision))...)
}

func TestMobileConfirm(t *testing.T) {
	x := confirming(t)
	p := x.app()
	page, path, browser := x.asked(p)
	page.says("Continue to audiobookshelf?", "It will be logged in as Anna.", "an app on this device", "audiobookshelf://oauth").secure(true)
	x.do(http.MethodGet, path, browser, inGerman).want(200).says("Weiter zu audiobookshelf?")
	yes := x.decide(page, "allow", browser, ownForm).want(303)
	to := yes.location()
	if !strings.HasPrefix(to.String(), "audiobookshelf://oauth?") || to.Query().Get("state") != p.state {
		t.Fatalf("the browser goes to %s", to)
	}
	p.redeem(to.Query().Get("code")).noCookies().pair()
	x.decide(page, "allow", browser, ownForm).refused(400, broker.InvalidState, "").says("This login is over", "If the app has you logged in already")
	x.do(http.MethodGet, path, browser).refused(400, broker.InvalidState, "")
	x.quiet("")

	p = x.app()
	page, _, browser = x.asked(p)
	idpAppAnswerFrom(t, p, x.decide(page, "deny", browser, ownForm), "access_denied", broker.AccessDenied)
	x.decide(page, "allow", browser, ownForm).refused(400, broker.InvalidState, "")
}

// idpAppAnswerFrom is idpAppAnswer where a cookie is taken back.
func idpAppAnswerFrom(t *testing.T, p *app, a *answer, said string, code broker.Code) {
	t.Helper()
	for _, c := range a.cookies {
		if c.MaxAge >= 0 {
			t.Errorf("sets %+v", c)
		}
	}
	a.cookies = nil
	a.Header.Del("Set-Cookie")
	idpAppAnswer(t, p, a, said, code)
}

// RFC 8252 section 8.6: a thief's program holds the app's scheme and begins a
// login of its own. Without the press it gets nothing, whatever it tries.
func TestN05ThiefWithTheAppsSchemeGetsNothingWithoutThePress(t *testing.T) {
	x := confirming(t)
	thief := x.app()
	page, path, browser := x.asked(thief)
	before := x.tally()
	id := hidden(page, "id")
	if strings.Contains(page.Body, "code=") {
		t.Errorf("the page has a code: %s", page.Body)
	}
	secret := ""
	{
		r, _ := http.NewRequest(http.MethodGet, publicURL, nil)
		browser(r)
		secret = r.Cookies()[0].Value
	}
	for _, guess := range []string{id, secret, id + secret, ""} {
		a := thief.redeem(guess)
		if a.Status != 401 && a.Status != 400 {
			t.Errorf("%q: %d %s", guess, a.Status, a.Body)
		}
	}
	bad := map[string]*answer{
		"no cookie":            x.decide(page, "allow", ownForm),
		"another cookie":       x.decide(page, "allow", ownForm, cookie(cookieNameOf(browser), strings.Repeat("x", 43))),
		"the page, no cookie":  x.do(http.MethodGet, path),
		"another id":           x.do(http.MethodGet, "/auth/openid/confirm?id="+strings.Repeat("x", 32), browser),
		"no id":                x.do(http.MethodGet, "/auth/openid/confirm", browser),
		"by GET":               x.do(http.MethodGet, path+"&decision=allow", browser),
		"another site":         x.decide(page, "allow", browser, header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.test")),
		"a sibling":            x.decide(page, "allow", browser, header("Sec-Fetch-Site", "same-site")),
		"a program":            x.decide(page, "allow", browser),
		"an opaque origin":     x.decide(page, "allow", browser, header("Origin", "null")),
		"no decision":          x.decide(page, "", browser, ownForm),
		"another decision":     x.decide(page, "yes", browser, ownForm),
		"somebody else's name": x.do(http.MethodPost, "/auth/openid/confirm", browser, ownForm, form("id", id, "decision", "allow", "user_id", "root")),
		"another provider":     x.do(http.MethodPost, "/auth/other/confirm", browser, ownForm, form("id", id, "decision", "allow")),
	}
	for what, a := range bad {
		if to := a.Header.Get("Location"); to != "" || a.Status < 400 && what != "by GET" {
			t.Errorf("%s: %d to %q", what, a.Status, to)
		}
	}
	if x.tally() != before {
		t.Errorf("rows %+v, before %+v", x.tally(), before)
	}
	// None of it used the page up: its own person may still say no.
	idpAppAnswerFrom(t, thief, x.decide(page, "deny", browser, ownForm), "access_denied", broker.AccessDenied)
}

func cookieNameOf(o option) string {
	r, _ := http.NewRequest(http.MethodGet, publicURL, nil)
	o(r)
	return r.Cookies()[0].Name
}

// W: the press cannot be stolen by a frame, and is not good later, or twice.
func TestMobileConfirmIsPressedOnceInTimeAndUnframed(t *testing.T) {
	x := confirming(t)
	p := x.app()
	page, _, browser := x.asked(p)
	if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("the page can be framed: %s", csp)
	}
	codes, mu := []string{}, sync.Mutex{}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			a := x.decide(page, "allow", browser, ownForm)
			mu.Lock()
			defer mu.Unlock()
			if u, err := url.Parse(a.Header.Get("Location")); err == nil && a.Status == 303 {
				codes = append(codes, u.Query().Get("code"))
			}
		})
	}
	all.Wait()
	if len(codes) != 1 {
		t.Fatalf("%d codes for one press", len(codes))
	}
	p.redeem(codes[0]).pair()

	late := x.app()
	page, path, browser := x.asked(late)
	x.Clock.Advance(5*time.Minute - 29*time.Second)
	x.decide(page, "allow", browser, ownForm).refused(400, broker.InvalidState, "")
	x.do(http.MethodGet, path, browser).refused(400, broker.InvalidState, "")
}

// The name of an app is what somebody typed into the configuration, and its
// address too.
func TestMobileConfirmEscapesTheApp(t *testing.T) {
	const hostile = `evil+app://x/<script>alert(1)</script>"'&`
	x := confirming(t, hostile, "https://player.test/cb")
	for uri, says := range map[string]string{hostile: "Continue to evil+app?", "https://player.test/cb": "Continue to player.test?"} {
		p := x.app()
		page, _, _ := x.askedFor(p, p.start(url.Values{"redirect_uri": {uri}}))
		page.says(says).secure(true)
		if strings.Contains(page.Body, "<script>alert") || strings.Count(page.Body, "<script") != 1 {
			t.Errorf("not escaped: %s", page.Body)
		}
	}
}
