package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/tokens"
)

// A row is kept for its retention and not longer: sessions that ended, from
// their end; sessions that expired unnoticed, from when they expired, and with
// the cause.
func TestSweepKeepsEndedSessionsForTheirRetention(t *testing.T) {
	const day = 24 * time.Hour
	const idle, retention = 30 * day, 90 * day
	type kept struct {
		name  string
		make  func(t *testing.T, w *world) tokens.RefreshToken
		over  time.Duration // from the login to the end of the session
		cause broker.EndCause
	}
	logout := func(t *testing.T, w *world, rt tokens.RefreshToken) tokens.RefreshToken {
		if _, err := w.Broker.Logout(ctx, rt.Reveal(), false, phone); err != nil {
			t.Fatal(err)
		}
		return rt
	}
	cases := []kept{
		{"logged out, never refreshed", func(t *testing.T, w *world) tokens.RefreshToken { return logout(t, w, w.login(t).RefreshToken) }, 0, broker.LoggedOut},
		{"logged out on day 29, never refreshed", func(t *testing.T, w *world) tokens.RefreshToken {
			rt := w.login(t).RefreshToken
			w.Clock.Advance(29 * day)
			return logout(t, w, rt)
		}, 29 * day, broker.LoggedOut},
		{"logged out after a refresh", func(t *testing.T, w *world) tokens.RefreshToken {
			rt := w.login(t).RefreshToken
			w.Clock.Advance(day)
			return logout(t, w, w.refreshed(t, rt, broker.OutcomeAdvance, 1, 0))
		}, day, broker.LoggedOut},
		{"expired, never refreshed", func(t *testing.T, w *world) tokens.RefreshToken { return w.login(t).RefreshToken }, idle, broker.SessionExpired},
		{"expired after a refresh", func(t *testing.T, w *world) tokens.RefreshToken {
			rt := w.login(t).RefreshToken
			w.Clock.Advance(day)
			return w.refreshed(t, rt, broker.OutcomeAdvance, 1, 0)
		}, day + idle, broker.SessionExpired},
	}
	onEach(t, nil, func(t *testing.T, w *world) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				start := w.Clock.Now()
				at := func(d time.Duration) { w.Clock.Advance(start.Add(d).Sub(w.Clock.Now())) }
				rt := c.make(t, w)
				sid := w.claims(t, rt).SessionID
				// Sweeping every day, as the program does, up to the end of the retention.
				for d := c.over; d <= c.over+retention; d += day {
					at(d)
					if err := w.Broker.Sweep(ctx); err != nil {
						t.Fatal(err)
					}
					if _, _, err := w.Store.SessionByID(ctx, sid); err != nil {
						t.Fatalf("%v after its end the row is gone (%v), its retention is %v", d-c.over, err, retention)
					}
					w.refused(t, phone, rt, c.cause)
				}
				// Some slack, but not for ever: idle time and the steps of gc_after.
				at(c.over + retention + idle + 3*day)
				for range 2 {
					if err := w.Broker.Sweep(ctx); err != nil {
						t.Fatal(err)
					}
				}
				w.refused(t, phone, rt, broker.SessionUnknown)
			})
		}
	})
}

// "Every session that ended can say why": the row of a session that expired
// unnoticed gets its cause before it is deleted, and a live one gets none.
func TestSweepWritesTheCauseOfExpiredSessions(t *testing.T) {
	const day = 24 * time.Hour
	limited := func(c *broker.Config) { c.Lifetimes.MaxAge = 40 * day }
	onEach(t, limited, func(t *testing.T, w *world) {
		aged, idle := w.login(t).RefreshToken, w.login(t).RefreshToken
		agedSID, idleSID := w.claims(t, aged).SessionID, w.claims(t, idle).SessionID
		causes := map[string]broker.EndCause{}
		for today := 1; today <= 300 && w.rows(t) > 0; today++ {
			w.Clock.Advance(day)
			if today%9 == 0 && today < 40 {
				aged = w.refreshed(t, aged, broker.OutcomeAdvance, int64(today/9), 0)
			}
			if err := w.Broker.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
			all, _, err := w.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range all {
				if s.EndCause != "" {
					causes[s.ID] = s.EndCause
				}
				if over := s.Ended(w.Clock.Now()); over == "" && (s.EndCause != "" || !s.EndedAt.IsZero()) {
					t.Fatalf("on day %d a live session got the cause %s", today, s.EndCause)
				}
			}
		}
		if causes[idleSID] != broker.SessionExpired || causes[agedSID] != broker.SessionMaxAge {
			t.Errorf("causes seen in the rows: unused %q, too old %q; want %s, %s", causes[idleSID], causes[agedSID], broker.SessionExpired, broker.SessionMaxAge)
		}
		if n := w.rows(t); n != 0 {
			t.Errorf("%d rows are left for ever", n)
		}
	})
}

