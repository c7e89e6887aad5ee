package broker_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

// T11: fifty parallel refreshes of one token on two replicas have one
// successor; so have fifty retries of a lost answer a day later.
func TestConcurrentDoubleSpend(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		replica := w.another(t)
		login := w.login(t)
		sid := login.Session.ID
		check := func(g, b int64, first broker.Outcome) {
			t.Helper()
			firsts := 0
			jtis := map[string]bool{}
			for _, a := range storm(50, login.RefreshToken, w, replica) {
				if a.err != nil {
					t.Fatal(a.err)
				}
				c := w.claims(t, a.login.RefreshToken)
				if c.SessionID != sid || c.Generation != g || c.Branch != b {
					t.Errorf("answered (%d, %d) of %s, want (%d, %d) of %s", c.Generation, c.Branch, c.SessionID, g, b, sid)
				}
				if a.login.Outcome == first {
					firsts++
				}
				jtis[c.ID] = true
			}
			if firsts != 1 {
				t.Errorf("%d times %s, want exactly one", firsts, first)
			}
			if len(jtis) != 50 {
				t.Errorf("%d different jti in 50 tokens", len(jtis))
			}
			if row := w.row(t, sid); row.Generation != g || row.Branch != b || !row.EndedAt.IsZero() {
				t.Errorf("the row is at (%d, %d), ended %v; want (%d, %d), alive", row.Generation, row.Branch, row.EndedAt, g, b)
			}
			if n := w.rows(t); n != 1 {
				t.Errorf("%d session rows, want 1", n)
			}
		}
		w.wait(1)
		check(1, 0, broker.OutcomeAdvance)
		w.Clock.Advance(26 * time.Hour)
		check(1, 1, broker.OutcomeReissue)
		if _, err := replica.Broker.Authenticate(ctx, sid); err != nil {
			t.Errorf("the session's access tokens: %v", err)
		}
	})
}

// A losing branch that comes from many places at once ends the session once.
func TestConcurrentReuse(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		replica := w.another(t)
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		w.refreshed(t, rt1, broker.OutcomeAdvance, 2, 0)
		w.wait(1)
		for _, a := range storm(20, rt0, w, replica) {
			if broker.CodeOf(a.err) != broker.TokenReused {
				t.Errorf("%v, want %s", a.err, broker.TokenReused)
			}
		}
		w.ended(t, sid, broker.TokenReused)
		if n := len(w.events(t, sid, "refresh.reuse")); n != 1 {
			t.Errorf("%d events of the reuse, want 1", n)
		}
	})
}

// The promise: a client that lost an answer gets another, at whatever time.
func TestLostAnswerIsAnsweredAgain(t *testing.T) {
	for _, grace := range []time.Duration{standardGrace, time.Second} {
		t.Run(grace.String(), func(t *testing.T) {
			onEach(t, withGrace(grace), func(t *testing.T, w *world) {
				for _, delay := range []time.Duration{0, 40 * time.Second, 11 * time.Minute, 26 * time.Hour} {
					lostAndRetried(t, w, grace, delay)
				}
			})
		})
	}
}

// lostAndRetried loses the answer, and those to two retries, each as late as
// the first; then the last answer arrives and must be good.
func lostAndRetried(t *testing.T, w *world, grace, delay time.Duration) {
	t.Helper()
	rt0 := w.login(t).RefreshToken
	sid := w.claims(t, rt0).SessionID
	w.Clock.Advance(grace)
	w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
	branch, outcome, step := int64(0), broker.OutcomeConverge, int64(0)
	if delay > grace {
		outcome, step = broker.OutcomeReissue, 1
	}
	var last tokens.RefreshToken
	for range 3 {
		w.Clock.Advance(delay)
		branch += step
		last = w.refreshed(t, rt0, outcome, 1, branch)
	}
	w.Clock.Advance(grace)
	w.refreshed(t, last, broker.OutcomeAdvance, 2, 0)
	w.alive(t, sid)
}

// Check 9 of the JSON contract: what was reissued wins once it is used; the
// token that it replaced, coming back later, proves two holders.
func TestForkOfTwoHoldersEnds(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		w.refreshed(t, rt1, broker.OutcomeAdvance, 2, 0) // lost
		w.wait(1)
		branch := w.refreshed(t, rt1, broker.OutcomeReissue, 2, 1)
		newest := w.refreshed(t, branch, broker.OutcomeAdvance, 3, 0)
		w.wait(2)
		w.alive(t, sid)
		w.refused(t, stranger, rt1, broker.TokenReused)
		w.ended(t, sid, broker.TokenReused)
		w.refused(t, phone, newest, broker.TokenReused)
		w.refused(t, phone, rt0, broker.TokenReused)
		if _, err := w.Broker.Authenticate(ctx, sid); !errors.Is(err, broker.TokenReused) {
			t.Errorf("access tokens of the session: %v, want %s", err, broker.TokenReused)
		}
		checkReuseEvent(t, w, sid)
	})
}

