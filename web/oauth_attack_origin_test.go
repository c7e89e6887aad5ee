package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// O21: what is sent out comes from the configuration, whatever Host says.
func TestO21HostPoisoning(t *testing.T) {
	x := newProvider(t, setup{idp: startIdP(t)})
	evil := []option{
		func(r *http.Request) { r.Host = "evil.test" }, header("X-Forwarded-Host", "evil.test"), header("Forwarded", "host=evil.test;proto=http"), header("X-Forwarded-Proto", "http"),
		header("X-Forwarded-Prefix", "/evil"), header("X-Original-URL", "/evil"), header("X-Rewrite-URL", "/evil"), header("X-Host", "evil.test"), header("X-Forwarded-Server", "evil.test"),
	}
	g, b := x.clientLogin("web1", cb1)
	ask := func(method, path string, options ...option) *answer {
		return b.send(method, path, append(options, evil...)...)
	}
	for path, a := range map[string]*answer{
		"discovery": ask("GET", "/.well-known/openid-configuration"), "metadata": ask("GET", "/.well-known/oauth-authorization-server"), "keys": ask("GET", "/.well-known/jwks.json"),
		"authorize": ask("GET", "/oauth2/authorize?"+request("web1", cb1).Encode()), "by POST": ask("POST", "/oauth2/authorize", form("client_id", "web1")),
		"login": x.do("GET", "/oauth2/authorize?"+request("web1", cb1).Encode(), evil...), "device": x.do("GET", "/device?user_code=x", evil...),
		"consent": ask("GET", "/oauth2/authorize?"+request("asking", "https://asking.test/cb").Encode()), "logout": ask("POST", "/oauth2/logout", form("state", "x")),
		"codes":    ask("POST", "/oauth2/device_authorization", form("client_id", "nat1")),
		"to IdP":   x.do("GET", "/oauth2/authorize?"+request("web1", cb1, "idp_hint", "openid").Encode(), evil...),
		"userinfo": ask("GET", "/oauth2/userinfo", bearer(g.access)), "introspection": ask("POST", "/oauth2/introspect", form("token", g.access), basic("web1", webSecret)),
	} {
		if text := a.Body + a.Header.Get("Location") + strings.Join(a.Header.Values("Set-Cookie"), " "); strings.Contains(text, "evil") || a.Status >= 500 {
			t.Errorf("%s: %d %v %.300s", path, a.Status, a.Header, a.Body)
		}
	}
	again := ask("POST", "/oauth2/token", form("grant_type", "refresh_token", "refresh_token", g.refresh), basic("web1", webSecret)).granted()
	for _, token := range []string{again.access, again.id} {
		if c := claimsOf(t, token); c["iss"] != publicURL {
			t.Errorf("iss %v", c["iss"])
		}
	}
}

// S04: what other sites post by right is judged on its merits.
func TestS04CSRFFilterIsNotTooWide(t *testing.T) {
	x := newProvider(t, setup{idp: startIdP(t)})
	g, b := x.clientLogin("web1", cb1)
	foreign := []option{header("Origin", "https://rp1.test"), header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "navigate")}
	post := func(path string, options ...option) *answer {
		return b.send(http.MethodPost, path, append(options, foreign...)...)
	}
	if q := b.follow(post("/oauth2/authorize", body("application/x-www-form-urlencoded", request("web1", cb1).Encode()))).sentTo(cb1); q.Get("code") == "" {
		t.Errorf("authorize: %v", q)
	}
	post("/oauth2/token", form("grant_type", "refresh_token", "refresh_token", g.refresh), basic("web1", webSecret)).want(200)
	post("/oauth2/userinfo", bearer(g.access)).want(200)
	post("/oauth2/introspect", form("token", g.access), basic("web1", webSecret)).want(200)
	post("/oauth2/par", body("application/x-www-form-urlencoded", request("web1", cb1).Encode()), basic("web1", webSecret)).want(201)
	post("/oauth2/device_authorization", form("client_id", "nat1")).want(200)
	post("/auth/openid/backchannel-logout", form("logout_token", "x")).oauthError(400, "invalid_request")
	post("/oauth2/logout", form("state", "x")).want(303)
	post("/oauth2/revoke", form("token", g.refresh), basic("web1", webSecret)).want(200)
	// And what the cookies of a person decide is not among it.
	for _, path := range []string{"/oauth2/consent", "/oauth2/logout/confirm", "/device", "/login/password", "/session/end", "/api/clients", "/auth/openid", "/oauth2/authorize/"} {
		post(path, form("id", "x", "decision", "allow")).refused(403, broker.CrossSite, "")
	}
}

