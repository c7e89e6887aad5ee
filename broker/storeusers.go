package broker

import (
	"context"
	"time"
)

// UserStore keeps users and their linked identities.
type UserStore interface {
	// InsertUser fails with UsernameTaken.
	InsertUser(ctx context.Context, u User) error
	// InsertFirstAdmin inserts only while there is no administrator, for two
	// callers at once too; else SetupDone.
	InsertFirstAdmin(ctx context.Context, u User) error
	UserByID(ctx context.Context, id string) (User, error)
	UserByUsername(ctx context.Context, username string) (User, error)
	UsersByEmail(ctx context.Context, email string) ([]User, error)
	// ListUsers reads one page, by one key, in the order of its bytes.
	ListUsers(ctx context.Context, p UserPage) ([]User, error)
	// Usernames maps the ids of users that are there to their names.
	Usernames(ctx context.Context, ids []string) (map[string]string, error)
	// LockUser keeps everybody else from changing a user until the transaction
	// ends, so that what is read after it may be written back; NotFound.
	LockUser(ctx context.Context, id string) error
	// UpdateUser writes all but password, notice, id and creation; UsernameTaken, LastAdmin.
	// Read the user after LockUser.
	UpdateUser(ctx context.Context, u User) error
	// UpdateProfile writes what an IdP says: name, address, groups, and a role
	// that is not empty, except over root. What an administrator decided in the
	// meantime (name to log in with, disabled) it leaves alone. LastAdmin where
	// the role would be the last administrator's loss.
	UpdateProfile(ctx context.Context, u User, role Role) error
	// SetPassword replaces the hash where the stored one is still old; an old
	// of nil replaces any. It reports whether it did. temporary is
	// User.PasswordTemporary.
	SetPassword(ctx context.Context, id string, old *PasswordHash, hash PasswordHash, temporary bool, now time.Time) (bool, error)
	// SetPermissions replaces the user's own permissions; nil: the role's.
	SetPermissions(ctx context.Context, id string, p *Permissions) error
	// SetLanguage writes the language that the user reads.
	SetLanguage(ctx context.Context, id, language string) error
	// SetNotice replaces what the user is to be told; the zero Notice is nothing.
	SetNotice(ctx context.Context, id string, n Notice) error
	// DeleteUser deletes a user with its identities; LastAdmin.
	DeleteUser(ctx context.Context, id string) error
	HasAdmin(ctx context.Context) (bool, error)
	IdentityStore
	PasswordLinkStore
	FactorStore
}

// PasswordLinkStore keeps one-time links with which people set a password.
type PasswordLinkStore interface {
	InsertPasswordLink(ctx context.Context, l PasswordLink) error
	// PasswordLinkByID returns one that is alive; NotFound.
	PasswordLinkByID(ctx context.Context, id string, now time.Time) (PasswordLink, error)
	// TakePasswordLink removes one that is alive and returns it; NotFound.
	TakePasswordLink(ctx context.Context, id string, now time.Time) (PasswordLink, error)
	// DeletePasswordLinks deletes all of a user's.
	DeletePasswordLinks(ctx context.Context, userID string) error
}

// FactorStore keeps second factors, and logins that wait for one.
type FactorStore interface {
	// BeginTOTP keeps a secret that waits for its first code, in the place of
	// another that waits; FactorExists where one counts already.
	BeginTOTP(ctx context.Context, t TOTP) error
	// TOTPOf returns a user's, whether it counts or waits; NotFound.
	TOTPOf(ctx context.Context, userID string) (TOTP, error)
	// ConfirmTOTP makes one that waits count, where secret, session and age are as
	// asked for, and reports whether it did.
	ConfirmTOTP(ctx context.Context, t TOTP, begunAfter time.Time) (bool, error)
	// UseTOTP takes a code by its time step: where that is later than the last one,
	// and the app counts. Each step is taken once.
	UseTOTP(ctx context.Context, userID string, step int64) (bool, error)
	// ResealTOTP replaces the sealed secret where it is still old.
	ResealTOTP(ctx context.Context, userID, old, sealed string) error
	// ListTOTPs lists those that there are, by user, after one.
	ListTOTPs(ctx context.Context, afterUserID string, limit int) ([]TOTP, error)
	// DeleteTOTP removes it and reports whether one counted.
	DeleteTOTP(ctx context.Context, userID string) (bool, error)
	// SetRecoveryCodes replaces a user's recovery codes by those with these hashes.
	SetRecoveryCodes(ctx context.Context, userID string, hashes []string) error
	// UseRecoveryCode removes one, and reports whether there was one.
	UseRecoveryCode(ctx context.Context, userID, hash string) (bool, error)
	CountRecoveryCodes(ctx context.Context, userID string) (int, error)
	// CountFactors reads which factors a user has; an app that waits for its first code is none.
	CountFactors(ctx context.Context, userID string) (FactorCount, error)
	// SetSecondFactor writes [User.SecondFactor] as what the user has says, and
	// returns it. It belongs into the transaction that changes what there is, behind
	// LockUser.
	SetSecondFactor(ctx context.Context, userID string) (bool, error)

	// InsertPendingLogin inserts, once: the same ID again changes nothing and is no
	// error, so that it has to be made of a fresh secret.
	InsertPendingLogin(ctx context.Context, p PendingLogin) error
	// PendingLoginByID returns one that is alive; NotFound.
	PendingLoginByID(ctx context.Context, id string, now time.Time) (PendingLogin, error)
	// TakePendingLogin removes one that is alive; NotFound.
	TakePendingLogin(ctx context.Context, id string, now time.Time) error
	PasskeyStore
}

