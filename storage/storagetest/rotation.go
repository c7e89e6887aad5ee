package storagetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var rotationTests = []test{
	{"advance writes the next generation", advanceWrites},
	{"advance: each condition by itself", advanceConditions},
	{"advance: one of many at once wins", advanceParallel},
	{"advance after an ahead, at a lower branch, at the last instant", advanceAccepts},
	{"write an outcome", writeOutcome},
	{"write: each condition by itself", writeConditions},
	{"converge keeps the later hand-out", keepLaterIssue},
	{"reissue: one of many at once wins", reissueParallel},
	{"end with an outcome", writeEnd},
}

// advance fits the session of newSession, in the state (5, 2).
func advance(id string) broker.Advance {
	now := t0.Add(time.Hour)
	return broker.Advance{
		Touch:    broker.Touch{ID: id, Now: now, IdleExpiresAt: now.Add(30 * time.Hour), IP: "203.0.113.1"},
		ClientID: "client", Generation: 5, Branch: 2, AdvancedBefore: t0.Add(10 * time.Minute),
	}
}

func advanced(from broker.Session, a broker.Advance) broker.Session {
	from.Rotation = broker.Rotation{Generation: a.Generation + 1, ParentBranch: a.Branch, AdvancedAt: a.Now, IssuedAt: a.Now}
	from.LastSeenAt, from.LastIP, from.IdleExpiresAt = a.Now, a.IP, a.IdleExpiresAt
	return from
}

// told is what the hot path says of a session.
func told(s broker.Session) broker.Session {
	s.ParentID, s.IdPSubject, s.IdPSession, s.FollowsParent, s.Wipe = "", "", "", false, false
	s.CreatedAt, s.CreatedIP, s.UserAgent = time.UnixMilli(0).UTC(), "", ""
	return s
}

func advanceWrites(s *suite) {
	u := s.user("anna")
	u.Groups = []string{"readers", `"quoted", and more`}
	s.ok(s.Store.UpdateUser(ctx, u))
	s.ok(s.Store.InsertIdentity(ctx, newIdentity("subject", u.ID)))
	before, other := s.session("s", u.ID), s.session("other", u.ID)
	a := advance("s")
	row, owner, ok, err := s.Store.AdvanceSession(ctx, a)
	s.ok(err)
	same(s, ok, true)
	same(s, row, told(advanced(before, a))) // it reads what it wrote
	same(s, s.row("s"), advanced(before, a))
	same(s, s.row("other"), other)
	u.HasIdentity, u.LastSeenAt = true, t0
	same(s, owner, u)

	// The idle end never passes the absolute end.
	a.Generation, a.Branch, a.AdvancedBefore, a.IdleExpiresAt = 6, 0, a.Now, before.AbsExpiresAt.Add(time.Hour)
	row, _, ok, err = s.Store.AdvanceSession(ctx, a)
	s.ok(err)
	same(s, ok, true)
	same(s, row.IdleExpiresAt, before.AbsExpiresAt)
	same(s, told(s.row("s")), row)
}

func advanceConditions(s *suite) {
	now := advance("").Now
	for name, c := range map[string]struct {
		row func(*broker.Session)
		ask func(*broker.Advance)
		do  func(s *suite, u broker.User)
	}{
		"no such session":           {ask: func(a *broker.Advance) { a.ID = "nobody's" }},
		"an older generation":       {ask: func(a *broker.Advance) { a.Generation = 4 }},
		"a newer generation":        {ask: func(a *broker.Advance) { a.Generation = 6 }},
		"a newer branch":            {ask: func(a *broker.Advance) { a.Branch = 3 }},
		"advanced a moment ago":     {ask: func(a *broker.Advance) { a.AdvancedBefore = t0.Add(-time.Millisecond) }},
		"another client":            {ask: func(a *broker.Advance) { a.ClientID = "another" }},
		"no client":                 {ask: func(a *broker.Advance) { a.ClientID = "" }},
		"idle at this instant":      {row: func(n *broker.Session) { n.IdleExpiresAt = now }},
		"too old at this instant":   {row: func(n *broker.Session) { n.AbsExpiresAt = now }},
		"bound to a key":            {row: func(n *broker.Session) { n.DPoPThumbprint = "thumbprint" }},
		"the user is disabled":      {do: func(s *suite, u broker.User) { s.disable(u, t0) }},
		"the user is gone":          {do: func(s *suite, u broker.User) { s.ok(s.Store.DeleteUser(ctx, u.ID)) }},
		"the session has ended":     {do: func(s *suite, u broker.User) { s.end("s") }},
		"the session was logged in": {do: func(s *suite, u broker.User) { s.end("s") }, ask: func(a *broker.Advance) { a.Branch = 0 }},
	} {
		s.Run(name, func(t *testing.T) {
			s := &suite{T: t, Store: s.Store}
			u := s.user(name)
			defer s.purge("s")
			s.session("s", u.ID, func(n *broker.Session) {
				if c.row != nil {
					c.row(n)
				}
			})
			if c.do != nil {
				c.do(s, u)
			}
			before := s.row("s")
			a := advance("s")
			if c.ask != nil {
				c.ask(&a)
			}
			row, owner, ok, err := s.Store.AdvanceSession(ctx, a)
			s.ok(err)
			same(s, ok, false)
			same(s, row, broker.Session{})
			same(s, owner, broker.User{})
			same(s, s.row("s"), before)
		})
	}
}

