package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/latchkey-id/latchkey/migrations"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/upgrade/stored"
	"github.com/latchkey-id/latchkey/tokens"
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
	if _, err = db.ExecContext(ctx, fmt.Sprintf(additions[schema], d.At.UnixMilli())); err == nil && schema == factorSchema {
		err = addFactors(ctx, db, &d)
	}
	return d, err
}

const factorSchema = 5

// addFactors gives tom an authenticator app and pia a passkey, as the program does.
func addFactors(ctx context.Context, db *sql.DB, d *stored.Database) error {
	root, err := tokens.NewRootSecret([]byte(testSecret))
	if err != nil {
		return err
	}
	s := scene{d: d}
	id := func(name string) (id string) {
		err = errors.Join(err, db.QueryRowContext(ctx, `SELECT id FROM users WHERE username = '`+name+`'`).Scan(&id))
		return id
	}
	tom, pia := id("tom"), id("pia")
	secret := make([]byte, 20)
	_, _ = rand.Read(secret) // never fails
	k := harness.NewSoftKey(strict{}, publicURL)
	k.UserHandle = []byte(pia)
	s.user("tom").TOTP = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
	passkey, wrong := json.Marshal(k)
	s.user("pia").Passkey = passkey
	if err = errors.Join(err, wrong); err != nil {
		return err
	}
	at := d.At.UnixMilli()
	for _, statement := range []string{
		fmt.Sprintf(`UPDATE users SET second_factor = 1 WHERE id IN ('%s', '%s')`, tom, pia),
		fmt.Sprintf(`INSERT INTO totps (user_id, secret, session_id, last_step, created_at, confirmed_at) VALUES ('%s', '%s', '', %d, %d, %d)`,
			tom, root.Seal("totps.secret."+tom, secret), at/30_000, at, at),
		fmt.Sprintf(`INSERT INTO passkeys (id, credential_id, user_id, name, public_key, aaguid, transports, sign_count, synced, backed_up, created_at)
			VALUES ('a passkey', '%s', '%s', 'Phone', '%s', '%s', '["internal"]', 0, 0, 0, %d)`, base64.RawURLEncoding.EncodeToString(k.ID), pia,
			base64.RawURLEncoding.EncodeToString(k.COSE(strict{})), strings.Repeat("0", 32), at),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
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
