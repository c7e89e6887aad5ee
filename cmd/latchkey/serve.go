package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/web"
)

// Limits of the HTTP server. Idle connections live longer than those of the
// usual proxies, so that no proxy reuses one that we have just closed.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 3 * time.Minute
	maxHeaderBytes    = 64 << 10
	shutdownTimeout   = 20 * time.Second
	reloadEvery       = 15 * time.Second
	sweepEvery        = 10 * time.Minute
	deliverEvery      = time.Second
	recheckEvery      = time.Second
)

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the broker", Args: cobra.NoArgs,
		Long: "Run the broker. With no configuration at all: SQLite at ./data/latchkey.db, port 8080,\n" +
			"and a one-time setup link in the log while there is no administrator.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.loadConfig()
			if err != nil {
				return err
			}
			log := c.logger(p.stdout)
			slog.SetDefault(log)
			if c.TLS.CertFile != "" {
				if _, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile); err != nil {
					return fmt.Errorf("tls: %w", err)
				}
			}
			tuneMemory(p.getenv)
			for _, w := range c.warnings() {
				log.Warn(w, "event", "config.warning")
			}
			listener, err := net.Listen("tcp", c.Listen)
			if err != nil {
				return err
			}
			return c.serve(cmd.Context(), listener, log)
		},
	}
}

// serve listens at once and answers 503 until the database and the keys are
// there, so that no client is ever told that its token is bad by a server that
// cannot know.
func (c *config) serve(ctx context.Context, listener net.Listener, log *slog.Logger) error {
	front := newFront()
	server := newHTTPServer(front, log)
	served := make(chan error, 1)
	go func() {
		if c.TLS.CertFile != "" {
			served <- server.ServeTLS(listener, c.TLS.CertFile, c.TLS.KeyFile)
			return
		}
		served <- server.Serve(listener)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	log.Info("listening", "event", "listening", "version", version, "url", c.PublicURL, "listen", listener.Addr().String())
	var background sync.WaitGroup
	store, err := c.start(ctx, front, &background, log)
	if store != nil {
		defer store.Close()
	}
	// An answer of an IdP that is under way may be its only good token.
	defer background.Wait()
	defer cancel()
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-served:
		}
	}
	// Drain: what is under way is answered, nothing new is taken.
	stop, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancelStop()
	if errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, server.Shutdown(stop))
}

func newHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// front stands before the real handler until that is there.
type front struct{ next atomic.Pointer[http.Handler] }

func newFront() *front { return &front{} }

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if next := f.next.Load(); next != nil {
		(*next).ServeHTTP(w, r)
		return
	}
	if r.URL.Path == "/healthz" {
		fmt.Fprintln(w, "ok")
		return
	}
	h := w.Header()
	h.Set("Retry-After", "2")
	h.Set("Cache-Control", "no-store")
	h.Set("Latchkey-Code", string(broker.TemporarilyUnavailable))
	h.Set("Latchkey-Verdict", string(web.VerdictRetry))
	h.Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(w).Encode(map[string]string{
		"error": "Starting", "code": string(broker.TemporarilyUnavailable), "verdict": string(web.VerdictRetry),
	})
}

// start opens everything, waiting for a database that is not there yet, and
// lets requests in. What must be finished before the store is closed is in
// background.
func (c *config) start(ctx context.Context, f *front, background *sync.WaitGroup, log *slog.Logger) (*storage.Store, error) {
	store, err := c.waitForStore(ctx, log)
	if err != nil {
		return nil, err
	}
	b, err := c.newBroker(ctx, store, log)
	if err != nil {
		return store, err
	}
	proxies, _ := c.trustedProxies() // checked with the configuration
	handler, err := web.New(web.Config{
		Broker: b, Version: version, TrustedProxies: proxies, CORSOrigins: c.CORSOrigins, LocalLogin: c.LocalLogin, Log: log,
		FetchMetadata: fetchMetadata(b),
	})
	if err != nil {
		return store, err
	}
	if err := b.Load(ctx); err != nil {
		log.Error("not ready", "event", "not_ready", "error", err)
	} else if err := c.firstAdmin(ctx, b, log); err != nil {
		return store, err
	}
	f.next.Store(&handler)
	if b.Ready() == nil {
		c.sayReady(b, log) // not before: programs wait for this line
	}
	go c.keepHouse(ctx, b, log)
	go deliverLogouts(ctx, b, log)
	background.Go(func() { recheckUpstreams(ctx, b, log) })
	return store, nil
}

