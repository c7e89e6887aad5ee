package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// Somebody else's library reads our discovery document and keys and verifies
// an access token with them, for each algorithm.
func TestAccessTokenIsVerifiedByGoOIDC(t *testing.T) {
	for _, algorithm := range []string{"ES256", "EdDSA", "RS256"} {
		t.Run(algorithm, func(t *testing.T) {
			var handler http.Handler
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
			defer server.Close()
			r := harness.New(t, "", func(c *broker.Config) { c.PublicURL, c.Algorithm = server.URL, algorithm })
			var err error
			if handler, err = web.New(web.Config{Broker: r.Broker, LocalLogin: true}); err != nil {
				t.Fatal(err)
			}
			r.User(t, "anna", broker.RoleUser)
			raw := r.Login(t, "anna").AccessToken.Reveal()
			provider, err := gooidc.NewProvider(context.Background(), server.URL)
			if err != nil {
				t.Fatal(err)
			}
			token, err := provider.Verifier(&gooidc.Config{ClientID: server.URL, Now: r.Clock.Now}).Verify(context.Background(), raw)
			if err != nil {
				t.Fatal(err)
			}
			var claims struct {
				SessionID string `json:"sid"`
				Username  string `json:"username"`
			}
			if err := token.Claims(&claims); err != nil || claims.Username != "anna" || claims.SessionID == "" {
				t.Fatalf("%+v %v", claims, err)
			}
		})
	}
}
