package oidc

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// Cache keeps what an IdP last said of itself, across restarts.
type Cache interface {
	IdPMetadata(ctx context.Context, issuer, kind string) (document []byte, fetchedAt time.Time, err error)
	SaveIdPMetadata(ctx context.Context, issuer, kind string, document []byte, now time.Time) error
}

// document is something that an IdP publishes: asked for when it is needed, by
// one request at a time, and the last good one is kept. A failure is not
// remembered, so that an IdP that is back is used at once.
type document[T any] struct {
	issuer, kind string
	client       *http.Client
	cache        Cache // may be nil
	now          func() time.Time
	parse        func(raw []byte) (T, error)
	sparing      bool // logins have a budget too
	flight       singleflight.Group

	mu        sync.Mutex
	value     T
	good      bool // value is one
	raw       []byte
	answered  time.Time // when the last good answer came; zero: not since the start
	loaded    bool      // the cache was read
	logins    budget    // good answers that logins asked for
	strangers budget    // everything that strangers asked for
}

// asker says for whom a document is asked for.
type asker string

const (
	// forLogin is a person who is being sent to the IdP, or came back with a code
	// that it redeemed. Only good answers count, so that an IdP that is back is
	// used at once.
	forLogin asker = "login"
	// forStranger is whoever sends us a token. What they make us ask counts
	// whether it is answered or not, and takes nothing from the logins.
	forStranger asker = "stranger"
)

// budget is for two requests a minute: when the last two were.
type budget [2]time.Time

func (b *budget) spend(now time.Time)     { *b = budget{now, b[0]} }
func (b budget) spent(now time.Time) bool { return within(b[1], now, time.Minute) }

// within reports whether something was less than that ago. A clock that was set
// back does not stop anything for longer.
func within(then, now time.Time, age time.Duration) bool {
	since := now.Sub(then)
	return !then.IsZero() && since >= 0 && since < age
}

var errSpent = errors.New("asked twice within a minute, without a good answer")

// last is the last good document, however old.
func (d *document[T]) last(ctx context.Context) (value T, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.good && !d.loaded && d.cache != nil {
		raw, _, err := d.cache.IdPMetadata(ctx, d.issuer, d.kind)
		// If the database has trouble, look again next time.
		d.loaded = err == nil || errors.Is(err, broker.NotFound)
		if stored, err := d.parse(raw); err == nil {
			d.value, d.good, d.raw = stored, true, raw
		}
	}
	return d.value, d.good
}

// answeredWithin reports whether the last good answer is not older than that.
func (d *document[T]) answeredWithin(age time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return within(d.answered, d.now(), age)
}

// ask fetches the document now. Whoever comes meanwhile, and asks for the same
// reason, shares the answer; the one who asked first may go away.
func (d *document[T]) ask(ctx context.Context, from string, who asker) (T, error) {
	got, err, _ := d.flight.Do(string(who)+" "+from, func() (any, error) {
		if value, enough, err := d.enough(who); enough {
			return value, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), idp.CallTimeout)
		defer cancel()
		raw, err := idp.Fetch(ctx, d.client, from)
		if err != nil {
			return nil, err
		}
		value, err := d.parse(raw)
		if err != nil {
			return nil, err
		}
		d.keep(ctx, value, raw, who)
		return value, nil
	})
	if err != nil {
		var none T
		return none, err
	}
	return got.(T), nil
}

// enough reports whether the last good document must do, or, for strangers, an
// error. If not, the caller is about to ask.
func (d *document[T]) enough(who asker) (last T, enough bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	switch {
	case who == forLogin:
		return d.value, d.sparing && d.logins.spent(now), nil
	case !d.strangers.spent(now):
		d.strangers.spend(now)
		return last, false, nil
	case !within(d.answered, now, time.Minute):
		return last, true, errSpent
	}
	return d.value, true, nil
}

func (d *document[T]) keep(ctx context.Context, value T, raw []byte, who asker) {
	d.mu.Lock()
	news := !bytes.Equal(d.raw, raw)
	d.value, d.good, d.raw, d.answered = value, true, raw, d.now()
	if who == forLogin {
		d.logins.spend(d.answered)
	}
	d.mu.Unlock()
	if news && d.cache != nil {
		// Losing this costs a fetch after the next restart, nothing else.
		_ = d.cache.SaveIdPMetadata(ctx, d.issuer, d.kind, raw, d.now())
	}
}
