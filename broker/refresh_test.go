package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

func TestLoginAndRefresh(t *testing.T) {
	r := harness.New(t, "", nil)
	r.User(t, "anna", broker.RoleUser)
	login := r.Login(t, "anna")
	r.Clock.Advance(time.Hour)
	next, err := r.Broker.Refresh(context.Background(), login.RefreshToken.Reveal(), broker.AppClientID, broker.Device{IP: "192.0.2.2"})
	if err != nil {
		t.Fatal(err)
	}
	if next.Outcome != broker.OutcomeAdvance || next.Session.Generation != 1 || next.User.Username != "anna" || next.Session.LastIP != "192.0.2.2" {
		t.Fatalf("%+v", next)
	}
	again, err := r.Broker.Refresh(context.Background(), login.RefreshToken.Reveal(), broker.AppClientID, broker.Device{IP: "192.0.2.2"})
	if err != nil || again.Outcome != broker.OutcomeConverge {
		t.Fatalf("%v %v", again, err)
	}
}
