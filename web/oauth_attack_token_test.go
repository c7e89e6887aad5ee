package web_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// powerful is a public web client that may do everything; its tokens are taken
// by every route, so that nothing but the token's own faults can refuse them.
func powerful(c *broker.Config) {
	p, err := broker.CheckClient(broker.Client{
		ID: "power", RedirectURIs: []string{powerURI}, FirstParty: true, TokenEndpointAuthMethod: broker.AuthNone,
		Scope: "openid profile email groups latchkey:api latchkey:admin", Resources: []string{"https://api.test", "https://other.test"},
		GrantTypes: []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantTokenExchange, broker.GrantDeviceCode},
	})
	if err != nil {
		panic(err)
	}
	c.Clients = append(c.Clients, p)
}

const (
	powerURI   = "https://power.test/cb"
	powerScope = "openid profile latchkey:api latchkey:admin"
)

// power logs somebody in at that client.
func (x *site) power(name string, differ ...string) granted {
	x.t.Helper()
	b := x.loggedIn(name)
	return x.redeem("power", powerURI, x.codeFor(b, "power", powerURI, append([]string{"scope", powerScope}, differ...)...)).granted()
}

// forger holds the key that signs access tokens at a site, and its own.
type forger struct {
	t      testing.TB
	kid    string
	key    *ecdsa.PrivateKey
	public []byte // SPKI
	own    *ecdsa.PrivateKey
}

func newForger(x *site) *forger {
	f := &forger{t: x.t}
	for _, k := range x.Broker.KeyRing().Keys() {
		if k.Algorithm != "ES256" {
			continue
		}
		raw, err := k.Private()
		if err != nil {
			x.t.Fatal(err)
		}
		key, err := x509.ParsePKCS8PrivateKey(raw)
		if err != nil {
			x.t.Fatal(err)
		}
		f.kid, f.key = k.ID, key.(*ecdsa.PrivateKey)
	}
	var err error
	if f.public, err = x509.MarshalPKIXPublicKey(f.key.Public()); err != nil {
		x.t.Fatal(err)
	}
	if f.own, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		x.t.Fatal(err)
	}
	return f
}

