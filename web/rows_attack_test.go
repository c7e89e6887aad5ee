package web_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// S06: a refresh that is under way while its session logs out outlives nothing: once
// the logout is answered, nothing that the refresh gave is good, and the end is
// written down once.
func TestS06RefreshInFlightDoesNotOutliveTheLogout(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		const rounds = 6
		for range rounds {
			p := x.login("alice")
			x.Clock.Advance(grace) // so that the refresh has something to write
			late := &answer{}
			var wg sync.WaitGroup
			wg.Go(func() {
				if a, err := x.try(http.MethodPost, "/auth/refresh", refreshHeader(p.refresh)); err == nil {
					late = a
				}
			})
			x.do(http.MethodPost, "/logout", refreshHeader(p.refresh)).want(200)
			x.refresh(p.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
			wg.Wait()
			if late.Status == http.StatusOK {
				late.t = t
				q := late.pair()
				x.refresh(q.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
				x.me(q.access).refused(401, broker.LoggedOut, web.VerdictLogin)
			} else if late.Status != http.StatusUnauthorized {
				t.Errorf("the refresh is answered %d", late.Status)
			}
		}
		ends := 0
		for _, name := range x.eventsOf("alice") {
			if name == broker.EventSessionEnded {
				ends++
			}
		}
		if ends != rounds {
			t.Errorf("%d ends in the audit log, want %d", ends, rounds)
		}
	})
}

// S06: after a logout the back button shows nothing: no page of a person is kept.
func TestS06BackButtonAfterLogout(t *testing.T) {
	x := newSite(t, setup{})
	alice := cookies(x.pageLogin("alice"))
	for _, page := range []string{"/", "/account", "/account/password", "/account/identities"} {
		if got := x.do(http.MethodGet, page, alice).want(200).Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", page, got)
		}
	}
	x.do(http.MethodPost, "/session/end", alice)
	for _, page := range []string{"/account", "/account/password", "/account/identities"} {
		if a := x.do(http.MethodGet, page, alice); a.Status != http.StatusSeeOther || !strings.HasPrefix(a.location().Path, "/login") {
			t.Errorf("%s: %d to %s", page, a.Status, a.Header.Get("Location"))
		}
	}
}

// P11: while the database is away, nobody is taken for the first: neither on an
// installation that has an administrator nor on one that has none. Nothing is made.
func TestP11OutageIsNoFirstRun(t *testing.T) {
	for name, x := range map[string]*site{"set up": newSite(t, setup{}), "empty": openSite(t, setup{})} {
		token := x.setupToken()
		if err := x.Store.Close(); err != nil {
			t.Fatal(err)
		}
		for _, a := range []*answer{
			x.do(http.MethodGet, "/setup?token="+url.QueryEscape(token)),
			x.do(http.MethodPost, "/setup", form("token", token, "username", "mallory", "password", "a few words of hers")),
			x.do(http.MethodGet, "/status"),
		} {
			a.refused(503, broker.TemporarilyUnavailable, web.VerdictRetry).noCookies()
			if strings.Contains(a.Body, "<form") || strings.Contains(a.Body, "isInit") {
				t.Errorf("%s, %s: %s", name, a.request, a.Body)
			}
		}
	}
}

