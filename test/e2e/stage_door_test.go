package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
)

// doors are login pages in the states that take a Latchkey of their own.
type doors struct {
	Many    string `json:"many"`    // eight providers, of which one is slow, one dark, and one has a logo
	Dark    string `json:"dark"`    // one provider, which does not answer
	Alone   string `json:"alone"`   // one provider, and no passwords
	Confirm string `json:"confirm"` // a way back from an IdP to an app, with the question before it
	Mail    string `json:"mail"`    // one that sends mail
}

const logo = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="6" fill="#3b5bdb"/><path d="M7 12h10M12 7v10" stroke="#fff" stroke-width="3" stroke-linecap="round"/></svg>`

// slowIdP answers after three seconds of the clock.
type slowIdP struct {
	broker.IdP
	clock *harness.Clock
	at    time.Time
}

func (s *slowIdP) AuthURL(context.Context, broker.IdPRequest) (string, error) {
	s.clock.Advance(3 * time.Second)
	s.at = s.clock.Now()
	return "https://slow.example", nil
}

func (s *slowIdP) LastAnswer() time.Time { return s.at }

func door(id, name string, idp broker.IdP) broker.Provider {
	return broker.Provider{IdP: idp, ProviderSettings: broker.ProviderSettings{
		ID: id, Name: name, Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailIfPresent,
	}}
}

func nowhere(c *broker.Config) broker.IdP {
	return oidc.New(oidc.Config{Issuer: "http://127.0.0.1:9", ClientID: "latchkey", Cache: c.Store.(*storage.Store), Now: c.Now})
}

// darken sends somebody to a provider of which nothing can be had.
func darken(t *testing.T, rig *harness.Rig, id string) {
	t.Helper()
	if _, _, err := rig.Broker.BeginWeb(t.Context(), id, "/", broker.IdPAsk{}, broker.Device{}); err == nil {
		t.Fatalf("%s answers", id)
	}
}

func stageDoors(t *testing.T, n names) (d doors) {
	t.Helper()
	slow := &slowIdP{}
	many, rig := behindClock(t, func(c *broker.Config) {
		slow.IdP = nowhere(c)
		c.Providers = []broker.Provider{door("first", n.first, nowhere(c)), door("second", n.second, nowhere(c)), door("slow", "Slow Example", slow)}
		c.Providers[0].Logo = "data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString([]byte(logo))
		for i := range 5 {
			c.Providers = append(c.Providers, door(fmt.Sprint("more", i), fmt.Sprintf("%c Example", 'A'+i), nowhere(c)))
		}
	})
	slow.clock = rig.Clock
	rig.User(t, "root", broker.RoleRoot)
	darken(t, rig, "second")
	if _, _, err := rig.Broker.BeginWeb(t.Context(), "slow", "/", broker.IdPAsk{}, broker.Device{}); err != nil {
		t.Fatal(err)
	}
	dark, rig := behindClock(t, func(c *broker.Config) { c.Providers = []broker.Provider{door("first", n.first, nowhere(c))} })
	rig.User(t, "root", broker.RoleRoot)
	darken(t, rig, "first")
	alone, rig := behindClock(t, func(c *broker.Config) {
		c.LocalLogin, c.Providers = false, []broker.Provider{door("first", n.first, nowhere(c))}
	})
	rig.User(t, "root", broker.RoleRoot)
	return doors{Many: many, Dark: dark, Alone: alone, Confirm: stageConfirm(t, n), Mail: stageMail(t)}
}

// stageConfirm is an app's login up to the way back from the IdP.
func stageConfirm(t *testing.T, n names) (callback string) {
	t.Helper()
	idp := providertest.Start(t, providertest.Config{
		Now:   harness.NewClock().Now,
		Users: []providertest.User{{Subject: "s-anna", Username: n.user, Name: n.person, Email: "anna@example.org", EmailVerified: true}},
	})
	_, rig := behindClock(t, func(c *broker.Config) {
		c.MobileConfirm = true
		idp.SetClient(providertest.Client{ID: "latchkey", Secret: "a secret", RedirectURIs: []string{c.PublicURL + "/auth/first/callback"}})
		c.Providers = []broker.Provider{door("first", n.first, oidc.New(oidc.Config{
			Issuer: idp.Issuer(), ClientID: "latchkey", ClientSecret: "a secret", Cache: c.Store.(*storage.Store), Now: c.Now,
		}))}
	})
	r, err := rig.Broker.BeginApp(t.Context(), broker.AppRequest{
		ProviderID: "first", ResponseType: "code", RedirectURI: "audiobookshelf://oauth", CodeChallenge: strings.Repeat("c", 43),
	})
	if err != nil {
		t.Fatal(err)
	}
	to, _, err := rig.Broker.OpenAuthRequest(t.Context(), "first", r.State, r.Challenge, broker.Device{})
	if err != nil {
		t.Fatal(err)
	}
	callback, err = idp.Authorize(t.Context(), to, n.user)
	if err != nil {
		t.Fatal(err)
	}
	return callback
}
