package web_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// X03: a browser asks for code after code of one client. Twenty sessions of it live, the
// others say why they ended, to the client and to the person.
func TestX03SessionsOfOneBrowserAreBounded(t *testing.T) {
	x := newProvider(t, setup{})
	const most, more = 20, 5
	first, b := x.clientLogin("web1", "https://rp1.test/cb")
	other := x.redeem("web2", "https://rp2.test/cb", x.codeFor(b, "web2", "https://rp2.test/cb")).granted()
	last := granted{}
	for range most - 1 + more {
		x.Clock.Advance(time.Second)
		last = x.redeem("web1", "https://rp1.test/cb", x.codeFor(b, "web1", "https://rp1.test/cb")).granted()
	}
	if live := x.sessions("alice", true); len(live) != 2+most {
		t.Errorf("%d live, want the browser, web2 and %d of web1", len(live), most)
	}
	x.refreshAt("web1", first.refresh).refused(400, broker.SessionLimit, web.VerdictLogin)
	x.refreshAt("web1", last.refresh).granted()
	x.refreshAt("web2", other.refresh).granted()
	page := b.open("/account").want(200)
	if n := strings.Count(page.Body, "There were more logins than are allowed; this one, or the browser that it belonged to, was unused for longest."); n != more {
		t.Errorf("the page says it of %d, want %d", n, more)
	}
}

// Whoever makes hosts up, which a rule with a wildcard makes apps, fills no table.
func TestForwardSessionsOfMadeUpHostsAreBounded(t *testing.T) {
	x := forwardSite(t)
	b, jars := x.loggedInAt("alice", "https://app1.test/")
	const most = 100
	for n := range most {
		x.Clock.Advance(time.Second)
		b.opens(jars, "https://x"+strconv.Itoa(n)+".apps.test/").want(200)
	}
	x.asks("https://app1.test/", cookie(appCookie, jars["app1.test"].jar[appCookie])).refused(401, broker.SessionLimit, web.VerdictLogin)
	x.asks("https://x0.apps.test/", cookie(appCookie, jars["x0.apps.test"].jar[appCookie])).want(200)
	if live := x.sessions("alice", true); len(live) != 1+most {
		t.Errorf("%d live", len(live))
	}
	b.send(http.MethodGet, "/").want(200)
}
