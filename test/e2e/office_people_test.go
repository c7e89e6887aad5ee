package e2e

import (
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// An administrator invites somebody, disables and enables the account and ends a
// session, without JavaScript.
func TestOfficeOfPeople(t *testing.T) {
	base, rig := behindClock(t, nil)
	rig.User(t, "root", broker.RoleRoot)
	node(t, "office_people.mjs", map[string]any{"base": base, "password": harness.PasswordOf("root")})
}
