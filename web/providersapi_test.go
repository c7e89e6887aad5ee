package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/storage"
)

// providersSite is a site where providers are added as in the real program.
func providersSite(t testing.TB, idp bool) (x *site, root option) {
	t.Helper()
	s := setup{broker: func(c *broker.Config) {
		c.NewIdP = func(p broker.ProviderSettings, secret string, trusted bool) broker.IdP {
			cfg := oidc.Config{Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: secret, Cache: c.Store.(*storage.Store), Now: c.Now}
			if !trusted {
				cfg.HTTPClient = oidc.NewPublicHTTPClient()
			}
			return oidc.New(cfg)
		}
	}}
	if idp {
		s.idp = startIdP(t)
	}
	x = newSite(t, s)
	return x, bearer(x.login("root").access)
}

const addedProvider = `{"id":"pocket","issuer":"https://pocket.test","client_id":"latchkey","client_secret":"the secret of pocket"}`

func TestProvidersAPI(t *testing.T) {
	x, root := providersSite(t, true)
	made := x.do("POST", "/api/providers", root, jsonBody(addedProvider)).want(201)
	for path, want := range map[string]any{
		"id": "pocket", "name": "pocket", "type": "oidc", "token_endpoint_auth": "auto", "provision": "create", "link_by": "none", "require_verified_email": "if_present",
		"has_secret": true, "read_only": false, "callback_url": publicURL + "/auth/pocket/callback", "health.in_use": true, "health.last_answer_at": nil,
	} {
		if got, _ := made.at(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	x.do("POST", "/api/providers", root, jsonBody(addedProvider)).refused(409, broker.ProviderExists, "")
	list, _ := x.do("GET", "/api/providers", root).want(200).json()["providers"].([]any)
	for i, want := range []string{"openid true", "pocket false"} {
		if p := list[i].(map[string]any); fmt.Sprint(p["id"], " ", p["read_only"]) != want {
			t.Errorf("%v, want %s", p, want)
		}
	}
	// What was read may be sent back, changed.
	shown := x.do("GET", "/api/providers/pocket", root).want(200)
	changed := x.do("PUT", "/api/providers/pocket", root, jsonBody(strings.Replace(shown.Body, `"name":"pocket"`, `"name":"Pocket ID"`, 1))).want(200)
	if changed.text("name") != "Pocket ID" || changed.json()["has_secret"] != true {
		t.Errorf("%s", changed.Body)
	}
	x.do("PUT", "/api/providers/pocket", root, jsonBody(`{"id":"other","issuer":"https://pocket.test","client_id":"latchkey"}`)).want(400)
	for _, method := range []string{"PUT", "DELETE"} {
		x.do(method, "/api/providers/openid", root, jsonBody(addedProvider[:1]+addedProvider[len(`{"id":"pocket",`):])).refused(409, broker.ReadOnlyProvider, "")
		x.do(method, "/api/providers/nobody", root, jsonBody(`{"issuer":"https://pocket.test","client_id":"latchkey"}`)).refused(404, broker.ProviderUnknown, "")
	}
	x.do("GET", "/api/providers/nobody", root).refused(404, broker.ProviderUnknown, "")
	if page := x.do("GET", "/login", htmlOnly).want(200); !strings.Contains(page.Body, "Pocket ID") {
		t.Error("the login page does not offer it")
	}
	x.do("DELETE", "/api/providers/pocket", root).want(204)
	x.do("GET", "/auth/pocket?callback=/", htmlOnly).want(404)
}

// A05: a client secret goes in and never comes out, neither in an answer, nor
// in an error, nor in the log.
func TestA05ProviderSecretNeverComesOut(t *testing.T) {
	x, root := providersSite(t, true)
	for _, step := range []struct{ method, path, body string }{
		{"POST", "/api/providers", addedProvider}, {"POST", "/api/providers", addedProvider}, {"GET", "/api/providers", ""}, {"GET", "/api/providers/pocket", ""},
		{"PUT", "/api/providers/pocket", addedProvider}, {"PUT", "/api/providers/pocket", strings.Replace(addedProvider, "https:", "gopher:", 1)},
		{"PUT", "/api/providers/pocket", strings.Replace(addedProvider, `"latchkey"`, `7`, 1)}, {"POST", "/api/providers/pocket/test", `{"claims":{"sub":"1"}}`},
		{"GET", "/api/providers/openid", ""}, {"DELETE", "/api/providers/pocket", ""},
	} {
		a := x.do(step.method, step.path, root, jsonBody(step.body))
		for _, secret := range []string{"the secret of pocket", "the IdP's client secret"} {
			if strings.Contains(a.Body+fmt.Sprint(a.Header), secret) {
				t.Errorf("%s %s: %s", step.method, step.path, a.Body)
			}
		}
	}
	if log := x.log.String(); strings.Contains(log, "the secret of pocket") {
		t.Error("it is in the log")
	}
}

// A06: what is no setting is refused by the name of its field, and changes
// nothing.
func TestA06StrangeProviderSettings(t *testing.T) {
	x, root := providersSite(t, false)
	x.do("POST", "/api/providers", root, jsonBody(addedProvider)).want(201)
	before := x.do("GET", "/api/providers", root).Body
	for change, field := range map[string]string{
		`"issuer":"http://169.254.169.254/"`: "issuer", `"issuer":"http://[::1]:5432"`: "issuer", `"issuer":"https://10.1.2.3"`: "issuer", `"issuer":"file:///etc/passwd"`: "issuer",
		`"issuer":"gopher://x.test"`: "issuer", `"issuer":""`: "issuer", `"issuer":7`: "issuer", `"provision":"all"`: "provision", `"provision":true`: "provision",
		`"link_by":"username"`: "link_by", `"require_verified_email":false`: "require_verified_email", `"role_map":{"g":"root"}`: "role_map.g", `"role_map":[]`: "role_map", `"role_map":{"":7}`: "role_map",
		`"role_map":{"g":"admin"},"default_role":"root"`: "default_role", `"allowed_domains":["*"]`: "allowed_domains", `"allowed_domains":"x.test"`: "allowed_domains",
		`"scopes":["openid","a b"]`: "scopes", `"claims":{"groups":7}`: "claims.groups", `"claims":{"gruops":"x"}`: "gruops", `"client_secret":7`: "client_secret",
		`"client_secret":"a\nb"`: "client_secret", `"token_endpoint_auth":"none "`: "token_endpoint_auth", `"type":"saml"`: "type", `"isuer":"x"`: "isuer",
		`"__proto__":{}`: "__proto__", `"allow_private":"yes"`: "allow_private", `"recheck":"-1h"`: "recheck", `"recheck":"often"`: "recheck", `"recheck":true`: "recheck", `"client_id":""`: "client_id", `"name":{}`: "name",
		`"token_endpoint_auth":"private_key_jwt","client_secret":"s"`: "client_secret", `"token_endpoint_auth":"private_key_jwt","type":"oauth2"`: "token_endpoint_auth",
	} {
		text := `{"id":"pocket","issuer":"https://pocket.test","client_id":"latchkey",` + change + `}`
		for _, to := range []struct{ method, path, body string }{
			{"POST", "/api/providers", strings.Replace(text, "pocket", "other", 1)}, {"PUT", "/api/providers/pocket", text},
		} {
			a := x.do(to.method, to.path, root, jsonBody(to.body))
			if a.Status != 400 || !strings.Contains(a.Body, `"field":"`+field+`"`) || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") {
				t.Errorf("%s %s: %d %s, want %s", to.method, change, a.Status, a.Body, field)
			}
		}
	}
	for _, text := range []string{``, `[]`, `null7`, `{`, `"x"`, `{} {}`, `{"id":`, addedProvider + `x`} {
		x.do("POST", "/api/providers", root, jsonBody(text)).want(400)
	}
	x.do("POST", "/api/providers", root, body("text/plain", addedProvider)).want(400)
	x.do("POST", "/api/providers", root, jsonBody(`{"id":"`+strings.Repeat("a", 70<<10)+`"}`)).want(413)
	for _, id := range []string{"refresh", "config", "local", "../openid", "Openid", "", "a b", strings.Repeat("a", 40)} {
		if a := x.do("POST", "/api/providers", root, jsonBody(strings.Replace(addedProvider, "pocket", id, 1))); a.Status != 400 || !strings.Contains(a.Body, `"field":"id"`) {
			t.Errorf("%q: %d %s", id, a.Status, a.Body)
		}
	}
	if after := x.do("GET", "/api/providers", root).Body; after != before {
		t.Errorf("%s, and then %s", before, after)
	}
	// Another site makes the administrator's browser send it.
	x.do("POST", "/api/providers", root, header("Origin", "https://evil.test"), header("Sec-Fetch-Site", "cross-site"), jsonBody(addedProvider)).refused(403, broker.CrossSite, "")
}

func TestProvidersAPIIsForAdministrators(t *testing.T) {
	x, _ := providersSite(t, true)
	alice := x.login("alice").access
	for _, route := range []string{
		"GET /api/providers", "POST /api/providers", "GET /api/providers/openid", "PUT /api/providers/openid", "DELETE /api/providers/openid", "POST /api/providers/openid/test",
	} {
		method, path, _ := strings.Cut(route, " ")
		x.do(method, path, jsonBody(`{"claims":{"sub":"1"}}`)).want(401)
		x.do(method, path, bearer(alice), jsonBody(`{"claims":{"sub":"1"}}`)).want(403)
		x.do(method, path+"?token="+alice, jsonBody(`{}`)).want(401)
	}
}

// U13: nothing is asked at a loopback or private address that an added issuer
// leads to, by whatever name, unless it is allowed.
func TestU13AddedProviderCannotReachPrivateAddresses(t *testing.T) {
	x, root := providersSite(t, false)
	var asked atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "an answer from the inside")
	}))
	t.Cleanup(inside.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(inside.URL, "http://"), ":")
	settings := func(issuer, more string) option {
		return jsonBody(`{"id":"pocket","issuer":"` + issuer + `","client_id":"latchkey","insecure_http":true` + more + `}`)
	}
	// Other spellings of 127.0.0.1 are judged where they are dialed.
	for _, host := range []string{"127.1", "2130706433", "0x7f.1", "0177.0.0.1"} {
		x.do("POST", "/api/providers", root, settings("http://"+host+":"+port, "")).want(201)
		a := x.do("GET", "/auth/pocket?callback=/", htmlOnly)
		if a.Status != 503 || strings.Contains(a.Body, "inside") {
			t.Errorf("%s: %d %s", host, a.Status, a.Body)
		}
		x.do("DELETE", "/api/providers/pocket", root).want(204)
	}
	if n := asked.Load(); n != 0 {
		t.Fatalf("asked %d times", n)
	}
	x.do("POST", "/api/providers", root, settings(inside.URL, "")).want(400)
	x.do("POST", "/api/providers", root, settings(inside.URL, `,"allow_private":true`)).want(201)
	if a := x.do("GET", "/auth/pocket?callback=/", htmlOnly); asked.Load() == 0 || a.Status < 500 || strings.Contains(a.Body, "inside") {
		t.Errorf("%d times, %d %s", asked.Load(), a.Status, a.Body)
	}
}

