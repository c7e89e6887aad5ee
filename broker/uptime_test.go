package broker_test

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

const day = 24 * time.Hour

// onEachThatLasts is onEach with a database that outlives its process, some time
// after it was made, so that a clock can be set back.
func onEachThatLasts(t *testing.T, change func(*broker.Config), test func(t *testing.T, w *world)) {
	t.Helper()
	onEachKept(t, change, func(t *testing.T, w *world) {
		w.Clock.Advance(100 * day)
		test(t, w)
	})
}

// onFileThatLasts is onEachThatLasts with SQLite alone.
func onFileThatLasts(t *testing.T, change func(*broker.Config), test func(t *testing.T, w *world)) {
	t.Helper()
	w := &world{kind: "file", url: "sqlite:" + filepath.Join(t.TempDir(), "latchkey.db"), change: change}
	w.Rig = harness.New(t, w.url, change)
	w.User(t, "anna", broker.RoleUser)
	w.Clock.Advance(100 * day)
	test(t, w)
}

func (w *world) beat(t *testing.T) {
	t.Helper()
	if _, err := w.Broker.Beat(ctx); err != nil {
		t.Fatal(err)
	}
}

// runs lets the server run for a time, as it does: a day at a time would count
// for a beat.
func (w *world) runs(t *testing.T, d time.Duration) {
	t.Helper()
	for end := w.Clock.Ran() + d; w.Clock.Ran() < end; {
		w.Clock.Advance(min(broker.BeatEvery, end-w.Clock.Ran()))
		w.beat(t)
	}
}

// withShortIdle makes 30 days short enough to be run through.
func withShortIdle(c *broker.Config) { c.Lifetimes.Refresh, c.Lifetimes.Grace = time.Hour, time.Second }

func (w *world) refreshes(t *testing.T, token tokens.RefreshToken) tokens.RefreshToken {
	t.Helper()
	l, err := w.refresh(phone, token)
	if err != nil {
		t.Fatalf("refresh: %v", err)
	}
	return l.RefreshToken
}

// A box that was off logs nobody out, and what is idle goes on being so after.
func TestOffForSixtyDaysLogsNobodyOut(t *testing.T) {
	onEachThatLasts(t, withShortIdle, func(t *testing.T, w *world) {
		w.beat(t)
		used, kept, idle := w.login(t), w.login(t).RefreshToken, w.login(t).RefreshToken
		rt := used.RefreshToken
		w.runs(t, 40*time.Minute)
		w.Clock.Advance(60 * day)
		w = w.another(t) // it starts again
		w.beat(t)
		list, n, err := w.Broker.Sessions(ctx, used.User.ID, 0, 10)
		if err != nil || n != 3 {
			t.Fatalf("%d sessions live, %v", n, err)
		}
		for _, s := range list {
			if left := s.IdleExpiresAt.Sub(w.Clock.Now()); left < 20*time.Minute || left > 20*time.Minute+broker.LongestBeat {
				t.Errorf("the list says it ends in %v, want 20 minutes and a beat", left)
			}
		}
		if _, err := w.Broker.Authenticate(ctx, used.Session.ID); err != nil {
			t.Errorf("authenticating: %v", err)
		}
		must(t, w.Broker.Sweep(ctx))
		w.Clock.Advance(time.Second)
		l, err := w.refresh(phone, rt)
		if err != nil || l.Outcome != broker.OutcomeAdvance || l.RefreshExpiresIn != time.Hour {
			t.Fatalf("refresh: %v, %+v", err, l)
		}
		if _, err = w.refresh(phone, kept); err != nil {
			t.Fatal(err)
		}
		w.runs(t, 22*time.Minute)
		w.refused(t, phone, idle, broker.SessionExpired)
		w.runs(t, 30*time.Minute)
		w.refreshes(t, l.RefreshToken)
		w.runs(t, 10*time.Minute)
		w.refused(t, phone, kept, broker.SessionExpired)
	})
}

// The absolute end is wall time.
func TestAbsoluteEndCountsWhileOff(t *testing.T) {
	onEachThatLasts(t, func(c *broker.Config) { c.Lifetimes.MaxAge = 50 * day }, func(t *testing.T, w *world) {
		w.beat(t)
		rt := w.login(t).RefreshToken
		w.Clock.Advance(40 * day)
		w = w.another(t)
		w.beat(t)
		l, err := w.refresh(phone, rt)
		if err != nil || l.RefreshExpiresIn != 10*day {
			t.Fatalf("%v, %v left, want 10 days", err, l.RefreshExpiresIn)
		}
		w.Clock.Advance(10 * day)
		w = w.another(t)
		w.beat(t)
		w.refused(t, phone, l.RefreshToken, broker.SessionMaxAge)
		w.Clock.Advance(2 * day)
		must(t, w.Broker.Sweep(ctx))
		w.ended(t, l.Session.ID, broker.SessionMaxAge)
	})
}