func (s *suite) end(id string) broker.Session {
	s.Helper()
	return must(s.Store.EndSessions(ctx, broker.SessionFilter{ID: id}, ending(broker.LoggedOut, false, t0)))(s)[0]
}

// purge makes the ID of a session free again.
func (s *suite) purge(id string) {
	s.Helper()
	must(s.Store.EndSessions(ctx, broker.SessionFilter{ID: id}, ending(broker.LoggedOut, false, t0)))(s)
	s.sweep(t0.Add(1000*day), 100)
	s.gone(id)
}

func advanceParallel(s *suite) {
	u := s.user("anna")
	before := s.session("s", u.ID)
	won := make([]bool, takers)
	for _, err := range inParallel(takers, func(i int) (err error) {
		_, _, won[i], err = s.Store.AdvanceSession(ctx, advance("s"))
		return err
	}) {
		s.ok(err)
	}
	winners := 0
	for _, w := range won {
		if w {
			winners++
		}
	}
	same(s, winners, 1)
	same(s, s.row("s"), advanced(before, advance("s")))
}

func advanceAccepts(s *suite) {
	u := s.user("anna")
	now := advance("").Now
	for name, c := range map[string]struct {
		row func(*broker.Session)
		ask func(*broker.Advance)
	}{
		"a lower branch":                 {ask: func(a *broker.Advance) { a.Branch = 0 }},
		"any parent":                     {row: func(n *broker.Session) { n.ParentBranch = broker.AnyBranch }},
		"advanced exactly long ago":      {ask: func(a *broker.Advance) { a.AdvancedBefore = t0 }},
		"a millisecond before idle":      {row: func(n *broker.Session) { n.IdleExpiresAt = now.Add(time.Millisecond) }},
		"a millisecond before its end":   {row: func(n *broker.Session) { n.AbsExpiresAt = now.Add(time.Millisecond) }},
		"handed out again a moment ago":  {row: func(n *broker.Session) { n.IssuedAt = now }},
		"a clock set back and forth":     {row: func(n *broker.Session) { n.LastSeenAt = now.Add(time.Hour) }},
		"generation beyond 32 bits":      {row: func(n *broker.Session) { n.Generation = 1 << 40 }, ask: func(a *broker.Advance) { a.Generation = 1 << 40 }},
		"branch of a very unlucky phone": {row: func(n *broker.Session) { n.Branch = 1 << 40 }, ask: func(a *broker.Advance) { a.Branch = 1 << 40 }},
	} {
		before := s.session(name, u.ID, func(n *broker.Session) {
			if c.row != nil {
				c.row(n)
			}
		})
		a := advance(name)
		if c.ask != nil {
			c.ask(&a)
		}
		row, _, ok, err := s.Store.AdvanceSession(ctx, a)
		s.ok(err)
		if !ok {
			s.Fatalf("%s: not advanced", name)
		}
		want := advanced(before, a)
		if want.AbsExpiresAt.Before(want.IdleExpiresAt) {
			want.IdleExpiresAt = want.AbsExpiresAt
		}
		same(s, row, told(want))
	}
}

// write fits the session of newSession: a reissue.
func write(id string) broker.RotationWrite {
	now := t0.Add(time.Hour)
	from := newSession("", "").Rotation
	next := from
	next.Branch, next.IssuedAt = 3, now
	return broker.RotationWrite{
		Touch: broker.Touch{ID: id, Now: now, IdleExpiresAt: now.Add(30 * time.Hour), IP: "203.0.113.1"},
		From:  from, Next: next,
	}
}

func written(from broker.Session, w broker.RotationWrite) broker.Session {
	from.Rotation = w.Next
	from.LastSeenAt, from.LastIP, from.IdleExpiresAt = w.Now, w.IP, w.IdleExpiresAt
	return from
}

func writeOutcome(s *suite) {
	u := s.user("anna")
	other := s.session("other", u.ID)
	for name, next := range map[string]broker.Rotation{
		"reissue":          {Generation: 5, Branch: 3, ParentBranch: 1, AdvancedAt: t0, IssuedAt: t0.Add(time.Hour)},
		"ahead":            {Generation: 900, Branch: 7, ParentBranch: broker.AnyBranch, AdvancedAt: t0.Add(time.Hour), IssuedAt: t0.Add(time.Hour)},
		"ahead by branch":  {Generation: 5, Branch: 9, ParentBranch: 1, AdvancedAt: t0, IssuedAt: t0.Add(time.Hour)},
		"parent of zero":   {Generation: 6, Branch: 0, ParentBranch: 0, AdvancedAt: t0.Add(time.Hour), IssuedAt: t0.Add(time.Hour)},
		"earlier hand-out": {Generation: 5, Branch: 2, ParentBranch: 1, AdvancedAt: t0, IssuedAt: t0.Add(-time.Hour)},
	} {
		before := s.session(name, u.ID)
		w := write(name)
		w.Next = next
		same(s, must(s.Store.WriteRotation(ctx, w))(s), true)
		same(s, s.row(name), written(before, w))
	}
	capped := s.session("capped", u.ID)
	w := write("capped")
	w.IdleExpiresAt = capped.AbsExpiresAt.Add(time.Hour)
	same(s, must(s.Store.WriteRotation(ctx, w))(s), true)
	same(s, s.row("capped").IdleExpiresAt, capped.AbsExpiresAt)
	same(s, s.row("other"), other)
}

