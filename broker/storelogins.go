package broker

import (
	"context"
	"time"
)

// LoginStore keeps logins under way. Taking is single use.
type LoginStore interface {
	// InsertAuthRequest inserts unless one with that ID is alive, and returns the
	// one that stands.
	InsertAuthRequest(ctx context.Context, r AuthRequest, now time.Time) (AuthRequest, error)
	AuthRequestByID(ctx context.Context, id string, now time.Time) (AuthRequest, error)
	// InsertIdPLogin inserts, once: the same ID again changes nothing and is no
	// error, so that it has to be made of a fresh secret.
	InsertIdPLogin(ctx context.Context, l IdPLogin) error
	// TakeIdPLogin removes and returns it, if it belongs to the provider and is alive.
	TakeIdPLogin(ctx context.Context, id, providerID string, now time.Time) (IdPLogin, error)
	// InsertGrant inserts, once: the same ID again changes nothing and is no
	// error, so that it has to be made of a fresh secret.
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
	// InsertPending inserts, once: the same ID again changes nothing and is no
	// error, so that it has to be made of a fresh secret.
	InsertPending(ctx context.Context, p PendingAuthorization) error
	// Pending returns one that is alive and belongs to the browser; NotFound.
	Pending(ctx context.Context, id, browser string, now time.Time) (PendingAuthorization, error)
	// TakePending removes it and returns it, where it is alive and belongs to
	// the browser and the client; NotFound.
	TakePending(ctx context.Context, id, browser, clientID string, now time.Time) (PendingAuthorization, error)

	// InsertCode inserts, once: the same ID again changes nothing and is no
	// error, so that it has to be made of a fresh secret.
	InsertCode(ctx context.Context, c AuthorizationCode) error
	// RedeemCode marks the code redeemed by the session, where client, redirect
	// URI and challenge fit, it is bound to no key or to provenKey, it is alive
	// and not redeemed; else NotFound. It needs a transaction, which makes the session.
	RedeemCode(ctx context.Context, c AuthorizationCode, provenKey, sessionID string, now time.Time) (AuthorizationCode, error)
	CodeByID(ctx context.Context, id string) (AuthorizationCode, error)

	// InsertDeviceCode inserts, once: the same ID again changes nothing and is no
	// error, so that it has to be made of a fresh secret. It fails with UserCodeTaken.
	InsertDeviceCode(ctx context.Context, d DeviceCode) error
	// DeviceByUserCode returns one that is alive and undecided; NotFound.
	DeviceByUserCode(ctx context.Context, userCode string, now time.Time) (DeviceCode, error)
	// DecideDevice writes decision and authorization where it is alive and undecided, and reports whether it did.
	DecideDevice(ctx context.Context, id string, decision DeviceDecision, a Authorization, now time.Time) (bool, error)
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
	// UseOnceRelaxed is UseOnce, relaxed: for what is good for moments and anybody's to
	// send, so that a flood of it waits for no disk. What a crash forgets counts as not
	// used, for as long as it is good by itself.
	UseOnceRelaxed(ctx context.Context, id string, expiresAt time.Time) (bool, error)

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
