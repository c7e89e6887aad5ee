package broker

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// APIKey lets a program act for a user, at the JSON API and at API servers that
// ask what a token is. It opens no admin route and changes no account. The key
// itself is shown once, when it is made.
type APIKey struct {
	ID          string // the part of the key that is no secret
	Name        string
	Description string
	UserID      string // whom it acts for
	CreatedBy   string // the user who made it; empty: the command line
	Scope       string // space separated (RFC 6749 section 3.3)
	SecretHash  string // SHA-256 of the whole key; empty for a key that came from elsewhere
	CreatedAt   time.Time
	UpdatedAt   time.Time
	ExpiresAt   time.Time // zero: never
	LastUsedAt  time.Time // zero: never; to the minute
	DisabledAt  time.Time // zero: it may be used
}

// OwnedAPIKey is a key with the user whom it acts for, and who made it: without
// an ID where that was the command line, or is gone.
type OwnedAPIKey struct {
	APIKey
	Owner   User
	Creator User
}

// Active reports whether the key itself may be used at now, whatever its owner.
func (k *APIKey) Active(now time.Time) bool { return k.DisabledAt.IsZero() && !k.expired(now) }

// Imported reports whether the key came from another system, which signed it.
func (k *APIKey) Imported() bool { return k.SecretHash == "" }

func (k *APIKey) expired(now time.Time) bool {
	return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
}

// ScopeRead lets an API key read at the JSON API, and nothing else.
const ScopeRead = "latchkey:read"

// APIKeyStore keeps API keys; they go with their owner.
type APIKeyStore interface {
	// InsertAPIKey inserts while the owner has fewer keys than most, and reports
	// whether it did. Lock the owner first.
	InsertAPIKey(ctx context.Context, k APIKey, most int) (bool, error)
	// APIKeyByID reads a key with its owner.
	APIKeyByID(ctx context.Context, id string) (OwnedAPIKey, error)
	// ListAPIKeys lists keys by id, after an id; of one user, or with an empty
	// userID of all.
	ListAPIKeys(ctx context.Context, userID, after string, limit int) ([]OwnedAPIKey, error)
	// UpdateAPIKey writes name, description, owner, expiry and disabling of a key that is
	// still that owner's, while a new owner has fewer keys than most. It reports
	// whether it did.
	UpdateAPIKey(ctx context.Context, k APIKey, owner string, most int) (bool, error)
	// TouchAPIKey notes a use where the last one was noted at before or earlier,
	// relaxed.
	TouchAPIKey(ctx context.Context, id string, now, before time.Time) error
	// DeleteAPIKey deletes a key; NotFound.
	DeleteAPIKey(ctx context.Context, id string) error
}

// hashAPIKey is how a key is stored: it has 256 random bits, so that a plain
// hash will do.
func hashAPIKey(raw string) string { return hash("api key", raw) }

// AuthenticateKey finds out whom an API key acts for: one statement reads the
// key and its owner, so that what was disabled or deleted is refused at once. A
// text that no key can be is refused without asking the database; guesses count
// against the address they come from, good keys never do.
func (b *Broker) AuthenticateKey(ctx context.Context, raw string, device Device) (Principal, error) {
	id, err := tokens.ParseAPIKey(raw)
	if err != nil {
		return Principal{}, &Error{Code: InvalidToken, Message: "this is not an API key", Err: err}
	}
	if err := b.mayTryKey(ctx, raw, device); err != nil {
		return Principal{}, err
	}
	k, ok, err := b.readAPIKey(ctx, id, raw)
	if err != nil {
		return Principal{}, err
	}
	if !ok {
		return Principal{}, b.failedKey(ctx, id, raw, device)
	}
	b.goodKeys.again(k.SecretHash, b.now())
	return b.admitKey(ctx, k)
}

// readAPIKey reads the key of a well-formed text; ok is false where there is
// none, or another one.
func (b *Broker) readAPIKey(ctx context.Context, id, raw string) (k OwnedAPIKey, ok bool, err error) {
	err = b.retry(ctx, func() (err error) {
		k, err = b.cfg.Store.APIKeyByID(ctx, id)
		return err
	})
	if errors.Is(err, NotFound) {
		return OwnedAPIKey{}, false, nil
	}
	return k, err == nil && subtle.ConstantTimeCompare([]byte(k.SecretHash), []byte(hashAPIKey(raw))) == 1, err
}

