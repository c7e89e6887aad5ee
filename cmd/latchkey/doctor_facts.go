package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/tokens"
)

// doctor is what the checks know. Everything is read before they run, but for
// what is asked over the network.
type doctor struct {
	program *program
	config  *config

	now  func() time.Time
	disk func(path string) (diskState, error)
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	roots *x509.CertPool // nil: those of this system
	limit time.Duration  // of one check

	try func(ctx context.Context, providerID string) (broker.Trial, error)

	store     *storage.Store // to look at; nil: there is none, or it cannot be opened
	storeErr  error          // why not; nil with a nil store: a file that is not there yet
	condition storage.Condition
	lookedAt  time.Time // by our clock, when the condition was asked
	scratch   *storage.Store

	secrets   tokens.Secrets // nil: none is known
	secretErr error
	broker    *broker.Broker // for trials; nil: it could not be made

	local, public func() sighting // how the server sees us, asked once
}

func (p *program) newDoctor() *doctor {
	return &doctor{program: p, now: time.Now, disk: diskOf, dial: (&net.Dialer{Timeout: 3 * time.Second}).DialContext, limit: checkTime}
}

// readConfiguration leaves d.config nil where something is wrong with it.
func (d *doctor) readConfiguration() (out []finding) {
	c, bad, err := d.program.readConfig()
	if err != nil {
		return []finding{found("config_unreadable", "", values{"error": err.Error()})}
	}
	for _, one := range bad {
		id := "config_value"
		if one.unknown {
			id = "config_key_unknown"
		}
		out = append(out, found(id, one.key, values{"key": one.key, "problem": one.text}))
	}
	if len(out) == 0 {
		d.config = c
	}
	return out
}

// prepare opens what the checks share.
func (d *doctor) prepare(ctx context.Context) {
	d.openStore(ctx)
	d.readSecrets()
	d.makeBroker(ctx)
	d.local = sync.OnceValue(d.askLocal)
	d.public = sync.OnceValue(d.askPublic)
}

func (d *doctor) close() {
	for _, s := range []*storage.Store{d.store, d.scratch} {
		if s != nil {
			_ = s.Close()
		}
	}
}

// openStore opens the database as it is.
func (d *doctor) openStore(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	if file, ok := storage.IsSQLite(d.config.databaseURL()); ok {
		if file == "" {
			return
		}
		if _, err := os.Stat(file); err != nil {
			return // the first start makes it, or its folder has trouble, which is said there
		}
	}
	if d.store, d.storeErr = storage.OpenToLook(ctx, storage.Options{URL: d.config.databaseURL()}); d.storeErr != nil {
		return
	}
	begun := d.now()
	d.condition, d.storeErr = d.store.Condition(ctx, version)
	d.lookedAt = begun.Add(d.now().Sub(begun) / 2)
}

// storeFits reports whether the broker can read the database: one of an older
// schema lacks tables.
func (d *doctor) storeFits() bool {
	return d.store != nil && d.storeErr == nil && d.condition.TooNew == nil && d.condition.Schema >= d.condition.Known
}

func (d *doctor) secretFile() string { return filepath.Join(d.config.DataDir, "secret.key") }

// readSecrets reads the root secrets, and makes none.
func (d *doctor) readSecrets() {
	current := []byte(d.config.SecretKey)
	if len(current) == 0 {
		if current, d.secretErr = os.ReadFile(d.secretFile()); d.secretErr != nil {
			return
		}
	}
	for _, raw := range append([][]byte{current}, asBytes(d.config.PreviousSecretKeys)...) {
		s, err := tokens.NewRootSecret(raw)
		if err != nil {
			d.secrets, d.secretErr = nil, err
			return
		}
		d.secrets = append(d.secrets, s)
	}
}

// makeBroker makes a broker that tries providers, if there are any: over the
// database, or, where that cannot be read, over an empty one in memory.
func (d *doctor) makeBroker(ctx context.Context) {
	log, store := slog.New(slog.DiscardHandler), d.store
	if !d.storeFits() {
		if len(d.config.Providers) == 0 {
			return
		}
		var err error
		if d.scratch, err = storage.OpenScratch(ctx); err != nil {
			return
		}
		store = d.scratch
	}
	c := *d.config
	c.RedisURL = "" // nothing is counted
	switch {
	case len(d.secrets) == 0: // any will do to try a provider with
		c.SecretKey, c.PreviousSecretKeys = rand.Text()+rand.Text(), nil
	case c.SecretKey == "":
		raw, err := os.ReadFile(d.secretFile())
		if err != nil {
			return
		}
		c.SecretKey = string(raw)
	}
	b, err := c.newBroker(ctx, store, log)
	if err != nil {
		return
	}
	if d.storeFits() {
		_ = b.Look(ctx) // a provider that it could not read is found to be unusable
	}
	d.broker = b
	if d.try == nil {
		d.try = b.TryProvider
	}
}
