package web_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/storage"
)

// problem expects an error of the admin API (RFC 9457).
func (a *answer) problem(status int, code broker.Code) *answer {
	a.t.Helper()
	a.want(status)
	if a.Header.Get("Content-Type") != "application/problem+json" || a.json()["code"] != string(code) || a.Header.Get("Cache-Control") != "no-store" {
		a.t.Errorf("%s: %v %s, want %s", a.request, a.Header, a.Body, code)
	}
	return a
}

func (x *site) clients() (ids []string) {
	x.t.Helper()
	list, err := x.Store.ListClients(context.Background(), "", 1000)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	return ids
}

// The admin API is for administrators, with a token for it.
func TestClientsAPIOnlyForAdministrators(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	x.User(t, "guest", broker.RoleGuest)
	x.User(t, "admin", broker.RoleAdmin)
	root, narrow := x.power("root"), x.refreshWith("power", x.power("root").refresh, "scope", "openid latchkey:api").granted()
	web1, _ := x.clientLogin("web1", cb1)
	page := x.loggedIn("root")
	calls := []struct{ method, path, body string }{
		{"GET", "/api/clients", ""}, {"GET", "/api/clients/web1", ""}, {"POST", "/api/clients", `{"client_id":"evil","redirect_uris":["https://evil.test/cb"],"first_party":true}`},
		{"PUT", "/api/clients/web1", `{"redirect_uris":["https://evil.test/cb"]}`}, {"DELETE", "/api/clients/web1", ""}, {"POST", "/api/clients/web1/secret", ""},
	}
	for _, c := range calls {
		for what, try := range map[string]struct {
			status int
			with   option
		}{
			"nobody": {401, func(*http.Request) {}}, "alice": {403, bearer(x.login("alice").access)}, "a guest": {403, bearer(x.login("guest").access)}, "alice with the scope": {403, bearer(x.power("alice").access)},
			"root without the scope": {403, bearer(narrow.access)}, "a client without scopes": {403, bearer(web1.access)}, "root's cookie": {401, cookie("__Host-latchkey_session", page.jar["__Host-latchkey_session"])},
			"root's refresh cookie": {401, cookie("refresh_token", page.jar["refresh_token"])}, "a refresh token": {401, bearer(root.refresh)}, "an ID token": {401, bearer(root.id)}, "Basic of a client": {401, basic("web1", webSecret)},
			"for another audience": {401, bearer(x.exchange("power", root.access, broker.TokenTypeAccess, "audience", "https://api.test").granted().access)},
		} {
			a := x.do(c.method, c.path, try.with, jsonBody(c.body))
			if a.Status != try.status || a.Header.Get("Cache-Control") != "no-store" || strings.Contains(a.Body, "redirect_uris") {
				t.Errorf("%s %s by %s: %d %s, want %d", c.method, c.path, what, a.Status, a.Body, try.status)
			}
			if what == "root without the scope" || what == "a client without scopes" {
				a.bearerError(403, "insufficient_scope")
			}
		}
	}
	// /api/me wants the other scope, and says so.
	for _, path := range []string{"/api/me", "/api/me/sessions"} {
		x.do("GET", path, bearer(web1.access)).bearerError(403, "insufficient_scope")
		x.do("GET", path+"?token="+web1.access).want(401)
		x.do("GET", path, bearer(narrow.access)).want(200)
		x.do("GET", path+"?token="+narrow.access).want(401) // T15: the query is for the JSON contract's own client
	}
	x.do("PATCH", "/api/me/password", bearer(web1.access), jsonBody(`{"password":"password of alice","newPassword":"another password"}`)).bearerError(403, "insufficient_scope")
	x.do("DELETE", "/api/me/sessions/"+web1.session, bearer(web1.access)).bearerError(403, "insufficient_scope")
	if ids := x.clients(); len(ids) != 0 {
		t.Errorf("clients %v", ids)
	}
	x.alive("web1", web1)
	for what, token := range map[string]string{"root's app": x.login("root").access, "an administrator's": x.login("admin").access, "a client with the scope": root.access} {
		if a := x.do("GET", "/api/clients", bearer(token)); a.Status != 200 || strings.Contains(a.Body, webSecret) || strings.Contains(a.Body, broker.HashClientSecret(webSecret)) {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
}

// A token that an app could have made itself is no administrator's.
func TestClientsAPIRefusesHS256(t *testing.T) {
	const shared = "a secret that is shared with an app, long enough"
	x := newProvider(t, setup{broker: func(c *broker.Config) { powerful(c); c.Algorithm, c.HS256Secret = "HS256", []byte(shared) }})
	for what, token := range map[string]string{"the app": x.login("root").access, "a client": x.power("root").access} {
		if headerOf(t, token)["alg"] != "HS256" {
			t.Fatalf("alg %v", headerOf(t, token)["alg"])
		}
		x.me(token).want(200)
		for _, path := range []string{"/api/clients", "/api/clients/web1"} {
			if a := x.do("GET", path, bearer(token)); a.Status != 403 {
				t.Errorf("%s at %s: %d", what, path, a.Status)
			}
		}
		x.do("POST", "/api/clients", bearer(token), jsonBody(`{"redirect_uris":["https://evil.test/cb"]}`)).want(403)
		x.do("POST", "/api/api-keys", bearer(token), jsonBody(`{"name":"x"}`)).want(403)
	}
	if keys := x.do("GET", "/.well-known/jwks.json").want(200).Body; strings.Contains(keys, "HS256") || strings.Contains(keys, `"oct"`) || strings.Contains(keys, `"k":`) {
		t.Errorf("the shared key is published: %s", keys)
	}
	// ID tokens are never signed with it.
	if g, _ := x.clientLogin("web1", cb1); headerOf(t, g.id)["alg"] != "RS256" {
		t.Errorf("ID token %v", headerOf(t, g.id))
	}
}

// An administrator's client: its secret is shown once, and no field that is
// ours can be set from outside.
func TestClientsAPISecretsAndMassAssignment(t *testing.T) {
	x := newProvider(t, setup{})
	root := bearer(x.login("root").access)
	made := x.do("POST", "/api/clients", root, jsonBody(`{"client_id":"new1","redirect_uris":["https://new1.test/cb"]}`)).want(201)
	secret := made.text("client_secret")
	hash := broker.HashClientSecret(secret)
	quiet := func(what string, a *answer) *answer {
		t.Helper()
		for _, s := range []string{secret, hash, "client_secret\"", "secret_hash", "SecretHash"} {
			if strings.Contains(a.Body, s) {
				t.Errorf("%s shows %s: %s", what, s, a.Body)
			}
		}
		return a
	}
	quiet("show", x.do("GET", "/api/clients/new1", root).want(200))
	quiet("list", x.do("GET", "/api/clients", root).want(200))
	quiet("change", x.do("PUT", "/api/clients/new1", root, jsonBody(`{"redirect_uris":["https://new1.test/cb2"],"dynamically_registered":true}`)).want(200))
	x.do("POST", "/oauth2/introspect", form("token", "x"), basic("new1", secret)).want(200)
	second := x.do("POST", "/api/clients/new1/secret", root).want(200).text("client_secret")
	x.do("POST", "/oauth2/introspect", form("token", "x"), basic("new1", secret)).oauthError(401, "invalid_client")
	x.do("POST", "/oauth2/introspect", form("token", "x"), basic("new1", second)).want(200)
	quiet("show again", x.do("GET", "/api/clients/new1", root).want(200))

	before, err := x.Store.ClientByID(t.Context(), "new1")
	if err != nil || before.Registered {
		t.Fatalf("%+v %v", before, err)
	}
	for _, field := range []string{
		`"client_secret":"mine"`, `"SecretHash":"x"`, `"secret_hash":"x"`, `"read_only":true`, `"ReadOnly":true`, `"CreatedAt":"2000-01-01T00:00:00Z"`, `"client_id_issued_at":1`, `"client_id":"other"`,
		`"Registered":true`, `"role":"admin"`, `"access_ttl":86401`, `"refresh_ttl":-1`, `"session_max_age":315360001`, `"access_ttl":"1"`, `"scope":["openid"]`, `"grant_types":["password"]`, `"token_endpoint_auth_method":"none"`,
	} {
		for method, path := range map[string]string{"POST": "/api/clients", "PUT": "/api/clients/new1"} {
			if method == "POST" && (strings.Contains(field, "client_id\"") || strings.Contains(field, "none")) {
				continue // which is its right
			}
			x.do(method, path, root, jsonBody(`{"redirect_uris":["https://new1.test/cb2"],`+field+`}`)).problem(400, broker.InvalidClientMetadata)
		}
	}
	for what, text := range map[string]string{"two objects": `{"redirect_uris":["https://x.test/cb"]}{}`, "a list": `[]`, "null": `null`, "nothing": ``, "broken": `{`} {
		if a := x.do("POST", "/api/clients", root, jsonBody(text)); a.Status != 400 {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	x.do("POST", "/api/clients", root, body("text/plain", `{"redirect_uris":["https://x.test/cb"]}`)).problem(400, broker.InvalidRequest)
	after, err := x.Store.ClientByID(t.Context(), "new1")
	if err != nil || fmt.Sprint(after) != fmt.Sprint(before) || len(x.clients()) != 1 {
		t.Errorf("%+v %v, clients %v", after, err, x.clients())
	}
	for _, s := range []string{secret, second, hash} {
		if strings.Contains(x.log.String(), s) {
			t.Error("a client's secret is in the log")
		}
	}
	// Its end is the end of its sessions.
	g := x.redeemAs("new1", second, "https://new1.test/cb2")
	x.do("DELETE", "/api/clients/new1", root).want(204)
	x.do("GET", "/oauth2/userinfo", bearer(g.access)).want(401)
	x.callToken([]string{"grant_type", "refresh_token", "refresh_token", g.refresh}, basic("new1", second)).oauthError(401, "invalid_client")
	if x.endCause(g.session) != broker.ClientRemoved {
		t.Errorf("cause %s", x.endCause(g.session))
	}
}

// redeemAs logs alice in, with her consent, at a client that is in the database.
func (x *site) redeemAs(client, secret, uri string) granted {
	x.t.Helper()
	b := x.loggedIn("alice")
	page := b.authorize(request(client, uri)).want(200)
	code := b.post("/oauth2/consent", "id", hidden(page, "id"), "decision", "allow").sentTo(uri).Get("code")
	return x.callToken([]string{"grant_type", "authorization_code", "code", code, "redirect_uri", uri, "code_verifier", verifier}, basic(client, secret)).granted()
}

// What is built in or configured is not changed here.
func TestClientsAPIReadOnly(t *testing.T) {
	x := newProvider(t, setup{})
	root := bearer(x.login("root").access)
	for _, id := range []string{"web1", "api", broker.CLIClientID, broker.AppClientID} {
		x.do("PUT", "/api/clients/"+id, root, jsonBody(`{"redirect_uris":["https://evil.test/cb"]}`)).problem(409, broker.ReadOnlyClient)
		x.do("DELETE", "/api/clients/"+id, root).problem(409, broker.ReadOnlyClient)
		x.do("POST", "/api/clients/"+id+"/secret", root).problem(409, broker.ReadOnlyClient)
		x.do("POST", "/api/clients", root, jsonBody(`{"client_id":"`+id+`","redirect_uris":["https://evil.test/cb"]}`)).problem(409, broker.ClientExists)
	}
	x.do("GET", "/api/clients/"+broker.AppClientID, root).problem(404, broker.NotFound)
	for _, id := range []string{"nobody", "%00", "..", "%2e%2e%2fweb1", "' OR '1'='1", "%25"} {
		a := x.do("DELETE", "/api/clients/"+strings.ReplaceAll(strings.ReplaceAll(id, " ", "%20"), "'", "%27"), root)
		if a.Status != 404 && a.Status != 400 {
			t.Errorf("DELETE %s: %d %s", id, a.Status, a.Body)
		}
	}
	if ids := x.clients(); len(ids) != 0 {
		t.Errorf("clients %v", ids)
	}
	g, _ := x.clientLogin("web1", cb1)
	x.alive("web1", g)
}

// The JSON API's client has no face at /oauth2.
func TestAppClientIsUnknownToOAuth(t *testing.T) {
	idp := startIdP(t)
	x := newProvider(t, setup{idp: idp, broker: func(c *broker.Config) {
		c.Providers[0].IdP = oidc.New(oidc.Config{Issuer: idp.Issuer(), ClientID: "latchkey", Cache: c.Store.(*storage.Store), Now: c.Now, ExchangeAudiences: []string{"sdk-app"}})
	}})
	app, b := x.login("alice"), x.loggedIn("alice")
	for _, uri := range []string{"audiobookshelf://oauth", "http://127.0.0.1/callback", publicURL + "/", ""} {
		b.send("GET", "/oauth2/authorize?"+request(broker.AppClientID, uri).Encode()).staysHere(uri, broker.ClientUnknown)
	}
	b.send("GET", "/oauth2/authorize?"+request("nobody", cb1).Encode()).staysHere("nobody", broker.ClientUnknown)
	for _, pairs := range [][]string{
		{"grant_type", "refresh_token", "refresh_token", app.refresh}, {"grant_type", "authorization_code", "code", "x"}, {"grant_type", "client_credentials"}, {"grant_type", broker.GrantDeviceCode, "device_code", "x"},
		{"grant_type", broker.GrantTokenExchange, "subject_token", sdk(t, idp, "", nil), "subject_token_type", broker.TokenTypeID}, {"grant_type", broker.GrantTokenExchange, "subject_token", app.access, "subject_token_type", broker.TokenTypeAccess, "audience", publicURL},
	} {
		x.callToken(append(pairs, "client_id", broker.AppClientID)).oauthError(401, "invalid_client")
		x.callToken(pairs, basic(broker.AppClientID, "")).oauthError(401, "invalid_client")
		x.callToken(append(pairs, "client_id", "nobody")).oauthError(401, "invalid_client")
	}
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke", "/oauth2/par", "/oauth2/device_authorization"} {
		x.do("POST", path, form("client_id", broker.AppClientID, "token", app.refresh, "redirect_uri", "audiobookshelf://oauth")).oauthError(401, "invalid_client")
	}
	b.send("GET", "/oauth2/logout?client_id="+broker.AppClientID).staysHere("logout", broker.ClientUnknown)
	x.refresh(app.refresh).pair()
}

// What an administrator takes from a client is gone from its next tokens, whose
// sessions go on; and what is given to it is given to new sessions alone.
func TestScopeTakenFromAClient(t *testing.T) {
	x := newProvider(t, setup{})
	root := bearer(x.login("root").access)
	put := func(scope string) {
		t.Helper()
		x.do("PUT", "/api/clients/tool", root, jsonBody(toJSON(map[string]any{
			"redirect_uris": []string{powerURI}, "first_party": true, "token_endpoint_auth_method": "none", "scope": scope,
		}))).want(200)
		x.Clock.Advance(grace + time.Minute) // also until the change is known
	}
	x.do("POST", "/api/clients", root, jsonBody(`{"client_id":"tool","redirect_uris":["https://power.test/cb"],"first_party":true,"token_endpoint_auth_method":"none","scope":"openid email latchkey:api"}`)).want(201)
	g := x.redeem("tool", powerURI, x.codeFor(x.loggedIn("alice"), "tool", powerURI, "scope", "openid email latchkey:api")).granted()
	x.me(g.access).want(200)
	put("openid email")
	again := x.refreshWith("tool", g.refresh).granted()
	if claimsOf(t, again.access)["scope"] != "openid email" || again.answer.text("scope") != "openid email" {
		t.Errorf("scope %v", claimsOf(t, again.access)["scope"])
	}
	x.me(again.access).bearerError(403, "insufficient_scope")
	x.refreshWith("tool", again.refresh, "scope", "openid latchkey:api").oauthError(400, "invalid_scope")
	put("openid latchkey:admin")
	if last := x.refreshWith("tool", again.refresh).granted(); claimsOf(t, last.access)["scope"] != "openid" {
		t.Errorf("scope %v", claimsOf(t, last.access)["scope"])
	}
}

// A client that was granted the API for an administrator without a password
// cannot give itself one, and with it everything.
func TestFirstPasswordIsNoClients(t *testing.T) {
	idp := startIdP(t)
	x := newProvider(t, setup{idp: idp, broker: powerful})
	b := x.throughIdP(idp, "anna")
	u, err := x.Broker.FindUser(t.Context(), "anna")
	if err != nil {
		t.Fatal(err)
	}
	admin := broker.RoleAdmin
	if _, err := x.Broker.UpdateUser(t.Context(), u.ID, broker.UserChange{Role: &admin}); err != nil {
		t.Fatal(err)
	}
	g := x.redeem("power", powerURI, x.codeFor(b, "power", powerURI, "scope", "openid latchkey:api")).granted()
	x.me(g.access).want(200)
	x.do("GET", "/api/clients", bearer(g.access)).want(403)
	for _, text := range []string{`{"password":null,"newPassword":"a first password"}`, `{"password":"","newPassword":"a first password"}`} {
		x.do("PATCH", "/api/me/password", bearer(g.access), jsonBody(text)).want(400)
	}
	x.sendLogin("anna", "a first password", returnTokens).want(401)
	x.alive("power", g)
}
