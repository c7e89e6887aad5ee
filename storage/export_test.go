package storage

// HotStatement is the statement of AdvanceSession as this database reads it,
// for tests that ask how it is planned.
func (s *Store) HotStatement() string { return s.pools.relaxed.text(advanceQuery) }
