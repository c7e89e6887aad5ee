package broker

import (
	"context"
	"crypto/subtle"
	"time"
)

// useOnce reports whether what the parts name was not used before; it is
// remembered until it expires, on every replica.
func (b *Broker) useOnce(ctx context.Context, expiresAt time.Time, parts ...string) (fresh bool, err error) {
	id := hash(parts...)
	err = b.retry(ctx, func() (err error) {
		fresh, err = b.cfg.Store.UseOnce(ctx, id, expiresAt)
		return err
	})
	return fresh, err
}

// constantEqual compares secrets.
func constantEqual(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
