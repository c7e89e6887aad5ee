// Package absdb reads the database of Audiobookshelf 2.35 or newer: an SQLite
// file, which it never writes. It decides nothing: what makes no sense comes
// with the name of its column.
package absdb

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"

	_ "github.com/ncruces/go-sqlite3/driver" // registers "sqlite3"

	"github.com/latchkey-id/latchkey/broker"
)

// maxValue bounds one value, in bytes; the longest that is meant is a token.
const maxValue = 64 << 10

// tables are the tables and columns that are read.
var tables = map[string][]string{
	"users":    {"id", "username", "email", "pash", "type", "token", "isActive", "lastSeen", "permissions", "extraData", "createdAt"},
	"sessions": {"id", "userId", "refreshToken", "expiresAt", "lastRefreshToken", "ipAddress", "userAgent", "createdAt", "updatedAt"},
	"apiKeys":  {"id", "name", "description", "expiresAt", "isActive", "createdAt", "userId", "createdByUserId"},
}

// Read reads users, sessions and API keys. An error says why the file as a whole cannot
// be read.
func Read(ctx context.Context, file string) (from broker.Import, err error) {
	err = snapshot(ctx, file, func(tx *sql.Tx) error {
		users, err := readAll(ctx, tx, "users", toUser)
		if err != nil {
			return err
		}
		from.Users = func(yield func(broker.ImportUser, error) bool) {
			for _, u := range users {
				if !yield(u, nil) {
					return
				}
			}
		}
		if from.Sessions, err = readAll(ctx, tx, "sessions", toSession); err != nil {
			return err
		}
		from.Keys, err = readAll(ctx, tx, "apiKeys", toKey)
		return err
	})
	return from, err
}

// Secret is what Audiobookshelf made for itself to sign with, because it was
// given no JWT_SECRET_KEY; empty: it made none.
func Secret(ctx context.Context, file string) (secret string, err error) {
	err = snapshot(ctx, file, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT COALESCE(json_extract(value, '$.tokenSecret'), '') FROM settings WHERE key = 'server-settings'`).Scan(&secret)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return secret, err
}

// snapshot shows the file at one moment, in one connection, once it is known to
// be such a database.
func snapshot(ctx context.Context, file string, read func(tx *sql.Tx) error) error {
	db, err := open(file)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err == nil {
		defer func() { _ = tx.Rollback() }()
		if err = check(ctx, tx); err == nil {
			err = read(tx)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// headerBytes is how much of the header is looked at: the magic, and whether
// the file is in WAL mode (SQLite file format, section 1.3).
const headerBytes = 20

func open(file string) (*sql.DB, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, headerBytes)
	if _, err := io.ReadFull(f, head); err != nil || !bytes.HasPrefix(head, []byte("SQLite format 3\x00")) {
		return nil, fmt.Errorf("%s is no SQLite database", file)
	}
	for _, beside := range []string{"-wal", "-journal"} {
		info, err := os.Stat(file + beside)
		if err == nil && info.Size() > 0 {
			return nil, fmt.Errorf("%s%s is there: Audiobookshelf is running, or was not stopped properly; stop it, or import a copy made by its backup", file, beside)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	query := "?mode=ro&_pragma=query_only(1)&_pragma=trusted_schema(0)&_pragma=busy_timeout(5000)"
	if head[18] == 2 || head[19] == 2 {
		query += "&immutable=1" // nothing waits beside it, and nothing must be made there
	}
	return sql.Open("sqlite3", "file:"+(&url.URL{Path: file}).EscapedPath()+query)
}

// check finds out what the file is before anything of it is believed.
func check(ctx context.Context, tx *sql.Tx) error {
	for table, columns := range tables {
		there, err := columnsOf(ctx, tx, table)
		if err != nil {
			return err
		}
		if len(there) == 0 {
			return fmt.Errorf("there is no table %s: this is no database of Audiobookshelf 2.35 or newer", table)
		}
		for _, column := range columns {
			if !slices.Contains(there, column) {
				return fmt.Errorf("the table %s has no column %s: this is no database of Audiobookshelf 2.35 or newer", table, column)
			}
		}
		// Of these tables alone: others may need functions that only Audiobookshelf has.
		var verdict string
		if err := tx.QueryRowContext(ctx, `PRAGMA quick_check("`+table+`")`).Scan(&verdict); err != nil || verdict != "ok" {
			return fmt.Errorf("the table %s is damaged: %w", table, errors.Join(err, errors.New(verdict)))
		}
	}
	return nil
}

func columnsOf(ctx context.Context, tx *sql.Tx, table string) (out []string, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT name FROM pragma_table_info(?)`, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, rows.Err()
}

// readAll reads a table. SQLite's columns hold values of any type, so each is
// read as the bytes of its text, up to a NUL and beyond, and judged here.
func readAll[T any](ctx context.Context, tx *sql.Tx, table string, to func(*row) T) (out []T, err error) {
	columns := tables[table]
	as := make([]string, len(columns))
	for i, c := range columns {
		as[i] = fmt.Sprintf(`substr(CAST("%s" AS BLOB), 1, %d)`, c, maxValue+1)
	}
	// #nosec G202 -- names from a list of this package
	rows, err := tx.QueryContext(ctx, `SELECT `+strings.Join(as, ", ")+` FROM "`+table+`"`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		r := &row{values: map[string]sql.NullString{}}
		for i, c := range columns {
			r.values[c] = values[i]
		}
		out = append(out, to(r))
	}
	return out, rows.Err()
}
