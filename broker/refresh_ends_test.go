package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

// mint makes a token of ours with other claims.
func (w *world) mint(t *testing.T, like tokens.RefreshToken, change func(*tokens.RefreshClaims)) tokens.RefreshToken {
	t.Helper()
	c := w.claims(t, like)
	change(&c)
	token, err := harness.Secrets(t, harness.Secret).Current().MintRefresh(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// T08: a user who was disabled behind our back, in the database, is refused by
// the very next refresh, whatever outcome it would have had; enabled again, the
// devices go on.
func TestDisabledUserIsRefusedAtOnce(t *testing.T) {
	type setup func(t *testing.T, w *world) tokens.RefreshToken
	advanced := func(t *testing.T, w *world) (rt0, rt1 tokens.RefreshToken) {
		rt0 = w.login(t).RefreshToken
		w.wait(1)
		return rt0, w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
	}
	cases := []struct {
		name string
		make setup
		then broker.Outcome // when enabled again
	}{
		{"advance", func(t *testing.T, w *world) tokens.RefreshToken {
			rt := w.login(t).RefreshToken
			w.wait(1)
			return rt
		}, broker.OutcomeAdvance},
		{"same", func(t *testing.T, w *world) tokens.RefreshToken { return w.login(t).RefreshToken }, broker.OutcomeSame},
		{"converge", func(t *testing.T, w *world) tokens.RefreshToken { rt0, _ := advanced(t, w); return rt0 }, broker.OutcomeConverge},
		{"reissue", func(t *testing.T, w *world) tokens.RefreshToken {
			rt0, _ := advanced(t, w)
			w.wait(1)
			return rt0
		}, broker.OutcomeReissue},
		{"ahead", func(t *testing.T, w *world) tokens.RefreshToken {
			_, rt1 := advanced(t, w)
			return w.mint(t, rt1, func(c *tokens.RefreshClaims) { c.Generation++ })
		}, broker.OutcomeAhead},
	}
	onEach(t, nil, func(t *testing.T, w *world) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				rt := c.make(t, w)
				sid := w.claims(t, rt).SessionID
				before := w.row(t, sid)
				w.setDisabled(t, true)
				w.refused(t, phone, rt, broker.UserDisabled)
				if got := w.row(t, sid); fmt.Sprint(got) != fmt.Sprint(before) {
					t.Errorf("the row changed: %+v, was %+v", got, before)
				}
				if _, err := w.Broker.Authenticate(ctx, sid); !errors.Is(err, broker.UserDisabled) {
					t.Errorf("access tokens: %v", err)
				}
				w.setDisabled(t, false)
				login, err := w.refresh(phone, rt)
				if err != nil || login.Outcome != c.then {
					t.Errorf("enabled again: %v %v, want %s", login, err, c.then)
				}
			})
		}
	})
}

// setDisabled writes the user's row and nothing else: no session ends.
func (w *world) setDisabled(t *testing.T, disabled bool) {
	t.Helper()
	u, err := w.Store.UserByUsername(ctx, "anna")
	if err != nil {
		t.Fatal(err)
	}
	u.DisabledAt = time.Time{}
	if disabled {
		u.DisabledAt = w.Clock.Now()
	}
	if err := w.Store.UpdateUser(ctx, u); err != nil {
		t.Fatal(err)
	}
}

// A reused token of a disabled user is refused like any other, not reported as
// trouble of ours that the client should wait out.
func TestReuseByADisabledUserIsARefusal(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		w.refreshed(t, rt1, broker.OutcomeAdvance, 2, 0)
		w.wait(1)
		w.setDisabled(t, true)
		_, err := w.refresh(phone, rt0)
		if code := broker.CodeOf(err); code != broker.UserDisabled && code != broker.TokenReused {
			t.Errorf("%v, want a refusal", err)
		}
	})
}

// A user who vanished from the database without an end of the sessions.
func TestDeletedUserIsRefusedAtOnce(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		if err := w.Store.DeleteUser(ctx, w.claims(t, rt0).Subject); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, rt := range []tokens.RefreshToken{rt0, rt1} {
				w.refused(t, phone, rt, broker.UserDeleted)
			}
			w.wait(1)
		}
	})
}