// waitForStore tries again while the database cannot be reached.
func (c *config) waitForStore(ctx context.Context, log *slog.Logger) (*storage.Store, error) {
	for wait := 200 * time.Millisecond; ; wait = min(wait*2, 5*time.Second) {
		store, err := c.openStore(ctx, log)
		if err == nil || !errors.Is(err, broker.TemporarilyUnavailable) {
			return store, err
		}
		log.Warn("the database cannot be reached yet", "event", "database.waiting", "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (c *config) sayReady(b *broker.Broker, log *slog.Logger) {
	log.Info("ready", "event", "ready", "version", version, "url", c.PublicURL, "database", b.Database())
}

// firstAdmin makes the administrator of the configuration, or prints the
// one-time link.
func (c *config) firstAdmin(ctx context.Context, b *broker.Broker, log *slog.Logger) error {
	if c.adminUsername != "" {
		made, err := b.EnsureAdmin(ctx, c.adminUsername, c.adminPassword)
		if err != nil {
			return fmt.Errorf("LATCHKEY_ADMIN_USERNAME, LATCHKEY_ADMIN_PASSWORD: %w", err)
		}
		if made {
			log.Info("first administrator made", "event", "setup.done", "username", c.adminUsername)
		}
		return nil
	}
	needed, err := b.NeedsSetup(ctx)
	if err != nil || !needed {
		return err
	}
	token, err := b.SetupToken(ctx)
	if err != nil {
		return err
	}
	log.Warn("there is no administrator yet: open the setup link", "event", "setup.needed", "url", c.PublicURL+"/setup?token="+url.QueryEscape(token))
	return nil
}

// keepHouse brings in what other replicas changed, and clears away what nobody
// needs any more.
func (c *config) keepHouse(ctx context.Context, b *broker.Broker, log *slog.Logger) {
	reload, sweep := time.NewTimer(time.Second), time.NewTicker(sweepEvery)
	defer reload.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-reload.C:
			c.reload(ctx, b, log)
			next := reloadEvery
			if b.Ready() != nil {
				next = time.Second
			}
			reload.Reset(next)
		case <-sweep.C:
			if err := b.Sweep(ctx); err != nil && ctx.Err() == nil {
				log.Warn("clean-up will be tried again", "event", "sweep.failed", "error", err)
			}
		}
	}
}

// deliverLogouts tells clients of sessions that ended, beside everything else:
// a client that answers slowly holds up no other work.
func deliverLogouts(ctx context.Context, b *broker.Broker, log *slog.Logger) {
	for {
		due, err := b.DeliverLogouts(ctx)
		if err != nil && ctx.Err() == nil {
			log.Warn("logouts will be delivered later", "event", "logout.failed", "error", err)
		}
		if due > 0 && err == nil {
			continue
		}
		if pause(ctx, deliverEvery) != nil {
			return
		}
	}
}

// recheckUpstreams checks logins at IdPs again, beside everything else.
func recheckUpstreams(ctx context.Context, b *broker.Broker, log *slog.Logger) {
	for {
		due, err := b.RecheckUpstreams(ctx)
		if err != nil && ctx.Err() == nil {
			log.Warn("logins at identity providers will be checked later", "event", "recheck.failed", "error", err)
		}
		if due > 0 && err == nil && ctx.Err() == nil {
			continue
		}
		if pause(ctx, recheckEvery) != nil {
			return
		}
	}
}

// reload loads again, and says so when the broker becomes ready by it.
func (c *config) reload(ctx context.Context, b *broker.Broker, log *slog.Logger) {
	was := b.Ready()
	err := b.Load(ctx)
	if err != nil && ctx.Err() == nil {
		log.Error("not ready", "event", "not_ready", "error", err)
	}
	if was != nil && err == nil {
		if err := c.firstAdmin(ctx, b, log); err != nil {
			log.Error("first administrator", "event", "setup.failed", "error", err)
		}
		c.sayReady(b, log)
	}
}

// fetchMetadata reads the discovery document of any issuer: one that may be in
// our own network wherever it is, others only at public addresses (a guard
// against requests that are forged into our own network).
func fetchMetadata(b *broker.Broker) func(context.Context, string) (json.RawMessage, error) {
	own, guarded := oidc.NewHTTPClient(), oidc.NewPublicHTTPClient()
	return func(ctx context.Context, issuer string) (json.RawMessage, error) {
		for _, p := range b.Providers() {
			if p.Issuer == issuer && p.Trusted() {
				return oidc.FetchMetadata(ctx, own, issuer)
			}
		}
		return oidc.FetchMetadata(ctx, guarded, issuer)
	}
}
