package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

var errNoSigningKey = errors.New("no signing key is loaded")

// PasswordHasher compares and makes password hashes, and bounds how many are
// computed at once.
type PasswordHasher interface {
	// Hash makes a hash for storage.
	Hash(ctx context.Context, password string) (PasswordHash, error)
	// Verify compares. An empty hash costs the same and never matches. rehash
	// asks for a new hash of the same password.
	Verify(ctx context.Context, hash PasswordHash, password string) (ok, rehash bool, err error)
	// CheckHash says why a hash from elsewhere cannot be taken: it is of no kind
	// that Verify knows, or comparing with it would cost too much. nil: it can.
	// The error never holds the hash.
	CheckHash(hash PasswordHash) error
}

// ClientKeys finds the keys that a client publishes at its jwks_uri. guarded
// keeps to public addresses.
type ClientKeys interface {
	KeySource(jwksURI string, guarded bool) tokens.KeySource
}

// LogoutSender posts a logout token to a client (OIDC Back-Channel Logout
// section 2.5). guarded keeps to public addresses.
type LogoutSender interface {
	SendLogout(ctx context.Context, uri, logoutToken string, guarded bool) error
}

// Config is everything that a Broker needs. Store, Secrets, Hasher and
// PublicURL are required.
type Config struct {
	Store       Store
	Secrets     tokens.Secrets
	Hasher      PasswordHasher
	Limiter     Limiter       // nil: no limits
	Limits      Limits        // how often what may happen
	Judge       PasswordJudge // of new passwords; nil: their length alone counts
	MinPassword int           // of a new password, in code points; 0: [MinPassword]
	// Providers of the configuration, as [CheckProvider] returned their settings.
	Providers []Provider
	// NewIdP makes the IdP of a provider that was added while running. trusted:
	// its issuer may be at a private address. nil: none can be added.
	NewIdP         func(s ProviderSettings, secret string, trusted bool) IdP
	PublicURL      string // the issuer, without a trailing slash
	Algorithm      string // of access tokens; empty: ES256
	Lifetimes      Lifetimes
	AuditRetention time.Duration // how long events of the audit log are kept; 0: 400 days
	SessionLimit   int           // live sessions of one user; 0: any number
	// KeyRotation is how long a signing key signs before another takes its place;
	// 0: until somebody rotates it.
	KeyRotation time.Duration
	// KeyPublished is how long a new key is in the key set before it signs, so that
	// readers that cache the set know it by then. 0: 20 min.
	KeyPublished time.Duration
	// Command: this process serves nobody, so that no key waits for it and it
	// changes no root secret.
	Command            bool
	LocalLogin         bool
	MobileRedirectURIs []string
	// MobileConfirm asks the person before an app of the JSON contract gets its code.
	MobileConfirm bool
	// Clients of the configuration, as [CheckClient] returned them.
	Clients []Client
	// Forward are the rules of forward auth, as [CheckForwardRules] returned them.
	Forward ForwardRules
	// RegistrationToken lets programs register themselves (RFC 7591 section 3:
	// the initial access token). Empty: nobody may.
	RegistrationToken string
	// HS256Secret signs access tokens where Algorithm is HS256, and only then.
	HS256Secret []byte
	// Imported checks tokens of the system that users were imported from; nil: it
	// has no tokens that count.
	Imported *tokens.ImportedSecret
	// AcceptLegacyUntil is how long its API keys and the tokens that never expire
	// count; zero: not at all.
	AcceptLegacyUntil time.Time
	// Journal keeps what ended outside the database; nil: nothing does.
	Journal Journal
	// Uptime is the service's own time, the same that the store was opened with; nil:
	// it runs as the wall clock does.
	Uptime *Uptime
	// Replay has [Broker.Load] do once more what the journal knows and the database
	// has forgotten: for servers.
	Replay       bool
	ClientKeys   ClientKeys    // nil: private_key_jwt with jwks_uri is not offered
	OneTimeCodes OneTimeCodes  // nil: no authenticator app can be set up
	Passkeys     PasskeyJudge  // nil: passkeys are not offered
	LogoutSender LogoutSender  // nil: no back-channel logout is sent
	MailSender   MailSender    // nil: no mail is sent
	LetterWriter LetterWriter  // nil: no mail is sent
	RetryFor     time.Duration // how long trouble of ours is tried again inside; 0: 5 s; negative: not at all
	// GenerateKey makes a signing key of an algorithm; nil: tokens.GenerateSigningKey.
	GenerateKey func(algorithm string, random io.Reader) (*tokens.SigningKey, error)
	Watcher     Watcher // nil: nobody
	// Before is the broker that this one takes the place of in its process, over
	// the same store: it goes on with what that one counted and remembers. nil: none.
	Before *Broker
	Now    func() time.Time
	Rand   io.Reader
	Log    *slog.Logger
}

// Broker decides. It is safe for concurrent use. It is not ready before
// [Broker.Load] has succeeded.
type Broker struct {
	cfg      Config
	keys     atomic.Pointer[tokens.KeyRing]
	notReady atomic.Pointer[error]
	clients  clientCache
	// providers is replaced as a whole; see [Broker.loadProviders].
	providers atomic.Pointer[[]Provider]
	// loadingProviders is held while they are read and replaced.
	loadingProviders sync.Mutex
	// makingKey is held while keys are read or made, and the ring is replaced.
	makingKey sync.Mutex
	// longestAccess is a time.Duration: no access token lives longer.
	longestAccess atomic.Int64
	revocations   revocationCache
	// loaded is the revision that this process goes by; see [Broker.CatchUp].
	loaded     atomic.Int64
	catchingUp sync.Mutex
	// sealing is the root secret that stands in the database; nil: not yet known.
	sealing  atomic.Pointer[tokens.RootSecret]
	standing Actor       // see ActAs
	looking  bool        // see Look
	resealed atomic.Bool // see resealFactors
	*memory
}

