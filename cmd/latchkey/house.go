package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// keepUp brings in what other processes changed on this database, and says there
// that this one is alive. PostgreSQL tells of a change at once; where it cannot, a
// look every so often serves.
func (c *config) keepUp(ctx context.Context, store *storage.Store, lookEvery, reloadEvery time.Duration, log *slog.Logger) {
	woken := make(chan struct{}, 1)
	go store.Listen(ctx, woken)
	look, reload := time.NewTicker(lookEvery), time.NewTimer(lookEvery)
	defer look.Stop()
	defer reload.Stop()
	for {
		reloads := false
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-look.C:
		case <-reload.C: // what nobody counted; first what the start left for later
			reloads = true
			reload.Reset(reloadEvery)
		}
		b := c.running.broker.Load() // by the configuration of the moment
		load := b.CatchUp
		if reloads {
			load = b.Load
		}
		c.reload(ctx, b, load, log)
		if b.Ready() != nil {
			continue
		}
		if err := b.Attend(ctx); err != nil && ctx.Err() == nil {
			log.Debug("signing keys will take their turn later", "event", "key.failed", "error", err)
		}
	}
}

// reload loads again, and says so when the broker becomes ready by it. A database
// that is away for a moment is no news: what was loaded is still right.
func (c *config) reload(ctx context.Context, b *broker.Broker, load func(context.Context) error, log *slog.Logger) {
	was := b.Ready()
	err := load(ctx)
	if err != nil && ctx.Err() == nil && b.Ready() != nil {
		log.Error("not ready", "event", "not_ready", "error", err)
	}
	if was != nil && err == nil {
		if err := c.firstAdmin(ctx, b, log); err != nil {
			log.Error("first administrator", "event", "setup.failed", "error", err)
		}
		c.sayReady(b, log)
	}
}

// keepHouse clears away what nobody needs any more.
func (c *config) keepHouse(ctx context.Context, log *slog.Logger) {
	for pause(ctx, sweepEvery) == nil {
		if err := c.running.broker.Load().Sweep(ctx); err != nil && ctx.Err() == nil {
			log.Warn("clean-up will be tried again", "event", "sweep.failed", "error", err)
		}
	}
}

// every does a work again and again until ctx ends: at once where some was done,
// because there may be more, else after a pause. It stands beside everything else,
// so that one work that is slow holds up no other.
func every(ctx context.Context, pauseFor time.Duration, failed func(context.Context, error), work func(context.Context) (int, error)) {
	for {
		n, err := work(ctx)
		if err != nil && ctx.Err() == nil {
			failed(ctx, err)
		}
		if n > 0 && err == nil && ctx.Err() == nil {
			continue
		}
		if pause(ctx, pauseFor) != nil {
			return
		}
	}
}

// trouble says that a work will be tried again.
func trouble(log *slog.Logger, message, event string) func(context.Context, error) {
	return func(ctx context.Context, err error) { log.WarnContext(ctx, message, "event", event, "error", err) }
}
