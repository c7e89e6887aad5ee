package web_test

import (
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/web"
)

// answersAnything sends what a stranger made up, and holds the answer against
// what holds for all: no trouble of ours, and no redirect but to this site and
// where may says.
func (x *site) answersAnything(t *testing.T, req *http.Request, may ...string) {
	t.Helper()
	res, err := x.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusInternalServerError {
		t.Errorf("%s %s: %s %s", req.Method, req.URL, res.Status, res.Header.Get("Latchkey-Code"))
	}
	to := res.Header.Get("Location")
	u, err := url.Parse(to)
	if to == "" || err == nil && u.Host == "" && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") {
		return
	}
	if err != nil || !slices.ContainsFunc(append(may, x.public+"/"), func(prefix string) bool { return strings.HasPrefix(to, prefix) }) {
		t.Errorf("%s %s leads to %q", req.Method, req.URL, to)
	}
}

// fuzzed is a request to a path with a query as it is.
func (x *site) fuzzed(t *testing.T, path, query string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, x.server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	withQuery(t, query)(req)
	return req
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
	shown := html.UnescapeString(a.Body) + fmt.Sprint(a.Header)
	for name, values := range given {
		for _, v := range append(values, name) {
			if len(v) >= 24 && strings.Contains(shown, v) {
				t.Errorf("%s?%s: %q is shown again", a.request, query, v)
			}
		}
	}
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
	quiet := slog.New(slog.DiscardHandler) // a log of so much would fill the memory
	x.site = openSite(f, setup{idp: x.idp, broker: func(c *broker.Config) { c.Log = quiet }, web: func(c *web.Config) { c.Log = quiet }})
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
		f.Add(seed)
	}
	x := newProvider(f, setup{})
	f.Fuzz(func(t *testing.T, query string) {
		x.answersAnything(t, x.fuzzed(t, "/oauth2/authorize", query),
			"https://rp1.test/cb?", "https://rp2.test/cb?", "https://rp2.test/cb2?", "https://spa.test/cb?", "app.one:/oauth?", "http://127.0.0.1", "https://asking.test/cb?")
	})
}

// Whatever stands in cookies: nothing of ours breaks, and nobody is logged in by
// them but who was.
func FuzzCookies(f *testing.F) {
	x := newSite(f, setup{idp: providertest.Start(f, providertest.Config{})})
	l := x.Login(f, "alice")
	whole := x.Broker.PageCookie(l.Session.ID)
	for _, seed := range []string{
		whole, whole[:40], whole + "=", strings.ToUpper(whole), strings.Repeat("a", 36) + "." + whole[37:], "", ".", l.RefreshToken.Reveal(), strings.Repeat("x", 5000), "%00", `"` + whole + `"`,
	} {
		f.Add(seed)
	}
	names := []string{"latchkey_session", "__Host-latchkey_session", "refresh_token", "latchkey_flow", "latchkey_stay", "latchkey_forward"}
	f.Fuzz(func(t *testing.T, value string) {
		if !httpguts.ValidHeaderFieldValue(value) {
			t.Skip("no HTTP client sends that")
		}
		req := x.fuzzed(t, "/account", "")
		for _, name := range names {
			req.Header.Add("Cookie", name+"="+value)
		}
		x.answersAnything(t, req)
		if _, err := x.Broker.AuthenticateCookie(t.Context(), value, broker.Device{}); err == nil && value != whole {
			t.Errorf("%q logs in", value)
		}
	})
}