// memory is what a process knows beside its database. It outlives a
// configuration: brokers that follow each other share it.
type memory struct {
	hasAdmin atomic.Bool // there is an administrator; see [Broker.NeedsSetup]
	refused  *onceADay
	goodKeys *onceADay
	badKeys  *onceADay
	checking inFlight
	// noted is what the database knows of this replica; see [Broker.Attend].
	noted    Replica
	circuits circuits
	healths  healths
	trials   trials
	meter    *meter
	refusals *refusals
	writing  sync.Mutex // of the meter and the refusals; see [Broker.WriteFigures]
	journal  journalKeeper
}

// New returns a broker that is not ready yet.
func New(cfg Config) (*Broker, error) {
	if cfg.Store == nil || len(cfg.Secrets) == 0 || cfg.Hasher == nil || cfg.PublicURL == "" {
		return nil, errors.New("broker: Store, Secrets, Hasher and PublicURL are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Algorithm == "" {
		cfg.Algorithm = "ES256"
	}
	if cfg.GenerateKey == nil {
		cfg.GenerateKey = tokens.GenerateSigningKey
	}
	if cfg.MinPassword == 0 {
		cfg.MinPassword = MinPassword
	}
	if cfg.RetryFor == 0 {
		cfg.RetryFor = 5 * time.Second
	}
	if cfg.KeyPublished == 0 {
		cfg.KeyPublished = keyPublished
	}
	cfg.Lifetimes = cfg.Lifetimes.withDefaults()
	if cfg.AuditRetention == 0 {
		cfg.AuditRetention = auditRetention
	}
	b := &Broker{cfg: cfg}
	if cfg.Before != nil {
		b.memory, b.cfg.Journal, b.cfg.Uptime = cfg.Before.memory, cfg.Before.cfg.Journal, cfg.Before.cfg.Uptime
	} else {
		b.memory = b.newMemory()
	}
	b.cfg.Before = nil // once it has answered what is under way, it is gone
	if !cfg.LocalLogin {
		cfg.Store = cfg.Store.WithoutPasswords()
	}
	b.cfg.Store = eventStore{cfg.Store, b.eventsWritten}
	if cfg.Limiter != nil {
		b.cfg.Limiter = countedLimiter{cfg.Limiter, b.meter}
	}
	b.providers.Store(new(b.configuredProviders()))
	b.keys.Store(&tokens.KeyRing{})
	b.setNotReady(errNoSigningKey)
	return b, nil
}

// newMemory is that of a process's first broker. Later ones share it while it is
// in use, and so they set nothing in it.
func (b *Broker) newMemory() *memory {
	return &memory{
		refused: newOnceADay(), goodKeys: newOnceADay(), badKeys: newOnceADay(), meter: newMeter(), refusals: newRefusals(),
		noted:   Replica{ID: b.newID(b.now())},
		journal: journalKeeper{written: map[string]time.Time{}},
	}
}

func (l Lifetimes) withDefaults() Lifetimes {
	const day = 24 * time.Hour
	for field, standard := range map[*time.Duration]time.Duration{
		&l.Access: time.Hour, &l.Refresh: 30 * day, &l.Grace: 10 * time.Minute, &l.Retention: 90 * day,
	} {
		if *field == 0 {
			*field = standard
		}
	}
	return l
}

// PublicURL is the issuer and the base of every URL that is sent out.
func (b *Broker) PublicURL() string { return b.cfg.PublicURL }

// now is the broker's clock in the resolution of the database.
func (b *Broker) now() time.Time { return b.cfg.Now().Truncate(time.Millisecond).UTC() }

// newID makes a UUID version 7 (RFC 9562): its time order keeps index pages
// that are written together, together.
func (b *Broker) newID(now time.Time) string {
	var id [16]byte
	b.random(id[6:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return idAt(now, id)
}

// firstID is before every id that newID makes at that moment or later.
func firstID(at time.Time) string { return idAt(at, [16]byte{}) }

// idAt writes an id whose first six bytes are the moment.
func idAt(now time.Time, id [16]byte) string {
	ms := now.UnixMilli()
	for i := range 6 {
		// #nosec G115 -- one byte of six
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// newSecret makes n random bytes as base64url.
func (b *Broker) newSecret(n int) string {
	raw := make([]byte, n)
	b.random(raw)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func (b *Broker) random(into []byte) {
	if _, err := io.ReadFull(b.cfg.Rand, into); err != nil {
		panic(fmt.Errorf("broker: no randomness: %w", err)) // the program cannot go on
	}
}

// hash is how one-time values are stored.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// retry runs f again while it reports trouble of ours, for a few seconds and
// never past the caller's own deadline. A refusal comes back at once.
func (b *Broker) retry(ctx context.Context, f func() error) error {
	start, wait := time.Now(), 20*time.Millisecond
	for {
		err := f()
		if err == nil || CodeOf(err) != TemporarilyUnavailable || ctx.Err() != nil {
			return err
		}
		// The margin leaves time to answer before the caller gives up.
		deadline, limited := ctx.Deadline()
		if time.Since(start)+wait > b.cfg.RetryFor || limited && time.Until(deadline) < wait+100*time.Millisecond {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		wait = min(wait*2, 500*time.Millisecond)
	}
}

// retryTx is [Broker.retry] of a transaction, which has its effect once; see [Broker.onceTx].
func (b *Broker) retryTx(ctx context.Context, f func(Store) error) error {
	tx := b.onceTx()
	return b.retry(ctx, func() error { return tx(ctx, f) })
}

// Now is the broker's clock, for those who check its tokens.
func (b *Broker) Now() time.Time { return b.now() }
