package tokens_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens"
)

const tokenURL = "https://id.example.org/oauth2/token"

// prover makes proofs, honest and other.
type prover struct {
	signer
	alg string
}

func newProver(t testing.TB, kind string) prover {
	return prover{newSigner(t, kind), algorithmOf[kind]}
}

func (p prover) honest() (head, body object) {
	return object{"typ": "dpop+jwt", "alg": p.alg, "jwk": p.jwk},
		object{"jti": "j", "htm": "POST", "htu": tokenURL, "iat": now.Unix()}
}

func (p prover) thumbprint(t testing.TB) string {
	jwk := jose.JSONWebKey{Key: p.private.Public()}
	print, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(print)
}

func proofRequest() tokens.ProofRequest {
	return tokens.ProofRequest{Method: "POST", URL: tokenURL, Now: now}
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// wantProof parses and compares; reason is a part of the refusal, empty for none.
func wantProof(t *testing.T, name, raw string, want tokens.ProofRequest, reason string) {
	t.Helper()
	p, err := tokens.ParseProof([]string{raw}, want)
	switch {
	case reason == "" && (err != nil || p.Thumbprint == "" || p.ID == ""):
		t.Errorf("%s: %v", name, err)
	case reason != "" && (!errors.Is(err, tokens.ErrProof) || !strings.Contains(err.Error(), reason) || p != tokens.Proof{}):
		t.Errorf("%s: %+v %v, want %q", name, p, err, reason)
	}
}

// Proofs that go-jose makes, of every kind of key.
func TestProofOfAnotherLibrary(t *testing.T) {
	for kind, algorithm := range algorithmOf {
		p := newProver(t, kind)
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: p.private}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := s.Sign(fmt.Appendf(nil, `{"jti":"j","htm":"POST","htu":%q,"iat":%d,"nonce":"n","ath":%q}`, tokenURL, now.Unix(), hashOf("token")))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		want := proofRequest()
		want.AccessToken = "token"
		got, err := tokens.ParseProof([]string{raw}, want)
		if err != nil || got.Thumbprint != p.thumbprint(t) || got.ID != "j" || got.Nonce != "n" || !got.IssuedAt.Equal(now) {
			t.Errorf("%s: %+v %v", kind, got, err)
		}
	}
}

