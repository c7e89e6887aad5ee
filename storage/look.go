package storage

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/lib/pq"
	"github.com/ncruces/go-sqlite3"
	"github.com/pressly/goose/v3"

	"github.com/latchkey-id/latchkey/migrations"
)

// errLooking is what a store that only looks says to every write.
var errLooking = errors.New("the database was opened to look at it alone")

// OpenToLook opens a database as it is: nothing is made or migrated, and every
// write is refused. [TroubleOf] tells why it fails.
func OpenToLook(ctx context.Context, o Options) (*Store, error) {
	d, err := dialectOf(o.URL)
	if err != nil {
		return nil, err
	}
	s := &Store{d: d, looking: true}
	if d.goose == goose.DialectSQLite3 {
		s.pools, err = lookAtFile(d)
	} else {
		s.pools, err = lookAtPostgres(d)
	}
	if err != nil {
		return nil, err
	}
	s.pools.unlock = func() {} // a restore need not wait for us: we keep the file that it replaces
	if err := s.pools.reader.db.PingContext(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// lookAtFile leaves no file behind: one that nobody has open has no journal beside
// it, and who only reads could make one and not remove it.
func lookAtFile(d *dialect) (pools, error) {
	how := "?mode=ro&_pragma=busy_timeout(2000)&_pragma=query_only(1)"
	if _, err := os.Stat(d.logFile()); errors.Is(err, fs.ErrNotExist) {
		how += "&immutable=1"
	}
	one, err := openPool("sqlite3", fileDSN(d.path)+how, 1)
	return pools{writer: one, relaxed: one, reader: one, writing: newTurns(1)}, err
}

func lookAtPostgres(d *dialect) (pools, error) {
	one, err := openPool("postgres", d.postgresDSN(map[string]string{"default_transaction_read_only": "on"}), 2)
	if err != nil {
		return pools{}, redactURL(err)
	}
	one.direct = d.pooler
	return pools{writer: one, relaxed: one, reader: one}, nil
}

// Condition is what a database says of itself. What only PostgreSQL knows is
// empty for SQLite.
type Condition struct {
	Schema, Known int64 // versions: of the database (0: it is empty), and of this program
	// TooNew is why this program cannot open it; nil: it can.
	TooNew error

	Clock             time.Time // when the answer was made
	SynchronousCommit string
	Fsync             string
	Encrypted         bool // this connection is
	Connections       int  // that the role may have, all in all
	Others            int  // of them in use by anything but Latchkey
}

// PoolConnections is how many connections to PostgreSQL one process opens at most.
const PoolConnections = 2 * postgresOpen

// Condition looks, for the version of a program.
func (s *Store) Condition(ctx context.Context, version string) (c Condition, err error) {
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return c, err
	}
	c.Known, err = goose.NumericComponent(files[len(files)-1])
	if err != nil {
		return c, err
	}
	err = s.pools.reader.db.GetContext(ctx, &c.Schema, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version`)
	if isNoTable(err) {
		err = nil
	}
	if err != nil {
		return c, err
	}
	if c.Schema > c.Known {
		c.TooNew = s.checkProgram(ctx, version, c.Schema, c.Known)
	}
	if s.d.goose == goose.DialectPostgres {
		err = s.lookAtServer(ctx, &c)
	}
	return c, err
}

func (s *Store) lookAtServer(ctx context.Context, c *Condition) error {
	var clock float64
	var most, role, reserved int
	var encrypted sql.NullBool
	err := s.pools.reader.db.QueryRowxContext(ctx, `SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8,
			current_setting('synchronous_commit'), current_setting('fsync'),
			current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,
			(SELECT CASE WHEN rolsuper OR rolconnlimit < 0 THEN 2147483647 ELSE rolconnlimit END FROM pg_roles WHERE rolname = current_user),
			(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
			(SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'latchkey')`).
		Scan(&clock, &c.SynchronousCommit, &c.Fsync, &most, &reserved, &role, &encrypted, &c.Others)
	c.Clock, c.Encrypted = time.UnixMicro(int64(clock*1e6)), encrypted.Bool
	c.Connections = min(most-reserved, role)
	return err
}

func isNoTable(err error) bool {
	if pe, ok := errors.AsType[*pq.Error](err); ok {
		return pe.Code == "42P01"
	}
	return err != nil && strings.Contains(err.Error(), "no such table")
}

// Trouble is why a database cannot be opened.
type Trouble string

// The kinds of trouble.
const (
	TroubleUnreachable Trouble = "unreachable" // nothing answers
	TroubleLogin       Trouble = "login"       // role or password is wrong, or not let in from here
	TroubleNoDatabase  Trouble = "no_database" // the server has none of that name
	TroubleTLS         Trouble = "tls"         // sslmode asks for what the server has not
	TroubleFull        Trouble = "full"        // no connection is left
	TroublePooler      Trouble = "pooler"      // a pooler that takes no settings at the start
	TroubleDamaged     Trouble = "damaged"     // a file that is no database
	TroubleOther       Trouble = "other"
)

// TroubleOf tells the kinds of trouble apart.
func TroubleOf(err error) Trouble {
	if pe, ok := errors.AsType[*pq.Error](err); ok {
		return troubleOfServer(pe)
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, isNetwork := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, sqlite3.NOTADB), errors.Is(err, sqlite3.CORRUPT):
		return TroubleDamaged
	case errors.Is(err, pq.ErrSSLNotSupported), untrusted, err != nil && strings.Contains(err.Error(), "x509"):
		return TroubleTLS
	case isNetwork, errors.Is(err, io.EOF), errors.Is(err, context.DeadlineExceeded):
		return TroubleUnreachable
	}
	return TroubleOther
}

func troubleOfServer(err *pq.Error) Trouble {
	switch {
	case strings.Contains(err.Message, "unsupported startup parameter"):
		return TroublePooler
	case strings.Contains(err.Message, "no encryption"), strings.Contains(err.Message, "SSL required"):
		return TroubleTLS
	case err.Code.Class() == "28":
		return TroubleLogin
	case err.Code.Class() == "3D":
		return TroubleNoDatabase
	case err.Code == "53300":
		return TroubleFull
	case err.Code.Class() == "57": // starting, or shutting down
		return TroubleUnreachable
	}
	return TroubleOther
}

// OpenScratch is an empty database in memory, for what needs one and has none.
func OpenScratch(ctx context.Context) (*Store, error) {
	return Open(ctx, Options{URL: "sqlite::memory:", Log: slog.New(slog.DiscardHandler)})
}
