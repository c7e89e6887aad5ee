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
	// sparing: what strangers send makes us ask, so at most twice a minute.
	sparing bool
	flight  singleflight.Group

	mu      sync.Mutex
	value   T
	good    bool // value is one
	raw     []byte
	answers [2]time.Time // when the last two good answers came; zero: not since the start
	loaded  bool         // the cache was read
}

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
	return d.younger(d.answers[0], age)
}

func (d *document[T]) younger(answer time.Time, age time.Duration) bool {
	since := d.now().Sub(answer)
	return !answer.IsZero() && since >= 0 && since < age
}

// ask fetches the document now. Whoever comes meanwhile shares the answer; the
// one who asked first may go away.
func (d *document[T]) ask(ctx context.Context, from string) (T, error) {
	got, err, _ := d.flight.Do(from, func() (any, error) {
		if value, enough := d.enough(); enough {
			return value, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		raw, err := fetch(ctx, d.client, from)
		if err != nil {
			return nil, err
		}
		value, err := d.parse(raw)
		if err != nil {
			return nil, err
		}
		d.keep(ctx, value, raw)
		return value, nil
	})
	if err != nil {
		var none T
		return none, err
	}
	return got.(T), nil
}

// enough reports whether the last good document must do.
func (d *document[T]) enough() (T, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.value, d.sparing && d.younger(d.answers[1], time.Minute)
}

func (d *document[T]) keep(ctx context.Context, value T, raw []byte) {
	d.mu.Lock()
	news := !bytes.Equal(d.raw, raw)
	d.value, d.good, d.raw = value, true, raw
	d.answers = [2]time.Time{d.now(), d.answers[0]}
	d.mu.Unlock()
	if news && d.cache != nil {
		// Losing this costs a fetch after the next restart, nothing else.
		_ = d.cache.SaveIdPMetadata(ctx, d.issuer, d.kind, raw, d.now())
	}
}
