package web_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-id/latchkey/broker"
)

// narrower expects a token of the same session that is no more than the one it
// was made of.
func (a *answer) narrower(of granted, audience, scope string) map[string]any {
	a.t.Helper()
	g := a.granted()
	was, is := claimsOf(a.t, of.access), claimsOf(a.t, g.access)
	if g.refresh != "" || g.id != "" || is["aud"] != audience || is["scope"] != scope || is["sid"] != was["sid"] || is["sub"] != was["sub"] || is["client_id"] != was["client_id"] ||
		is["exp"].(float64) > was["exp"].(float64) || toJSON(is["cnf"]) != toJSON(was["cnf"]) || is["auth_time"] != was["auth_time"] {
		a.t.Errorf("not narrower: %s\nof %v\nis %v", a.Body, was, is)
	}
	if int64(is["exp"].(float64))-int64(is["iat"].(float64)) != int64(a.json()["expires_in"].(float64)) {
		a.t.Errorf("expires_in %v: %v", a.json()["expires_in"], is)
	}
	return is
}

// An access token becomes one for another audience: the same session, never
// wider, never longer, never unbound, and without a refresh token.
func TestExchangeAccessTokenNeverWider(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	g, rows := x.power("root"), x.rows()
	const api = "https://api.test"
	x.exchange("power", g.access, broker.TokenTypeAccess, "audience", api).narrower(g, api, powerScope)
	x.exchange("power", g.access, broker.TokenTypeJWT, "resource", api, "scope", "openid").narrower(g, api, "openid")
	x.Clock.Advance(50 * time.Minute)
	late := x.exchange("power", g.access, broker.TokenTypeAccess, "audience", api).narrower(g, api, powerScope)
	if late["exp"] != claimsOf(t, g.access)["exp"] {
		t.Errorf("exp %v, of %v", late["exp"], claimsOf(t, g.access)["exp"])
	}
	for _, scope := range []string{"email", "openid email", "groups", powerScope + " things:read", "*"} {
		x.exchange("power", g.access, broker.TokenTypeAccess, "audience", api, "scope", scope).oauthError(400, "invalid_scope")
	}
	small := x.refreshWith("power", g.refresh, "scope", "openid latchkey:api").granted()
	x.exchange("power", small.access, broker.TokenTypeAccess, "audience", api).narrower(small, api, "openid latchkey:api")
	x.exchange("power", small.access, broker.TokenTypeAccess, "audience", api, "scope", "latchkey:admin").oauthError(400, "invalid_scope")
	for _, pairs := range [][]string{{}, {"audience", "https://evil.test"}, {"audience", api + "/"}, {"resource", "https://evil.test"}, {"audience", "web1"}} {
		x.exchange("power", g.access, broker.TokenTypeAccess, pairs...).oauthError(400, "invalid_target")
	}
	x.exchange("power", g.access, broker.TokenTypeAccess, "audience", api, "requested_token_type", broker.TokenTypeRefresh).oauthError(400, "invalid_request")
	other := x.redeem("web1", cb1, x.codeFor(x.loggedIn("root"), "web1", cb1)).granted()
	app := x.login("root")
	own := x.callToken([]string{"grant_type", "client_credentials"}, basic("api", webSecret)).granted()
	for what, token := range map[string]string{"another client's": other.access, "the app's": app.access, "nobody's": own.access, "a refresh token": g.refresh, "an ID token": g.id, "nonsense": "x"} {
		a := x.exchange("power", token, broker.TokenTypeAccess, "audience", api)
		if a.oauthError(400, "invalid_grant"); t.Failed() {
			t.Fatal(what)
		}
		x.exchange("api", token, broker.TokenTypeAccess, "audience", api).oauthError(400, "invalid_grant")
	}
	x.rowsGrewBy(2+2, rows) // two logins of root in a browser, at web1 and in the app
	x.Clock.Advance(10*time.Minute + 30*time.Second)
	x.exchange("power", g.access, broker.TokenTypeAccess, "audience", api).oauthError(400, "invalid_grant").refused(400, broker.TokenExpired, "refresh")
	fresh := x.refreshAt("power", g.refresh).granted()
	x.do("POST", "/oauth2/revoke", form("token", fresh.refresh, "client_id", "power")).want(200)
	x.exchange("power", fresh.access, broker.TokenTypeAccess, "audience", api).oauthError(400, "invalid_grant").refused(400, broker.LoggedOut, "login")
}

