package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// hs256 is the one symmetric algorithm, with a secret of its own.
const hs256 = "HS256"

// clockLeeway is the clock difference that is forgiven, as in tokens/verify.
const clockLeeway = time.Minute

const factLongestAccess = "longest_access_seconds"

const factSecret = "root_secret_fingerprint"

// Load makes the broker ready, or says why it is not: the database must answer,
// the root secret must be the one that this database was used with, and there
// must be a signing key. Call it at the start and now and then: it also brings
// in what other replicas changed.
func (b *Broker) Load(ctx context.Context) error {
	err := b.load(ctx)
	if errors.Is(err, TemporarilyUnavailable) && b.Ready() == nil {
		return err // what was loaded is still right; requests meet the trouble themselves
	}
	b.setNotReady(err)
	return err
}

func (b *Broker) load(ctx context.Context) error {
	revision, err := b.cfg.Store.Revision(ctx) // before the rest, so that nothing newer is missed
	if err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{
		b.cfg.Store.MayServe, b.claimSecret, b.loadLongestAccess, b.refreshKeys, b.loadProviders, b.resealFactors, b.openJournal, b.loadUptime,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	b.loaded.Store(revision)
	return nil
}

// Look is [Broker.Load] for who looks at an installation without serving it: keys
// and providers are read, nothing is written, and the broker does not become
// ready. What was sealed under an earlier root secret stays so.
func (b *Broker) Look(ctx context.Context) error {
	b.looking = true
	ring, err := b.loadKeys(ctx)
	if err == nil {
		b.keys.Store(ring)
	}
	return errors.Join(err, b.loadProviders(ctx))
}

// refreshKeys reads the keys of the database and makes those that are missing.
func (b *Broker) refreshKeys(ctx context.Context) error {
	b.makingKey.Lock() // an older ring must not take the place of a newer one
	defer b.makingKey.Unlock()
	ring, err := b.loadKeys(ctx)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(tokens.Algorithms), func(algorithm string) bool {
		return slices.ContainsFunc(ring.Keys(), func(k *tokens.SigningKey) bool { return k.Algorithm == algorithm })
	})
	starting := b.Ready() != nil
	for _, algorithm := range missing {
		if starting && algorithm == slowAlgorithm && algorithm != b.cfg.Algorithm {
			continue // no start waits for it: the next Load makes it, or whoever needs it first
		}
		// Readers of access tokens may have cached the set. ID tokens were signed
		// by nothing that they know, so that their readers look.
		wait := algorithm == b.cfg.Algorithm && len(ring.Keys()) > 0
		if err := b.addKey(ctx, algorithm, wait); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		if ring, err = b.loadKeys(ctx); err != nil {
			return err
		}
	}
	b.keys.Store(ring)
	return nil
}

// slowAlgorithm is that of ID tokens by default. Making its key takes longer than
// everything else of a start.
const slowAlgorithm = "RS256"

// idSigner is the key that signs ID tokens of an algorithm now. One that is
// missing is made.
func (b *Broker) idSigner(ctx context.Context, algorithm string, now time.Time) (*tokens.SigningKey, error) {
	if signer := b.keys.Load().IDSigner(algorithm, now); signer != nil {
		return signer, nil
	}
	b.makingKey.Lock()
	defer b.makingKey.Unlock()
	if signer := b.keys.Load().IDSigner(algorithm, now); signer != nil {
		return signer, nil // somebody else has just made it
	}
	if err := b.addKey(ctx, algorithm, false); err != nil {
		return nil, err
	}
	ring, err := b.loadKeys(ctx)
	if err != nil {
		return nil, err
	}
	b.keys.Store(ring)
	if signer := ring.IDSigner(algorithm, now); signer != nil {
		return signer, nil
	}
	return nil, Unavailable(errNoSigningKey)
}

// PublicKeys is the key set to publish. It has the key of every algorithm that
// something may be signed with, and what other replicas have just made: nobody
// sees the set without it.
func (b *Broker) PublicKeys(ctx context.Context) []byte {
	b.catchUpSoon(ctx)
	if _, err := b.idSigner(ctx, slowAlgorithm, b.now()); err != nil {
		b.cfg.Log.WarnContext(ctx, "a signing key could not be made", "event", "key.failed", "error", err)
	}
	return b.keys.Load().JWKS()
}

