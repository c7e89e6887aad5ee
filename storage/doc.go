// Package storage remembers: broker.Store over sqlx, on SQLite and PostgreSQL
// from one text of SQL. Rows never leave it; it decides nothing and has no
// clock. What the two databases do differently stands in dialect.go, all of it.
package storage
