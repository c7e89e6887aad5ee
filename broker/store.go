package broker

import (
	"context"
	"time"
)

// Store remembers. Its interfaces are small and by noun; one implementation
// serves them all. Every method returns [NotFound] where nothing is found and
// [TemporarilyUnavailable] for trouble of the database. It has no clock.
type Store interface {
	UserStore
	SessionStore
	LoginStore
	ClientStore
	ProviderStore
	AuthorizationStore
	UpstreamStore
	APIKeyStore
	KeyStore
	ReplicaStore
	AuditStore
	ImportStore
	FigureStore
	MailStore

	// Tx runs f in one transaction that is durable when Tx returns nil. f makes
	// store calls only: no network, no hashing. f may run again after a
	// serialization failure.
	Tx(ctx context.Context, f func(Store) error) error

	// WithoutPasswords is the same store where nobody logs in by a password: none
	// makes an administrator who could log in (LastAdmin).
	WithoutPasswords() Store
}

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

// SessionStore keeps sessions. Rotation and ends are properties of a
// statement's WHERE, never of read-then-write.
type SessionStore interface {
	// InsertSession inserts only while the user is enabled, its password hash is
	// still the given one (empty: any) and the parent, if any, has not ended;
	// else UserDisabled; nor on a login at an IdP that is over (IdPRevoked). It
	// returns the user as it is then.
	InsertSession(ctx context.Context, s Session, hash PasswordHash) (User, error)
	// MoveFollowers gives the live sessions that follow one session another to
	// follow; those that are still to be made of it too.
	MoveFollowers(ctx context.Context, from, to string) error
	// SessionByID reads a session with its user; a user that is gone comes with
	// an empty ID.
	SessionByID(ctx context.Context, id string) (Session, User, error)
	// SessionByCookie is SessionByID for the session of a client with this cookie.
	SessionByCookie(ctx context.Context, clientID, cookieHash string) (Session, User, error)
	// SessionState is SessionByID with no more than what says whether the
	// session stands: its ends, and the user's ID, name and disabling.
	SessionState(ctx context.Context, id string) (Session, User, error)
	// AdvanceSession is the hot path: one statement that advances the row where
	// it and its user permit it, and reads both. ok is false where it does not.
	// Its commit may be relaxed: a lost one is healed by the rule (ahead).
	AdvanceSession(ctx context.Context, a Advance) (s Session, u User, ok bool, err error)
	// WriteRotation writes a rarer outcome where the row is still as it was read.
	WriteRotation(ctx context.Context, w RotationWrite) (bool, error)
	// TouchSession moves the idle end of a session, relaxed.
	TouchSession(ctx context.Context, t Touch) error
	// NameSession writes what a live session of the user calls its device; NotFound.
	NameSession(ctx context.Context, id, userID, name string) error
	// EndSessions ends what the filter names and has not ended yet, and returns it.
	EndSessions(ctx context.Context, f SessionFilter, e End) ([]Session, error)
	// EndBeyond ends those of a user's live sessions that were unused for longest,
	// so that limit of them stay, and returns what it ended. The session keepID is
	// one of those that stay; sessions that follow a parent do not count.
	EndBeyond(ctx context.Context, userID, keepID string, limit int, e End) ([]Session, error)
	// EndExpired gives at most limit sessions that expired before a moment
	// their cause (SessionExpired, SessionMaxAge), and returns them.
	EndExpired(ctx context.Context, before time.Time, e End, limit int) ([]Session, error)
	// EndFollowers ends the live sessions that follow one of the given sessions
	// (Session.FollowsParent), and returns them.
	EndFollowers(ctx context.Context, parentIDs []string, e End) ([]Session, error)
	// EndedSince lists the ids of sessions that ended after a moment by another
	// cause than their own expiry.
	EndedSince(ctx context.Context, since time.Time) ([]string, error)
	// PageSessions returns sessions, the newest first, after one (empty: from the
	// newest on), each with the name of its user. Where no index has all that the
	// filter asks for it looks at so many and no more: lookedTo is the last of them,
	// where the list goes on there; else empty.
	PageSessions(ctx context.Context, f SessionFilter, afterID string, limit int) (list []UserSession, lookedTo string, err error)
	// CountSessions counts what is alive at now, up to most, and says whether there
	// is, or may be, more.
	CountSessions(ctx context.Context, f SessionFilter, now time.Time, most int) (n int, more bool, err error)
	// PageEnded returns a user's sessions that were given an end, the latest end
	// first, after one (a zero time: from the latest on).
	PageEnded(ctx context.Context, userID string, afterEnd time.Time, afterID string, limit int) ([]Session, error)
	// SessionsOfUser returns at most so many of a user's sessions that are alive at
	// now, and so many that are over, each the newest first.
	SessionsOfUser(ctx context.Context, userID string, now time.Time, live, over int) (alive, past []Session, err error)
	// AddressesOfUser are the addresses that a user's newest sessions, live and
	// ended ones, were made from and last used from.
	AddressesOfUser(ctx context.Context, userID string) ([]string, error)
	// ListSessions returns sessions, newest activity first, and how many there are.
	ListSessions(ctx context.Context, f SessionFilter, offset, limit int) ([]Session, int, error)
	// Sweep deletes what nobody needs any more, at most limit rows of each kind:
	// ended sessions that were kept long enough, logins under way that expired
	// before a moment, audit events and figures before others, logins at IdPs that
	// no session stands on. It returns how many rows of the kind that had most.
	Sweep(ctx context.Context, s Sweep) (int, error)
}

