package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens/internal/jws"
)

// AssertionLife is the longest time ahead at which a client assertion may
// expire; the client's clock may be fast by clockLeeway besides.
const AssertionLife = 10 * time.Minute

// clockLeeway is the clock difference that is forgiven on iat and nbf.
const clockLeeway = 60 * time.Second

// MaxKeySetBytes and MaxKeys bound an inline key set.
const (
	MaxKeySetBytes = 64 << 10
	MaxKeys        = 32
)

// AssertionAlgorithms are those that a client may sign an assertion with.
var AssertionAlgorithms = []string{"RS256", "ES256", "EdDSA", "PS256"}

var (
	// ErrAssertion says that a client assertion is bad. The text of an error that
	// wraps it is safe to show.
	ErrAssertion = errors.New("the client assertion is not acceptable")
	// ErrKeys says that keys could not be had. It is no verdict on what they
	// were wanted for.
	ErrKeys = errors.New("the keys cannot be read at the moment")
)

// KeySource finds public keys by kid; with an empty kid, all. No key found is
// (nil, nil); an error means that the set could not be read, and says nothing
// about what was signed.
type KeySource interface {
	Keys(ctx context.Context, kid string) ([]jose.JSONWebKey, error)
}

type inlineKeys []jose.JSONWebKey

// Keys implements [KeySource].
func (s inlineKeys) Keys(_ context.Context, kid string) ([]jose.JSONWebKey, error) {
	if kid == "" {
		return s, nil
	}
	var found []jose.JSONWebKey
	for _, key := range s {
		if key.KeyID == kid {
			found = append(found, key)
		}
	}
	return found, nil
}

// ParseKeySet reads a JWKS (RFC 7517 section 5) that a client registered. It
// wants at least one key and only public ones: a private or symmetric key is an
// error, because it has been shown to us. Keys of an unknown kind are skipped.
func ParseKeySet(raw []byte) (KeySource, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if len(raw) > MaxKeySetBytes || json.Unmarshal(raw, &set) != nil {
		return nil, fmt.Errorf("tokens: a key set is a JSON object with keys, of at most %d bytes", MaxKeySetBytes)
	}
	if len(set.Keys) == 0 || len(set.Keys) > MaxKeys {
		return nil, fmt.Errorf("tokens: a key set has 1 to %d keys", MaxKeys)
	}
	keys := inlineKeys{}
	for i, one := range set.Keys {
		key, err := jws.PublicKey(one)
		if errors.Is(err, jws.ErrPrivate) {
			return nil, fmt.Errorf("tokens: key %d of the set has a private part or is symmetric", i+1)
		}
		if err == nil {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("tokens: the key set has no public key that is understood")
	}
	return keys, nil
}

// Assertion is an accepted client assertion. Whoever refuses replays remembers
// its ID until ExpiresAt.
type Assertion struct {
	ID        string
	ExpiresAt time.Time
}

type assertionClaims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  any          `json:"aud"`
	ID        string       `json:"jti"`
	ExpiresAt *jws.Seconds `json:"exp"`
	IssuedAt  *jws.Seconds `json:"iat"`
	NotBefore *jws.Seconds `json:"nbf"`
}

// ParseAssertion checks a client assertion of private_key_jwt (OIDC Core
// section 9, RFC 7523 section 3). Its aud must be the issuer as one string and
// nothing else (RFC 7523bis; CVE-2025-27370): an assertion that was made for
// another server's endpoint is not good here. An error wraps [ErrAssertion], or
// [ErrKeys] where the client's keys could not be had.
func ParseAssertion(ctx context.Context, raw, clientID, issuer string, keys KeySource, now time.Time) (Assertion, error) {
	m, err := jws.Parse(raw, MaxTokenBytes)
	if err != nil {
		return Assertion{}, badAssertion("it is not a JWT, or too long")
	}
	var claims assertionClaims
	if m.Claims(&claims) != nil {
		return Assertion{}, badAssertion("its claims cannot be read")
	}
	switch m.Type() {
	case "", "jwt", "client-authentication+jwt":
	default:
		return Assertion{}, badAssertion("its typ is another one's")
	}
	// What needs no key comes first: nobody's key set is fetched for nonsense.
	if err := claims.check(clientID, issuer, now); err != nil {
		return Assertion{}, err
	}
	if keys == nil {
		return Assertion{}, badAssertion("the client has no keys")
	}
	found, err := keys.Keys(ctx, m.Header.KeyID)
	if err != nil {
		return Assertion{}, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	if !m.SignedByOne(found, AssertionAlgorithms) {
		return Assertion{}, badAssertion("its signature, alg or kid is not good")
	}
	return Assertion{ID: claims.ID, ExpiresAt: time.Unix(int64(*claims.ExpiresAt), 0)}, nil
}

func badAssertion(reason string) error { return fmt.Errorf("%w: %s", ErrAssertion, reason) }

func (c assertionClaims) check(clientID, issuer string, now time.Time) error {
	switch {
	case clientID == "" || c.Issuer != clientID || c.Subject != clientID:
		return badAssertion("its iss and sub are not the client_id")
	case issuer == "" || c.Audience != any(issuer):
		return badAssertion("its aud is not the issuer, as one string")
	case c.ID == "" || len(c.ID) > MaxIDBytes:
		return badAssertion("its jti is missing or too long")
	case c.ExpiresAt == nil || apart(*c.ExpiresAt, now) > AssertionLife+clockLeeway:
		return badAssertion("its exp is missing or too far ahead")
	case apart(*c.ExpiresAt, now) <= 0:
		return badAssertion("it has expired")
	case c.IssuedAt != nil && (apart(*c.IssuedAt, now) > clockLeeway || *c.IssuedAt > *c.ExpiresAt):
		return badAssertion("its iat is in the future")
	case c.NotBefore != nil && apart(*c.NotBefore, now) > clockLeeway:
		return badAssertion("its nbf is in the future")
	}
	return nil
}

// AssertionSubject reads the sub of a client assertion WITHOUT checking
// anything: it tells which client's keys [ParseAssertion] needs. It is empty
// where there is none.
func AssertionSubject(raw string) string {
	m, err := jws.Parse(raw, MaxTokenBytes)
	var claims assertionClaims
	if err != nil || m.Claims(&claims) != nil || len(claims.Subject) > MaxIDBytes {
		return ""
	}
	return claims.Subject
}
