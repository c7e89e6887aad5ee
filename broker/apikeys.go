package broker

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/latchkey-id/latchkey/tokens"
)

// Bounds of API keys. Texts are in code points.
const (
	MaxAPIKeys        = 100 // of one user
	MaxKeyName        = MaxName
	MaxKeyDescription = 512
	MaxKeyLife        = 10 * 365 * 24 * time.Hour
)

// NewAPIKey is what is needed to make a key.
type NewAPIKey struct {
	Name        string
	Description string
	UserID      string        // whom it acts for
	Scope       string        // space separated; empty: latchkey:api
	ExpiresIn   time.Duration // 0: never
	Disabled    bool
	// Ticket, if it is not empty, is that of the form that asks
	// ([Broker.FormTicket]): sent twice, it makes one key.
	Ticket string
	// Proof is what whoever asks gives as proof to be there; see [Broker.ProofAsked].
	Proof string
}

// APIKeyChange is what can be changed about a key; nil leaves a field alone. The
// scope stays as it was made, and so does the expiry of a key that came from elsewhere.
type APIKeyChange struct {
	Name        *string
	Description *string
	UserID      *string
	Disabled    *bool
	ExpiresIn   *time.Duration // from now on; 0: never
	// Proving is whoever makes the key open more than it did, which is as good as
	// making one; nil: the command line.
	Proving *Proving
}

// CreateAPIKey makes a key. who is who asks: people make keys for themselves,
// guests none, administrators for everybody, but for administrators only root does. A nil
// who is the command line, which may everything. The key itself comes back this
// once.
func (b *Broker) CreateAPIKey(ctx context.Context, who *Principal, n NewAPIKey, device Device) (OwnedAPIKey, tokens.APIKey, error) {
	var by *User
	if who != nil {
		by = &who.User
		if _, undoable, err := b.throughLink(ctx, *who); err != nil {
			return OwnedAPIKey{}, "", err
		} else if undoable {
			return OwnedAPIKey{}, "", refuse(LoginRequired, "a key outlives its login, and yours came through a link that can still be undone; "+
				"log in in the way that you have used for longest")
		}
	}
	k, err := b.prepareKey(by, n)
	if err != nil {
		return OwnedAPIKey{}, "", err
	}
	given, err := b.stepUpOf(ctx, who, n.Proof, device)
	if err != nil {
		return OwnedAPIKey{}, "", err
	}
	text, id, err := tokens.NewAPIKey(b.cfg.Rand)
	if err != nil {
		return OwnedAPIKey{}, "", Unavailable(err)
	}
	k.ID, k.SecretHash = id, hashAPIKey(text.Reveal())
	var made OwnedAPIKey
	err = b.cfg.Store.Tx(ctx, func(store Store) error {
		if err := ownerOfKeys(ctx, store, by, n.UserID); err != nil {
			return err
		}
		if n.Ticket != "" {
			if err := b.takeTicket(ctx, store, n.UserID, n.Ticket); err != nil {
				return err
			}
		}
		if err := given.take(ctx, store); err != nil {
			return err
		}
		done, err := store.InsertAPIKey(ctx, k, MaxAPIKeys)
		if err == nil && !done {
			err = errTooManyKeys
		}
		if err == nil {
			made, err = store.APIKeyByID(ctx, id)
		}
		if err != nil {
			return err
		}
		return b.auditKey(ctx, store, EventAPIKeyCreated, by, k, device)
	})
	if err = given.counted(ctx, err); err != nil {
		return OwnedAPIKey{}, "", err
	}
	return made, text, nil
}

var errTooManyKeys = refuse(InvalidRequest, fmt.Sprintf("a user has at most %d API keys", MaxAPIKeys))

func (b *Broker) prepareKey(by *User, n NewAPIKey) (k APIKey, err error) {
	now := b.now()
	k = APIKey{UserID: n.UserID, CreatedAt: now, UpdatedAt: now}
	if by != nil {
		k.CreatedBy = by.ID
	}
	if k.Name, err = checkKeyName(n.Name); err != nil {
		return k, err
	}
	if k.Description, err = checkKeyDescription(n.Description); err != nil {
		return k, err
	}
	if k.Scope, err = checkKeyScope(by, n.Scope); err != nil {
		return k, err
	}
	if k.ExpiresAt, err = keyEnd(now, n.ExpiresIn); err != nil {
		return k, err
	}
	if n.Disabled {
		k.DisabledAt = now
	}
	return k, nil
}

