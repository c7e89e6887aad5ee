package storage

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	// limiterKeys bounds what a process remembers of one quota: beyond it the key
	// unused for longest is forgotten.
	limiterKeys = 65_536
	// limiterRest is how long a shared store that failed is left alone, so that
	// nobody who logs in waits for it.
	limiterRest = 5 * time.Second
	// mostSwaps is how often a count is tried against others of the same key.
	mostSwaps = 100
)

// Limiter counts by GCRA. What replicas count together is in Redis or in the
// database, and in the memory of each process as well: where the shared store
// fails, that goes on counting. It implements broker.Limiter.
type Limiter struct {
	shared throttled.GCRAStoreCtx // nil: there is none
	now    func() time.Time
	log    *slog.Logger
	gates  sync.Map     // broker.Quota → *gates
	resume atomic.Int64 // Unix ns; until then the shared store is left alone; 0: it works
}

// LimiterOptions say where a [Limiter] counts, which lives as long as its Store.
type LimiterOptions struct {
	Store    *Store // counts are here where there is no Redis; nil: in this process alone
	RedisURL string // redis://, rediss:// or unix://; see [CheckRedisURL]
	Now      func() time.Time
	Log      *slog.Logger
}

// gates are the ways to one quota: each store once to count in, once to look at.
type gates struct{ shared, sharedLook, own, ownLook *throttled.GCRARateLimiterCtx }

// NewLimiter returns a limiter. Redis need not be there yet.
func NewLimiter(o LimiterOptions) (*Limiter, error) {
	l := &Limiter{now: o.Now, log: o.Log}
	if l.now == nil {
		l.now = time.Now
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.RedisURL != "":
		rows, err := openRedis(o.RedisURL)
		if err != nil {
			return nil, err
		}
		l.shared = rows
		if o.Store != nil {
			o.Store.redis = rows.pool
		}
	case o.Store != nil:
		l.shared = &limitRows{store: o.Store, now: l.now}
	}
	return l, nil
}

// Check implements broker.Limiter.
func (l *Limiter) Check(ctx context.Context, q broker.Quota, key string) (broker.LimitState, error) {
	return l.ask(ctx, q, key, 0)
}

// Count implements broker.Limiter.
func (l *Limiter) Count(ctx context.Context, q broker.Quota, key string) (broker.LimitState, error) {
	return l.ask(ctx, q, key, 1)
}

func (l *Limiter) ask(ctx context.Context, q broker.Quota, key string, n int) (broker.LimitState, error) {
	g, err := l.gatesOf(q)
	if err != nil {
		return broker.LimitState{}, err
	}
	shared, own := g.shared, g.own
	if n == 0 {
		shared, own = g.sharedLook, g.ownLook
	}
	id := limitID(key)
	var here, all broker.LimitState
	if n > 0 || !l.reachable(shared) {
		if here, err = gate(ctx, own, q, id, n); err != nil {
			return here, err
		}
	}
	if !l.reachable(shared) {
		return here, nil
	}
	if all, err = gate(ctx, shared, q, id, n); err == nil {
		l.note(ctx, nil)
		return all, nil
	}
	if ctx.Err() != nil {
		return broker.LimitState{}, broker.Unavailable(ctx.Err()) // the caller's trouble, not the store's
	}
	l.note(ctx, err)
	return gate(ctx, g.ownLook, q, id, 0)
}

// reachable reports whether the shared store is to be asked.
func (l *Limiter) reachable(shared *throttled.GCRARateLimiterCtx) bool {
	return shared != nil && l.now().UnixNano() >= l.resume.Load()
}

// note keeps whether the shared store works, and says so when that changes.
func (l *Limiter) note(ctx context.Context, err error) {
	if err == nil {
		if l.resume.Load() != 0 && l.resume.Swap(0) != 0 {
			l.log.InfoContext(ctx, "failures are counted with the other replicas again", "event", "limiter.shared")
		}
		return
	}
	if l.resume.Swap(l.now().Add(limiterRest).UnixNano()) == 0 {
		l.log.WarnContext(ctx, "the store of the limits fails; this process counts on its own until it works again", "event", "limiter.alone", "error", err)
	}
}

func (l *Limiter) gatesOf(q broker.Quota) (*gates, error) {
	if known, ok := l.gates.Load(q); ok {
		return known.(*gates), nil
	}
	memory, err := memstore.New(limiterKeys)
	if err != nil {
		return nil, err
	}
	memory.SetTimeNow(l.now)
	g := &gates{}
	if g.own, g.ownLook, err = newGates(throttled.WrapStoreWithContext(memory), q); err != nil {
		return nil, err
	}
	if l.shared != nil && !q.Own {
		if g.shared, g.sharedLook, err = newGates(l.shared, q); err != nil {
			return nil, err
		}
	}
	known, _ := l.gates.LoadOrStore(q, g)
	return known.(*gates), nil
}

func newGates(store throttled.GCRAStoreCtx, q broker.Quota) (count, look *throttled.GCRARateLimiterCtx, err error) {
	store = bounded{store, q.Window}
	quota := throttled.RateQuota{MaxRate: throttled.PerDuration(q.Max, q.Window), MaxBurst: q.Max - 1}
	if count, err = throttled.NewGCRARateLimiterCtx(store, quota); err != nil {
		return nil, nil, err
	}
	count.SetMaxCASAttemptsLimit(mostSwaps)
	look, err = throttled.NewGCRARateLimiterCtx(unwritten{store}, quota)
	return count, look, err
}

// bounded keeps what was counted by a clock that was ahead, and was set back, from
// standing for as long as that: no key is further from free than a window away.
type bounded struct {
	throttled.GCRAStoreCtx
	window time.Duration
}

func (b bounded) GetWithTime(ctx context.Context, key string) (int64, time.Time, error) {
	for range mostSwaps {
		value, now, err := b.GCRAStoreCtx.GetWithTime(ctx, key)
		most := now.Add(b.window).UnixNano()
		if err != nil || value <= most {
			return value, now, err
		}
		if ok, err := b.CompareAndSwapWithTTL(ctx, key, value, most, b.window); ok || err != nil {
			return most, now, err
		}
	}
	return 0, time.Time{}, errBusyKey
}

var errBusyKey = errors.New("a limit was counted by too many at once")

// unwritten keeps throttled from writing down what it only looks at.
type unwritten struct{ throttled.GCRAStoreCtx }

func (unwritten) SetIfNotExistsWithTTL(context.Context, string, int64, time.Duration) (bool, error) {
	return true, nil
}

func (unwritten) CompareAndSwapWithTTL(context.Context, string, int64, int64, time.Duration) (bool, error) {
	return true, nil
}

func gate(ctx context.Context, g *throttled.GCRARateLimiterCtx, q broker.Quota, id string, n int) (broker.LimitState, error) {
	limited, r, err := g.RateLimitCtx(ctx, id, n)
	if err != nil {
		return broker.LimitState{}, err
	}
	s := broker.LimitState{
		Limit: q.Max, Remaining: r.Remaining, Window: q.Window, Reset: r.ResetAfter, Refused: limited, Exceeded: limited || r.Remaining == 0,
	}
	if s.Exceeded {
		// One attempt comes free when all but one of them would still be taken.
		s.RetryAfter = max(time.Second, r.ResetAfter-q.Window/time.Duration(q.Max)*time.Duration(q.Max-1))
	}
	return s, nil
}

// limitID is what a key is called in a store: people type passwords where their
// name belongs, and a row has a bound. The quota is no part of it: whoever changes
// that forgives nobody.
func limitID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:24])
}
