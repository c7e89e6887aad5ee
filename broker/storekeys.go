package broker

import (
	"context"
	"time"
)

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
	// InsertEvent writes what has happened; outside a transaction, where nothing but
	// the event itself depends on it, its commit may be relaxed.
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