// sign signs claims under a header; nil leaves a member out.
func (f *forger) sign(method jwt.SigningMethod, key any, claims map[string]any, head ...any) string {
	f.t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	token.Header = map[string]any{"alg": method.Alg(), "typ": "at+jwt", "kid": f.kid}
	for i := 0; i+1 < len(head); i += 2 {
		if token.Header[head[i].(string)] = head[i+1]; head[i+1] == nil {
			delete(token.Header, head[i].(string))
		}
	}
	raw, err := token.SignedString(key)
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

func segment(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// nowhere expects that a token opens no door: it is refused as a token at each
// route, and as a grant at the token endpoint.
func (x *site) nowhere(what, token string) {
	x.t.Helper()
	for _, target := range []struct{ method, path string }{
		{"GET", "/api/me"}, {"GET", "/oauth2/userinfo"}, {"POST", "/oauth2/userinfo"}, {"POST", "/api/authorize"}, {"GET", "/api/clients"}, {"DELETE", "/api/clients/x"},
	} {
		a := x.do(target.method, target.path, bearer(token))
		if a.Status != 401 || !strings.Contains(a.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			x.t.Errorf("%s: %s: %d %q %s", what, a.request, a.Status, a.Header.Get("WWW-Authenticate"), a.Body)
		}
	}
	if a := x.do("POST", "/oauth2/introspect", form("token", token), basic("api", webSecret)); a.Status != 200 || strings.TrimSpace(a.Body) != `{"active":false}` {
		x.t.Errorf("%s: introspection %d %s", what, a.Status, a.Body)
	}
	if a := x.refresh(token); a.Status != 401 {
		x.t.Errorf("%s: refresh %d %s", what, a.Status, a.Body)
	}
	x.refreshAt("power", token).oauthError(400, "invalid_grant")
	if a := x.exchange("power", token, broker.TokenTypeAccess, "audience", "https://api.test"); a.Status != 400 || a.text("error") != "invalid_grant" {
		x.t.Errorf("%s: exchange %d %s", what, a.Status, a.Body)
	}
	x.do("POST", "/oauth2/revoke", form("token", token, "client_id", "power")).want(200)
}

// T01: unsigned, signed by another key, signed with what everybody knows.
func TestT01UnsignedOrReKeyed(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	g, f := x.power("root"), newForger(x)
	claims := claimsOf(t, g.access)
	parts := strings.Split(g.access, ".")
	jwk, err := json.Marshal(x.Broker.KeyRing().PublicKeys(f.kid)[0])
	if err != nil {
		t.Fatal(err)
	}
	forged := map[string]string{
		"64 zero bytes": parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), "no signature": parts[0] + "." + parts[1] + ".",
		"two parts": parts[0] + "." + parts[1], "another key": f.sign(jwt.SigningMethodES256, f.own, claims), "another key, no kid": f.sign(jwt.SigningMethodES256, f.own, claims, "kid", nil),
		"JSON form": `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
	}
	for _, alg := range []string{"none", "None", "nOnE", "", "NONE "} {
		for _, typ := range []string{"at+jwt", "rt+jwt", "JWT"} {
			forged["alg "+alg+" typ "+typ] = segment(toJSON(map[string]any{"alg": alg, "typ": typ, "kid": f.kid})) + "." + parts[1] + "."
			forged["alg "+alg+" with the signature, typ "+typ] = segment(toJSON(map[string]any{"alg": alg, "typ": typ, "kid": f.kid})) + "." + parts[1] + "." + parts[2]
		}
	}
	x962, err := f.key.PublicKey.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	for how, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: f.public}), "DER": f.public, "JWK": jwk, "JWKS": []byte(x.do("GET", "/.well-known/jwks.json").Body), "point": x962.Bytes(),
		"kid": []byte(f.kid), "empty": {}, "client secret": []byte(webSecret),
	} {
		if len(secret) == 0 {
			secret = []byte{0}
		}
		forged["HS256 with "+how] = f.sign(jwt.SigningMethodHS256, secret, claims)
	}
	for what, token := range forged {
		x.nowhere(what, token)
	}
	// The refresh token has no key of its own that could be known.
	rt := strings.Split(g.refresh, ".")
	for what, token := range map[string]string{
		"unsigned": segment(`{"alg":"none","typ":"rt+jwt"}`) + "." + rt[1] + ".", "by the ES256 key": f.sign(jwt.SigningMethodES256, f.key, claimsOf(t, g.refresh), "typ", "rt+jwt", "kid", headerOf(t, g.refresh)["kid"]),
		"HS256 with the kid": f.sign(jwt.SigningMethodHS256, []byte(headerOf(t, g.refresh)["kid"].(string)), claimsOf(t, g.refresh), "typ", "rt+jwt", "kid", headerOf(t, g.refresh)["kid"]),
		"by the root secret": f.sign(jwt.SigningMethodHS256, []byte(harness.Secret), claimsOf(t, g.refresh), "typ", "rt+jwt", "kid", headerOf(t, g.refresh)["kid"]),
		"an access token":    g.access, "an ID token": g.id,
	} {
		a := x.refreshAt("power", token)
		if a.oauthError(400, "invalid_grant"); t.Failed() {
			t.Fatal(what)
		}
	}
	// One kind of token is not another, however well it is signed.
	x.anotherKind(g.id)
	x.anotherKind(f.sign(jwt.SigningMethodES256, f.key, claims, "typ", "JWT"))
	x.anotherKind(f.sign(jwt.SigningMethodES256, f.key, claims, "typ", nil))
	x.alive("power", g)
}

func (x *site) anotherKind(token string) {
	x.t.Helper()
	x.nowhere("another kind of token", token)
}

// T02: nothing in a header chooses the key, and crit is not ignored.
func TestT02HeaderDrivenKeyChoice(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	g, f := x.power("root"), newForger(x)
	claims := claimsOf(t, g.access)
	own := map[string]any{"kty": "EC", "crv": "P-256", "x": base64.RawURLEncoding.EncodeToString(f.own.X.FillBytes(make([]byte, 32))), "y": base64.RawURLEncoding.EncodeToString(f.own.Y.FillBytes(make([]byte, 32)))}
	for what, head := range map[string][]any{
		"a path": {"kid", "../../../../dev/null"}, "a file": {"kid", "/etc/hostname"}, "SQL": {"kid", "' OR '1'='1"}, "SQL, union": {"kid", "x' UNION SELECT 'a"}, "a URL": {"kid", "http://evil.test/k"},
		"6 KB": {"kid", strings.Repeat("k", 6<<10)}, "empty": {"kid", ""}, "an array": {"kid", []string{f.kid}}, "a number": {"kid", 1}, "null": {"kid", json.RawMessage("null")},
		"jwk": {"jwk", own}, "jwk without kid": {"jwk", own, "kid", nil}, "jku": {"jku", "http://evil.test/k"}, "x5u": {"x5u", "http://evil.test/k"}, "x5c": {"x5c", []string{base64.StdEncoding.EncodeToString(f.public)}},
	} {
		x.nowhere(what, f.sign(jwt.SigningMethodES256, f.own, claims, head...))
		if head[0] == "kid" { // of the right key the wrong name finds nothing
			x.nowhere(what+", right key", f.sign(jwt.SigningMethodES256, f.key, claims, head...))
		}
	}
	x.me(f.sign(jwt.SigningMethodES256, f.key, claims, "kid", strings.Repeat("k", 64<<10))).want(401)
	for what, head := range map[string][]any{
		"crit": {"crit", []string{"zz"}}, "an empty crit": {"crit", []string{}}, "crit of what is known": {"crit", []string{"exp"}}, "crit that is none": {"crit", 1},
		"b64": {"b64", false, "crit", []string{"b64"}},
	} {
		x.nowhere(what, f.sign(jwt.SigningMethodES256, f.key, claims, head...))
	}
	x.alive("power", g)
}

// T04: a token for one audience is none for another, and staging is not production.
func TestT04AudienceCrossing(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	staging := newProvider(t, setup{broker: powerful})
	foreign := x.power("root", "resource", "https://api.test")
	if aud := claimsOf(t, foreign.access)["aud"]; aud != "https://api.test" {
		t.Fatalf("aud %v", aud)
	}
	f := newForger(x)
	for what, token := range map[string]string{
		"a token for an API": foreign.access, "staging's token": staging.power("root").access,
		"a list with us in it": f.sign(jwt.SigningMethodES256, f.key, with(claimsOf(t, foreign.access), "aud", []string{publicURL, "https://api.test"})),
		"no aud":               f.sign(jwt.SigningMethodES256, f.key, with(claimsOf(t, foreign.access), "aud", nil)),
		"us with a slash":      f.sign(jwt.SigningMethodES256, f.key, with(claimsOf(t, foreign.access), "aud", publicURL+"/")),
		"another issuer":       f.sign(jwt.SigningMethodES256, f.key, with(claimsOf(t, foreign.access), "aud", publicURL, "iss", "https://evil.test")),
	} {
		for _, path := range []string{"/api/me", "/oauth2/userinfo", "/api/clients", "/api/me/sessions"} {
			if a := x.do("GET", path, bearer(token)); a.Status != 401 {
				t.Errorf("%s at %s: %d", what, path, a.Status)
			}
		}
		x.do("GET", "/api/me?token="+token).want(401)
	}
	// The session is alive all the same, and knows its audience for ever.
	x.Clock.Advance(grace)
	if again := x.refreshAt("power", foreign.refresh).granted(); claimsOf(t, again.access)["aud"] != "https://api.test" {
		t.Errorf("aud %v after a refresh", claimsOf(t, again.access)["aud"])
	}
	x.refreshWith("power", foreign.refresh, "resource", "https://other.test").oauthError(400, "invalid_target")
	b := x.loggedIn("root")
	if q := b.authorize(request("web1", cb1, "resource", "https://api.test")).sentTo(cb1); q.Get("error") != "invalid_target" {
		t.Errorf("a resource of another client: %v", q)
	}
}

// with changes members of claims; nil takes one away.
func with(claims map[string]any, pairs ...any) map[string]any {
	claims = maps.Clone(claims)
	for i := 0; i+1 < len(pairs); i += 2 {
		if claims[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
			delete(claims, pairs[i].(string))
		}
	}
	return claims
}

func (x *site) refreshWith(client, token string, pairs ...string) *answer {
	x.t.Helper()
	return x.callToken(append([]string{"grant_type", "refresh_token", "refresh_token", token, "client_id", client}, pairs...))
}

// exchange is the grant of RFC 8693 by a public client.
func (x *site) exchange(client, token, kind string, pairs ...string) *answer {
	x.t.Helper()
	pairs = append([]string{"grant_type", broker.GrantTokenExchange, "subject_token", token, "subject_token_type", kind}, pairs...)
	if credentials := map[string]string{"api": webSecret}[client]; credentials != "" {
		return x.callToken(pairs, basic(client, credentials))
	}
	return x.callToken(append(pairs, "client_id", client))
}

// T05: a minute of leeway, and times that are times.
func TestT05TimeBoundaries(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	g, f := x.power("root"), newForger(x)
	now := x.Clock.Now().Unix()
	for what, c := range map[string]struct {
		pairs  []any
		accept bool
	}{
		"exp 61 s ago": {[]any{"exp", now - 61}, false}, "exp 60 s ago": {[]any{"exp", now - 60}, false}, "exp 59 s ago": {[]any{"exp", now - 59, "iat", now - 100}, true}, "no exp": {[]any{"exp", nil}, false},
		"exp null": {[]any{"exp", json.RawMessage("null")}, false}, "nbf in 61 s": {[]any{"nbf", now + 61}, false}, "nbf in 59 s": {[]any{"nbf", now + 59}, true}, "iat in an hour": {[]any{"iat", now + 3600, "exp", now + 7200}, false},
		"iat in 59 s": {[]any{"iat", now + 59}, true}, "iat in 61 s": {[]any{"iat", now + 61}, false}, "no iat": {[]any{"iat", nil}, false}, "exp 2^53": {[]any{"exp", int64(1) << 53}, false}, "exp -1": {[]any{"exp", -1}, false},
		"exp 0": {[]any{"exp", 0}, false}, "exp a string": {[]any{"exp", "123"}, false}, "exp a good string": {[]any{"exp", "99999999999"}, false}, "exp 1e400": {[]any{"exp", json.RawMessage("1e400")}, false},
		"exp 1e30": {[]any{"exp", json.RawMessage("1e30")}, false}, "exp max": {[]any{"exp", json.RawMessage("9223372036854775807")}, false}, "iat min": {[]any{"iat", json.RawMessage("-9223372036854775808")}, false},
		"nbf a string": {[]any{"nbf", "1"}, false}, "as it is": {nil, true},
	} {
		token := f.sign(jwt.SigningMethodES256, f.key, with(claimsOf(t, g.access), c.pairs...))
		for _, path := range []string{"/api/me", "/oauth2/userinfo", "/api/clients"} {
			if a := x.do("GET", path, bearer(token)); (a.Status == 200) != c.accept || a.Status != 200 && a.Status != 401 {
				t.Errorf("%s at %s: %d %s", what, path, a.Status, a.Header.Get("WWW-Authenticate"))
			}
		}
		if a := x.do("POST", "/oauth2/introspect", form("token", token), basic("api", webSecret)).want(200); strings.Contains(a.Body, `"active":true`) != c.accept {
			t.Errorf("%s: introspection %s", what, a.Body)
		}
	}
	x.Clock.Advance(time.Hour + 59*time.Second)
	x.userinfo(g.access).want(200)
	x.Clock.Advance(time.Second)
	if a := x.userinfo(g.access).bearerError(401, "invalid_token"); !strings.Contains(a.Header.Get("WWW-Authenticate"), "expired") || a.Header.Get("Latchkey-Verdict") != "refresh" {
		t.Errorf("%v", a.Header)
	}
}
