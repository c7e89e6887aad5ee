package tokens

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-id/latchkey/tokens/internal/jws"
)

// NewSharedKey makes a key that signs access tokens with HS256 (RFC 7518
// section 3.2), for API servers that can do nothing else. Whoever checks its
// tokens can make them, so it signs nothing else and is never published. The
// secret is the key byte for byte, at least 32 of them; it must not be the root
// secret. Its kid is derived from it (HKDF), and so stays the same over
// restarts.
func NewSharedKey(secret []byte) (*SigningKey, error) {
	if len(secret) < jws.MinSharedBytes {
		return nil, fmt.Errorf("tokens: the shared secret has %d bytes, at least %d are needed", len(secret), jws.MinSharedBytes)
	}
	id, err := hkdf.Key(sha256.New, secret, nil, "latchkey shared key id", 12)
	if err != nil {
		return nil, err
	}
	key := &SigningKey{
		ID: base64.RawURLEncoding.EncodeToString(id), Algorithm: jwt.SigningMethodHS256.Alg(),
		shared: bytes.Clone(secret), method: jwt.SigningMethodHS256,
	}
	key.accessHeader = joseHeader(key.Algorithm, TypeAccess, key.ID)
	return key, nil
}

// secret is what the key's method signs with.
func (k *SigningKey) secret() any {
	if k.private == nil {
		return k.shared
	}
	return k.private
}
