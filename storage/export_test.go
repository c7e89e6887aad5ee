package storage

import (
	"context"

	"github.com/latchkey-id/latchkey/broker"
)

// DeviceByID reads a device code as it is; NotFound.
func (s *Store) DeviceByID(ctx context.Context, id string) (broker.DeviceCode, error) {
	var r deviceRow
	err := s.get(ctx, &r, `SELECT `+deviceColumns+` FROM device_codes WHERE id = ?`, id)
	return r.device(err)
}

// HotStatement is the statement of AdvanceSession as this database reads it,
// for tests that ask how it is planned.
func (s *Store) HotStatement() string { return s.pools.relaxed.text(advanceQuery) }

// Conditions on sessions, for tests that ask how they are planned.
var (
	FilterCondition = (&Store{}).where
	FollowersOf     = followersOf
	BeyondLimits    = map[string]string{"of a user": beyond(ofUser), "of a client": beyond(sameClient), "of a kind": beyond(sameKind)}
)

// Pages of lists, as what stands behind WHERE; of sessions behind FROM.
var (
	PageOfUsers    = pageOfUsers
	PageOfSessions = (&Store{}).pageOfSessions
	EventsWhere    = eventsWhere
	OfSessions     = eventsOfSessions
)

// Statements of the figures.
var (
	FiguresWhere = figuresWhere
	LoginsBegun  = loginsBegun
	SessionsOver = sessionsOver
)

// UserColumns are what a list reads of each user.
const UserColumns = userColumns

// PageOfEnded is the condition of PageEnded.
const PageOfEnded = pageOfEnded

// EndedSince is the condition of the method.
const EndedSince = endedSince

// LookAt makes pages look at fewer sessions, until what it returns is called.
func LookAt(n int) (back func()) {
	was := mostScanned
	mostScanned = n
	return func() { mostScanned = was }
}

// TrimLimits keeps so many counts of the limiter.
var TrimLimits = (*Store).trimLimits

// Narrow leaves each pool so many connections.
func (s *Store) Narrow(n int) {
	for _, p := range []*pool{s.pools.reader, s.pools.relaxed, s.pools.writer} {
		p.db.SetMaxOpenConns(n)
		p.places = newTurns(n)
	}
}

// OnlyRelaxed closes what writes durably.
func (s *Store) OnlyRelaxed() error { return s.pools.writer.db.Close() }

// Gathered is how many advances wait to be written together.
func (s *Store) Gathered() int {
	s.pools.together.mu.Lock()
	defer s.pools.together.mu.Unlock()
	return len(s.pools.together.waiting)
}
