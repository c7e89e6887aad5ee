package storm

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

// holdRow keeps everybody from writing a session, until release.
func holdRow(t *testing.T, database, id string) (release func()) {
	t.Helper()
	if strings.HasPrefix(database, "sqlite:") {
		return lockDatabase(t, database)
	}
	tx, err := openDB(t, database).Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE`, id); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// R01: killed while a refresh waits to be written, the token is as good as before.
func TestKilledBeforeTheCommit(t *testing.T) {
	const grace = time.Second // in a long storm too, in which nobody else comes
	for name, database := range map[string]string{"SQLite": sqliteURL(t), "PostgreSQL": pgtest.Shared(t).NewDatabase(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, db := start(t, database, "REFRESH_TOKEN_GRACE_PERIOD=1"), openDB(t, database)
			id, token := login(p)
			rounds := stormSize(t).writes
			for round := range rounds {
				time.Sleep(grace)
				release := holdRow(t, database, id)
				answered := make(chan error, 1)
				go func() {
					_, err := post(context.Background(), patient, p.url("/auth/refresh"), token, "")
					answered <- err
				}()
				time.Sleep(between(grace/10, grace/2))
				p.kill()
				if err := <-answered; err == nil {
					t.Fatal("a refresh that cannot be written was answered")
				}
				release()
				p.launch()
				p.waitFor("/readyz", http.StatusOK, 30*time.Second)
				r := refreshOnce(p, token)
				if r.status != http.StatusOK {
					t.Fatalf("round %d: %v", round, r)
				}
				_, token = r.tokens()
				g, b := pair(token)
				if g != round+1 || b > 1 || number(t, db, `SELECT COUNT(*) FROM sessions WHERE rt_gen = $1 AND rt_branch = $2`, g, b) != 1 {
					t.Errorf("round %d: the session is at (%d, %d)", round, g, b)
				}
			}
			if n := number(t, db, `SELECT COUNT(*) FROM sessions`); n != 1 {
				t.Errorf("%d sessions", n)
			}
			record(t, fmt.Sprintf("%d kills while a refresh was under way that nobody could write: each time the same token was answered 200 afterwards, and there is one row", rounds))
		})
	}
}

// R17: somebody else writes into the SQLite file for ten seconds. Devices are told to
// come again, or wait, and nobody is refused; what is read is answered.
func TestSQLiteWriterIsBlocked(t *testing.T) {
	t.Parallel()
	database := sqliteURL(t)
	p := start(t, database)
	devices := crowd(p, openDB(t, database), 40)
	access := accessOf(devices[0].refresh(p))
	time.Sleep(grace)
	release := lockDatabase(t, database)
	free := time.AfterFunc(10*time.Second, release)
	defer free.Stop()
	over := make(chan []reply)
	began := time.Now()
	go func() { over <- atOnce(p, devices) }()
	if r := call(p, "GET", "/api/me", access, ""); r.status != http.StatusOK {
		t.Errorf("a read meanwhile: %v", r)
	}
	waited := 0
	for i, r := range <-over {
		if r.status != http.StatusOK && !r.later() {
			t.Errorf("device %d: %v", i, r)
		}
		if r.status != http.StatusOK {
			waited++
		}
	}
	if waited == 0 {
		t.Error("the writer was not blocked")
	}
	if took := time.Since(began); took > 25*time.Second {
		t.Errorf("the last one was answered after %v", took)
	}
	heal(p, devices, 30*time.Second)
}

// R18: refreshes alone have SQLite write its log back. A reader that stays keeps it
// from that: nobody waits, the log grows with what is written and no more, and is
// given back once the reader is gone.
func TestSQLiteLongReader(t *testing.T) {
	t.Parallel()
	database := sqliteURL(t)
	metrics := freeAddress(t)
	p := start(t, database, "LATCHKEY_METRICS_LISTEN="+metrics)
	db := openDB(t, database)
	devices := crowd(p, db, 400)
	after := func(rounds int) int64 {
		t.Helper()
		for range rounds {
			time.Sleep(grace)
			for i, d := range devices {
				if r := d.refresh(p); r.status != http.StatusOK {
					t.Fatalf("device %d: %v", i, r)
				}
			}
		}
		info, err := os.Stat(strings.TrimPrefix(database, "sqlite:") + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if said := gauges(t, metrics)("latchkey_db_sqlite_log_bytes"); int64(said) != info.Size() {
			t.Errorf("the metrics say that the log is %d bytes long, it is %d", said, info.Size())
		}
		return info.Size()
	}
	alone := after(4)
	if alone > 5<<20 { // a thousand pages, and what one transaction writes
		t.Errorf("refreshes alone made the log %d bytes long", alone)
	}
	ctx := context.Background()
	reader, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var n int
	if _, err := reader.ExecContext(ctx, `BEGIN DEFERRED`); err != nil {
		t.Fatal(err)
	}
	if err := reader.QueryRowContext(ctx, `SELECT COUNT(*) FROM sessions`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	began, rounds := time.Now(), 5
	held := after(rounds)
	for ; time.Since(began) < stormSize(t).reader; rounds++ {
		held = after(1)
	}
	stayed := time.Since(began).Round(time.Second)
	if most := alone + int64(rounds*len(devices)*32<<10); held > most || held < 9<<20 {
		t.Errorf("with a reader the log is %d bytes long, want 9 MiB to %d", held, most)
	}
	if _, err := reader.ExecContext(ctx, `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	freed := after(3)
	if freed > 8<<20 {
		t.Errorf("without the reader the log is %d bytes long", freed)
	}
	record(t, fmt.Sprintf("%d refreshes alone: a log of %d bytes; %d more beside a reader that stayed for %v: %d bytes; after it: %d bytes; every refresh was answered 200",
		4*len(devices), alone, rounds*len(devices), stayed, held, freed))
}