// Another client's token, and a bound token without its key, are refused and
// end nothing: a misconfiguration must not log people out.
func TestMismatchEndsNothing(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		before := w.row(t, sid)
		for range 3 {
			if _, err := w.Broker.Refresh(ctx, rt0.Reveal(), "another-client", stranger); !errors.Is(err, broker.ClientMismatch) {
				t.Fatalf("another client: %v", err)
			}
		}
		// The token and its presenter agree with each other, the row does not.
		others := w.mint(t, rt0, func(c *tokens.RefreshClaims) { c.ClientID = "another-client" })
		if _, err := w.Broker.Refresh(ctx, others.Reveal(), "another-client", stranger); !errors.Is(err, broker.ClientMismatch) {
			t.Fatalf("a token of another client for this row: %v", err)
		}
		if got := w.row(t, sid); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the row changed: %+v, was %+v", got, before)
		}
		if n := len(w.events(t, sid, "refresh.client_mismatch")); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
		w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
	})
}

func TestBoundSessionWithoutItsKeyEndsNothing(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		login := w.login(t)
		bound := login.Session
		bound.ID, bound.DPoPThumbprint = "bound-session", "thumbprint-of-a-key"
		if err := second(w.Store.InsertSession(ctx, bound, "")); err != nil {
			t.Fatal(err)
		}
		rt := w.mint(t, login.RefreshToken, func(c *tokens.RefreshClaims) { c.SessionID = bound.ID })
		before := w.row(t, bound.ID)
		for range 3 {
			w.wait(1)
			w.refused(t, stranger, rt, broker.KeyMismatch)
		}
		if got := w.row(t, bound.ID); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the row changed: %+v, was %+v", got, before)
		}
		if n := len(w.events(t, bound.ID, "refresh.key_mismatch")); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
	})
}

// Check 10: audiobookshelf#5253, two sessions of one user in one second.
func TestTwoSessionsInTheSameInstant(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		a, b := w.login(t), w.login(t)
		if a.RefreshToken == b.RefreshToken || a.AccessToken == b.AccessToken || a.Session.ID == b.Session.ID {
			t.Fatal("two logins share a token or a session")
		}
		w.wait(1)
		newA := w.refreshed(t, a.RefreshToken, broker.OutcomeAdvance, 1, 0)
		newB := w.refreshed(t, b.RefreshToken, broker.OutcomeAdvance, 1, 0)
		if newA == newB || w.claims(t, newA).ID == w.claims(t, newB).ID {
			t.Error("two refreshes in one instant gave one token")
		}
		if _, err := w.Broker.Logout(ctx, newA.Reveal(), false, phone); err != nil {
			t.Fatal(err)
		}
		w.refused(t, phone, newA, broker.LoggedOut)
		w.alive(t, b.Session.ID)
		w.refreshed(t, newB, broker.OutcomeSame, 1, 0)
	})
}

// Check 17: any generation of the token logs out, even one that would be taken
// for a theft at a refresh.
func TestLogoutByAnyGeneration(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		for which := range 4 {
			line := []tokens.RefreshToken{w.login(t).RefreshToken}
			for g := range int64(3) {
				w.wait(1)
				line = append(line, w.refreshed(t, line[g], broker.OutcomeAdvance, g+1, 0))
			}
			w.wait(1)
			sid := w.claims(t, line[0]).SessionID
			if s, err := w.Broker.Logout(ctx, line[which].Reveal(), false, phone); err != nil || s.ID != sid {
				t.Fatalf("logout by generation %d: %v, session %s", which, err, s.ID)
			}
			w.ended(t, sid, broker.LoggedOut)
			for _, rt := range line {
				w.refused(t, phone, rt, broker.LoggedOut)
			}
			events := w.events(t, sid, broker.EventSessionEnded)
			if len(events) != 1 || events[0].Detail["cause"] != string(broker.LoggedOut) || events[0].IP != phone.IP {
				t.Errorf("events of the end: %+v", events)
			}
		}
	})
}

