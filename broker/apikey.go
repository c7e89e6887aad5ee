package broker

import "time"

// APIKey lets a program act for a user. The key itself is shown once, when it
// is made; only the hash of its secret half is kept.
type APIKey struct {
	ID          string
	Name        string
	Description string
	UserID      string // whom it acts for
	CreatedBy   string // the user who made it; empty: the command line
	Scope       string
	CreatedAt   time.Time
	UpdatedAt   time.Time
	ExpiresAt   time.Time // zero: never
	LastUsedAt  time.Time // zero: never; to the minute
	DisabledAt  time.Time // zero: it may be used
}
