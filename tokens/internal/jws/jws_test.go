package jws_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens/internal/jws"
)

// A key is good for its own algorithms, whatever a token says.
func TestFits(t *testing.T) {
	n := func(bits int) *big.Int { return new(big.Int).SetBit(new(big.Int), bits-1, 1) }
	for name, tc := range map[string]struct {
		key  jose.JSONWebKey
		good []string
	}{
		"P-256":               {jose.JSONWebKey{Key: &ecdsa.PublicKey{Curve: elliptic.P256()}}, []string{"ES256"}},
		"P-384":               {jose.JSONWebKey{Key: &ecdsa.PublicKey{Curve: elliptic.P384()}}, nil},
		"no curve":            {jose.JSONWebKey{Key: &ecdsa.PublicKey{}}, nil},
		"Ed25519":             {jose.JSONWebKey{Key: make(ed25519.PublicKey, 32)}, []string{"EdDSA"}},
		"half an Ed25519 key": {jose.JSONWebKey{Key: make(ed25519.PublicKey, 16)}, nil},
		"RSA 2047":            {jose.JSONWebKey{Key: &rsa.PublicKey{N: n(2047), E: 65537}}, nil},
		"RSA 2048":            {jose.JSONWebKey{Key: &rsa.PublicKey{N: n(2048), E: 65537}}, []string{"RS256", "PS256"}},
		"RSA 4096":            {jose.JSONWebKey{Key: &rsa.PublicKey{N: n(4096), E: 65537}}, []string{"RS256", "PS256"}},
		"RSA 4097":            {jose.JSONWebKey{Key: &rsa.PublicKey{N: n(4097), E: 65537}}, nil},
		"RSA for RS256":       {jose.JSONWebKey{Key: &rsa.PublicKey{N: n(2048), E: 65537}, Algorithm: "RS256", Use: "sig"}, []string{"RS256"}},
		"for encryption":      {jose.JSONWebKey{Key: &rsa.PublicKey{N: n(2048), E: 65537}, Use: "enc"}, nil},
		"a secret":            {jose.JSONWebKey{Key: make([]byte, 32), Algorithm: "HS256"}, []string{"HS256"}},
		"a short secret":      {jose.JSONWebKey{Key: make([]byte, 31), Algorithm: "HS256"}, nil},
		"a secret for all":    {jose.JSONWebKey{Key: make([]byte, 64)}, nil},
		"a secret for HS512":  {jose.JSONWebKey{Key: make([]byte, 64), Algorithm: "HS512"}, nil},
		"a private key":       {jose.JSONWebKey{Key: &ecdsa.PrivateKey{PublicKey: ecdsa.PublicKey{Curve: elliptic.P256()}}}, nil},
		"text":                {jose.JSONWebKey{Key: "a text of more than thirty-two bytes", Algorithm: "HS256"}, nil},
		"nothing":             {jose.JSONWebKey{}, nil},
	} {
		for _, algorithm := range []string{"", "none", "None", "HS256", "HS384", "HS512", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "EdDSA", "Ed25519"} {
			if got := jws.Fits(tc.key, algorithm); got != slices.Contains(tc.good, algorithm) {
				t.Errorf("%s as %q: %v", name, algorithm, got)
			}
		}
	}
}

// What two readers could read differently nobody reads, however deep it stands and
// whether or not anybody asks for it.
func TestObject(t *testing.T) {
	for _, text := range []string{
		"", " ", "null", "[]", `"{}"`, "7", " {}", "\ufeff{}", "{", "{}{}", "{} x", `{"alg":"ES256",}`, `{'alg':"ES256"}`, `{"alg":"ES256"/**/}`, `{"x":01}`,
		`{"alg":"ES256","alg":"ES256"}`, `{"alg":"ES256","\u0061lg":"none"}`, `{"x":1,"x":1}`, `{"x":[{"y":{"z":1,"z":1}}]}`, `{"jwk":{"kty":"EC","kty":"EC"}}`,
		"{\"kid\":\"a\xff\"}", "{\"x\":[\"\xc0\x80\"]}", "{\"\xff\":1}", `{"kid":"\ud800"}`, `{"x":{"y":"\udc00\ud800"}}`, "{\"kid\":\"a\tb\"}", `{"alg":1}`, `{"alg":["ES256"]}`,
	} {
		var into jws.Header
		if err := jws.Object([]byte(text), &into); err == nil {
			t.Errorf("%q was read: %q", text, into)
		}
	}
	var got jws.Header
	const text = `{"ALG":"none","Kid":"x","alg":"E\u0053256","kid":"\ud83d\ude00\u0000","typ":null,"crit":null,"x":{"alg":"none","y":[1e400,null]}} `
	if err := jws.Object([]byte(text), &got); err != nil || got.Algorithm != "ES256" || got.KeyID != "😀\x00" || got.Type != "" || string(got.Critical) != "null" || got.JWK != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "-0": 0, "1": 1, "1.9": 1, "1e3": 1000, "9007199254740992": 1 << 53} {
		var s jws.Seconds
		if err := s.UnmarshalJSON([]byte(text)); err != nil || int64(s) != want {
			t.Errorf("%s: %d %v", text, s, err)
		}
	}
	for _, text := range []string{"", "null", "true", `"1"`, "-1", "9007199254740994", "1e400", "NaN", "Inf", "{}"} {
		var s jws.Seconds
		if err := s.UnmarshalJSON([]byte(text)); err == nil {
			t.Errorf("%s: %d", text, s)
		}
	}
}
