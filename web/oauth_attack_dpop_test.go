package web_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/broker"
)

const tokenURL = publicURL + "/oauth2/token"

// prover is a client's key, and the proofs that it makes (RFC 9449).
type prover struct {
	*site
	key        *ecdsa.PrivateKey
	thumbprint string
}

func newProver(x *site) *prover {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		x.t.Fatal(err)
	}
	print, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		x.t.Fatal(err)
	}
	return &prover{x, key, base64.RawURLEncoding.EncodeToString(print)}
}

// prove is a good proof but for the claims that differ; nil leaves one out.
func (p *prover) prove(method, url string, differ map[string]any) string {
	p.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		p.t.Fatal(err)
	}
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": url, "iat": p.Clock.Now().Unix(), "nonce": p.Broker.DPoPNonce()}
	maps.Copy(claims, differ)
	for name, value := range claims {
		if value == nil {
			delete(claims, name)
		}
	}
	signed, err := signer.Sign([]byte(toJSON(claims)))
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}

func dpop(proofs ...string) option {
	return func(r *http.Request) {
		for _, proof := range proofs {
			r.Header.Add("DPoP", proof)
		}
	}
}

// proven is the option of a good proof for the token endpoint.
func (p *prover) proven() option { return dpop(p.prove("POST", tokenURL, nil)) }

// bound logs alice in at nat1 with this key.
func (p *prover) bound() granted {
	p.t.Helper()
	code := p.codeFor(p.loggedIn("alice"), "nat1", "app.one:/oauth")
	g := p.callToken(codeForm(code), p.proven()).granted()
	if g.answer.text("token_type") != "DPoP" {
		p.t.Errorf("token_type %s", g.answer.Body)
	}
	return g
}

func codeForm(code string) []string {
	return []string{"grant_type", "authorization_code", "client_id", "nat1", "redirect_uri", "app.one:/oauth", "code_verifier", verifier, "code", code}
}

func refreshForm(token string) []string {
	return []string{"grant_type", "refresh_token", "client_id", "nat1", "refresh_token", token}
}

func (p *prover) ask(method, path, token string, differ map[string]any) *answer {
	p.t.Helper()
	sum := sha256.Sum256([]byte(token))
	claims := map[string]any{"ath": base64.RawURLEncoding.EncodeToString(sum[:]), "nonce": nil}
	maps.Copy(claims, differ)
	return p.do(method, path, header("Authorization", "DPoP "+token), dpop(p.prove(method, publicURL+strings.Split(path, "?")[0], claims)))
}

// T14: a session that was made with a key is its key's, for ever, and one that
// was made without stays without.
func TestT14DPoPBoundWhereMade(t *testing.T) {
	x := newProvider(t, setup{})
	p, thief := newProver(x), newProver(x)
	g := p.bound()
	if cnf, _ := claimsOf(t, g.access)["cnf"].(map[string]any); cnf["jkt"] != p.thumbprint {
		t.Errorf("cnf %v", cnf)
	}
	for range 5 {
		x.Clock.Advance(grace + time.Minute)
		x.callToken(refreshForm(g.refresh)).oauthError(400, "invalid_grant").refused(400, broker.KeyMismatch, "login")
		x.callToken(refreshForm(g.refresh), thief.proven()).oauthError(400, "invalid_grant").refused(400, broker.KeyMismatch, "login")
		for range 2 { // the same token for ever, however often
			again := x.callToken(refreshForm(g.refresh), p.proven()).granted()
			if sid, generation, branch := generation(t, again.refresh); sid != g.session || generation != 0 || branch != 0 || again.answer.text("token_type") != "DPoP" {
				t.Errorf("generation %v, branch %v: %s", generation, branch, again.answer.Body)
			}
			if cnf, _ := claimsOf(t, again.access)["cnf"].(map[string]any); cnf["jkt"] != p.thumbprint {
				t.Errorf("unbound by a refresh: %v", claimsOf(t, again.access))
			}
			p.ask("GET", "/oauth2/userinfo", again.access, nil).want(200)
		}
	}
	if x.endCause(g.session) != "" {
		t.Error("the session ended")
	}
	// Not at the JSON API's door either.
	x.refresh(g.refresh).want(401)
	x.refresh(g.refresh, p.proven()).want(401)

	free := x.redeem("nat1", "app.one:/oauth", x.codeFor(x.loggedIn("alice"), "nat1", "app.one:/oauth")).granted()
	for i := range 3 {
		x.Clock.Advance(grace + time.Minute)
		free = x.callToken(refreshForm(free.refresh), p.proven()).granted()
		if free.answer.text("token_type") != "Bearer" || claimsOf(t, free.access)["cnf"] != nil {
			t.Errorf("bound later: %s", free.answer.Body)
		}
		if _, generation, _ := generation(t, free.refresh); generation != float64(i+1) {
			t.Errorf("generation %v", generation)
		}
	}
	x.userinfo(free.access).want(200)
}

