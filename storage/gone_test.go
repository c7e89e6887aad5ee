package storage_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

// Callers who go away while PostgreSQL works for them cost it no connection: a crowd
// that gives up would otherwise have it make connections and do nothing else.
func TestGoneCallersCostNoConnections(t *testing.T) {
	url := pgtest.Shared(t).NewDatabase(t)
	// The limits of the server would end the first wait before the last has begun.
	s, db := open(t, url+"&lock_timeout=60000&statement_timeout=60000"), raw(t, url)
	u := newUser("anna")
	if err := s.InsertUser(ctx, u); err != nil {
		t.Fatal(err)
	}
	backends := func(where string) (pids []int) {
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
	holder, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback() }()
	if _, err := holder.Exec(`UPDATE users SET username = username WHERE id = $1`, u.ID); err != nil {
		t.Fatal(err)
	}
	leaving, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() { _ = s.UpdateUser(leaving, u) })
	}
	var waiting []int
	for range 10_000 {
		if waiting = backends(`AND wait_event_type = 'Lock'`); len(waiting) == 4 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	giveUp()
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	callers.Wait()
	if len(waiting) != 4 {
		t.Fatalf("connections %v wait, want 4", waiting)
	}
	// Others ask on the same connections. One that was given up was closed before its
	// caller was told; its server may take a moment to go.
	for range 20 {
		if err := s.UpdateUser(ctx, u); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, pid := range waiting {
		if left := backends(""); !slices.Contains(left, pid) {
			t.Errorf("connection %d is gone; there are %v", pid, left)
		}
	}
}