// keyEnd is when a key of a given life expires; zero: never.
func keyEnd(now time.Time, life time.Duration) (time.Time, error) {
	switch {
	case life == 0:
		return time.Time{}, nil
	case life < time.Second || life > MaxKeyLife:
		return time.Time{}, fault(InvalidRequest, "expiresIn", "expiresIn: is between one second and ten years")
	}
	return now.Add(life).Truncate(time.Millisecond), nil
}

func checkKeyName(name string) (string, error) {
	switch clean := cleanText(name, MaxKeyName+1); {
	case clean == "":
		return "", fault(InvalidRequest, "name", "name: is needed")
	case utf8.RuneCountInString(clean) > MaxKeyName:
		return "", fault(InvalidRequest, "name", "name: has at most 128 characters")
	default:
		return clean, nil
	}
}

func checkKeyDescription(text string) (string, error) {
	clean := cleanText(text, MaxKeyDescription+1)
	if utf8.RuneCountInString(clean) > MaxKeyDescription {
		return "", fault(InvalidRequest, "description", "description: has at most 512 characters")
	}
	return clean, nil
}

// ownerOfKeys locks the user that keys are to act for, if by may have a say in
// that user's keys.
func ownerOfKeys(ctx context.Context, store Store, by *User, id string) error {
	if by != nil && by.ID != id && !by.Role.IsAdmin() { // who asks after others learns nothing
		return refuse(Forbidden, "the keys of others are an administrator's")
	}
	err := store.LockUser(ctx, id)
	if errors.Is(err, NotFound) {
		return refuse(InvalidRequest, "userId: there is no such user")
	}
	if err != nil {
		return err
	}
	owner, err := store.UserByID(ctx, id)
	if err != nil {
		return err
	}
	return mayKeep(by, owner)
}

// mayKeep refuses who may not make or change keys of a user.
func mayKeep(by *User, owner User) error {
	switch {
	case by == nil:
		return nil
	case by.Role == RoleGuest:
		return refuse(Forbidden, "guests keep no API keys")
	case by.ID != owner.ID && !by.Role.IsAdmin():
		return refuse(Forbidden, "the keys of others are an administrator's")
	case by.ID != owner.ID && !mayAdminister(*by, owner):
		return refuse(Forbidden, "only root makes keys for administrators")
	}
	return nil
}

// APIKeys lists keys by id, after an id: for an administrator or the command
// line (nil) those of all, or of one user; for others their own.
func (b *Broker) APIKeys(ctx context.Context, by *User, userID, after string, limit int) ([]OwnedAPIKey, error) {
	if by != nil && !by.Role.IsAdmin() {
		if userID != "" && userID != by.ID || by.Role == RoleGuest {
			return nil, refuse(Forbidden, "the keys of others are an administrator's")
		}
		userID = by.ID
	}
	return b.cfg.Store.ListAPIKeys(ctx, userID, after, limit)
}

// APIKey is a key of the user who asks; for an administrator or the command line
// (nil) anybody's. Somebody else's is NotFound, as one that is not there.
func (b *Broker) APIKey(ctx context.Context, by *User, id string) (OwnedAPIKey, error) {
	k, err := b.cfg.Store.APIKeyByID(ctx, id)
	if err == nil && by != nil && !by.Role.IsAdmin() && (by.ID != k.UserID || by.Role == RoleGuest) {
		return OwnedAPIKey{}, refuse(NotFound, "")
	}
	return k, err
}

// UpdateAPIKey changes a key, by the rules of [Broker.CreateAPIKey] for its
// owner, and for the new one where it gets another. Somebody else's key is
// NotFound, as one that is not there.
func (b *Broker) UpdateAPIKey(ctx context.Context, by *User, id string, c APIKeyChange, device Device) (OwnedAPIKey, error) {
	old, err := b.cfg.Store.APIKeyByID(ctx, id)
	if err != nil {
		return OwnedAPIKey{}, err
	}
	given, err := b.stepUpIf(ctx, c.opens(old.APIKey, b.now()), c.Proving)
	if err != nil {
		return OwnedAPIKey{}, err
	}
	var out OwnedAPIKey
	err = b.cfg.Store.Tx(ctx, func(store Store) error {
		k, err := b.keyToChange(ctx, store, by, id)
		if err != nil {
			return err
		}
		if err := mayKeep(by, k.Owner); err != nil {
			return err
		}
		was, opens := k.UserID, c.opens(k.APIKey, b.now())
		if err := c.apply(ctx, store, by, &k.APIKey, b.now()); err != nil {
			return err
		}
		if opens {
			if err := given.take(ctx, store); err != nil {
				return err
			}
		}
		done, err := store.UpdateAPIKey(ctx, k.APIKey, was, MaxAPIKeys)
		if err == nil && !done {
			err = errTooManyKeys
		}
		if err == nil {
			out, err = store.APIKeyByID(ctx, id)
		}
		if err != nil {
			return err
		}
		return b.auditKey(ctx, store, EventAPIKeyUpdated, by, k.APIKey, device)
	})
	return out, given.counted(ctx, err)
}

