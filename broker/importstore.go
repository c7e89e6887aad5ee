package broker

import (
	"context"
	"time"
)

// ImportStore writes what comes from another system, many rows at once, in the
// transaction of the import.
type ImportStore interface {
	// UsersWith returns the users that have one of the IDs or of the folded names.
	UsersWith(ctx context.Context, ids, names []string) ([]User, error)
	// InsertUsers inserts all, or fails with UsernameTaken.
	InsertUsers(ctx context.Context, list []User) error
	// IdentitiesLike returns the identities that have issuer and subject of one of the list.
	IdentitiesLike(ctx context.Context, list []Identity) ([]Identity, error)
	// InsertIdentities inserts all, or fails with IdentityConflict.
	InsertIdentities(ctx context.Context, list []Identity) error
	// ImportSession inserts a session that was begun elsewhere; unlike
	// InsertSession it says nothing of when the user was last here. UserDisabled.
	ImportSession(ctx context.Context, s Session) error
	// RenewImported moves the idle end of a session that nobody has gone on with
	// here, and reports whether there is such a session and something to move.
	RenewImported(ctx context.Context, id string, idleEnd time.Time) (bool, error)
	// InsertImportedTokens inserts those that are not there yet, and returns how many.
	InsertImportedTokens(ctx context.Context, list []ImportedToken) (int, error)
	// ImportedToken returns a token that is alive; NotFound.
	ImportedToken(ctx context.Context, id string, now time.Time) (ImportedToken, error)
	// DeleteImportedTokens deletes those of a kind that a user has, and returns how many.
	DeleteImportedTokens(ctx context.Context, userID string, kind ImportedTokenKind) (int, error)
	// ImportedTokensOf counts a user's tokens of a kind that are alive.
	ImportedTokensOf(ctx context.Context, userID string, kind ImportedTokenKind, now time.Time) (int, error)
	// LegacyUsers lists the users that have a legacy token which is alive, by name.
	LegacyUsers(ctx context.Context, now time.Time) ([]User, error)
	// InsertEvents writes many events.
	InsertEvents(ctx context.Context, list []Event) error
}

// ImportedToken is a token that another system signed, by its hash: a refresh
// token stands for a session, a legacy token for its user.
type ImportedToken struct {
	ID        string // the hash
	Kind      ImportedTokenKind
	UserID    string
	SessionID string // of a refresh token
	ExpiresAt time.Time
}

// ImportedTokenKind says what an imported token stands for.
type ImportedTokenKind string

// What an imported token stands for. An ended key is the mark of an API key that
// was deleted here.
const (
	ImportedRefresh  ImportedTokenKind = "refresh"
	ImportedLegacy   ImportedTokenKind = "legacy"
	ImportedEndedKey ImportedTokenKind = "ended key"
)
