package storage

import (
	"context"
	"time"
)

// Uptime implements broker.KeyStore.
func (s *Store) Uptime(ctx context.Context) (time.Time, error) {
	var at int64
	err := s.get(ctx, &at, `SELECT service_at FROM uptime WHERE id = 1`)
	return time.UnixMilli(at).UTC(), err
}

// Beat implements broker.KeyStore, in one statement: of replicas that beat at
// once the one that is furthest counts. A crash may forget it.
func (s *Store) Beat(ctx context.Context, service, now time.Time) (time.Time, error) {
	var at int64
	err := s.writeRow(ctx, s.pools.relaxed, &at, `INSERT INTO uptime (id, service_at, seen_at) VALUES (1, ?, ?)
		ON CONFLICT (id) DO UPDATE SET service_at = CASE WHEN uptime.service_at < ? THEN ? ELSE uptime.service_at END, seen_at = excluded.seen_at
		RETURNING service_at`, now.UnixMilli(), now.UnixMilli(), zeroMillis(service), zeroMillis(service))
	return time.UnixMilli(at).UTC(), err
}
