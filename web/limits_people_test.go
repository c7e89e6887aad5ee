package web_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// limitedBy is a change to a site's broker: it counts what the limits say.
func limitedBy(t *testing.T, limits broker.Limits) func(c *broker.Config) {
	return func(c *broker.Config) {
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Limiter, c.Limits = limiter, limits
	}
}

// fewCodes is a site that gives a browser so many codes, and has apps behind a proxy.
func fewCodes(t *testing.T, most int) *site {
	s := forwardSetup(t)
	rules, limit := s.broker, limitedBy(t, broker.Limits{Codes: broker.Quota{Max: most, Window: 10 * time.Minute, Own: true}})
	s.broker = func(c *broker.Config) {
		rules(c)
		limit(c)
	}
	return newProvider(t, s)
}

// X03: a browser that is logged in asks for code after code, which would each be a
// session that is kept for long: at clients in a page and in a frame, at one that asks
// first, and for apps behind a proxy. Another browser of the same person, and whoever
// refreshes, is not concerned.
func TestX03CodesOfOneBrowserAreBounded(t *testing.T) {
	const most, cb, asks = 4, "https://rp1.test/cb", "https://asking.test/cb"
	x := fewCodes(t, most)
	b, other := x.loggedIn("alice"), x.loggedIn("alice")
	page := b.authorize(request("asking", asks)).want(200)
	x.codeFor(b, "web2", "https://rp2.test/cb")
	jars := map[string]*browser{}
	b.opens(jars, "https://app1.test/").want(200)
	had := x.redeem("web1", cb, x.codeFor(b, "web1", cb)).granted()
	silent := func() *answer { return b.authorize(request("web1", cb, "prompt", "none")) }
	if q := silent().sentTo(cb); q.Get("code") == "" {
		t.Fatal(q)
	}
	refusals := map[string]func() *answer{
		"a page":    func() *answer { return b.authorize(request("web1", cb)) },
		"a consent": func() *answer { return b.post("/oauth2/consent", "id", hidden(page, "id"), "decision", "allow") },
		"an app":    func() *answer { return b.opens(jars, "https://x.apps.test/") },
	}
	for name, ask := range refusals {
		a := ask()
		if a.Status != 429 || a.Header.Get("Retry-After") != "150" || a.Header.Get("RateLimit-Policy") != "4;w=600" || a.Header.Get("Latchkey-Code") != string(broker.RateLimited) {
			t.Errorf("%s: %d %v", name, a.Status, a.Header)
		}
		a.says("This browser was logged in at apps too often in a short time. Try again in 3 minutes.")
	}
	if q := silent().sentTo(cb); q.Get("error") != "temporarily_unavailable" || q.Get("code") != "" || q.Get("state") != "a state" {
		t.Errorf("in a frame: %v", q)
	}
	pushed := x.do(http.MethodPost, "/oauth2/par", body("application/x-www-form-urlencoded", request("web1", cb).Encode()), basic("web1", webSecret)).want(201).text("request_uri")
	if q := b.open("/oauth2/authorize?client_id=web1&request_uri=" + pushed).sentTo(cb); q.Get("error") != "temporarily_unavailable" || q.Get("state") != "a state" {
		t.Errorf("a request that cannot be sent again: %v", q)
	}
	x.codeFor(other, "web1", cb)
	x.refreshAt("web1", had.refresh).granted()
	x.Clock.Advance(2*time.Minute + 30*time.Second)
	if q := silent().sentTo(cb); q.Get("code") == "" {
		t.Errorf("later: %v", q)
	}
}

// X03: a request that was pushed is used up where it is refused for logins that were
// begun from the address of its person: the client is told, and a page is no use.
func TestX03PushedRequestBeyondTheLimitOfStarts(t *testing.T) {
	const cb = "https://rp1.test/cb"
	x := newProvider(t, setup{broker: limitedBy(t, broker.Limits{Starts: broker.Quota{Max: 1, Window: 10 * time.Minute, Own: true}})})
	b := x.newBrowser()
	pushed := x.do(http.MethodPost, "/oauth2/par", body("application/x-www-form-urlencoded", request("web1", cb).Encode()), basic("web1", webSecret), from("203.0.113.9")).want(201).text("request_uri")
	page := "/oauth2/authorize?" + request("web1", cb).Encode()
	b.open(page).want(200)
	b.open(page).want(429)
	if q := b.open("/oauth2/authorize?client_id=web1&request_uri=" + pushed).sentTo(cb); q.Get("error") != "temporarily_unavailable" || q.Get("state") != "a state" {
		t.Errorf("%v", q)
	}
}

// X03: a person downloads what is stored of her again and again, in several browsers.
// Beyond the limit nothing is read; another person has a limit of his own.
func TestX03ExportsOfAUserAreBounded(t *testing.T) {
	const most = 3
	x := newSite(t, setup{broker: limitedBy(t, broker.Limits{Exports: broker.Quota{Max: most, Window: 10 * time.Minute, Own: true}})})
	b, other, root := x.inAs("alice"), x.inAs("alice"), x.inAs("root")
	b.sends(ownDataPath, "field", "unknown").want(400) // counts for nothing
	for range most - 1 {
		b.sends(ownDataPath).want(200)
	}
	other.sends(ownDataPath).want(200)
	before := x.Statements.Load()
	for _, b := range []*browser{b, other} {
		a := b.sends(ownDataPath).want(429).says("Your data were downloaded too often in a short time. Try again in 4 minutes.")
		if a.Header.Get("Retry-After") != "200" || a.Header.Get("Latchkey-Code") != string(broker.RateLimited) || a.Header.Get("Content-Disposition") != "" {
			t.Errorf("%v", a.Header)
		}
	}
	if n := x.Statements.Load() - before; n > 2 { // who it is
		t.Errorf("two refusals cost %d statements", n)
	}
	b.open(ownDataPath).want(200)
	root.sends(ownDataPath).want(200)
	x.Clock.Advance(200 * time.Second)
	b.sends(ownDataPath).want(200)
}