// R25: a clock that is set, while the server runs or while it is off, ends
// nothing early and nothing late by more than a beat.
func TestClockThatIsSetMovesNoIdleEnd(t *testing.T) {
	for name, c := range map[string]struct {
		jump time.Duration
		off  bool
	}{
		"on by a month": {31 * day, false}, "back by a month": {-31 * day, false},
		"on by a month while off": {31 * day, true}, "back by a month while off": {-31 * day, true},
	} {
		t.Run(name, func(t *testing.T) {
			onFileThatLasts(t, withShortIdle, func(t *testing.T, w *world) {
				w.beat(t)
				used, idle := w.login(t).RefreshToken, w.login(t).RefreshToken
				w.runs(t, 10*time.Minute)
				w.Clock.Set(c.jump)
				if c.off {
					w = w.another(t)
				}
				used = w.refreshes(t, used) // at once, before the next beat
				w.runs(t, 30*time.Minute)
				used = w.refreshes(t, used)
				w.runs(t, 19*time.Minute+30*time.Second)
				w.alive(t, w.claims(t, idle).SessionID)
				if _, err := w.Broker.Authenticate(ctx, w.claims(t, idle).SessionID); err != nil {
					t.Errorf("half a minute before its idle end: %v", err)
				}
				w.runs(t, 2*broker.LongestBeat)
				w.refused(t, phone, idle, broker.SessionExpired)
				w.Clock.Set(-c.jump)
				w.runs(t, 20*time.Minute)
				w.refused(t, phone, idle, broker.SessionExpired)
				used = w.refreshes(t, used)
				w.runs(t, time.Hour+time.Minute)
				w.refused(t, phone, used, broker.SessionExpired)
			})
		})
	}
}

// R25: what an hour or two in the future would have been deleted, is kept: an ended
// session goes on saying why, and a token that was brought from elsewhere goes on.
func TestClockThatIsFarAheadDeletesNothing(t *testing.T) {
	retention := func(c *broker.Config) { c.Lifetimes.Retention = day }
	onEachThatLasts(t, retention, func(t *testing.T, w *world) {
		w.beat(t)
		rt := w.login(t).RefreshToken
		_, err := w.Broker.Logout(ctx, rt.Reveal(), false, phone)
		must(t, err)
		imported := broker.ImportedToken{ID: "hash", Kind: broker.ImportedLegacy, UserID: w.User(t, "ben", broker.RoleUser).ID, ExpiresAt: w.Clock.Now().Add(day)}
		_, err = w.Store.InsertImportedTokens(ctx, []broker.ImportedToken{imported})
		must(t, err)
		for _, ahead := range []time.Duration{day + time.Hour, 47 * time.Hour} {
			w.Clock.Set(ahead)
			must(t, w.Broker.Sweep(ctx))
			w.Clock.Set(-ahead)
			w.refused(t, phone, rt, broker.LoggedOut)
			_, err = w.Store.ImportedToken(ctx, imported.ID, w.Clock.Now())
			must(t, err)
		}
		w.Clock.Advance(2*day + time.Minute) // and it goes when it is time
		must(t, w.Broker.Sweep(ctx))
		w.refused(t, phone, rt, broker.SessionUnknown)
	})
}

// A process that stood still (a laptop that slept, kill -STOP) has not been there,
// and knows before its next beat.
func TestProcessThatStoodStillLogsNobodyOut(t *testing.T) {
	onEach(t, withShortIdle, func(t *testing.T, w *world) {
		w.beat(t)
		rt, idle := w.login(t).RefreshToken, w.login(t).RefreshToken
		w.runs(t, 50*time.Minute)
		w.Clock.Advance(31 * day) // its monotonic clock ran on
		rt = w.refreshes(t, rt)
		w.beat(t)
		w.runs(t, 8*time.Minute)
		w.refreshes(t, idle)
		w.runs(t, 51*time.Minute)
		w.refreshes(t, rt)
	})
}

// What nobody keeps runs as the wall clock does, and so does a first start.
func TestNoAbsenceIsKnownBeforeTheFirstBeat(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt := w.login(t).RefreshToken
		w.Clock.Advance(31 * day)
		w.beat(t)
		w.refused(t, phone, rt, broker.SessionExpired)
	})
}

// Two replicas, the clock of one of them a month and a half ahead: each judges by
// the one time that they share.
func TestReplicasWithOtherClocksShareTheServicesTime(t *testing.T) {
	onEachThatLasts(t, withShortIdle, func(t *testing.T, w *world) {
		w.beat(t)
		wrong := &world{kind: w.kind, url: w.url, change: w.change}
		clock := harness.NewClock()
		clock.Set(145 * day)
		wrong.Rig = harness.NewAt(t, clock, w.url, w.change)
		both := func(d time.Duration) {
			for end := w.Clock.Ran() + d; w.Clock.Ran() < end; {
				w.Clock.Advance(broker.BeatEvery)
				clock.Advance(broker.BeatEvery)
				w.beat(t)
				wrong.beat(t)
			}
		}
		a, b, idle := w.login(t).RefreshToken, wrong.login(t).RefreshToken, w.login(t).RefreshToken
		for range 3 {
			both(35 * time.Minute)
			a, b = wrong.refreshes(t, a), w.refreshes(t, b)
			a, b = w.refreshes(t, a), wrong.refreshes(t, b)
		}
		wrong.refused(t, phone, idle, broker.SessionExpired)
		w.refused(t, phone, idle, broker.SessionExpired)
	})
}