func TestLogoutOfAllDevices(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		w.User(t, "bob", broker.RoleUser)
		bob := w.Login(t, "bob")
		a, b := w.login(t).RefreshToken, w.login(t).RefreshToken
		if _, err := w.Broker.Logout(ctx, a.Reveal(), true, phone); err != nil {
			t.Fatal(err)
		}
		w.refused(t, phone, a, broker.LoggedOut)
		w.refused(t, phone, b, broker.LoggedOut)
		w.alive(t, bob.Session.ID)
		// A token that is dead proves nothing about the sessions of a later login.
		later := w.login(t)
		if _, err := w.Broker.Logout(ctx, a.Reveal(), true, stranger); err != nil {
			t.Fatal(err)
		}
		w.alive(t, later.Session.ID)
		// Nor does a token of nobody.
		if _, err := w.Broker.Logout(ctx, "x.y.z", true, stranger); err != nil {
			t.Fatal(err)
		}
		w.alive(t, later.Session.ID)
	})
}

// Check 18: a password change ends every session, the one that asked too, and
// the new one works.
func TestPasswordChangeEndsEverySession(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		a, b := w.login(t), w.login(t)
		w.wait(1)
		newA := w.refreshed(t, a.RefreshToken, broker.OutcomeAdvance, 1, 0)
		p, err := w.Broker.Authenticate(ctx, a.Session.ID)
		if err != nil {
			t.Fatal(err)
		}
		current := harness.PasswordOf("anna")
		fresh, err := w.Broker.ChangePassword(ctx, p, broker.PasswordChange{Current: &current, Fresh: "a whole new password"}, phone)
		if err != nil {
			t.Fatal(err)
		}
		for _, rt := range []tokens.RefreshToken{a.RefreshToken, newA, b.RefreshToken} {
			w.refused(t, phone, rt, broker.PasswordChanged)
		}
		w.ended(t, a.Session.ID, broker.PasswordChanged)
		w.ended(t, b.Session.ID, broker.PasswordChanged)
		w.wait(1)
		w.refreshed(t, fresh.RefreshToken, broker.OutcomeAdvance, 1, 0)
		if _, err := w.Broker.LoginPassword(ctx, "anna", current, phone); !errors.Is(err, broker.InvalidCredentials) {
			t.Errorf("the old password: %v", err)
		}
		if _, err := w.Broker.LoginPassword(ctx, "anna", "a whole new password", phone); err != nil {
			t.Errorf("the new password: %v", err)
		}
	})
}

// A refusal that a client repeats for ever is written down once a day.
func TestRefusalsAreAuditedOnce(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt := w.login(t).RefreshToken
		sid := w.claims(t, rt).SessionID
		if _, err := w.Broker.Logout(ctx, rt.Reveal(), false, phone); err != nil {
			t.Fatal(err)
		}
		repeat := func(want int) {
			t.Helper()
			for range 10 {
				w.refused(t, stranger, rt, broker.LoggedOut)
			}
			events := w.events(t, sid, "refresh.ended")
			if len(events) != want || events[0].IP != stranger.IP || events[0].Detail["code"] != string(broker.LoggedOut) {
				t.Fatalf("events: %+v, want %d", events, want)
			}
		}
		repeat(1)
		w.Clock.Advance(23 * time.Hour)
		repeat(1)
		w.Clock.Advance(time.Hour)
		repeat(2)
		if n := strings.Count(w.Log.String(), "refresh refused"); n != 2 {
			t.Errorf("%d lines in the log, want 2", n)
		}
	})
}

// One row per device for ever.
func TestAThousandRefreshesAreOneRow(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt := w.login(t).RefreshToken
		sid := w.claims(t, rt).SessionID
		for g := range int64(1000) {
			w.wait(1)
			rt = w.refreshed(t, rt, broker.OutcomeAdvance, g+1, 0)
		}
		if n := w.rows(t); n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
		if n := len(w.events(t, sid, "")); n != 1 { // session.started
			t.Errorf("%d events, want 1", n)
		}
	})
}

func second[T any](_ T, err error) error { return err }
