// Package migrations holds the schema as SQL, once for both databases: TEXT,
// BIGINT, times as Unix milliseconds, nullable times instead of booleans.
// Storage is its only reader.
package migrations

import (
	"embed"
	"regexp"
	"strconv"
	"strings"
)

// FS holds the migration files, in goose's format.
//
//go:embed *.sql
var FS embed.FS

// Versions are the migrations that there are.
func Versions() map[int64]string {
	files, _ := FS.ReadDir(".") // an embedded folder is always there
	out := map[int64]string{}
	for _, f := range files {
		number, _, _ := strings.Cut(f.Name(), "_")
		if version, err := strconv.ParseInt(number, 10, 64); err == nil {
			out[version] = f.Name()
		}
	}
	return out
}

// Up are the statements that bring a schema to each version from the one before it.
func Up() map[int64]string {
	out := map[int64]string{}
	for version, name := range Versions() {
		text, _ := FS.ReadFile(name) // as above
		_, up, _ := strings.Cut(string(text), "-- +goose Up")
		out[version], _, _ = strings.Cut(up, "-- +goose Down")
	}
	return out
}

var created = regexp.MustCompile(`(?m)^CREATE TABLE (\w+)`)

// Tables are all tables that the migrations make.
func Tables() (out []string) {
	for _, name := range Versions() {
		text, _ := FS.ReadFile(name) // as above
		for _, found := range created.FindAllStringSubmatch(string(text), -1) {
			out = append(out, found[1])
		}
	}
	return out
}

// LowestProgram is the lowest Latchkey version that may open a schema of the
// given migration version: an older program would write rows that a newer one
// misreads. A program refuses a schema newer than the last one it knows, and
// says which version is needed. Versions without an entry need the same as the
// one before them.
var LowestProgram = map[int64]string{
	1: "0.1.0",
	// 2 only adds. The sessions that 0.1.0 makes follow nobody and asked for
	// nothing, which is what the new columns have by default.
	// 3 only adds, too.
	// 5 only adds; but an older program beside this one asks for no second factor.
	// 6 only adds.
	// 10 only adds.
	// 11 only adds a row.
	// 12 only adds indexes.
}
