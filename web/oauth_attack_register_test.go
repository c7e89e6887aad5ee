package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// N03: no way in lets a dangerous redirect URI be registered, for logins or logouts.
func TestN03RegisterDangerousURIs(t *testing.T) {
	x := newProvider(t, setup{broker: func(c *broker.Config) { c.RegistrationToken = registrationToken }})
	root := bearer(x.login("root").access)
	x.do("POST", "/api/clients", root, jsonBody(`{"client_id":"mine","redirect_uris":["https://mine.test/cb"]}`)).want(201)
	for _, uri := range append([]string{"", "ws://rp1.test/cb", "https://rp1.test/cb\x00", "https://rp1.test/ü", "https://" + strings.Repeat("a", 1100) + ".test/cb"}, dangerousURIs...) {
		for what, text := range map[string]string{
			"alone": toJSON(map[string]any{"redirect_uris": []string{uri}}), "among others": toJSON(map[string]any{"redirect_uris": []string{"https://rp1.test/cb", uri}}),
			"after a logout": toJSON(map[string]any{"redirect_uris": []string{"https://rp1.test/cb"}, "post_logout_redirect_uris": []string{uri}}), "native": toJSON(map[string]any{"redirect_uris": []string{uri}, "application_type": "native", "token_endpoint_auth_method": "none"}),
		} {
			where := fmt.Sprintf("%s %q", what, uri)
			if a := x.do("POST", "/oauth2/register", bearer(registrationToken), jsonBody(text)); a.Status != 400 || a.text("error") != "invalid_redirect_uri" {
				t.Errorf("%s, registered: %d %s", where, a.Status, a.Body)
			}
			if a := x.do("POST", "/api/clients", root, jsonBody(text)); a.Status != 400 || a.Header.Get("Latchkey-Code") != "invalid_redirect_uri" {
				t.Errorf("%s, created: %d %s", where, a.Status, a.Body)
			}
			if a := x.do("PUT", "/api/clients/mine", root, jsonBody(text)); a.Status != 400 || a.Header.Get("Latchkey-Code") != "invalid_redirect_uri" {
				t.Errorf("%s, changed: %d %s", where, a.Status, a.Body)
			}
		}
	}
	if ids := x.clients(); len(ids) != 1 {
		t.Errorf("clients %v", ids)
	}
}

const registrationToken = "the initial access token of a test"

