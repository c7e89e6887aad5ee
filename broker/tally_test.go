package broker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// forgetful is a store whose transactions fail, now and then, once all was done.
type forgetful struct {
	broker.Store
	failures *int
}

var errForgotten = errors.New("the commit was lost")

func (f forgetful) Tx(ctx context.Context, work func(broker.Store) error) error {
	return f.Store.Tx(ctx, func(inner broker.Store) error {
		if err := work(inner); err != nil {
			return err
		}
		if *f.failures > 0 {
			*f.failures--
			return errForgotten
		}
		return nil
	})
}

func tallyOf(b *broker.Broker, name, first, second string) uint64 {
	for _, t := range b.Tallies() {
		if t.Name == name && t.Labels == [2]string{first, second} {
			return t.N
		}
	}
	return 0
}

// What a transaction wrote counts once it stands, and not before.
func TestTalliesCountWhatWasCommitted(t *testing.T) {
	failures := 0
	rig := harness.New(t, "", func(c *broker.Config) { c.Store = forgetful{c.Store, &failures} })
	rig.User(t, "alice", broker.RoleUser)
	login := rig.Login(t, "alice")
	failures = 1
	end := func() error {
		_, err := rig.Broker.EndSessions(t.Context(), broker.SessionFilter{ID: login.Session.ID}, broker.RevokedByAdmin, false, "")
		return err
	}
	if err := end(); !errors.Is(err, errForgotten) {
		t.Fatal(err)
	}
	want := func(n uint64, name, first, second string) {
		t.Helper()
		if got := tallyOf(rig.Broker, name, first, second); got != n {
			t.Errorf("%s %s %s: %d, want %d", name, first, second, got, n)
		}
	}
	want(0, broker.TallyEnded, "revoked_by_admin", "")
	if err := end(); err != nil {
		t.Fatal(err)
	}
	want(1, broker.TallyEnded, "revoked_by_admin", "")
	want(1, broker.TallyStarted, "password", "")
	want(1, broker.TallyEvents, broker.EventSessionEnded, "")
	want(1, broker.TallyLogins, broker.MethodPassword, broker.TallyOK)
	_, _ = rig.Broker.LoginPassword(t.Context(), "alice", "wrong", here)
	want(1, broker.TallyLogins, broker.MethodPassword, "invalid_credentials")
	_, _ = rig.Broker.Refresh(t.Context(), login.RefreshToken.Reveal(), broker.AppClientID, here)
	want(1, broker.TallyRefresh, broker.TallyRefused, "revoked_by_admin")
}
