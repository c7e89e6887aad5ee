package broker

import (
	"context"
	"time"
)

const (
	sweepBatch = 1000
	// sweepMargin keeps what a clock that jumped ahead and back must not lose.
	sweepMargin = 24 * time.Hour
	// loginMargin keeps a redeemed code a while, to recognise its replay.
	loginMargin = 5 * time.Minute
	// upstreamMargin is longer than any code or grant waits to become a session.
	upstreamMargin = time.Hour
	// auditRetention is how long audit events are kept, by default.
	auditRetention = 400 * 24 * time.Hour
	// mailRetention is how long an administrator sees that a mail was never sent.
	mailRetention = 7 * 24 * time.Hour
	// figureRetention is twice as long as pages look back.
	figureRetention = 60 * 24 * time.Hour
)

// Sweep gives sessions that expired unnoticed their cause, and deletes what
// nobody needs any more, in batches, until nothing is left or the context ends.
func (b *Broker) Sweep(ctx context.Context) error {
	for ctx.Err() == nil {
		ended, err := b.endExpired(ctx)
		if err != nil {
			return err
		}
		now := b.now()
		deleted, err := b.cfg.Store.Sweep(ctx, Sweep{
			Now: now, LoginsBefore: now.Add(-loginMargin), SessionsBefore: now.Add(-sweepMargin), EventsBefore: now.Add(-b.cfg.AuditRetention), UpstreamsBefore: now.Add(-upstreamMargin),
			FiguresBefore: now.Add(-figureRetention), MailsBefore: now.Add(-mailRetention),
			Limit: sweepBatch,
		})
		if err != nil || max(ended, deleted) < sweepBatch {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond): // others want the writer too
		}
	}
	return ctx.Err()
}

func (b *Broker) endExpired(ctx context.Context) (n int, err error) {
	now := b.now()
	err = b.cfg.Store.Tx(ctx, func(store Store) error {
		end := b.end("", false, now)
		end.KeepUntil = end.KeepUntil.Add(-sweepMargin) // so long ago they expired
		ended, err := store.EndExpired(ctx, now.Add(-sweepMargin), end, sweepBatch)
		if err != nil {
			return err
		}
		n = len(ended)
		return b.auditEnds(ctx, store, ended, "")
	})
	return n, err
}
