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
	// it and its user permit it, and reads both: of the session what its answer needs,
	// and not where it comes from (parent, subject, address, creation). ok is false
	// where it does not.
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
	// EndFollowersBeyond ends, of the live sessions that follow the same one as a
	// session that was just made, those that were unused for longest, so that no more
	// stay than may: of its client, and of its kind, which is that of apps behind a
	// proxy (Session.CookieHash) or that of all others. It returns what it ended. The
	// session made is one of those that stay.
	EndFollowersBeyond(ctx context.Context, madeID string, most FollowerLimits, e End) ([]Session, error)
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
	Now            time.Time
	LoginsBefore   time.Time
	SessionsBefore time.Time // what carries a device on, or tells it why it ended
	EventsBefore   time.Time
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
