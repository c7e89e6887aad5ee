package broker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

func limited(n int) func(*broker.Config) { return func(c *broker.Config) { c.SessionLimit = n } }

func TestOneLoginTooManyEndsTheSessionUnusedForLongest(t *testing.T) {
	t.Run("in general", func(t *testing.T) { oneLoginTooMany(t, limited(3)) })
	t.Run("where no use moves the end of a session", func(t *testing.T) {
		oneLoginTooMany(t, func(c *broker.Config) {
			limited(3)(c)
			c.Lifetimes.MaxAge = 7 * 24 * time.Hour
		})
	})
}

func oneLoginTooMany(t *testing.T, change func(*broker.Config)) {
	rig, ctx := harness.New(t, "", change), context.Background()
	u := rig.User(t, "alice", broker.RoleUser)
	ids := []string{}
	for range 3 {
		ids = append(ids, rig.Login(t, "alice").Session.ID)
		rig.Clock.Advance(time.Minute)
	}
	rig.Clock.Advance(time.Hour) // so that a use is written
	if _, err := rig.Broker.AuthenticateCookie(ctx, rig.Broker.PageCookie(ids[0]), here); err != nil {
		t.Fatal(err)
	}
	fourth := rig.Login(t, "alice")
	for i, want := range []broker.EndCause{"", broker.SessionLimit, ""} {
		s, _, err := rig.Store.SessionByID(ctx, ids[i])
		if err != nil || s.EndCause != want {
			t.Errorf("session %d: ended with %q, want %q, %v", i, s.EndCause, want, err)
		}
	}
	if _, err := rig.Broker.Authenticate(ctx, fourth.Session.ID); err != nil {
		t.Error("the new session:", err)
	}
	events, err := rig.Broker.Events(ctx, broker.EventFilter{UserID: u.ID, Name: broker.EventSessionEnded, Limit: 10})
	if err != nil || len(events) != 1 || events[0].SessionID != ids[1] || events[0].Detail["cause"] != string(broker.SessionLimit) {
		t.Errorf("events %+v, %v", events, err)
	}
}

// A browser that logs in again replaces its own session, and costs no other one.
func TestLoginThatReplacesASessionCountsOnce(t *testing.T) {
	rig, ctx := harness.New(t, "", limited(2)), context.Background()
	u := rig.User(t, "alice", broker.RoleUser)
	other := rig.Login(t, "alice")
	rig.Clock.Advance(time.Minute)
	browser := rig.Login(t, "alice")
	again := here
	again.Replaces = browser.Session.ID
	if _, err := rig.Broker.LoginPassword(ctx, "alice", harness.PasswordOf("alice"), again); err != nil {
		t.Fatal(err)
	}
	if _, err := rig.Broker.Authenticate(ctx, other.Session.ID); err != nil {
		t.Error("the other device was ended:", err)
	}
	if n := liveSessions(t, rig, u.ID); n != 2 {
		t.Errorf("%d live", n)
	}
}

func TestLimitOfOneAndNone(t *testing.T) {
	for limit, want := range map[int]int{0: 12, 1: 1} {
		rig := harness.New(t, "", limited(limit))
		u := rig.User(t, "alice", broker.RoleUser)
		for range 12 {
			rig.Login(t, "alice")
		}
		if n := liveSessions(t, rig, u.ID); n != want {
			t.Errorf("limit %d: %d live, want %d", limit, n, want)
		}
	}
}

func TestParallelLoginsNeverLeaveMoreSessionsThanTheLimit(t *testing.T) {
	for name, url := range map[string]func() string{
		"sqlite":     func() string { return "sqlite:" + t.TempDir() + "/latchkey.db" },
		"postgresql": func() string { return pgtest.Shared(t).NewDatabase(t) },
	} {
		t.Run(name, func(t *testing.T) {
			const limit, logins = 10, 50
			rig, ctx := harness.New(t, url(), func(c *broker.Config) { c.SessionLimit, c.RetryFor = limit, 20*time.Second }), context.Background()
			u := rig.User(t, "alice", broker.RoleUser)
			var wg sync.WaitGroup
			var mu sync.Mutex
			most, refused := 0, []string{}
			for i := range logins {
				wg.Go(func() {
					device := broker.Device{IP: fmt.Sprint("192.0.2.", i)}
					_, err := rig.Broker.LoginPassword(ctx, "alice", harness.PasswordOf("alice"), device)
					_, n, listErr := rig.Broker.SessionsBy(ctx, broker.SessionFilter{UserID: u.ID, LiveAt: rig.Broker.Now()}, 0, 1)
					mu.Lock()
					defer mu.Unlock()
					if most = max(most, n); err != nil || listErr != nil {
						refused = append(refused, fmt.Sprint(err, listErr))
					}
				})
			}
			wg.Wait()
			if len(refused) > 0 {
				t.Errorf("refused: %v", slices.Compact(refused))
			}
			if n := liveSessions(t, rig, u.ID); most > limit || n != limit {
				t.Errorf("%d live at most, %d in the end, want %d", most, n, limit)
			}
		})
	}
}