// The proofs of RFC 9449, figures 2 and 12, and the thumbprint of section 6.1.
func TestProofOfTheRFC(t *testing.T) {
	const head = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
	const atToken = head + ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	const atAPI = head + ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	for name, tc := range map[string]struct {
		raw  string
		want tokens.ProofRequest
	}{
		"figure 2":  {atToken, tokens.ProofRequest{Method: "POST", URL: "https://server.example.com/token", Now: time.Unix(1562262616, 0)}},
		"figure 12": {atAPI, tokens.ProofRequest{Method: "GET", URL: "https://resource.example.org/protectedresource", AccessToken: "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU", Now: time.Unix(1562262618, 0)}},
	} {
		p, err := tokens.ParseProof([]string{tc.raw}, tc.want)
		if err != nil || p.Thumbprint != "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
}

func TestProofHeaderCount(t *testing.T) {
	p := newProver(t, "P-256")
	head, body := p.honest()
	good := p.sign(t, p.alg, head, body)
	wantProof(t, "one", good, proofRequest(), "")
	for name, headers := range map[string][]string{
		"none": nil, "two": {good, good}, "empty": {""}, "a list in one": {good + ", " + good}, "one and an empty one": {good, ""},
	} {
		if got, err := tokens.ParseProof(headers, proofRequest()); !errors.Is(err, tokens.ErrProof) || got != (tokens.Proof{}) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

// The key is the client's own, and public, and of a kind that we take.
func TestProofKeyGames(t *testing.T) {
	for kind, algorithm := range algorithmOf {
		p, other := newProver(t, kind), newProver(t, kind)
		head, body := p.honest()
		sign := func(head any) string { return p.sign(t, algorithm, head, body) }
		wantProof(t, "honest", sign(head), proofRequest(), "")
		private := jwkOf(t, p.private)
		for _, member := range []string{"d", "p", "q", "dp", "dq", "qi"} {
			if value, there := private[member]; there {
				wantProof(t, kind+" with "+member, sign(with(head, "jwk", with(p.jwk, member, value))), proofRequest(), "public key")
			}
		}
		for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
			wantProof(t, "an empty "+member, sign(with(head, "jwk", with(p.jwk, member, ""))), proofRequest(), "public key")
		}
		for name, jwk := range map[string]any{
			"none": nil, "null": "null", "text": "x", "a list": []any{p.jwk}, "empty": object{}, "no kty": with(p.jwk, "kty", nil), "an oct key": object{"kty": "oct", "k": "AAAA"},
			"an oct key without k": object{"kty": "oct"}, "of another kind": with(p.jwk, "kty", "XYZ"), "a number": 7,
		} {
			wantProof(t, "jwk "+name, sign(with(head, "jwk", jwk)), proofRequest(), "public key")
		}
		wantProof(t, "another's key", sign(with(head, "jwk", other.jwk)), proofRequest(), "signature")
		wantProof(t, "for encryption", sign(with(head, "jwk", with(p.jwk, "use", "enc"))), proofRequest(), "signature")
		wantProof(t, "of another alg", sign(with(head, "jwk", with(p.jwk, "alg", "PS512"))), proofRequest(), "signature")
		// What stands beside the key is not read: no certificate, no URL, no kid.
		wantProof(t, "decorated", sign(with(head, "jwk", with(p.jwk, "x5c", []string{"nonsense"}, "x5u", "%zz", "key_ops", []string{"verify"}, "ext", true), "kid", "../../dev/null")), proofRequest(), "")
		for _, alg := range append([]string{"PS256"}, spellings...) {
			wantProof(t, kind+" says "+alg, sign(with(head, "alg", alg)), proofRequest(), "signature")
		}
		for _, alg := range tokens.Algorithms {
			if alg != algorithm {
				wantProof(t, kind+" says "+alg, sign(with(head, "alg", alg)), proofRequest(), "signature")
			}
		}
		for how, secret := range publicTexts(t, p.private.Public()) {
			wantProof(t, "HS256 with "+how, hs256(secret, with(head, "alg", "HS256"), body), proofRequest(), "signature")
		}
	}
}

func TestProofKeySizes(t *testing.T) {
	rsaKey := newProver(t, "RSA")
	head, body := rsaKey.honest()
	public := rsaKey.private.Public().(*rsa.PublicKey)
	long := new(big.Int).SetBit(public.N, 4096, 1) // 4097 bits
	for name, n := range map[string]*big.Int{"4097 bits": long, "100 000 bits": new(big.Int).SetBit(public.N, 40_000, 1), "no bits": new(big.Int), "8 bits": big.NewInt(255)} {
		jwk := with(rsaKey.jwk, "n", base64.RawURLEncoding.EncodeToString(n.Bytes()))
		p, err := tokens.ParseProof([]string{rsaKey.sign(t, "RS256", with(head, "jwk", jwk), body)}, proofRequest())
		if !errors.Is(err, tokens.ErrProof) || p != (tokens.Proof{}) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	for name, e := range map[string]string{"e 0": "AA", "e 1": "AQ", "e 2": "Ag", "e of 64 bits": "__________8", "e of 70 bits": "____________"} {
		p, err := tokens.ParseProof([]string{rsaKey.sign(t, "RS256", with(head, "jwk", with(rsaKey.jwk, "e", e)), body)}, proofRequest())
		if !errors.Is(err, tokens.ErrProof) || p != (tokens.Proof{}) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	p384 := newProver(t, "P-384")
	wantProof(t, "P-384", p384.sign(t, "ES384", object{"typ": "dpop+jwt", "alg": "ES384", "jwk": p384.jwk}, body), proofRequest(), "signature")
	p256 := newProver(t, "P-256")
	head, body = p256.honest()
	for name, jwk := range map[string]object{
		"off the curve": with(p256.jwk, "x", p256.jwk["y"]), "short": with(p256.jwk, "x", "AA"), "of another curve": with(p256.jwk, "crv", "P-384"), "no y": with(p256.jwk, "y", nil),
	} {
		wantProof(t, name, p256.sign(t, "ES256", with(head, "jwk", jwk), body), proofRequest(), "public key")
	}
	wantProof(t, "psychic", text(head)+"."+text(body)+"."+segment(strings.Repeat("\x00", 64)), proofRequest(), "signature")
	small := newProver(t, "RSA-1024")
	wantProof(t, "RSA of 1024 bits", small.sign(t, "RS256", object{"typ": "dpop+jwt", "alg": "RS256", "jwk": small.jwk}, body), proofRequest(), "signature")
}

func TestProofHeaderGames(t *testing.T) {
	p := newProver(t, "P-256")
	head, body := p.honest()
	for _, typ := range []any{nil, "", "JWT", "at+jwt", "dpop", "dpop+jwt ", "logout+jwt"} {
		wantProof(t, fmt.Sprintf("typ %v", typ), p.sign(t, p.alg, with(head, "typ", typ), body), proofRequest(), "typ")
	}
	for _, typ := range []any{"DPoP+JWT", "application/dpop+jwt"} {
		wantProof(t, fmt.Sprintf("typ %v", typ), p.sign(t, p.alg, with(head, "typ", typ), body), proofRequest(), "")
	}
	for name, crit := range map[string]any{"a list": []string{"exp"}, "empty": []string{}, "text": "x", "b64": []string{"b64"}} {
		wantProof(t, "crit "+name, p.sign(t, p.alg, with(head, "crit", crit, "b64", false), body), proofRequest(), "not a JWT")
	}
	good := p.sign(t, p.alg, head, body)
	parts := strings.Split(good, ".")
	for name, raw := range map[string]string{
		"two parts": parts[0] + "." + parts[1], "five": good + ".x.y", "padded": good + "=", "a line end": good + "\n", "line ends within": parts[0][:9] + "\r\n" + good[9:],
		"8193 bytes": p.sign(t, p.alg, head, with(body, "x", strings.Repeat("x", 8<<10))), "slack bits": good[:len(good)-1] + string(good[len(good)-1]+1),
		"two jwks": segment(`{"jwk":{},"jwk":{}}`) + ".e30.AA", "a list": segment(`[]`) + ".e30.AA", "null": segment(`null`) + ".e30.AA",
	} {
		wantProof(t, name, raw, proofRequest(), "not a JWT")
	}
}

// A proof is for one request: this method, this URL.
func TestProofOfAnotherRequest(t *testing.T) {
	p := newProver(t, "P-256")
	head, body := p.honest()
	for _, htm := range []any{nil, "", "GET", "post", "POST ", 7, []string{"POST"}} {
		raw := p.sign(t, p.alg, head, with(body, "htm", htm))
		if got, err := tokens.ParseProof([]string{raw}, proofRequest()); !errors.Is(err, tokens.ErrProof) || got != (tokens.Proof{}) {
			t.Errorf("htm %v: %v", htm, err)
		}
	}
	for _, tc := range []struct {
		htu, url string
		same     bool
	}{
		{tokenURL, tokenURL, true},
		{tokenURL + "?a=b#c", tokenURL, true},
		{tokenURL, tokenURL + "?a=b", true},
		{"HTTPS://ID.Example.ORG/oauth2/token", tokenURL, true},
		{"https://id.example.org:443/oauth2/token", tokenURL, true},
		{"http://id.example.org:80/x", "http://id.example.org/x", true},
		{"https://id.example.org", "https://id.example.org/", true},
		{"https://id.example.org/%7euser/%c3%a4", "https://id.example.org/~user/%C3%A4", true},
		{"https://[::1]:8443/x", "https://[::1]:8443/x", true},
		{"https://id.example.org:8443/oauth2/token", tokenURL, false},
		{"https://id.example.org:80/oauth2/token", tokenURL, false},
		{"http://id.example.org/oauth2/token", tokenURL, false},
		{"http://id.example.org:443/oauth2/token", tokenURL, false},
		{"https://id.example.org.evil.example/oauth2/token", tokenURL, false},
		{"https://evil.example/oauth2/token", tokenURL, false},
		{"https://id.example.org@evil.example/oauth2/token", tokenURL, false},
		{"https://user@id.example.org/oauth2/token", tokenURL, false},
		{"https://id.example.org/oauth2/TOKEN", tokenURL, false},
		{"https://id.example.org/oauth2/token/", tokenURL, false},
		{"https://id.example.org/oauth2//token", tokenURL, false},
		{"https://id.example.org/x/../oauth2/token", tokenURL, false},
		{"https://id.example.org/oauth2%2Ftoken", tokenURL, false},
		{"https://id.example.org/oauth2/token%00", tokenURL, false},
		{"/oauth2/token", tokenURL, false},
		{"//id.example.org/oauth2/token", tokenURL, false},
		{"https:id.example.org/oauth2/token", tokenURL, false},
		{"https:///oauth2/token", tokenURL, false},
		{"", tokenURL, false},
		{"", "", false},
		{"%zz", "%zz", false},
		{"ftp://id.example.org/x", "ftp://id.example.org/x", false},
	} {
		want, reason := proofRequest(), ""
		want.URL = tc.url
		if !tc.same {
			reason = "htu"
		}
		wantProof(t, tc.htu+" for "+tc.url, p.sign(t, p.alg, head, with(body, "htu", tc.htu)), want, reason)
	}
}

func TestProofTimes(t *testing.T) {
	p := newProver(t, "Ed25519")
	head, body := p.honest()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for name, tc := range map[string]struct {
		body   object
		reason string
	}{
		"a minute ago":       {with(body, "iat", at(-time.Minute)), ""},
		"in a minute":        {with(body, "iat", at(time.Minute)), ""},
		"61 s ago":           {with(body, "iat", at(-61*time.Second)), "iat"},
		"in 61 s":            {with(body, "iat", at(61*time.Second)), "iat"},
		"no iat":             {with(body, "iat", nil), "iat"},
		"iat 0":              {with(body, "iat", 0), "iat"},
		"iat of a fraction":  {with(body, "iat", float64(now.Unix())+0.75), ""},
		"iat as text":        {with(body, "iat", fmt.Sprint(now.Unix())), "claims"},
		"iat below zero":     {with(body, "iat", -1), "claims"},
		"iat 2^63":           {with(body, "iat", 9.3e18), "claims"},
		"expired":            {with(body, "exp", at(0)), "expired"},
		"expires in a while": {with(body, "exp", at(time.Second)), ""},
		"expires at 0":       {with(body, "exp", 0), "expired"},
		"not yet":            {with(body, "nbf", at(61*time.Second)), "nbf"},
		"since just now":     {with(body, "nbf", at(time.Second)), ""},
	} {
		wantProof(t, name, p.sign(t, p.alg, head, tc.body), proofRequest(), tc.reason)
	}
}

func TestProofClaims(t *testing.T) {
	p := newProver(t, "P-256")
	head, body := p.honest()
	want := proofRequest()
	want.AccessToken = "the token"
	for name, tc := range map[string]struct {
		body   any
		want   tokens.ProofRequest
		reason string
	}{
		"no jti":                {with(body, "jti", nil), proofRequest(), "jti"},
		"an empty jti":          {with(body, "jti", ""), proofRequest(), "jti"},
		"256 bytes of jti":      {with(body, "jti", strings.Repeat("j", 256)), proofRequest(), ""},
		"257 bytes of jti":      {with(body, "jti", strings.Repeat("j", 257)), proofRequest(), "jti"},
		"a jti that is no text": {with(body, "jti", 7), proofRequest(), "claims"},
		"two jtis":              {`{"jti":"a","jti":"b","htm":"POST","htu":"` + tokenURL + `","iat":` + fmt.Sprint(now.Unix()) + `}`, proofRequest(), "claims"},
		"JTI":                   {with(body, "jti", nil, "JTI", "j"), proofRequest(), "jti"},
		"no object":             {"[]", proofRequest(), "claims"},
		"null":                  {"null", proofRequest(), "claims"},
		"no ath":                {body, want, "ath"},
		"ath":                   {with(body, "ath", hashOf("the token")), want, ""},
		"ath of another token":  {with(body, "ath", hashOf("another token")), want, "ath"},
		"ath with padding":      {with(body, "ath", hashOf("the token")+"="), want, "ath"},
		"ath is the token":      {with(body, "ath", "the token"), want, "ath"},
		"ath, none wanted":      {with(body, "ath", hashOf("the token")), proofRequest(), ""},
		"a nonce of a list":     {with(body, "nonce", []string{"n"}), proofRequest(), "claims"},
	} {
		wantProof(t, name, p.sign(t, p.alg, head, tc.body), tc.want, tc.reason)
	}
}

// What a refusal says repeats nothing that was presented.
func TestProofRefusalIsSafeToShow(t *testing.T) {
	p := newProver(t, "P-256")
	head, body := p.honest()
	for _, raw := range []string{
		p.sign(t, p.alg, with(head, "typ", "evil"), body), p.sign(t, p.alg, with(head, "alg", "evil"), body), p.sign(t, p.alg, head, with(body, "htm", "evil")),
		p.sign(t, p.alg, head, with(body, "htu", "evil")), p.sign(t, p.alg, head, with(body, "iat", "evil")), "evil", "evil.evil.evil",
	} {
		if _, err := tokens.ParseProof([]string{raw}, proofRequest()); err == nil || strings.Contains(err.Error(), "evil") {
			t.Errorf("%v", err)
		}
	}
}

// Whatever is presented, parsing ends, and what it accepts is for this request
// and was signed by the key that it names.
func FuzzParseProof(f *testing.F) {
	want := tokens.ProofRequest{Method: "POST", URL: tokenURL, AccessToken: "token", Now: now}
	p := prover{fixedSigner(f, "Ed25519"), "EdDSA"}
	print := p.thumbprint(f)
	head, body := p.honest()
	body["ath"] = hashOf("token")
	good := p.sign(f, p.alg, head, body)
	parts := strings.Split(good, ".")
	plain, err := base64Decode(parts[1])
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		good, good + "\n", good[1:], parts[0] + "." + parts[1] + ".", text(with(head, "alg", "none")) + "." + parts[1] + ".", "", "..", "\x00.\xff.\x80",
		p.sign(f, p.alg, with(head, "jwk", with(p.jwk, "x", "", "n", "AA", "e", "AA")), body), segment(`{"typ":"dpop+jwt","jwk":null}`) + "..",
		segment(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC"}}`) + ".e30.AA", string(plain), "null", "{}", `{"iat":1e300}`, `{"iat":"x","iat":null}`,
		strings.Replace(string(plain), "https://", "HTTPS://[::1%25eth0]:0443/%2e%2", 1), strings.Replace(string(plain), "/token", "/t%6Fken?x#y", 1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		for _, raw := range fuzzed(t, p.signer, p.alg, head, input) {
			got, err := tokens.ParseProof([]string{raw}, want)
			if err != nil && got != (tokens.Proof{}) {
				t.Errorf("%q is refused with %+v", raw, got)
			}
			if err == nil && (got.Thumbprint != print || claim(t, raw, "jti") != got.ID || claim(t, raw, "htm") != "POST" || claim(t, raw, "ath") != hashOf("token")) {
				t.Errorf("%q is accepted as %+v", raw, got)
			}
		}
	})
}
