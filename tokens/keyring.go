package tokens

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// KeyRing is an immutable set of signing keys. Replace it whole to change it.
type KeyRing struct {
	keys  []*SigningKey
	hints []*SigningKey
	jwks  []byte
}

// WithHintKeys returns the ring with keys besides that have left it, and check
// nothing but what [KeyRing.ParseIDToken] reads.
func (r *KeyRing) WithHintKeys(keys []*SigningKey) *KeyRing {
	return &KeyRing{keys: r.keys, hints: keys, jwks: r.jwks}
}

// HintKeys lists what was given to [KeyRing.WithHintKeys].
func (r *KeyRing) HintKeys() []*SigningKey { return r.hints }

// NewKeyRing publishes all asymmetric keys given; which of them signs is decided
// at each use by [KeyRing.Signer]. A shared key is never published.
func NewKeyRing(keys []*SigningKey) (*KeyRing, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		if k.private != nil {
			set.Keys = append(set.Keys, k.Public())
		}
	}
	jwks, err := json.Marshal(set)
	return &KeyRing{keys: keys, jwks: jwks}, err
}

// Keys lists the ring, in the order given to [NewKeyRing].
func (r *KeyRing) Keys() []*SigningKey { return r.keys }

// JWKS is the public key set as JSON (RFC 7517 section 5).
func (r *KeyRing) JWKS() []byte { return r.jwks }

// Signer picks the newest active key of the algorithm for access tokens; while
// such a key is published but not yet active, the newest active key of another
// one signs on. That is never a shared key: HS256 signs only where it was asked
// for. Where none is active, because the clock was set back, the oldest that is not
// retired signs. It returns nil for a ring without such a key.
func (r *KeyRing) Signer(algorithm string, now time.Time) *SigningKey {
	own := func(k *SigningKey) bool { return k.Algorithm == algorithm }
	published := func(k *SigningKey) bool { return k.private != nil }
	return cmp.Or(r.newest(now, own), r.newest(now, published), r.oldest(own), r.oldest(published))
}

// IDSigner picks the newest active key of exactly that asymmetric algorithm, or
// where none is active the oldest that is not retired, for what others check with
// the published keys: a client that registered for an algorithm takes no other. It
// returns nil where there is none.
func (r *KeyRing) IDSigner(algorithm string, now time.Time) *SigningKey {
	fit := func(k *SigningKey) bool { return k.private != nil && k.Algorithm == algorithm }
	return cmp.Or(r.newest(now, fit), r.oldest(fit))
}

// newest is the key that became active last, of those that are active and fit.
func (r *KeyRing) newest(now time.Time, fit func(*SigningKey) bool) (best *SigningKey) {
	for _, k := range r.keys {
		active := !k.ActiveAt.After(now) && (k.RetiredAt.IsZero() || k.RetiredAt.After(now))
		if active && fit(k) && (best == nil || k.ActiveAt.After(best.ActiveAt)) {
			best = k
		}
	}
	return best
}

// oldest is the key that is to become active first, of those that are not retired
// and fit: it was published for longest.
func (r *KeyRing) oldest(fit func(*SigningKey) bool) (best *SigningKey) {
	for _, k := range r.keys {
		if k.RetiredAt.IsZero() && fit(k) && (best == nil || k.ActiveAt.Before(best.ActiveAt)) {
			best = k
		}
	}
	return best
}

// PublicKeys returns the public keys with that kid. A shared key is not among
// them.
func (r *KeyRing) PublicKeys(kid string) []jose.JSONWebKey { return publicOf(r.keys, kid) }

func publicOf(keys []*SigningKey, kid string) []jose.JSONWebKey {
	for _, k := range keys {
		if k.ID == kid && k.private != nil {
			return []jose.JSONWebKey{k.Public()}
		}
	}
	return nil
}

// VerificationKeys returns the keys with that kid, shared ones too, for
// checking Latchkey's own tokens in its own process. A shared key comes as
// bytes with the algorithm HS256: the result must never be published.
func (r *KeyRing) VerificationKeys(kid string) []jose.JSONWebKey {
	for _, k := range r.keys {
		if k.ID == kid && k.private == nil {
			return []jose.JSONWebKey{{Key: k.shared, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}}
		}
	}
	return r.PublicKeys(kid)
}
