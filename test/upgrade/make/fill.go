package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pressly/goose/v3"

	"github.com/latchkey-id/latchkey/migrations"
	"github.com/latchkey-id/latchkey/test/upgrade/stored"
)

// additions are rows in what each schema brought, for those that no program wrote.
// %d is the moment at which the program of the schema before ended, in Unix ms.
var additions = map[int64]string{
	4: `UPDATE sessions SET device_name = 'Anna''s phone' WHERE user_agent LIKE '%%(rotated)%%';
		INSERT INTO figures (name, hour, label, n) VALUES ('refreshes', %d / 3600000 * 3600000, 'advance', 9)`,
	5: `UPDATE users SET second_factor = 0;
		INSERT INTO totps (user_id, secret, session_id, last_step, created_at) SELECT id, 'never confirmed', 'none', 0, %d FROM users WHERE username = 'ida';
		INSERT INTO recovery_codes (id, user_id) SELECT 'a hash', id FROM users WHERE username = 'ida'`,
	6: `INSERT INTO limits (id, value, expires_at) VALUES ('a hash', 1, %d)`,
	7: `INSERT INTO revisions (id, n) VALUES (1, 3); INSERT INTO replicas (id, seen_at, loaded) VALUES ('gone', %d, 3); UPDATE signing_keys SET revision = 2`,
	8: `INSERT INTO uptime (id, service_at, seen_at) VALUES (1, %d - 86400000, %[1]d);
		UPDATE sessions SET idle_away = 86400000, idle_expires_at = idle_expires_at + 86400000`,
	9: `UPDATE sessions SET cookie_hash = 'a hash' WHERE client_id = 'latchkey-app' AND user_agent LIKE '%%(new)%%'; UPDATE uptime SET seen_at = %d`,
}

// fill makes a schema from the one before.
func fill(ctx context.Context, schema int64, kind, databaseURL string) (stored.Database, error) {
	d, err := stored.Read(schema-1, kind)
	if err != nil {
		return d, err
	}
	if _, err := stored.Put(ctx, schema-1, databaseURL); err != nil {
		return d, err
	}
	d.Schema, d.Filled = schema, true
	db, err := open(databaseURL)
	if err != nil {
		return d, err
	}
	defer func() { _ = db.Close() }()
	if err := migrateTo(ctx, db, kind, schema); err != nil {
		return d, err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(additions[schema], d.At.UnixMilli()))
	return d, err
}

func migrateTo(ctx context.Context, db *sql.DB, kind string, schema int64) error {
	dialect := goose.DialectSQLite3
	if kind == "postgres" {
		dialect = goose.DialectPostgres
	}
	provider, err := goose.NewProvider(dialect, db, migrations.FS, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = provider.UpTo(ctx, schema)
	return err
}
