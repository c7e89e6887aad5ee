package broker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"
)

// PasskeyJudge speaks WebAuthn (Level 3) for this service's domain and origin. It
// asks for discoverable credentials and the verification of the person, always.
type PasskeyJudge interface {
	// Creation is what a browser makes a credential by; has are those that there are.
	Creation(challenge []byte, u User, has []Passkey) (json.RawMessage, error)
	// CheckCreation reads the new credential from a browser's answer to a challenge.
	// It is [ErrPasskeyKey] where the key is one that CheckAssertion would not take.
	CheckCreation(challenge []byte, u User, answer []byte) (Passkey, error)
	// Request is what a browser asks for a credential by: one of those allowed, or
	// any that it has for this service where none is named.
	Request(challenge []byte, allowed []Passkey) (json.RawMessage, error)
	// Read says which challenge an answer is for and which credential it is of. None
	// of it is proven.
	Read(answer []byte) (PasskeyAnswer, error)
	// CheckAssertion checks that a user's passkey signed the challenge here, with the
	// person verified.
	CheckAssertion(challenge []byte, u User, k Passkey, answer []byte) (PasskeyUse, error)
}

// Passkey is a WebAuthn credential of a user.
type Passkey struct {
	ID           string
	CredentialID string // base64url
	UserID       string
	Name         string
	PublicKey    string // COSE, base64url
	AAGUID       string // the kind of authenticator, as far as it says
	Transports   []string
	SignCount    int64
	Synced       bool // it may be on more than one device
	BackedUp     bool
	CreatedAt    time.Time
	LastUsedAt   time.Time // zero: never
}

// PasskeyAnswer is what an answer says of itself.
type PasskeyAnswer struct {
	Challenge    []byte
	CredentialID string
}

// PasskeyUse is what a use changes at a passkey.
type PasskeyUse struct {
	SignCount int64
	BackedUp  bool
}

// PasskeyChallenge is a challenge that waits for its answer. ID is its hash,
// BoundTo the hash of what alone may answer.
type PasskeyChallenge struct {
	ID, Kind, BoundTo string
	ExpiresAt         time.Time
}

// The kinds of challenges.
const (
	challengeRegister = "register" // bound to the session
	challengeLogin    = "login"    // bound to the browser
	challengeSecond   = "second"   // bound to the login that waits
)

const (
	challengeLife = 5 * time.Minute
	// MaxPasskeys bounds what one user has.
	MaxPasskeys = 20
	// MaxPasskeyName bounds the name of a passkey, in code points.
	MaxPasskeyName = 64
	// MaxPasskeyAnswer bounds what a browser answers, in bytes.
	MaxPasskeyAnswer = 16 << 10
	// MaxPasskeyRSABits bounds the key of a passkey: a longer one costs strangers
	// nothing and us time, as one of an identity provider does.
	MaxPasskeyRSABits = 4096
)

// ErrPasskeyKey refuses a passkey for its key.
var ErrPasskeyKey = refuse(PasskeyInvalid, "the key of this passkey is not taken: RSA keys may have at most 4096 bits; use another device or password manager")

var errPasskey = refuse(PasskeyInvalid, "the passkey did not prove who you are, or it took longer than five minutes; try again")

// amr is how a login with the passkey is said (RFC 8176): the key is in hardware,
// or may be copied, and the person was verified.
func (k Passkey) amr(first ...string) []string {
	kind := "hwk"
	if k.Synced {
		kind = "swk"
	}
	return append(first, kind, "user", "mfa")
}

// newChallenge makes a challenge for whoever it is bound to.
func (b *Broker) newChallenge(kind, boundTo string) ([]byte, PasskeyChallenge) {
	raw := make([]byte, 32)
	b.random(raw)
	return raw, PasskeyChallenge{
		ID: challengeID(raw), Kind: kind, BoundTo: hash("bound to", kind, boundTo), ExpiresAt: b.now().Add(challengeLife),
	}
}

func challengeID(raw []byte) string {
	return hash("passkey challenge", base64.RawURLEncoding.EncodeToString(raw))
}

// takeChallenge uses the challenge of an answer up, whatever the answer is worth:
// it was made here, for this, and for nobody else.
func (b *Broker) takeChallenge(ctx context.Context, kind, boundTo string, answer []byte) (PasskeyAnswer, error) {
	if b.cfg.Passkeys == nil {
		return PasskeyAnswer{}, errNoPasskeys
	}
	if len(answer) == 0 || len(answer) > MaxPasskeyAnswer || boundTo == "" {
		return PasskeyAnswer{}, errPasskey
	}
	said, err := b.cfg.Passkeys.Read(answer)
	if err != nil {
		return said, b.passkeyRefused(ctx, "", err)
	}
	c := PasskeyChallenge{ID: challengeID(said.Challenge), Kind: kind, BoundTo: hash("bound to", kind, boundTo)}
	err = b.retryTx(ctx, func(store Store) error { return store.TakeChallenge(ctx, c, b.now()) })
	if errors.Is(err, NotFound) {
		err = b.passkeyRefused(ctx, "", errors.New("the challenge is unknown, used, too old, or another one's"))
	}
	return said, err
}

