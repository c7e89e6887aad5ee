package verify_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

const sharedText = "a shared secret of a test, long enough"

// all is a key set of one's own: shared keys are in it.
type all struct{ *tokens.KeyRing }

func (a all) Keys(_ context.Context, kid string) ([]jose.JSONWebKey, error) {
	return a.VerificationKeys(kid), nil
}

// fixed is whatever a key set might return.
type fixed []jose.JSONWebKey

func (f fixed) Keys(context.Context, string) ([]jose.JSONWebKey, error) { return f, nil }

func newShared(t *testing.T) *tokens.SigningKey {
	t.Helper()
	k, err := tokens.NewSharedKey([]byte(sharedText))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSharedKey(t *testing.T) {
	shared := newShared(t)
	var keys *tokens.KeyRing
	r := newRig(t, "ES256", nil)
	keys, err := tokens.NewKeyRing([]*tokens.SigningKey{shared, r.key})
	if err != nil {
		t.Fatal(err)
	}
	if r.Verifier, err = verify.New(verify.Config{Issuer: issuer, Keys: all{keys}, Now: r.cfgNow()}); err != nil {
		t.Fatal(err)
	}
	token, err := shared.MintAccess(claims())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from the cache
		if c, err := r.Verify(t.Context(), token.Reveal()); err != nil || c.Algorithm != "HS256" {
			t.Errorf("%+v %v", c, err)
		}
		if c, err := r.Verify(t.Context(), r.mint(claims())); err != nil || c.Algorithm != "ES256" {
			t.Errorf("%+v %v", c, err)
		}
	}
	// Confusion, both ways.
	head, body := r.honest()
	r.want("the public key's kid, the secret", hs256([]byte(sharedText), with(head, "alg", "HS256"), body), verify.ErrMalformed)
	r.want("the public key's alg, the secret", hs256([]byte(sharedText), with(head, "kid", shared.ID), body), verify.ErrMalformed)
	r.want("the secret's kid, the public key", r.signed(with(head, "kid", shared.ID), body), verify.ErrMalformed)
	r.want("the secret's kid and alg, the public key", r.signed(with(head, "kid", shared.ID, "alg", "HS256"), body), verify.ErrMalformed)
	r.want("the kid as the secret", hs256([]byte(shared.ID), with(head, "kid", shared.ID, "alg", "HS256"), body), verify.ErrMalformed)
	r.want("no secret", hs256(nil, with(head, "kid", shared.ID, "alg", "HS256"), body), verify.ErrMalformed)
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "HS384", "HS512", "hs256", "HS256 "} {
		r.want("the secret under "+alg, hs256([]byte(sharedText), with(head, "kid", shared.ID, "alg", alg), body), verify.ErrMalformed)
		r.want("unsigned under "+alg, seg(with(head, "kid", shared.ID, "alg", alg))+"."+seg(body)+".", verify.ErrMalformed)
	}
	r.want("typ JWT under the secret", hs256([]byte(sharedText), with(head, "kid", shared.ID, "alg", "HS256", "typ", "JWT"), body), verify.ErrWrongType)
	// A reader of the published keys does not take its tokens.
	public := newRig(t, "ES256", nil)
	public.keys.KeyRing = keys
	public.want("by the JWKS", token.Reveal(), verify.ErrMalformed)
}

