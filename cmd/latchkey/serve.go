package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/web"
)

const (
	rememberTimeout = 4 * time.Second
	leaveTimeout    = 2 * time.Second
	catchUpEvery    = time.Second // as docs/replicas.md promises
	reloadEvery     = 15 * time.Second
	sweepEvery      = 10 * time.Minute
	deliverEvery    = time.Second
	recheckEvery    = time.Second
	figuresEvery    = time.Minute
	journalEvery    = 30 * time.Second
	mailEvery       = time.Second
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
			signal.Ignore(syscall.SIGPIPE) // where whoever reads the log has gone, the lines are lost and nothing else
			out := newLogSink(p.stdout)
			defer out.close(leaveTimeout)
			log := c.logger(out)
			out.log, c.lostLines = log, out.lost.Load
			slog.SetDefault(log)
			c.readAgain = p.loadConfig
			tuneMemory(cmd.Context(), p.getenv)
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	run, err := c.run(ctx, log)
	defer func() { cancel(); run.close() }()
	if err != nil {
		return err
	}
	front := run.front
	if public, err := url.Parse(c.PublicURL); err == nil { // which was checked
		front.prefix = strings.TrimSuffix(public.Path, "/")
	}
	c.bounds.proxies = run.trustedProxies
	server, listener := c.bounds.server(front, listener, log)
	served := make(chan error, 1)
	go func() {
		if run.certificates != nil {
			server.TLSConfig = run.certificates.config()
			served <- server.ServeTLS(listener, "", "")
			return
		}
		served <- server.Serve(listener)
	}()
	// What goes on beside the requests goes on until they are answered.
	work, endWork := context.WithCancel(context.WithoutCancel(ctx))
	defer endWork()
	log.Info("listening", "event", "listening", "version", version, "url", c.PublicURL, "listen", listener.Addr().String())
	var background sync.WaitGroup
	go run.manager.watch(work, c, listener.Addr())
	store, b, err := c.start(ctx, work, front, &background, log)
	if store != nil {
		defer store.Close()
	}
	// An answer of an IdP that is under way may be its only good token.
	defer background.Wait()
	defer endWork()
	if err == nil {
		select {
		case <-ctx.Done():
			c.drain(front, served, log)
		case err = <-served:
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	endWork()
	stop, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), c.bounds.ending)
	defer cancelStop()
	err = errors.Join(err, server.Shutdown(stop))
	if b != nil {
		c.remember(ctx, b, log)
		background.Wait()
		c.leave(ctx, b, log)
	}
	return err
}

// drain lets those who spread requests over several replicas notice that this one
// ends, before it takes no more: what still comes is answered.
func (c *config) drain(f *front, served <-chan error, log *slog.Logger) {
	f.draining.Store(true)
	c.running.manager.stops()
	log.Info("ending: what is under way is answered", "event", "draining", "delay", c.DrainDelay.Duration().String())
	if c.DrainDelay == 0 {
		return
	}
	select {
	case <-time.After(c.DrainDelay.Duration()):
	case <-served: // there is nothing to wait for
	}
}

// remember writes down what was counted since the last minute. A request that never
// ends takes all the time that requests have, and nothing of this.
func (c *config) remember(ctx context.Context, b *broker.Broker, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rememberTimeout)
	defer cancel()
	if _, err := b.Beat(ctx); err != nil {
		log.Warn("the last half minute counts as an absence", "event", "uptime.failed", "error", err)
	}
	if err := b.WriteFigures(ctx); err != nil {
		log.Warn("figures and refused logins of the last minute are lost", "event", "figures.failed", "error", err)
	}
}

// leave tells the other replicas that this one is gone.
func (c *config) leave(ctx context.Context, b *broker.Broker, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := b.Leave(ctx); err != nil {
		log.Warn("a new signing key waits some minutes for this replica, which has gone", "event", "leave.failed", "error", err)
	}
}

// start opens everything, waiting for a database that is not there yet, and
// lets requests in. What goes on beside them ends with work; what must be finished
// before the store is closed is in background.
func (c *config) start(ctx, work context.Context, f *front, background *sync.WaitGroup, log *slog.Logger) (*storage.Store, *broker.Broker, error) {
	store, err := c.waitForStore(ctx, log)
	if err != nil {
		return nil, nil, err
	}
	b, err := c.brokerThat(ctx, true, store, log)
	if err != nil {
		return store, nil, err
	}
	c.running.opened(store, b)
	handler, err := c.handler(b, log)
	if err != nil {
		return store, nil, err
	}
	if err := b.Load(ctx); err != nil {
		log.Error("not ready", "event", "not_ready", "error", err)
	} else if err := c.firstAdmin(ctx, b, log); err != nil {
		return store, nil, err
	}
	c.running.config.Store(c)
	f.next.Store(&handler)
	if b.Ready() == nil {
		c.sayReady(b, log) // not before: programs wait for this line
	}
	background.Go(func() { c.keepUp(work, store, catchUpEvery, reloadEvery, log) })
	go c.keepHouse(work, log)
	go every(work, deliverEvery, trouble(log, "logouts will be delivered later", "logout.failed"), c.running.now((*broker.Broker).DeliverLogouts))
	go every(work, broker.BeatEvery, trouble(log, "the service's own time stands still", "uptime.failed"), c.running.now((*broker.Broker).Beat))
	go every(work, journalEvery, trouble(log, "the journal of ends will be written later", "journal.failed"), c.running.now((*broker.Broker).KeepJournal))
	go every(work, figuresEvery, trouble(log, "figures and refused logins will be written later", "figures.failed"), c.running.now((*broker.Broker).KeepFigures))
	background.Go(func() { // a mail that is on its way is noted as sent
		every(work, mailEvery, trouble(log, "mail will be sent later", "mail.failed"), c.running.now((*broker.Broker).SendMails))
	})
	background.Go(func() {
		every(work, recheckEvery, trouble(log, "logins at identity providers will be checked later", "recheck.failed"), c.running.now((*broker.Broker).RecheckUpstreams))
	})
	return store, b, nil
}

// handler is the front end of a broker, by this configuration.
func (c *config) handler(b *broker.Broker, log *slog.Logger) (http.Handler, error) {
	proxies, _ := c.trustedProxies() // checked with the configuration
	return web.New(web.Config{
		Broker: b, Version: version, TrustedProxies: proxies, CORSOrigins: c.CORSOrigins, LocalLogin: c.LocalLogin, AutoLaunch: c.AutoLaunch, Log: log,
		FetchMetadata: fetchMetadata(b), Metrics: c.running.metrics, Tracer: c.running.tracer,
	})
}

// waitForStore tries again while the database cannot be reached.
func (c *config) waitForStore(ctx context.Context, log *slog.Logger) (*storage.Store, error) {
	for wait := 200 * time.Millisecond; ; wait = min(wait*2, 5*time.Second) {
		store, err := c.openStore(ctx, log)
		if err == nil || !errors.Is(err, broker.TemporarilyUnavailable) {
			return store, err
		}
		c.running.manager.waits("the database")
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
	c.running.manager.isReady()
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