// P11: the way in which the other system sets itself up is none here.
func TestP11NoOtherWayToTheFirstAdministrator(t *testing.T) {
	x := newSite(t, setup{})
	for _, path := range []string{"/init", "/api/init", "/setup/", "/api/setup"} {
		a := x.do(http.MethodPost, path, jsonBody(`{"newRoot":{"username":"mallory","password":"a few words of hers"}}`))
		if a.Status/100 != 4 {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	if got := x.admins(); len(got) != 1 || got[0] != "root" {
		t.Errorf("administrators %v", got)
	}
}

// A05: numbers and the insides of the program are not where strangers are, whoever
// asks.
func TestA05NoDebugOnThePublicListener(t *testing.T) {
	x := newSite(t, setup{})
	root := x.as("root")
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/debug/requests", "/api/metrics", "/api/debug"} {
		for _, a := range []*answer{x.do(http.MethodGet, path), root.get(path)} {
			if a.Status != http.StatusNotFound && a.Status != http.StatusUnauthorized || strings.Contains(a.Body, "goroutine") || strings.Contains(a.Body, "# HELP") {
				t.Errorf("%s: %d %s", path, a.Status, a.Body)
			}
		}
	}
}

// X04: one token that is refreshed again and again is served, by a few statements
// each, and leaves nothing behind: no row, no event, no new generation. Failed logins
// from its address do not touch it.
func TestX04RefreshLoop(t *testing.T) {
	x := newSite(t, setup{failures: 3})
	p := x.login("alice")
	for range 5 {
		x.sendLogin("alice", "wrong")
	}
	x.sendLogin("alice", "wrong").want(429)
	rows, events := x.rows(), len(x.eventsOf("alice"))
	begun := x.Statements.Load()
	const loops = 100
	for range loops {
		x.refresh(p.refresh).want(200)
	}
	if each := float64(x.Statements.Load()-begun) / loops; each > 6 {
		t.Errorf("%.1f statements for each refresh", each)
	}
	if x.rows() != rows || len(x.eventsOf("alice")) != events {
		t.Errorf("%d sessions and %d events, before it were %d and %d", x.rows(), len(x.eventsOf("alice")), rows, events)
	}
	if s := x.row(p.session); s.Generation != 0 || s.Branch != 0 {
		t.Errorf("generation %d, branch %d", s.Generation, s.Branch)
	}
}

// W05: no answer makes a browser send a form once more to another address, and none
// puts what was posted into one.
func TestW05NoRedirectCarriesAForm(t *testing.T) {
	x := newSite(t, setup{idp: startIdP(t)})
	x.quietLog()
	alice := cookies(x.pageLogin("alice"))
	const secret = "a secret that was posted"
	posted := body("application/x-www-form-urlencoded", url.Values{"username": {"alice"}, "password": {secret}, "token": {secret}, "code": {secret}, "client_secret": {secret}}.Encode())
	for _, route := range allRoutes(t, x) {
		method, path, _ := strings.Cut(route, " ")
		for _, at := range []string{path, path + "/"} {
			if method == http.MethodGet {
				method = http.MethodPost // to where a page is
			}
			status, header, _ := x.plainly(method+" "+at, posted, alice)
			to, _ := url.QueryUnescape(header.Get("Location"))
			if status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect || strings.Contains(to, secret) {
				t.Errorf("%s %s: %d to %s", method, at, status, to)
			}
		}
	}
}

// W02: nothing in an address begins a header of the answer, and a request with two
// hosts is none.
func TestW02HeaderInjection(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	alice := cookies(x.pageLogin("alice"))
	for _, tail := range []string{"%0d%0aX-Evil:%20y", "%0aSet-Cookie:%20evil=y", "%0d%0a%0d%0a<script>alert(1)</script>"} {
		for _, target := range []string{
			"/login?next=/account" + tail, "/login?next=" + tail, "/login?ui_locales=de" + tail, "/login?error=" + tail, "/auth/openid?callback=/" + tail,
			"/auth/openid/callback?code=x&state=" + tail, "/auth/openid/callback?error=x" + tail + "&state=y", "/auth/openid/mobile-redirect?code=c&state=" + tail,
			"/auth/x" + tail + "?callback=/", "/nothing" + tail, "/static/" + tail, "/oauth2/authorize?client_id=" + tail, "/oauth2/logout?state=" + tail,
			"/device?user_code=" + tail,
		} {
			for _, who := range []option{htmlOnly, func(r *http.Request) { htmlOnly(r); alice(r) }} {
				a := x.do(http.MethodGet, target, who)
				if a.Status >= 500 || a.Header.Get("X-Evil") != "" || a.cookie("evil") != nil || strings.Contains(a.Body, "<script>alert(1)") {
					t.Errorf("%s: %d %v", target, a.Status, a.Header)
				}
			}
		}
		x.do(http.MethodPost, "/login/password", body("application/x-www-form-urlencoded", "username=alice&password=password+of+alice&next=/account"+tail)).location()
	}
	if status := twoHosts(t, x.server.Listener.Addr().String()); status != http.StatusBadRequest {
		t.Errorf("two hosts are answered %d", status)
	}
}

func twoHosts(t *testing.T, address string) int {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /login HTTP/1.1\r\nHost: id.example.org\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}
