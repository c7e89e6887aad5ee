package storagetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var sessionTests = []test{
	{"every field survives", sessionFields},
	{"the state is part of the whole", sessionState},
	{"by the cookie of its client alone", sessionByCookie},
	{"insert needs an enabled user", insertNeedsUser},
	{"insert needs the password to be as it was", insertNeedsPassword},
	{"insert needs its parent", insertNeedsParent},
	{"insert against a disabling under way", insertAgainstDisabling},
	{"insert against a password change under way", insertAgainstPasswordChange},
	{"insert against a deletion under way", insertAgainstDeletion},
	{"insert against an end of the parent under way", insertAgainstEndOfParent},
	{"end by each filter", endByFilter},
	{"an empty filter names nothing", emptyFilter},
	{"what only narrows names nothing by itself", narrowingFilter},
	{"ended once, with the first cause", endedOnce},
	{"end: of many at once each session has one", endedOnceParallel},
	{"list: order, pages and count", listSessions},
	{"list what is alive", listAlive},
	{"touch", touchSession},
	{"expired ones get a cause", endExpired},
	{"expired ones in batches", endExpiredBatches},
	{"sweep keeps what is needed", sweep},
	{"sweep of logins and events", sweepOthers},
	{"sweep of logout notices", sweepNotices},
	{"sweep in batches", sweepBatches},
}

func sessionByCookie(s *suite) {
	u := s.user("anna")
	want := s.session("with", u.ID, func(n *broker.Session) { n.CookieHash = "hash" })
	s.session("without", u.ID)
	got, owner, err := s.Store.SessionByCookie(ctx, want.ClientID, "hash")
	s.ok(err)
	same(s, got, want)
	same(s, owner.ID, u.ID)
	for _, none := range [][2]string{{want.ClientID, ""}, {want.ClientID, "other"}, {"another client", "hash"}} {
		_, _, err := s.Store.SessionByCookie(ctx, none[0], none[1])
		s.code(err, broker.NotFound)
	}
}

func sessionFields(s *suite) {
	u := s.user("anna")
	full := s.session("full", u.ID, func(n *broker.Session) { n.DPoPThumbprint = "thumbprint"; n.Wipe = true })
	full.ParentID = ""
	got, owner, err := s.Store.SessionByID(ctx, "full")
	s.ok(err)
	same(s, got, full)
	u.LastSeenAt = full.CreatedAt
	same(s, owner, u)

	child := s.session("child", u.ID, func(n *broker.Session) { n.ParentID = "full" })
	same(s, s.row("child"), child)
	// NULL and zero are not the same parent branch.
	anyBranch := s.session("any branch", u.ID, func(n *broker.Session) { n.ParentBranch = broker.AnyBranch })
	same(s, s.row("any branch"), anyBranch)
	zero := s.session("branch 0", u.ID, func(n *broker.Session) { n.ParentBranch, n.AMR = 0, nil })
	same(s, s.row("branch 0"), zero)
	vouched := s.session("vouched", u.ID, func(n *broker.Session) { n.VouchedAt = t0.Add(-time.Second) })
	same(s, s.row("vouched"), vouched)
	bare := s.session("bare", u.ID, func(n *broker.Session) { n.FollowsParent, n.Request = false, broker.SessionRequest{} })
	same(s, s.row("bare"), bare)
	partly := s.session("partly", u.ID, func(n *broker.Session) { n.Request = broker.SessionRequest{IDTokenClaims: []string{"email"}} })
	same(s, s.row("partly"), partly)
	s.gone("nobody's")
	s.gone("")
}

func (s *suite) insertRefused(n broker.Session, hash broker.PasswordHash) {
	s.Helper()
	s.code(second(s.Store.InsertSession(ctx, n, hash)), broker.UserDisabled)
	s.code(s.Store.Tx(ctx, func(tx broker.Store) error { return second(tx.InsertSession(ctx, n, hash)) }), broker.UserDisabled)
	s.gone(n.ID)
}

