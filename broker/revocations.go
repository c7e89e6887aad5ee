package broker

import (
	"context"
	"sync"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// revocationsFresh is how long a made list is served, on each replica.
const revocationsFresh = time.Second

// revocationsLife is how long a list says of itself that it may be believed, in
// case a reader can reach nobody.
const revocationsLife = time.Hour

type revocationCache struct {
	mu     sync.Mutex
	list   string
	madeAt time.Time
}

// Revocations is the signed list of the sessions that ended while an access
// token of theirs may still live: for APIs that check tokens on their own. One
// statement each second at most, whoever asks.
func (b *Broker) Revocations(ctx context.Context) (string, error) {
	c := &b.revocations
	c.mu.Lock()
	defer c.mu.Unlock()
	now := b.now()
	if age := now.Sub(c.madeAt); c.list != "" && age >= 0 && age < revocationsFresh {
		return c.list, nil
	}
	since := now.Add(-time.Duration(b.longestAccess.Load()) - 2*clockLeeway)
	ended, err := b.cfg.Store.EndedSince(ctx, since)
	if err != nil {
		return "", err
	}
	signer := b.keys.Load().IDSigner("ES256", now)
	if signer == nil {
		return "", Unavailable(errNoSigningKey)
	}
	list, err := signer.MintRevocations(tokens.RevocationClaims{
		Issuer: b.cfg.PublicURL, IssuedAt: now.Unix(), ExpiresAt: now.Add(revocationsLife).Unix(), Sessions: ended,
	})
	if err != nil {
		return "", Unavailable(err)
	}
	c.list, c.madeAt = list, now
	return list, nil
}