// End is how sessions end. The rows are kept until KeepUntil, to say why.
type End struct {
	Cause     EndCause
	Wipe      bool
	At        time.Time
	KeepUntil time.Time
}

// Sweep says what is no longer needed.
type Sweep struct {
	Now          time.Time
	LoginsBefore time.Time
	EventsBefore time.Time
	// UpstreamsBefore: a login at an IdP that is younger, or whose last session
	// ended later, is kept: a session may still be made of it.
	UpstreamsBefore time.Time
	FiguresBefore   time.Time
	MailsBefore     time.Time // mails that could not be sent later
	Limit           int
}

// Touch is what every use of a session leaves: where from and how long it
// lives on unused.
type Touch struct {
	ID            string
	Now           time.Time
	IdleExpiresAt time.Time
	IP            string
}

// Advance is the hot path's write: from (Generation, up to Branch) to the next
// generation, where that generation began at AdvancedBefore or earlier.
type Advance struct {
	Touch
	ClientID       string
	Generation     int64
	Branch         int64
	AdvancedBefore time.Time
}

// RotationWrite writes Next where the row is still at From's generation and
// branch, has not ended, and the user is enabled; an End needs no user.
type RotationWrite struct {
	Touch
	From, Next Rotation
	// IssuedBefore, if set, is a further condition: a reissue by somebody else
	// must not be followed by another.
	IssuedBefore time.Time
	// KeepLaterIssue keeps the row's IssuedAt where it is later than Next's.
	KeepLaterIssue bool
	// End, if it has a cause, ends the session instead of sliding it.
	End End
}

// SessionFilter names sessions. Empty fields do not filter; All must be set to
// mean everything.
type SessionFilter struct {
	ID       string
	UserID   string
	ExceptID string
	// ExceptFollowers excepts those that follow ExceptID as well.
	ExceptFollowers bool
	ParentID        string
	ClientID        string
	ProviderID      string
	IdPSession      string
	IdPSubject      string
	UpstreamID      string
	CreatedBefore   time.Time // zero: any
	IP              string    // begun from this address
	LastIP          string    // last used from it; with a UserID, because no index has it
	LiveAt          time.Time // only what is alive then
	OverAt          time.Time // only what has ended or expired then
	NotEnded        bool      // only what was given no end yet; it may have expired
	EndCause        EndCause
	All             bool
}

// UserSession is a session with the name of its user; empty once that is gone.
type UserSession struct {
	Session
	Username string
}

// LoginStore keeps logins under way. Taking is single use.
type LoginStore interface {
	// InsertAuthRequest inserts unless one with that ID is alive, and returns the
	// one that stands.
	InsertAuthRequest(ctx context.Context, r AuthRequest, now time.Time) (AuthRequest, error)
	AuthRequestByID(ctx context.Context, id string, now time.Time) (AuthRequest, error)
	InsertIdPLogin(ctx context.Context, l IdPLogin) error
	// TakeIdPLogin removes and returns it, if it belongs to the provider and is alive.
	TakeIdPLogin(ctx context.Context, id, providerID string, now time.Time) (IdPLogin, error)
	InsertGrant(ctx context.Context, g Grant) error
	// RedeemGrant marks the grant redeemed by the session where code, provider,
	// state and challenge fit, it is alive and not redeemed; else NotFound.
	RedeemGrant(ctx context.Context, g Grant, sessionID string, now time.Time) (Grant, error)
	GrantByID(ctx context.Context, id string) (Grant, error)
	// RenameGrant gives a grant that is not redeemed, and alive at that moment,
	// another ID, under which alone it is then known; else NotFound.
	RenameGrant(ctx context.Context, id, to string, aliveAt time.Time) error
	// DropGrant removes a grant that is not redeemed; else NotFound.
	DropGrant(ctx context.Context, id string) error
}

