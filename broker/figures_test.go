package broker_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

// figuresOf sums up the figures of a name by label, those that are 0 left out.
func figuresOf(t *testing.T, rig *harness.Rig, name string, from, until time.Time) map[string]int64 {
	t.Helper()
	list, err := rig.Store.Figures(t.Context(), broker.FigureQuery{Names: []string{name}, From: from, Until: until, Step: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, f := range list {
		if f.N != 0 {
			out[f.Label] += f.N
		}
	}
	return out
}

func wantFigures(t *testing.T, rig *harness.Rig, name string, want map[string]int64) {
	t.Helper()
	now := rig.Clock.Now()
	if got := figuresOf(t, rig, name, now.Add(-40*24*time.Hour), now.Add(time.Hour)); !maps.Equal(got, want) {
		t.Errorf("%s: %v, want %v", name, got, want)
	}
}

func keep(t *testing.T, rig *harness.Rig) {
	t.Helper()
	if _, err := rig.Broker.KeepFigures(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRefreshesAndRefusalsAreCounted(t *testing.T) {
	rig := harness.New(t, "", nil)
	rig.User(t, "alice", broker.RoleUser)
	login := rig.Login(t, "alice")
	ctx := t.Context()
	refresh := func(token tokens.RefreshToken) *broker.Login {
		again, _ := rig.Broker.Refresh(ctx, string(token), broker.AppClientID, here)
		return again
	}
	rig.Clock.Advance(time.Hour)
	next := refresh(login.RefreshToken) // advance
	refresh(login.RefreshToken)         // converge
	refresh("nonsense")
	for range 3 {
		_, _ = rig.Broker.LoginPassword(ctx, "alice", "wrong", here)
	}
	keep(t, rig)
	if _, err := rig.Broker.EndSessions(ctx, broker.SessionFilter{ID: login.Session.ID}, broker.RevokedByAdmin, false, ""); err != nil {
		t.Fatal(err)
	}
	refresh(next.RefreshToken)
	keep(t, rig)
	wantFigures(t, rig, broker.FigureRefreshes, map[string]int64{"advance": 1, "converge": 1})
	wantFigures(t, rig, broker.FigureRefreshRefused, map[string]int64{"invalid_token": 1, "revoked_by_admin": 1})
	wantFigures(t, rig, broker.FigureLoginRefused, map[string]int64{"invalid_credentials": 3})
}

// outage is a store that takes no figures for a while.
type outage struct {
	broker.Store
	gone bool
	live int // how many times live sessions were counted
	mu   sync.Mutex
}

func (o *outage) AddFigures(ctx context.Context, list []broker.Figure) error {
	if o.gone {
		return broker.Unavailable(errors.New("gone"))
	}
	return o.Store.AddFigures(ctx, list)
}

func (o *outage) SetFigures(ctx context.Context, list []broker.Figure) error {
	if o.gone {
		return broker.Unavailable(errors.New("gone"))
	}
	return o.Store.SetFigures(ctx, list)
}

func (o *outage) CountLive(ctx context.Context, now time.Time) ([]broker.LiveCount, error) {
	o.mu.Lock()
	o.live++
	o.mu.Unlock()
	return o.Store.CountLive(ctx, now)
}

func within(o *outage) func(*broker.Config) {
	return func(c *broker.Config) { o.Store, c.Store = c.Store, o }
}

// What is counted while the database is gone is written when it is back, and no
// hour of sessions is missing.
func TestFiguresOutliveAnOutage(t *testing.T) {
	o := &outage{}
	rig := harness.New(t, "", within(o))
	rig.User(t, "alice", broker.RoleUser)
	keep(t, rig)
	o.gone = true
	for range 30 { // hours
		rig.Login(t, "alice")
		_, _ = rig.Broker.LoginPassword(t.Context(), "alice", "wrong", here)
		if _, err := rig.Broker.KeepFigures(t.Context()); !errors.Is(err, broker.TemporarilyUnavailable) {
			t.Fatal(err)
		}
		rig.Clock.Advance(time.Hour)
	}
	o.gone = false
	keep(t, rig)
	wantFigures(t, rig, broker.FigureLogins, map[string]int64{"": 30})
	wantFigures(t, rig, broker.FigureLoginRefused, map[string]int64{"invalid_credentials": 30})
	wantFigures(t, rig, broker.FigureLiveClients, map[string]int64{broker.AppClientID: 30})
	now := rig.Clock.Now()
	for h := 1; h <= 30; h++ {
		at := now.Add(-time.Duration(h) * time.Hour).Truncate(time.Hour)
		if got := figuresOf(t, rig, broker.FigureLogins, at, at.Add(time.Hour)); got[""] != 1 {
			t.Errorf("%s: %v", at, got)
		}
	}
}

// An expiry is written down a day after it, or when the program runs again.
func TestExpiriesAreCountedLate(t *testing.T) {
	rig := harness.New(t, "", nil)
	rig.User(t, "alice", broker.RoleUser)
	expires := rig.Login(t, "alice").Session.IdleExpiresAt
	keep(t, rig)
	rig.Clock.Advance(36 * 24 * time.Hour) // nothing ran meanwhile
	keep(t, rig)
	if err := rig.Broker.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	rig.Clock.Advance(time.Hour)
	keep(t, rig)
	hour := expires.Truncate(time.Hour)
	if got := figuresOf(t, rig, broker.FigureEnds, hour, hour.Add(time.Hour)); got["session_expired"] != 1 {
		t.Errorf("%v", got)
	}
	wantFigures(t, rig, broker.FigureLiveClients, map[string]int64{broker.AppClientID: 1}) // of a month ago
}

// Of replicas that count at once, one does; the next count is five minutes later.
func TestOneReplicaCounts(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		o := &outage{}
		first := harness.New(t, database, within(o))
		replicas := []*broker.Broker{first.Broker}
		for range 5 {
			b, err := broker.New(broker.Config{
				LocalLogin: true, Store: o, Secrets: harness.Secrets(t, harness.Secret), Hasher: harness.Hasher(t), PublicURL: "http://localhost:8080", Now: first.Clock.Now,
			})
			if err != nil {
				t.Fatal(err)
			}
			replicas = append(replicas, b)
		}
		first.User(t, "alice", broker.RoleUser)
		first.Login(t, "alice")
		for round := range 3 {
			var all sync.WaitGroup
			for _, b := range replicas {
				all.Go(func() {
					if _, err := b.KeepFigures(context.Background()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if o.live != round+1 {
				t.Fatalf("round %d: live sessions were counted %d times", round, o.live)
			}
			first.Clock.Advance(5 * time.Minute)
		}
		wantFigures(t, first, broker.FigureLogins, map[string]int64{"": 1})
	})
}

// slow makes every count of live sessions last a while.
type slow struct {
	outage
	clock *harness.Clock
	takes time.Duration
}

func (s *slow) CountLive(ctx context.Context, now time.Time) ([]broker.LiveCount, error) {
	s.clock.Advance(s.takes)
	return s.outage.CountLive(ctx, now)
}

func TestSlowCountsAreRarer(t *testing.T) {
	o := &slow{takes: time.Minute}
	rig := harness.New(t, "", func(c *broker.Config) { o.Store, c.Store = c.Store, o })
	o.clock = rig.Clock
	for range 3 * 63 {
		keep(t, rig)
		rig.Clock.Advance(time.Minute)
	}
	if o.live < 8 || o.live > 10 { // of 1 minute each, 20 minutes apart
		t.Errorf("counted %d times in three hours", o.live)
	}
}

// Whatever happened, the figures are what the table of sessions says.
func TestFiguresEqualACountOfTheSessions(t *testing.T) {
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 7))
		if seed > 0 {
			figuresOfARandomRun(t, random, "")
			continue
		}
		onBoth(t, func(t *testing.T, database string) { figuresOfARandomRun(t, random, database) })
	}
}

func figuresOfARandomRun(t *testing.T, random *rand.Rand, database string) {
	t.Helper()
	rig := harness.New(t, database, nil)
	u := rig.User(t, "alice", broker.RoleUser)
	begun, ended, ids := map[time.Time]int64{}, map[string]int64{}, []string{}
	causes := []broker.EndCause{broker.LoggedOut, broker.RevokedByUser, broker.TokenReused}
	for range 300 {
		switch random.IntN(4) {
		case 0, 1:
			s := rig.Login(t, "alice").Session
			ids = append(ids, s.ID)
			begun[s.CreatedAt.Truncate(time.Hour)]++
		case 2:
			cause := causes[random.IntN(len(causes))]
			if len(ids) > 0 {
				n, err := rig.Broker.EndSessions(t.Context(), broker.SessionFilter{ID: ids[random.IntN(len(ids))]}, cause, false, "")
				if err != nil {
					t.Fatal(err)
				}
				ended[string(cause)] += int64(n)
			}
		default:
			keep(t, rig)
		}
		rig.Clock.Advance(time.Duration(random.Int64N(int64(90 * time.Minute))))
	}
	rig.Clock.Advance(5 * time.Minute)
	keep(t, rig)
	total := int64(0)
	for hour, n := range begun {
		total += n
		if got := figuresOf(t, rig, broker.FigureLogins, hour, hour.Add(time.Hour)); got[""] != n {
			t.Errorf("%s: %v logins, want %d", hour, got, n)
		}
	}
	wantFigures(t, rig, broker.FigureLogins, map[string]int64{"": total})
	maps.DeleteFunc(ended, func(_ string, n int64) bool { return n == 0 })
	wantFigures(t, rig, broker.FigureEnds, ended)
	_, live, err := rig.Store.ListSessions(t.Context(), broker.SessionFilter{UserID: u.ID, LiveAt: rig.Clock.Now()}, 0, 1)
	hour := rig.Clock.Now().Truncate(time.Hour)
	if got := figuresOf(t, rig, broker.FigureLive, hour, hour.Add(time.Hour)); err != nil || got[""] != int64(live) {
		t.Errorf("%v live, want %d, %v", got, live, err)
	}
}

// However many clients there are, a figure keeps two hundred labels.
func TestFiguresHaveABoundedNumberOfLabels(t *testing.T) {
	o := &many{}
	rig := harness.New(t, "", func(c *broker.Config) { o.Store, c.Store = c.Store, o })
	keep(t, rig)
	now := rig.Clock.Now()
	got := figuresOf(t, rig, broker.FigureLiveClients, now.Add(-time.Hour), now.Add(time.Hour))
	if len(got) != broker.MaxLabels || got["client 4999"] != 5000 {
		t.Errorf("%d labels", len(got))
	}
	total := int64(0)
	for n := range maps.Values(got) {
		total += n
	}
	if total != 5000*5001/2 || slices.Max(slices.Collect(maps.Values(got))) != got[broker.OtherLabels] {
		t.Errorf("%d in all, %d of others", total, got[broker.OtherLabels])
	}
}

type many struct{ broker.Store }

func (m *many) CountLive(context.Context, time.Time) (out []broker.LiveCount, _ error) {
	for i := range 5000 {
		out = append(out, broker.LiveCount{ClientID: fmt.Sprint("client ", i), N: int64(i + 1)})
	}
	return out, nil
}
