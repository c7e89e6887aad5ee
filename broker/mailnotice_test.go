package broker_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// Two holders of one token: the owner is told once, however often the thief tries.
func TestReuseOfATokenIsMailed(t *testing.T) {
	box := &letterbox{}
	onEach(t, withMail(box), func(t *testing.T, w *world) {
		box.sent, box.letters = nil, nil
		mailed(t, w.Rig, "bertha", "bertha@example.org")
		login := w.Rig.Login(t, "bertha")
		first := login.RefreshToken
		for range 3 {
			w.wait(2)
			next, err := w.refresh(broker.Device{IP: "192.0.2.1"}, login.RefreshToken)
			if err != nil {
				t.Fatal(err)
			}
			login = next
		}
		for range 3 {
			if _, err := w.refresh(broker.Device{IP: "203.0.113.9"}, first); err == nil {
				t.Fatal("an old token was taken")
			}
		}
		deliver(t, w.Rig)
		if got := box.kinds("bertha@example.org"); !slices.Equal(got, []string{"token_reused"}) {
			t.Errorf("bertha got %v", got)
		}
		if l := box.letters[0]; l.Link != "http://localhost:8080/account/ended" || l.Secret != "" || l.Username != "bertha" {
			t.Errorf("%+v", l)
		}
	})
}

// A login that is linked is told to the address that was there before, with the
// way to undo it.
func TestLinkOfAnIdentityIsMailed(t *testing.T) {
	box := &letterbox{}
	idp := &scriptedIdP{}
	onEach(t, func(c *broker.Config) {
		withMail(box)(c)
		c.Providers = []broker.Provider{{ProviderSettings: broker.ProviderSettings{
			ID: "openid", Name: "IdP", Provision: broker.ProvisionMatch, LinkBy: broker.LinkVerifiedEmail, RequireVerifiedEmail: broker.EmailIfPresent,
		}, IdP: claimingIdP{idp}}}
	}, func(t *testing.T, w *world) {
		if w.kind == "postgres" {
			return // the statements are those of the test before
		}
		box.sent, box.letters = nil, nil
		mailed(t, w.Rig, "bertha", "bertha@example.org", func(n *broker.NewUser) { n.EmailVerified = true })
		_, state, err := w.Broker.BeginWeb(ctx, "openid", "/", broker.IdPAsk{}, here)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Broker.CompleteIdPLogin(ctx, "openid", broker.IdPResponse{State: state, Code: idpCode}, func(string) bool { return true }, here); err != nil {
			t.Fatal(err)
		}
		deliver(t, w.Rig)
		if got := box.kinds("bertha@example.org"); !slices.Equal(got, []string{"identity_linked"}) {
			t.Fatalf("bertha got %v", got)
		}
		l := box.letters[0]
		if l.Link != "http://localhost:8080/account/identities" || l.What != "IdP" || !l.Until.Equal(w.Clock.Now().Add(7*24*time.Hour)) {
			t.Errorf("%+v", l)
		}
	})
}

// claimingIdP says of everybody that they have bertha's address.
type claimingIdP struct{ *scriptedIdP }

func (claimingIdP) Exchange(context.Context, broker.IdPRequest, broker.IdPResponse) (broker.IdPClaims, error) {
	verified := true
	return broker.IdPClaims{Issuer: "https://idp.test", Subject: "bertha-at-the-idp", Email: "bertha@example.org", EmailVerified: &verified}, nil
}
