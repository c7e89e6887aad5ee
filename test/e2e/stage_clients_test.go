package e2e

import (
	"fmt"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// manyClients are more than a page of clients, one that has everything, and one
// of a known app.
func manyClients(t *testing.T, rig *harness.Rig, n names) {
	t.Helper()
	list := []broker.Client{
		{ID: "audiobookshelf", Name: "Audiobookshelf", SoftwareID: "audiobookshelf", URI: "https://books.example.org", ApplicationType: broker.ApplicationWeb, FirstParty: true,
			RedirectURIs: []string{"https://books.example.org/auth/openid/callback", "https://books.example.org/auth/openid/mobile-redirect", "audiobookshelf://oauth"}},
		{ID: "everything", Name: n.client, URI: "https://everything.example.org", RedirectURIs: []string{"http://nas.home/cb", "https://everything.example.org/" + n.scope, "myapp:/cb"},
			PostLogoutRedirectURIs: []string{"https://everything.example.org/"}, AllowedOrigins: []string{"https://other.example.org"}, Resources: []string{"https://api.example.org"},
			Contacts: []string{n.person}, Providers: []string{"first", "local"}, AccessTTL: 900, RefreshTTL: 30 * 24 * 60 * 60, BackchannelLogoutURI: "https://everything.example.org/logout"},
	}
	for i := range 58 {
		c := broker.Client{ID: fmt.Sprintf("client-%02d", i), Name: n.client, RedirectURIs: []string{"https://app.example.org/cb"}}
		switch i % 4 {
		case 1:
			c.TokenEndpointAuthMethod = broker.AuthNone
		case 2:
			c.TokenEndpointAuthMethod, c.RedirectURIs = broker.AuthNone, []string{"org.example.app:/cb"}
		case 3:
			c.GrantTypes, c.RedirectURIs = []string{broker.GrantClientCredentials}, nil
		}
		list = append(list, c)
	}
	for _, c := range list {
		if _, _, err := rig.Broker.CreateClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}
