package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/tokens"
)

// Behind a pooler nobody is told of a change: a server looks for it, as often as is
// promised. What it would read anyway comes an hour later here.
func TestChangesAreLookedFor(t *testing.T) {
	if catchUpEvery > time.Second {
		t.Errorf("it looks every %v", time.Duration(catchUpEvery))
	}
	database := pgtest.Shared(t).NewDatabase(t)
	direct, pooled := harness.New(t, database, nil), harness.New(t, database+"&binary_parameters=yes", nil)
	keepsUp(t, pooled, 10*time.Millisecond)
	comes := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not come", what)
			}
		}
	}
	comes("what the start left for later", func() bool { return len(pooled.Broker.SigningKeys()) == len(tokens.Algorithms) })
	for range 2 {
		kid := pooled.Broker.Signer().ID
		instead, err := direct.Broker.RevokeKey(t.Context(), kid)
		if err != nil {
			t.Fatal(err)
		}
		comes("a signing key", func() bool { return pooled.Broker.Signer().ID == instead })
	}
	var listen int
	err := harness.Open(t, database).QueryRow(`SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN %'`).Scan(&listen)
	if err != nil || listen != 0 {
		t.Errorf("%d connections listen through the pooler: %v", listen, err)
	}
	if err := pooled.Broker.Ready(); err != nil {
		t.Error(err)
	}
}

// PostgreSQL itself tells a server of a change, which then reads it. By itself it would
// look an hour later here.
func TestChangesAreHeardOf(t *testing.T) {
	database := pgtest.Shared(t).NewDatabase(t)
	other, told := harness.New(t, database, nil), harness.New(t, database, nil)
	keepsUp(t, told, time.Hour)
	for range 100 { // before it listens nobody hears of a change
		instead, err := other.Broker.RevokeKey(t.Context(), other.Broker.Signer().ID)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if told.Broker.Signer().ID == instead {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	t.Fatal("it hears of no change")
}

// keepsUp has a server keep up with its database until the test ends.
func keepsUp(t *testing.T, r *harness.Rig, lookEvery time.Duration) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan struct{})
	c := &config{running: &running{}}
	c.running.broker.Store(r.Broker)
	go func() {
		defer close(over)
		c.keepUp(ctx, r.Store, lookEvery, time.Hour, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() { stop(); <-over })
}