// A key set that returns nonsense lets nothing in by it.
func TestKeysThatDoNotFit(t *testing.T) {
	signer := newRig(t, "ES256", nil)
	head, body := signer.honest()
	der, err := x509.MarshalPKIXPublicKey(signer.key.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for name, key := range map[string]jose.JSONWebKey{
		"bytes without alg": {Key: []byte(sharedText)}, "bytes for ES256": {Key: []byte(sharedText), Algorithm: "ES256"}, "bytes for HS512": {Key: []byte(sharedText), Algorithm: "HS512"},
		"short bytes": {Key: []byte(sharedText)[:31], Algorithm: "HS256"}, "no bytes": {Key: []byte{}, Algorithm: "HS256"}, "bytes for encryption": {Key: []byte(sharedText), Algorithm: "HS256", Use: "enc"},
		"text": {Key: sharedText, Algorithm: "HS256"}, "nothing": {}, "a public key for HS256": {Key: signer.key.Public().Key, Algorithm: "HS256"},
	} {
		r := newRig(t, "ES256", nil)
		if r.Verifier, err = verify.New(verify.Config{Issuer: issuer, Keys: fixed{key}, Now: r.cfgNow()}); err != nil {
			t.Fatal(err)
		}
		for _, secret := range [][]byte{[]byte(sharedText), []byte(sharedText)[:31], {}, der, block} {
			for _, alg := range []string{"HS256", "HS512", "ES256", "none"} {
				r.want(name+" as "+alg, hs256(secret, with(head, "alg", alg), body), verify.ErrMalformed)
			}
		}
		r.want(name+", signed", signer.signed(with(head, "alg", "HS256"), body), verify.ErrMalformed)
	}
}

// PS256 is no algorithm of ours, and a key that names none does not make it one.
func TestPS256IsNotForAccessTokens(t *testing.T) {
	r := newRig(t, "RS256", nil)
	var err error
	if r.Verifier, err = verify.New(verify.Config{Issuer: issuer, Keys: fixed{{Key: r.key.Public().Key}}, Now: r.cfgNow()}); err != nil {
		t.Fatal(err)
	}
	head, body := r.honest()
	r.want("RS256", r.signed(head, body), nil)
	pkcs8, err := r.key.Private()
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	text := seg(with(head, "alg", "PS256")) + "." + seg(body)
	signature, err := jwt.SigningMethodPS256.Sign(text, private)
	if err != nil {
		t.Fatal(err)
	}
	r.want("PS256", text+"."+base64.RawURLEncoding.EncodeToString(signature), verify.ErrMalformed)
}

// A published secret is everybody's: it is never taken from a fetched set.
func TestRemoteNeverTakesASecret(t *testing.T) {
	keys := keyRing(t, 1)
	for name, oct := range map[string]map[string]any{
		"plain":   {"kty": "oct"},
		"HS256":   {"kty": "oct", "alg": "HS256", "use": "sig"},
		"dressed": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "alg": "HS256"},
		"both":    {"kty": "EC", "alg": "HS256"},
		"private": {"kty": "OKP", "crv": "Ed25519", "d": base64.RawURLEncoding.EncodeToString([]byte(sharedText)[:32])},
	} {
		oct["k"], oct["kid"] = base64.RawURLEncoding.EncodeToString([]byte(sharedText)), "evil"
		var document map[string][]any
		if err := json.Unmarshal(keys.JWKS(), &document); err != nil {
			t.Fatal(err)
		}
		document["keys"] = append(document["keys"], oct)
		raw, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		for how, cfg := range map[string]verify.RemoteConfig{"fetched": {URL: serveJWKS(t, raw).URL}, "initial": {URL: "http://127.0.0.1:1/", Initial: raw}} {
			set := verify.NewRemoteKeySet(cfg)
			if got, err := set.Keys(t.Context(), ""); err != nil || len(got) != 1 || !got[0].IsPublic() {
				t.Errorf("%s, %s: %v %v", name, how, got, err)
			}
			r := newRig(t, "ES256", nil)
			if r.Verifier, err = verify.New(verify.Config{Issuer: issuer, Keys: set, Now: r.cfgNow()}); err != nil {
				t.Fatal(err)
			}
			head, body := r.honest()
			for _, kid := range []string{"evil", "", keys.Keys()[0].ID} {
				_, err := r.Verify(t.Context(), hs256([]byte(sharedText), with(head, "alg", "HS256", "kid", kid), body))
				if err == nil || !errors.Is(err, verify.ErrMalformed) && !errors.Is(err, verify.ErrUnavailable) {
					t.Errorf("%s, %s, kid %q: %v", name, how, kid, err)
				}
			}
		}
	}
}

// A private key in a fetched set is not used, not even its public part.
func TestRemoteNeverTakesAPrivateKey(t *testing.T) {
	k, err := tokens.GenerateSigningKey("ES256", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := k.Private()
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private, KeyID: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	set := verify.NewRemoteKeySet(verify.RemoteConfig{URL: serveJWKS(t, raw).URL})
	if got, err := set.Keys(t.Context(), "x"); err == nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
}
