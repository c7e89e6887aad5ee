package storage

import (
	"context"
	crand "crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver" // registers "sqlite3"
	"github.com/ncruces/go-sqlite3/vfs/memdb"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/latchkey-id/latchkey/broker"
)

// dialect is the complete list of what SQLite and PostgreSQL do differently.
type dialect struct {
	name  string // for logs, without credentials
	goose goose.Dialect
	open  func(*dialect) (pools, error)

	path   string   // SQLite: the file; empty: in memory
	dsn    *url.URL // PostgreSQL
	pooler bool     // PostgreSQL behind a transaction pooler
}

// CheckURL says what is wrong with a database URL, without connecting.
func CheckURL(databaseURL string) error {
	_, err := dialectOf(databaseURL)
	return err
}

// IsSQLite reports whether the URL names an embedded database, and its file
// ("" in memory).
func IsSQLite(databaseURL string) (file string, ok bool) {
	d, err := dialectOf(databaseURL)
	if err != nil || d.goose != goose.DialectSQLite3 {
		return "", false
	}
	return d.path, true
}

var errURL = errors.New("must be sqlite:<path> or postgres://user:password@host/database")

func dialectOf(databaseURL string) (*dialect, error) {
	if path, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		d := &dialect{name: "sqlite", goose: goose.DialectSQLite3, open: openSQLite}
		if path != ":memory:" {
			if path = strings.TrimPrefix(path, "//"); path == "" || strings.ContainsAny(path, "?#") {
				return nil, errURL
			}
			d.path, d.name = path, "sqlite "+path
		}
		return d, nil
	}
	u, err := url.Parse(databaseURL)
	// The error of url.Parse repeats the URL, password included.
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errURL
	}
	return &dialect{
		name: "postgres " + u.Host + u.Path, goose: goose.DialectPostgres, open: openPostgres, dsn: u,
		// lib/pq needs binary_parameters=yes behind a transaction pooler, so it is
		// also how we know of one. A pooler takes neither settings at the start nor
		// prepared statements.
		pooler: u.Query().Get("binary_parameters") == "yes",
	}, nil
}

// Pool sizes. PostgreSQL's own limit is 100 connections by default, shared by
// all replicas.
const (
	sqliteReaders  = 4
	postgresOpen   = 16
	postgresIdle   = 5 * time.Minute
	statementLimit = 5 * time.Second
	connectLimit   = 5 * time.Second
	// turnLimit is how long a statement waits for a connection, and for its turn to
	// write on SQLite: who waits longer is better told to come again.
	turnLimit = 5 * time.Second
	// logLimit is to how many bytes SQLite cuts its log. It is written back at four
	// megabytes, so that it is cut after trouble alone.
	logLimit = 8 << 20
	// rowLimit is how long a statement waits for a row that another transaction holds:
	// the connection is of use to others meanwhile. The broker tries again. It is longer
	// than PostgreSQL's deadlock_timeout (1 s), or no deadlock would be told as one.
	rowLimit = 2 * time.Second
	// lockLimit is how long a migration waits for a table; whoever uses the table
	// after it waits behind it. It is tried again then.
	lockLimit = 500 * time.Millisecond
)

// lock keeps a restore from replacing an SQLite file while it is open. Where the
// file system has no locks there is none.
func (d *dialect) lock(unlocked bool) (release func(), err error) {
	nothing := func() {}
	if d.path == "" || unlocked {
		return nothing, nil
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o700); err != nil {
		return nil, fmt.Errorf("database folder: %w", err)
	}
	switch release, err := lockFile(d.path, false); {
	case errors.Is(err, ErrInUse):
		return nil, broker.Unavailable(errors.New("the database is being restored"))
	case err == nil:
		return release, nil
	}
	return nothing, nil
}

