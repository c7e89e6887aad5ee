package storagetest

import (
	"fmt"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var upstreamTests = []test{
	{"every field survives, and the lease is written", upstreamFields},
	{"inserted once", upstreamOnce},
	{"due ones are leased by their time, with a live session and a token", upstreamsDue},
	{"each is leased by one of many at once", upstreamsParallel},
	{"what another replica is about to lease is left to it", upstreamsUnderWay},
	{"an answer counts while its lease stands", upstreamRecorded},
	{"every token of a provider is doubted, and no older doubt lost", upstreamsDoubted},
	{"hastened where it is alive and due late", upstreamHastened},
	{"no session is made on a login that is over", upstreamOver},
	{"a session is made before its login ends, or not at all", upstreamOverMeanwhile},
	{"a session and what it stands on", upstreamOfSession},
	{"listed with the sessions", upstreamsListed},
	{"swept without a session", upstreamsSwept},
}

func newUpstream(id string) broker.Upstream {
	return broker.Upstream{
		ID: id, ProviderID: "provider", IssuedBy: "issuer", UserID: "user", Subject: "subject", Sealed: "sealed", State: broker.UpstreamAlive,
		CreatedAt: t0, AliveAt: t0, NextCheckAt: t0.Add(time.Minute),
	}
}

// upstream inserts a login with a session that stands on it.
func (s *suite) upstream(id string, change ...func(*broker.Upstream)) broker.Upstream {
	s.Helper()
	u := newUpstream(id)
	for _, c := range change {
		c(&u)
	}
	s.ok(s.Store.InsertUpstream(ctx, u))
	if _, err := s.Store.UserByID(ctx, "id of anna"); err != nil {
		s.user("anna")
	}
	s.session("on "+id, "id of anna", func(n *broker.Session) { n.UpstreamID = id })
	return u
}

func dueAt(at time.Time, limit int) broker.DueUpstreams {
	return broker.DueUpstreams{
		ProviderID: "provider", IssuedBy: "issuer", Now: at, NotAfter: at.Add(30 * day), LeaseUntil: at.Add(time.Minute), Doubt: 1, Limit: limit,
	}
}

func (s *suite) lease(at time.Time, limit int) []broker.Upstream {
	s.Helper()
	return must(s.Store.DueUpstreams(ctx, dueAt(at, limit)))(s)
}

func upstreamIDs(list []broker.Upstream) []string {
	ids := []string{}
	for _, u := range list {
		ids = append(ids, u.ID)
	}
	return sorted(ids)
}

func upstreamFields(s *suite) {
	u := s.upstream("u", func(u *broker.Upstream) {
		u.UserID, u.Subject, u.Doubtful, u.State = "日本語", `s'"`, 2, broker.UpstreamUnknown
		u.CreatedAt, u.AliveAt = t0.Add(time.Millisecond), t0.Add(2*time.Millisecond)
	})
	u.Doubtful, u.NextCheckAt = 3, t0.Add(2*time.Minute)
	same(s, s.lease(t0.Add(time.Minute), 10), []broker.Upstream{u})
}

func upstreamOnce(s *suite) {
	first := s.upstream("u")
	again := first
	again.Sealed = "another"
	s.ok(s.Store.InsertUpstream(ctx, again))
	same(s, s.lease(t0.Add(time.Minute), 10)[0].Sealed, first.Sealed)
}

func upstreamsDue(s *suite) {
	for i, id := range []string{"a", "b", "c"} {
		s.upstream(id, func(u *broker.Upstream) { u.NextCheckAt = t0.Add(time.Duration(i) * time.Second) })
	}
	s.upstream("later", func(u *broker.Upstream) { u.NextCheckAt = t0.Add(day) })
	s.upstream("of another", func(u *broker.Upstream) { u.ProviderID, u.NextCheckAt = "another", t0 })
	s.upstream("lost", func(u *broker.Upstream) { u.Sealed, u.NextCheckAt = "", t0 })
	s.upstream("left", func(u *broker.Upstream) { u.NextCheckAt = t0 })
	s.end("on left")
	s.ok(s.Store.InsertUpstream(ctx, func() broker.Upstream { u := newUpstream("never used"); u.NextCheckAt = t0; return u }()))
	at := t0.Add(2 * time.Second)
	same(s, upstreamIDs(s.lease(t0.Add(-time.Millisecond), 10)), []string{})
	same(s, upstreamIDs(s.lease(at, 2)), []string{"a", "b"})
	same(s, upstreamIDs(s.lease(at, 2)), []string{"c"})
	same(s, upstreamIDs(s.lease(at, 2)), []string{})
	same(s, upstreamIDs(s.lease(at.Add(time.Minute), 10)), []string{"a", "b", "c"}) // the leases are over
	again := dueAt(at.Add(2*time.Minute), 1)
	again.Doubt = 0
	same(s, must(s.Store.DueUpstreams(ctx, again))(s)[0].Doubtful, int64(2))
	// Nothing is planned for later than that.
	for id, after := range map[string]time.Duration{"planned too late": time.Millisecond, "planned late": 0} {
		s.upstream(id, func(u *broker.Upstream) { u.NextCheckAt = t0.Add(30*day + after) })
	}
	same(s, upstreamIDs(s.lease(t0, 10)), []string{"planned too late"})
	same(s, upstreamIDs(s.lease(t0, 10)), []string{})
	same(s, len(s.lease(at.Add(time.Hour), 2)), 2)
}

func upstreamsParallel(s *suite) {
	const logins = 40
	for i := range logins {
		s.upstream(fmt.Sprint("u", i), func(u *broker.Upstream) { u.NextCheckAt = t0 })
	}
	took := make([][]broker.Upstream, takers)
	for _, err := range inParallel(takers, func(i int) error {
		for range 10 {
			some, err := s.Store.DueUpstreams(ctx, dueAt(t0, 3))
			if err != nil {
				return err
			}
			took[i] = append(took[i], some...)
		}
		return nil
	}) {
		s.ok(err)
	}
	took = append(took, s.lease(t0, logins)) // whoever met another left empty-handed
	seen := map[string]bool{}
	for _, list := range took {
		for _, u := range list {
			if seen[u.ID] || u.Doubtful != 1 {
				s.Errorf("%s was leased again", u.ID)
			}
			seen[u.ID] = true
		}
	}
	same(s, len(seen), logins)
}

func upstreamsUnderWay(s *suite) {
	s.upstream("a")
	at := t0.Add(time.Minute)
	type answer struct {
		list []broker.Upstream
		err  error
	}
	late := make(chan answer, 1)
	s.tx(func(tx broker.Store) error {
		same(s, upstreamIDs(must(tx.DueUpstreams(ctx, dueAt(at, 10)))(s)), []string{"a"})
		go func() {
			list, err := s.Store.DueUpstreams(ctx, dueAt(at, 10))
			late <- answer{list, err}
		}()
		select { // who waits is right, so this ends by time
		case a := <-late:
			late <- a
		case <-time.After(150 * time.Millisecond):
		}
		return nil
	})
	a := <-late
	s.ok(a.err)
	same(s, upstreamIDs(a.list), []string{})
}

func upstreamRecorded(s *suite) {
	s.upstream("u")
	at := t0.Add(time.Minute)
	leased := s.lease(at, 1)[0]
	next := leased
	next.Sealed, next.State, next.Doubtful, next.AliveAt, next.NextCheckAt = "rotated", broker.UpstreamUnknown, 0, at, at.Add(time.Hour)
	same(s, must(s.Store.RecordUpstream(ctx, leased, next))(s), true)
	same(s, must(s.Store.RecordUpstream(ctx, leased, next))(s), false) // it is written already
	taken := s.lease(at.Add(time.Hour), 1)[0]
	next.Doubtful, next.NextCheckAt = 1, at.Add(time.Hour+time.Minute)
	same(s, taken, next)
	s.lease(at.Add(2*time.Hour), 1) // by another, when the lease was over
	next.Sealed = "too late"
	same(s, must(s.Store.RecordUpstream(ctx, taken, next))(s), false)
	same(s, s.lease(at.Add(3*time.Hour), 1)[0].Sealed, "rotated")
}

func upstreamHastened(s *suite) {
	s.upstream("u", func(u *broker.Upstream) { u.NextCheckAt = t0.Add(time.Hour) })
	s.upstream("unknown", func(u *broker.Upstream) { u.State, u.NextCheckAt = broker.UpstreamUnknown, t0.Add(time.Hour) })
	s.upstream("soon", func(u *broker.Upstream) { u.NextCheckAt = t0.Add(time.Minute) })
	for _, id := range []string{"u", "unknown", "soon", "none"} {
		s.ok(s.Store.HastenUpstream(ctx, id, t0, t0.Add(time.Minute)))
	}
	same(s, upstreamIDs(s.lease(t0, 10)), []string{"u"})
}

func upstreamOver(s *suite) {
	s.user("anna")
	u := newUpstream("u")
	u.State = broker.UpstreamEnded
	s.ok(s.Store.InsertUpstream(ctx, u))
	refused := func(id string) {
		s.Helper()
		n := newSession("n", "id of anna")
		n.UpstreamID = id
		s.code(second(s.Store.InsertSession(ctx, n, "")), broker.IdPRevoked)
		s.gone("n")
	}
	refused(u.ID)
	refused("no such login")
}

func upstreamOverMeanwhile(s *suite) {
	s.upstream("u")
	leased := s.lease(t0.Add(time.Minute), 1)[0]
	next := leased
	next.State, next.Sealed = broker.UpstreamEnded, ""
	late := make(chan error, 1)
	s.tx(func(tx broker.Store) error {
		same(s, must(tx.RecordUpstream(ctx, leased, next))(s), true)
		go func() {
			n := newSession("late", "id of anna")
			n.UpstreamID = "u"
			late <- second(s.Store.InsertSession(ctx, n, ""))
		}()
		select {
		case err := <-late:
			late <- err
		case <-time.After(150 * time.Millisecond):
		}
		ended := must(tx.EndSessions(ctx, broker.SessionFilter{UpstreamID: "u"}, ending(broker.IdPRevoked, false, t0)))(s)
		same(s, idsOf(ended), []string{"on u"})
		return nil
	})
	s.code(<-late, broker.IdPRevoked)
	s.gone("late")
}

func upstreamOfSession(s *suite) {
	u := s.upstream("u")
	s.session("vouched", "id of anna", func(n *broker.Session) { n.VouchedAt = t0.Add(time.Second) })
	got := must(s.Store.UpstreamOf(ctx, "on u"))(s)
	same(s, got.Upstream, &broker.Upstream{
		ID: "u", ProviderID: "provider", IssuedBy: "issuer", Sealed: u.Sealed, State: u.State, AliveAt: u.AliveAt, NextCheckAt: u.NextCheckAt,
	})
	same(s, must(s.Store.UpstreamOf(ctx, "vouched"))(s), broker.Session{
		ID: "vouched", ClientID: "client", ProviderID: "provider", CreatedAt: t0, VouchedAt: t0.Add(time.Second),
	})
	s.code(second(s.Store.UpstreamOf(ctx, "none")), broker.NotFound)
}

func upstreamsListed(s *suite) {
	u, v := s.upstream("u"), s.upstream("v")
	s.session("also on u", "id of anna", func(n *broker.Session) { n.UpstreamID = "u" })
	s.session("on none", "id of anna")
	list, n, err := s.Store.ListSessions(ctx, broker.SessionFilter{UserID: "id of anna"}, 0, 10)
	s.ok(err)
	same(s, n, 4)
	want := map[string]*broker.Upstream{"on u": &u, "also on u": &u, "on v": &v, "on none": nil}
	for _, n := range list {
		same(s, n.Upstream, want[n.ID])
	}
	for _, n := range s.page(broker.SessionFilter{UserID: "id of anna"}, "", 10) {
		same(s, n.Upstream, want[n.ID])
	}
}

func upstreamsSwept(s *suite) {
	s.upstream("live")
	s.upstream("left")
	s.ok(s.Store.InsertUpstream(ctx, newUpstream("never used")))
	s.ok(second(s.Store.EndSessions(ctx, broker.SessionFilter{ID: "on left"}, ending(broker.LoggedOut, false, t0.Add(time.Minute)))))
	left := func() []string {
		out := []string{}
		for _, id := range []string{"live", "left", "never used"} {
			n := newSession("n", "id of anna")
			n.ID, n.UpstreamID = "probe", id
			err := s.Store.Tx(ctx, func(tx broker.Store) error {
				if err := second(tx.InsertSession(ctx, n, "")); err != nil {
					return err
				}
				return broker.NotFound // it was only a question
			})
			if broker.CodeOf(err) == broker.NotFound {
				out = append(out, id)
			}
		}
		return out
	}
	for _, c := range []struct {
		at   time.Duration
		want []string
	}{
		{time.Hour, []string{"live", "left", "never used"}},
		{time.Hour + time.Millisecond, []string{"live", "left"}},
		{time.Hour + time.Minute, []string{"live", "left"}},
		{time.Hour + time.Minute + time.Millisecond, []string{"live"}},
		{9 * day, []string{"live"}},
	} {
		s.sweep(t0.Add(c.at), 1)
		same(s, left(), c.want)
	}
}

func upstreamsDoubted(s *suite) {
	s.upstream("sure")
	s.upstream("doubtful", func(u *broker.Upstream) { u.Doubtful = 3 })
	s.upstream("lost", func(u *broker.Upstream) { u.Sealed = "" })
	s.upstream("elsewhere", func(u *broker.Upstream) { u.ProviderID = "another" })
	same(s, must(s.Store.DoubtUpstreams(ctx, "provider"))(s), 2)
	same(s, must(s.Store.DoubtUpstreams(ctx, "nobody"))(s), 0)
	for id, want := range map[string]int64{"sure": 1, "doubtful": 3, "lost": 0, "elsewhere": 0} {
		list, _, err := s.Store.ListSessions(ctx, broker.SessionFilter{UpstreamID: id, All: true}, 0, 1)
		s.ok(err)
		same(s, list[0].Upstream.Doubtful, want)
	}
}
