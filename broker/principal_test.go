package broker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// K01: who comes without a session changes no password, whatever it knows.
func TestNoPasswordChangeWithoutSession(t *testing.T) {
	x := harness.New(t, "", nil)
	alice := x.User(t, "alice", broker.RoleUser)
	current := harness.PasswordOf("alice")
	for what, p := range map[string]broker.Principal{
		"a key": {User: alice, Key: &broker.APIKey{ID: "k"}}, "a legacy token": {User: alice, OldToken: true}, "nothing": {User: alice},
	} {
		_, err := x.Broker.ChangePassword(context.Background(), p, broker.PasswordChange{Current: &current, Fresh: "another password"}, broker.Device{})
		if !errors.Is(err, broker.InsufficientScope) {
			t.Errorf("by %s: %v", what, err)
		}
	}
	x.Login(t, "alice")
}
