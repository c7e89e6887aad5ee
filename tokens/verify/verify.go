package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/internal/jws"
)

// Leeway is the clock difference that is forgiven between the issuer and its
// readers, on exp and iat alike.
const Leeway = 60 * time.Second

// Why an access token was refused. ErrUnavailable is not about the token: the
// keys, or the list of ended sessions, could not be had, and the answer is 503,
// never 401.
var (
	ErrNoToken = errors.New("no access token")
	ErrExpired = errors.New("the access token has expired")
	// ErrFuture: by the clock here it was issued in the future, so one of the two
	// clocks was set. A refresh gets a token of now.
	ErrFuture    = errors.New("the access token is from the future")
	ErrMalformed = errors.New("the access token is malformed or not from this issuer")
	ErrWrongType = errors.New("the token is not an access token")
	ErrAudience  = errors.New("the access token is for another audience")
	ErrRevoked   = errors.New("the session of the access token has ended")
	// ErrUnknownKey comes with ErrMalformed: the issuer may have taken the key back,
	// and a new token helps.
	ErrUnknownKey  = errors.New("a key that the issuer does not have")
	ErrUnavailable = errors.New("the issuer's keys cannot be read at the moment")
)

// Claims are the claims of a verified access token (RFC 9068).
type Claims = tokens.AccessClaims

// KeySet finds public keys by kid. No key found is (nil, nil); an error means
// that the set could not be read, and says nothing about the token.
type KeySet = tokens.KeySource

// Revocations knows which sessions ended before their access tokens did. An
// error means that nobody can say: the token is then refused with
// [ErrUnavailable], so it is for the implementation to go on with what it knew
// last, as [RemoteRevocations] does.
type Revocations interface {
	Revoked(ctx context.Context, sid string) (bool, error)
}

// Config says whose tokens are accepted. Issuer and Keys are required.
type Config struct {
	Issuer   string // the iss that must stand in the token, byte for byte
	Audience string // the aud that must stand in it; empty: Issuer
	// AnyAudience takes a token whomever it is for: for an authorization server
	// that is asked about its own tokens, and for nobody who lets people in.
	AnyAudience bool
	Keys        KeySet           // where the public keys come from
	Now         func() time.Time // nil: time.Now

	// Revocations is asked about the session of each token that has one, at each
	// use. nil: tokens count until they expire.
	Revocations Revocations
	// BaseURL is how clients reach this server: scheme and host, such as
	// https://api.example.org. DPoP proofs are compared with it. Empty: as Host
	// and TLS say, which is wrong behind a proxy that ends TLS, and lets the
	// sender choose the host.
	BaseURL string
	// ReplaySize is how many DPoP proofs are remembered, so that none is taken
	// twice. When more come within two minutes the oldest are forgotten: a proof
	// is then good again for what is left of its window, for the same key, token,
	// method and URL. 0: 65536.
	ReplaySize int

	// Leeway overrides [Leeway]; negative for none.
	Leeway time.Duration
	// CacheSize is how many verified tokens are remembered, so that the
	// signature of a token that is used often is computed once. Its times are
	// checked at each use. 0: 4096; negative: none.
	CacheSize int
}

// Verifier checks access tokens. It is safe for concurrent use.
type Verifier struct {
	cfg    Config
	cache  *cache
	proofs *replays
	// head is the header of the token that was verified last: those of one key have
	// the same.
	head atomic.Pointer[header]
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
	if cfg.ReplaySize <= 0 {
		cfg.ReplaySize = 1 << 16
	}
	return &Verifier{cfg: cfg, cache: newCache(cfg.CacheSize), proofs: newReplays(cfg.ReplaySize)}, nil
}

// Verify checks a token that whoever has it may use: type, key, signature,
// issuer, audience, times, and that its session has not ended. A token that is
// bound to a key is refused with [ErrBound]; [Verifier.VerifyRequest] takes it.
// The error is one of this package's, possibly wrapped.
func (v *Verifier) Verify(ctx context.Context, raw string) (Claims, error) {
	claims, err := v.Inspect(ctx, raw)
	if err == nil && claims.Confirmation != nil {
		return Claims{}, ErrBound
	}
	return claims, err
}

