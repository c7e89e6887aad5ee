package broker

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"
)

// useOnce reports whether what the parts name was not used before; it is
// remembered until it expires, on every replica.
func (b *Broker) useOnce(ctx context.Context, expiresAt time.Time, parts ...string) (fresh bool, err error) {
	id, tried := hash(parts...), false
	err = b.retry(ctx, func() (err error) {
		fresh, err = b.cfg.Store.UseOnce(ctx, id, expiresAt)
		if err == nil && !fresh && tried {
			// Perhaps by ourselves, whose answer was lost: nobody is accused.
			return Unavailable(errors.New("not known whether it was used before"))
		}
		tried = true
		return err
	})
	return fresh, err
}

// constantEqual compares secrets.
func constantEqual(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