// ClientStore keeps the clients that are not from the configuration.
type ClientStore interface {
	// InsertClient fails with ClientExists.
	InsertClient(ctx context.Context, c Client) error
	// UpdateClient writes all but id, creation and secret; NotFound.
	UpdateClient(ctx context.Context, c Client) error
	// SetClientSecret replaces the hash; NotFound.
	SetClientSecret(ctx context.Context, id, hash string, now time.Time) error
	// DeleteClient deletes a client with its consents, codes, and what waits for it; NotFound.
	DeleteClient(ctx context.Context, id string) error
	ClientByID(ctx context.Context, id string) (Client, error)
	// ClientsByID returns those of at most [MaxPage] that there are, in no order.
	ClientsByID(ctx context.Context, ids []string) ([]Client, error)
	// ListClients returns clients by id, after one.
	ListClients(ctx context.Context, afterID string, limit int) ([]Client, error)
	// LongestAccessTTL is the greatest AccessTTL of any client, in seconds; 0: none has one.
	LongestAccessTTL(ctx context.Context) (int64, error)
	// OriginKnown reports whether a client has this web origin.
	OriginKnown(ctx context.Context, origin string) (bool, error)
}

// ProviderStore keeps the IdPs that were added while running.
type ProviderStore interface {
	// InsertProvider fails with ProviderExists.
	InsertProvider(ctx context.Context, p StoredProvider) error
	// UpdateProvider writes settings, secret and time of the change where the
	// provider has not changed since readAt; NotFound.
	UpdateProvider(ctx context.Context, p StoredProvider, readAt time.Time) error
	// ResealProvider replaces the sealed secret where it is still old.
	ResealProvider(ctx context.Context, id, old, sealed string) error
	// DeleteProvider fails with NotFound.
	DeleteProvider(ctx context.Context, id string) error
	// ListProviders returns them all, oldest first.
	ListProviders(ctx context.Context) ([]StoredProvider, error)
}

// StoredProvider is a provider as the database has it.
type StoredProvider struct {
	Settings  ProviderSettings
	Sealed    string // its client secret; empty: it has none
	CreatedAt time.Time
	UpdatedAt time.Time
}

// AuthorizationStore keeps authorizations under way. Taking and redeeming are
// single use, by a statement's WHERE.
type AuthorizationStore interface {
	InsertPending(ctx context.Context, p PendingAuthorization) error
	// Pending returns one that is alive and belongs to the browser; NotFound.
	Pending(ctx context.Context, id, browser string, now time.Time) (PendingAuthorization, error)
	// TakePending removes it and returns it, where it is alive and belongs to
	// the browser and the client; NotFound.
	TakePending(ctx context.Context, id, browser, clientID string, now time.Time) (PendingAuthorization, error)

	InsertCode(ctx context.Context, c AuthorizationCode) error
	// RedeemCode marks the code redeemed by the session, where client, redirect
	// URI and challenge fit, it is bound to no key or to provenKey, it is alive
	// and not redeemed; else NotFound. It needs a transaction, which makes the session.
	RedeemCode(ctx context.Context, c AuthorizationCode, provenKey, sessionID string, now time.Time) (AuthorizationCode, error)
	CodeByID(ctx context.Context, id string) (AuthorizationCode, error)

	// InsertDeviceCode fails with UserCodeTaken.
	InsertDeviceCode(ctx context.Context, d DeviceCode) error
	// DeviceByUserCode returns one that is alive and undecided; NotFound.
	DeviceByUserCode(ctx context.Context, userCode string, now time.Time) (DeviceCode, error)
	// DecideDevice writes decision and authorization where it is alive and undecided, and reports whether it did.
	DecideDevice(ctx context.Context, id string, decision DeviceDecision, a Authorization, now time.Time) (bool, error)
	DeviceByID(ctx context.Context, id string) (DeviceCode, error)
	// PollDevice notes a poll: where it came in time, the next may come after
	// Interval; where it came too early, slow is true and Interval grows by
	// 5 s (RFC 8628 section 3.5). NotFound where there is no such code of the client.
	PollDevice(ctx context.Context, id, clientID string, now time.Time) (d DeviceCode, slow bool, err error)
	// RedeemDevice marks an allowed device code redeemed by the session, once; else
	// NotFound. It needs a transaction.
	RedeemDevice(ctx context.Context, id, clientID, sessionID string, now time.Time) (DeviceCode, error)

	// SaveConsent remembers; an earlier one is replaced.
	SaveConsent(ctx context.Context, c Consent) error
	ConsentOf(ctx context.Context, userID, clientID string) (Consent, error)
	// ListConsents returns a user's consents by client, after one, each with its
	// client where that is in the database.
	ListConsents(ctx context.Context, userID, afterClientID string, limit int) ([]AppConsent, error)
	// DeleteConsent fails with NotFound.
	DeleteConsent(ctx context.Context, userID, clientID string) error

	// UseOnce reports whether id was not used before, and notes it until expiry.
	UseOnce(ctx context.Context, id string, expiresAt time.Time) (bool, error)

	InsertLogoutNotices(ctx context.Context, list []LogoutNotice) error
	// DueLogoutNotices takes at most limit notices that are due, counts the
	// attempt, and makes them due again at leaseUntil. Two replicas never take the same.
	DueLogoutNotices(ctx context.Context, now, leaseUntil time.Time, limit int) ([]LogoutNotice, error)
	// PostponeLogoutNotice makes a notice due later.
	PostponeLogoutNotice(ctx context.Context, id string, next time.Time) error
	DeleteLogoutNotice(ctx context.Context, id string) error
}

