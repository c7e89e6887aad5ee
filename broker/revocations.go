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
	madeAt time.Time
	seenAt time.Time // when it was last right
}

// Revocations is the signed list of the sessions that ended while an access
// token of theirs may still live: for APIs that check tokens on their own. One
// statement each second at most, whoever asks.
func (b *Broker) Revocations(ctx context.Context) (string, error) {
	c := &b.revocations
	last := c.made.Load()
	if last.fresh(b.now()) {
		return last.text, nil
	}
	c.making.Lock()
	defer c.making.Unlock()
	now := b.now()
	if last = c.made.Load(); last.fresh(now) {
		return last.text, nil // somebody else has just made it
	}
	list, err := b.makeRevocations(ctx, last, now)
	if err != nil {
		return "", err
	}
	c.made.Store(list)
	return list.text, nil
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
	if last != nil && last.of == made.of && now.Sub(last.madeAt) < revocationsLife/2 {
		made.text, made.madeAt = last.text, last.madeAt
		return &made, nil
	}
	signer, err := b.idSigner(ctx, "ES256", now)
	if err != nil {
		return nil, err
	}
	made.text, err = signer.MintRevocations(tokens.RevocationClaims{
		Issuer: b.cfg.PublicURL, IssuedAt: now.Unix(), ExpiresAt: now.Add(revocationsLife).Unix(), Sessions: ended,
	})
	if err != nil {
		return nil, Unavailable(err)
	}
	return &made, nil
}
