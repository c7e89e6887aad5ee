// Package pgtest runs a real PostgreSQL server for tests: its own data
// directory, its own port, ordinary durability settings. A test may stop it as
// abruptly as a crash and start it again on the same data.
package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// superuser is the role initdb creates and every URL names.
const superuser = "postgres"

// Cluster is one PostgreSQL server with its data directory. Its methods may be
// called from several goroutines.
type Cluster struct {
	dir      *tempDir
	bin      string
	account  *syscall.Credential
	settings []string
	rules    string // pg_hba.conf; empty: everybody is let in
	port     int    // fixed once Start has returned

	mu     sync.Mutex
	server *server // nil while stopped
	closed bool
}

// Option changes how Start sets the server up.
type Option func(*Cluster)

// WithSetting sets a server parameter, as in postgresql.conf, for tests that
// need a limit or a log line the defaults do not give.
func WithSetting(name, value string) Option {
	return func(c *Cluster) { c.settings = append(c.settings, "-c", name+"="+value) }
}

// Start makes a cluster in a new temporary directory and waits until it accepts
// connections. The caller owes it a Close; should the process die first, the
// kernel stops the server.
func Start(opts ...Option) (*Cluster, error) {
	bin, err := findBinaries()
	if err != nil {
		return nil, err
	}
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, err := newTempDir(account)
	if err != nil {
		return nil, err
	}
	// One server serves every pool of a test process, so it admits more
	// connections than the default of 100.
	c := &Cluster{dir: dir, bin: bin, account: account, settings: []string{"-c", "max_connections=300"}}
	for _, opt := range opts {
		opt(c)
	}
	if err := c.create(); err != nil {
		_ = dir.remove() // the first error is the one that explains
		return nil, err
	}
	return c, nil
}

// MustStart is Start for one test: it fails the test when the server does not
// come up, and closes the cluster when the test ends.
func MustStart(tb testing.TB, opts ...Option) *Cluster {
	tb.Helper()
	c, err := Start(opts...)
	if err != nil {
		tb.Fatalf("starting PostgreSQL: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the PostgreSQL server's log ends:\n%s", c.logSince(0))
		}
		if err := c.Close(); err != nil {
			tb.Errorf("closing PostgreSQL: %v", err)
		}
	})
	return c
}

// Port is the loopback TCP port, the same over every restart.
func (c *Cluster) Port() int { return c.port }

// URL is the address of a database on this server, as its superuser.
func (c *Cluster) URL(db string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(superuser),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)),
		Path:     "/" + db,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// NewDatabase creates an empty database under a random name and returns its
// URL, so that tests sharing a server share no data. It goes when the test ends.
func (c *Cluster) NewDatabase(tb testing.TB) string {
	tb.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	if err := c.exec("CREATE DATABASE " + name); err != nil {
		tb.Fatalf("creating a test database: %v", err)
	}
	tb.Cleanup(func() {
		// Only the disk space is at stake, and the server may be stopped or
		// gone by now. FORCE, because a test may have left connections open.
		_ = c.exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)")
	})
	return c.URL(name)
}

// StopImmediate stops the server as a crash would: no checkpoint, connections
// cut, recovery from the write-ahead log at the next start.
func (c *Cluster) StopImmediate() error { return c.stop(syscall.SIGQUIT) }

// StopFast stops the server in good order: connections are cut, transactions
// rolled back, and the data directory is left checkpointed.
func (c *Cluster) StopFast() error { return c.stop(syscall.SIGINT) }

// StartAgain starts a stopped server on the same data and port, and waits until
// it accepts connections, crash recovery included.
func (c *Cluster) StartAgain() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return errors.New("pgtest: the cluster is closed")
	case c.server != nil && c.server.Running():
		return errors.New("pgtest: the server is running")
	}
	return c.launch()
}

// Restart is StopFast and StartAgain.
func (c *Cluster) Restart() error {
	if err := c.StopFast(); err != nil {
		return err
	}
	return c.StartAgain()
}

// Close stops the server if it runs and removes its data. Closing again does
// nothing.
func (c *Cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var err error
	if c.server != nil {
		// The data is thrown away, so the quick way out is good enough.
		err = c.server.stop(syscall.SIGQUIT)
		c.server = nil
	}
	return errors.Join(err, c.dir.remove())
}

func (c *Cluster) stop(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil || !c.server.Running() {
		return errors.New("pgtest: the server is not running")
	}
	err := c.server.stop(sig)
	c.server = nil
	return err
}

// exec runs one statement in the maintenance database.
func (c *Cluster) exec(statement string) error {
	db, err := sql.Open("postgres", c.URL("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = db.ExecContext(ctx, statement)
	return err
}

func (c *Cluster) dataDir() string { return filepath.Join(c.dir.path, "data") }

func (c *Cluster) logPath() string { return filepath.Join(c.dir.path, "postgres.log") }

// logSince returns what the server logged from an offset on, or the last part
// of it: errors and failed tests carry it, since the file goes with Close.
func (c *Cluster) logSince(offset int64) string {
	const most = 64 << 10
	log, err := os.ReadFile(c.logPath())
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(log[max(min(offset, int64(len(log))), int64(len(log))-most):])
}