// T14: at the token endpoint, a proof is whole or it is none.
func TestT14DPoPBadProofs(t *testing.T) {
	x := newProvider(t, setup{})
	p, other := newProver(x), newProver(x)
	g := p.bound()
	now := x.Clock.Now().Unix()
	good := p.prove("POST", tokenURL, nil)
	used := p.prove("POST", tokenURL, nil)
	x.callToken(refreshForm(g.refresh), dpop(used)).granted()
	part := strings.Split(good, ".")
	head := func(differ map[string]any) string { // the header changed, the signature left
		h := headerOf(t, good)
		maps.Copy(h, differ)
		return segment(toJSON(h)) + "." + part[1] + "." + part[2]
	}
	private := headerOf(t, good)["jwk"].(map[string]any)
	d, err := p.key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	private["d"] = base64.RawURLEncoding.EncodeToString(d)
	for what, proofs := range map[string][]string{
		"htm": {p.prove("GET", tokenURL, nil)}, "htm in lower case": {p.prove("post", tokenURL, nil)}, "no htm": {p.prove("POST", tokenURL, map[string]any{"htm": nil})},
		"htu of another path": {p.prove("POST", publicURL+"/oauth2/par", nil)}, "htu of another host": {p.prove("POST", "https://evil.test/oauth2/token", nil)}, "htu with http": {p.prove("POST", "http://id.example.org/oauth2/token", nil)},
		"htu with a slash": {p.prove("POST", tokenURL+"/", nil)}, "no htu": {p.prove("POST", "", nil)}, "htu with a port": {p.prove("POST", "https://id.example.org:8443/oauth2/token", nil)},
		"htu with dots": {p.prove("POST", publicURL+"/x/../oauth2/token", nil)}, "used before": {used}, "iat an hour ago": {p.prove("POST", tokenURL, map[string]any{"iat": now - 3600})},
		"iat in an hour": {p.prove("POST", tokenURL, map[string]any{"iat": now + 3600})}, "iat 61 s ago": {p.prove("POST", tokenURL, map[string]any{"iat": now - 61})}, "no iat": {p.prove("POST", tokenURL, map[string]any{"iat": nil})},
		"no jti": {p.prove("POST", tokenURL, map[string]any{"jti": nil})}, "an empty jti": {p.prove("POST", tokenURL, map[string]any{"jti": ""})}, "a huge jti": {p.prove("POST", tokenURL, map[string]any{"jti": strings.Repeat("j", 5000)})},
		"two": {good, p.prove("POST", tokenURL, nil)}, "two equal": {good, good}, "two in one": {good + "," + good}, "none": {""}, "nonsense": {"x"}, "unsigned": {head(map[string]any{"alg": "none"})},
		"unsigned, no signature": {segment(`{"alg":"none","typ":"dpop+jwt"}`) + "." + part[1] + "."}, "HS256": {head(map[string]any{"alg": "HS256"})}, "a private key": {head(map[string]any{"jwk": private})},
		"no typ": {head(map[string]any{"typ": "JWT"})}, "another's key": {head(map[string]any{"jwk": headerOf(t, other.prove("POST", tokenURL, nil))["jwk"]})}, "no key": {head(map[string]any{"jwk": nil})},
		"the access token": {g.access}, "the ID token": {g.id}, "20 KB": {strings.Repeat("a", 20_000)},
	} {
		a := x.callToken(refreshForm(g.refresh), dpop(proofs...))
		if a.oauthError(400, "invalid_dpop_proof"); t.Failed() {
			t.Fatal(what)
		}
		if a.Header.Get("DPoP-Nonce") == "" {
			t.Errorf("%s: no DPoP-Nonce", what)
		}
	}
	for what, url := range map[string]string{"a query": tokenURL + "?x=y", "a fragment": tokenURL + "#x", "an upper-case host": "https://ID.EXAMPLE.org/oauth2/token", "the port of the scheme": "HTTPS://id.example.org:443/oauth2/token"} {
		if a := x.callToken(refreshForm(g.refresh), dpop(p.prove("POST", url, nil))); a.Status != 200 {
			t.Errorf("htu with %s: %d %s", what, a.Status, a.Body)
		}
	}
	if x.endCause(g.session) != "" {
		t.Error("the session ended")
	}
}

