package storage

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	// mostLimitRows bounds the table: beyond it what would be forgotten soonest is
	// forgotten at once. A row is about 100 bytes.
	mostLimitRows = 100_000
	// limitsBetween is how many rows a process adds before it looks how many there are.
	limitsBetween = 1000
)

// limitRows keeps the counts of a limiter in the database, for throttled.
// Commits are relaxed: a crash of the machine may forget the last of them.
type limitRows struct {
	store *Store
	now   func() time.Time
	added atomic.Int64
}

// GetWithTime implements throttled.GCRAStoreCtx.
func (l *limitRows) GetWithTime(ctx context.Context, key string) (int64, time.Time, error) {
	now, value := l.now(), int64(0)
	err := l.store.get(ctx, &value, `SELECT value FROM limits WHERE id = ? AND expires_at > ?`, key, now.UnixMilli())
	if errors.Is(err, broker.NotFound) {
		return -1, now, nil
	}
	return value, now, err
}

// SetIfNotExistsWithTTL implements throttled.GCRAStoreCtx. A row that has expired
// is none.
func (l *limitRows) SetIfNotExistsWithTTL(ctx context.Context, key string, value int64, ttl time.Duration) (bool, error) {
	now := l.now()
	n, err := l.store.execIn(ctx, l.store.pools.relaxed, `INSERT INTO limits (id, value, expires_at) VALUES (?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at WHERE limits.expires_at <= ?`,
		key, value, endOf(now, ttl), now.UnixMilli())
	if err == nil && n > 0 && l.added.Add(1)%limitsBetween == 0 {
		err = l.store.trimLimits(ctx, now, mostLimitRows)
	}
	return n > 0, err
}

// CompareAndSwapWithTTL implements throttled.GCRAStoreCtx.
func (l *limitRows) CompareAndSwapWithTTL(ctx context.Context, key string, old, new int64, ttl time.Duration) (bool, error) {
	now := l.now()
	n, err := l.store.execIn(ctx, l.store.pools.relaxed, `UPDATE limits SET value = ?, expires_at = ? WHERE id = ? AND value = ? AND expires_at > ?`,
		new, endOf(now, ttl), key, old, now.UnixMilli())
	return n > 0, err
}

// endOf is when a row expires, rounded up: nobody is let off early.
func endOf(now time.Time, ttl time.Duration) int64 {
	return now.Add(ttl + time.Millisecond - 1).UnixMilli()
}

// trimLimits deletes what has expired, and of the rest what is over most.
func (s *Store) trimLimits(ctx context.Context, now time.Time, most int) error {
	const atOnce = 10 * limitsBetween
	_, err := s.exec(ctx, `DELETE FROM limits WHERE id IN (SELECT id FROM limits WHERE expires_at <= ? LIMIT ?)`, now.UnixMilli(), atOnce)
	if err == nil {
		_, err = s.exec(ctx, `DELETE FROM limits WHERE id IN (SELECT id FROM limits ORDER BY expires_at DESC LIMIT ? OFFSET ?)`, atOnce, most)
	}
	return err
}
