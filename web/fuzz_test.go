package web_test

import (
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// quietly runs a site without a log: one of so much would fill the memory.
func quietly(s setup) setup {
	quiet, ofBroker, ofWeb := slog.New(slog.DiscardHandler), s.broker, s.web
	s.broker = func(c *broker.Config) {
		if c.Log = quiet; ofBroker != nil {
			ofBroker(c)
		}
	}
	s.web = func(c *web.Config) {
		if c.Log = quiet; ofWeb != nil {
			ofWeb(c)
		}
	}
	return s
}

var formAction = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)

// leadsOnlyTo holds an answer to what a stranger made up against what holds for all: no
// trouble of ours, and no way but to this site and to the addresses that are named.
func (a *answer) leadsOnlyTo(t *testing.T, public string, may ...string) {
	t.Helper()
	if a.Status >= http.StatusInternalServerError {
		t.Errorf("%s: %d %s", a.request, a.Status, a.Header.Get("Latchkey-Code"))
	}
	ways := []string{}
	if to := a.Header.Get("Location"); to != "" {
		ways = append(ways, to)
	}
	for _, form := range formAction.FindAllStringSubmatch(a.Body, -1) {
		ways = append(ways, html.UnescapeString(form[1]))
	}
	for _, to := range ways {
		if !leads(to, public, may) {
			t.Errorf("%s leads to %q", a.request, to)
		}
	}
}

// leads reports whether an address is of this site or, up to its query, one of the others. The
// port of a loopback address is free.
func leads(to, public string, may []string) bool {
	u, err := url.Parse(to)
	switch {
	case err != nil || u.User != nil || u.Fragment != "" || strings.ContainsAny(to, "\\\t\r\n"):
		return false
	case u.Scheme == "" && u.Host == "":
		return strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//")
	case strings.HasPrefix(to, public+"/"):
		return true
	case u.Hostname() == "127.0.0.1":
		u.Host = u.Hostname()
	}
	u.RawQuery, u.ForceQuery = "", false
	return slices.Contains(may, u.String())
}

// withQuery sends a query as it is.
func withQuery(t *testing.T, query string) option {
	if strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		t.Skip("no HTTP client sends that")
	}
	return func(r *http.Request) { r.URL.RawQuery = query }
}

// begun adds to a query the state of a login that has begun, and the name of the
// IdP, unless it says others.
func begun(t *testing.T, query, atIdP, issuer string) string {
	if given, _ := url.ParseQuery(query); !given.Has("iss") {
		query += "&iss=" + url.QueryEscape(issuer)
	}
	return query + "&state=" + idpQuery(t, atIdP).Get("state")
}

// tellsNothing holds an answer to a callback against what holds for all that come
// without a code of the IdP: trouble only where the IdP says that it has some, and nothing
// that was sent is sent back.
func (a *answer) tellsNothing(t *testing.T, query string) {
	t.Helper()
	given, _ := url.ParseQuery(query)
	troubled := slices.Contains([]string{"temporarily_unavailable", "server_error"}, given.Get("error")) && a.Status == http.StatusServiceUnavailable
	if a.Status >= http.StatusInternalServerError && !troubled {
		t.Errorf("%s?%s: %d %s", a.request, query, a.Status, a.Header.Get("Latchkey-Code"))
	}
	if to := a.Header.Get("Location"); to != "" {
		u, err := url.Parse(to)
		if err != nil || !strings.HasPrefix(to, "audiobookshelf://oauth?") || u.Query().Get("error") == "" || u.Query().Get("code") != "" {
			t.Errorf("%s?%s leads to %q", a.request, query, to)
		}
	}
	shown := a.shown()
	for name, values := range given {
		for _, v := range append(values, name) {
			if len(v) >= 24 && strings.Contains(shown, v) {
				t.Errorf("%s?%s: %q is shown again", a.request, query, v)
			}
		}
	}
}

// shown is everything that an answer says, however it is written.
func (a *answer) shown() string {
	to, _ := url.QueryUnescape(a.Header.Get("Location"))
	var inJSON any
	_ = json.Unmarshal([]byte(a.Body), &inJSON)
	return strings.Join([]string{html.UnescapeString(a.Body), fmt.Sprint(a.Header), to, fmt.Sprint(inJSON)}, "\n")
}