// passkeyRefused logs why an answer is worth nothing; whoever sent it is told no
// more than that.
func (b *Broker) passkeyRefused(ctx context.Context, userID string, err error) error {
	b.cfg.Log.WarnContext(ctx, "a passkey was refused", "event", "passkey.refused", "user_id", userID, "error", err)
	return errPasskey
}

var errNoPasskeys = refuse(NotFound, "passkeys are not offered here: they need a domain name in public_url")

// PasskeysOffered reports whether somebody may log in by a passkey.
func (b *Broker) PasskeysOffered() bool { return b.cfg.Passkeys != nil && b.cfg.LocalLogin }

// BeginPasskey asks a browser for a new passkey, for whoever gives the password,
// or a code where there is a factor. The answer goes to [Broker.AddPasskey], from the same session.
func (b *Broker) BeginPasskey(ctx context.Context, p Principal, typed string, device Device) (json.RawMessage, error) {
	if b.cfg.Passkeys == nil {
		return nil, errNoPasskeys
	}
	given, err := b.proveForFactors(ctx, Proving{p, typed, device})
	if err != nil {
		return nil, err
	}
	has, err := b.cfg.Store.PasskeysOf(ctx, p.User.ID)
	if err != nil {
		return nil, err
	}
	raw, c := b.newChallenge(challengeRegister, p.Session.ID)
	options, err := b.cfg.Passkeys.Creation(raw, p.User, has)
	if err != nil {
		return nil, Unavailable(err)
	}
	return options, b.change(ctx, p, given, func(store Store) error { return store.InsertChallenge(ctx, c) })
}

// AddPasskey keeps the passkey that a browser made. Where there are no recovery
// codes yet, it makes them: they are shown once.
func (b *Broker) AddPasskey(ctx context.Context, p Principal, name string, answer []byte, device Device) (codes []string, err error) {
	if err := p.NeedSession(); err != nil {
		return nil, err
	}
	if err := b.MayHaveFactors(p.User); err != nil {
		return nil, err
	}
	if name, err = passkeyName(name); err != nil {
		return nil, err
	}
	said, err := b.takeChallenge(ctx, challengeRegister, p.Session.ID, answer)
	if err != nil {
		return nil, err
	}
	k, err := b.cfg.Passkeys.CheckCreation(said.Challenge, p.User, answer)
	if err != nil {
		if refused := b.passkeyRefused(ctx, p.User.ID, err); !errors.Is(err, ErrPasskeyKey) {
			return nil, refused
		}
		return nil, ErrPasskeyKey
	}
	k.CreatedAt = b.now()
	k.ID, k.UserID, k.Name = b.newID(k.CreatedAt), p.User.ID, name
	err = b.change(ctx, p, proven(), func(store Store) (err error) {
		done, err := store.InsertPasskey(ctx, k, MaxPasskeys)
		if err == nil && !done {
			err = refuse(PasskeyInvalid, "an account has at most 20 passkeys; remove one first")
		}
		if err != nil {
			return err
		}
		codes, err = b.factorAdded(ctx, store, p.User.ID, map[string]string{"factor": FactorPasskey, "name": k.Name}, device)
		return err
	})
	return codes, err
}

func passkeyName(name string) (string, error) {
	if name = cleanText(name, MaxPasskeyName); name == "" {
		return "", fault(InvalidRequest, "name", "name: a name of 1 to 64 characters is needed")
	}
	return name, nil
}

// RenamePasskey gives an own passkey another name.
func (b *Broker) RenamePasskey(ctx context.Context, p Principal, id, name string, device Device) error {
	if err := p.NeedSession(); err != nil {
		return err
	}
	name, err := passkeyName(name)
	if err != nil {
		return err
	}
	return b.retryTx(ctx, func(store Store) error {
		if err := store.RenamePasskey(ctx, id, p.User.ID, name); err != nil {
			return err
		}
		return b.audit(ctx, store, Event{
			Name: EventFactorRenamed, UserID: p.User.ID, IP: device.IP, Detail: map[string]string{"factor": FactorPasskey, "name": name},
		})
	})
}

// RemovePasskey takes an own passkey away, for whoever gives a code. No session ends.
func (b *Broker) RemovePasskey(ctx context.Context, p Principal, id, typed string, device Device) error {
	given, err := b.proveForFactors(ctx, Proving{p, typed, device})
	if err != nil {
		return err
	}
	return b.change(ctx, p, given, func(store Store) error {
		if err := store.DeletePasskey(ctx, id, p.User.ID); err != nil {
			return err
		}
		return b.tellFactor(ctx, store, Event{Name: EventFactorRemoved, UserID: p.User.ID, IP: device.IP, Detail: map[string]string{"factor": FactorPasskey}})
	})
}
