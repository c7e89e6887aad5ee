package web_test

import (
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// fewCodes is a site that gives a browser so many codes, and has apps behind a proxy.
func fewCodes(t *testing.T, most int) *site {
	s := forwardSetup(t)
	rules := s.broker
	s.broker = func(c *broker.Config) {
		rules(c)
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.Limiter, c.Limits.Codes = limiter, broker.Quota{Max: most, Window: 10 * time.Minute, Own: true}
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
	x.codeFor(other, "web1", cb)
	x.refreshAt("web1", had.refresh).granted()
	x.Clock.Advance(2*time.Minute + 30*time.Second)
	if q := silent().sentTo(cb); q.Get("code") == "" {
		t.Errorf("later: %v", q)
	}
}