// Whatever a callback says, of no login and, where it names none, of one that has begun:
// nothing of ours breaks, nobody is logged in or sent away, and nothing is shown again.
func FuzzCallback(f *testing.F) {
	for _, seed := range []string{
		"", "code=x&state=y", "code=x&code=y&state=z", "state=" + strings.Repeat("s", 9000), "error=access_denied&state=x&error_description=%00%ff",
		"error=login_required&iss=https://evil.test&state=x", "code=%zz", "response=eyJhbGciOiJub25lIn0.e30.&state=x", "code[]=x&state[]=y", "redirect_uri=https://evil.test&state=x&code=y;z",
		"code=x", "code=", "code=" + strings.Repeat("c", 5000), "code=x&iss=https%3A%2F%2Fevil.test", "code=x&error=access_denied", "error=access_denied&error_description=<script>alert(document.cookie)</script>",
		"error=temporarily_unavailable", "error=%0d%0aSet-Cookie:%20latchkey_session=x", "code=x%26grant_type%3Drefresh_token", "code=x&redirect_uri=evil%3A%2F%2Foauth%3Fwhatever%3Dthey-like",
		"code=x&code_verifier=" + strings.Repeat("v", 43), "code=x;state=y", "%", "CODE=x&session_state=z", "code=x#",
	} {
		f.Add(seed)
	}
	x := &idpSite{idp: startIdP(f)}
	x.site = openSite(f, quietly(setup{idp: x.idp}))
	f.Fuzz(func(t *testing.T, query string) {
		y := &idpSite{site: x.in(t), idp: x.idp}
		visit := func(path, query string, options ...option) {
			y.do(http.MethodGet, path, append(options, withQuery(t, query))...).tellsNothing(t, query)
		}
		inBrowser, inApp, flow := query, query, []*http.Cookie{}
		if given, _ := url.ParseQuery(query); !given.Has("state") {
			var atIdP string
			atIdP, flow = y.begin()
			inBrowser = begun(t, query, atIdP, x.idp.Issuer())
			inApp = begun(t, query, newApp(y.site).toIdP(), x.idp.Issuer())
		}
		visit("/auth/openid/callback", inBrowser, cookies(flow))
		visit("/auth/openid/mobile-redirect", inApp)
		if made := y.tally(); made != (idpTally{}) {
			t.Fatalf("%q has made %+v", query, made)
		}
	})
}

