package storagetest

import (
	"fmt"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var sessionLimitTests = []test{
	{"those unused for longest end, and nobody else's", endBeyond}, {"of many logins at once never more than the limit stay", endBeyondParallel},
}

// counted inserts a session that counts, last used so many minutes after t0.
func (s *suite) counted(id, userID string, minutes int) broker.Session {
	s.Helper()
	return s.session(id, userID, func(n *broker.Session) {
		n.FollowsParent, n.LastSeenAt = false, t0.Add(time.Duration(minutes)*time.Minute)
	})
}

func endBeyond(s *suite) {
	u, other := s.user("anna"), s.user("bob")
	for minutes, id := range []string{"made", "oldest", "old", "new", "newest"} { // the one just made need not be the newest
		s.counted(id, u.ID, minutes)
	}
	s.counted("of bob", other.ID, -1)
	s.session("follows", u.ID, func(n *broker.Session) { n.ParentID, n.LastSeenAt = "newest", t0.Add(-time.Hour) })
	s.session("idle", u.ID, func(n *broker.Session) { n.FollowsParent, n.IdleExpiresAt = false, t0 })
	s.session("aged", u.ID, func(n *broker.Session) { n.FollowsParent, n.AbsExpiresAt = false, t0 })
	s.counted("ended", u.ID, 60)
	s.end("ended")
	beyond := func(limit int) []string {
		return sorted(idsOf(must(s.Store.EndBeyond(ctx, u.ID, "made", limit, ending(broker.SessionLimit, false, t0)))(s)))
	}
	same(s, beyond(5), []string{})
	same(s, beyond(3), []string{"old", "oldest"})
	same(s, s.row("old").EndCause, broker.SessionLimit)
	same(s, beyond(3), []string{})
	same(s, beyond(1), []string{"new", "newest"})
	for _, id := range []string{"made", "of bob", "follows", "idle", "aged"} {
		same(s, s.row(id).EndCause, "")
	}
}

func endBeyondParallel(s *suite) {
	const limit = 3
	u := s.user("anna")
	for _, err := range inParallel(takers, func(i int) error {
		return s.Store.Tx(ctx, func(tx broker.Store) error {
			n := newSession(fmt.Sprint("s", i), u.ID)
			n.FollowsParent = false
			if _, err := tx.InsertSession(ctx, n, ""); err != nil {
				return err
			}
			return second(tx.EndBeyond(ctx, u.ID, n.ID, limit, ending(broker.SessionLimit, false, t0)))
		})
	}) {
		s.ok(err)
	}
	_, live, err := s.Store.ListSessions(ctx, broker.SessionFilter{UserID: u.ID, LiveAt: t0}, 0, 1)
	s.ok(err)
	same(s, live, limit)
}