// An earlier program knows neither table nor column; what it writes ends no
// session early.
func TestSessionsOfAnEarlierProgramKeepTheirIdleEnd(t *testing.T) {
	onEachThatLasts(t, withShortIdle, func(t *testing.T, w *world) {
		w.beat(t)
		rt := w.login(t).RefreshToken
		w.Clock.Advance(60 * day)
		w = w.another(t)
		w.beat(t)
		w.exec(t, `UPDATE sessions SET idle_expires_at = `+strconv.FormatInt(w.Clock.Now().Add(time.Hour).UnixMilli(), 10))
		w.runs(t, 59*time.Minute)
		w.refreshes(t, rt)
	})
}

// The law: no session ends idle before refresh_ttl of the service's time has
// passed, and none lives longer than that and a beat, for each time that the server
// crashed. What happens in between is any order of running, being off, standing
// still, crashing, and a clock that is set.
func TestIdleEndIsCountedInTheServicesTime(t *testing.T) {
	// A refresh by a clock that was set back changes nothing but the idle end, and
	// that in steps: see coarseIdle.
	const ttl, step = 20 * time.Minute, 20 * time.Minute / 24
	rapid.Check(t, func(r *rapid.T) {
		clock := harness.NewClock()
		change := func(c *broker.Config) { c.Lifetimes.Refresh, c.Lifetimes.Grace = ttl, time.Second }
		w := &world{kind: "memory", change: change}
		w.Rig = harness.NewAt(t, clock, "", change)
		w.User(t, "anna", broker.RoleUser)
		clock.Advance(3 * 365 * day) // it is set back from here, never to before the first key
		w.beat(t)
		rt := w.login(t).RefreshToken
		served, slack := time.Duration(0), time.Duration(0) // since the last use
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0, 1:
				d := time.Duration(rapid.IntRange(1, 900).Draw(r, "seconds of running")) * time.Second
				w.runs(t, d)
				served += d
			case 2: // it stands still, or its database is gone: up to LongestBeat counts
				w.Clock.Advance(time.Duration(rapid.IntRange(2, 90*24).Draw(r, "hours of absence")) * time.Hour)
				w.beat(t)
				slack += broker.LongestBeat
			case 3:
				w.Clock.Set(time.Duration(rapid.IntRange(-90*24, 90*24).Draw(r, "hours that the clock is set")) * time.Hour)
			}
			if rapid.Bool().Draw(r, "looks") {
				continue
			}
			l, err := w.refresh(phone, rt)
			switch {
			case err != nil && broker.CodeOf(err) == broker.SessionMaxAge:
				return
			case err != nil && served+slack < ttl-step:
				r.Fatalf("ended after %v of service and %v that may count, of %v: %v", served, slack, ttl, err)
			case err == nil && served >= ttl+broker.LongestBeat:
				r.Fatalf("lives after %v of service, of %v", served, ttl)
			case err != nil:
				return
			}
			rt, served, slack = l.RefreshToken, 0, 0
		}
	})
}

// The hot path stays one statement, whatever the clocks do.
func TestUptimeCostsARefreshNoStatement(t *testing.T) {
	w := &world{kind: "memory", change: withShortIdle}
	w.Rig = harness.New(t, "", withShortIdle)
	w.User(t, "anna", broker.RoleUser)
	w.beat(t)
	rt := w.login(t).RefreshToken
	for range 3 {
		w.Clock.Advance(20 * time.Minute) // no beat came meanwhile
		before := w.Statements.Load()
		rt = w.refreshes(t, rt)
		if n := w.Statements.Load() - before; n != 1 {
			t.Errorf("%d statements", n)
		}
	}
}

// A configuration that is read again is another broker over the same store, and
// keeps the service's own time.
func TestAnotherConfigurationKeepsTheServicesTime(t *testing.T) {
	onFileThatLasts(t, withShortIdle, func(t *testing.T, w *world) {
		w.beat(t)
		rt, idle := w.login(t).RefreshToken, w.login(t).RefreshToken
		w.runs(t, 50*time.Minute)
		next, err := broker.New(broker.Config{
			Store: w.Store, Secrets: harness.Secrets(t, harness.Secret), Hasher: harness.Hasher(t), PublicURL: w.Broker.PublicURL(), Now: w.Clock.Now,
			Lifetimes: broker.Lifetimes{Refresh: time.Hour, Grace: time.Second}, Before: w.Broker,
		})
		must(t, err)
		must(t, next.Load(ctx))
		w.Broker = next
		w.Clock.Advance(60 * day)
		w.refreshes(t, rt)
		w.beat(t)
		w.runs(t, 11*time.Minute)
		w.refused(t, phone, idle, broker.SessionExpired)
	})
}
