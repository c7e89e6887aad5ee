package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-id/latchkey/tokens"
)

// Leeway is the clock difference that is forgiven between the issuer and its
// readers, on exp and iat alike.
const Leeway = 60 * time.Second

// Why an access token was refused. ErrUnavailable is not about the token: the
// keys could not be had, and the answer is 503, never 401.
var (
	ErrNoToken     = errors.New("no access token")
	ErrExpired     = errors.New("the access token has expired")
	ErrMalformed   = errors.New("the access token is malformed or not from this issuer")
	ErrWrongType   = errors.New("the token is not an access token")
	ErrAudience    = errors.New("the access token is for another audience")
	ErrUnavailable = errors.New("the issuer's keys cannot be read at the moment")
)

// Claims are the claims of a verified access token (RFC 9068).
type Claims = tokens.AccessClaims

// KeySet finds public keys by kid. No key found is (nil, nil); an error means
// that the set could not be read, and says nothing about the token.
type KeySet interface {
	Keys(ctx context.Context, kid string) ([]jose.JSONWebKey, error)
}

// Config says whose tokens are accepted. Issuer and Keys are required.
type Config struct {
	Issuer   string           // the iss that must stand in the token, byte for byte
	Audience string           // the aud that must stand in it; empty: Issuer
	Keys     KeySet           // where the public keys come from
	Now      func() time.Time // nil: time.Now

	// Leeway overrides [Leeway]; negative for none.
	Leeway time.Duration
	// CacheSize is how many verified tokens are remembered, so that the
	// signature of a token that is used often is computed once. Its times are
	// checked at each use. 0: 4096; negative: none.
	CacheSize int
}

// Verifier checks access tokens. It is safe for concurrent use.
type Verifier struct {
	cfg   Config
	cache *cache
}

// New returns a Verifier or says what is missing.
func New(cfg Config) (*Verifier, error) {
	if cfg.Issuer == "" || cfg.Keys == nil {
		return nil, errors.New("verify: Issuer and Keys are required")
	}
	if cfg.Audience == "" {
		cfg.Audience = cfg.Issuer
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	switch {
	case cfg.Leeway == 0:
		cfg.Leeway = Leeway
	case cfg.Leeway < 0:
		cfg.Leeway = 0
	}
	if cfg.CacheSize == 0 {
		cfg.CacheSize = 4096
	}
	return &Verifier{cfg: cfg, cache: newCache(cfg.CacheSize)}, nil
}

// Verify checks type, key, signature, issuer, audience and times. The error is
// one of this package's, possibly wrapped.
func (v *Verifier) Verify(ctx context.Context, raw string) (Claims, error) {
	if raw == "" {
		return Claims{}, ErrNoToken
	}
	if len(raw) > tokens.MaxTokenBytes {
		return Claims{}, ErrMalformed
	}
	claims, known := v.cache.get(raw)
	if !known {
		var err error
		if claims, err = v.open(ctx, raw); err != nil {
			return Claims{}, err
		}
	}
	if err := v.checkTimes(claims); err != nil {
		return Claims{}, err
	}
	if !known {
		v.cache.put(raw, claims)
	}
	return claims, nil
}

type header struct {
	Algorithm string          `json:"alg"`
	Type      string          `json:"typ"`
	KeyID     string          `json:"kid"`
	Critical  json.RawMessage `json:"crit"`
}

// open does everything that a second use of the same token need not repeat.
func (v *Verifier) open(ctx context.Context, raw string) (Claims, error) {
	parts := strings.Split(raw, ".")
	var head header
	if len(parts) != 3 || decode(parts[0], &head) != nil {
		return Claims{}, ErrMalformed
	}
	if !strings.EqualFold(head.Type, tokens.TypeAccess) {
		return Claims{}, ErrWrongType
	}
	// golang-jwt does not look at crit; RFC 7515 section 4.1.11 says refuse.
	if head.Critical != nil || !slices.Contains(tokens.Algorithms, head.Algorithm) {
		return Claims{}, ErrMalformed
	}
	keys, err := v.cfg.Keys.Keys(ctx, head.KeyID)
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !signedByOne(keys, head.Algorithm, raw[:len(raw)-len(parts[2])-1], signature) {
		return Claims{}, ErrMalformed
	}
	var claims Claims
	if decode(parts[1], &claims) != nil || claims.Subject == "" || claims.Issuer != v.cfg.Issuer {
		return Claims{}, ErrMalformed
	}
	if claims.Audience != v.cfg.Audience {
		return Claims{}, ErrAudience
	}
	return claims, nil
}

// maxLife is more than any access token lives, in seconds: an exp beyond it is
// a mistake or a trick.
const maxLife = 366 * 24 * 60 * 60

func (v *Verifier) checkTimes(c Claims) error {
	now, leeway := v.cfg.Now().Unix(), int64(v.cfg.Leeway/time.Second)
	if c.ExpiresAt <= 0 || c.IssuedAt <= 0 || c.IssuedAt > now+leeway || c.NotBefore > now+leeway || c.ExpiresAt-c.IssuedAt > maxLife {
		return ErrMalformed
	}
	if now >= c.ExpiresAt+leeway {
		return ErrExpired
	}
	return nil
}

func signedByOne(keys []jose.JSONWebKey, algorithm, text string, signature []byte) bool {
	for _, key := range keys {
		if fits(key, algorithm) && jwt.GetSigningMethod(algorithm).Verify(text, signature, key.Key) == nil {
			return true
		}
	}
	return false
}

// fits chooses the algorithm by the key, never by the token (RFC 8725
// section 3.1).
func fits(key jose.JSONWebKey, algorithm string) bool {
	if key.Algorithm != "" && key.Algorithm != algorithm || key.Use != "" && key.Use != "sig" {
		return false
	}
	switch k := key.Key.(type) {
	case *ecdsa.PublicKey:
		return algorithm == "ES256" && k.Curve.Params().BitSize == 256
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	case *rsa.PublicKey:
		return algorithm == "RS256" && k.N.BitLen() >= 2048
	}
	return false
}

func decode(segment string, into any) error {
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}
