package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// scene is a Latchkey with somebody on every page, whose clock stands still.
// screens.mjs reads it.
type scene struct {
	Base      string   `json:"base"`
	Setup     string   `json:"setup"` // the link to the setup of another one, which is empty
	Link      string   `json:"link"`  // for another password
	User      string   `json:"user"`
	Temporary string   `json:"temporary"` // a user with a temporary password
	Codes     []string `json:"codes"`     // recovery codes of the user guarded
	Now       int64    `json:"now"`       // Unix seconds
	Pictures  string   `json:"pictures"`  // the folder that they go to; empty: none are taken
	Language  string   `json:"language"`
	Axe       bool     `json:"axe"`
	Doors     doors    `json:"doors"`
}

// The names that the pages are seen with.
type names struct{ user, person, client, scope, first, second string }

// TestScreens looks at every page as people see it: in each language, light and
// dark, on a phone and on a desk, by axe-core and for what does not fit. Where
// LATCHKEY_SCREENS names a folder, it puts pictures there.
func TestScreens(t *testing.T) {
	for _, language := range []string{"en", "de"} {
		t.Run(language, func(t *testing.T) {
			s := stage(t, names{user: "anna", person: "Anna Example", client: "Shelf", scope: "shelf:read", first: "Example", second: "GitHub"})
			if s.Language, s.Axe = language, true; language == "en" {
				s.Pictures = os.Getenv("LATCHKEY_SCREENS")
			}
			node(t, "screens.mjs", s)
			if s.Pictures != "" {
				shrink(t, s.Pictures)
			}
		})
	}
	t.Run("longest names", func(t *testing.T) {
		s := stage(t, names{
			user: "maximiliane-wilhelmine.von-und-zu-hohenstein-schwarzenfels.60", person: "Maximiliane-Wilhelmine von und zu Hohenstein-Schwarzenfels X",
			client: "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunte", scope: "donaudampfschifffahrtselektrizitaetenhauptbetriebswerk:read",
			first: "Volkshochschule Oberammergau-Unterstinkenbrunn, Anmeldedienst für Mitarbeitende", second: "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz",
		})
		s.Language = "de"
		node(t, "screens.mjs", s)
	})
}

func stage(t *testing.T, n names) scene {
	t.Helper()
	base, rig := behindClock(t, func(c *broker.Config) {
		addable(c)
		for _, p := range [][2]string{{"first", n.first}, {"second", n.second}} {
			c.Providers = append(c.Providers, broker.Provider{
				ProviderSettings: broker.ProviderSettings{ID: p[0], Name: p[1], Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailIfPresent},
				IdP:              oidc.New(oidc.Config{Issuer: "http://127.0.0.1:9", ClientID: "latchkey", Cache: c.Store.(*storage.Store), Now: c.Now}),
			})
		}
		for _, client := range []broker.Client{
			{ID: "shelf", Name: n.client, RedirectURIs: []string{"https://shelf.example/cb"}, PolicyURI: "https://shelf.example/policy", TermsURI: "https://shelf.example/terms", Scope: "openid profile email groups offline_access latchkey:api latchkey:admin " + n.scope},
			{ID: "tv", Name: n.client, GrantTypes: []string{broker.GrantDeviceCode, broker.GrantRefreshToken}},
		} {
			client.TokenEndpointAuthMethod = broker.AuthNone
			checked, err := broker.CheckClient(client)
			if err != nil {
				t.Fatal(err)
			}
			checked.ReadOnly = true
			c.Clients = append(c.Clients, checked)
		}
	})
	bare, empty := behindClock(t, nil)
	token, err := empty.Broker.SetupToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	manyClients(t, rig, n)
	link := people(t, rig, n)
	accountRooms(t, rig, n)
	lively(t, rig)
	devices(t, rig, n)
	folk(t, rig, n)
	codes := factorRooms(t, rig, n)
	return scene{Base: base, Setup: bare + "/setup?token=" + url.QueryEscape(token), Link: link, User: n.user, Temporary: "temporary", Codes: codes, Now: rig.Clock.Now().Unix(), Doors: stageDoors(t, n)}
}

// people are who is there: one with a login that was just linked to the account,
// and one with a temporary password. It returns a password link.
func people(t *testing.T, rig *harness.Rig, n names) (link string) {
	t.Helper()
	ctx := t.Context()
	u, err := rig.Broker.CreateUser(ctx, broker.NewUser{Username: n.user, Name: n.person, Email: "anna@example.org", Role: broker.RoleAdmin, Password: harness.PasswordOf(n.user)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rig.Broker.CreateUser(ctx, broker.NewUser{Username: "temporary", Name: n.person, Password: harness.PasswordOf(n.user), Temporary: true}); err != nil {
		t.Fatal(err)
	}
	now := rig.Clock.Now()
	for _, i := range []broker.Identity{
		{ProviderID: "first", CreatedAt: now.Add(-3 * time.Hour), LastUsedAt: now, Link: broker.Link{How: broker.LinkedByHand}},
		{ProviderID: "second", CreatedAt: now.Add(-90 * 24 * time.Hour), LastUsedAt: now.Add(-26 * time.Hour)},
	} {
		i.Issuer, i.Subject, i.UserID, i.Email, i.Username = "https://"+i.ProviderID+".example", "1", u.ID, "anna@example.org", n.person
		if err := rig.Store.InsertIdentity(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	at := now.Add(-3 * time.Hour)
	if err := rig.Store.SetNotice(ctx, u.ID, broker.Notice{Code: broker.EventIdentityLinked, At: at, Until: at.Add(7 * 24 * time.Hour), Detail: n.first}); err != nil {
		t.Fatal(err)
	}
	made, err := rig.Broker.MakePasswordLink(ctx, nil, u.ID, broker.PurposeReset)
	if err != nil {
		t.Fatal(err)
	}
	return made.URL
}

// behindClock serves a broker whose clock stands still, until somebody opens
// /test/later.
func behindClock(t *testing.T, change func(*broker.Config)) (base string, rig *harness.Rig) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	base = "http://localhost:" + strings.TrimPrefix(server.Listener.Addr().String(), "127.0.0.1:")
	local := true
	rig = harness.New(t, "", func(c *broker.Config) {
		c.PublicURL = base
		if change != nil {
			change(c)
		}
		local = c.LocalLogin
	})
	handler, err := web.New(web.Config{Broker: rig.Broker, Version: "test", LocalLogin: local})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/test/later" {
			rig.Clock.Advance(10 * time.Minute)
			return
		}
		handler.ServeHTTP(w, r)
	})
	server.Start()
	t.Cleanup(server.Close)
	return base, rig
}