func openSQLite(d *dialect) (pools, error) {
	p := pools{writing: newTurns(1), together: &together{}}
	if d.path == "" {
		// The driver drops a connection whose transaction was cancelled, so the
		// database must not live in a connection.
		name := "latchkey-" + crand.Text()
		memdb.Create(name, nil)
		only, err := openPool("sqlite3", "file:/"+name+"?vfs=memdb&_pragma=foreign_keys(1)", 1)
		p.writer, p.relaxed, p.reader, p.close = only, only, only, func() { memdb.Delete(name) }
		return p, err
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o700); err != nil {
		return p, fmt.Errorf("database folder: %w", err)
	}
	// The file holds password hashes: nobody else reads it, whatever the folder
	// allows. SQLite gives the files beside it the same mode.
	file, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return p, fmt.Errorf("database: %w", err)
	}
	_ = file.Close()
	// Pragmas belong to a connection, so they stand in the DSN. Durability
	// cannot be switched inside a transaction, hence a second writer.
	dsn := func(extra string) string {
		return fileDSN(d.path) + "?_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)" + extra
	}
	// What a long reader made of the log is given back once it could be written back.
	write := fmt.Sprintf("&_pragma=journal_mode(wal)&_pragma=journal_size_limit(%d)&_txlock=immediate", logLimit)
	if p.writer, err = openPool("sqlite3", dsn(write+"&_pragma=synchronous(full)"), 1); err != nil {
		return p, err
	}
	if p.relaxed, err = openPool("sqlite3", dsn(write+"&_pragma=synchronous(normal)"), 1); err != nil {
		return p, err
	}
	// Opened on first use, after one that writes has made the file.
	p.reader, err = openPool("sqlite3", dsn("&_pragma=query_only(1)&_txlock=deferred"), sqliteReaders)
	return p, err
}

// fileDSN names an SQLite file, without parameters.
func fileDSN(file string) string { return "file:" + (&url.URL{Path: file}).EscapedPath() }

// logFile is SQLite's write-ahead log. It lies beside the file that a link leads to.
func (d *dialect) logFile() string {
	file, err := filepath.EvalSymlinks(d.path)
	if err != nil {
		file = d.path
	}
	return file + "-wal"
}

func isBusy(err error) bool {
	se, ok := errors.AsType[*sqlite3.Error](err)
	return ok && (se.Code() == sqlite3.BUSY || se.Code() == sqlite3.LOCKED)
}