// Whatever an authorization request asks: nothing of ours breaks, and only
// registered redirect URIs hear of it.
func FuzzAuthorize(f *testing.F) {
	const good = "client_id=web1&response_type=code&scope=openid&state=s&redirect_uri=https%3A%2F%2Frp1.test%2Fcb"
	for _, seed := range []string{
		"", good, good + "&prompt=none", good + "&prompt=none+login", good + "&max_age=-1", good + "&request=eyJ", good + "&request_uri=urn%3Aietf%3Aparams%3Aoauth%3Arequest_uri%3Ax",
		good + "&response_mode=form_post&prompt=none", good + "&claims=%7B%22id_token%22%3Anull%7D", good + "&id_token_hint=a.b.c&prompt=none", good + "&ui_locales=de+en&login_hint=%00",
		good + "&code_challenge=x&code_challenge_method=S256&prompt=none", strings.ReplaceAll(good, "rp1.test", "evil.test"), strings.ReplaceAll(good, "rp1.test", "rp1.test%40evil.test"),
		strings.ReplaceAll(good, "%2Fcb", "%2Fcb%2F..%2F..%2Fx"), strings.ReplaceAll(good, "=code", "=token"), good + "&" + good, "client_id=nat1&redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fcb&response_type=code",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	x := newProvider(f, quietly(setup{}))
	alice := x.at("alice").jar[sessionCookie]
	f.Fuzz(func(t *testing.T, query string, loggedIn bool) {
		options := []option{withQuery(t, query)}
		if loggedIn {
			options = append(options, cookie(sessionCookie, alice))
		}
		x.in(t).do(http.MethodGet, "/oauth2/authorize", options...).leadsOnlyTo(t, x.public,
			"https://rp1.test/cb", "https://rp2.test/cb", "https://rp2.test/cb2", "https://spa.test/cb", "app.one:/oauth", "http://127.0.0.1/cb", "https://asking.test/cb")
	})
}

// liveCookie is a cookie that this process was given, and the request that it opens something with.
type liveCookie struct {
	name, value  string
	method, path string
	option
}

// liveCookies are of a browser that is logged in at Latchkey and an app, and has begun to
// log in at both once more. The values differ in every process.
func liveCookies(x *idpSite) []liveCookie {
	nothing := func(*http.Request) {}
	b, jars := x.loggedInAt("alice", "https://app1.test/")
	atIdP, flow := x.begin()
	atApp := x.newBrowser()
	begun := atApp.send(http.MethodGet, "/.latchkey/login?to=%2Fx", about("https://app1.test/")).want(http.StatusFound)
	list := []liveCookie{
		{sessionCookie, b.jar[sessionCookie], http.MethodGet, "/account", nothing},
		{"refresh_token", b.jar["refresh_token"], http.MethodPost, "/auth/refresh", nothing},
		{appCookie, jars["app1.test"].jar[appCookie], http.MethodGet, "/forward-auth", about("https://app1.test/")},
	}
	for _, c := range flow {
		list = append(list, liveCookie{c.Name, c.Value, http.MethodGet, "/auth/openid/callback?code=x&state=" + url.QueryEscape(idpQuery(x.t, atIdP).Get("state")), nothing})
	}
	for name, value := range atApp.jar {
		state := idpQuery(x.t, begun.Header.Get("Location")).Get("state")
		list = append(list, liveCookie{name, value, http.MethodGet, "/.latchkey/callback?code=x&state=" + url.QueryEscape(state), about("https://app1.test/")})
	}
	return list
}

// Whatever a stranger makes of a cookie: nothing of ours breaks, it opens nothing, and nothing
// of it is shown again.
func FuzzCookies(f *testing.F) {
	ats := []uint16{0, 1, 35, 36, 37, 65535}
	for which := range uint8(5) {
		for i, with := range []string{"", "x", "=", ".", "\"", "%00", strings.Repeat("x", 5000), "a" + strings.Repeat("0", 35) + ".", "; x=y"} {
			f.Add(which, ats[(i+int(which))%len(ats)], uint8(1), with)
		}
		f.Add(which, uint16(0), uint8(255), "")
		f.Add(which, uint16(65535), uint8(0), "=")
	}
	s := forwardSetup(f)
	x := &idpSite{idp: startIdP(f)}
	s.idp = x.idp
	x.site = newProvider(f, quietly(s))
	list := liveCookies(x)
	if len(list) != 5 {
		f.Fatalf("%d cookies", len(list))
	}
	for _, c := range list[:3:3] {
		if c.method == http.MethodGet { // a refresh would change what is live
			x.do(c.method, c.path, c.option, cookie(c.name, c.value)).want(http.StatusOK)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint16, drop uint8, with string) {
		c := list[int(which)%len(list)]
		from := min(int(at), len(c.value))
		edited := c.value[:from] + with + c.value[min(from+int(drop), len(c.value)):]
		if !httpguts.ValidHeaderFieldValue(edited) {
			t.Skip("no HTTP client sends that")
		}
		sent := &http.Request{Header: http.Header{"Cookie": {c.name + "=" + edited}}}
		if slices.ContainsFunc(sent.CookiesNamed(c.name), func(s *http.Cookie) bool { return s.Value == c.value }) {
			t.Skip("the cookie is as it was")
		}
		a := x.in(t).do(c.method, c.path, c.option, header("Cookie", sent.Header.Get("Cookie")))
		a.leadsOnlyTo(t, x.public)
		toLogin := c.name == sessionCookie && a.Status == http.StatusSeeOther && strings.Contains(a.Header.Get("Location"), "/login")
		if !toLogin && (a.Status < 400 || a.Status >= 500) {
			t.Errorf("%s=%q: %d to %q", c.name, edited, a.Status, a.Header.Get("Location"))
		}
		if shown := a.shown(); len(with) >= 24 && strings.Contains(shown, with) || len(edited) >= 24 && strings.Contains(shown, edited) {
			t.Errorf("%s=%q is shown again", c.name, edited)
		}
	})
}
