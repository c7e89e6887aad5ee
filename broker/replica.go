package broker

import (
	"context"
	"time"
)

const (
	// replicaSays is how often a replica says that it is there, at the least.
	replicaSays = 30 * time.Second
	// replicaDies is how long after that it is waited for: longer than clocks differ
	// and a replica is silent.
	replicaDies = 3 * time.Minute
	// replicaGone is when one that said no good-bye is forgotten.
	replicaGone = 24 * time.Hour
	// catchUpLimit is how long the key set waits for the database.
	catchUpLimit = 500 * time.Millisecond
)

// CatchUp loads again if any process on this database changed something that is
// kept in memory: keys, providers, the root secret, the longest life of a token.
// That costs one small statement otherwise. Call it every second, and where
// something is asked for that this process does not know.
func (b *Broker) CatchUp(ctx context.Context) error {
	revision, err := b.cfg.Store.Revision(ctx)
	if err != nil {
		return err
	}
	if revision == b.loaded.Load() && b.Ready() == nil {
		return nil
	}
	return b.Load(ctx)
}

// catchUpSoon is [Broker.CatchUp] where what is known already will do: a database
// that does not answer is not waited for.
func (b *Broker) catchUpSoon(ctx context.Context) {
	if !b.catchingUp.TryLock() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), catchUpLimit)
	go func() {
		defer cancel()
		defer b.catchingUp.Unlock()
		_ = b.CatchUp(ctx) // which says so itself where it matters
	}()
	<-ctx.Done() // it has caught up, or does not in time
}

// Attend says in the database that this replica is there and what it has loaded,
// and lets signing keys take their turn. Call it every few seconds, from one
// goroutine. Only what there is to do costs a statement.
func (b *Broker) Attend(ctx context.Context) error {
	now, loaded := b.now(), b.loaded.Load()
	if age := now.Sub(b.noted.SeenAt); loaded != b.noted.Loaded || age < 0 || age >= replicaSays {
		if b.noted.SeenAt.IsZero() {
			if err := b.cfg.Store.ForgetReplicas(ctx, Replica{SeenAt: now.Add(-replicaGone)}); err != nil {
				return err
			}
		}
		next := Replica{ID: b.noted.ID, SeenAt: now, Loaded: loaded}
		if err := b.cfg.Store.NoteReplica(ctx, next); err != nil {
			return err
		}
		b.noted = next
	}
	return b.turnKeys(ctx)
}

// Leave says that this replica ends, so that no key waits for it. Call it after
// the last [Broker.Attend].
func (b *Broker) Leave(ctx context.Context) error {
	return b.cfg.Store.ForgetReplicas(ctx, Replica{ID: b.noted.ID, SeenAt: b.now().Add(-replicaGone)})
}
