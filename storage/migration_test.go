package storage_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/migrations"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// migrateTo makes the schema of an older program in a new database.
func migrateTo(t *testing.T, url string, version int64) *sql.DB {
	t.Helper()
	dialect := goose.DialectPostgres
	if file, ok := storage.IsSQLite(url); ok {
		dialect = goose.DialectSQLite3
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	db := raw(t, url)
	p, err := goose.NewProvider(dialect, db, migrations.FS, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(ctx, version); err != nil {
		t.Fatal(err)
	}
	return db
}

// insertOld inserts a session as 0.1.0 does.
func insertOld(t *testing.T, db *sql.DB, id string, at time.Time) {
	t.Helper()
	exec(t, db, fmt.Sprintf(`INSERT INTO sessions (id, user_id, client_id, provider_id, idp_subject, idp_session, amr, auth_time, scope, rt_gen, rt_branch,
		rt_advanced_at, rt_issued_at, idle_expires_at, abs_expires_at, created_at, last_seen_at, created_ip, last_ip, user_agent, wipe, gc_after)
		VALUES ('%s', 'u', 'latchkey-app', 'p', 'subject', 'sid', '["pwd"]', %[2]d, 'openid', 3, 1, %[2]d, %[2]d, %[3]d, %[3]d, %[2]d, %[2]d, 'ip', 'ip', 'agent', 0, %[3]d)`,
		id, at.UnixMilli(), at.Add(24*time.Hour).UnixMilli()))
}

// Sessions that were made under schema 1, and those that a program of that time
// makes beside this one, are read, refreshed and ended like any other.
func TestMigrationOfSchema1(t *testing.T) {
	databases(t, func(t *testing.T, url string) {
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		db := migrateTo(t, url, 1)
		exec(t, db, fmt.Sprintf(`INSERT INTO users (id, username, username_key, display_name, email, email_key, email_verified, role, idp_groups,
			password_hash, created_at, updated_at) VALUES ('u', 'anna', 'anna', '', '', '', 0, 'user', '[]', 'hash', %[1]d, %[1]d)`, at.UnixMilli()))
		insertOld(t, db, "before", at)
		_, sqlite := storage.IsSQLite(url)
		const heap = `SELECT relfilenode FROM pg_class WHERE relname = 'sessions'`
		var files []string
		if !sqlite {
			files = lines(t, db, heap)
		}

		s := open(t, url)
		if !sqlite && !slices.Equal(lines(t, db, heap), files) {
			t.Error("the migration wrote every session anew")
		}
		if got := lines(t, db, `SELECT MAX(version_id) FROM goose_db_version`); !slices.Equal(got, []string{newestMigration(t)}) {
			t.Fatalf("the schema is %v", got)
		}
		insertOld(t, db, "after", at)
		for _, id := range []string{"before", "after"} {
			want := broker.Session{
				ID: id, UserID: "u", ClientID: "latchkey-app", ProviderID: "p", IdPSubject: "subject", IdPSession: "sid", AMR: []string{"pwd"},
				AuthTime: at, Scope: "openid", Rotation: broker.Rotation{Generation: 3, Branch: 1, ParentBranch: broker.AnyBranch, AdvancedAt: at, IssuedAt: at},
				IdleExpiresAt: at.Add(24 * time.Hour), AbsExpiresAt: at.Add(24 * time.Hour), CreatedAt: at, LastSeenAt: at,
				CreatedIP: "ip", LastIP: "ip", UserAgent: "agent",
			}
			row, u, err := s.SessionByID(ctx, id)
			if err != nil || u.Username != "anna" || !reflect.DeepEqual(row, want) {
				t.Fatalf("%s: %v\ngot  %+v\nwant %+v", id, err, row, want)
			}
			now := at.Add(time.Hour)
			row, _, ok, err := s.AdvanceSession(ctx, broker.Advance{
				Touch:    broker.Touch{ID: id, Now: now, IdleExpiresAt: now.Add(time.Hour), IP: "192.0.2.1"},
				ClientID: "latchkey-app", Generation: 3, Branch: 1, AdvancedBefore: now,
			})
			if err != nil || !ok || row.Generation != 4 {
				t.Fatalf("%s: refresh: %v %v %+v", id, ok, err, row)
			}
			want.Rotation = broker.Rotation{Generation: 4, ParentBranch: 1, AdvancedAt: now, IssuedAt: now}
			want.LastSeenAt, want.LastIP, want.IdleExpiresAt = now, "192.0.2.1", now.Add(time.Hour)
			if read, _, err := s.SessionByID(ctx, id); err != nil || !reflect.DeepEqual(read, want) {
				t.Errorf("%s: %v\ngot  %+v\nwant %+v", id, err, read, want)
			}
		}
		bare := broker.Session{ID: "bare", UserID: "u", ClientID: "latchkey-app", IdleExpiresAt: at, AbsExpiresAt: at}
		if err := second(s.InsertSession(ctx, bare, "")); err != nil {
			t.Fatal(err)
		}
		// What asked for nothing is written as what was there before.
		if got := lines(t, db, `SELECT follows_parent, request FROM sessions`); !slices.Equal(got, []string{"0 ", "0 ", "0 "}) {
			t.Errorf("the new columns are %q", got)
		}
		ended, err := s.EndSessions(ctx, broker.SessionFilter{ProviderID: "p", IdPSession: "sid"}, broker.End{Cause: broker.LoggedOut, At: at, KeepUntil: at})
		if err != nil || len(ended) != 2 {
			t.Errorf("ended %d, %v", len(ended), err)
		}
	})
}

// oldPostgres is a database of schema 9 with a user and a session.
func oldPostgres(t *testing.T) (url string, db *sql.DB) {
	t.Helper()
	url = pgtest.Shared(t).NewDatabase(t)
	db = migrateTo(t, url, 9)
	insertOld(t, db, "session", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	return url, db
}

// A migration takes as long as it needs, whatever ends other statements.
func TestSlowMigrationIsNotCutOff(t *testing.T) {
	url, db := oldPostgres(t)
	exec(t, db, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(2.5); RETURN NEW; END'`,
		`CREATE TRIGGER slow BEFORE INSERT ON uptime FOR EACH ROW EXECUTE FUNCTION slow()`)
	s := open(t, url+"&statement_timeout=1500")
	if _, err := s.Uptime(ctx); err != nil {
		t.Errorf("the migration left nothing: %v", err)
	}
	if _, err := s.Beat(ctx, time.Time{}, time.Now()); broker.CodeOf(err) != broker.TemporarilyUnavailable {
		t.Errorf("another statement as slow: %v, want it ended", err)
	}
}

// A migration that waits for a table lets those go first who want the same one
// after it, and is done once the table is free.
func TestWaitingMigrationBlocksNobody(t *testing.T) {
	url, db := oldPostgres(t)
	holder, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(`LOCK TABLE users IN ACCESS SHARE MODE`); err != nil { // as a long read
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		s, err := storage.Open(ctx, storage.Options{URL: url})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if got := lines(t, db, `SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); got[0] != "0" {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal("the migration does not wait for the table")
		}
	}
	impatient, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := db.ExecContext(impatient, `SELECT 1 FROM users`); err != nil {
		t.Errorf("a read behind the migration: %v", err)
	}
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil && broker.CodeOf(err) != broker.TemporarilyUnavailable {
		t.Fatalf("the migration: %v", err)
	}
	open(t, url)
	if got := lines(t, db, `SELECT MAX(version_id) FROM goose_db_version`); !slices.Equal(got, []string{newestMigration(t)}) {
		t.Errorf("the schema is %v", got)
	}
}

// An IdP's logout, a client's deletion and the list of what has ended must not
// read the table of sessions.
func TestSessionLookupsUseIndexes(t *testing.T) {
	databases(t, func(t *testing.T, url string) {
		_ = open(t, url)
		db := raw(t, url)
		populate(t, db)
		exec(t, db, `UPDATE sessions SET client_id = 'latchkey-app' WHERE gc_after > 500`,
			`UPDATE sessions SET idp_session = 's' || gc_after, idp_subject = 'u' || gc_after, parent_id = 'p' || gc_after WHERE gc_after <= 500`,
			`UPDATE sessions SET client_id = 'c' || gc_after, ended_at = gc_after, end_cause = 'logged_out' WHERE gc_after <= 500`, `ANALYZE`)
		explain := func(condition string, args ...any) string {
			query := `SELECT id FROM sessions WHERE ` + condition
			if _, ok := storage.IsSQLite(url); ok {
				return strings.Join(lines(t, db, `EXPLAIN QUERY PLAN `+query, args...), "\n")
			}
			for i := range args {
				query = strings.Replace(query, "?", fmt.Sprint("$", i+1), 1)
			}
			return genericPlan(t, db, query)
		}
		for index, f := range map[string]broker.SessionFilter{
			"sessions_idp_session": {ProviderID: "p", IdPSession: "s7"}, "sessions_idp_subject": {ProviderID: "p", IdPSubject: "u7"},
			"sessions_client": {ClientID: "c7"}, "sessions_parent": {ParentID: "p7"}, "sessions_user": {UserID: "u7"},
		} {
			condition, args := storage.FilterCondition(f)
			if plan := explain(condition, args...); !strings.Contains(plan, index) {
				t.Errorf("%+v does not use %s:\n%s", f, index, plan)
			}
		}
		if plan := explain(storage.EndedSince, int64(490)); !strings.Contains(plan, "sessions_ended") {
			t.Errorf("what has ended is not found by its index:\n%s", plan)
		}
		if plan := explain(storage.FollowersOf(2), "p7", "p8"); !strings.Contains(plan, "sessions_parent") {
			t.Errorf("followers are not found by their parents:\n%s", plan)
		}
	})
}

// Whoever ends sessions without end makes neither a login nor a code read them: each
// looks at what lives.
func TestLimitsOfSessionsReadWhatLives(t *testing.T) {
	databases(t, func(t *testing.T, url string) {
		_ = open(t, url)
		db := raw(t, url)
		populate(t, db)
		exec(t, db, `UPDATE sessions SET user_id = 'u7', parent_id = 's7', follows_parent = 1`,
			`UPDATE sessions SET ended_at = 1, end_cause = 'session_limit' WHERE gc_after > 20`)
		if strings.HasPrefix(url, "postgres") { // on SQLite nobody runs it
			exec(t, db, `ANALYZE`)
		}
		for what, condition := range storage.BeyondLimits {
			index, args := "sessions_live_parent", []any{"s8", "s8", "s8", 1, 1, 1000, 19}
			if what == "of a user" {
				index, args = "sessions_live_user", []any{"u7", "s8", 1, 1, 1000, 19}
			}
			if plan := plan(t, db, url, `SELECT wipe FROM sessions WHERE `+condition, args); !strings.Contains(plan, index) {
				t.Errorf("what lives %s is not found by %s:\n%s", what, index, plan)
			}
		}
		condition, args := storage.FilterCondition(broker.SessionFilter{UserID: "u7", LiveAt: time.UnixMilli(9)})
		if plan := plan(t, db, url, `SELECT COUNT(*) FROM sessions WHERE `+condition, args); !strings.Contains(plan, "sessions_live_user") {
			t.Errorf("the list of what lives reads what has ended:\n%s", plan)
		}
	})
}

// newestMigration is the number of the last file.
func newestMigration(t *testing.T) string {
	t.Helper()
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	number, _, _ := strings.Cut(files[len(files)-1], "_")
	return strings.TrimLeft(number, "0")
}
