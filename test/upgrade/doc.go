// Package upgrade opens databases that earlier programs have written: testdata
// has one of each schema, as SQLite and as a dump of PostgreSQL. The command in
// the folder make makes them again. It has nothing but tests.
package upgrade