// T14: the nonce is ours, and of now.
func TestT14DPoPNonce(t *testing.T) {
	x := newProvider(t, setup{})
	p := newProver(x)
	g := p.bound()
	old := x.Broker.DPoPNonce()
	for what, nonce := range map[string]any{
		"none": nil, "empty": "", "a number": "1", "another's": "x." + strings.Repeat("a", 22), "of a step to come": "zzzzz." + old[strings.Index(old, ".")+1:], "cut": old[:len(old)-1], "longer": old + "a", "no tag": strings.Split(old, ".")[0] + ".",
	} {
		a := x.callToken(refreshForm(g.refresh), dpop(p.prove("POST", tokenURL, map[string]any{"nonce": nonce})))
		if a.oauthError(400, "use_dpop_nonce"); a.Header.Get("DPoP-Nonce") != x.Broker.DPoPNonce() {
			t.Errorf("%s: DPoP-Nonce %q", what, a.Header.Get("DPoP-Nonce"))
		}
	}
	x.Clock.Advance(3 * time.Minute)
	a := x.callToken(refreshForm(g.refresh), dpop(p.prove("POST", tokenURL, map[string]any{"nonce": old})))
	if a.granted(); a.Header.Get("DPoP-Nonce") == old {
		t.Error("an old nonce is given out")
	}
	x.Clock.Advance(3 * time.Minute)
	x.callToken(refreshForm(g.refresh), dpop(p.prove("POST", tokenURL, map[string]any{"nonce": old}))).oauthError(400, "use_dpop_nonce")
	// A code is not used up by a call that learns the nonce.
	code := x.codeFor(x.loggedIn("alice"), "nat1", "app.one:/oauth")
	first := x.callToken(codeForm(code), dpop(p.prove("POST", tokenURL, map[string]any{"nonce": nil})))
	first.oauthError(400, "use_dpop_nonce")
	x.callToken(codeForm(code), dpop(p.prove("POST", tokenURL, map[string]any{"nonce": first.Header.Get("DPoP-Nonce")}))).granted()
}

