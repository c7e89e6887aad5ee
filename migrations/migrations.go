// Package migrations holds the schema as SQL, once for both databases: TEXT,
// BIGINT, times as Unix milliseconds, nullable times instead of booleans.
// Storage is its only reader.
package migrations

import "embed"

// FS holds the migration files, in goose's format.
//
//go:embed *.sql
var FS embed.FS

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
}
