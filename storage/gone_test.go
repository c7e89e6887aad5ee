package storage_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// Callers who go away while PostgreSQL works for them cost it no connection: a crowd
// that gives up would otherwise have it make connections and do nothing else.
func TestGoneCallersCostNoConnections(t *testing.T) {
	// The limits of the server would end the first wait before the last has begun.
	s, db, u, letGo := heldUser(t, "&lock_timeout=60000&statement_timeout=60000")
	leaving, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() { _ = s.UpdateUser(leaving, u) })
	}
	waiting := areWaiting(t, db, 4)
	giveUp()
	letGo()
	callers.Wait()
	// Others ask on the same connections. One that was given up was closed before its
	// caller was told; its server may take a moment to go.
	for range 20 {
		if err := s.UpdateUser(ctx, u); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, pid := range waiting {
		if left := backends(t, db, ""); !slices.Contains(left, pid) {
			t.Errorf("connection %d is gone; there are %v", pid, left)
		}
	}
}

// Behind a pooler, which knows no limits on statements, who gives up is heard, and does
// not wait until the row is let go.
func TestGoneCallersAreHeardBehindAPooler(t *testing.T) {
	s, db, u, letGo := heldUser(t, "&binary_parameters=yes")
	leaving, giveUp := context.WithCancel(ctx)
	defer giveUp()
	gone := make(chan error, 1)
	go func() { gone <- s.UpdateUser(leaving, u) }()
	areWaiting(t, db, 1)
	giveUp()
	select {
	case err := <-gone:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up is told %v", err)
		}
	case <-time.After(20 * time.Second):
		letGo()
		t.Fatalf("who gave up waited until the row was let go: %v", <-gone)
	}
}

// heldUser is a store, by parameters, of a user whose row somebody else holds.
func heldUser(t *testing.T, parameters string) (s *storage.Store, db *sql.DB, u broker.User, letGo func()) {
	t.Helper()
	url := pgtest.Shared(t).NewDatabase(t)
	s, db, u = open(t, url+parameters), raw(t, url), newUser("anna")
	if err := s.InsertUser(ctx, u); err != nil {
		t.Fatal(err)
	}
	return s, db, u, hold(t, db, u.ID)
}

// hold locks the row of a user until the test ends or lets it go.
func hold(t *testing.T, db *sql.DB, id string) (letGo func()) {
	t.Helper()
	holder, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Rollback() })
	if _, err := holder.Exec(`SELECT 1 FROM users WHERE id = $1 FOR UPDATE`, id); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := holder.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}

// areWaiting gives the connections that wait for a lock once there are so many.
func areWaiting(t *testing.T, db *sql.DB, want int) (pids []int) {
	t.Helper()
	for range 10_000 {
		if pids = backends(t, db, `AND wait_event_type = 'Lock'`); len(pids) == want {
			return pids
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("connections %v wait, want %d", pids, want)
	return nil
}

// backends are the connections to the database of db, but for the one that asks.
func backends(t *testing.T, db *sql.DB, where string) (pids []int) {
	t.Helper()
	rows, err := db.Query(`SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ` + where + ` ORDER BY pid`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
