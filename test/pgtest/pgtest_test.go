package pgtest

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
)

func open(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func exec1(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func query1(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var s string
	if err := db.QueryRow(query).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

func TestDataSurvivesStops(t *testing.T) {
	began := time.Now()
	c := MustStart(t)
	t.Logf("Start took %v", time.Since(began))
	url := c.NewDatabase(t)
	db := open(t, url)
	if got := query1(t, db, "SHOW fsync"); got != "on" {
		t.Errorf("fsync = %s, want on", got)
	}
	exec1(t, db, "CREATE TABLE item (name text)")

	steps := []struct {
		name string
		stop func() error
		log  string
	}{
		{"immediate", c.StopImmediate, "automatic recovery in progress"},
		{"fast", c.StopFast, "database system was shut down at"},
	}
	for _, step := range steps {
		exec1(t, db, "INSERT INTO item VALUES ('"+step.name+"')")
		before, port := len(c.logSince(0)), c.Port()
		if err := step.stop(); err != nil {
			t.Fatalf("%s stop: %v", step.name, err)
		}
		if err := db.Ping(); err == nil {
			t.Fatalf("after the %s stop the server still answers", step.name)
		}
		if err := step.stop(); err == nil {
			t.Errorf("a second %s stop reports no error", step.name)
		}
		began := time.Now()
		if err := c.StartAgain(); err != nil {
			t.Fatalf("starting after the %s stop: %v", step.name, err)
		}
		t.Logf("StartAgain after the %s stop took %v", step.name, time.Since(began))
		if c.Port() != port {
			t.Errorf("the port changed from %d to %d", port, c.Port())
		}
		if log := c.logSince(int64(before)); !strings.Contains(log, step.log) {
			t.Errorf("after the %s stop the log does not say %q:\n%s", step.name, step.log, log)
		}
		if got := query1(t, open(t, url), "SELECT count(*) FROM item WHERE name = '"+step.name+"'"); got != "1" {
			t.Errorf("rows after the %s stop = %s, want 1", step.name, got)
		}
	}
	if err := c.StartAgain(); err == nil {
		t.Error("StartAgain on a running server reports no error")
	}
	if err := c.Restart(); err != nil {
		t.Errorf("Restart: %v", err)
	}
	if got := query1(t, open(t, url), "SELECT count(*) FROM item"); got != "2" {
		t.Errorf("rows after Restart = %s, want 2", got)
	}
}

func TestStartAgainOnATakenPort(t *testing.T) {
	c := MustStart(t)
	if err := c.StopFast(); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", c.Port()))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StartAgain(); !errors.Is(err, errPortTaken) {
		t.Errorf("StartAgain on a taken port reports %v, want %v", err, errPortTaken)
	}
	other.Close()
	if err := c.StartAgain(); err != nil {
		t.Errorf("StartAgain on the port given back: %v", err)
	}
}

func TestDatabasesAreSeparate(t *testing.T) {
	c := Shared(t)
	if Shared(t) != c {
		t.Error("Shared returned a second cluster")
	}
	one, two := open(t, c.NewDatabase(t)), open(t, c.NewDatabase(t))
	exec1(t, one, "CREATE TABLE item (name text)")
	if got := query1(t, two, "SELECT count(*) FROM pg_class WHERE relname = 'item'"); got != "0" {
		t.Errorf("tables named item in the other database = %s, want 0", got)
	}
	if got := query1(t, two, "SELECT pg_encoding_to_char(encoding) || ' ' || datcollate FROM pg_database WHERE datname = current_database()"); got != "UTF8 C" {
		t.Errorf("encoding and collation = %s, want UTF8 C", got)
	}
}

func TestDatabaseGoesWithItsTest(t *testing.T) {
	c := Shared(t)
	var name string
	t.Run("inner", func(t *testing.T) {
		url := c.NewDatabase(t)
		name = url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
		exec1(t, open(t, url), "SELECT 1")
	})
	query := "SELECT count(*) FROM pg_database WHERE datname = '" + name + "'"
	if got := query1(t, open(t, c.URL("postgres")), query); got != "0" {
		t.Errorf("databases named %s after the test = %s, want 0", name, got)
	}
}

func TestParallelDatabases(t *testing.T) {
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			exec1(t, open(t, Shared(t).NewDatabase(t)), "CREATE TABLE item (name text)")
		})
	}
}

func TestBinaries(t *testing.T) {
	t.Setenv("LATCHKEY_PG_BIN", t.TempDir())
	_, err := Start()
	const want = "PostgreSQL server binaries not found: install Debian's postgresql-15 (apt-get install postgresql-15)"
	if !errors.Is(err, ErrNotInstalled) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("without binaries Start reports %v, want %s", err, want)
	}

	root := t.TempDir()
	for _, version := range []string{"9.6", "15", "16", "17-empty"} {
		bin := filepath.Join(root, version, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"initdb", "postgres"} {
			if version == "17-empty" {
				continue
			}
			if err := os.WriteFile(filepath.Join(bin, name), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := newestPackaged(root), filepath.Join(root, "16", "bin"); got != want {
		t.Errorf("newestPackaged = %s, want %s", got, want)
	}
}

func TestAskingServer(t *testing.T) {
	const password = "it's the right one"
	admin, as := MustStartAsking(t, password)
	exec1(t, open(t, as(password)), "CREATE TABLE item (name text)")
	if got := query1(t, open(t, admin), "SELECT tableowner FROM pg_tables WHERE tablename = 'item'"); got != role {
		t.Errorf("the table is of %s, want %s", got, role)
	}
	var refused *pq.Error
	if err := open(t, as("a wrong one")).Ping(); !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestStartFailureShowsTheLog(t *testing.T) {
	_, err := Start(WithSetting("shared_buffers", "nonsense"))
	if err == nil || !strings.Contains(err.Error(), "invalid value for parameter") {
		t.Errorf("Start with a bad setting reports %v, want the server's own words", err)
	}
}
