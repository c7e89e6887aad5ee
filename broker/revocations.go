package broker

import (
	"context"
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
	madeAt time.Time
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
	list, err := b.makeRevocations(ctx, now)
	if err == nil {
		c.made.Store(&revocationList{list, now})
	}
	return list, err
}

func (l *revocationList) fresh(now time.Time) bool {
	if l == nil {
		return false
	}
	age := now.Sub(l.madeAt)
	return age >= 0 && age < revocationsFresh
}

func (b *Broker) makeRevocations(ctx context.Context, now time.Time) (string, error) {
	since := now.Add(-time.Duration(b.longestAccess.Load()) - 2*clockLeeway)
	ended, err := b.cfg.Store.EndedSince(ctx, since)
	if err != nil {
		return "", err
	}
	signer, err := b.idSigner(ctx, "ES256", now)
	if err != nil {
		return "", err
	}
	list, err := signer.MintRevocations(tokens.RevocationClaims{
		Issuer: b.cfg.PublicURL, IssuedAt: now.Unix(), ExpiresAt: now.Add(revocationsLife).Unix(), Sessions: ended,
	})
	if err != nil {
		return "", Unavailable(err)
	}
	return list, nil
}
