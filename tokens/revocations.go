package tokens

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/tokens/internal/jws"
)

// TypeRevocations is the JOSE typ of a list of ended sessions.
const TypeRevocations = "revocations+jwt"

// MaxRevocationBytes bounds a list; it has room for about 290 000 sessions.
const MaxRevocationBytes = 4 << 20

// ErrRevocations says that a list of ended sessions was not accepted.
var ErrRevocations = errors.New("tokens: not a current list of ended sessions of this issuer")

// RevocationClaims name the sessions that ended before their access tokens did.
// Times are Unix seconds; ExpiresAt is until when a reader may take the list
// for a new one.
type RevocationClaims struct {
	Issuer    string
	IssuedAt  int64
	ExpiresAt int64
	Sessions  []string // their sids, in any order
}

// revocationPayload is the list as it travels. Ended is the first 8 bytes of
// SHA-256 of each sid, ascending, one after the other, base64url. They tell
// nobody a sid, and another session's is among them once in 2^64 divided by
// their number.
type revocationPayload struct {
	Issuer    string `json:"iss"`
	IssuedAt  int64  `json:"iat"`
	ExpiresAt int64  `json:"exp"`
	Ended     string `json:"ended"`
}

const prefixBytes = 8

func sessionPrefix(sid string) uint64 {
	sum := sha256.Sum256([]byte(sid))
	return binary.BigEndian.Uint64(sum[:])
}

// MintRevocations signs a list of ended sessions. A shared key is refused, and
// so is a list that [ParseRevocations] would find too long.
func (k *SigningKey) MintRevocations(c RevocationClaims) (string, error) {
	prefixes := make([]uint64, 0, len(c.Sessions))
	for _, sid := range c.Sessions {
		prefixes = append(prefixes, sessionPrefix(sid))
	}
	slices.Sort(prefixes)
	prefixes = slices.Compact(prefixes)
	ended := make([]byte, 0, len(prefixes)*prefixBytes)
	for _, p := range prefixes {
		ended = binary.BigEndian.AppendUint64(ended, p)
	}
	raw, err := k.mintPublic(TypeRevocations, revocationPayload{c.Issuer, c.IssuedAt, c.ExpiresAt, base64.RawURLEncoding.EncodeToString(ended)})
	if err == nil && len(raw) > MaxRevocationBytes {
		return "", fmt.Errorf("tokens: %d ended sessions are too many for a list", len(prefixes))
	}
	return raw, err
}

// RevocationList is a list that was read. It is safe for concurrent use. The
// zero value names nobody.
type RevocationList struct {
	IssuedAt  time.Time
	ExpiresAt time.Time
	prefixes  []uint64
}

// Len is the number of sessions on the list.
func (l RevocationList) Len() int { return len(l.prefixes) }

// Has reports whether the session has ended.
func (l RevocationList) Has(sid string) bool {
	_, there := slices.BinarySearch(l.prefixes, sessionPrefix(sid))
	return there
}

// ParseRevocations checks type, signature, issuer and times of a list. An error
// is [ErrRevocations], or wraps [ErrKeys] where the keys could not be had.
func ParseRevocations(ctx context.Context, raw, issuer string, keys KeySource, now time.Time) (RevocationList, error) {
	m, err := jws.Parse(raw, MaxRevocationBytes)
	if err != nil || m.Type() != TypeRevocations {
		return RevocationList{}, ErrRevocations
	}
	found, err := keys.Keys(ctx, m.Header.KeyID)
	if err != nil {
		return RevocationList{}, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	var payload revocationPayload
	if !m.SignedByOne(found, Algorithms) || m.Claims(&payload) != nil || issuer == "" || payload.Issuer != issuer {
		return RevocationList{}, ErrRevocations
	}
	issued, expires := time.Unix(payload.IssuedAt, 0), time.Unix(payload.ExpiresAt, 0)
	if payload.IssuedAt <= 0 || issued.Sub(now) > clockLeeway || now.Sub(expires) >= clockLeeway {
		return RevocationList{}, ErrRevocations
	}
	prefixes, ok := readPrefixes(payload.Ended)
	if !ok {
		return RevocationList{}, ErrRevocations
	}
	return RevocationList{IssuedAt: issued, ExpiresAt: expires, prefixes: prefixes}, nil
}

func readPrefixes(text string) ([]uint64, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw)%prefixBytes != 0 {
		return nil, false
	}
	prefixes := make([]uint64, 0, len(raw)/prefixBytes)
	for ; len(raw) > 0; raw = raw[prefixBytes:] {
		prefixes = append(prefixes, binary.BigEndian.Uint64(raw))
	}
	return prefixes, slices.IsSorted(prefixes)
}