// T14: one proof is one call, on all replicas together.
func TestT14DPoPReplayOnAnotherReplica(t *testing.T) {
	database := "sqlite:" + t.TempDir() + "/latchkey.db"
	one := newProvider(t, setup{database: database})
	two := openSite(t, setup{database: database, broker: func(c *broker.Config) { c.Clients = testClients(t) }})
	p := newProver(one)
	g := p.bound()
	proof := p.prove("POST", tokenURL, nil)
	one.callToken(refreshForm(g.refresh), dpop(proof)).granted()
	two.callToken(refreshForm(g.refresh), dpop(proof)).oauthError(400, "invalid_dpop_proof")
	one.callToken(refreshForm(g.refresh), dpop(proof)).oauthError(400, "invalid_dpop_proof")
	for _, clock := range []func(time.Duration){one.Clock.Advance, two.Clock.Advance} {
		clock(59 * time.Second)
	}
	two.callToken(refreshForm(g.refresh), dpop(proof)).oauthError(400, "invalid_dpop_proof")
	// The nonce of one is good at the other.
	two.callToken(refreshForm(g.refresh), p.proven()).granted()
	proof = p.prove("POST", tokenURL, nil)
	var taken atomic.Int64
	var group sync.WaitGroup
	for i := range 20 {
		x := []*site{one, two}[i%2]
		group.Go(func() {
			if a, err := x.try("POST", "/oauth2/token", form(refreshForm(g.refresh)...), dpop(proof)); err == nil && a.Status == 200 {
				taken.Add(1)
			}
		})
	}
	if group.Wait(); taken.Load() != 1 {
		t.Errorf("one proof was taken %d times", taken.Load())
	}
	// At resources a proof is remembered by each process for itself (RFC 9449
	// section 11.1 leaves it to the server): it is for one token, method and URL.
	sum := sha256.Sum256([]byte(g.access))
	proof = p.prove("GET", publicURL+"/oauth2/userinfo", map[string]any{"ath": base64.RawURLEncoding.EncodeToString(sum[:])})
	ask := func(x *site) *answer {
		return x.do("GET", "/oauth2/userinfo", header("Authorization", "DPoP "+g.access), dpop(proof))
	}
	ask(one).want(200)
	ask(one).want(401)
	ask(two).want(200)
	ask(two).want(401)
}

// T14: at a resource, a bound token needs its proof, in its own scheme.
func TestT14DPoPAtResources(t *testing.T) {
	x := newProvider(t, setup{broker: powerful})
	p, thief := newProver(x), newProver(x)
	code := x.codeFor(x.loggedIn("root"), "power", powerURI, "scope", powerScope)
	form := []string{"grant_type", "authorization_code", "client_id", "power", "redirect_uri", powerURI, "code_verifier", verifier, "code", code}
	g, free := x.callToken(form, p.proven()).granted(), x.power("root")
	for _, path := range []string{"/oauth2/userinfo", "/api/me", "/api/clients", "/api/me/sessions"} {
		p.ask("GET", path, g.access, nil).want(200)
		p.ask("GET", path+"?x=y", g.access, nil).want(200)
		good := func(differ map[string]any) string {
			sum := sha256.Sum256([]byte(g.access))
			claims := map[string]any{"ath": base64.RawURLEncoding.EncodeToString(sum[:])}
			maps.Copy(claims, differ)
			return p.prove("GET", publicURL+path, claims)
		}
		scheme := header("Authorization", "DPoP "+g.access)
		for what, try := range map[string][]option{
			"no proof": {scheme}, "an empty proof": {scheme, dpop("")}, "two": {scheme, dpop(good(nil), good(nil))}, "another's key": {scheme, dpop(thief.prove("GET", publicURL+path, map[string]any{"ath": claimsOf(t, good(nil))["ath"]}))},
			"no ath": {scheme, dpop(good(map[string]any{"ath": nil}))}, "ath of another": {scheme, dpop(good(map[string]any{"ath": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}))}, "htm": {scheme, dpop(good(map[string]any{"htm": "POST"}))},
			"htu": {scheme, dpop(good(map[string]any{"htu": publicURL + "/other"}))}, "iat an hour ago": {scheme, dpop(good(map[string]any{"iat": x.Clock.Now().Unix() - 3600}))}, "an unbound token": {header("Authorization", "DPoP "+free.access), dpop(good(nil))},
		} {
			a := x.do("GET", path, try...)
			if www := a.Header.Get("WWW-Authenticate"); a.Status != 401 || !strings.HasPrefix(www, "DPoP error=") || !strings.Contains(www, "algs=") {
				t.Errorf("%s at %s: %d %q", what, path, a.Status, www)
			}
		}
		for what, a := range map[string]*answer{
			"as Bearer": x.do("GET", path, bearer(g.access)), "as Bearer with its proof": x.do("GET", path, bearer(g.access), dpop(good(nil))), "in the query": x.do("GET", path+"?token="+g.access),
		} {
			if a.Status != 401 || a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s at %s: %d %v", what, path, a.Status, a.Header)
			}
		}
		p.ask("GET", path, g.access, nil).want(200)
	}
	x.userinfo(free.access).want(200)
}