// S05: no origin reads what cookies open; pages of clients read what programs ask.
func TestS05CORSOfTheProvider(t *testing.T) {
	x := newProvider(t, setup{web: func(c *web.Config) { c.CORSOrigins = []string{"https://books.example.com"} }})
	g, b := x.clientLogin("spa", "https://spa.test/cb")
	acao := func(a *answer) string { return a.Header.Get("Access-Control-Allow-Origin") }
	preflight := []option{header("Access-Control-Request-Method", "POST"), header("Access-Control-Request-Headers", "authorization,dpop")}
	programs := []string{"/oauth2/token", "/oauth2/userinfo", "/oauth2/revoke", "/oauth2/introspect", "/oauth2/par", "/oauth2/device_authorization"}
	people := []string{"/oauth2/authorize", "/oauth2/continue", "/oauth2/consent", "/oauth2/logout", "/oauth2/logout/confirm", "/device", "/", "/login", "/api/me", "/api/clients", "/oauth2/register"}
	for _, origin := range []string{"https://evil.test", "null", "https://spa.test.evil.test", "http://spa.test", "https://spa.test:8443", "https://SPA.test", publicURL + ".evil.test", "https://127.0.0.1", "app.one://"} {
		for _, path := range append(programs, people...) {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
				if a := b.send(method, path, append(preflight, header("Origin", origin), bearer(g.access))...); acao(a) != "" {
					t.Errorf("%s %s for %s: %q", method, path, origin, acao(a))
				}
			}
		}
	}
	for _, origin := range []string{"https://spa.test", "https://rp1.test", "https://books.example.com"} {
		for _, path := range programs {
			a := x.do(http.MethodOptions, path, append(preflight, header("Origin", origin))...)
			if acao(a) != origin && acao(a) != "*" || a.Header.Get("Access-Control-Allow-Credentials") != "" || !strings.Contains(strings.ToLower(a.Header.Get("Access-Control-Allow-Headers")), "dpop") {
				t.Errorf("%s for %s: %d %v", path, origin, a.Status, a.Header)
			}
		}
		for _, path := range people {
			if a := b.send(http.MethodGet, path, header("Origin", origin), bearer(g.access)); acao(a) != "" && origin != "https://books.example.com" {
				t.Errorf("%s for %s: %v", path, origin, a.Header)
			}
		}
	}
	a := x.callToken([]string{"grant_type", "refresh_token", "refresh_token", g.refresh, "client_id", "spa"}, header("Origin", "https://spa.test"), header("Sec-Fetch-Site", "cross-site"))
	if a.granted(); acao(a) == "" || a.Header.Get("Access-Control-Allow-Credentials") != "" || !strings.Contains(strings.ToLower(a.Header.Get("Access-Control-Expose-Headers")), "dpop-nonce") {
		t.Errorf("token: %v", a.Header)
	}
	for _, path := range []string{"/.well-known/jwks.json", "/.well-known/openid-configuration", "/oauth2/revocations"} {
		if a := x.do(http.MethodGet, path, header("Origin", "https://evil.test")).want(200); acao(a) != "*" || a.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", path, a.Header)
		}
	}
}
