package broker

import (
	"context"
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

const (
	// keyPublished is the standard of Config.KeyPublished: readers keep the set for
	// ten minutes, caches on the way to them for five, and clocks differ.
	keyPublished = 20 * time.Minute
	// hintLife is how long an ID token of a key that was replaced still says who is
	// to be logged out. It proves nothing else.
	hintLife = 400 * 24 * time.Hour
)

// waits reports whether a key is published and waits for its turn.
func waits(k *tokens.SigningKey) bool { return k.ActiveAt.Equal(KeyWaits) }

// withdrawn reports whether the last token that a key signed, and the last list
// of ended sessions, has expired, wherever it was signed: a replica hears of a
// retirement within a minute.
func (b *Broker) withdrawn(k StoredKey) bool {
	kept := max(time.Duration(b.longestAccess.Load()), revocationsLife) + 3*clockLeeway
	return !k.RetiredAt.IsZero() && !b.now().Before(k.RetiredAt.Add(kept))
}

// turnKeys does what is due of the life of keys: a new one is published, signs
// once every reader of the set and every replica knows it, and the one before it
// leaves the set when the last token that it signed has expired. Of many replicas
// one does each, by a statement's WHERE.
func (b *Broker) turnKeys(ctx context.Context) error {
	changed, now, ring := false, b.now(), b.keys.Load()
	for _, algorithm := range tokens.Algorithms {
		youngest := now.Add(b.cfg.KeyPublished - b.cfg.KeyRotation)
		if b.cfg.KeyRotation == 0 || !replaceable(ring, algorithm, youngest) {
			continue
		}
		did, err := b.publishKey(ctx, algorithm, youngest)
		if changed = changed || did; err != nil {
			return err
		}
	}
	madeBefore := now.Add(-b.cfg.KeyPublished)
	if slices.ContainsFunc(ring.Keys(), func(k *tokens.SigningKey) bool { return waits(k) && !k.CreatedAt.After(madeBefore) }) {
		did, err := b.activateKeys(ctx, KeyActivation{Now: now, MadeBefore: madeBefore, AliveSince: now.Add(-replicaDies)})
		if changed = changed || did; err != nil {
			return err
		}
	}
	before := now.Add(-hintLife)
	if slices.ContainsFunc(ring.HintKeys(), func(k *tokens.SigningKey) bool { return k.RetiredAt.Before(before) }) {
		if err := b.cfg.Store.DropRetiredKeys(ctx, before); err != nil {
			return err
		}
		changed = true
	}
	if !changed {
		return b.withdrawKeys(ctx)
	}
	return b.Load(ctx)
}

// withdrawKeys takes the keys out of the set whose tokens have expired.
func (b *Broker) withdrawKeys(ctx context.Context) error {
	over := func(k *tokens.SigningKey) bool { return b.withdrawn(StoredKey{RetiredAt: k.RetiredAt}) }
	if !slices.ContainsFunc(b.keys.Load().Keys(), over) {
		return nil
	}
	return b.refreshKeys(ctx)
}

// replaceable reports whether an algorithm has keys, and none that waits or signs
// since later than a moment.
func replaceable(ring *tokens.KeyRing, algorithm string, youngest time.Time) bool {
	found := false
	for _, k := range ring.Keys() {
		if k.Algorithm != algorithm || !k.RetiredAt.IsZero() {
			continue
		}
		if found = true; k.ActiveAt.After(youngest) {
			return false
		}
	}
	return found
}

// KeyChangeOverdue is for how long a change of signing keys is overdue, as this
// process knows the keys: one is published for long enough and does not sign,
// because a replica has not loaded it; or one signs past its time, and none is
// published for its place. 0: all is in time.
func (b *Broker) KeyChangeOverdue() (longest time.Duration) {
	now, due := b.now(), map[string]time.Time{}
	for _, k := range b.keys.Load().Keys() {
		switch {
		case !k.RetiredAt.IsZero() || !slices.Contains(tokens.Algorithms, k.Algorithm):
		case waits(k):
			due[k.Algorithm] = k.CreatedAt.Add(b.cfg.KeyPublished)
		case b.cfg.KeyRotation > 0 && due[k.Algorithm].IsZero():
			due[k.Algorithm] = k.ActiveAt.Add(b.cfg.KeyRotation)
		}
	}
	for _, at := range due {
		longest = max(longest, now.Sub(at))
	}
	return longest
}

// publishKey publishes a key that is to sign later, unless somebody else was
// quicker.
func (b *Broker) publishKey(ctx context.Context, algorithm string, youngest time.Time) (did bool, err error) {
	row, err := b.makeKey(algorithm, KeyWaits)
	if err != nil {
		return false, err
	}
	err = b.cfg.Store.Tx(ctx, func(store Store) error {
		if did, err = store.PublishSigningKey(ctx, row, youngest); err != nil || !did {
			return err
		}
		return b.audit(ctx, store, Event{Name: EventKeyPublished, Detail: map[string]string{"kid": row.ID, "alg": algorithm}})
	})
	if did && err == nil {
		b.cfg.Log.InfoContext(ctx, "signing key published", "event", EventKeyPublished, "kid", row.ID, "alg", algorithm)
	}
	return did && err == nil, err
}

func (b *Broker) activateKeys(ctx context.Context, a KeyActivation) (did bool, err error) {
	var ids []string
	err = b.cfg.Store.Tx(ctx, func(store Store) error {
		if ids, err = store.ActivateSigningKeys(ctx, a); err != nil {
			return err
		}
		for _, id := range ids {
			if err := b.audit(ctx, store, Event{Name: EventKeyActivated, Detail: map[string]string{"kid": id}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		b.cfg.Log.InfoContext(ctx, "signing key signs from now on", "event", EventKeyActivated, "kid", id)
	}
	return len(ids) > 0, nil
}

// RotateKeys publishes a new key of every algorithm, ahead of its time, and
// returns all keys that wait for their turn.
func (b *Broker) RotateKeys(ctx context.Context) ([]KeyState, error) {
	if err := b.stepUpNow(ctx); err != nil {
		return nil, err
	}
	if err := b.CatchUp(ctx); err != nil {
		return nil, err
	}
	youngest := KeyWaits.Add(-time.Millisecond)
	for _, algorithm := range tokens.Algorithms {
		if !replaceable(b.keys.Load(), algorithm, youngest) {
			continue // one waits already, or there is none yet
		}
		if _, err := b.publishKey(ctx, algorithm, youngest); err != nil {
			return nil, err
		}
	}
	err := b.Load(context.WithoutCancel(ctx))
	all := b.SigningKeys()
	return slices.DeleteFunc(all, func(k KeyState) bool { return k.State != KeyPublished }), err
}

// RevokeKey takes a signing key back that somebody else may have: what it signed
// is worth nothing here from now on, and elsewhere once the key set was read
// again. Refresh tokens go on. It returns the key that signs in its place; empty:
// another one did already. NotFound.
func (b *Broker) RevokeKey(ctx context.Context, kid string) (signs string, err error) {
	algorithm := ""
	stored, err := b.cfg.Store.SigningKeys(ctx)
	if err != nil {
		return "", err
	}
	for _, row := range stored {
		if row.ID == kid {
			algorithm = row.Algorithm
		}
	}
	if algorithm == "" && slices.ContainsFunc(b.KeyRing().Keys(), func(k *tokens.SigningKey) bool { return k.ID == kid }) {
		return "", refuse(InvalidRequest, "this secret stands in the configuration: replace tokens.hs256_secret (LATCHKEY_HS256_SECRET) there")
	}
	if algorithm == "" {
		return "", refuse(NotFound, "there is no such signing key")
	}
	err = b.stepUpFor(ctx, func(given proof) error {
		signs, err = b.revokeKey(ctx, kid, algorithm, given)
		return err
	})
	if err != nil {
		return "", err
	}
	b.cfg.Log.WarnContext(ctx, "signing key revoked", "event", EventKeyRevoked, "kid", kid, "alg", algorithm, "instead", signs)
	// It is done, whoever has gone away meanwhile.
	return signs, b.Load(context.WithoutCancel(ctx))
}

func (b *Broker) revokeKey(ctx context.Context, kid, algorithm string, given proof) (signs string, err error) {
	// A replica whose clock is behind signs with it at once, too.
	instead, err := b.makeKey(algorithm, b.now().Add(-clockLeeway))
	if err != nil {
		return "", err
	}
	err = b.cfg.Store.Tx(ctx, func(store Store) error {
		if err := given.take(ctx, store); err != nil {
			return err
		}
		if signs, err = store.RevokeSigningKey(ctx, kid, instead); err != nil {
			return err
		}
		return b.audit(ctx, store, Event{Name: EventKeyRevoked, Detail: map[string]string{detailKID: kid, detailAlg: algorithm, "instead": signs}})
	})
	return signs, err
}
