package web_test

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// forwardSite stands behind proxies for app1, which everybody may open, app2 for
// the group staff, key.test for API keys, and the lower names of apps.test.
func forwardSite(t testing.TB) *site { return newProvider(t, forwardSetup(t)) }

func forwardSetup(t testing.TB) setup {
	return setup{
		broker: func(c *broker.Config) {
			rules, err := broker.CheckForwardRules([]broker.ForwardRule{
				{Hosts: []string{"app1.test", "app1.test:8443"}, Paths: []string{"/public/*"}, Policy: broker.ForwardAllow},
				{Hosts: []string{"app1.test"}, Paths: []string{"/staff/*"}, Policy: broker.ForwardLogin, Groups: []string{"staff"}},
				{Hosts: []string{"app1.test", "*.apps.test"}, Policy: broker.ForwardLogin},
				{Hosts: []string{"app2.test"}, Policy: broker.ForwardLogin, Groups: []string{"staff"}},
				{Hosts: []string{"key.test"}, Policy: broker.ForwardKey},
			}, "id.example.org")
			if err != nil {
				t.Fatal(err)
			}
			c.Forward = rules
		},
		web: func(c *web.Config) {
			c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			c.CORSOrigins = []string{"https://spa.test"}
		},
	}
}

const (
	appCookie  = "__Host-latchkey_forward"
	firefoxGET = "text/html,application/xhtml+xml"
)

// about is what a proxy says of a request to an address.
func about(address string, differ ...string) option {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	said := map[string]string{"X-Forwarded-Proto": u.Scheme, "X-Forwarded-Host": u.Host, "X-Forwarded-Uri": u.RequestURI(), "X-Forwarded-Method": "GET"}
	for i := 0; i+1 < len(differ); i += 2 {
		said[differ[i]] = differ[i+1]
	}
	return func(r *http.Request) {
		for name, value := range said {
			if r.Header.Set(name, value); value == "" {
				r.Header.Del(name)
			}
		}
	}
}

// asks is a proxy that asks about a request.
func (x *site) asks(address string, options ...option) *answer {
	x.t.Helper()
	return x.do(http.MethodGet, "/forward-auth", append([]option{about(address)}, options...)...)
}

// opens is somebody in a browser who opens an address of an app behind a proxy,
// until Latchkey lets the request pass, refuses it, or shows a page. jars are the
// cookies of the browser, by host.
func (b *browser) opens(jars map[string]*browser, address string) *answer {
	b.t.Helper()
	for range 12 {
		u, err := url.Parse(address)
		if err != nil {
			b.t.Fatal(err)
		}
		var a *answer
		switch {
		case strings.HasPrefix(address, b.public+"/"):
			a = b.send(http.MethodGet, address, htmlOnly)
		default:
			if jars[u.Host] == nil {
				jars[u.Host] = b.newBrowser()
			}
			path := "/forward-auth?mode=redirect"
			if strings.HasPrefix(u.Path, broker.ForwardPath) {
				path = u.RequestURI()
			}
			a = jars[u.Host].send(http.MethodGet, path, about(address), htmlOnly)
		}
		if address = a.Header.Get("Location"); address == "" {
			return a
		}
	}
	b.t.Fatal("redirects without end")
	return nil
}

// loggedInAt is a browser in which somebody opened an app, with its cookies there.
func (x *site) loggedInAt(name, address string) (*browser, map[string]*browser) {
	x.t.Helper()
	b, jars := x.at(name), map[string]*browser{}
	b.opens(jars, address).want(200)
	return b, jars
}

func (x *site) setGroups(name string, groups ...string) {
	x.t.Helper()
	u, err := x.Store.UserByUsername(x.t.Context(), name)
	if err != nil {
		x.t.Fatal(err)
	}
	u.Groups = groups
	if err := x.Store.UpdateProfile(x.t.Context(), u, ""); err != nil {
		x.t.Fatal(err)
	}
}

