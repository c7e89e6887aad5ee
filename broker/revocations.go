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

type revocationList struct {
	text   string
	of     string // hash of the sessions in it
	kid    string // of the key that signed it
	madeAt time.Time
	seenAt time.Time // when it was last right
}

// Revocations is the signed list of the sessions that ended while an access
// token of theirs may still live: for APIs that check tokens on their own. One
// statement each second at most, whoever asks.
func (b *Broker) Revocations(ctx context.Context) (string, error) {
	c := &b.revocations
	last := c.made.Load()
	if b.stillGood(last, b.now()) {
		return last.text, nil
	}
	c.making.Lock()
	defer c.making.Unlock()
	now := b.now()
	if last = c.made.Load(); b.stillGood(last, now) {
		return last.text, nil // somebody else has just made it
	}
	list, err := b.makeRevocations(ctx, last, now)
	if err != nil {
		return "", err
	}
	c.made.Store(list)
	return list.text, nil
}

// stillGood reports whether a list can be served as it is; one by a key that was
// taken back cannot.
func (b *Broker) stillGood(l *revocationList, now time.Time) bool {
	return l.fresh(now) && len(b.keys.Load().PublicKeys(l.kid)) > 0
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
		made.text, made.madeAt, made.kid = last.text, last.madeAt, last.kid
		return &made, nil
	}
	signer, err := b.idSigner(ctx, "ES256", now)
	if err != nil {
		return nil, err
	}
	made.kid = signer.ID
	made.text, err = signer.MintRevocations(tokens.RevocationClaims{
		Issuer: b.cfg.PublicURL, IssuedAt: now.Unix(), ExpiresAt: now.Add(revocationsLife).Unix(), Sessions: ended,
	})
	if err != nil {
		return nil, Unavailable(err)
	}
	return &made, nil
}
