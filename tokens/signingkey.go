package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Algorithms are the asymmetric ones that tokens are signed with (RFC 7518,
// RFC 8037). A shared key has HS256 besides, for access tokens alone.
var Algorithms = []string{"ES256", "EdDSA", "RS256"}

// SigningKey is one key of the ring. Algorithm is fixed for the key's life. The
// ID (kid) of an asymmetric key is the RFC 7638 thumbprint of its public key.
// It prints as a placeholder.
type SigningKey struct {
	ID        string
	Algorithm string
	CreatedAt time.Time
	ActiveAt  time.Time // it signs from here on; before, it is only published
	RetiredAt time.Time // zero: not retired; after, it only verifies

	private      crypto.Signer // nil: a shared key
	shared       []byte
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

// String keeps the key out of logs and errors.
func (k SigningKey) String() string { return "[signing key " + k.Algorithm + " " + k.ID + "]" }

// GoString keeps the key out of %#v.
func (k SigningKey) GoString() string { return k.String() }

// Private returns the key as PKCS #8, to be sealed before it is stored. A
// shared key is configured, never stored: it is an error.
func (k *SigningKey) Private() ([]byte, error) {
	if k.private == nil {
		return nil, errors.New("tokens: a shared key has no private part to store")
	}
	return x509.MarshalPKCS8PrivateKey(k.private)
}

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

// Public is the key's JWK (RFC 7517) without any private part. That of a shared
// key is empty, and cannot be marshalled.
func (k *SigningKey) Public() jose.JSONWebKey {
	if k.private == nil {
		return jose.JSONWebKey{}
	}
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}
}