// A refresh whose caller has gone is not executed, and costs the store nothing:
// a database in memory lives in one connection, which must survive.
func TestCallerWhoHasGone(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt := w.login(t).RefreshToken
		sid := w.claims(t, rt).SessionID
		w.wait(1)
		before := w.row(t, sid)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		for range 20 {
			if _, err := w.Broker.Refresh(gone, rt.Reveal(), broker.AppClientID, phone); broker.CodeOf(err) != broker.TemporarilyUnavailable {
				t.Fatalf("%v, want %s", err, broker.TemporarilyUnavailable)
			}
		}
		if got := w.row(t, sid); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the row changed: %+v, was %+v", got, before)
		}
		// Callers who leave in the middle: whatever the moment, the token stays good.
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				leaving, cancel := context.WithTimeout(ctx, time.Duration(i*50)*time.Microsecond)
				defer cancel()
				_, err := w.Broker.Refresh(leaving, rt.Reveal(), broker.AppClientID, phone)
				if err != nil && broker.CodeOf(err) != broker.TemporarilyUnavailable {
					t.Errorf("a caller who left: %v", err)
				}
			})
		}
		wg.Wait()
		login, err := w.refresh(phone, rt)
		if err != nil || w.claims(t, login.RefreshToken).Generation != 1 {
			t.Errorf("after the storm: %v %v", login, err)
		}
	})
}

// Trouble of ours says nothing about a token: never a refusal.
func TestTroubleOfOursIsNoRefusal(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt := w.login(t).RefreshToken
		if err := w.Store.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err := w.refresh(phone, rt)
			if e, ok := errors.AsType[*broker.Error](err); !ok || e.Code != broker.TemporarilyUnavailable || e.RetryAfter <= 0 {
				t.Errorf("%v, want %s with a time to come again", err, broker.TemporarilyUnavailable)
			}
			w.wait(1)
		}
		if _, err := w.Broker.Logout(ctx, rt.Reveal(), false, phone); broker.CodeOf(err) != broker.TemporarilyUnavailable {
			t.Errorf("logout: %v", err)
		}
	})
}

// The hot path does not wait for the disk. When the server crashes, an advance
// that was answered may be lost: the row forgot, the token did not.
func TestCrashThatLosesAnAdvanceLogsNobodyOut(t *testing.T) {
	cluster := pgtest.MustStart(t)
	w := &world{kind: "postgres", url: cluster.NewDatabase(t)}
	w.Rig = harness.New(t, w.url, nil)
	w.User(t, "anna", broker.RoleUser)
	rt := w.login(t).RefreshToken
	sid := w.claims(t, rt).SessionID
	outcomes := map[broker.Outcome]int{}
	for crash := 0; crash < 20 && outcomes[broker.OutcomeAhead] < 2; crash++ {
		w.wait(1)
		before := w.claims(t, rt)
		rt = w.refreshed(t, rt, broker.OutcomeAdvance, before.Generation+1, 0)
		if err := errors.Join(cluster.StopImmediate(), cluster.StartAgain()); err != nil {
			t.Fatal(err)
		}
		login, err := w.refresh(phone, rt)
		if err != nil {
			t.Fatalf("after crash %d: %v", crash, err)
		}
		if c := w.claims(t, login.RefreshToken); c.Generation != before.Generation+1 || c.Branch != 0 || c.SessionID != sid {
			t.Fatalf("after crash %d: (%d, %d), want (%d, 0)", crash, c.Generation, c.Branch, before.Generation+1)
		}
		outcomes[login.Outcome]++
		rt = login.RefreshToken
	}
	t.Logf("after crashes: %v", outcomes)
	if outcomes[broker.OutcomeAhead] == 0 {
		t.Error("no crash lost an advance: the hot path waits for the disk, or this test shows nothing")
	}
	if n := len(w.events(t, sid, "refresh.ahead")); n != outcomes[broker.OutcomeAhead] {
		t.Errorf("%d events, want %d", n, outcomes[broker.OutcomeAhead])
	}
	w.alive(t, sid)
	if n := w.rows(t); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}
