package conformance

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// prover makes DPoP proofs (RFC 9449 section 4.2) with one key.
type prover struct {
	key    *ecdsa.PrivateKey
	nonce  string
	change func(header map[jose.HeaderKey]any, claims map[string]any)
}

func newProver() *prover { return &prover{key: makeKey()} }

// with is the same prover with something changed.
func (p *prover) with(change func(header map[jose.HeaderKey]any, claims map[string]any)) *prover {
	return &prover{key: p.key, nonce: p.nonce, change: change}
}

// proof is for one request. access is the token that goes with it.
func (p *prover) proof(method, url, access string) string {
	header := map[jose.HeaderKey]any{"typ": "dpop+jwt", "jwk": embedded(p.key)}
	claims := map[string]any{"jti": random(20), "htm": method, "htu": url, "iat": time.Now().Unix()}
	if access != "" {
		sum := sha256.Sum256([]byte(access))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if p.nonce != "" && access == "" { // the nonce of the authorization server
		claims["nonce"] = p.nonce
	}
	if p.change != nil {
		p.change(header, claims)
	}
	return signed(p.key, header, claims)
}

// embedded is the key in the header of a proof.
func embedded(key *ecdsa.PrivateKey) map[string]any {
	out := publicJWK(key)
	maps.DeleteFunc(out, func(name string, _ any) bool { return name == "kid" || name == "use" })
	return out
}

// privately is a key with its private part.
func privately(key *ecdsa.PrivateKey) map[string]any {
	out := embedded(key)
	d, err := key.Bytes()
	if err != nil {
		panic(err)
	}
	out["d"] = base64.RawURLEncoding.EncodeToString(d)
	return out
}

// resource calls userinfo with a bound token.
func (m *run) resource(scheme, access string, proofs ...string) answer {
	m.Helper()
	header := http.Header{"Authorization": {scheme + " " + access}}
	if proofs != nil {
		header["Dpop"] = proofs
	}
	return m.call(http.MethodGet, m.meta.text("userinfo_endpoint"), header, nil)
}

// bound is a login at a client that sends proofs.
func (m *run) bound(key *prover, c client, differ ...string) login {
	m.Helper()
	l := login{asked: m.ask(m.newBrowser(alice), c, differ...)}
	l.answer = m.redeem(l.asked, key)
	l.id = m.idToken(c, l.hint(), l.access(), l.asked.sent.Get("nonce"))
	a := m.resource("DPoP", l.access(), key.proof(http.MethodGet, m.meta.text("userinfo_endpoint"), l.access()))
	l.person = m.person(a, l.id.text("sub"))
	return l
}

func dpopNegative(m *run) {
	key := newProver()
	l := m.bound(key, byProof)
	target, access := m.meta.text("userinfo_endpoint"), l.access()
	good := func() string { return key.proof(http.MethodGet, target, access) }
	changed := func(change func(header map[jose.HeaderKey]any, claims map[string]any)) string {
		return key.with(change).proof(http.MethodGet, target, access)
	}
	set := func(name string, value any) string {
		return changed(func(_ map[jose.HeaderKey]any, c map[string]any) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		})
	}
	head := func(name jose.HeaderKey, value any) string {
		return changed(func(h map[jose.HeaderKey]any, _ map[string]any) {
			if h[name] = value; value == nil {
				delete(h, name)
			}
		})
	}
	expect := func(what string, accepted bool, a answer) {
		m.Helper()
		switch {
		case accepted && a.status != http.StatusOK:
			m.Errorf("%s: %d %s", what, a.status, a.raw)
		case !accepted && a.status != http.StatusUnauthorized:
			m.Errorf("%s: %d %s", what, a.status, a.raw)
		case !accepted:
			m.challenged(what, a)
		}
	}
	refused := func(what string, proofs ...string) {
		m.Helper()
		expect(what, false, m.resource("DPoP", access, proofs...))
	}
	accepted := func(what string, proofs ...string) {
		m.Helper()
		expect(what, true, m.resource("DPoP", access, proofs...))
	}
	now := time.Now().Unix()

	shouting := http.Header{"Authorization": {"DPoP " + access}, "DPOP": {good()}}
	expect("a header in capitals", true, m.call(http.MethodGet, target, shouting, nil))
	refused("two proofs", good(), good())
	refused("no JWT", good()[:strings.LastIndex(good(), ".")])
	refused("no typ", head("typ", nil))
	refused("no alg", withoutAlg(good()))
	refused("no jwk", head("jwk", nil))
	for _, name := range []string{"jti", "htm", "htu", "iat", "ath"} {
		refused("no "+name, set(name, nil))
	}
	refused("another typ", head("typ", "dpop+jwt+another"))
	refused("alg none", unsecured(good()))
	refused("a signature that is not its own", otherSignature(good(), good()))
	refused("a private key", head("jwk", privately(key.key)))
	refused("another htm", set("htm", "PUT"))
	accepted("htu with query and fragment", set("htu", target+"?a=b#c"))
	query := http.Header{"Authorization": {"DPoP " + access}, "Dpop": {good()}}
	expect("a query that htu does not have", true, m.call(http.MethodGet, target+"?a=b", query, nil))
	refused("another htu", set("htu", target+"another"))
	refused("iat in an hour", set("iat", now+3600))
	refused("iat an hour ago", set("iat", now-3600))
	once := good()
	accepted("a new jti", once)
	refused("the same jti", once)
	refused("another ath", set("ath", base64.RawURLEncoding.EncodeToString(make([]byte, 32))))
	refused("another key", newProver().proof(http.MethodGet, target, access))
	accepted("more members", changed(func(h map[jose.HeaderKey]any, c map[string]any) { h["tx_id"], c["tx_id_key"] = now, now }))
	scheme, rest, _ := strings.Cut(target, ":")
	accepted("a scheme in capitals", set("htu", strings.ToUpper(scheme)+":"+rest))
	refused("no proof")
	expect("a bearer token without proof", false, m.resource("Bearer", access))
	expect("a bearer token with proof", false, m.resource("Bearer", access, good()))
	accepted("all as it should be", good())
}

