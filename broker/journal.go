package broker

import (
	"context"
	"maps"
	"time"
)

// Journal is an append-only list of what ended, kept outside the database: a
// backup that is restored has forgotten it.
type Journal interface {
	// Append writes lines; they are durable when it returns.
	Append(ctx context.Context, lines []JournalLine) error
	// Read returns every line that can be read, oldest first, and how many cannot.
	// NotFound where there is no journal.
	Read(ctx context.Context) (lines []JournalLine, damaged int, err error)
	// Trim drops what happened before a moment, except the first line, and what
	// cannot be read.
	Trim(ctx context.Context, before time.Time) error
	// SetAside renames a journal that is of another database, and says to what.
	SetAside(ctx context.Context, now time.Time) (name string, err error)
}

// JournalLine is one line: an audit event without names, addresses and secrets.
// The first line of a journal has the name [journalBegins] and the installation
// as its ID.
type JournalLine struct {
	ID        string            `json:"id"`
	At        int64             `json:"at"` // Unix ms
	Name      string            `json:"name"`
	UserID    string            `json:"user,omitempty"`
	SessionID string            `json:"session,omitempty"`
	ClientID  string            `json:"client,omitempty"`
	Detail    map[string]string `json:"detail,omitempty"`
}

const (
	journalBegins = "journal.begins"
	journalMark   = "journal.mark"
)

// Facts of an installation: its name, which a backup keeps, and that a journal
// of it was begun.
const (
	factInstallation = "installation"
	factJournal      = "ends_journal"
)

// Details of events that replaying needs.
const (
	detailCause    = "cause"
	detailWipe     = "wipe"
	detailProvider = "provider"
	detailSubject  = "subject"
	detailKeyID    = "key_id"
	detailDisabled = "disabled"
	detailService  = "service_at"
	detailKID      = "kid" // of a signing key, with its alg
	detailAlg      = "alg"
)

// journaled says which audit events are ends, and which of their details go
// along. Enabling is there because it takes a disabling back.
var journaled = map[string][]string{
	EventSessionEnded:     {detailCause, detailWipe},
	EventUserDisabled:     nil,
	EventUserEnabled:      nil,
	EventUserDeleted:      nil,
	EventPasswordChanged:  nil,
	EventAPIKeyUpdated:    {detailKeyID, detailDisabled},
	EventAPIKeyDeleted:    {detailKeyID},
	EventIdentityUnlinked: {detailProvider, detailSubject},
	EventLegacyEnded:      nil,
	EventKeyRevoked:       {detailKID, detailAlg},
}

// journalLine is what the journal keeps of an event; false: nothing.
func journalLine(e Event) (JournalLine, bool) {
	keys, ok := journaled[e.Name]
	if !ok {
		return JournalLine{}, false
	}
	line := JournalLine{ID: e.ID, At: e.At.UnixMilli(), Name: e.Name, UserID: e.UserID, SessionID: e.SessionID, ClientID: e.ClientID}
	for _, key := range keys {
		if value, ok := e.Detail[key]; ok {
			if line.Detail == nil {
				line.Detail = map[string]string{}
			}
			line.Detail[key] = value
		}
	}
	return line, true
}

// event is the line as the audit event that the database has forgotten.
func (l JournalLine) event() Event {
	return Event{
		ID: l.ID, At: time.UnixMilli(l.At).UTC(), Name: l.Name, UserID: l.UserID, SessionID: l.SessionID, ClientID: l.ClientID,
		Detail: maps.Clone(l.Detail),
	}
}
