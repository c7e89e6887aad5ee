package web_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/tokens"
)

// idpKeyed is a site whose IdP knows Latchkey by the keys that it publishes, and
// the assertions that were sent there.
func idpKeyed(t testing.TB) (x *idpSite, sent *[]string) {
	t.Helper()
	x = &idpSite{idp: startIdP(t)}
	x.site = openSite(t, setup{idp: x.idp, broker: func(c *broker.Config) {
		c.Providers[0].TokenEndpointAuth = broker.AuthPrivateKeyJWT
		c.Providers[0].IdP = oidc.New(oidc.Config{
			Issuer: x.idp.Issuer(), ClientID: "latchkey", TokenEndpointAuth: broker.AuthPrivateKeyJWT, Cache: c.Store.(*storage.Store), Now: c.Now, Offline: true,
			Assertion: func(ctx context.Context, clientID, audience, algorithm string) (tokens.ClientAssertion, error) {
				return x.Broker.ClientAssertion(ctx, clientID, audience, algorithm)
			},
		})
		c.Providers[0].Recheck = broker.Interval(time.Hour)
	}})
	x.idp.SetClient(providertest.Client{
		ID: "latchkey", TokenAuth: "private_key_jwt", RedirectURIs: []string{publicURL + "/auth/openid/callback"},
		Keys: func() []byte { return []byte(x.do(http.MethodGet, "/.well-known/jwks.json").want(200).Body) },
	})
	sent = &[]string{}
	x.idp.Script(func(s *providertest.Script) {
		x.spy(s)
		s.Respond[providertest.EndpointToken] = func(_ http.ResponseWriter, r *http.Request) bool {
			_ = r.ParseForm()
			assertion := r.PostForm.Get("client_assertion")
			x.secret(assertion)
			*sent = append(*sent, assertion)
			return false
		}
	})
	return x, sent
}

// A whole login in a browser, where Latchkey has no secret at the IdP; the keys
// may be others the next time. What proved it is in no log and no answer, and
// gives nobody anything here.
func TestLoginWithPrivateKeyJWT(t *testing.T) {
	x, sent := idpKeyed(t)
	for range 2 {
		a := x.browse("anna")
		if a.location(); a.cookie("refresh_token") == nil {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		x.quiet(a.Body)
	}
	if len(*sent) != 2 || (*sent)[0] == (*sent)[1] || (*sent)[0] == "" {
		t.Fatalf("%d assertions", len(*sent))
	}
	x.do(http.MethodGet, "/api/me", bearer((*sent)[0])).want(401)
	x.do(http.MethodPost, "/oauth2/token", form("grant_type", "client_credentials", "client_assertion_type", broker.AssertionTypeJWT,
		"client_assertion", (*sent)[0])).want(401)
	x.quiet("")
}

// A refusal of the assertion by the IdP is told as one of the IdP, and nothing
// of the assertion with it.
func TestAssertionThatTheIdPRefuses(t *testing.T) {
	x, sent := idpKeyed(t)
	x.idp.SetClient(providertest.Client{
		ID: "latchkey", TokenAuth: "private_key_jwt", RedirectURIs: []string{publicURL + "/auth/openid/callback"},
		Keys: func() []byte { return []byte(`{"keys":[]}`) }, // it never learned our keys
	})
	before := x.tally()
	a := x.browse("anna")
	if x.noLogin(a, before, 403, broker.IdPRefused); len(*sent) != 1 {
		t.Errorf("%d assertions", len(*sent))
	}
	x.quiet(a.Body)
	if log := x.log.String(); !strings.Contains(log, "invalid_client") {
		t.Errorf("the log does not say why: %s", log)
	}
}