// Inspect is [Verifier.Verify] for those who ask about a token and let nobody
// in for it, such as introspection (RFC 7662): it takes a bound token without
// its proof. The claims say in Confirmation what the token is bound to.
func (v *Verifier) Inspect(ctx context.Context, raw string) (Claims, error) {
	if raw == "" {
		return Claims{}, ErrNoToken
	}
	if len(raw) > tokens.MaxTokenBytes {
		return Claims{}, ErrMalformed
	}
	token, known := v.cache.get(raw)
	var err error
	if known { // and still by a key of the issuer's? One that was stolen is taken back.
		_, err = v.keys(ctx, token.kid)
	} else {
		token, err = v.open(ctx, raw)
	}
	if err != nil {
		return Claims{}, err
	}
	claims := token.claims
	if err := v.checkTimes(claims); err != nil {
		return Claims{}, err
	}
	if !known {
		v.cache.put(raw, token)
	}
	if err := v.checkSession(ctx, claims.SessionID); err != nil {
		return Claims{}, err
	}
	return claims, nil
}

// algorithms are those of access tokens. HS256 is only for a key set of one's
// own: no secret comes from a [RemoteKeySet].
var algorithms = append([]string{"HS256"}, tokens.Algorithms...)

type header struct {
	Algorithm string         `json:"alg"`
	Type      string         `json:"typ"`
	KeyID     string         `json:"kid"`
	Critical  jsontext.Value `json:"crit"`

	segment string // what it was read from
}

// header reads and judges the first segment of a token.
func (v *Verifier) header(segment string) (*header, error) {
	if known := v.head.Load(); known != nil && known.segment == segment {
		return known, nil
	}
	head := &header{segment: strings.Clone(segment)}
	switch {
	case decode(segment, head) != nil:
		return nil, ErrMalformed
	case !strings.EqualFold(head.Type, tokens.TypeAccess):
		return nil, ErrWrongType
	// golang-jwt does not look at crit; RFC 7515 section 4.1.11 says refuse.
	case head.Critical != nil || !slices.Contains(algorithms, head.Algorithm):
		return nil, ErrMalformed
	}
	return head, nil
}

// open does everything that a second use of the same token need not repeat.
func (v *Verifier) open(ctx context.Context, raw string) (verified, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return verified{}, ErrMalformed
	}
	head, err := v.header(parts[0])
	if err != nil {
		return verified{}, err
	}
	keys, err := v.keys(ctx, head.KeyID)
	if err != nil {
		return verified{}, err
	}
	signature, err := jws.Segment(parts[2])
	if err != nil || !jws.SignedByOne(keys, head.Algorithm, raw[:len(raw)-len(parts[2])-1], signature) {
		return verified{}, ErrMalformed
	}
	var claims Claims
	if decode(parts[1], &claims) != nil || claims.Subject == "" || claims.Issuer != v.cfg.Issuer {
		return verified{}, ErrMalformed
	}
	if claims.Audience != v.cfg.Audience && !v.cfg.AnyAudience {
		return verified{}, ErrAudience
	}
	claims.Algorithm = head.Algorithm
	v.head.Store(head)
	return verified{claims, head.KeyID}, nil
}

// keys finds the keys of that kid; one that is not there is no key of the issuer.
func (v *Verifier) keys(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	keys, err := v.cfg.Keys.Keys(ctx, kid)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case len(keys) == 0:
		return nil, fmt.Errorf("%w, by %w", ErrMalformed, ErrUnknownKey)
	}
	return keys, nil
}

// maxLife is more than any access token lives, in seconds: an exp beyond it is
// a mistake or a trick.
const maxLife = 366 * 24 * 60 * 60

func (v *Verifier) checkTimes(c Claims) error {
	now, leeway := v.cfg.Now().Unix(), int64(v.cfg.Leeway/time.Second)
	switch {
	case c.ExpiresAt <= 0 || c.IssuedAt <= 0 || c.ExpiresAt-c.IssuedAt > maxLife:
		return ErrMalformed
	case c.IssuedAt > now+leeway || c.NotBefore > now+leeway:
		return ErrFuture
	case now >= c.ExpiresAt+leeway:
		return ErrExpired
	}
	return nil
}

// checkSession asks whether the session of the token, if it has one, has ended.
func (v *Verifier) checkSession(ctx context.Context, sid string) error {
	if v.cfg.Revocations == nil || sid == "" {
		return nil
	}
	revoked, err := v.cfg.Revocations.Revoked(ctx, sid)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if revoked {
		return ErrRevoked
	}
	return nil
}

func decode(segment string, into any) error {
	raw, err := jws.Segment(segment)
	if err != nil {
		return err
	}
	return jws.Object(raw, into)
}
