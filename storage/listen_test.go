package storage_test

import (
	"context"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

// PostgreSQL itself wakes whoever listens for changes, and again after the connection
// was cut. Nothing here looks by itself.
func TestChangesWakeWhoListens(t *testing.T) {
	url := pgtest.Shared(t).NewDatabase(t)
	s, other, db := open(t, url), open(t, url), raw(t, url)
	listening, stop := context.WithCancel(ctx)
	wake, over := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(over)
		s.Listen(listening, wake)
	}()
	t.Cleanup(func() {
		stop()
		<-over
	})
	// woken changes something until that wakes: before it listens nobody hears it.
	woken := func(change func(context.Context) error) {
		t.Helper()
		for range 100 {
			if err := change(ctx); err != nil {
				t.Fatal(err)
			}
			select {
			case <-wake:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
		t.Fatal("nobody woke")
	}
	nothing := func(context.Context) error { return nil }

	woken(other.NoteChange)
	var cut bool
	if err := db.QueryRow(`SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN %'`).Scan(&cut); err != nil || !cut {
		t.Fatalf("the connection that listens was not cut: %v", err)
	}
	woken(nothing) // something may have been missed
	woken(other.NoteChange)
}
