package storagetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var ownSessionTests = []test{
	{"a live session of the user is named, and no other", nameSession},
	{"pages of what ended, the latest end first", pageEnded},
	{"what was given no end, and what follows the one that is spared", notEnded},
	{"the latest event of a name for each session", eventsOfSessions},
	{"clients by their ids, those that there are", clientsByID},
}

func nameSession(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	want := s.session("a", anna.ID, func(n *broker.Session) { n.DeviceName = "as the app says" })
	same(s, s.row("a"), want)
	before := s.session("b", bob.ID)
	s.session("over", anna.ID)
	s.end("over")
	over := s.row("over")
	s.ok(s.Store.NameSession(ctx, "a", anna.ID, `O'Brien's "phone" 日本語`))
	want.DeviceName = `O'Brien's "phone" 日本語`
	same(s, s.row("a"), want) // and nothing else of it
	for _, c := range [][2]string{{"b", anna.ID}, {"over", anna.ID}, {"nobody's", anna.ID}, {"", anna.ID}, {"a\x00", anna.ID}, {"a", ""}, {"%", anna.ID}} {
		s.code(s.Store.NameSession(ctx, c[0], c[1], "taken"), broker.NotFound)
	}
	same(s, s.row("b"), before)
	same(s, s.row("over"), over)
	s.ok(s.Store.NameSession(ctx, "a", anna.ID, ""))
	want.DeviceName = ""
	same(s, s.row("a"), want)
}

func pageEnded(s *suite) {
	anna, bob := s.user("anna"), s.user("bob")
	for i, minute := range []int{3, 1, 2, 2, 5} { // two ended at once
		id := fmt.Sprint("s", i)
		s.session(id, anna.ID)
		must(s.Store.EndSessions(ctx, broker.SessionFilter{ID: id}, ending(broker.LoggedOut, false, t0.Add(time.Duration(minute)*time.Minute))))(s)
	}
	s.session("live", anna.ID)
	s.session("expired", anna.ID, func(n *broker.Session) { n.IdleExpiresAt = t0.Add(-time.Hour) })
	s.session("bob's", bob.ID)
	s.end("bob's")
	seen, at, id := []string{}, time.Time{}, ""
	for range 4 {
		page := must(s.Store.PageEnded(ctx, anna.ID, at, id, 2))(s)
		for _, n := range page {
			same(s, n, s.row(n.ID))
			seen, at, id = append(seen, n.ID), n.EndedAt, n.ID
		}
	}
	same(s, strings.Join(seen, " "), "s4 s0 s3 s2 s1")
	same(s, len(must(s.Store.PageEnded(ctx, "", time.Time{}, "", 9))(s)), 0)
}

func notEnded(s *suite) {
	anna := s.user("anna")
	s.session("browser", anna.ID, func(n *broker.Session) { n.FollowsParent = false })
	s.session("other", anna.ID, func(n *broker.Session) { n.FollowsParent = false })
	s.follower("site", anna.ID, "browser")
	s.follower("site of the other", anna.ID, "other")
	s.session("app", anna.ID, func(n *broker.Session) { n.ParentID, n.FollowsParent = "browser", false })
	s.session("expired", anna.ID, func(n *broker.Session) { n.ParentID, n.IdleExpiresAt = "", t0 })
	s.session("over", anna.ID)
	s.end("over")
	ids := func(f broker.SessionFilter) string {
		listed, _, err := s.Store.ListSessions(ctx, f, 0, 100)
		s.ok(err)
		return strings.Join(sorted(idsOf(listed)), ", ")
	}
	same(s, ids(broker.SessionFilter{UserID: anna.ID, NotEnded: true}), "app, browser, expired, other, site, site of the other")
	same(s, ids(broker.SessionFilter{UserID: anna.ID, NotEnded: true, OverAt: t0}), "expired")
	same(s, ids(broker.SessionFilter{UserID: anna.ID, ExceptID: "browser", ExceptFollowers: true}), "app, expired, other, over, site of the other")
	same(s, ids(broker.SessionFilter{NotEnded: true, ExceptFollowers: true}), "") // which name nobody
}

func eventsOfSessions(s *suite) {
	for i, e := range []broker.Event{
		{SessionID: "a", Name: "reuse"}, {SessionID: "a", Name: "reuse"}, {SessionID: "a", Name: "other"}, {SessionID: "b", Name: "reuse"},
		{SessionID: "c", Name: "other"}, {SessionID: "d", Name: "reuse"}, {Name: "reuse"},
	} {
		e.ID, e.At, e.UserID, e.IP, e.Detail = fmt.Sprint(i), t0.Add(time.Duration(i/2)*time.Second), "u", "192.0.2.1", map[string]string{"k": "v"}
		s.ok(s.Store.InsertEvent(ctx, e))
	}
	ids := func(name string, sessions ...string) string {
		out := []string{}
		for _, e := range must(s.Store.EventsOfSessions(ctx, name, sessions))(s) {
			same(s, e.Detail, map[string]string{"k": "v"})
			out = append(out, e.ID)
		}
		return strings.Join(sorted(out), " ")
	}
	same(s, ids("reuse", "a", "b", "c", "nobody's", "b"), "1 3") // the later of two of one moment
	same(s, ids("other", "a", "b"), "2")
	same(s, ids("reuse"), "")
	same(s, ids("%", "a"), "")
}

func clientsByID(s *suite) {
	for _, id := range []string{"one", "two", "three"} {
		s.ok(s.Store.InsertClient(ctx, newClient(id)))
	}
	one := must(s.Store.ClientByID(ctx, "one"))(s)
	same(s, must(s.Store.ClientsByID(ctx, []string{"one", "nobody's", "one", "\x00", "%"}))(s), []broker.Client{one})
	same(s, len(must(s.Store.ClientsByID(ctx, []string{"one", "three"}))(s)), 2)
	same(s, len(must(s.Store.ClientsByID(ctx, nil))(s)), 0)
}
