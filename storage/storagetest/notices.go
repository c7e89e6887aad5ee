package storagetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var noticeTests = []test{
	{"every field survives, and the attempt is counted", noticeFields},
	{"due ones are taken by their time", noticesByTime},
	{"at most so many are taken, the longest due first", noticesLimit},
	{"all or none are inserted", noticesAllOrNone},
	{"postponed and deleted", noticesPostponed},
	{"each is taken by one of many at once", noticesParallel},
	{"what another replica is about to take is left to it", noticesUnderWay},
}

func newNotice(id string) broker.LogoutNotice {
	return broker.LogoutNotice{ID: id, ClientID: "client", UserID: "user", SessionID: "session", NextAt: t0, ExpiresAt: t0.Add(day)}
}

func noticeIDs(list []broker.LogoutNotice) []string {
	ids := []string{}
	for _, n := range list {
		ids = append(ids, n.ID)
	}
	return sorted(ids)
}

// due takes with a lease of a minute.
func (s *suite) due(at time.Time, limit int) []broker.LogoutNotice {
	s.Helper()
	return must(s.Store.DueLogoutNotices(ctx, at, at.Add(time.Minute), limit))(s)
}

func noticeFields(s *suite) {
	n := broker.LogoutNotice{ID: "日本語", ClientID: "c'", UserID: "u", SessionID: "s", Attempts: 3, NextAt: t0, ExpiresAt: t0.Add(day)}
	s.ok(s.Store.InsertLogoutNotices(ctx, nil))
	s.ok(s.Store.InsertLogoutNotices(ctx, []broker.LogoutNotice{n}))
	n.Attempts, n.NextAt = 4, t0.Add(time.Minute)
	same(s, s.due(t0, 10), []broker.LogoutNotice{n})
	n.Attempts, n.NextAt = 5, t0.Add(2*time.Minute)
	same(s, s.due(t0.Add(time.Minute), 10), []broker.LogoutNotice{n})
}

func noticesByTime(s *suite) {
	later, expiring := newNotice("later"), newNotice("expiring")
	later.NextAt, expiring.ExpiresAt = t0.Add(time.Millisecond), t0.Add(time.Minute)
	s.ok(s.Store.InsertLogoutNotices(ctx, []broker.LogoutNotice{newNotice("n"), later, expiring}))
	same(s, len(s.due(t0.Add(-time.Millisecond), 10)), 0)
	same(s, noticeIDs(s.due(t0, 10)), []string{"expiring", "n"})
	same(s, noticeIDs(s.due(t0.Add(time.Millisecond), 10)), []string{"later"})
	same(s, len(s.due(t0.Add(time.Minute-time.Millisecond), 10)), 0)
	same(s, noticeIDs(s.due(t0.Add(time.Minute), 10)), []string{"n"}) // the lease is over, and so is the life of another
	same(s, len(s.due(t0.Add(2*day), 10)), 0)
}

func noticesLimit(s *suite) {
	list := []broker.LogoutNotice{}
	for i := range 7 {
		n := newNotice(fmt.Sprint("n", i))
		n.NextAt = t0.Add(-time.Duration(i) * time.Second)
		list = append(list, n)
	}
	s.ok(s.Store.InsertLogoutNotices(ctx, list))
	for _, want := range [][]string{{"n4", "n5", "n6"}, {"n1", "n2", "n3"}, {"n0"}, {}} {
		same(s, noticeIDs(s.due(t0, 3)), want)
	}
}

func noticesAllOrNone(s *suite) {
	list := []broker.LogoutNotice{}
	for i := range 10_000 { // times seven is more than either database has parameters
		list = append(list, newNotice(fmt.Sprint("n", i)))
	}
	if s.Store.InsertLogoutNotices(ctx, append(slices.Clone(list), newNotice("n3"))) == nil {
		s.Error("one notice was inserted twice")
	}
	same(s, len(s.due(t0, 10)), 0)
	s.ok(s.Store.InsertLogoutNotices(ctx, list))
	same(s, len(s.due(t0, 20_000)), len(list))
}

func noticesPostponed(s *suite) {
	s.ok(s.Store.InsertLogoutNotices(ctx, []broker.LogoutNotice{newNotice("a"), newNotice("b"), newNotice("c")}))
	s.ok(s.Store.PostponeLogoutNotice(ctx, "a", t0.Add(time.Second)))
	s.ok(s.Store.DeleteLogoutNotice(ctx, "b"))
	same(s, noticeIDs(s.due(t0, 10)), []string{"c"})
	same(s, noticeIDs(s.due(t0.Add(time.Second), 10)), []string{"a"})
	// Their client may have been deleted meanwhile.
	s.ok(s.Store.PostponeLogoutNotice(ctx, "b", t0))
	s.ok(s.Store.DeleteLogoutNotice(ctx, "b"))
}

func noticesParallel(s *suite) {
	const notices = 50
	list := []broker.LogoutNotice{}
	for i := range notices {
		list = append(list, newNotice(fmt.Sprint("n", i)))
	}
	s.ok(s.Store.InsertLogoutNotices(ctx, list))
	took := make([][]broker.LogoutNotice, takers)
	for _, err := range inParallel(takers, func(i int) (err error) {
		for range 10 {
			some, err := s.Store.DueLogoutNotices(ctx, t0, t0.Add(time.Minute), 4)
			if err != nil {
				return err
			}
			took[i] = append(took[i], some...)
		}
		return nil
	}) {
		s.ok(err)
	}
	seen := map[string]int{}
	for _, list := range took {
		for _, n := range list {
			seen[n.ID]++
			same(s, n.Attempts, 1)
		}
	}
	for id, n := range seen {
		if n != 1 {
			s.Errorf("%s was taken %d times", id, n)
		}
	}
	for len(seen) < notices { // whoever met another left empty-handed, and comes back
		some := s.due(t0, 4)
		if len(some) == 0 {
			s.Fatalf("%d of %d were taken", len(seen), notices)
		}
		for _, n := range some {
			seen[n.ID]++
		}
	}
	same(s, len(seen), notices)
}

// A transaction holds the rows that it has taken and not yet committed; who
// chooses the same rows meanwhile must not get them when it commits.
func noticesUnderWay(s *suite) {
	s.ok(s.Store.InsertLogoutNotices(ctx, []broker.LogoutNotice{newNotice("a"), newNotice("b")}))
	type answer struct {
		list []broker.LogoutNotice
		err  error
	}
	late := make(chan answer, 1)
	s.tx(func(tx broker.Store) error {
		same(s, noticeIDs(must(tx.DueLogoutNotices(ctx, t0, t0.Add(time.Minute), 10))(s)), []string{"a", "b"})
		go func() {
			list, err := s.Store.DueLogoutNotices(ctx, t0, t0.Add(time.Minute), 10)
			late <- answer{list, err}
		}()
		select { // a taker that waits is right, so this ends by time
		case a := <-late:
			late <- a
		case <-time.After(150 * time.Millisecond):
		}
		return nil
	})
	a := <-late
	s.ok(a.err)
	same(s, noticeIDs(a.list), []string{})
	same(s, noticeIDs(s.due(t0.Add(time.Minute), 10)), []string{"a", "b"})
}
