package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// folk are people in each state, for the lists of the office; the last one has all
// that an account can have.
func folk(t *testing.T, rig *harness.Rig, n names) {
	t.Helper()
	ctx := t.Context()
	add := func(u broker.NewUser) broker.User {
		t.Helper()
		made, err := rig.Broker.CreateUser(ctx, u)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	add(broker.NewUser{Username: "root", Role: broker.RoleRoot, Password: harness.PasswordOf("root")})
	add(broker.NewUser{Username: "nobody-yet", Name: "Jo"})
	add(broker.NewUser{Username: "disabled", Name: n.person, Email: "disabled@example.org", Disabled: true, Password: harness.PasswordOf("disabled")})
	for i := range 50 {
		add(broker.NewUser{Username: fmt.Sprintf("guest-%02d", i), Name: n.person, Email: fmt.Sprintf("guest.%02d@example.org", i), Role: broker.RoleGuest})
	}
	full := add(broker.NewUser{Username: "z-" + n.user[:min(len(n.user), 60)], Name: n.person, Email: "everything@example.org", EmailVerified: true, Password: harness.PasswordOf("full")})
	now := rig.Clock.Now()
	err := rig.Store.InsertIdentity(ctx, broker.Identity{
		Issuer: "https://first.example", Subject: "full", ProviderID: "first", UserID: full.ID, Email: "everything@example.org", Username: n.person,
		CreatedAt: now.Add(-3 * time.Hour), LastUsedAt: now, Link: broker.Link{How: broker.LinkedByEmail},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, disabled := range []bool{false, true} {
		k := broker.NewAPIKey{Name: n.client, UserID: full.ID, ExpiresIn: time.Duration(i) * time.Hour, Disabled: disabled}
		if _, _, err := rig.Broker.CreateAPIKey(ctx, nil, k, broker.Device{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, agent := range []string{"okhttp/4.12.0", "curl/8.5.0"} {
		device := broker.Device{IP: "2001:db8:85a3:8d3:1319:8a2e:370:7348", UserAgent: agent}
		if _, err := rig.Broker.LoginPassword(ctx, full.Username, harness.PasswordOf("full"), device); err != nil {
			t.Fatal(err)
		}
	}
}