// postgresDSN is the URL with what it does not say itself.
func (d *dialect) postgresDSN(settings map[string]string) string {
	u := *d.dsn
	q := u.Query()
	setDefault := func(name, value string) {
		if !q.Has(name) {
			q.Set(name, value)
		}
	}
	setDefault("sslmode", "prefer")
	setDefault("connect_timeout", fmt.Sprint(connectLimit.Seconds()))
	setDefault("application_name", "latchkey")
	if !d.pooler {
		setDefault("statement_timeout", fmt.Sprint(statementLimit.Milliseconds()))
		setDefault("lock_timeout", fmt.Sprint(rowLimit.Milliseconds()))
		for name, value := range settings {
			q.Set(name, value)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func openPostgres(d *dialect) (pools, error) {
	writer, err := openPool("postgres", d.postgresDSN(nil), postgresOpen)
	if err != nil {
		return pools{}, fmt.Errorf("database_url: %w", redactURL(err))
	}
	writer.direct = d.pooler
	if d.pooler {
		return pools{writer: writer, relaxed: writer, reader: writer}, nil
	}
	relaxed, err := openPool("postgres", d.postgresDSN(map[string]string{"synchronous_commit": "off"}), postgresOpen)
	return pools{writer: writer, relaxed: relaxed, reader: writer}, err
}

// migrationDB is where migrations run. On PostgreSQL they may be silent for as long
// as they need ([silenceLimit] is for everything else). On SQLite their commits do not
// wait for the disk one by one: what a cut of power takes back runs again, and the next
// durable write keeps all that came before it.
func (d *dialect) migrationDB(relaxed *pool) (db *sql.DB, release func(), err error) {
	if d.goose != goose.DialectPostgres {
		return relaxed.db.DB, func() {}, nil
	}
	db, err = sql.Open("postgres", d.postgresDSN(nil))
	if err != nil {
		return nil, nil, redactURL(err)
	}
	return db, func() { _ = db.Close() }, nil
}

// patience lets a transaction of a migration take as long as it needs, but wait for a
// table no longer than lockLimit. A pooler takes no settings of a connection; those of
// a transaction it does.
func (d *dialect) patience(ctx context.Context, tx *sql.Tx) error {
	if d.goose != goose.DialectPostgres {
		return nil
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = %d", lockLimit.Milliseconds()))
	return err
}

// isLockTimeout reports whether a statement waited for a table for too long.
func isLockTimeout(err error) bool {
	pe, ok := errors.AsType[*pq.Error](err)
	return ok && pe.Code == "55P03"
}

func openPool(driver, dsn string, size int) (*pool, error) {
	p := &pool{places: newTurns(size)}
	var err error
	if driver == "postgres" {
		p.rewrite = postgresText
		p.db, err = dialPostgres(dsn)
	} else {
		p.db, err = sqlx.Open(driver, dsn)
	}
	if err != nil {
		return nil, err
	}
	p.db.SetMaxOpenConns(size)
	p.db.SetMaxIdleConns(size)
	if driver == "postgres" {
		p.db.SetConnMaxIdleTime(postgresIdle)
	}
	return p, nil
}

// jsonArray is the function that makes a JSON array of its arguments, as SQLite
// calls it.
const jsonArray = "json_array"

func postgresText(query string) string {
	return strings.ReplaceAll(query, jsonArray+"(", "json_build_array(")
}

// redactURL drops what a URL parser may repeat of the password.
func redactURL(err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return errURL
	}
	return err
}

func (d *dialect) migrationOptions() ([]goose.ProviderOption, error) {
	if d.goose != goose.DialectPostgres || d.pooler {
		return nil, nil
	}
	// goose looks every 5 s by itself: the second of two replicas would start so late.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	return []goose.ProviderOption{goose.WithSessionLocker(locker)}, err
}

// afterMigrations is what PostgreSQL alone is told of the schema.
func (d *dialect) afterMigrations(ctx context.Context, db *sql.DB) error {
	if d.goose != goose.DialectPostgres {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return d.translate(ctx, err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, do := range []func(context.Context, *sql.Tx) error{d.patience, roomInPages, orderOfBytes} {
		if err := do(ctx, tx); err != nil {
			return d.translate(ctx, err)
		}
	}
	return d.translate(ctx, tx.Commit())
}

// roomInPages leaves room for the new version of a refreshed row beside the old
// one (a HOT update).
func roomInPages(ctx context.Context, tx *sql.Tx) error {
	var has bool
	if err := tx.QueryRowContext(ctx, `SELECT reloptions::text LIKE '%fillfactor%' FROM pg_class WHERE relname = 'sessions' AND reloptions IS NOT NULL`).Scan(&has); err == nil && has {
		return nil
	}
	_, err := tx.ExecContext(ctx, `ALTER TABLE sessions SET (fillfactor = 70)`)
	return err
}

// orderOfBytes orders what is searched by its beginning, as SQLite does: in
// another order texts that begin alike do not stand together. Only the indexes
// are written anew.
func orderOfBytes(ctx context.Context, tx *sql.Tx) error {
	for table, columns := range map[string][]string{"users": {"username_key", "email_key", "name_key"}, "audit_events": {"name"}} {
		for _, column := range columns {
			var collation sql.NullString
			err := tx.QueryRowContext(ctx, `SELECT collation_name FROM information_schema.columns
				WHERE table_schema = current_schema() AND table_name = $1 AND column_name = $2`, table, column).Scan(&collation)
			if err == nil && collation.String != "C" {
				_, err = tx.ExecContext(ctx, `ALTER TABLE `+table+` ALTER COLUMN `+column+` TYPE TEXT COLLATE "C"`)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// wake has PostgreSQL tell the other processes of a change, once its transaction
// is durable. On SQLite they look by themselves.
func (d *dialect) wake(ctx context.Context, tx *Store) error {
	if d.goose != goose.DialectPostgres {
		return nil
	}
	var nothing string
	return tx.get(ctx, &nothing, `SELECT CAST(pg_notify('`+wakeChannel+`', '') AS TEXT)`)
}

// translate makes trouble of the database the broker's: nothing that a
// database does proves anything about a token.
func (d *dialect) translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		err = fmt.Errorf("%w: %w", ctxErr, err) // a cancelled query names only the cancel
	}
	if errors.Is(err, broker.TemporarilyUnavailable) {
		return err
	}
	return broker.Unavailable(err)
}

// errRefused is a server that will never let us in with this URL.
var errRefused = errors.New("database_url")

// translateOpen tells a database that is not there yet from one that will
// never let us in: the first is worth waiting for.
func (d *dialect) translateOpen(err error) error {
	if pe, ok := errors.AsType[*pq.Error](err); ok {
		switch pe.Code.Class() {
		case "28", "3D": // wrong password, no such database
			return fmt.Errorf("%w: %w", errRefused, err)
		}
		if strings.Contains(pe.Message, "unsupported startup parameter") {
			return fmt.Errorf("%w: a pooler such as PgBouncer stands before the database: add the parameter binary_parameters=yes: %w", errRefused, err)
		}
	}
	if d.goose == goose.DialectSQLite3 {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	return broker.Unavailable(err)
}

// running is the context of what runs on a connection. On PostgreSQL whoever gives up
// then is not heard any more: lib/pq breaks a statement off by a second connection and
// throws the first away, so that people who go away cost the server more than those
// who stay. The limits above end what hangs, and what ran for nobody is an answer that
// was lost. A pooler knows no such limits, and its connections are cheap.
func (d *dialect) running(ctx context.Context) context.Context {
	if d.goose == goose.DialectPostgres && !d.pooler {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

func (d *dialect) isUnique(err error) bool {
	if pe, ok := errors.AsType[*pq.Error](err); ok {
		return pe.Code == "23505"
	}
	if se, ok := errors.AsType[*sqlite3.Error](err); ok {
		code := se.ExtendedCode()
		return code == sqlite3.CONSTRAINT_UNIQUE || code == sqlite3.CONSTRAINT_PRIMARYKEY
	}
	return false
}

// isImpossibleText reports whether PostgreSQL refused a text that it cannot
// hold (a NUL, bytes that are not UTF-8): nothing of that name can be there.
func (d *dialect) isImpossibleText(err error) bool {
	pe, ok := errors.AsType[*pq.Error](err)
	return ok && (pe.Code == "22021" || pe.Code == "22P05")
}

// isDemoted reports whether PostgreSQL takes no writes any more (25006): the
// connections that there are stay with a server that is no primary.
func (d *dialect) isDemoted(err error) bool {
	pe, ok := errors.AsType[*pq.Error](err)
	return ok && pe.Code == "25006"
}

// retryTx runs a transaction again after PostgreSQL chose it as the victim of a
// conflict (40001, 40P01).
func (d *dialect) retryTx(ctx context.Context, f func() error) (err error) {
	for try := range 6 {
		err = f()
		pe, ok := errors.AsType[*pq.Error](err)
		if !ok || pe.Code != "40001" && pe.Code != "40P01" {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		// #nosec G404 -- a pause that nobody gains from knowing
		case <-time.After(time.Duration(1+rand.IntN(10<<try)) * time.Millisecond):
		}
	}
	return err
}
