package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

// Each call makes another assertion, which lives for a minute and is signed with
// a key that is published, made for it if need be.
func TestClientAssertionOfTheRing(t *testing.T) {
	x := harness.New(t, "", nil)
	for _, algorithm := range tokens.Algorithms {
		seen := map[string]bool{}
		for range 3 {
			made, err := x.Broker.ClientAssertion(ctx, "latchkey", "https://idp.test", algorithm)
			if err != nil {
				t.Fatal(err)
			}
			keys, err := tokens.ParseKeySet(x.Broker.PublicKeys(ctx))
			if err != nil {
				t.Fatal(err)
			}
			got, err := tokens.ParseAssertion(ctx, made.Reveal(), "latchkey", "https://idp.test", keys, x.Clock.Now())
			if err != nil || got.ExpiresAt.Unix() != x.Clock.Now().Add(time.Minute).Unix() || len(got.ID) < 22 || seen[got.ID] {
				t.Errorf("%s: %+v, %v", algorithm, got, err)
			}
			seen[got.ID] = true
		}
	}
	if made, err := x.Broker.ClientAssertion(ctx, "latchkey", "https://idp.test", "HS256"); err == nil {
		t.Errorf("signed with a shared key: %d bytes", len(made.Reveal()))
	}
}

// A secret beside the key would be sent to nobody, and be believed to be of use.
func TestSecretBesideAKey(t *testing.T) {
	s := broker.ProviderSettings{ID: "p", Type: broker.TypeOIDC, ClientID: "c", Issuer: "https://idp.test", TokenEndpointAuth: broker.AuthPrivateKeyJWT}
	if err := broker.CheckProviderSecret(s, ""); err != nil {
		t.Error(err)
	}
	if err := broker.CheckProviderSecret(s, "s3cret"); !faulty(err, "client_secret") || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
	h := newHouse(t, "", nil, makingIdPs)
	h.add(added("r"), "s3cret")
	change := added("r")
	change.TokenEndpointAuth = broker.AuthPrivateKeyJWT
	if _, err := h.Broker.UpdateProvider(ctx, change, nil); !faulty(err, "client_secret") {
		t.Error(err)
	}
	none := ""
	if p, err := h.Broker.UpdateProvider(ctx, change, &none); err != nil || p.HasSecret {
		t.Errorf("%+v, %v", p, err)
	}
}
