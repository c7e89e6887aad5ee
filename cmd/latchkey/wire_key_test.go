package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// A provider of the configuration and one that is added while running are both
// signed for with the keys that Latchkey publishes.
func TestProvidersThatWantAKey(t *testing.T) {
	const returnTo = "https://id.example.org/auth/x/callback"
	var b *broker.Broker
	idp := providertest.Start(t, providertest.Config{
		Users: []providertest.User{{Subject: "s-anna", Username: "anna"}},
		Clients: []providertest.Client{{
			ID: "lk", TokenAuth: "private_key_jwt", RedirectURIs: []string{returnTo}, Keys: func() []byte { return b.PublicKeys(t.Context()) },
		}},
	})
	c, err := load(t, `
public_url: https://id.example.org
data_dir: `+t.TempDir()+`
providers: [{id: sso, issuer: "`+idp.Issuer()+`", client_id: lk, token_endpoint_auth: private_key_jwt}]
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ = brokerOf(t, c)
	added := broker.ProviderSettings{
		ID: "added", Issuer: idp.Issuer(), ClientID: "lk", TokenEndpointAuth: broker.AuthPrivateKeyJWT, Scopes: []string{"openid"}, AllowPrivate: true,
	}
	if _, err := b.CreateProvider(t.Context(), added, ""); err != nil {
		t.Fatal(err)
	}
	request := broker.IdPRequest{State: "s", Nonce: "n", Verifier: strings.Repeat("v", 43), RedirectURI: returnTo}
	for _, p := range b.Providers() {
		to, err := p.IdP.AuthURL(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		callback, err := idp.Authorize(t.Context(), to, "anna")
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(callback)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.IdP.Exchange(t.Context(), request, broker.IdPResponse{Code: u.Query().Get("code"), Issuer: u.Query().Get("iss")})
		if err != nil || got.Subject != "s-anna" {
			t.Errorf("%s: %+v, %v", p.ID, got, err)
		}
	}
	if n := len(b.Providers()); n != 2 {
		t.Errorf("%d providers", n)
	}
}
