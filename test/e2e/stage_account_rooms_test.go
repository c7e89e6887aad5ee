package e2e

import (
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// accountRooms is what the rooms of the account show: apps that were let in, and
// a guest, who has nothing.
func accountRooms(t *testing.T, rig *harness.Rig, n names) {
	t.Helper()
	for _, u := range []broker.NewUser{{Username: "kiosk", Name: n.person, Role: broker.RoleGuest, Password: harness.PasswordOf(n.user)}} {
		if _, err := rig.Broker.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	u, err := rig.Broker.FindUser(t.Context(), n.user)
	if err != nil {
		t.Fatal(err)
	}
	for client, scope := range map[string]string{"shelf": "openid profile email " + n.scope, "tv": "openid", "an-app-that-is-gone": "openid groups"} {
		c := broker.Consent{UserID: u.ID, ClientID: client, Scope: scope, GrantedAt: rig.Clock.Now().Add(-50 * time.Hour)}
		if err := rig.Store.SaveConsent(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}
