package tokens_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-id/latchkey/tokens"
)

const (
	issuer   = "https://id.example.org"
	clientID = "the client"
)

type object = map[string]any

// with changes members; nil takes one away.
func with(m object, pairs ...any) object {
	m = maps.Clone(m)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
		if pairs[i+1] == nil {
			delete(m, pairs[i].(string))
		}
	}
	return m
}

// text is what stands in a JWS for a value; a string is taken as it is.
func text(v any) string {
	if s, ok := v.(string); ok {
		return segment(s)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return segment(string(raw))
}

// signer is a private key of somebody else, and its public JWK.
type signer struct {
	private crypto.Signer
	jwk     object
}

func newSigner(t testing.TB, kind string) signer {
	t.Helper()
	var private crypto.Signer
	var err error
	switch kind {
	case "P-256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "Ed25519":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "RSA":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "RSA-1024":
		t.Setenv("GODEBUG", "rsa1024min=0")
		private, err = rsa.GenerateKey(rand.Reader, 1024)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer{private, jwkOf(t, private.Public())}
}

// fixedSigner is the same key in every process: the fuzzer has several.
func fixedSigner(t testing.TB, kind string) signer {
	t.Helper()
	seed := sha256.Sum256([]byte("a key of the fuzz tests"))
	if kind == "Ed25519" {
		private := ed25519.NewKeyFromSeed(seed[:])
		return signer{private, jwkOf(t, private.Public())}
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return signer{private, jwkOf(t, private.Public())}
}

// fixedKey is a key of the ring, the same in every process.
func fixedKey(t testing.TB, algorithm, kind string) (*tokens.SigningKey, signer) {
	t.Helper()
	s := fixedSigner(t, kind)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(s.private)
	if err != nil {
		t.Fatal(err)
	}
	k, err := tokens.ParseSigningKey(algorithm, pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	return k, s
}

// fuzzed is what a fuzz target makes of its input: the text as it is, and a
// token that is signed well and has the text as its claims.
func fuzzed(t testing.TB, s signer, algorithm string, head object, input string) []string {
	return []string{input, s.sign(t, algorithm, head, input)}
}

// claim is a member of the payload, as another reader sees it.
func claim(t testing.TB, raw, name string) (value any) {
	t.Helper()
	var claims map[string]json.RawMessage // others may be numbers that fit nowhere
	err := json.Unmarshal([]byte(payloadText(t, raw)), &claims)
	if member, ok := claims[name]; ok && err == nil {
		err = json.Unmarshal(member, &value)
	}
	if err != nil {
		t.Errorf("%q is accepted and no JSON: %v", raw, err)
	}
	return value
}

func jwkOf(t testing.TB, key any) (out object) {
	t.Helper()
	raw, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ofRing is the signer of a key of ours.
func ofRing(t testing.TB, k *tokens.SigningKey) signer {
	t.Helper()
	pkcs8, err := k.Private()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	return signer{parsed.(crypto.Signer), jwkOf(t, parsed.(crypto.Signer).Public())}
}

func (s signer) sign(t testing.TB, algorithm string, head, body any) string {
	t.Helper()
	signed := text(head) + "." + text(body)
	signature, err := jwt.GetSigningMethod(algorithm).Sign(signed, s.private)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func hs256(secret []byte, head, body any) string {
	signed := text(head) + "." + text(body)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// publicTexts are the forms of a public key that an attacker would try as a
// secret.
func publicTexts(t testing.TB, public any) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: public})
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return map[string][]byte{"DER": der, "JWK": jwk, "PEM": block, "PEM without the last line end": block[:len(block)-1], "nothing": nil}
}

// spellings of an algorithm that is none.
var spellings = []string{"none", "None", "NONE", "nOnE", "none ", "\u0000none", "", "null", "HS256", "hs256", "ES384", "RS512", "PS512", "es256", "ES256 "}

var algorithmOf = map[string]string{"P-256": "ES256", "Ed25519": "EdDSA", "RSA": "RS256"}