// F01: the headers say who it is, all of them on every 200, and nothing in them can
// end a header.
func TestF01ForwardIdentityHeaders(t *testing.T) {
	x := forwardSite(t)
	u, err := x.Store.UserByUsername(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	u.Name, u.Email, u.Groups = "Älice 100% ", "alice@example.org", []string{"a,b", "größe", "x\r\nRemote-User: root"}
	if err := x.Store.UpdateProfile(t.Context(), u, ""); err != nil {
		t.Fatal(err)
	}
	_, jars := x.loggedInAt("alice", "https://app1.test/x")
	own := cookie(appCookie, jars["app1.test"].jar[appCookie])
	spoofed := []option{header("Remote-User", "root"), header("Remote-Groups", "staff")}
	a := x.asks("https://app1.test/x", append(spoofed, own)...).want(200)
	session := a.Header.Get("Remote-Session")
	want := map[string]string{
		"Remote-User": "alice", "Remote-Name": "%C3%84lice 100%25%20", "Remote-Email": "alice@example.org", "Remote-Session": session,
		"Remote-Groups": "a%2Cb,gr%C3%B6%C3%9Fe,x%0D%0ARemote-User: root",
	}
	for name, value := range want {
		if got := a.Header.Values(name); len(got) != 1 || got[0] != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if x.row(session).UserID != u.ID || a.Header.Get("Cache-Control") != "no-store" || a.Body != "" {
		t.Errorf("%v %q", a.Header, a.Body)
	}
	for _, one := range [][]option{spoofed, append(slices.Clone(spoofed), cookie(appCookie, strings.Repeat("x", 43)))} {
		a = x.asks("https://app1.test/public/x", one...).want(200)
		for name := range want {
			if got := a.Header.Values(name); len(got) != 1 || got[0] != "" {
				t.Errorf("open, %s: %q", name, got)
			}
		}
	}
	if got := x.asks("https://app1.test/public/x", own).want(200).Header.Get("Remote-User"); got != "alice" {
		t.Errorf("open, with a cookie: %q", got)
	}
}

// F02: what a proxy has not said is not believed.
func TestF02ForwardSpoofedOriginalRequest(t *testing.T) {
	x := forwardSite(t)
	public := "https://app1.test/public/x"
	x.asks(public).want(200)
	x.asks(public, from("203.0.113.9")).refused(403, broker.Forbidden, "")
	x.do("GET", "/.latchkey/login?to=/", about("https://app1.test/"), from("203.0.113.9")).refused(403, broker.Forbidden, "")
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Uri", "X-Forwarded-Method"} {
		twice := func(r *http.Request) { r.Header.Add(name, r.Header.Get(name)) }
		listed := func(r *http.Request) { r.Header.Set(name, r.Header.Get(name)+", "+r.Header.Get(name)) }
		for what, change := range map[string]option{"missing": about(public, name, ""), "twice": twice, "listed": listed} {
			if a := x.asks(public, change); a.Status != 400 {
				t.Errorf("%s %s: %d", name, what, a.Status)
			}
		}
	}
	x.asks(public, about(public, "X-Forwarded-Host", "app1.test,app1.test")).want(400)
	x.asks(public, about(public, "X-Forwarded-Proto", "gopher")).want(400)
	for _, name := range []string{"X-Original-Url", "X-Original-Uri", "X-Rewrite-Url", "X_forwarded_uri", "Forwarded"} {
		x.asks("https://app1.test/x", header(name, "/public/x")).want(401)
	}
	x.do("GET", "/forward-auth?mode=open", about(public)).want(400)
	x.do("GET", "/forward-auth?mode=401&mode=redirect", about(public)).want(400)
}

// F03, through the endpoint.
func TestF03ForwardPathConfusion(t *testing.T) {
	x := forwardSite(t)
	for _, uri := range []string{
		"/public/../admin", "/public/%2e%2e/admin", "/public/..;/admin", "//admin", "/admin#/public/", "/admin?x=/public/", "/PUBLIC/../admin",
		"/public%2f..%2fadmin", "/public/%00", "/public/%252e%252e/x",
		`/public/..\admin`, "/public/..%5cadmin", "/public/%ff", "/public/%0d%0aX:y", "/public/;/../admin", "https://app1.test/public/x", "public/x", "*",
		"/public/" + strings.Repeat("a/", 4_100) + "x", "/public/%2", "/public/.%2e/admin", "/public/%c0%ae%c0%ae/admin",
	} {
		if a := x.asks("https://app1.test/", about("https://app1.test/", "X-Forwarded-Uri", uri)); a.Status != 401 && a.Status != 403 {
			t.Errorf("%s: %d", uri, a.Status)
		}
	}
}

// F04, through the endpoint.
func TestF04ForwardHostConfusion(t *testing.T) {
	x := forwardSite(t)
	for host, want := range map[string]int{
		"APP1.test": 200, "app1.test.": 200, "app1.test:443": 200, "app1.test:9": 200, "app2.test": 401, "APP2.TEST.": 401, "app2.test:443": 401,
		"other.test": 403, "app1.test.evil.test": 403, "a.apps.test": 401, "a.b.apps.test": 403, "app1.test/": 403,
	} {
		if a := x.asks("https://app1.test/public/x", about("https://app1.test/public/x", "X-Forwarded-Host", host)); a.Status != want {
			t.Errorf("%s: %d, want %d", host, a.Status, want)
		}
	}
}

// F06: no method, agent or header is a side door.
func TestF06ForwardSideDoors(t *testing.T) {
	x := forwardSite(t)
	preflight := []option{header("Origin", "https://spa.test"), header("Access-Control-Request-Method", "GET")}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		for _, options := range [][]option{nil, preflight, {header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.test")}} {
			options = append([]option{about("https://app1.test/x", "X-Forwarded-Method", method)}, options...)
			want := 401
			if a := x.do(method, "/forward-auth", options...); a.Status != want && !(method == "PROPFIND" && a.Status == 405) {
				t.Errorf("%s: %d", method, a.Status)
			}
			if a := x.do("GET", "/forward-auth", options...); a.Status != want {
				t.Errorf("%s, asked with GET: %d", method, a.Status)
			}
		}
	}
	for name, value := range map[string]string{
		"User-Agent": "GoogleHC/1.0", "user-agent": "kube-probe/1.30", "Upgrade": "websocket", "X-Forwarded-For": "127.0.0.1", "X-Http-Method-Override": "OPTIONS", "Authorization": "Basic cm9vdDpyb290",
	} {
		x.asks("https://app1.test/x", header(name, value)).want(401)
	}
	const said = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: app1.test\r\nX-Forwarded-Uri: /x\r\nX-Forwarded-Method: GET\r\n"
	for what, text := range map[string]string{
		"HTTP/1.0 without a host": "GET /forward-auth HTTP/1.0\r\n" + said + "\r\n",
		"a chunked body":          "GET /forward-auth HTTP/1.1\r\nHost: x\r\n" + said + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"an upgrade":              "GET /forward-auth HTTP/1.1\r\nHost: x\r\n" + said + "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", x.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusUnauthorized || res.Header.Get("Remote-User") != "" {
			t.Errorf("%s: %+v %v", what, res, err)
		}
		_ = conn.Close()
	}
}

// F07: the login leads back to hosts of the rules and to nowhere else, and who is
// not meant gets a 403, once.
func TestF07ForwardReturnAndWrongGroup(t *testing.T) {
	x := forwardSite(t)
	for _, to := range []string{"https://evil.test", "//evil.test", "/\\evil.test", "javascript:alert(1)", "x", "/a b", "/x\r\nSet-Cookie: a=b", "/.latchkey/login", "/%2elatchkey/callback"} {
		if a := x.do("GET", "/.latchkey/login?"+url.Values{"to": {to}}.Encode(), about("https://app1.test/")); a.Status != 400 || a.Header.Get("Location") != "" {
			t.Errorf("%q: %d %s", to, a.Status, a.Header.Get("Location"))
		}
	}
	for _, address := range []string{
		"https://evil.test/", "https://app1.test.evil.test/", "http://app1.test/", "https://app1.test:9/", "https://key.test/", "https://a.b.apps.test/",
	} {
		if a := x.do("GET", "/.latchkey/login?to=/", about(address)); a.Status != 403 || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d %s", address, a.Status, a.Header.Get("Location"))
		}
		if a := x.do("GET", "/forward-auth?mode=redirect", about(address)); a.Status != 403 && a.Status != 401 || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d %s", address, a.Status, a.Header.Get("Location"))
		}
	}
	for _, state := range []string{"", "x", "a.b.c.d", strings.Repeat("a", 2000)} {
		x.at("alice").send("GET", "/forward-auth/continue?state="+state).want(400)
	}
	b, jars := x.loggedInAt("alice", "https://app1.test:8443/x?y=%26")
	a := b.opens(jars, "https://app2.test/").want(403).says("app2.test is not for you", "group_not_allowed")
	if jars["app2.test"].jar[appCookie] != "" || a.Header.Get("Location") != "" {
		t.Error("a cookie for an app that is not hers")
	}
	jar := jars["app1.test:8443"].jar
	for _, mode := range []string{"", "?mode=redirect"} {
		x.do("GET", "/forward-auth"+mode, about("https://app1.test/staff/x"), cookie(appCookie, jar[appCookie])).refused(403, broker.GroupNotAllowed, "")
	}
	x.setGroups("alice", "staff")
	x.asks("https://app1.test/staff/x", cookie(appCookie, jar[appCookie])).want(200)
	b.opens(jars, "https://app2.test/").want(200)
}

