package storagetest

import (
	"fmt"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var sessionLimitTests = []test{
	{"those unused for longest end, and nobody else's", endBeyond}, {"of many logins at once never more than the limit stay", endBeyondParallel},
	{"of those who follow, those unused for longest end: of a client", endFollowersOfClient},
	{"of those who follow, those unused for longest end: of apps behind a proxy and of all others", endFollowersOfKind},
	{"those who follow are counted where they were moved", endFollowersMoved},
	{"of many codes at once never more than the limit stay", endFollowersBeyondParallel},
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

// followed inserts a session that follows another, last used so many minutes after t0.
func (s *suite) followed(id, userID, parent string, minutes int, change ...func(*broker.Session)) broker.Session {
	s.Helper()
	return s.session(id, userID, append(change, func(n *broker.Session) {
		n.ParentID, n.LastSeenAt = parent, t0.Add(time.Duration(minutes)*time.Minute)
	})...)
}

func (s *suite) endFollowersBeyond(made string, ofClient, ofKind int) []string {
	s.Helper()
	most := broker.FollowerLimits{OfClient: ofClient, OfKind: ofKind}
	return sorted(idsOf(must(s.Store.EndFollowersBeyond(ctx, made, most, ending(broker.SessionLimit, false, t0)))(s)))
}

func (s *suite) live(ids ...string) {
	s.Helper()
	for _, id := range ids {
		if cause := s.row(id).EndCause; cause != "" {
			s.Errorf("%s was ended: %s", id, cause)
		}
	}
}

func endFollowersOfClient(s *suite) {
	u, other := s.user("anna"), s.user("bob")
	for _, id := range []string{"p", "p2", "unrelated"} {
		s.session(id, u.ID, func(n *broker.Session) { n.FollowsParent = false })
	}
	s.session("of bob", other.ID, func(n *broker.Session) { n.FollowsParent = false })
	for minutes, id := range []string{"made", "oldest", "old", "new", "newest"} { // the one just made need not be the newest
		s.followed(id, u.ID, "p", minutes)
	}
	spared := []string{"made", "p", "p2", "unrelated", "of another client", "of another parent", "of bob", "bob's", "idle", "aged", "own"}
	s.followed("of another client", u.ID, "p", -9, func(n *broker.Session) { n.ClientID = "another" })
	s.followed("of another parent", u.ID, "p2", -9)
	s.followed("bob's", other.ID, "of bob", -9)
	s.followed("idle", u.ID, "p", 9, func(n *broker.Session) { n.IdleExpiresAt = t0 })
	s.followed("aged", u.ID, "p", 9, func(n *broker.Session) { n.AbsExpiresAt = t0 })
	s.followed("own", u.ID, "p", -9, func(n *broker.Session) { n.FollowsParent = false })
	s.followed("ended", u.ID, "p", 60)
	s.end("ended")
	same(s, s.endFollowersBeyond("made", 5, 100), []string{})
	same(s, s.endFollowersBeyond("made", 3, 100), []string{"old", "oldest"})
	same(s, s.row("old").EndCause, broker.SessionLimit)
	same(s, s.endFollowersBeyond("made", 3, 100), []string{})
	for _, id := range []string{"own", "p", "nobody's", ""} { // they follow nobody, or are not there
		same(s, s.endFollowersBeyond(id, 1, 1), []string{})
	}
	same(s, s.endFollowersBeyond("made", 1, 100), []string{"new", "newest"})
	s.live(spared...)
}

func endFollowersOfKind(s *suite) {
	u := s.user("anna")
	for _, id := range []string{"p", "p2"} {
		s.session(id, u.ID, func(n *broker.Session) { n.FollowsParent = false })
	}
	as := func(client, cookie string) func(*broker.Session) {
		return func(n *broker.Session) { n.ClientID, n.CookieHash = client, cookie }
	}
	for i := range 4 {
		s.followed(fmt.Sprint("client ", i), u.ID, "p", i, as(fmt.Sprint("c", i), ""))
		s.followed(fmt.Sprint("host ", i), u.ID, "p", i, as(fmt.Sprint("h", i), fmt.Sprint("cookie ", i)))
	}
	s.followed("elsewhere", u.ID, "p2", -9, as("c0", ""))
	s.followed("elsewhere at a host", u.ID, "p2", -9, as("h0", "cookie"))
	same(s, s.endFollowersBeyond("client 0", 1, 4), []string{})
	same(s, s.endFollowersBeyond("host 3", 1, 3), []string{"host 0"})
	same(s, s.endFollowersBeyond("client 0", 1, 3), []string{"client 1"})
	// What goes because of its client makes room for the others.
	s.followed("client 3 again", u.ID, "p", 9, as("c3", ""))
	same(s, s.endFollowersBeyond("client 3 again", 1, 3), []string{"client 3"})
	s.live("client 0", "client 2", "client 3 again", "host 1", "host 2", "host 3", "elsewhere", "elsewhere at a host", "p", "p2")
}

// A code may have been given before its browser logged in again.
func endFollowersMoved(s *suite) {
	u := s.user("anna")
	for _, id := range []string{"old", "new"} {
		s.session(id, u.ID, func(n *broker.Session) { n.FollowsParent = false })
	}
	s.followed("first", u.ID, "old", 1)
	s.ok(s.Store.MoveFollowers(ctx, "old", "new"))
	s.end("old")
	s.followed("second", u.ID, "old", 2)
	same(s, s.endFollowersBeyond("second", 1, 9), []string{"first"})
}

func endFollowersBeyondParallel(s *suite) {
	const limit = 3
	u := s.user("anna")
	s.session("p", u.ID, func(n *broker.Session) { n.FollowsParent = false })
	for _, err := range inParallel(takers, func(i int) error {
		return s.Store.Tx(ctx, func(tx broker.Store) error {
			n := newSession(fmt.Sprint("s", i), u.ID)
			n.ParentID = "p"
			if _, err := tx.InsertSession(ctx, n, ""); err != nil {
				return err
			}
			return second(tx.EndFollowersBeyond(ctx, n.ID, broker.FollowerLimits{OfClient: limit, OfKind: 100}, ending(broker.SessionLimit, false, t0)))
		})
	}) {
		s.ok(err)
	}
	_, live, err := s.Store.ListSessions(ctx, broker.SessionFilter{ParentID: "p", LiveAt: t0}, 0, 1)
	s.ok(err)
	same(s, live, limit)
}
