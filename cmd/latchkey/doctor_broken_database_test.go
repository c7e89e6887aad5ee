package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

// usePostgres gives the installation a database on a real server, and a journal.
func (w *world) usePostgres(change func(u *url.URL)) string {
	w.t.Helper()
	database := pgtest.Shared(w.t).NewDatabase(w.t)
	u, err := url.Parse(database)
	w.must(err)
	if change != nil {
		change(u)
	}
	w.set("LATCHKEY_DATABASE_URL", u.String())
	w.set("JWT_SECRET_KEY", rootSecret)
	w.set("LATCHKEY_JOURNAL_FILE", w.file("data/ends.journal"))
	return database
}

// onPostgres is a set-up whose database URL is changed.
func onPostgres(change func(u *url.URL)) func(*world) {
	return func(w *world) { w.usePostgres(change) }
}

// afterSQL is a set-up whose PostgreSQL was told something; DB is its database.
func afterSQL(statement string) func(*world) {
	return func(w *world) {
		u, err := url.Parse(w.usePostgres(nil))
		w.must(err)
		w.sql(strings.ReplaceAll(statement, "DB", strings.Trim(u.Path, "/")))
	}
}

// onBothDatabases are set-ups with SQLite, and the same with PostgreSQL.
func onBothDatabases(all ...setup) []setup {
	for _, s := range all {
		prepare := s.make
		s.make = func(w *world) {
			w.usePostgres(nil)
			prepare(w)
		}
		all = append(all, s)
	}
	return all
}

var brokenDatabases = slices.Concat(brokenServers, onBothDatabases(brokenContents...))

var brokenServers = []setup{
	{id: "database_unreachable", make: func(w *world) {
		w.set("LATCHKEY_DATABASE_URL", "postgres://latchkey@"+freeAddress(w.t)+"/latchkey?sslmode=disable")
		w.set("JWT_SECRET_KEY", rootSecret)
	}},
	{id: "database_login", make: onPostgres(func(u *url.URL) { u.User = url.UserPassword("nobody", "p4ssw0rd of nobody") })},
	{id: "database_missing", make: onPostgres(func(u *url.URL) { u.Path = "/nowhere" })},
	{id: "database_tls", make: onPostgres(func(u *url.URL) { u.RawQuery = "sslmode=require" })},
	{id: "database_unencrypted", make: onPostgres(func(u *url.URL) { u.Host = "0.0.0.0:" + u.Port() })},
	{id: "database_not_durable", make: afterSQL("ALTER DATABASE DB SET synchronous_commit = off")},
	{id: "database_connections", make: func(w *world) {
		afterSQL("CREATE ROLE role_DB LOGIN CONNECTION LIMIT 10")(w)
		u, err := url.Parse(w.env["LATCHKEY_DATABASE_URL"])
		w.must(err)
		u.User = url.User("role_" + strings.Trim(u.Path, "/"))
		w.set("LATCHKEY_DATABASE_URL", u.String())
	}},
	{id: "database_clock", make: func(w *world) {
		w.usePostgres(nil)
		w.change = func(d *doctor) { d.now = func() time.Time { return time.Now().Add(2 * time.Minute) } }
	}},
	{id: "database_pooler", make: func(w *world) {
		w.set("LATCHKEY_DATABASE_URL", "postgres://latchkey@"+pooler(w.t)+"/latchkey?sslmode=disable")
		w.set("JWT_SECRET_KEY", rootSecret)
	}},
	{id: "database_damaged", make: func(w *world) { w.write("data/latchkey.db", strings.Repeat("no database. ", 1000), 0o600) }},
	{id: "database_trouble", make: func(w *world) { w.mkdir("data/latchkey.db", 0o700) }},
	{id: "redis_unreachable", make: func(w *world) { w.set("LATCHKEY_REDIS_URL", "redis://:p4ssw0rd@"+freeAddress(w.t)) }},
	{id: "secret_file_unusable", make: func(w *world) {
		w.run("user", "list")
		w.write("data/secret.key", "short", 0o600)
	}},
	{id: "secret_file_gone", make: func(w *world) {
		w.run("user", "list")
		w.must(os.Remove(w.file("data/secret.key")))
	}},
	{id: "journal_none", make: func(w *world) {
		w.usePostgres(nil)
		w.set("LATCHKEY_JOURNAL_FILE", "")
	}},
}

var brokenContents = []setup{
	{id: "schema_newer", make: func(w *world) {
		w.run("user", "list")
		w.sql(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
		w.sql(`UPDATE facts SET value = '999.0.0' WHERE name = 'lowest_program'`)
	}},
	{id: "schema_older", make: func(w *world) {
		w.run("user", "list")
		w.sql(`DELETE FROM goose_db_version WHERE version_id = (SELECT MAX(version_id) FROM goose_db_version)`)
	}},
	{id: "secret_other", make: func(w *world) {
		w.run("user", "list")
		w.set("JWT_SECRET_KEY", "o"+rootSecret)
	}},
	{id: "secret_earlier", make: func(w *world) {
		w.set("JWT_SECRET_KEY", rootSecret)
		w.run("user", "list")
		w.set("JWT_SECRET_KEY_PREVIOUS", rootSecret)
		w.set("JWT_SECRET_KEY", "n"+rootSecret)
	}},
	{id: "server_other_secret", make: func(w *world) {
		w.set("JWT_SECRET_KEY", rootSecret)
		w.serve()
		w.set("JWT_SECRET_KEY_PREVIOUS", rootSecret)
		w.set("JWT_SECRET_KEY", "n"+rootSecret)
	}, with: []string{"secret_earlier"}},
	{id: "key_change_overdue", make: func(w *world) {
		w.serve()
		w.sql(`INSERT INTO replicas (id, seen_at, loaded) VALUES ('stuck', 99999999999999, 0)`)
		w.sql(`UPDATE signing_keys SET active_at = active_at - 8553600000, created_at = created_at - 8553600000`)
	}},
}

// pooler refuses what a connection says at its start, in the words of PgBouncer.
func pooler(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			refuseStart(conn)
		}
	}()
	return listener.Addr().String()
}

func refuseStart(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	var size uint32
	if binary.Read(in, binary.BigEndian, &size) != nil || size > 10_000 {
		return
	}
	_, _ = io.CopyN(io.Discard, in, int64(size)-4)
	body := "SFATAL\x00C08P01\x00Munsupported startup parameter: statement_timeout\x00\x00"
	_ = binary.Write(conn, binary.BigEndian, struct {
		Kind byte
		Size uint32
	}{'E', uint32(len(body) + 4)})
	_, _ = io.WriteString(conn, body)
}
