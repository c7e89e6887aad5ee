package harness

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// Open opens the database of a URL past the store, until the test ends.
func Open(tb testing.TB, databaseURL string) *sql.DB {
	tb.Helper()
	driver, dsn := "postgres", databaseURL
	if file, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		driver, dsn = "sqlite3", "file:"+file
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// Dump is what a thief of a database has: every table as text, a value a line; of a
// file, its bytes as well.
func Dump(tb testing.TB, databaseURL string) []byte {
	tb.Helper()
	var out bytes.Buffer
	list := `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`
	if file, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		list = `SELECT name FROM sqlite_master WHERE type = 'table'`
		for _, name := range []string{file, file + "-wal"} {
			raw, err := os.ReadFile(name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				tb.Fatal(err)
			}
			out.Write(raw)
		}
	}
	db, tables := Open(tb, databaseURL), 0
	each(tb, db, list, func(_ []string, table []any) {
		tables++
		each(tb, db, fmt.Sprintf(`SELECT * FROM "%s"`, text(table[0])), func(columns []string, values []any) {
			for i, v := range values {
				fmt.Fprintf(&out, "%s.%s=%v\n", text(table[0]), columns[i], text(v))
			}
		})
	})
	if tables < 15 {
		tb.Fatalf("only %d tables", tables)
	}
	return out.Bytes()
}

// each calls f with every row of a query.
func each(tb testing.TB, db *sql.DB, query string, f func(columns []string, values []any)) {
	tb.Helper()
	rows, err := db.Query(query)
	if err != nil {
		tb.Fatal(err)
	}
	columns, _ := rows.Columns()
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			tb.Fatal(err)
		}
		f(columns, values)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		tb.Fatal(err)
	}
}

// text is a value with bytes as text.
func text(v any) any {
	if raw, ok := v.([]byte); ok {
		return string(raw)
	}
	return v
}