// PasskeyStore keeps passkeys, and what they are asked to sign.
type PasskeyStore interface {
	// InsertPasskey inserts while its user has fewer than most, and reports whether
	// it did; PasskeyInvalid where the credential is registered already.
	InsertPasskey(ctx context.Context, k Passkey, most int) (bool, error)
	// PasskeysOf returns a user's, the oldest first.
	PasskeysOf(ctx context.Context, userID string) ([]Passkey, error)
	PasskeyByCredential(ctx context.Context, credentialID string) (Passkey, error)
	// RenamePasskey fails with NotFound where it is not that user's.
	RenamePasskey(ctx context.Context, id, userID, name string) error
	// UsePasskey writes count, backup and last use where the count has grown, or is
	// and was 0 (it does not count), and reports whether it did.
	UsePasskey(ctx context.Context, k Passkey) (bool, error)
	// DeletePasskey fails with NotFound where it is not that user's.
	DeletePasskey(ctx context.Context, id, userID string) error
	// DeletePasskeys deletes all of a user's and returns how many.
	DeletePasskeys(ctx context.Context, userID string) (int, error)
	// InsertChallenge inserts, once: the same ID again changes nothing and is no
	// error, so that it has to be made of a fresh secret.
	InsertChallenge(ctx context.Context, c PasskeyChallenge) error
	// TakeChallenge removes one that is alive, of that kind, and bound to that; NotFound.
	TakeChallenge(ctx context.Context, c PasskeyChallenge, now time.Time) error
}

// UserFilter narrows a list of users. Empty fields do not.
type UserFilter struct {
	Search     string // how the username, the address or the full name begins
	Role       Role
	Disabled   *bool
	ProviderID string // linked to an identity of this provider
}

// UserKey is what a page of users is searched and ordered by.
type UserKey string

// The keys of users, in the order in which a search goes through them.
const (
	ByUsername UserKey = "username"
	ByEmail    UserKey = "email"
	ByName     UserKey = "name"
)

// UserPage is one page of users by one key: those whose key begins as Search
// does, without those that an earlier key finds.
type UserPage struct {
	UserFilter
	By       UserKey
	AfterKey string // of the user before this page, folded
	AfterID  string
	Limit    int
}

// IdentityStore keeps what IdPs call our users.
type IdentityStore interface {
	IdentityBySubject(ctx context.Context, issuer, subject string) (Identity, error)
	// InsertIdentity fails with IdentityConflict when it is linked already.
	InsertIdentity(ctx context.Context, i Identity) error
	TouchIdentity(ctx context.Context, i Identity) error
	IdentitiesOfUser(ctx context.Context, userID string) ([]Identity, error)
	// RootHasIdentityAt reports whether somebody with the role root is linked to an
	// identity of the issuer.
	RootHasIdentityAt(ctx context.Context, issuer string) (bool, error)
	// SetLink writes the Link of an identity alone.
	SetLink(ctx context.Context, i Identity) error
	// DeleteIdentity deletes it where it is that user's; NotFound. Of two at once
	// one does it. The last way in of the last administrator stays: LastAdmin.
	DeleteIdentity(ctx context.Context, issuer, subject, userID string) error
	// InsertUndoneLink remembers that the identity was taken from the user.
	InsertUndoneLink(ctx context.Context, issuer, subject, userID string, now time.Time) error
	// LinkUndone reports whether the identity was taken from the user before.
	LinkUndone(ctx context.Context, issuer, subject, userID string) (bool, error)
}