// sessionState reads the same of a session as SessionByID, only less.
func sessionState(s *suite) {
	u, gone := s.user("anna"), s.user("gone")
	s.session("alive", u.ID)
	s.session("ended", u.ID)
	s.session("of nobody", gone.ID)
	s.end("ended")
	s.ok(s.Store.DeleteUser(ctx, gone.ID))
	s.disable(u, t0)
	for _, id := range []string{"alive", "ended", "of nobody"} {
		row, owner, err := s.Store.SessionByID(ctx, id)
		s.ok(err)
		state, user, err := s.Store.SessionState(ctx, id)
		s.ok(err)
		same(s, state, broker.Session{
			ID: id, UserID: row.UserID, EndedAt: row.EndedAt, EndCause: row.EndCause, Wipe: row.Wipe,
			IdleExpiresAt: row.IdleExpiresAt, AbsExpiresAt: row.AbsExpiresAt,
		})
		same(s, user, broker.User{ID: owner.ID, Username: owner.Username, DisabledAt: owner.DisabledAt})
	}
	_, _, err := s.Store.SessionState(ctx, "nobody's")
	s.code(err, broker.NotFound)
}

func insertNeedsUser(s *suite) {
	u := s.user("anna")
	s.insertRefused(newSession("of nobody", "nobody"), "")
	s.disable(u, t0)
	s.insertRefused(newSession("of anna", u.ID), "")
	s.insertRefused(newSession("of anna", u.ID), u.PasswordHash)
	same(s, must(s.Store.UserByID(ctx, u.ID))(s).LastSeenAt, time.Time{}) // a refused login is not an appearance
	s.disable(u, time.Time{})
	s.session("of anna", u.ID)
	same(s, must(s.Store.UserByID(ctx, u.ID))(s).LastSeenAt, t0)
}

func insertNeedsPassword(s *suite) {
	u := s.user("anna")
	s.insertRefused(newSession("s", u.ID), "another hash")
	s.ok(second(s.Store.InsertSession(ctx, newSession("s", u.ID), u.PasswordHash)))
	must(s.Store.SetPassword(ctx, u.ID, nil, "new", false, t0))(s)
	s.insertRefused(newSession("late", u.ID), u.PasswordHash)
	s.ok(second(s.Store.InsertSession(ctx, newSession("by the IdP", u.ID), ""))) // empty: any
}

func insertNeedsParent(s *suite) {
	u := s.user("anna")
	child := newSession("child", u.ID)
	child.ParentID = "parent"
	s.insertRefused(child, "")
	s.session("parent", u.ID)
	s.ok(second(s.Store.InsertSession(ctx, child, "")))
	must(s.Store.EndSessions(ctx, broker.SessionFilter{ID: "parent"}, ending(broker.LoggedOut, false, t0)))(s)
	child.ID = "late child"
	s.insertRefused(child, "")
}

// against runs insert while a transaction that rules it out is under way, and
// wants no live session afterwards: insert either waits for the transaction and
// is refused, or the transaction ends what it made.
func (s *suite) against(n broker.Session, hash broker.PasswordHash, first, then func(tx broker.Store) error) {
	s.Helper()
	inserted := make(chan error, 1)
	s.tx(func(tx broker.Store) error {
		if err := first(tx); err != nil {
			return err
		}
		go func() { inserted <- second(s.Store.InsertSession(ctx, n, hash)) }()
		// An insert that waits is right, so this ends by time.
		select {
		case err := <-inserted:
			inserted <- err
		case <-time.After(150 * time.Millisecond):
		}
		return then(tx)
	})
	<-inserted
	row, _, err := s.Store.SessionByID(ctx, n.ID)
	if err == nil && row.EndedAt.IsZero() {
		s.Errorf("session %s is alive, made while it was being ruled out", n.ID)
	}
}

func endAll(filter broker.SessionFilter, cause broker.EndCause) func(tx broker.Store) error {
	return func(tx broker.Store) error {
		_, err := tx.EndSessions(ctx, filter, ending(cause, false, t0))
		return err
	}
}

func insertAgainstDisabling(s *suite) {
	u := s.user("anna")
	disabled := u
	disabled.DisabledAt = t0
	s.against(newSession("s", u.ID), "", func(tx broker.Store) error { return tx.UpdateUser(ctx, disabled) },
		endAll(broker.SessionFilter{UserID: u.ID}, broker.UserDisabled))
}

