package tokens

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// MinSecretBytes is the least length of a root secret.
const MinSecretBytes = 32

// ErrUnknownSecret says that a value was made under a root secret that this
// process does not hold, or was altered.
var ErrUnknownSecret = errors.New("tokens: made under a root secret that is not held here")

// RootSecret is the one secret outside the database. Every key of a different
// purpose is derived from it (HKDF, RFC 5869), so that no purpose can be used
// in place of another. It prints as a placeholder.
type RootSecret struct {
	id            string
	refreshKey    []byte
	refreshHeader string
	seal          cipher.AEAD
	master        []byte
}

// NewRootSecret derives the working keys. The secret is taken byte for byte
// and must have at least [MinSecretBytes].
func NewRootSecret(secret []byte) (*RootSecret, error) {
	if len(secret) < MinSecretBytes {
		return nil, fmt.Errorf("tokens: the root secret has %d bytes, at least %d are needed", len(secret), MinSecretBytes)
	}
	s := &RootSecret{master: secret}
	s.id = base64.RawURLEncoding.EncodeToString(s.derive("latchkey fingerprint", 12))
	s.refreshKey = s.derive("latchkey refresh token", 32)
	s.refreshHeader = joseHeader(jwt.SigningMethodHS256.Alg(), TypeRefresh, s.id)
	block, err := aes.NewCipher(s.derive("latchkey at rest", 32))
	if err != nil {
		return nil, err
	}
	s.seal, err = cipher.NewGCMWithRandomNonce(block)
	return s, err
}

func (s *RootSecret) derive(purpose string, n int) []byte {
	key, err := hkdf.Key(sha256.New, s.master, nil, purpose, n)
	if err != nil {
		// Only an absurd length can fail, and lengths are constants here.
		panic(err)
	}
	return key
}

// ID is the secret's public fingerprint: the kid of refresh tokens, the prefix
// of sealed values, and what replicas compare through the database.
func (s *RootSecret) ID() string { return s.id }

// String keeps the secret out of logs and errors.
func (s *RootSecret) String() string { return "[root secret " + s.id + "]" }

// GoString keeps the secret out of %#v.
func (s *RootSecret) GoString() string { return s.String() }

// Secrets is the root secret in use, first, and those before it, which are
// still accepted.
type Secrets []*RootSecret

// Current is the secret that makes new tokens and seals.
func (s Secrets) Current() *RootSecret { return s[0] }

// Find returns the secret with that fingerprint, or nil.
func (s Secrets) Find(id string) *RootSecret {
	for _, secret := range s {
		if subtle.ConstantTimeCompare([]byte(secret.id), []byte(id)) == 1 {
			return secret
		}
	}
	return nil
}

// Tag makes a short MAC over parts for one purpose, for values that are handed
// out and come back, such as the page cookie.
func (s *RootSecret) Tag(purpose string, parts ...string) string {
	mac := hmac.New(sha256.New, s.derive("latchkey tag "+purpose, 32))
	mac.Write([]byte(strings.Join(parts, "\x00")))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// CheckTag reports whether tag was made by [RootSecret.Tag] under any held secret.
func (s Secrets) CheckTag(tag, purpose string, parts ...string) bool {
	for _, secret := range s {
		if hmac.Equal([]byte(tag), []byte(secret.Tag(purpose, parts...))) {
			return true
		}
	}
	return false
}

// Seal encrypts a value for the database. The place names table, column and
// row, so that a sealed value cannot be moved to another row.
func (s *RootSecret) Seal(place string, plain []byte) string {
	// #nosec G407 -- NewGCMWithRandomNonce makes the nonce itself
	return s.id + "." + base64.RawURLEncoding.EncodeToString(s.seal.Seal(nil, nil, plain, []byte(place)))
}

// Open decrypts what [RootSecret.Seal] made under any held secret. It fails
// with [ErrUnknownSecret].
func (s Secrets) Open(place, sealed string) ([]byte, error) {
	id, body, _ := strings.Cut(sealed, ".")
	secret := s.Find(id)
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if secret == nil || err != nil {
		return nil, ErrUnknownSecret
	}
	plain, err := secret.seal.Open(nil, nil, raw, []byte(place))
	if err != nil {
		return nil, ErrUnknownSecret
	}
	return plain, nil
}