func (x *site) rowsGrewBy(most, before int) {
	x.t.Helper()
	if n := x.rows() - before; n > most {
		x.t.Errorf("%d new rows, at most %d are logins", n, most)
	}
}

// Who gets a token that was made for it alone does not make of it, in the name
// of a public client, one for another audience, or for Latchkey itself.
func TestExchangeOfATokenForAnotherAudience(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	const api = "https://api.test"
	g := x.power("root")
	atAPI := x.exchange("power", g.access, broker.TokenTypeAccess, "audience", api).granted()
	asked := x.power("root", "resource", api)
	for what, token := range map[string]string{"exchanged": atAPI.access, "asked for": asked.access} {
		for _, audience := range []string{publicURL, "https://other.test"} {
			a := x.exchange("power", token, broker.TokenTypeAccess, "audience", audience)
			if a.Status == 200 {
				t.Errorf("a token %s for %s becomes one for %v", what, api, claimsOf(t, a.text("access_token"))["aud"])
			} else {
				a.oauthError(400, "invalid_grant")
			}
		}
	}
}

// A bound token stays its key's, and one that is not bound stays so.
func TestExchangeAccessTokenBound(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	p, thief := newProver(x), newProver(x)
	const api = "https://api.test"
	code := []string{"grant_type", "authorization_code", "client_id", "power", "redirect_uri", powerURI, "code_verifier", verifier, "code", x.codeFor(x.loggedIn("root"), "power", powerURI, "scope", powerScope)}
	g := x.callToken(code, p.proven()).granted()
	swap := []string{"grant_type", broker.GrantTokenExchange, "client_id", "power", "subject_token", g.access, "subject_token_type", broker.TokenTypeAccess, "audience", api}
	x.callToken(swap).oauthError(400, "invalid_grant").refused(400, broker.KeyMismatch, "login")
	x.callToken(swap, thief.proven()).oauthError(400, "invalid_grant").refused(400, broker.KeyMismatch, "login")
	x.callToken(swap, p.proven()).narrower(g, api, powerScope)
	free := x.power("root")
	swap[5] = free.access
	if a := x.callToken(swap, thief.proven()); a.narrower(free, api, powerScope)["cnf"] != nil || a.text("token_type") != "Bearer" {
		t.Errorf("bound later: %s", a.Body)
	}
}

// Nobody logs in by client_credentials: no row, no refresh token, no person.
func TestClientCredentialsLeaveNothing(t *testing.T) {
	x := newProvider(t, setup{})
	before := x.rows()
	g := x.callToken([]string{"grant_type", "client_credentials", "scope", "things:read"}, basic("api", webSecret)).granted()
	if _, has := g.answer.at("refresh_token"); has || g.id != "" || g.session != "" || x.rows() != before {
		t.Errorf("%s, %d rows, before %d", g.answer.Body, x.rows(), before)
	}
	if c := claimsOf(t, g.access); c["sub"] != "api" || c["sid"] != nil || c["role"] != nil || c["username"] != nil || c["userId"] != nil || c["auth_time"] != nil || c["scope"] != "things:read" {
		t.Errorf("claims %v", c)
	}
	for _, scope := range []string{"openid", "profile", "email", "groups", "offline_access", broker.ScopeAPI, broker.ScopeAdmin, "things:read openid", "things:none", "things:read  latchkey:admin"} {
		x.callToken([]string{"grant_type", "client_credentials", "scope", scope}, basic("api", webSecret)).oauthError(400, "invalid_scope")
	}
	x.callToken([]string{"grant_type", "client_credentials", "resource", "https://evil.test"}, basic("api", webSecret)).oauthError(400, "invalid_target")
	x.callToken([]string{"grant_type", "client_credentials", "client_id", "spa"}).oauthError(400, "unauthorized_client")
	for _, path := range []string{"/api/me", "/oauth2/userinfo", "/api/clients", "/api/me/sessions"} {
		x.do("GET", path, bearer(g.access)).bearerError(403, "insufficient_scope")
	}
	x.exchange("api", g.access, broker.TokenTypeAccess, "audience", "https://api.test").oauthError(400, "invalid_grant")
	x.do("POST", "/logout?allDevices=1", bearer(g.access)).want(200)
	x.do("POST", "/oauth2/revoke", form("token", g.access), basic("api", webSecret)).want(200) // it cannot be: nothing stands behind it
}