// loadLongestAccess learns how long an access token of any client may live.
func (b *Broker) loadLongestAccess(ctx context.Context) error {
	seconds, err := b.cfg.Store.LongestAccessTTL(ctx)
	if err != nil {
		return err
	}
	longest := max(b.cfg.Lifetimes.Access, time.Duration(seconds)*time.Second)
	for _, c := range b.cfg.Clients {
		longest = max(longest, time.Duration(c.AccessTTL)*time.Second)
	}
	// Tokens of a client that is gone, or of a longer life that was configured
	// before, live on: what was ever the longest counts.
	mine := itoa(int64(longest.Seconds()))
	stands, err := b.cfg.Store.InitFact(ctx, factLongestAccess, mine)
	if err != nil {
		return err
	}
	ever, _ := strconv.ParseInt(stands, 10, 64)
	if longest > time.Duration(ever)*time.Second {
		if _, err := b.cfg.Store.SwapFact(ctx, factLongestAccess, stands, mine); err != nil {
			return err
		}
	}
	b.longestAccess.Store(int64(max(longest, time.Duration(ever)*time.Second)))
	return nil
}

// Ready is nil when requests may be served.
func (b *Broker) Ready() error {
	if err := b.notReady.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *Broker) setNotReady(err error) {
	if err == nil {
		b.notReady.Store(nil)
		return
	}
	b.notReady.Store(&err)
}

// KeyRing is the ring as of the last [Broker.Load].
func (b *Broker) KeyRing() *tokens.KeyRing { return b.keys.Load() }

// claimSecret compares fingerprints through the database, so that of two
// processes with different root secrets only one serves. A server that starts
// with a new secret puts it in the place of an earlier one that it holds too; one
// that runs already, and holds both, goes on with its own.
func (b *Broker) claimSecret(ctx context.Context) error {
	mine := b.cfg.Secrets.Current().ID()
	stands, err := b.cfg.Store.InitFact(ctx, factSecret, mine)
	if err != nil {
		return err
	}
	if b.cfg.Secrets.Find(stands) == nil {
		return errors.New("the root secret of this process is not the one that the database was last used with: " +
			"give the same JWT_SECRET_KEY to every process, or name the other one in JWT_SECRET_KEY_PREVIOUS")
	}
	if stands != mine && !b.cfg.Command && b.sealing.Load() == nil {
		if err := b.swapSecret(ctx, stands, mine); err != nil {
			return err
		}
		stands = mine
	}
	b.sealing.Store(b.cfg.Secrets.Find(stands))
	return nil
}

func (b *Broker) swapSecret(ctx context.Context, stands, mine string) error {
	err := b.cfg.Store.Tx(ctx, func(store Store) error {
		if _, err := store.SwapFact(ctx, factSecret, stands, mine); err != nil {
			return err
		}
		return store.NoteChange(ctx)
	})
	if err == nil {
		b.cfg.Log.InfoContext(ctx, "root secret changed; the previous one is still accepted", "event", "secret.changed", "fingerprint", mine)
	}
	return err
}

// sealer is the root secret that values in the database are sealed under: the
// one that stands there, which every process that serves holds.
func (b *Broker) sealer() *tokens.RootSecret {
	if s := b.sealing.Load(); s != nil {
		return s
	}
	return b.cfg.Secrets.Current()
}

// UsedWithSecret reports whether a root secret was ever used with a database.
func UsedWithSecret(ctx context.Context, store KeyStore) (bool, error) {
	_, err := store.Fact(ctx, factSecret)
	if errors.Is(err, NotFound) {
		return false, nil
	}
	return err == nil, err
}

// StateOfSecrets compares fingerprints as [Broker.Load] does, and writes nothing.
func StateOfSecrets(ctx context.Context, store KeyStore, held tokens.Secrets) (SecretState, error) {
	stands, err := store.Fact(ctx, factSecret)
	switch {
	case errors.Is(err, NotFound):
		return SecretUnused, nil
	case err != nil:
		return "", err
	case len(held) == 0 || held.Find(stands) == nil:
		return SecretOther, nil
	case held.Current().ID() != stands:
		return SecretEarlier, nil
	}
	return SecretCurrent, nil
}

func keyPlace(id string) string { return "signing_keys.private." + id }

// loadKeys opens the stored keys; what was sealed under an earlier root secret
// is sealed anew.
func (b *Broker) loadKeys(ctx context.Context) (*tokens.KeyRing, error) {
	stored, err := b.cfg.Store.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	var keys, hints []*tokens.SigningKey
	for _, row := range stored {
		private, err := b.cfg.Secrets.Open(keyPlace(row.ID), row.Sealed)
		if err != nil {
			return nil, fmt.Errorf("signing key %s: %w", row.ID, err)
		}
		key, err := tokens.ParseSigningKey(row.Algorithm, private)
		if err != nil {
			return nil, err
		}
		key.CreatedAt, key.ActiveAt, key.RetiredAt = row.CreatedAt, row.ActiveAt, row.RetiredAt
		if b.withdrawn(row) {
			hints = append(hints, key)
		} else {
			keys = append(keys, key)
		}
		if sealed, again := b.reseal(keyPlace(row.ID), row.Sealed, private); again {
			if err := b.cfg.Store.ResealSigningKey(ctx, row.ID, row.Sealed, sealed); err != nil {
				return nil, err
			}
		}
	}
	if b.cfg.Algorithm == hs256 {
		shared, err := tokens.NewSharedKey(b.cfg.HS256Secret)
		if err != nil {
			return nil, err
		}
		keys = append(keys, shared)
	}
	ring, err := tokens.NewKeyRing(keys)
	if err != nil {
		return nil, err
	}
	return ring.WithHintKeys(hints), nil
}