// A provider that was added is used for a whole login.
func TestLoginThroughAddedProvider(t *testing.T) {
	x, root := providersSite(t, true)
	second := startIdP(t)
	x.do("POST", "/api/providers", root, jsonBody(`{"id":"second","issuer":"`+second.Issuer()+`","client_id":"latchkey","client_secret":"s2","allow_private":true}`)).want(201)
	second.SetClient(providertest.Client{ID: "latchkey", Secret: "s2", RedirectURIs: []string{publicURL + "/auth/second/callback"}})
	p := newApp(x)
	p.provider = "second"
	if pair := p.loginThrough(second, "anna"); pair.refresh == "" {
		t.Error("no refresh token")
	}
	if at, _ := x.do("GET", "/api/providers/second", root).at("health.last_answer_at"); at == nil {
		t.Error("it is not known that the provider answered")
	}
	// The session is ours: it outlives the provider.
	pair := p.loginThrough(second, "anna")
	x.do("DELETE", "/api/providers/second", root).want(204)
	x.refresh(pair.refresh).want(200)
	x.me(pair.access).want(200)
}

func TestProviderTestAPI(t *testing.T) {
	x, root := providersSite(t, true)
	before := x.do("GET", "/api/providers", root).Body
	a := x.do("POST", "/api/providers/openid/test", root, jsonBody(`{"claims":{"sub":"1","preferred_username":"root","email":"a@x.test"}}`)).want(200)
	for path, want := range map[string]any{"outcome": "login", "user.username": "root-2", "user.role": "user", "claims.email_verified": nil} {
		if got, _ := a.at(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	for _, text := range []string{`{}`, `{"claims":[]}`, `{"claims":null}`, `{"id_token":"x"}`, `{"id_token":7}`, `{"id_token":"a.b.c","claims":{}}`, `{"x":1}`, `[]`} {
		x.do("POST", "/api/providers/openid/test", root, jsonBody(text)).want(400)
	}
	x.do("POST", "/api/providers/nobody/test", root, jsonBody(`{"claims":{}}`)).want(404)
	if after := x.do("GET", "/api/providers", root).Body; after != before {
		t.Error("it changed something")
	}
}

// What an administrator pastes is somebody's login.
func TestPastedTokenIsNotLogged(t *testing.T) {
	x, root := providersSite(t, true)
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzb21lYm9keSJ9.the-signature-of-somebody"
	a := x.do("POST", "/api/providers/openid/test", root, jsonBody(`{"id_token":"`+token+`"}`)).want(200)
	x.do("POST", "/api/providers/openid/test", root, jsonBody(`{"id_token":"`+token+`.x"}`)).want(400)
	for _, part := range strings.Split(token, ".") {
		if strings.Contains(x.log.String(), part) || strings.Contains(a.Body, part) {
			t.Errorf("%s is in the log or in the answer", part)
		}
	}
	if sub, _ := a.at("claims.sub"); sub != "somebody" {
		t.Errorf("%s", a.Body)
	}
}

func TestProviderChangesNameTheAdministrator(t *testing.T) {
	x, root := providersSite(t, false)
	x.do("POST", "/api/providers", root, jsonBody(addedProvider)).want(201)
	admin, err := x.Store.UserByUsername(t.Context(), "root")
	if err != nil {
		t.Fatal(err)
	}
	list, err := x.Store.ListEvents(t.Context(), broker.EventFilter{Name: broker.EventProviderCreated, Limit: 5})
	if err != nil || len(list) != 1 || list[0].Actor != admin.ID || list[0].Detail["provider"] != "pocket" {
		t.Errorf("%+v, %v", list, err)
	}
}