// Programs register themselves where that is on, with its token, and get what
// everybody gets.
func TestDynamicRegistration(t *testing.T) {
	off := newProvider(t, setup{})
	off.do("POST", "/oauth2/register", jsonBody(`{"redirect_uris":["https://evil.test/cb"]}`)).want(404)
	off.do("POST", "/oauth2/register", bearer(""), jsonBody(`{}`)).want(404)
	if strings.Contains(off.do("GET", "/.well-known/openid-configuration").Body, "registration_endpoint") {
		t.Error("it is advertised")
	}
	x := newProvider(t, setup{broker: func(c *broker.Config) { c.RegistrationToken = registrationToken }})
	for what, with := range map[string]option{
		"wrong": bearer("wrong"), "a part": bearer(registrationToken[:10]), "longer": bearer(registrationToken + "x"), "Basic": basic("x", registrationToken), "none": func(*http.Request) {}, "root's": bearer(x.login("root").access),
		"in the query": func(r *http.Request) {
			r.URL.RawQuery = "access_token=" + strings.ReplaceAll(registrationToken, " ", "+")
		},
	} {
		a := x.do("POST", "/oauth2/register", with, jsonBody(`{"redirect_uris":["https://evil.test/cb"]}`))
		if a.Status != 401 || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d %v", what, a.Status, a.Header)
		}
	}
	register := func(fields map[string]any) *answer {
		return x.do("POST", "/oauth2/register", bearer(registrationToken), jsonBody(toJSON(fields)))
	}
	uris := []string{"https://dyn.test/cb"}
	greedy := register(map[string]any{
		"client_id": "web1", "client_secret": "chosen", "redirect_uris": uris, "first_party": true, "FIRST_PARTY": true, "scope": "openid email latchkey:admin latchkey:api latchkey:introspect things:write", "dynamically_registered": false,
		"access_ttl": 86400, "refresh_ttl": 315360000, "session_max_age": 315360000, "resources": []string{"https://api.test"}, "providers": []string{"local"}, "allowed_origins": []string{"https://evil.test"},
		"read_only": true, "secret_hash": "x", "SecretHash": broker.HashClientSecret("chosen"), "created_at": "2000-01-01T00:00:00Z", "unknown": map[string]any{"a": 1}, "client_name": "Latchkey <b>",
	}).want(201)
	id := greedy.text("client_id")
	c, err := x.Store.ClientByID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if id == "web1" || len(id) < 12 || greedy.text("client_secret") == "chosen" || c.FirstParty || !c.Registered || c.ReadOnly || c.Scope != "openid email" || c.AccessTTL+c.RefreshTTL+c.SessionMaxAge != 0 ||
		len(c.Resources)+len(c.Providers)+len(c.AllowedOrigins) != 0 || c.SecretHash != broker.HashClientSecret(greedy.text("client_secret")) {
		t.Errorf("%+v", c)
	}
	for _, scope := range []string{"latchkey:admin", "latchkey:api latchkey:introspect"} {
		if a := register(map[string]any{"redirect_uris": uris, "scope": scope}); a.Status == 201 && strings.Contains(a.text("scope"), "latchkey") {
			t.Errorf("scope %s: %s", scope, a.Body)
		}
	}
	for what, fields := range map[string]map[string]any{
		"client_credentials": {"grant_types": []string{"client_credentials"}}, "exchange": {"redirect_uris": uris, "grant_types": []string{"authorization_code", broker.GrantTokenExchange}}, "implicit": {"redirect_uris": uris, "response_types": []string{"token"}},
		"password": {"redirect_uris": uris, "grant_types": []string{"password"}}, "HS256": {"redirect_uris": uris, "id_token_signed_response_alg": "HS256"}, "none": {"redirect_uris": uris, "id_token_signed_response_alg": "none"},
		"a page to run": {"redirect_uris": uris, "client_uri": "javascript:alert(1)"}, "a logo": {"redirect_uris": uris, "logo_uri": "data:image/svg+xml,x"}, "a file": {"redirect_uris": uris, "jwks_uri": "file:///etc/passwd"},
		"a private key": {"redirect_uris": uris, "jwks": map[string]any{"keys": []any{map[string]any{"kty": "oct", "k": "AAAA"}}}}, "another way in": {"redirect_uris": uris, "token_endpoint_auth_method": "tls_client_auth"},
		"51 URIs": {"redirect_uris": strings.Fields(strings.Repeat("https://dyn.test/cb ", 51))}, "a user in a URL": {"redirect_uris": uris, "backchannel_logout_uri": "https://a@b.test/"},
	} {
		if a := register(fields); a.Status != 400 || a.text("error") != "invalid_client_metadata" && a.text("error") != "invalid_redirect_uri" {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	// It asks for consent, even where it is not remembered, and gets no scope of ours.
	b := x.loggedIn("alice")
	page := b.authorize(request(id, uris[0], "scope", "openid email latchkey:admin latchkey:api")).want(200)
	if strings.Contains(page.Body, "Latchkey <b>") || strings.Contains(page.Body, "administrate") || !strings.Contains(page.Body, "dyn.test") {
		t.Errorf("consent: %s", page.Body)
	}
	if q := b.authorize(request(id, uris[0], "prompt", "none")).sentTo(uris[0]); q.Get("error") != "consent_required" {
		t.Errorf("silently: %v", q)
	}
	code := b.post("/oauth2/consent", "id", hidden(page, "id"), "decision", "allow").sentTo(uris[0]).Get("code")
	g := x.callToken([]string{"grant_type", "authorization_code", "code", code, "redirect_uri", uris[0], "code_verifier", verifier}, basic(id, greedy.text("client_secret"))).granted()
	if scope := claimsOf(t, g.access)["scope"]; scope != "openid email" {
		t.Errorf("scope %v", scope)
	}
	x.me(g.access).bearerError(403, "insufficient_scope")
	if strings.Contains(x.log.String(), registrationToken) || strings.Contains(x.log.String(), greedy.text("client_secret")) {
		t.Error("a secret is in the log")
	}
}

// X03: an address registers so many clients, and guesses so often at the token for it;
// neither holds up its neighbours, or whoever has the token.
func TestX03RegistrationsOfAnAddressAreBounded(t *testing.T) {
	x := newProvider(t, setup{broker: func(c *broker.Config) {
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.RegistrationToken, c.Limiter = registrationToken, limiter
		c.Limits = broker.Limits{Failures: broker.Quota{Max: 5, Window: 10 * time.Minute}, Registrations: broker.Quota{Max: 3, Window: 10 * time.Minute}}
	}})
	before := len(x.clients())
	register := func(address, token, body string) *answer {
		return x.do("POST", "/oauth2/register", bearer(token), from(address), jsonBody(body))
	}
	const flood, fine = "203.0.113.5", `{"redirect_uris":["https://dyn.test/cb"]}`
	deep, huge := strings.Repeat("[", 60_000), `{"client_name":"`+strings.Repeat("x", 1<<20)+`"}`
	if a := register(flood, "a huge guess", huge); a.Status != 413 {
		t.Errorf("it is read: %d %s", a.Status, a.Body)
	}
	for n, body := range []string{fine, "{", deep, "", "\x00"} {
		if a := register(flood, fmt.Sprint("guess ", n), body); a.Status != 401 || !strings.Contains(a.Header.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("guess %d: %d %s", n, a.Status, a.Body)
		}
	}
	a := register(flood, "one more", fine)
	if a.Status != 429 || a.Header.Get("Retry-After") != "120" || a.Header.Get("Latchkey-Code") != string(broker.RateLimited) {
		t.Errorf("one guess more: %d %v", a.Status, a.Header)
	}
	if n := strings.Count(x.log.String(), "Wrong registration token from "+flood); n != 5 {
		t.Errorf("%d lines in the log", n)
	}
	for what, body := range map[string]string{"half of it": `{"redirect_uris":`, "huge": huge, "deep": deep, "no text": "\x00", "a list": "[]", "nothing": ""} {
		if a := register("203.0.113.6", registrationToken, body); a.Status != 400 && a.Status != 413 {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	for range 3 {
		register(flood, registrationToken, fine).want(201)
	}
	if a := register(flood, registrationToken, fine); a.Status != 429 || a.Header.Get("Retry-After") == "" || a.text("error") != "temporarily_unavailable" {
		t.Errorf("one client more: %d %v %s", a.Status, a.Header, a.Body)
	}
	register("203.0.113.7", registrationToken, fine).want(201)
	if n := len(x.clients()) - before; n != 4 {
		t.Errorf("%d clients", n)
	}
	x.refresh(x.login("alice", from(flood)).refresh, from(flood)).pair()
	x.Clock.Advance(5 * time.Minute)
	register(flood, registrationToken, fine).want(201)
}