// checkReuseEvent wants one event that names both holders.
func checkReuseEvent(t *testing.T, w *world, sid string) {
	t.Helper()
	events := w.events(t, sid, "refresh.reuse")
	if len(events) != 1 {
		t.Fatalf("%d events of the reuse, want 1", len(events))
	}
	e := events[0]
	user := w.row(t, sid).UserID
	if e.IP != stranger.IP || e.Detail["user_agent"] != stranger.UserAgent ||
		e.Detail["other_ip"] != phone.IP || e.Detail["other_user_agent"] != phone.UserAgent ||
		e.Detail["cause"] != string(broker.TokenReused) || e.UserID != user || e.Detail["other_at"] == "" {
		t.Errorf("the event does not name both holders: %+v", e)
	}
}

// The other shape of a fork: the losing branch itself is presented.
func TestLosingBranchIsATheft(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		loser := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		winner := w.refreshed(t, rt0, broker.OutcomeReissue, 1, 1)
		newest := w.refreshed(t, winner, broker.OutcomeAdvance, 2, 0)
		w.refused(t, stranger, loser, broker.TokenReused) // at once: a branch has no grace
		w.ended(t, sid, broker.TokenReused)
		w.refused(t, phone, newest, broker.TokenReused)
		checkReuseEvent(t, w, sid)
	})
}

// T09.
func TestLateReplayOfARotatedRefreshToken(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		rt2 := w.refreshed(t, rt1, broker.OutcomeAdvance, 2, 0)
		w.refreshed(t, rt0, broker.OutcomeConverge, 2, 0) // within W: a slow process of the same app
		w.wait(1)
		w.refused(t, stranger, rt0, broker.TokenReused)
		w.ended(t, sid, broker.TokenReused)
		w.refused(t, phone, rt2, broker.TokenReused)
		checkReuseEvent(t, w, sid)
	})
}

// T10.
func TestThiefAndOwnerShareAGeneration(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		shared := w.login(t).RefreshToken
		sid := w.claims(t, shared).SessionID
		w.wait(1)
		thief := w.refreshed(t, shared, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		owner := w.refreshed(t, shared, broker.OutcomeReissue, 1, 1)
		w.wait(1)
		thief = w.refreshed(t, thief, broker.OutcomeAdvance, 2, 0)
		w.wait(1)
		w.refused(t, phone, owner, broker.TokenReused)
		w.ended(t, sid, broker.TokenReused)
		w.refused(t, stranger, thief, broker.TokenReused)
	})
}

// T13: a token whose generation, session or maker is not what it says is
// nobody's token, and touches nothing.
func TestForgedOrForeignGeneration(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		before := w.row(t, sid)
		foreign := harness.Secrets(t, "the root secret of another deployment")
		claims := w.claims(t, rt0)
		claims.Generation += 50
		ofOthers, err := foreign.Current().MintRefresh(claims)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(rt0.Reveal(), ".")
		ahead := strings.Split(ofOthers.Reveal(), ".")[1]
		for name, raw := range map[string]string{
			"payload edited":           parts[0] + "." + ahead + "." + parts[2],
			"payload edited, unsigned": base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"rt+jwt"}`)) + "." + ahead + ".",
			"another deployment":       ofOthers.Reveal(),
			"cut":                      rt0.Reveal()[:len(rt0.Reveal())-1],
			"not a token":              "x",
		} {
			if _, err := w.Broker.Refresh(ctx, raw, broker.AppClientID, stranger); broker.CodeOf(err) != broker.InvalidToken {
				t.Errorf("%s: %v, want %s", name, err, broker.InvalidToken)
			}
		}
		if got := w.row(t, sid); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the row changed: %+v, was %+v", got, before)
		}
		if w.rows(t) != 1 {
			t.Error("a row was made")
		}
		w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		if w.url == "" {
			return
		}
		w.exec(t, "DELETE FROM sessions")
		w.refused(t, phone, rt0, broker.SessionUnknown)
		if w.rows(t) != 0 {
			t.Error("a row was made for a session that is gone")
		}
	})
}