// reseal seals a value anew if it is sealed under another root secret than the
// one that stands.
func (b *Broker) reseal(place, sealed string, plain []byte) (anew string, again bool) {
	current := b.sealer()
	if b.looking {
		return "", false
	}
	if _, err := (tokens.Secrets{current}).Open(place, sealed); err == nil {
		return "", false
	}
	return current.Seal(place, plain), true
}

// makeKey makes a key of an algorithm that signs from a moment on.
func (b *Broker) makeKey(algorithm string, activeAt time.Time) (StoredKey, error) {
	key, err := b.cfg.GenerateKey(algorithm, b.cfg.Rand)
	if err != nil {
		return StoredKey{}, err
	}
	private, err := key.Private()
	if err != nil {
		return StoredKey{}, err
	}
	return StoredKey{
		ID: key.ID, Algorithm: key.Algorithm, Sealed: b.sealer().Seal(keyPlace(key.ID), private),
		CreatedAt: b.now(), ActiveAt: activeAt,
	}, nil
}

// addKey makes a key of an algorithm. It signs at once, or waits until readers
// that cache the set know it.
func (b *Broker) addKey(ctx context.Context, algorithm string, wait bool) error {
	activeAt := b.now()
	if wait {
		activeAt = activeAt.Add(b.cfg.KeyPublished)
	}
	row, err := b.makeKey(algorithm, activeAt)
	if err != nil {
		return err
	}
	return b.cfg.Store.InsertSigningKey(ctx, row)
}

// Ping asks the database whether it answers.
func (b *Broker) Ping(ctx context.Context) error { return b.cfg.Store.Ping(ctx) }

// Signer is the key that signs access tokens now, or nil. One that another
// replica has just put in place signs here too, where its clock is ahead of ours.
func (b *Broker) Signer() *tokens.SigningKey {
	ring, now := b.keys.Load(), b.now()
	signer := ring.Signer(b.cfg.Algorithm, now)
	if signer != nil && signer.Algorithm != b.cfg.Algorithm {
		if soon := ring.Signer(b.cfg.Algorithm, now.Add(clockLeeway)); soon != nil && soon.Algorithm == b.cfg.Algorithm {
			return soon
		}
	}
	return signer
}

// Database names the database for logs, without credentials.
func (b *Broker) Database() string { return b.cfg.Store.Describe() }

// KeyUse is what a signing key does at the moment.
type KeyUse string

// The states of a signing key.
const (
	KeyPublished KeyUse = "published" // readers learn it, before it signs
	KeyActive    KeyUse = "active"    // it may sign
	KeyRetired   KeyUse = "retired"   // it signs nothing more; what it signed is good until it expires
)

// KeyState is a signing key without the key.
type KeyState struct {
	ID        string
	Algorithm string
	State     KeyUse
	Signs     bool // access tokens, now
	CreatedAt time.Time
	ActiveAt  time.Time // zero: it waits for its turn
	// NotBefore is the earliest that one that waits may sign.
	NotBefore time.Time
	RetiredAt time.Time
}

// SigningKeys lists the keys of the ring, as of the last [Broker.Load].
func (b *Broker) SigningKeys() (out []KeyState) {
	now, signer := b.now(), b.Signer()
	for _, k := range b.KeyRing().Keys() {
		state := KeyActive
		switch {
		case !k.RetiredAt.IsZero() && !k.RetiredAt.After(now):
			state = KeyRetired
		case k.ActiveAt.After(now) && (signer == nil || k.ID != signer.ID):
			state = KeyPublished
		}
		one := KeyState{
			ID: k.ID, Algorithm: k.Algorithm, State: state, Signs: signer != nil && signer.ID == k.ID,
			CreatedAt: k.CreatedAt, ActiveAt: k.ActiveAt, RetiredAt: k.RetiredAt,
		}
		if waits(k) {
			one.ActiveAt, one.NotBefore = time.Time{}, k.CreatedAt.Add(b.cfg.KeyPublished)
		}
		out = append(out, one)
	}
	return out
}