// UpstreamStore keeps logins at IdPs that are checked again.
type UpstreamStore interface {
	// InsertUpstream inserts, once: the same ID again changes nothing.
	InsertUpstream(ctx context.Context, u Upstream) error
	// DueUpstreams leases logins that are due and have live sessions, the longest
	// due first: NextCheckAt becomes LeaseUntil, Doubtful grows. Two replicas never
	// lease the same.
	DueUpstreams(ctx context.Context, d DueUpstreams) ([]Upstream, error)
	// RecordUpstream writes what a check came to, where the lease still stands, and
	// reports whether it did.
	RecordUpstream(ctx context.Context, leased, next Upstream) (bool, error)
	// HastenUpstream makes a login due at a moment that is known to be alive and
	// would be due later than notBefore.
	HastenUpstream(ctx context.Context, id string, at, notBefore time.Time) error
	// DoubtUpstreams makes the token of every login at a provider one that may be
	// used up, and returns how many there are.
	DoubtUpstreams(ctx context.Context, providerID string) (int, error)
	// UpstreamOf returns a session's client, provider, user, times and ends as far
	// as they are needed, and what it stands on; nil where there is no such row. NotFound
	// where there is no such session.
	UpstreamOf(ctx context.Context, sessionID string) (Session, error)
}

// DueUpstreams says which logins to lease.
type DueUpstreams struct {
	ProviderID string
	IssuedBy   string
	Now        time.Time
	NotAfter   time.Time // a check that is planned for later is due too
	LeaseUntil time.Time
	Doubt      int64 // added to Doubtful: 1 where the check may use the token up
	Limit      int
}