func writeConditions(s *suite) {
	issued := newSession("", "").IssuedAt
	for name, c := range map[string]struct {
		ask  func(*broker.RotationWrite)
		do   func(s *suite, u broker.User)
		ends bool // an end is written all the same
	}{
		"no such session":            {ask: func(w *broker.RotationWrite) { w.ID = "nobody's" }},
		"generation moved on":        {ask: func(w *broker.RotationWrite) { w.From.Generation = 4 }},
		"generation fell back":       {ask: func(w *broker.RotationWrite) { w.From.Generation = 6 }},
		"branch moved on":            {ask: func(w *broker.RotationWrite) { w.From.Branch = 1 }},
		"branch fell back":           {ask: func(w *broker.RotationWrite) { w.From.Branch = 3 }},
		"handed out in the meantime": {ask: func(w *broker.RotationWrite) { w.IssuedBefore = issued }},
		"the session has ended":      {do: func(s *suite, u broker.User) { s.end("s") }},
		"the user is disabled":       {do: func(s *suite, u broker.User) { s.disable(u, t0) }, ends: true},
		"the user is gone":           {do: func(s *suite, u broker.User) { s.ok(s.Store.DeleteUser(ctx, u.ID)) }, ends: true},
	} {
		s.Run(name, func(t *testing.T) {
			s := &suite{T: t, Store: s.Store}
			u := s.user(name)
			defer s.purge("s")
			s.session("s", u.ID)
			if c.do != nil {
				c.do(s, u)
			}
			before := s.row("s")
			w := write("s")
			if c.ask != nil {
				c.ask(&w)
			}
			same(s, must(s.Store.WriteRotation(ctx, w))(s), false)
			same(s, s.row("s"), before)
			w.End = ending(broker.TokenReused, false, w.Now)
			// A theft is written down whoever the user is by now.
			same(s, must(s.Store.WriteRotation(ctx, w))(s), c.ends)
			if !c.ends {
				same(s, s.row("s"), before)
			}
		})
	}
	u := s.user("anna")
	s.session("fits", u.ID)
	w := write("fits")
	w.IssuedBefore = issued.Add(time.Millisecond)
	same(s, must(s.Store.WriteRotation(ctx, w))(s), true)
}

func keepLaterIssue(s *suite) {
	u := s.user("anna")
	for _, c := range []struct {
		stands, next, want time.Duration
		keep               bool
	}{
		{stands: time.Hour, next: 0, want: time.Hour, keep: true},
		{stands: 0, next: time.Hour, want: time.Hour, keep: true},
		{stands: time.Hour, next: time.Hour, want: time.Hour, keep: true},
		{stands: time.Hour, next: 0, want: 0, keep: false},
	} {
		id := fmt.Sprint(c)
		s.session(id, u.ID, func(n *broker.Session) { n.IssuedAt = t0.Add(c.stands) })
		w := write(id)
		w.Next.IssuedAt, w.KeepLaterIssue = t0.Add(c.next), c.keep
		same(s, must(s.Store.WriteRotation(ctx, w))(s), true)
		same(s, s.row(id).IssuedAt, t0.Add(c.want))
	}
}

func reissueParallel(s *suite) {
	u := s.user("anna")
	before := s.session("s", u.ID)
	won := make([]bool, takers)
	for _, err := range inParallel(takers, func(i int) error {
		return s.Store.Tx(ctx, func(tx broker.Store) (err error) {
			w := write("s")
			w.IssuedBefore = t0.Add(time.Minute)
			won[i], err = tx.WriteRotation(ctx, w)
			return err
		})
	}) {
		s.ok(err)
	}
	winners := 0
	for _, w := range won {
		if w {
			winners++
		}
	}
	same(s, winners, 1)
	same(s, s.row("s"), written(before, write("s")))
}

func writeEnd(s *suite) {
	u := s.user("anna")
	before, other := s.session("s", u.ID), s.session("other", u.ID)
	w := write("s")
	w.End = ending(broker.TokenReused, true, w.Now)
	same(s, must(s.Store.WriteRotation(ctx, w))(s), true)
	// Whose the last use was stays in the row: it is one of the two holders.
	before.EndedAt, before.EndCause, before.Wipe = w.Now, broker.TokenReused, true
	same(s, s.row("s"), before)
	same(s, must(s.Store.WriteRotation(ctx, w))(s), false)
	same(s, s.row("other"), other)
}
