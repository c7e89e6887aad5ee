package storage_test

import (
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// fill makes enough rows that a plan which reads a table would be seen, most of
// them alike.
func fill(t *testing.T, db *sql.DB) {
	t.Helper()
	populate(t, db)
	const n = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) `
	exec(t, db,
		`UPDATE users SET email = 'mail' || id, email_key = 'mail' || id, display_name = 'Name ' || id, name_key = 'name ' || id`,
		`UPDATE users SET role = 'admin', disabled_at = 1 WHERE id IN ('u7', 'u8')`,
		`UPDATE identities SET provider_id = 'rare' WHERE subject IN ('s7', 's8')`,
		`UPDATE sessions SET client_id = 'latchkey-app'`,
		`UPDATE sessions SET client_id = 'rare', provider_id = 'rare' WHERE gc_after < 10`,
		`UPDATE sessions SET ended_at = 1, end_cause = 'token_reused' WHERE gc_after < 20`,
		`INSERT INTO audit_events (id, at, name, user_id, session_id, client_id, ip, actor, detail) `+
			n+`SELECT 'e' || i, i, 'session.started', 'u' || i, 's' || i, 'c' || i, 'ip' || i, 'a' || i, '{}' FROM n`,
		`UPDATE audit_events SET name = 'user.deleted' WHERE at < 10`,
		`INSERT INTO figures (name, hour, label, n) `+n+`SELECT 'live.client', i, 'c', 1 FROM n`,
		`ANALYZE`)
}

// plan is how a database runs a statement.
func plan(t *testing.T, db *sql.DB, url, query string, args []any) string {
	t.Helper()
	if _, ok := storage.IsSQLite(url); ok {
		return strings.Join(lines(t, db, `EXPLAIN QUERY PLAN `+query, args...), "\n")
	}
	for i := range args {
		query = strings.Replace(query, "?", fmt.Sprint("$", i+1), 1)
	}
	return strings.Join(lines(t, db, `EXPLAIN `+query, args...), "\n")
}

// A page of a list costs the same in a table of any size: every list that an
// administrator asks for goes by an index.
func TestListsUseIndexes(t *testing.T) {
	databases(t, func(t *testing.T, url string) {
		_ = open(t, url)
		db := raw(t, url)
		fill(t, db)
		defer storage.LookAt(500)()
		check := func(what, table, query string, args []any) {
			t.Helper()
			p := plan(t, db, url, query, args)
			for line := range strings.Lines(p) {
				if strings.Contains(line, "SCAN newest") || strings.Contains(p, "newest") && strings.Contains(line, "USE TEMP B-TREE FOR ORDER BY") {
					continue // of what an index gave, at most so many
				}
				scan := strings.Contains(line, "Seq Scan on "+table) || strings.Contains(line, "Seq Scan on identities") || strings.Contains(line, "SCAN") && !strings.Contains(line, "INDEX")
				if sort := strings.Contains(line, "USE TEMP B-TREE FOR ORDER BY"); scan || sort {
					t.Errorf("%s reads or sorts the table:\n%s", what, p)
					return
				}
			}
		}
		yes := true
		for what, p := range map[string]broker.UserPage{
			"all users": {By: broker.ByUsername}, "later users": {By: broker.ByUsername, AfterKey: "u4", AfterID: "u4"},
			"by username": {By: broker.ByUsername, UserFilter: broker.UserFilter{Search: "u12"}}, "by address": {By: broker.ByEmail, UserFilter: broker.UserFilter{Search: "mailu12"}},
			"by name": {By: broker.ByName, UserFilter: broker.UserFilter{Search: "name u12"}, AfterKey: "name u12", AfterID: "u12"},
			"by role": {By: broker.ByUsername, UserFilter: broker.UserFilter{Role: broker.RoleAdmin}}, "disabled": {By: broker.ByUsername, UserFilter: broker.UserFilter{Disabled: &yes}},
		} {
			p.Limit = 100
			where, args := storage.PageOfUsers(p)
			check(what, "users", `SELECT `+storage.UserColumns+` FROM users u WHERE `+where, args)
		}
		for what, f := range map[string]broker.SessionFilter{
			"all sessions": {All: true}, "of a user": {UserID: "u7"}, "of a client": {ClientID: "rare"}, "of the app": {ClientID: broker.AppClientID}, "of a provider": {ProviderID: "rare"}, "from an address": {IP: "192.0.2.7"},
			"live": {LiveAt: time.UnixMilli(9), All: true}, "ended": {OverAt: time.UnixMilli(9), All: true}, "of an address and a client": {IP: "10.0.0.1", ClientID: "rare"}, "of a client and a provider": {ClientID: "rare", ProviderID: "rare"},
			"of a cause": {EndCause: broker.TokenReused, All: true},
		} {
			page, args := storage.PageOfSessions(f, "s4", 100)
			check(what, "sessions", `SELECT id, user_id FROM `+page, args)
		}
		check("what ended of a user", "sessions", `SELECT id, user_id FROM sessions WHERE `+storage.PageOfEnded, []any{"u7", 9, "s4", 20})
		check("events of sessions", "audit_events", `SELECT id FROM audit_events WHERE `+storage.OfSessions(2), []any{"session.started", "s7", "s8"})
		for what, f := range map[string]broker.EventFilter{
			"all events": {}, "of a user": {UserID: "u7"}, "of a session": {SessionID: "s7"}, "of a client": {ClientID: "c7"}, "by an administrator": {Actor: "a7"}, "from an address": {IP: "ip7"},
			"of a name": {Name: "user.deleted"}, "of a time": {BeforeID: "e9", BeforeAt: time.UnixMilli(900)},
		} {
			f.Limit = 100
			where, args := storage.EventsWhere(f)
			check(what, "audit_events", `SELECT id, at, detail FROM audit_events WHERE `+where, args)
		}
		query, args := storage.FiguresWhere(broker.FigureQuery{
			Names: []string{"end", "login"}, From: time.UnixMilli(0), Until: time.UnixMilli(7_200_000), Step: time.Hour,
		})
		check("figures", "figures", query, args)
		check("logins of a day", "sessions", storage.LoginsBegun, []any{"s4990", "s4999", 0, 10})
		check("ends of a day", "sessions", storage.SessionsOver, []any{0, 10})
	})
}

// In a database whose order is that of a language, searches and pages go by
// bytes all the same.
func TestOrderOfBytesInAnotherCollation(t *testing.T) {
	from := pgtest.Shared(t).NewDatabase(t)
	maintenance := raw(t, from)
	var name string
	if err := maintenance.QueryRow(`SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	name += "_icu"
	exec(t, maintenance, `CREATE DATABASE `+name+` TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'`)
	t.Cleanup(func() { _, _ = maintenance.Exec(`DROP DATABASE IF EXISTS ` + name + ` WITH (FORCE)`) })
	u, err := url.Parse(from)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	s := open(t, u.String())
	for _, username := range []string{"a-b", "a_b", "ab", "aB2", "zz", "é", "_"} {
		n := newUser(username)
		n.Name = "name " + username
		if err := s.InsertUser(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	names := func(search string) string {
		out := []string{}
		users, err := s.ListUsers(ctx, broker.UserPage{By: broker.ByUsername, UserFilter: broker.UserFilter{Search: search}, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range users {
			out = append(out, u.Username)
		}
		return strings.Join(out, " ")
	}
	for search, want := range map[string]string{"": "_ a-b a_b ab aB2 zz é", "a": "a-b a_b ab aB2", "a-": "a-b", "_": "_", "ab": "ab aB2", "é": "é"} {
		if got := names(search); got != want {
			t.Errorf("%q: %s, want %s", search, got, want)
		}
	}
}