// O22: an assertion is for us alone, by its client's key, once and soon.
func TestO22ClientAssertions(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	database := "sqlite:" + t.TempDir() + "/latchkey.db"
	add := func(c *broker.Config) {
		c.Clients = testClients(t)
		for _, id := range []string{"jwt1", "jwt2"} {
			one, err := broker.CheckClient(broker.Client{ID: id, GrantTypes: []string{broker.GrantClientCredentials}, Scope: "things:read", TokenEndpointAuthMethod: broker.AuthPrivateKeyJWT, JWKS: jwks})
			if err != nil {
				t.Fatal(err)
			}
			c.Clients = append(c.Clients, one)
		}
	}
	x, replica := newProvider(t, setup{database: database, broker: add}), openSite(t, setup{database: database, broker: add})
	f := &forger{t: t, kid: "k", key: key}
	now := x.Clock.Now().Unix()
	honest := func(pairs ...any) map[string]any {
		return with(map[string]any{"iss": "jwt1", "sub": "jwt1", "aud": publicURL, "iat": now, "exp": now + 60, "jti": rand.Text()}, pairs...)
	}
	assertion := func(claims map[string]any, head ...any) string {
		return f.sign(jwt.SigningMethodES256, key, claims, append([]any{"typ", "JWT"}, head...)...)
	}
	call := func(x *site, raw string, more ...string) *answer {
		return x.callToken(append([]string{"grant_type", "client_credentials", "client_assertion_type", broker.AssertionTypeJWT, "client_assertion", raw}, more...))
	}
	good := assertion(honest())
	call(x, good).granted()
	for what, a := range map[string]*answer{
		"replayed": call(x, good), "replayed on another replica": call(replica, good), "aud of another server": call(x, assertion(honest("aud", "https://other.test"))), "aud the token endpoint": call(x, assertion(honest("aud", publicURL+"/oauth2/token"))),
		"an array": call(x, assertion(honest("aud", []string{publicURL}))), "an array of two": call(x, assertion(honest("aud", []string{"https://other.test", publicURL}))), "no aud": call(x, assertion(honest("aud", nil))),
		"aud with a slash": call(x, assertion(honest("aud", publicURL+"/"))), "another sub": call(x, assertion(honest("sub", "jwt2"))), "another iss": call(x, assertion(honest("iss", "jwt2"))), "of web1": call(x, assertion(honest("iss", "web1", "sub", "web1"))),
		"another client_id": call(x, assertion(honest()), "client_id", "jwt2"), "no jti": call(x, assertion(honest("jti", nil))), "no exp": call(x, assertion(honest("exp", nil))), "expired": call(x, assertion(honest("exp", now-1))),
		"for a day": call(x, assertion(honest("exp", now+86400))), "alg none": call(x, unsignedToken(honest())), "HS256 with the JWKS": call(x, f.sign(jwt.SigningMethodHS256, jwks, honest(), "typ", "JWT")),
		"an access token's typ": call(x, assertion(honest(), "typ", "at+jwt")), "crit": call(x, assertion(honest(), "crit", []string{"exp"})), "empty": call(x, ""), "nobody's": call(x, assertion(honest("iss", "nobody", "sub", "nobody"))),
		"the secret's way": x.callToken([]string{"grant_type", "client_credentials"}, basic("jwt1", "")), "no proof": x.callToken([]string{"grant_type", "client_credentials", "client_id", "jwt1"}),
	} {
		if a.Status != 401 || a.text("error") != "invalid_client" {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	call(x, assertion(honest()), "client_secret", "x").oauthError(400, "invalid_request")
	x.callToken([]string{"grant_type", "client_credentials", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "client_assertion", good}).oauthError(400, "invalid_request")
	call(replica, assertion(honest())).granted()
	if log := x.log.String(); strings.Contains(log, good) || strings.Contains(log, "panic") {
		t.Error("an assertion, or a panic, is in the log")
	}
}
