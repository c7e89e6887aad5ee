// Package stored reads the databases that earlier programs have written, which
// are kept in test/upgrade/testdata.
package stored

import (
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Database is what is known of a stored database. Its secrets are of tests.
type Database struct {
	Schema int64 `json:"schema"`
	// Program is the commit whose program wrote it, and Filled whether SQL added
	// what its schema has beyond that program's.
	Program string `json:"program"`
	Filled  bool   `json:"filled"`
	// At is when the program ended.
	At        time.Time      `json:"at"`
	PublicURL string         `json:"publicURL"`
	Secret    string         `json:"testRootSecret"`
	Rows      map[string]int `json:"rows"` // by table
	Users     []User         `json:"users"`
	Sessions  []Session      `json:"sessions"`
	Client    Client         `json:"client"` // "" before schema 2
	APIKey    string         `json:"apiKey"` // "" before schema 3
	// Imported is a refresh token of the system that users were imported from, which
	// its device has not brought yet; empty before schema 3. ImportedOf is whose.
	Imported   string `json:"imported,omitempty"`
	ImportedOf string `json:"importedOf,omitempty"`
}

// User is somebody with a password.
type User struct {
	Name     string `json:"name"`
	Password string `json:"password"`
	Disabled bool   `json:"disabled"`
	// TOTP is the secret of a confirmed authenticator app in base32; empty: none.
	TOTP string `json:"testTOTP,omitempty"`
	// Passkey is a harness.SoftKey; none: the password alone lets in, or with TOTP.
	Passkey json.RawMessage `json:"passkey,omitempty"`
}

// Client is a confidential client.
type Client struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// Session is a login and its tokens.
type Session struct {
	Kind      string `json:"kind"`
	ID        string `json:"id"`
	User      string `json:"user"`
	ClientID  string `json:"client"`
	Provider  string `json:"provider"` // "" for a password
	UserAgent string `json:"userAgent"`
	Refresh   string `json:"refresh"`
	Previous  string `json:"previous"` // the token of the generation before; "" where there is none
	Access    string `json:"access"`
	Cause     string `json:"cause"` // of its end; "" while it lives
	Wipe      bool   `json:"wipe"`
	// ProvenKey is the thumbprint of the key that the session is bound to (DPoP).
	ProvenKey string `json:"provenKey,omitempty"`
}

// Schemas are those that a database is stored of.
const (
	FirstSchema = 1
	LastSchema  = 12
)

// Dir is the folder of the stored databases.
func Dir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "testdata")
}

// File is the path of a stored database, without its suffix; kind is sqlite or postgres.
func File(schema int64, kind string) string {
	return filepath.Join(Dir(), fmt.Sprintf("schema%02d.%s", schema, kind))
}

// Read reads what is known of a stored database.
func Read(schema int64, kind string) (d Database, err error) {
	raw, err := os.ReadFile(File(schema, kind) + ".json")
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(raw, &d)
}

// Put writes the stored database into a new SQLite file, or into an empty
// PostgreSQL database, as its URL says.
func Put(ctx context.Context, schema int64, databaseURL string) (Database, error) {
	file, sqlite := strings.CutPrefix(databaseURL, "sqlite:")
	if sqlite {
		if err := unzip(File(schema, "sqlite")+".gz", file); err != nil {
			return Database{}, err
		}
		return Read(schema, "sqlite")
	}
	dump, err := os.ReadFile(File(schema, "postgres") + ".sql")
	if err != nil {
		return Database{}, err
	}
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		return Database{}, err
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, string(dump)); err != nil {
		return Database{}, err
	}
	return Read(schema, "postgres")
}

func unzip(from, to string) error {
	packed, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = packed.Close() }()
	content, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}

// CountRows counts the rows of all tables of an open database, but for those that
// the migrations keep for themselves.
func CountRows(ctx context.Context, db *sql.DB, tables []string) (map[string]int, error) {
	rows := map[string]int{}
	for _, table := range tables {
		var n int
		if err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+table).Scan(&n); err != nil {
			return nil, fmt.Errorf("%s: %w", table, err)
		}
		rows[table] = n
	}
	return rows, nil
}