// T14: a code may be bound to a key before it is redeemed, and a client may be
// registered to have no tokens without a proof.
func TestT14DPoPBoundCodesAndClients(t *testing.T) {
	x := newProvider(t, setup{broker: func(c *broker.Config) {
		one, err := broker.CheckClient(broker.Client{
			ID: "strict", RedirectURIs: []string{"app.strict:/cb"}, FirstParty: true, TokenEndpointAuthMethod: broker.AuthNone, DPoPBound: true,
			GrantTypes: []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantDeviceCode, broker.GrantTokenExchange},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Clients = append(c.Clients, one)
	}})
	p, thief := newProver(x), newProver(x)
	b := x.loggedIn("alice")
	pushed := x.do("POST", "/oauth2/par", body("application/x-www-form-urlencoded", request("nat1", "app.one:/oauth").Encode()), dpop(p.prove("POST", publicURL+"/oauth2/par", nil))).want(201)
	byPush := b.open("/oauth2/authorize?client_id=nat1&request_uri=" + pushed.text("request_uri")).sentTo("app.one:/oauth").Get("code")
	x.do("POST", "/oauth2/par", body("application/x-www-form-urlencoded", request("nat1", "app.one:/oauth", "dpop_jkt", thief.thumbprint).Encode()), dpop(p.prove("POST", publicURL+"/oauth2/par", nil))).oauthError(400, "invalid_dpop_proof")
	for _, code := range []string{x.codeFor(b, "nat1", "app.one:/oauth", "dpop_jkt", p.thumbprint), byPush} {
		x.callToken(codeForm(code)).oauthError(400, "invalid_grant")
		x.callToken(codeForm(code), thief.proven()).oauthError(400, "invalid_grant")
		g := x.callToken(codeForm(code), p.proven()).granted()
		x.callToken(refreshForm(g.refresh), p.proven()).granted()
	}
	strict := []string{"grant_type", "authorization_code", "client_id", "strict", "redirect_uri", "app.strict:/cb", "code_verifier", verifier, "code", x.codeFor(b, "strict", "app.strict:/cb")}
	x.callToken(strict).oauthError(400, "invalid_dpop_proof")
	x.callToken(strict, p.proven()).granted()
	device := x.do("POST", "/oauth2/device_authorization", form("client_id", "strict")).want(200).text("device_code")
	x.callToken([]string{"grant_type", broker.GrantDeviceCode, "client_id", "strict", "device_code", device}).oauthError(400, "invalid_dpop_proof")
	x.callToken([]string{"grant_type", broker.GrantTokenExchange, "client_id", "strict", "subject_token", "x", "subject_token_type", broker.TokenTypeID}).oauthError(400, "invalid_dpop_proof")
	own := x.callToken([]string{"grant_type", "client_credentials"}, basic("api", webSecret), p.proven()).granted()
	if cnf, _ := claimsOf(t, own.access)["cnf"].(map[string]any); cnf["jkt"] != p.thumbprint || own.answer.text("token_type") != "DPoP" {
		t.Errorf("client_credentials: %s", own.answer.Body)
	}
}