func insertAgainstPasswordChange(s *suite) {
	u := s.user("anna")
	s.against(newSession("s", u.ID), u.PasswordHash, func(tx broker.Store) error {
		_, err := tx.SetPassword(ctx, u.ID, nil, "new", false, t0)
		return err
	}, endAll(broker.SessionFilter{UserID: u.ID}, broker.PasswordChanged))
}

func insertAgainstDeletion(s *suite) {
	u := s.user("anna")
	s.against(newSession("s", u.ID), "", func(tx broker.Store) error { return tx.DeleteUser(ctx, u.ID) },
		endAll(broker.SessionFilter{UserID: u.ID}, broker.UserDeleted))
}

// A logout of the browser ends its row and the rows made from it. One that is
// being made meanwhile must not slip through between the two.
func insertAgainstEndOfParent(s *suite) {
	u := s.user("anna")
	s.session("parent", u.ID)
	child := newSession("child", u.ID)
	child.ParentID = "parent"
	s.against(child, "", func(tx broker.Store) error {
		if err := endAll(broker.SessionFilter{ID: "parent"}, broker.LoggedOut)(tx); err != nil {
			return err
		}
		return endAll(broker.SessionFilter{ParentID: "parent"}, broker.LoggedOut)(tx)
	}, func(broker.Store) error { return nil })
}

// crowd is what the filters choose from.
func (s *suite) crowd() {
	s.Helper()
	anna, bob := s.user("anna"), s.user("bob")
	s.session("a1", anna.ID)
	s.session("a2", anna.ID, func(n *broker.Session) {
		n.ProviderID, n.IdPSubject, n.IdPSession, n.ClientID, n.LastIP, n.CreatedIP = "", "", "", broker.AppClientID, "198.51.100.7", "198.51.100.8"
	})
	s.session("a3", anna.ID, func(n *broker.Session) { n.ParentID = "a1" })
	s.session("b1", bob.ID, func(n *broker.Session) {
		n.ProviderID = "another"
		n.IdleExpiresAt = t0.Add(time.Minute)
		n.IdPSession = "%"
	})
	s.session("b2", bob.ID, func(n *broker.Session) {
		n.LastIP, n.AbsExpiresAt, n.IdPSubject, n.ClientID = "198.51.100.7", t0.Add(time.Minute), "日本語", "another client"
	})
}

// filters maps a filter to what it names in the crowd.
var filters = []struct {
	filter broker.SessionFilter
	names  []string
}{
	{broker.SessionFilter{ID: "a1"}, []string{"a1"}},
	{broker.SessionFilter{UserID: "id of anna"}, []string{"a1", "a2", "a3"}},
	{broker.SessionFilter{UserID: "id of anna", ExceptID: "a2"}, []string{"a1", "a3"}},
	{broker.SessionFilter{ParentID: "a1"}, []string{"a3"}},
	{broker.SessionFilter{ProviderID: "another"}, []string{"b1"}},
	{broker.SessionFilter{LastIP: "198.51.100.7"}, []string{"a2", "b2"}},
	{broker.SessionFilter{IP: "198.51.100.8"}, []string{"a2"}},
	{broker.SessionFilter{ClientID: "client"}, []string{"a1", "a3", "b1"}},
	{broker.SessionFilter{ClientID: broker.AppClientID}, []string{"a2"}},
	{broker.SessionFilter{UserID: "id of bob", ClientID: "client"}, []string{"b1"}},
	{broker.SessionFilter{IdPSession: "idp session"}, []string{"a1", "a3", "b2"}},
	{broker.SessionFilter{IdPSession: "%"}, []string{"b1"}},
	{broker.SessionFilter{ProviderID: "provider", IdPSession: "%"}, []string{}},
	{broker.SessionFilter{IdPSubject: "日本語"}, []string{"b2"}},
	{broker.SessionFilter{IdPSubject: "subject"}, []string{"a1", "a3", "b1"}},
	{broker.SessionFilter{ProviderID: "another", IdPSubject: "subject"}, []string{"b1"}},
	{broker.SessionFilter{IdPSession: "idp session\x00"}, []string{}}, // neither found nor trouble of ours
	{broker.SessionFilter{ProviderID: "provider", IdPSubject: "\xff"}, []string{}},
	{broker.SessionFilter{ID: "a1", UserID: "id of bob"}, []string{}}, // all of it must fit
	{broker.SessionFilter{ID: "nobody's"}, []string{}},
	{broker.SessionFilter{All: true}, []string{"a1", "a2", "a3", "b1", "b2"}},
	{broker.SessionFilter{All: true, UserID: "id of bob"}, []string{"b1", "b2"}}, // All does not widen
	{broker.SessionFilter{All: true, ExceptID: "a1"}, []string{"a2", "a3", "b1", "b2"}},
	{broker.SessionFilter{UserID: "id of bob", LiveAt: t0}, []string{"b1", "b2"}},
	{broker.SessionFilter{UserID: "id of bob", LiveAt: t0.Add(time.Minute)}, []string{}},
	{broker.SessionFilter{All: true, LiveAt: t0.Add(time.Minute)}, []string{"a1", "a2", "a3"}},
}

