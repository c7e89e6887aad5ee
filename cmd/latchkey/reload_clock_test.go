package main

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// Events go, and keys are replaced, when they are a day old at the least: that a reload
// changes when is seen in the process, whose clock is set on.
func TestReloadOfWhatTakesADay(t *testing.T) {
	clock, folder := harness.NewClock(), t.TempDir()
	read := func(settings string) *config {
		t.Helper()
		c, err := load(t, settings+"data_dir: "+folder+"\n", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.now = clock.Now
		return c
	}
	was, ctx := read("audit_retention: 9d\ntokens: {key_rotation: 9d}\n"), t.Context()
	r := &running{log: slog.New(slog.DiscardHandler), front: newFront(), read: func() (*config, error) {
		return read("audit_retention: 1d\ntokens: {key_rotation: 1d}\n"), nil
	}}
	was.running = r
	b, store := brokerOf(t, was)
	r.opened(store, b)
	r.config.Store(was)
	if err := store.InsertEvent(ctx, broker.Event{ID: "old", At: clock.Now(), Name: broker.EventUserUpdated}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(25 * time.Hour)
	// comes does what is due, and gives how many events are left and keys are published.
	comes := func() (events, keys int) {
		t.Helper()
		b := r.broker.Load()
		list, err := []broker.Event{}, errors.Join(b.Sweep(ctx), b.Attend(ctx))
		if err == nil {
			list, err = b.Events(ctx, broker.EventFilter{Name: broker.EventUserUpdated, Limit: 10})
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range b.SigningKeys() {
			if k.State == broker.KeyPublished {
				keys++
			}
		}
		return len(list), keys
	}
	if events, keys := comes(); events != 1 || keys != 0 {
		t.Errorf("before the reload %d events are left and %d keys are published", events, keys)
	}
	_, changed, err := r.reread(ctx)
	if slices.Sort(changed.keys); err != nil || !slices.Equal(changed.keys, []string{"audit_retention", "tokens.key_rotation"}) {
		t.Fatal(changed, err)
	}
	if events, keys := comes(); events != 0 || keys == 0 {
		t.Errorf("after the reload %d events are left and %d keys are published", events, keys)
	}
}
