// Package harness puts a broker together for tests: the real store, the real
// hasher at a low cost, a clock that the test moves, and a log that the test
// reads.
package harness

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/passkey"
	"github.com/latchkey-id/latchkey/providers/password"
	"github.com/latchkey-id/latchkey/providers/totp"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/tokens"
)

// Secret is a root secret for tests.
const Secret = "a root secret of a test, long enough"

// Clock stands still until the test moves it.
type Clock struct {
	mu  sync.Mutex
	at  time.Time
	ran time.Duration
}

// NewClock starts at a fixed moment.
func NewClock() *Clock { return &Clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

// Now is the clock's moment.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock, back too.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	c.ran += max(d, 0)
}

// Set sets the clock, on or back, and no time passes.
func (c *Clock) Set(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Ran is how much time has passed, whatever the clock was set to.
func (c *Clock) Ran() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ran
}

// Log collects what is logged.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is everything logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Rig is a broker with its parts.
type Rig struct {
	Broker *broker.Broker
	Store  *storage.Store
	Clock  *Clock
	Log    *Log
	// Statements counts what was asked of the database.
	Statements *atomic.Int64
}

// New opens the database (empty: in memory), lets change adjust the
// configuration, and loads the broker.
func New(tb testing.TB, databaseURL string, change func(*broker.Config)) *Rig {
	tb.Helper()
	return NewAt(tb, NewClock(), databaseURL, change)
}

// NewAt is New by a clock that others have, too.
func NewAt(tb testing.TB, clock *Clock, databaseURL string, change func(*broker.Config)) *Rig {
	tb.Helper()
	if databaseURL == "" {
		databaseURL = "sqlite::memory:"
	}
	statements := &atomic.Int64{}
	var now func() time.Time // that of the configuration, once it is made
	uptime := broker.NewUptime(func() time.Time { return now() }, clock.Ran)
	store, err := storage.Open(context.Background(), storage.Options{URL: databaseURL, Away: uptime.Away, Trace: func(string) { statements.Add(1) }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = store.Close() })
	r := &Rig{Store: store, Clock: clock, Log: &Log{}, Statements: statements}
	cfg := broker.Config{
		Store: store, Secrets: Secrets(tb, Secret), Hasher: Hasher(tb), PublicURL: "http://localhost:8080", LocalLogin: true,
		MobileRedirectURIs: []string{"audiobookshelf://oauth", "shelfplayer://callback"},
		GenerateKey:        GenerateKey, Uptime: uptime, OneTimeCodes: totp.Codes{},
		Now: r.Clock.Now, RetryFor: -1, Log: slog.New(slog.NewTextHandler(r.Log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	now = cfg.Now
	if judge, err := passkey.New(cfg.PublicURL); err == nil && cfg.Passkeys == nil {
		cfg.Passkeys = judge
	}
	if r.Broker, err = broker.New(cfg); err != nil {
		tb.Fatal(err)
	}
	if err := r.Broker.Load(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return r
}

var rsaKey = sync.OnceValues(func() (*tokens.SigningKey, error) { return tokens.GenerateSigningKey("RS256", rand.Reader) })

// GenerateKey makes real keys, but one RSA key for all brokers of a test
// binary: making one takes longer than most tests.
func GenerateKey(algorithm string, random io.Reader) (*tokens.SigningKey, error) {
	if algorithm == "RS256" {
		return rsaKey()
	}
	return tokens.GenerateSigningKey(algorithm, random)
}

// Hasher is the real one at a cost that tests can pay.
func Hasher(tb testing.TB) *password.Hasher {
	tb.Helper()
	h, err := password.New(password.Config{MemoryKiB: 64, Parallel: 4, Waiting: 1000})
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// Secrets derives root secrets, the current one first.
func Secrets(tb testing.TB, raw ...string) (out tokens.Secrets) {
	tb.Helper()
	for _, r := range raw {
		s, err := tokens.NewRootSecret([]byte(r))
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// User makes a user with the password "password of " + name.
func (r *Rig) User(tb testing.TB, name string, role broker.Role) broker.User {
	tb.Helper()
	u, err := r.Broker.CreateUser(context.Background(), broker.NewUser{Username: name, Role: role, Password: PasswordOf(name)})
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

// PasswordOf is the password that [Rig.User] gives.
func PasswordOf(name string) string { return "password of " + name }

// Login logs a user of [Rig.User] in.
func (r *Rig) Login(tb testing.TB, name string) *broker.Login {
	tb.Helper()
	login, err := r.Broker.LoginPassword(context.Background(), name, PasswordOf(name), broker.Device{IP: "192.0.2.1", UserAgent: "test"})
	if err != nil {
		tb.Fatal(err)
	}
	return login
}
