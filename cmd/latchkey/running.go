package main

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/password"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/web/metrics"
)

// running is what a process that serves has once, whatever its configuration
// becomes. A nil one is a command that does not serve.
type running struct {
	log          *slog.Logger
	level        *slog.LevelVar
	manager      *manager
	lostLines    func() int64            // of the log; nil: none is
	read         func() (*config, error) // the configuration of the moment; nil: it stays
	front        *front
	config       atomic.Pointer[config] // in effect; nil until requests are served
	broker       atomic.Pointer[broker.Broker]
	store        atomic.Pointer[storage.Store]
	hasher       atomic.Pointer[password.Hasher]
	limiter      broker.Limiter
	certificates *certificates    // nil: plain HTTP
	metrics      *metrics.Metrics // nil: off
	tracer       broker.Tracer    // nil: off
	background   sync.WaitGroup
	closers      []func()
}

// run makes what serves by this configuration.
func (c *config) run(ctx context.Context, log *slog.Logger) (*running, error) {
	r := &running{log: log, level: c.level, manager: &manager{log: log}, read: c.readAgain, lostLines: c.lostLines, front: newFront()}
	c.running = r
	if err := r.serveCertificates(ctx, c); err != nil {
		return r, err
	}
	r.sendTraces(c.Tracing)
	r.reloadOnHangup(ctx)
	return r, r.serveMetrics(c.Metrics.Listen)
}

// trustedProxies are those of the configuration in effect.
func (r *running) trustedProxies() (proxies []netip.Prefix) {
	if c := r.config.Load(); c != nil {
		proxies, _ = c.trustedProxies() // checked with the configuration
	}
	return proxies
}

// opened notes what there is, before anybody is served.
func (r *running) opened(store *storage.Store, b *broker.Broker) {
	r.store.Store(store)
	r.broker.Store(b)
}

// keep gives a new broker what the process has already: what it counted and
// remembers outlives a configuration.
func (c *config) keep(cfg *broker.Config) {
	r := c.running
	if r == nil {
		return
	}
	if hasher := r.hasher.Load(); hasher != nil {
		cfg.Hasher = hasher
	} else if hasher, ok := cfg.Hasher.(*password.Hasher); ok {
		r.hasher.Store(hasher)
	}
	cfg.Before = r.broker.Load()
	if r.metrics != nil {
		cfg.Watcher = r.metrics
	}
}

// close ends what the process had beside its server, in reverse.
func (r *running) close() {
	for i := len(r.closers) - 1; i >= 0; i-- {
		r.closers[i]()
	}
	r.background.Wait()
}
