package tokens

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-id/latchkey/tokens/internal/jws"
)

// MinImportedSecretBytes is the least length of the secret of the system that
// users were imported from: shorter ones can be guessed from one token.
const MinImportedSecretBytes = 16

// ErrImportedExpired says that a token of the imported system is good but for
// its exp.
var ErrImportedExpired = errors.New("tokens: an imported token past its exp")

// ImportedKind is what a token of the imported system was made for.
type ImportedKind string

// The kinds of tokens that Audiobookshelf makes: an access token of an hour, a
// refresh token, an API key, and the token of old that says neither a type nor
// an end.
const (
	ImportedAccess  ImportedKind = "access"
	ImportedRefresh ImportedKind = "refresh"
	ImportedAPIKey  ImportedKind = "api"
	ImportedLegacy  ImportedKind = ""
)

// ImportedClaims are the claims of a token of the imported system. ExpiresAt
// is 0 where it has none.
type ImportedClaims struct {
	Kind      ImportedKind
	UserID    string
	KeyID     string // of an API key
	IssuedAt  int64
	ExpiresAt int64
}

// ImportedSecret is the secret with which the imported system signed. It
// checks and never signs. It prints as a placeholder.
type ImportedSecret struct{ key []byte }

// NewImportedSecret takes the secret byte for byte.
func NewImportedSecret(secret []byte) (*ImportedSecret, error) {
	if len(secret) < MinImportedSecretBytes {
		return nil, fmt.Errorf("tokens: the imported secret has %d bytes, at least %d are needed", len(secret), MinImportedSecretBytes)
	}
	return &ImportedSecret{bytes.Clone(secret)}, nil
}

// String keeps the secret out of logs and errors.
func (*ImportedSecret) String() string { return "[imported secret]" }

// GoString keeps the secret out of %#v.
func (s *ImportedSecret) GoString() string { return s.String() }

// Parse checks a token of the imported system: HS256 and nothing else, whatever
// its header asks for, and claims that fit one of the kinds. A good token past
// its exp comes back with its claims and [ErrImportedExpired]; every other
// failure is [ErrMalformed].
func (s *ImportedSecret) Parse(raw string, now time.Time) (ImportedClaims, error) {
	m, err := jws.Parse(raw, MaxTokenBytes)
	if err != nil || m.Header.Type != "" && m.Type() != "jwt" || !m.SignedHS256(s.key) {
		return ImportedClaims{}, ErrMalformed
	}
	var payload struct {
		Type      ImportedKind `json:"type"`
		UserID    string       `json:"userId"`
		KeyID     string       `json:"keyId"`
		IssuedAt  jws.Seconds  `json:"iat"`
		ExpiresAt *jws.Seconds `json:"exp"`
	}
	if m.Claims(&payload) != nil {
		return ImportedClaims{}, ErrMalformed
	}
	claims := ImportedClaims{Kind: payload.Type, UserID: payload.UserID, KeyID: payload.KeyID, IssuedAt: int64(payload.IssuedAt)}
	if payload.ExpiresAt != nil {
		claims.ExpiresAt = int64(*payload.ExpiresAt)
	}
	if !claims.fit(payload.ExpiresAt != nil) {
		return ImportedClaims{}, ErrMalformed
	}
	if payload.ExpiresAt != nil && now.Unix() >= claims.ExpiresAt {
		return claims, ErrImportedExpired
	}
	return claims, nil
}

// fit reports whether the claims are those of their kind.
func (c ImportedClaims) fit(ends bool) bool {
	switch c.Kind {
	case ImportedAccess, ImportedRefresh:
		return c.UserID != "" && ends
	case ImportedAPIKey:
		return c.KeyID != ""
	case ImportedLegacy:
		return c.UserID != "" && !ends
	}
	return false
}
