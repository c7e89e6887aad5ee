package broker

import (
	"context"
	"crypto/subtle"
	"errors"
	"strconv"
	"strings"
	"time"
)

// transaction runs f in a transaction of the store.
type transaction func(ctx context.Context, f func(Store) error) error

// onceTx is one transaction, however often it is run: once a run has committed,
// another changes nothing and is no error. So a COMMIT whose answer was lost is
// known for what it is, and what the run that committed left in f's variables holds.
// The first run writes the name at its end, so that what is refused has written
// nothing; a later one at its beginning, so that it waits for a COMMIT that is still
// under way.
func (b *Broker) onceTx() transaction {
	id, again := b.newID(b.now()), false
	named := func(ctx context.Context, store Store) error {
		first, err := store.UseOnce(ctx, id, b.now().Add(b.cfg.RetryFor)) // and swept with a margin
		if err == nil && !first {
			err = errCommitted
		}
		return err
	}
	return func(ctx context.Context, f func(Store) error) error {
		later := again
		again = true
		err := b.cfg.Store.Tx(ctx, func(store Store) error {
			if later {
				if err := named(ctx, store); err != nil {
					return err
				}
				return f(store)
			}
			if err := f(store); err != nil {
				return err
			}
			return named(ctx, store)
		})
		if errors.Is(err, errCommitted) {
			return nil
		}
		return err
	}
}

// errCommitted ends a run of a transaction that has committed before.
var errCommitted = errors.New("an earlier run has committed")

// using is a way of the store to note what is used once.
type using func(ctx context.Context, id string, expiresAt time.Time) (fresh bool, err error)

// useOnce reports whether what the parts name was not used before; it is
// remembered until it expires, on every replica.
func (b *Broker) useOnce(ctx context.Context, use using, expiresAt time.Time, parts ...string) (fresh bool, err error) {
	id, tried := hash(parts...), false
	err = b.retry(ctx, func() (err error) {
		fresh, err = use(ctx, id, expiresAt)
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

// formLife is how long a form may lie open before it is sent.
const formLife = 24 * time.Hour

const tagForm = "form"

// FormTicket is what a page's form carries that does its work once, however
// often a browser sends it: it is good for one user and a day. It is no secret.
func (b *Broker) FormTicket(userID string) string {
	text := strconv.FormatInt(b.now().UnixMilli(), 10) + "." + b.newSecret(16)
	return b.cfg.Secrets.Current().Tag(tagForm, userID, text) + "." + text
}

// takeTicket uses a ticket up, inside the transaction that does the work: where
// that fails, the form may be sent again.
func (b *Broker) takeTicket(ctx context.Context, store Store, userID, ticket string) error {
	tag, text, _ := strings.Cut(ticket, ".")
	made, _, _ := strings.Cut(text, ".")
	ms, err := strconv.ParseInt(made, 10, 64)
	end := time.UnixMilli(ms).Add(formLife)
	if err != nil || !b.now().Before(end) || !b.cfg.Secrets.CheckTag(tag, tagForm, userID, text) {
		return refuse(FormUsed, "this form is older than a day, or not one of yours; open the page again")
	}
	fresh, err := store.UseOnce(ctx, hash(tagForm, ticket), end)
	if err == nil && !fresh {
		err = refuse(FormUsed, "this form was sent already, and did its work then")
	}
	return err
}

// SealTyped seals what a user typed into the page at path, for the browser to keep
// while its person logs in anew. [Broker.OpenTyped] opens it for that user and page.
func (b *Broker) SealTyped(userID, path string, typed []byte) string {
	return b.cfg.Secrets.Current().Seal(typedPlace(userID, path), typed)
}

// OpenTyped opens what [Broker.SealTyped] sealed.
func (b *Broker) OpenTyped(userID, path, sealed string) ([]byte, error) {
	return b.cfg.Secrets.Open(typedPlace(userID, path), sealed)
}

func typedPlace(userID, path string) string { return "typed." + userID + "." + path }
