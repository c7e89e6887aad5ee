package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// town is how many there are of everything in a database of the pages.
type town struct {
	name            string
	users, sessions int
}

var towns = []town{{"small", 1_000, 1_000}, {"big", 100_000, 1_000_000}}

// ofMeasured is how many sessions the user has whose pages are measured.
const ofMeasured = 50

// age is how long ago the oldest row was made; the others follow evenly.
const age = 60 * 24 * time.Hour

// uuid writes a number of ours as an id, in the order of the numbers.
func uuid(kind int, number string) string {
	return fmt.Sprintf(`'00000000-0000-7%03d-8000-' || substr(CAST(1000000000000 + %s AS TEXT), 2)`, kind, number)
}

// oneOf is one of some texts in turn.
func oneOf(number string, texts ...string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "CASE (%s) %% %d", number, len(texts))
	for i, text := range texts {
		fmt.Fprintf(&out, " WHEN %d THEN '%s'", i, text)
	}
	return out.String() + " END"
}

// fill makes the people of a town, what they are logged in on, and what happened,
// up to now: of each as many that the first page of a list is full in the small
// town too. The measured user has a few sessions among all.
func (w town) fill(ctx context.Context, db *sqlx.DB, measured string, now time.Time) error {
	at := func(count int) string { // when row i of count was made
		return fmt.Sprintf("%d - CAST(%d - i AS BIGINT) * %d", now.UnixMilli(), count, age.Milliseconds()/int64(count))
	}
	owner := fmt.Sprintf("CASE i %% %d WHEN 0 THEN '%s' ELSE %s END", w.sessions/ofMeasured, measured, uuid(1, fmt.Sprintf("(i * 7 %% %d)", w.users)))
	client := "CASE WHEN i % 3 = 0 THEN 'client' || (i % 10) ELSE 'latchkey-app' END"
	provider := oneOf("i", "", "", "first", "", "second")
	ip := fmt.Sprintf("'198.51.' || (i %% %d / 250) || '.' || (i %% %d %% 250)", w.sessions/20, w.sessions/20)
	cause := "CASE WHEN i % 4 = 0 THEN " + oneOf("i / 4", "logged_out", "session_expired", "revoked_by_user", "logged_out", "idp_logout") + " END"
	never := now.Add(300 * 24 * time.Hour).UnixMilli()
	for _, f := range []struct {
		count int
		query string
	}{
		{w.users, `INSERT INTO users (id, username, username_key, display_name, name_key, email, email_key, email_verified, role, idp_groups, password_hash, created_at, updated_at, disabled_at)
			SELECT ` + uuid(1, "i") + `, 'user' || i, 'user' || i, 'Name ' || i, 'name ' || i, 'mail' || i || '@example.org', 'mail' || i || '@example.org', 1,
			CASE i % 20 WHEN 0 THEN 'admin' ELSE 'user' END, '[]', '', ` + at(w.users) + `, 1, CASE i % 20 WHEN 1 THEN 1 END FROM n`},
		{w.users, `INSERT INTO identities (issuer, subject, provider_id, user_id, email, username, created_at, last_used_at)
			SELECT 'https://' || p, 's' || i, p, ` + uuid(1, "i") + `, 'mail' || i || '@example.org', 'user' || i, 1, 1 FROM (SELECT i, ` + oneOf("i", "first", "second") + ` AS p FROM n) AS numbered`},
		{w.users, `INSERT INTO api_keys (id, name, description, user_id, created_by, scope, secret_hash, created_at, updated_at)
			SELECT 'key' || i, 'Key ' || i, '', u, u, '', '', 1, 1 FROM (SELECT i, ` + uuid(1, "i") + ` AS u FROM n) AS numbered`},
		{w.users / 10, `INSERT INTO clients (id, document, access_ttl, secret_hash, created_at, updated_at)
			SELECT 'client' || (i - 1), '{"client_id":"client' || (i - 1) || '","client_name":"Client ' || (i - 1) || '","redirect_uris":["https://client.example/cb"],"application_type":"web",
			"token_endpoint_auth_method":"client_secret_basic","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"scope":"openid"}', 0, '', 1, 1 FROM n`},
		{w.sessions, `INSERT INTO sessions (` + sessionColumns + `) SELECT ` + uuid(2, "i") + `, ` + owner + `, ` + client + `, NULL, ` + provider + `, '', '', '["pwd"]', made, 'openid',
			0, 0, NULL, made, made, ` + fmt.Sprint(never) + `, ` + fmt.Sprint(never) + `, NULL, made, made, ` + ip + `, ` + ip + `, 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
			CASE WHEN i % 4 = 0 THEN made END, ` + cause + `, 0, ` + fmt.Sprint(never) + `, 0, '' FROM (SELECT i, ` + at(w.sessions) + ` AS made FROM n) AS numbered`},
		{w.sessions, `INSERT INTO audit_events (id, at, name, user_id, session_id, client_id, ip, actor, detail)
			SELECT ` + uuid(3, "i") + `, ` + at(w.sessions) + `, ` + oneOf("i", "session.started", "session.started", "session.ended", "user.updated", "identity.linked") + `, ` + owner + `, ` +
			uuid(2, "i") + `, ` + client + `, ` + ip + `, CASE i % 20 WHEN 0 THEN '` + measured + `' ELSE '' END, '{"method":"password"}' FROM n`},
	} {
		query := strings.Replace(f.query, "INSERT", fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT", f.count), 1)
		if _, err := db.ExecContext(ctx, query); err != nil {
			return fmt.Errorf("%w: %s", err, query)
		}
	}
	if db.DriverName() == "postgres" { // which otherwise does so by itself, in the middle of a run
		_, err := db.ExecContext(ctx, `VACUUM ANALYZE`)
		return err
	}
	_, err := db.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}