// opens reports whether a key counts after the change where it did not before: for
// another user, switched on again, or for longer.
func (c APIKeyChange) opens(k APIKey, now time.Time) bool {
	switch {
	case c.UserID != nil && *c.UserID != k.UserID, c.Disabled != nil && !*c.Disabled && !k.DisabledAt.IsZero():
		return true
	case c.ExpiresIn == nil || k.ExpiresAt.IsZero():
		return false
	}
	return *c.ExpiresIn == 0 || now.Add(*c.ExpiresIn).After(k.ExpiresAt)
}

// keyToChange reads a key and locks its owner, so that two changes of a key
// follow each other.
func (b *Broker) keyToChange(ctx context.Context, store Store, by *User, id string) (OwnedAPIKey, error) {
	k, err := store.APIKeyByID(ctx, id)
	if err != nil {
		return k, err
	}
	if by != nil && by.ID != k.UserID && !by.Role.IsAdmin() {
		return k, refuse(NotFound, "")
	}
	if err := store.LockUser(ctx, k.UserID); err != nil {
		return k, err
	}
	again, err := store.APIKeyByID(ctx, id)
	if err == nil && again.UserID != k.UserID {
		err = Unavailable(errKeyMoved)
	}
	return again, err
}

var errKeyMoved = errors.New("the API key was given to another user in the meantime")

func (c APIKeyChange) apply(ctx context.Context, store Store, by *User, k *APIKey, now time.Time) (err error) {
	if c.Name != nil {
		if k.Name, err = checkKeyName(*c.Name); err != nil {
			return err
		}
	}
	if c.Description != nil {
		if k.Description, err = checkKeyDescription(*c.Description); err != nil {
			return err
		}
	}
	if c.UserID != nil && *c.UserID != k.UserID {
		if err := ownerOfKeys(ctx, store, by, *c.UserID); err != nil {
			return err
		}
		k.UserID = *c.UserID
	}
	if c.ExpiresIn != nil {
		if k.Imported() {
			return fault(InvalidRequest, "expiresIn", "expiresIn: a key that came from elsewhere keeps its own")
		}
		if k.ExpiresAt, err = keyEnd(now, *c.ExpiresIn); err != nil {
			return err
		}
	}
	switch {
	case c.Disabled == nil:
	case !*c.Disabled:
		k.DisabledAt = time.Time{}
	case k.DisabledAt.IsZero():
		k.DisabledAt = now
	}
	k.UpdatedAt = now
	return nil
}

// DeleteAPIKey deletes a key of the user who asks, or for an administrator or
// the command line (nil) anybody's, root's too: to take a key away is no way to
// more power. It is refused from then on.
func (b *Broker) DeleteAPIKey(ctx context.Context, by *User, id string, device Device) error {
	return b.cfg.Store.Tx(ctx, func(store Store) error {
		k, err := store.APIKeyByID(ctx, id)
		if err != nil {
			return err
		}
		switch {
		case by != nil && by.Role == RoleGuest:
			return refuse(Forbidden, "guests keep no API keys")
		case by != nil && by.ID != k.UserID && !by.Role.IsAdmin():
			return refuse(NotFound, "")
		}
		if err := deleteKey(ctx, store, k.APIKey, b.now()); err != nil {
			return err
		}
		return b.auditKey(ctx, store, EventAPIKeyDeleted, by, k.APIKey, device)
	})
}

// deleteKey deletes a key; of one that came from elsewhere a mark stays, so that
// no import brings it back.
func deleteKey(ctx context.Context, store Store, k APIKey, now time.Time) error {
	err := store.DeleteAPIKey(ctx, k.ID)
	if err == nil && k.Imported() {
		_, err = store.InsertImportedTokens(ctx, []ImportedToken{endedKey(k, now)})
	}
	return err
}

func (b *Broker) auditKey(ctx context.Context, store Store, name string, by *User, k APIKey, device Device) error {
	detail := map[string]string{detailKeyID: k.ID, "name": k.Name, "scope": k.Scope}
	if !k.DisabledAt.IsZero() {
		detail[detailDisabled] = "yes"
	}
	if by != nil {
		detail["by"] = by.ID
	}
	return b.audit(ctx, store, Event{Name: name, UserID: k.UserID, IP: device.IP, Detail: detail})
}
