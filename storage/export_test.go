package storage

// HotStatement is the statement of AdvanceSession as this database reads it,
// for tests that ask how it is planned.
func (s *Store) HotStatement() string { return s.pools.relaxed.text(advanceQuery) }

// Conditions on sessions, for tests that ask how they are planned.
var (
	FilterCondition = where
	FollowersOf     = followersOf
)

// Pages of lists, as what stands behind WHERE.
var (
	PageOfUsers    = pageOfUsers
	PageOfSessions = pageOfSessions
	EventsWhere    = eventsWhere
)

// EndedSince is the condition of the method.
const EndedSince = endedSince