// challenged checks what a refusal says (RFC 9449 section 7.1, RFC 6750 section 3).
func (m *run) challenged(what string, a answer) {
	m.Helper()
	challenge := a.header.Get("WWW-Authenticate")
	scheme, rest, _ := strings.Cut(challenge, " ")
	if scheme != "DPoP" && scheme != "Bearer" || scheme == "DPoP" && !strings.Contains(rest, "algs=") {
		m.Errorf("%s: WWW-Authenticate: %s", what, challenge)
	}
	if _, said, ok := strings.Cut(rest, `error_description="`); ok {
		if said, _, _ = strings.Cut(said, `"`); said == "" || strings.Contains(said, "session has ended") {
			m.Errorf("%s: WWW-Authenticate: %s", what, challenge)
		}
		m.description(said)
	}
}

func parts(raw string) (header, claims, signature string) {
	header, rest, _ := strings.Cut(raw, ".")
	claims, signature, _ = strings.Cut(rest, ".")
	return header, claims, signature
}

// withoutAlg renames the alg of a proof, which then has none.
func withoutAlg(raw string) string {
	header, claims, signature := parts(raw)
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(text), `"alg"`, `"alg2"`, 1))) + "." + claims + "." + signature
}

// unsecured turns a token into one of alg none, without a signature.
func unsecured(raw string) string {
	header, claims, _ := parts(raw)
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		panic(err)
	}
	for _, algorithm := range signatures {
		text = []byte(strings.Replace(string(text), `"`+string(algorithm)+`"`, `"none"`, 1))
	}
	return base64.RawURLEncoding.EncodeToString(text) + "." + claims + "."
}

func otherSignature(raw, other string) string {
	header, claims, _ := parts(raw)
	_, _, signature := parts(other)
	return header + "." + claims + "." + signature
}