// KeyStore keeps signing keys, sealed, and the few facts of this installation.
type KeyStore interface {
	SigningKeys(ctx context.Context) ([]StoredKey, error)
	// InsertSigningKey inserts unless another key of the algorithm is there.
	InsertSigningKey(ctx context.Context, k StoredKey) error
	// AddSigningKey inserts, and reports whether it did: false where it is there.
	AddSigningKey(ctx context.Context, k StoredKey) (bool, error)
	// PublishSigningKey inserts a key that waits for its turn (KeyWaits), and
	// reports whether it did: false where one of the algorithm waits already, or
	// signs since later than youngest.
	PublishSigningKey(ctx context.Context, k StoredKey, youngest time.Time) (bool, error)
	// ActivateSigningKeys lets the waiting keys sign that readers and replicas know,
	// retires those before them, and returns the ids of those that sign now.
	ActivateSigningKeys(ctx context.Context, a KeyActivation) ([]string, error)
	// RevokeSigningKey deletes a key; NotFound where there is none of that id and of
	// the algorithm of instead. Where it leaves none that signs, the one that waits
	// signs from the moment at which instead would, or instead itself; its id is
	// returned.
	RevokeSigningKey(ctx context.Context, id string, instead StoredKey) (signs string, err error)
	// DropRetiredKeys deletes those that were retired before a moment.
	DropRetiredKeys(ctx context.Context, before time.Time) error
	ResealSigningKey(ctx context.Context, id, oldSealed, newSealed string) error
	// Fact returns a value of this installation; NotFound.
	Fact(ctx context.Context, key string) (string, error)
	// InitFact sets a value if there is none, and returns the one that stands.
	InitFact(ctx context.Context, key, value string) (string, error)
	// SwapFact replaces old by value and reports whether it did.
	SwapFact(ctx context.Context, key, old, value string) (bool, error)
	// MayServe says why this program may not work on the database any more: a newer
	// one has made what this one would misread. It asks the database.
	MayServe(ctx context.Context) error
	// Uptime returns how far the service's own time has come; NotFound where it was
	// never begun.
	Uptime(ctx context.Context) (service time.Time, err error)
	// Beat moves the service's own time on to a moment, never back, and returns
	// where it is. Where it was never begun it begins at now.
	Beat(ctx context.Context, service, now time.Time) (time.Time, error)
	Ping(ctx context.Context) error
	// Describe names the database for logs, without credentials.
	Describe() string
}

// StoredKey is a signing key as the database has it.
type StoredKey struct {
	ID        string
	Algorithm string
	Sealed    string
	CreatedAt time.Time
	ActiveAt  time.Time
	RetiredAt time.Time
}

// KeyWaits is when a key signs that waits for its turn.
var KeyWaits = time.UnixMilli(253402300799000).UTC()

// KeyActivation says which waiting keys may sign from Now on: those that were
// made at MadeBefore or earlier, and are loaded by every replica that was seen
// after AliveSince.
type KeyActivation struct {
	Now, MadeBefore, AliveSince time.Time
}

// ReplicaStore is how the processes on one database learn of each other's changes.
type ReplicaStore interface {
	// Revision counts the changes of what processes keep in memory. Those of keys,
	// providers and clients are counted in the transaction that makes them.
	Revision(ctx context.Context) (int64, error)
	// NoteChange counts a change of something else, in the caller's transaction.
	NoteChange(ctx context.Context) error
	// NoteReplica writes that a replica is there.
	NoteReplica(ctx context.Context, r Replica) error
	// ForgetReplicas deletes a replica, and all that were seen before its SeenAt.
	ForgetReplicas(ctx context.Context, r Replica) error
	// ReplicaSeen reports whether a replica was seen after a moment; false where the
	// database can have but one.
	ReplicaSeen(ctx context.Context, since time.Time) (bool, error)
}

// Replica is a server that runs.
type Replica struct {
	ID     string
	SeenAt time.Time
	Loaded int64 // the revision that it goes by
}

// AuditStore keeps what happened, append only.
type AuditStore interface {
	InsertEvent(ctx context.Context, e Event) error
	// KnownEvents returns those of at most [MaxPage] ids that there are, in no order.
	KnownEvents(ctx context.Context, ids []string) ([]string, error)
	// OldestEvent is when the oldest event was; zero: there is none.
	OldestEvent(ctx context.Context) (time.Time, error)
	ListEvents(ctx context.Context, f EventFilter) ([]Event, error)
	// EventsOfSessions returns the latest event of a name for each of the sessions
	// that have one; at most [MaxPage] are asked for.
	EventsOfSessions(ctx context.Context, name string, sessionIDs []string) ([]Event, error)
}

// Event is one line of the audit log. Detail never holds a secret.
type Event struct {
	ID        string
	At        time.Time
	Name      string
	UserID    string
	SessionID string
	ClientID  string
	IP        string
	// Actor is the ID of the administrator who did it, or [ActorCommand]; empty
	// where nobody but the user, a client or Latchkey itself had a hand in it.
	Actor  string
	Detail map[string]string
}

// EventFilter narrows a list of events, newest first.
type EventFilter struct {
	UserID     string
	SessionID  string
	ClientID   string
	Actor      string
	IP         string
	Name       string
	Names      []string // one of these; nil: any
	NamePrefix string
	From       time.Time // not before; zero: any
	Until      time.Time // before; zero: any
	BeforeAt   time.Time // with BeforeID: only what comes after that event in the list
	BeforeID   string
	Limit      int
}
