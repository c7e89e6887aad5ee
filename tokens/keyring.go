package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Algorithms that access tokens may be signed with (RFC 7518, RFC 8037).
var Algorithms = []string{"ES256", "EdDSA", "RS256"}

// SigningKey is one asymmetric key of the ring. Its ID (kid) is the RFC 7638
// thumbprint of the public key. Algorithm is fixed for the key's life.
type SigningKey struct {
	ID        string
	Algorithm string
	CreatedAt time.Time
	ActiveAt  time.Time // it signs from here on; before, it is only published
	RetiredAt time.Time // zero: not retired; after, it only verifies

	private      crypto.Signer
	method       jwt.SigningMethod
	accessHeader string
}

// GenerateSigningKey makes a key for one of [Algorithms].
func GenerateSigningKey(algorithm string, random io.Reader) (*SigningKey, error) {
	var private crypto.Signer
	var err error
	switch algorithm {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), random)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(random)
	case "RS256":
		private, err = rsa.GenerateKey(random, 2048)
	default:
		return nil, fmt.Errorf("tokens: unknown algorithm %q, one of %v is needed", algorithm, Algorithms)
	}
	if err != nil {
		return nil, err
	}
	return newSigningKey(algorithm, private)
}

func newSigningKey(algorithm string, private crypto.Signer) (*SigningKey, error) {
	key := &SigningKey{Algorithm: algorithm, private: private, method: jwt.GetSigningMethod(algorithm)}
	jwk := key.Public()
	print, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	key.ID = base64.RawURLEncoding.EncodeToString(print)
	key.accessHeader = joseHeader(algorithm, TypeAccess, key.ID)
	return key, nil
}

// Private returns the key as PKCS #8, to be sealed before it is stored.
func (k *SigningKey) Private() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(k.private) }

// ParseSigningKey reads what [SigningKey.Private] wrote.
func ParseSigningKey(algorithm string, pkcs8 []byte) (*SigningKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, fmt.Errorf("tokens: stored signing key: %w", err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("tokens: stored signing key: %T cannot sign", parsed)
	}
	return newSigningKey(algorithm, private)
}

// Public is the key's JWK (RFC 7517) without any private part.
func (k *SigningKey) Public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}
}

// KeyRing is an immutable set of signing keys. Replace it whole to change it.
type KeyRing struct {
	keys []*SigningKey
	jwks []byte
}

// NewKeyRing publishes all keys given; which of them signs is decided at each
// use by [KeyRing.Signer].
func NewKeyRing(keys []*SigningKey) (*KeyRing, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.Public())
	}
	jwks, err := json.Marshal(set)
	return &KeyRing{keys: keys, jwks: jwks}, err
}

// Keys lists the ring, in the order given to [NewKeyRing].
func (r *KeyRing) Keys() []*SigningKey { return r.keys }

// JWKS is the public key set as JSON (RFC 7517 section 5).
func (r *KeyRing) JWKS() []byte { return r.jwks }

// Signer picks the newest active key of the algorithm; while such a key is
// published but not yet active, the newest active key of another one signs on.
// It returns nil for a ring without an active key.
func (r *KeyRing) Signer(algorithm string, now time.Time) *SigningKey {
	var best *SigningKey
	for _, k := range r.keys {
		if k.ActiveAt.After(now) || !k.RetiredAt.IsZero() && !k.RetiredAt.After(now) {
			continue
		}
		switch {
		case best == nil,
			k.Algorithm == algorithm && best.Algorithm != algorithm,
			(k.Algorithm == algorithm) == (best.Algorithm == algorithm) && k.ActiveAt.After(best.ActiveAt):
			best = k
		}
	}
	return best
}

// PublicKeys returns the public keys with that kid.
func (r *KeyRing) PublicKeys(kid string) []jose.JSONWebKey {
	for _, k := range r.keys {
		if k.ID == kid {
			return []jose.JSONWebKey{k.Public()}
		}
	}
	return nil
}
