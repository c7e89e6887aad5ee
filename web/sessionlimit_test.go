package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

func TestDeviceBeyondTheLimitIsToldWhy(t *testing.T) {
	x := newSite(t, setup{broker: func(c *broker.Config) { c.SessionLimit = 2 }})
	page := x.pageLogin("alice")
	x.Clock.Advance(time.Minute)
	app := x.login("alice")
	x.Clock.Advance(time.Minute)
	x.login("alice")
	x.refresh(app.refresh).pair()
	ended := x.newBrowser()
	for _, c := range page {
		ended.jar[c.Name] = c.Value
	}
	ended.open("/").want(200).says("You logged in on more than 2 devices; the one unused for longest was ended.", "session_limit")
	for _, c := range page {
		if c.Name == "refresh_token" {
			x.do(http.MethodPost, "/auth/refresh", cookie(c.Name, c.Value)).refused(401, broker.SessionLimit, web.VerdictLogin)
		}
	}
}

// What follows a browser counts with it, and ends with it; an app counts by itself.
func TestSessionsOfClientsAndTheLimit(t *testing.T) {
	x := newProvider(t, setup{broker: func(c *broker.Config) { c.SessionLimit = 2 }})
	web1, b := x.clientLogin("web1", "https://rp1.test/cb")
	web2 := x.redeem("web2", "https://rp2.test/cb", x.codeFor(b, "web2", "https://rp2.test/cb")).granted()
	x.Clock.Advance(time.Minute)
	app := x.redeem("nat1", "app.one:/oauth", x.codeFor(b, "nat1", "app.one:/oauth")).granted()
	if live := x.sessions("alice", true); len(live) != 4 {
		t.Fatalf("%d live, want the browser, its two sites and the app", len(live))
	}
	x.Clock.Advance(time.Hour)
	x.refreshAt("nat1", app.refresh).granted()
	x.login("alice")
	for what, g := range map[string]granted{"web1": web1, "web2": web2} {
		x.refreshAt(what, g.refresh).refused(400, broker.SessionLimit, web.VerdictLogin)
	}
	if page := b.open("/"); !strings.Contains(page.Body, "session_limit") {
		t.Errorf("the browser is not told: %s", page.Body)
	}
	if live := x.sessions("alice", true); len(live) != 2 {
		t.Errorf("%d live", len(live))
	}
}
