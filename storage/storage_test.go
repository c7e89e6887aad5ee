package storage_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/migrations"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/storage/storagetest"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var ctx = context.Background()

func open(t *testing.T, url string) *storage.Store {
	t.Helper()
	s, err := storage.Open(ctx, storage.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func fileURL(t *testing.T) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "a folder", "latchkey.db")
}

func TestStoreSQLiteInMemory(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) *storage.Store { return open(t, "sqlite::memory:") })
}

func TestStoreSQLiteFile(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) *storage.Store { return open(t, fileURL(t)) })
}

func TestStorePostgreSQL(t *testing.T) {
	// One database, emptied for each test: making one costs more than most tests.
	// What a test leaves locked fails the next one.
	url := pgtest.Shared(t).NewDatabase(t) + "&lock_timeout=10000"
	s, db := open(t, url), raw(t, url)
	tables := lines(t, db, `SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'goose_db_version'`)
	storagetest.Run(t, func(t *testing.T) *storage.Store {
		exec(t, db, `TRUNCATE `+strings.Join(tables, ", "))
		return s
	})
}

// databases are the kinds that several processes can share.
func databases(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, fileURL(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.Shared(t).NewDatabase(t)) })
}

// raw is a connection beside the store.
func raw(t *testing.T, url string) *sql.DB {
	t.Helper()
	driver, dsn := "postgres", url
	if file, ok := storage.IsSQLite(url); ok {
		driver, dsn = "sqlite3", "file:"+(&neturl.URL{Path: file}).EscapedPath()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// lines reads the first columns of a query as text, a line for each row.
func lines(t *testing.T, db queryer, query string, args ...any) (out []string) {
	t.Helper()
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, _ := rows.Columns()
	values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		var line []string
		for _, v := range values {
			line = append(line, v.String)
		}
		out = append(out, strings.Join(line, " "))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// schema is everything that migrations make, but for times.
func schema(t *testing.T, url string) []string {
	t.Helper()
	db := raw(t, url)
	if _, ok := storage.IsSQLite(url); ok {
		return append(lines(t, db, `SELECT type, name, sql FROM sqlite_master ORDER BY name`),
			lines(t, db, `SELECT version_id, is_applied FROM goose_db_version ORDER BY id`)...)
	}
	out := lines(t, db, `SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
		WHERE table_schema = 'public' ORDER BY table_name, ordinal_position`)
	out = append(out, lines(t, db, `SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname`)...)
	out = append(out, lines(t, db, `SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL AND relname = 'sessions'`)...)
	return append(out, lines(t, db, `SELECT version_id, is_applied FROM goose_db_version ORDER BY id`)...)
}

// Several processes that start at once on a fresh database all come up, on one
// schema.
func TestConcurrentFirstStart(t *testing.T) {
	for name, fresh := range map[string]func() string{
		"sqlite": func() string { return fileURL(t) }, "postgres": func() string { return pgtest.Shared(t).NewDatabase(t) },
	} {
		t.Run(name, func(t *testing.T) {
			alone := fresh()
			_ = open(t, alone)
			want := schema(t, alone)
			if len(want) < 20 {
				t.Fatalf("a schema of %d lines: %v", len(want), want)
			}
			for range 3 {
				url := fresh()
				errs, start := make([]error, 4), make(chan struct{})
				stores := make([]*storage.Store, len(errs))
				var wg sync.WaitGroup
				for i := range errs {
					wg.Go(func() {
						<-start
						stores[i], errs[i] = storage.Open(ctx, storage.Options{URL: url})
					})
				}
				close(start)
				wg.Wait()
				for i, err := range errs {
					if err != nil {
						t.Fatal(err)
					}
					u := newUser(fmt.Sprint("user ", i))
					if err := errors.Join(stores[i].InsertUser(ctx, u), stores[i].Close()); err != nil {
						t.Error(err)
					}
				}
				if got := schema(t, url); !slices.Equal(got, want) {
					t.Errorf("the schema is\n%s\nand of one process alone\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}

func newUser(name string) broker.User {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return broker.User{ID: "id of " + name, Username: name, Role: broker.RoleUser, PasswordHash: "hash", CreatedAt: at, UpdatedAt: at}
}

// A start on a schema that is up to date changes nothing.
func TestSecondStart(t *testing.T) {
	databases(t, func(t *testing.T, url string) {
		s := open(t, url)
		if err := s.InsertUser(ctx, newUser("anna")); err != nil {
			t.Fatal(err)
		}
		before := schema(t, url)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, url)
		if _, err := s.UserByUsername(ctx, "anna"); err != nil {
			t.Error(err)
		}
		if after := schema(t, url); !slices.Equal(after, before) {
			t.Errorf("the schema changed from\n%v\nto\n%v", before, after)
		}
	})
}

// A schema of the future is opened only by a program that it names as new
// enough: an older one would write rows that a newer one misreads.
func TestNewerSchema(t *testing.T) {
	databases(t, func(t *testing.T, url string) {
		if err := open(t, url).Close(); err != nil {
			t.Fatal(err)
		}
		db := raw(t, url)
		if got := lines(t, db, `SELECT value FROM facts WHERE name = 'lowest_program'`); !slices.Equal(got, []string{migrations.LowestProgram[1]}) {
			t.Fatalf("the database states %v as the lowest program", got)
		}
		exec(t, db, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, `+trueOf(url)+`)`,
			`UPDATE facts SET value = '10.2.0' WHERE name = 'lowest_program'`)
		before := schema(t, url)
		for version, opens := range map[string]bool{
			"0.1.0": false, "9.9.9": false, "10.1.9": false, "10.2.0-rc.1": false, "10.2.0": true, "10.10.0": true, "11.0.0": true, "": true,
		} {
			s, err := storage.Open(ctx, storage.Options{URL: url, Version: version})
			if opens {
				if err != nil {
					t.Errorf("version %q: %v", version, err)
					continue
				}
				if err := errors.Join(s.Ping(ctx), s.Close()); err != nil {
					t.Error(err)
				}
				continue
			}
			if err == nil {
				t.Errorf("version %q opened a schema that it does not know", version)
				continue
			}
			// The operator is told what to do; waiting would not help.
			for _, part := range []string{"newer", "9999", "10.2.0"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("version %q: %q does not name %s", version, err, part)
				}
			}
			if errors.Is(err, broker.TemporarilyUnavailable) {
				t.Errorf("version %q: %v is said to pass", version, err)
			}
		}
		exec(t, db, `DELETE FROM facts WHERE name = 'lowest_program'`) // it says nothing: then nobody may
		if _, err := storage.Open(ctx, storage.Options{URL: url, Version: "11.0.0"}); err == nil || !strings.Contains(err.Error(), "newer") {
			t.Errorf("a newer schema that names no program: %v", err)
		}
		if after := schema(t, url); !slices.Equal(after, before) {
			t.Errorf("the schema changed from\n%v\nto\n%v", before, after)
		}
	})
}

func trueOf(url string) string {
	if _, ok := storage.IsSQLite(url); ok {
		return "1"
	}
	return "true"
}

// An error of Open goes to logs and terminals: never with the password.
func TestOpenErrorHoldsNoPassword(t *testing.T) {
	u, err := neturl.Parse(pgtest.Shared(t).URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{
		"postgres://latchkey:hunter2hunter2@" + u.Host + "/no_such_database?sslmode=disable",
		"postgres://latchkey:hunter2hunter2@127.0.0.1:1/latchkey?sslmode=disable",
		"postgres://latchkey:hunter2hunter2@host:port/x", "postgres://latchkey:hunter2hunter2%zz@host/x", "mysql://latchkey:hunter2hunter2@host/x",
		"latchkey:hunter2hunter2@host/x", "postgres://latchkey:hunter2hunter2@host:5432/%zz", "postgres://latchkey:hunter2hunter2@127.0.0.1:99999/x",
		"postgres://latchkey:hunter2hunter2@" + u.Host + "/postgres?sslmode=hunter2hunter2",
	} {
		s, err := storage.Open(ctx, storage.Options{URL: url})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s opened", url)
		} else if strings.Contains(err.Error(), "hunter2hunter2@") || strings.Contains(err.Error(), ":hunter2hunter2") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}

// populate makes as many users, identities and sessions as make a scan dear.
func populate(t *testing.T, db *sql.DB) {
	t.Helper()
	const n = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) `
	exec(t, db,
		`INSERT INTO users (id, username, username_key, display_name, email, email_key, email_verified, role, idp_groups, password_hash, created_at, updated_at) `+
			n+`SELECT 'u' || i, 'u' || i, 'u' || i, '', '', '', 0, 'user', '[]', '', 0, 0 FROM n`,
		`INSERT INTO identities (issuer, subject, provider_id, user_id, email, username, created_at, last_used_at) `+
			n+`SELECT 'i', 's' || i, 'p', 'u' || i, '', '', 0, 0 FROM n`,
		`INSERT INTO sessions (id, user_id, client_id, provider_id, idp_subject, idp_session, amr, auth_time, scope, rt_gen, rt_branch, rt_advanced_at,
			rt_issued_at, idle_expires_at, abs_expires_at, created_at, last_seen_at, created_ip, last_ip, user_agent, wipe, gc_after) `+
			n+`SELECT 's' || i, 'u' || i, 'c', '', '', '', '[]', 0, '', 0, 0, 0, 0, 9000000000000, 9000000000000, 0, 0, '', '', '', 0, i FROM n`,
		`ANALYZE`)
}