func endByFilter(s *suite) {
	s.crowd()
	for _, c := range filters {
		listed, n, err := s.Store.ListSessions(ctx, c.filter, 0, 100)
		s.ok(err)
		same(s, sorted(idsOf(listed)), c.names)
		same(s, n, len(c.names))
		// Ended in a transaction that is thrown away, so that each filter meets all.
		undo := fmt.Errorf("undo")
		err = s.Store.Tx(ctx, func(tx broker.Store) error {
			ended, err := tx.EndSessions(ctx, c.filter, ending(broker.RevokedByAdmin, true, t0.Add(time.Second)))
			s.ok(err)
			same(s, sorted(idsOf(ended)), c.names)
			for _, n := range ended {
				same(s, [3]any{n.EndedAt, n.EndCause, n.Wipe}, [3]any{t0.Add(time.Second), broker.RevokedByAdmin, true})
			}
			return undo
		})
		same(s, err, undo)
	}
}

func emptyFilter(s *suite) {
	s.crowd()
	ended, err := s.Store.EndSessions(ctx, broker.SessionFilter{}, ending(broker.RevokedByAdmin, true, t0))
	s.ok(err)
	same(s, len(ended), 0)
	listed, n, err := s.Store.ListSessions(ctx, broker.SessionFilter{}, 0, 100)
	s.ok(err)
	same(s, len(listed)+n, 0)
}

// "All must be set to mean everything": a filter whose user ID turned out empty
// must not end the sessions of everybody else.
func narrowingFilter(s *suite) {
	s.crowd()
	for _, f := range []broker.SessionFilter{{ExceptID: "a1"}, {LiveAt: t0}, {ExceptID: "a1", LiveAt: t0}} {
		ended, err := s.Store.EndSessions(ctx, f, ending(broker.RevokedByAdmin, false, t0))
		s.ok(err)
		if len(ended) > 0 {
			s.Errorf("the filter %+v without All ended %v", f, sorted(idsOf(ended)))
		}
	}
}

func endedOnce(s *suite) {
	s.crowd()
	before := s.row("a1")
	ended := must(s.Store.EndSessions(ctx, broker.SessionFilter{ID: "a1"}, ending(broker.LoggedOut, true, t0.Add(time.Second))))(s)
	want := before
	want.EndedAt, want.EndCause, want.Wipe = t0.Add(time.Second), broker.LoggedOut, true
	same(s, ended, []broker.Session{want}) // ends write nothing but the end
	same(s, s.row("a1"), want)
	rest := must(s.Store.EndSessions(ctx, broker.SessionFilter{UserID: "id of anna"}, ending(broker.RevokedByAdmin, false, t0.Add(time.Hour))))(s)
	same(s, sorted(idsOf(rest)), []string{"a2", "a3"})
	same(s, s.row("a1"), want)
	same(s, len(must(s.Store.EndSessions(ctx, broker.SessionFilter{UserID: "id of anna"}, ending(broker.LoggedOut, false, t0)))(s)), 0)
}