// A code is good once, for a minute, at its app, and in the browser that began: a
// login that an attacker begins, or finishes, is nobody else's.
func TestForwardHandoverIsBound(t *testing.T) {
	x := forwardSite(t)
	began := func() (jar *browser, callback string) {
		jar = x.newBrowser()
		to := jar.send("GET", "/.latchkey/login?to=/back", about("https://app1.test/")).want(302).Header.Get("Location")
		return jar, x.at("alice").send("GET", to).want(303).Header.Get("Location")
	}
	path := func(callback string) string { return strings.TrimPrefix(callback, "https://app1.test") }
	jar, callback := began()
	if !strings.HasPrefix(callback, "https://app1.test/.latchkey/callback?code=") {
		t.Fatal(callback)
	}
	other, otherCallback := began()
	code := func(callback string) string { u, _ := url.Parse(callback); return u.Query().Get("code") }
	for what, a := range map[string]*answer{
		"another browser":       x.do("GET", path(callback), about("https://app1.test/")),
		"another's login":       jar.send("GET", strings.Replace(path(otherCallback), code(otherCallback), code(callback), 1), about("https://app1.test/")),
		"another's code":        jar.send("GET", strings.Replace(path(callback), code(callback), code(otherCallback), 1), about("https://app1.test/")),
		"another app":           jar.send("GET", path(callback), about("https://a.apps.test/")),
		"another port":          jar.send("GET", path(callback), about("https://app1.test:8443/")),
		"another scheme":        jar.send("GET", path(callback), about("http://app1.test/")),
		"no code":               jar.send("GET", strings.Replace(path(callback), code(callback), "", 1), about("https://app1.test/")),
		"the token endpoint":    x.callToken([]string{"grant_type", "authorization_code", "code", code(callback), "client_id", "forward-auth:app1.test", "redirect_uri", callback}),
		"another peer's header": jar.send("GET", path(callback), about("https://app1.test/"), from("203.0.113.9")),
	} {
		if a.Status < 400 || slices.ContainsFunc(a.cookies, func(c *http.Cookie) bool { return c.Name == appCookie }) {
			t.Errorf("%s: %d %v", what, a.Status, a.cookies)
		}
	}
	kept := maps.Clone(jar.jar)
	a := jar.send("GET", path(callback), about("https://app1.test/")).want(303)
	if a.Header.Get("Location") != "https://app1.test/back" || len(jar.jar) != 1 {
		t.Errorf("%s %v", a.Header.Get("Location"), jar.jar)
	}
	for _, c := range a.cookies {
		if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("%+v", c)
		}
	}
	x.asks("https://app1.test/", cookie(appCookie, jar.jar[appCookie])).want(200)
	jar.jar = kept
	jar.send("GET", path(callback), about("https://app1.test/")).refused(400, broker.InvalidState, "")
	x.Clock.Advance(61 * time.Second)
	other.send("GET", path(otherCallback), about("https://app1.test/")).refused(400, broker.InvalidState, "")
}

// The cookie opens its own app alone, and its value is nowhere.
func TestForwardCookieIsOfItsApp(t *testing.T) {
	x := forwardSite(t)
	_, jars := x.loggedInAt("alice", "https://app1.test/")
	value := jars["app1.test"].jar[appCookie]
	x.asks("https://app1.test:8443/", cookie(appCookie, value)).want(200)
	x.asks("https://a.apps.test/", cookie(appCookie, value)).want(401)
	x.asks("http://app1.test/", cookie(appCookie, value)).want(401)
	x.asks("https://app1.test/", cookie("latchkey_forward", value)).want(401)
	x.asks("https://app1.test/", cookie(appCookie, value), cookie(appCookie, value)).want(401)
	x.do("GET", "/account", cookie(sessionCookie, value), htmlOnly).want(303)
	x.do("GET", "/api/me", bearer(value)).want(401)
	session := x.asks("https://app1.test/", cookie(appCookie, value)).Header.Get("Remote-Session")
	if s := x.row(session); s.CookieHash == "" || strings.Contains(s.CookieHash, value) || strings.Contains(x.log.String(), value) {
		t.Errorf("%+v", s)
	}
}
