package storage

import (
	"context"
	"time"

	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"

	"github.com/latchkey-id/latchkey/broker"
)

// limiterKeys bounds the limiter's memory: beyond it the key unused for
// longest is forgotten.
const limiterKeys = 65_536

// Limiter counts failures in the memory of this process (GCRA). It implements
// broker.Limiter.
type Limiter struct {
	gcra   *throttled.GCRARateLimiterCtx
	limit  int
	window time.Duration
}

// NewLimiter lets limit failures pass per window and key; what has passed
// becomes available again evenly over the window. A nil now is time.Now.
func NewLimiter(limit int, window time.Duration, now func() time.Time) (*Limiter, error) {
	store, err := memstore.New(limiterKeys)
	if err != nil {
		return nil, err
	}
	if now != nil {
		store.SetTimeNow(now)
	}
	quota := throttled.RateQuota{MaxRate: throttled.PerDuration(limit, window), MaxBurst: limit - 1}
	gcra, err := throttled.NewGCRARateLimiterCtx(throttled.WrapStoreWithContext(store), quota)
	if err != nil {
		return nil, err
	}
	return &Limiter{gcra: gcra, limit: limit, window: window}, nil
}

// Check implements broker.Limiter.
func (l *Limiter) Check(ctx context.Context, key string) (broker.LimitState, error) {
	return l.count(ctx, key, 0)
}

// Fail implements broker.Limiter.
func (l *Limiter) Fail(ctx context.Context, key string) (broker.LimitState, error) {
	return l.count(ctx, key, 1)
}

func (l *Limiter) count(ctx context.Context, key string, n int) (broker.LimitState, error) {
	limited, r, err := l.gcra.RateLimitCtx(ctx, key, n)
	if err != nil {
		return broker.LimitState{}, err
	}
	s := broker.LimitState{Limit: l.limit, Remaining: r.Remaining, Window: l.window, Reset: r.ResetAfter, Exceeded: limited || r.Remaining == 0}
	if s.Exceeded {
		// One attempt comes free when all but one of them would still be taken.
		s.RetryAfter = max(time.Second, r.ResetAfter-l.window/time.Duration(l.limit)*time.Duration(l.limit-1))
	}
	return s, nil
}