func endedOnceParallel(s *suite) {
	u := s.user("anna")
	const sessions = 30
	for i := range sessions {
		s.session(fmt.Sprint("s", i), u.ID)
	}
	ends := make([][]broker.Session, takers)
	for _, err := range inParallel(takers, func(i int) (err error) {
		ends[i], err = s.Store.EndSessions(ctx, broker.SessionFilter{UserID: u.ID}, ending(broker.EndCause(fmt.Sprint("cause ", i)), false, t0))
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
	same(s, total, sessions)
}

func listSessions(s *suite) {
	u := s.user("anna")
	want := []string{}
	for i := range 7 {
		// Two share a millisecond; their IDs decide.
		seen := t0.Add(time.Duration(i/2) * time.Millisecond)
		want = append(want, s.session(fmt.Sprint("s", i), u.ID, func(n *broker.Session) { n.LastSeenAt = seen }).ID)
	}
	s.session("another's", s.user("bob").ID)
	slices.Reverse(want)
	filter := broker.SessionFilter{UserID: u.ID}
	for offset := 0; offset <= 8; offset++ {
		for _, limit := range []int{0, 1, 3, 100} {
			got, n, err := s.Store.ListSessions(ctx, filter, offset, limit)
			s.ok(err)
			from := min(offset, len(want))
			same(s, idsOf(got), append([]string{}, want[from:min(from+limit, len(want))]...))
			same(s, n, 7)
		}
	}
}

func listAlive(s *suite) {
	u := s.user("anna")
	s.session("alive", u.ID)
	s.session("ended", u.ID)
	s.session("idle", u.ID, func(n *broker.Session) { n.IdleExpiresAt = t0 })
	s.session("too old", u.ID, func(n *broker.Session) { n.AbsExpiresAt = t0 })
	s.session("a millisecond left", u.ID, func(n *broker.Session) {
		n.IdleExpiresAt, n.AbsExpiresAt = t0.Add(time.Millisecond), t0.Add(time.Millisecond)
	})
	must(s.Store.EndSessions(ctx, broker.SessionFilter{ID: "ended"}, ending(broker.LoggedOut, false, t0)))(s)
	got, n, err := s.Store.ListSessions(ctx, broker.SessionFilter{UserID: u.ID, LiveAt: t0}, 0, 100)
	s.ok(err)
	same(s, sorted(idsOf(got)), []string{"a millisecond left", "alive"})
	same(s, n, 2)
}

func touchSession(s *suite) {
	u := s.user("anna")
	before := s.session("s", u.ID)
	other := s.session("other", u.ID)
	touch := broker.Touch{ID: "s", Now: t0.Add(time.Hour), IdleExpiresAt: t0.Add(50 * time.Hour), IP: "203.0.113.1"}
	s.ok(s.Store.TouchSession(ctx, touch))
	want := before
	want.LastSeenAt, want.IdleExpiresAt, want.LastIP = touch.Now, touch.IdleExpiresAt, touch.IP
	same(s, s.row("s"), want)
	touch.IdleExpiresAt = t0.Add(1000 * time.Hour) // never past the absolute end
	s.ok(s.Store.TouchSession(ctx, touch))
	want.IdleExpiresAt = want.AbsExpiresAt
	same(s, s.row("s"), want)
	same(s, s.row("other"), other)

	ended := must(s.Store.EndSessions(ctx, broker.SessionFilter{ID: "s"}, ending(broker.LoggedOut, false, t0)))(s)[0]
	touch.Now, touch.IP = t0.Add(2*time.Hour), "203.0.113.2"
	s.ok(s.Store.TouchSession(ctx, touch))
	same(s, s.row("s"), ended)
	touch.ID = "nobody's"
	s.ok(s.Store.TouchSession(ctx, touch))
}

const day = 24 * time.Hour

// expire ends what expired more than a day before a time.
func (s *suite) expire(at time.Time, limit int) []broker.Session {
	s.Helper()
	return must(s.Store.EndExpired(ctx, at.Add(-day), ending("", false, at), limit))(s)
}

// Who expired unnoticed gets a cause, and is kept from then on like the rest.
func endExpired(s *suite) {
	u := s.user("anna")
	until := func(idle, abs time.Duration) func(*broker.Session) {
		return func(n *broker.Session) { n.IdleExpiresAt, n.AbsExpiresAt = t0.Add(idle), t0.Add(abs) }
	}
	want := map[string]broker.Session{}
	for id, change := range map[string]func(*broker.Session){
		"live": until(1000*day, 2000*day), "unused": until(day, 1000*day), "too old": until(day, day), "too old first": until(1000*day, 0),
	} {
		want[id] = s.session(id, u.ID, change)
	}
	s.session("ended", u.ID, until(0, 1000*day))
	want["ended"] = s.end("ended")
	check := func(at time.Duration, ended ...string) {
		s.Helper()
		got := idsOf(s.expire(t0.Add(at), 100))
		same(s, sorted(got), append([]string{}, ended...))
		for id, n := range want {
			same(s, s.row(id), n)
		}
	}
	give := func(id string, cause broker.EndCause, at time.Duration) {
		n := want[id]
		n.EndCause, n.EndedAt = cause, t0.Add(at)
		want[id] = n
	}
	check(day)
	give("unused", broker.SessionExpired, day) // when it expired, not when it was noticed
	give("too old", broker.SessionMaxAge, day)
	check(2*day, "too old", "unused")
	check(3 * day)

	// A use wakes nothing up that has ended, and puts off what has not.
	s.ok(s.Store.TouchSession(ctx, broker.Touch{ID: "live", Now: t0, IdleExpiresAt: t0.Add(50 * day), IP: "192.0.2.2"}))
	n := want["live"]
	n.LastSeenAt, n.IdleExpiresAt = t0, t0.Add(50*day)
	want["live"] = n
	check(49 * day)
	give("too old first", broker.SessionMaxAge, 0)
	give("live", broker.SessionExpired, 50*day)
	check(1003*day, "live", "too old first")
}

func endExpiredBatches(s *suite) {
	for i := range 25 {
		s.session(fmt.Sprint("s", i), s.user(fmt.Sprint(i)).ID, func(n *broker.Session) { n.IdleExpiresAt = t0 })
	}
	for _, want := range []int{10, 10, 5, 0} {
		same(s, len(s.expire(t0.Add(3*day), 10)), want)
	}
}

// sweep deletes what is over and nobody needs any more, and nothing else.
func sweep(s *suite) {
	u := s.user("anna")
	live := s.session("live", u.ID)
	s.session("expired", u.ID, func(n *broker.Session) { n.IdleExpiresAt = t0 })
	for _, id := range []string{"ended", "reused"} {
		s.session(id, u.ID)
	}
	s.end("ended") // kept for ten days
	w := write("reused")
	w.End = broker.End{Cause: broker.TokenReused, At: t0, KeepUntil: t0.Add(20 * day)}
	same(s, must(s.Store.WriteRotation(ctx, w))(s), true)
	left := func() (ids []string) {
		all, _, err := s.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 100)
		s.ok(err)
		return sorted(idsOf(all))
	}
	s.sweep(t0.Add(10*day), 100)
	same(s, left(), []string{"ended", "expired", "live", "reused"})
	s.sweep(t0.Add(10*day+time.Millisecond), 100)
	// One that has no cause yet is not deleted, however long ago it expired.
	same(s, left(), []string{"expired", "live", "reused"})
	s.sweep(t0.Add(1000*day), 100)
	same(s, left(), []string{"expired", "live"})
	same(s, s.row("live"), live)
}

// What is left of logins under way, and the audit log, each by its own time.
func sweepOthers(s *suite) {
	for id, at := range map[string]time.Time{"old": t0, "new": t0.Add(time.Millisecond)} {
		s.ok(s.Store.InsertIdPLogin(ctx, broker.IdPLogin{ID: id, ProviderID: "p", ExpiresAt: at}))
		s.ok(s.Store.InsertGrant(ctx, broker.Grant{ID: id, ProviderID: "p", ExpiresAt: at}))
		must(s.Store.InsertAuthRequest(ctx, broker.AuthRequest{ID: id, ProviderID: "p", ExpiresAt: at}, t0.Add(-day)))(s)
		s.ok(s.Store.InsertEvent(ctx, broker.Event{ID: id, At: at, Name: "event"}))
		s.ok(s.Store.InsertPending(ctx, broker.PendingAuthorization{ID: id, ExpiresAt: at}))
		s.ok(s.Store.InsertCode(ctx, broker.AuthorizationCode{ID: id, ExpiresAt: at}))
		s.ok(s.Store.InsertDeviceCode(ctx, broker.DeviceCode{ID: id, UserCode: id, ExpiresAt: at}))
		same(s, must(s.Store.UseOnce(ctx, id, at))(s), true)
	}
	there := func() (found []string) {
		for _, id := range []string{"old", "new"} {
			_, err := s.Store.GrantByID(ctx, id)
			_, err2 := s.Store.AuthRequestByID(ctx, id, t0.Add(-day))
			_, err3 := s.Store.Pending(ctx, id, "", t0.Add(-day))
			_, err4 := s.Store.CodeByID(ctx, id)
			_, err5 := deviceByID(s.Store, id)
			for _, other := range []error{err2, err3, err4, err5} {
				if (err == nil) != (other == nil) {
					s.Errorf("grant %v, request %v, authorization %v, code %v, device %v", err, err2, err3, err4, err5)
				}
			}
			if err == nil {
				found = append(found, id)
			}
		}
		events := must(s.Store.ListEvents(ctx, broker.EventFilter{Name: "event", Limit: 10}))(s)
		return append(found, fmt.Sprint(len(events), " events"))
	}
	run := func(w broker.Sweep) int { w.Limit = 100; return must(s.Store.Sweep(ctx, w))(s) }
	early := t0.Add(-day)
	same(s, run(broker.Sweep{Now: t0.Add(1000 * day), LoginsBefore: early, EventsBefore: early}), 0)
	same(s, there(), []string{"old", "new", "2 events"})
	same(s, run(broker.Sweep{Now: early, LoginsBefore: t0, EventsBefore: early}), 1)
	same(s, there(), []string{"new", "2 events"})
	same(s, run(broker.Sweep{Now: early, LoginsBefore: early, EventsBefore: t0}), 1)
	same(s, there(), []string{"new", "1 events"})
	// What may be used once is remembered for as long as it could be used.
	same(s, must(s.Store.UseOnce(ctx, "new", t0))(s), false)
	same(s, must(s.Store.UseOnce(ctx, "old", t0))(s), true)
	_, err := s.Store.TakeIdPLogin(ctx, "old", "p", early)
	s.code(err, broker.NotFound)
	must(s.Store.TakeIdPLogin(ctx, "new", "p", early))(s)
}

func sweepNotices(s *suite) {
	old, late := newNotice("old"), newNotice("new")
	old.ExpiresAt, late.ExpiresAt = t0, t0.Add(time.Millisecond)
	s.ok(s.Store.InsertLogoutNotices(ctx, []broker.LogoutNotice{old, late}))
	run := func(now time.Time) int {
		return must(s.Store.Sweep(ctx, broker.Sweep{Now: now, LoginsBefore: now.Add(-day), EventsBefore: now.Add(-day), Limit: 100}))(s)
	}
	same(s, run(t0.Add(-time.Millisecond)), 0)
	same(s, run(t0), 1)
	same(s, noticeIDs(must(s.Store.DueLogoutNotices(ctx, t0, t0.Add(time.Hour), 10))(s)), []string{"new"})
}

// Each call touches a bounded number of rows, so that the writer is free soon,
// and says when there may be more.
func sweepBatches(s *suite) {
	for i := range 25 {
		s.ok(s.Store.InsertGrant(ctx, broker.Grant{ID: fmt.Sprint("g", i), ExpiresAt: t0}))
		id := fmt.Sprint("s", i)
		s.session(id, s.user(id).ID)
		s.end(id)
	}
	left := func() (n int) {
		for i := range 25 {
			if _, err := s.Store.GrantByID(ctx, fmt.Sprint("g", i)); err == nil {
				n++
			}
		}
		return n
	}
	for _, want := range [][2]int{{10, 15}, {10, 5}, {5, 0}, {0, 0}} {
		same(s, [2]int{s.sweep(t0.Add(50*day), 10), left()}, want)
		_, n, err := s.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 0)
		s.ok(err)
		same(s, n, want[1])
	}
}
