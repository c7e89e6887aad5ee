package storagetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var followerTests = []test{
	{"those who follow end with the parent, and nobody else", endFollowers},
	{"ended once, with the first cause", endFollowersOnce},
	{"of more parents than a statement has parameters", endFollowersOfMany},
	{"of many at once each follower is ended by one", endFollowersParallel},
	{"of a parent that ends meanwhile", followerAgainstEndOfParent},
	{"those who follow are moved, and nobody else", moveFollowers},
	{"ended since", endedSince},
}

func (s *suite) follower(id, userID, parent string) broker.Session {
	s.Helper()
	return s.session(id, userID, func(n *broker.Session) { n.ParentID = parent })
}

func (s *suite) endFollowers(cause broker.EndCause, parents ...string) []broker.Session {
	s.Helper()
	return must(s.Store.EndFollowers(ctx, parents, ending(cause, true, t0.Add(time.Second))))(s)
}

func endFollowers(s *suite) {
	u := s.user("anna")
	for _, id := range []string{"p", "p2", "p3"} {
		s.session(id, u.ID)
	}
	one := s.follower("one", u.ID, "p")
	s.follower("two", u.ID, "p2")
	spared := []broker.Session{
		s.session("stays", u.ID, func(n *broker.Session) { n.ParentID, n.FollowsParent = "p", false }),
		s.follower("of another", u.ID, "p3"), s.follower("of the follower", u.ID, "one"),
		s.session("of nobody", u.ID), s.row("p"), s.row("p2"),
	}
	same(s, len(s.endFollowers(broker.LoggedOut)), 0)
	same(s, len(s.endFollowers(broker.LoggedOut, "", "nobody's", "%", "onex")), 0)
	s.end("p") // as it is: the parent first
	spared[4] = s.row("p")
	ended := s.endFollowers(broker.LoggedOut, "p", "p2", "p")
	same(s, sorted(idsOf(ended)), []string{"one", "two"})
	one.EndedAt, one.EndCause, one.Wipe = t0.Add(time.Second), broker.LoggedOut, true
	for _, n := range ended {
		if n.ID == "one" {
			same(s, n, one)
		}
	}
	same(s, s.row("one"), one)
	for _, n := range spared {
		same(s, s.row(n.ID), n)
	}
}

func moveFollowers(s *suite) {
	u := s.user("anna")
	s.session("old", u.ID)
	s.session("new", u.ID)
	s.follower("moves", u.ID, "old")
	s.follower("ended", u.ID, "old")
	s.follower("another's", u.ID, "new")
	s.session("app", u.ID, func(n *broker.Session) { n.ParentID, n.FollowsParent = "old", false })
	s.end("ended")
	s.ok(s.Store.MoveFollowers(ctx, "old", "new"))
	s.ok(s.Store.MoveFollowers(ctx, "", "new"))
	for id, parent := range map[string]string{"moves": "new", "ended": "old", "another's": "new", "app": "old"} {
		same(s, s.row(id).ParentID, parent)
	}
}

func endFollowersOnce(s *suite) {
	u := s.user("anna")
	s.session("p", u.ID)
	s.follower("f", u.ID, "p")
	s.endFollowers(broker.LoggedOut, "p")
	before := s.row("f")
	same(s, len(s.endFollowers(broker.RevokedByAdmin, "p")), 0)
	same(s, s.row("f"), before)
	// In a transaction that is thrown away it ends nothing.
	s.follower("g", u.ID, "p")
	same(s, s.Store.Tx(ctx, func(tx broker.Store) error {
		same(s, len(must(tx.EndFollowers(ctx, []string{"p"}, ending(broker.LoggedOut, false, t0)))(s)), 1)
		return errUndo
	}), errUndo)
	same(s, s.row("g").EndedAt, time.Time{})
}

func endFollowersOfMany(s *suite) {
	u := s.user("anna")
	parents := make([]string, 70_000) // SQLite has 32766 parameters, PostgreSQL 65535
	for i := range parents {
		parents[i] = fmt.Sprint("p", i)
	}
	want := []string{}
	for _, i := range []int{0, 499, 500, 32_766, 65_535, 69_999} {
		s.session(parents[i], u.ID)
		want = append(want, s.follower(fmt.Sprint("f", i), u.ID, parents[i]).ID)
	}
	same(s, sorted(idsOf(s.endFollowers(broker.LoggedOut, parents...))), sorted(want))
}

func endFollowersParallel(s *suite) {
	u := s.user("anna")
	s.session("p", u.ID)
	const followers = 30
	for i := range followers {
		s.follower(fmt.Sprint("f", i), u.ID, "p")
	}
	ends := make([][]broker.Session, takers)
	for _, err := range inParallel(takers, func(i int) (err error) {
		ends[i], err = s.Store.EndFollowers(ctx, []string{"p"}, ending(broker.EndCause(fmt.Sprint("cause ", i)), false, t0))
		return err
	}) {
		s.ok(err)
	}
	total := 0
	for i, ended := range ends {
		total += len(ended)
		for _, n := range ended {
			same(s, s.row(n.ID).EndCause, broker.EndCause(fmt.Sprint("cause ", i)))
		}
	}
	same(s, total, followers)
}

// A client that redeems its code while the browser logs out must not be left
// behind alive.
func followerAgainstEndOfParent(s *suite) {
	u := s.user("anna")
	s.session("parent", u.ID)
	child := newSession("child", u.ID)
	child.ParentID = "parent"
	s.against(child, "", func(tx broker.Store) error {
		err := endAll(broker.SessionFilter{ID: "parent"}, broker.LoggedOut)(tx)
		return errors.Join(err, second(tx.EndFollowers(ctx, []string{"parent"}, ending(broker.LoggedOut, false, t0))))
	}, func(broker.Store) error { return nil })
}

func endedSince(s *suite) {
	u := s.user("anna")
	for i, cause := range []broker.EndCause{broker.LoggedOut, broker.RevokedByAdmin, broker.SessionExpired, broker.SessionMaxAge, broker.PasswordChanged} {
		id := fmt.Sprint(i, cause)
		s.session(id, u.ID)
		must(s.Store.EndSessions(ctx, broker.SessionFilter{ID: id}, ending(cause, false, t0.Add(time.Duration(i)*time.Second))))(s)
	}
	s.session("alive", u.ID)
	s.session("unnoticed", u.ID, func(n *broker.Session) { n.IdleExpiresAt, n.AbsExpiresAt = t0, t0 })
	reused := s.session("9 reused", u.ID)
	w := write(reused.ID)
	w.End = ending(broker.TokenReused, false, t0.Add(time.Minute))
	same(s, must(s.Store.WriteRotation(ctx, w))(s), true)
	since := func(at time.Time) []string {
		return sorted(append([]string{}, must(s.Store.EndedSince(ctx, at))(s)...))
	}
	all := []string{"0" + string(broker.LoggedOut), "1" + string(broker.RevokedByAdmin), "4" + string(broker.PasswordChanged), "9 reused"}
	same(s, since(t0.Add(-time.Millisecond)), all)
	same(s, since(t0), all[1:])
	same(s, since(t0.Add(4*time.Second-time.Millisecond)), all[2:])
	same(s, since(t0.Add(time.Minute-time.Millisecond)), all[3:])
	same(s, since(t0.Add(time.Minute)), []string{})
}
