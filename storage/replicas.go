package storage

import (
	"context"
	"time"

	"github.com/lib/pq"
	"github.com/pressly/goose/v3"

	"github.com/latchkey-id/latchkey/broker"
)

// wakeChannel is where PostgreSQL tells of a new revision.
const wakeChannel = "latchkey_revision"

// Revision implements broker.ReplicaStore.
func (s *Store) Revision(ctx context.Context) (n int64, err error) {
	err = s.get(ctx, &n, `SELECT COALESCE(MAX(n), 0) FROM revisions WHERE id = 1`)
	return n, err
}

// change is exec for what other processes keep in memory: they load it again.
func (s *Store) change(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.inTx(ctx, func(tx *Store) error {
		if n, err = tx.exec(ctx, query, args...); err != nil || n == 0 {
			return err
		}
		_, err = tx.changed(ctx)
		return err
	})
	return n, err
}

// NoteChange implements broker.ReplicaStore.
func (s *Store) NoteChange(ctx context.Context) error {
	return s.inTx(ctx, func(tx *Store) error {
		_, err := tx.changed(ctx)
		return err
	})
}

// changed counts a change in its transaction. It returns the revision which that makes.
func (s *Store) changed(ctx context.Context) (n int64, err error) {
	if err = s.writeRow(ctx, s.pools.writer, &n, `INSERT INTO revisions (id, n) VALUES (1, 1)
		ON CONFLICT (id) DO UPDATE SET n = revisions.n + 1 RETURNING n`); err == nil {
		err = s.d.wake(ctx, s)
	}
	return n, err
}

// NoteReplica implements broker.ReplicaStore. It is worth no wait for the disk:
// after a crash it is said again.
func (s *Store) NoteReplica(ctx context.Context, r broker.Replica) error {
	_, err := s.execIn(ctx, s.pools.relaxed, `INSERT INTO replicas (id, seen_at, loaded) VALUES (?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, loaded = excluded.loaded`, r.ID, r.SeenAt.UnixMilli(), r.Loaded)
	return err
}

// ForgetReplicas implements broker.ReplicaStore.
func (s *Store) ForgetReplicas(ctx context.Context, r broker.Replica) error {
	_, err := s.exec(ctx, `DELETE FROM replicas WHERE id = ? OR seen_at < ?`, r.ID, r.SeenAt.UnixMilli())
	return err
}

// ReplicaSeen implements broker.ReplicaStore.
func (s *Store) ReplicaSeen(ctx context.Context, since time.Time) (seen bool, err error) {
	if s.d.goose != goose.DialectPostgres {
		return false, nil // what was seen is an earlier process of the same server
	}
	err = s.get(ctx, &seen, `SELECT EXISTS (SELECT 1 FROM replicas WHERE seen_at > ?)`, since.UnixMilli())
	return seen, err
}

// How long a connection that listens waits before it is made again.
const (
	listenSoon = time.Second
	listenLate = 30 * time.Second
	listenPing = time.Minute
)

// Listen wakes whoever waits at once when another process notes a change, until
// ctx ends. It needs a connection of its own to PostgreSQL itself: on SQLite, and
// behind a pooler, where none is kept, it does nothing.
func (s *Store) Listen(ctx context.Context, wake chan<- struct{}) {
	if s.d.goose != goose.DialectPostgres || s.d.pooler {
		return
	}
	l := pq.NewListener(s.d.postgresDSN(nil), listenSoon, listenLate, nil)
	defer l.Close()
	ping := time.NewTicker(listenPing)
	defer ping.Stop()
	go func() { _ = l.Listen(wakeChannel) }() // waits for the connection, which is made again and again
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.NotificationChannel(): // nil too: something may have been missed while it was away
			select {
			case wake <- struct{}{}:
			default: // it is awake already
			}
		case <-ping.C:
			go func() { _ = l.Ping() }() // a connection that is gone is noticed by it
		}
	}
}