// admitKey judges a key that was proven, and notes its use.
func (b *Broker) admitKey(ctx context.Context, k OwnedAPIKey) (Principal, error) {
	now := b.now()
	switch {
	case !k.DisabledAt.IsZero():
		return Principal{}, refuse(InvalidToken, "the API key is switched off")
	case k.expired(now):
		return Principal{}, refuse(TokenExpired, "the API key has expired")
	case !k.Owner.DisabledAt.IsZero():
		return Principal{}, refuse(UserDisabled, "the user of the API key is disabled")
	}
	if before := now.Add(-noteUseEvery); !k.LastUsedAt.After(before) {
		if err := b.cfg.Store.TouchAPIKey(ctx, k.ID, now, before); err != nil {
			b.cfg.Log.WarnContext(ctx, "use of an API key not noted", "key_id", k.ID, "error", err)
		}
	}
	return Principal{User: k.Owner, Key: &k.APIKey}, nil
}

// noteUseEvery is how often a use is written down.
const noteUseEvery = time.Minute

// mayTryKey refuses an address that guessed too often. Keys that were good here
// within the day ask no limit: neither a neighbour behind the same address nor
// trouble of the limiter must lock them out.
func (b *Broker) mayTryKey(ctx context.Context, raw string, device Device) error {
	if b.goodKeys.has(hashAPIKey(raw), b.now()) {
		return nil
	}
	return b.mayFail(ctx, guessKey(device))
}

// guessKey counts guesses of keys apart from failed logins: a script with a
// wrong key must not keep the phones of the house from logging in.
func guessKey(device Device) string { return "API key from " + AddressOf(device.IP) }

// failedKey counts and logs a guess. A program that goes on with a key that was
// deleted says one thing again and again, and is no attacker: each wrong key is
// logged once a day.
func (b *Broker) failedKey(ctx context.Context, id, raw string, device Device) error {
	about := guessedAPIKey
	if !b.badKeys.first(hashAPIKey(raw)+" "+device.IP, b.now()) {
		about = deadAPIKey
	}
	return b.failed(ctx, about, refuse(InvalidToken, "there is no such API key"), []string{guessKey(device)}, device, "key_id", id)
}

// NeedAPI refuses an API key whose scope does not reach: latchkey:api is for
// everything that the JSON API offers without a session, latchkey:read for
// reading. Sessions are judged by their access token.
func (p Principal) NeedAPI(reading bool) error {
	switch {
	case p.Key == nil, hasScope(p.Key.Scope, ScopeAPI), reading && hasScope(p.Key.Scope, ScopeRead):
		return nil
	case hasScope(p.Key.Scope, ScopeRead):
		return refuse(InsufficientScope, "the API key may only read")
	}
	return refuse(InsufficientScope, "the API key lacks the scope "+ScopeAPI)
}

// IntrospectKey says what an API key is (RFC 7662), to a client with the scope
// latchkey:introspect: a key is no client's and for no one API. Guesses are not
// counted: the client has proven who it is, and its address is not the guesser's.
func (b *Broker) IntrospectKey(ctx context.Context, c Client, raw string) (Introspection, error) {
	id, err := tokens.ParseAPIKey(raw)
	if err != nil || !hasScope(c.Scope, ScopeIntrospect) {
		return Introspection{}, nil
	}
	k, ok, err := b.readAPIKey(ctx, id, raw)
	if err != nil || !ok {
		return Introspection{}, err
	}
	p, err := b.admitKey(ctx, k)
	if err != nil {
		return Introspection{}, onlyTrouble(err)
	}
	return Introspection{Active: true, Key: p.Key, User: p.User}, nil
}

// ownScopes are Latchkey's own scopes that a key may have.
var ownScopes = []string{ScopeAPI, ScopeRead, ScopeForward}

// checkKeyScope returns the scope to store. What is not Latchkey's own is only
// passed on, and an API may take it for somebody's permission, so that people do
// not give it to themselves.
func checkKeyScope(by *User, asked string) (string, error) {
	if !validScope(asked) {
		return "", fault(InvalidRequest, "scope", "scope: words of printable ASCII characters, separated by spaces")
	}
	scope := []string{}
	for one := range strings.FieldsSeq(asked) {
		switch free := !slices.Contains(ownScopes, one); {
		case free && strings.HasPrefix(one, "latchkey:"):
			return "", fault(InvalidRequest, "scope", "scope: of Latchkey's own, an API key may have "+strings.Join(ownScopes, ", "))
		case free && by != nil && !by.Role.IsAdmin():
			return "", fault(InvalidRequest, "scope", "scope: only an administrator gives a key other scopes than "+strings.Join(ownScopes, ", "))
		case !slices.Contains(scope, one):
			scope = append(scope, one)
		}
	}
	if len(scope) == 0 {
		return ScopeAPI, nil
	}
	return strings.Join(scope, " "), nil
}
