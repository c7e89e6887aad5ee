package broker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// revocationsFresh is how long a made list is served, on each replica.
const revocationsFresh = time.Second

// revocationsLife is how long a list says of itself that it may be believed, in
// case a reader can reach nobody.
const revocationsLife = time.Hour

type revocationCache struct {
	making sync.Mutex // held by the one who makes the next list
	made   atomic.Pointer[revocationList]
}

// SignedRevocations is the signed list of the sessions that ended. Nobody changes Text.
type SignedRevocations struct {
	Text []byte
	Tag  string // of this text and no other (RFC 9110 section 8.8.3), without quotes
}

type revocationList struct {
	SignedRevocations
	of     string // hash of the sessions in it
	kid    string // of the key that signed it
	madeAt time.Time
	seenAt time.Time // when it was last right
	err    error     // why none could be made then; what else there is, is of the one before
}

// Revocations is the signed list of the sessions that ended while an access
// token of theirs may still live: for APIs that check tokens on their own. One
// statement each second at most, whoever asks, and whether or not it can be made.
func (b *Broker) Revocations(ctx context.Context) (SignedRevocations, error) {
	c := &b.revocations
	last := c.made.Load()
	if b.stillGood(last, b.now()) {
		return last.SignedRevocations, last.err
	}
	c.making.Lock()
	defer c.making.Unlock()
	now := b.now()
	if last = c.made.Load(); b.stillGood(last, now) {
		return last.SignedRevocations, last.err // somebody else has just made it
	}
	list, err := b.makeRevocations(ctx, last, now)
	if err != nil {
		if ctx.Err() == nil { // whoever goes away spoils it for nobody
			c.made.Store(last.failed(err, b.now())) // which may be long after
		}
		return SignedRevocations{}, err
	}
	c.made.Store(list)
	return list.SignedRevocations, nil
}

// failed is a list that could not be made; the text of the one before is kept for when
// it is right again, and is not served meanwhile.
func (l *revocationList) failed(err error, now time.Time) *revocationList {
	out := revocationList{}
	if l != nil {
		out = *l
	}
	out.err, out.seenAt = err, now
	return &out
}

// stillGood reports whether a list, or that there is none, can be said as it is; one by
// a key that was taken back cannot.
func (b *Broker) stillGood(l *revocationList, now time.Time) bool {
	return l.fresh(now) && (l.err != nil || len(b.keys.Load().PublicKeys(l.kid)) > 0)
}

func (l *revocationList) fresh(now time.Time) bool {
	if l == nil {
		return false
	}
	age := now.Sub(l.seenAt)
	return age >= 0 && age < revocationsFresh
}

// makeRevocations signs a list, or takes the last one where nothing changed: its
// readers then need not fetch it again.
func (b *Broker) makeRevocations(ctx context.Context, last *revocationList, now time.Time) (*revocationList, error) {
	since := now.Add(-time.Duration(b.longestAccess.Load()) - 2*clockLeeway)
	ended, err := b.cfg.Store.EndedSince(ctx, since)
	if err != nil {
		return nil, err
	}
	slices.Sort(ended)
	made := revocationList{of: hash(ended...), madeAt: now, seenAt: now}
	if last != nil && last.of == made.of && now.Sub(last.madeAt) < revocationsLife/2 && len(b.keys.Load().PublicKeys(last.kid)) > 0 {
		made.SignedRevocations, made.madeAt, made.kid = last.SignedRevocations, last.madeAt, last.kid
		return &made, nil
	}
	signer, err := b.idSigner(ctx, "ES256", now)
	if err != nil {
		return nil, err
	}
	made.kid = signer.ID
	text, err := signer.MintRevocations(tokens.RevocationClaims{
		Issuer: b.cfg.PublicURL, IssuedAt: now.Unix(), ExpiresAt: now.Add(revocationsLife).Unix(), Sessions: ended,
	})
	if err != nil {
		return nil, Unavailable(err)
	}
	made.SignedRevocations = SignedRevocations{Text: []byte(text), Tag: hash(text)}
	return &made, nil
}
