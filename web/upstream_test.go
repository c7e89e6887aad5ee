package web_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens/verify"
	"github.com/latchkey-id/latchkey/web"
)

// rechecking is a site whose logins at the IdP are checked every hour, with the
// clients of the tests, of which web1 wants them known alive for two hours.
func rechecking(t *testing.T) (*site, *providertest.IdP) {
	var x *site
	idp := providertest.Start(t, providertest.Config{
		Users: []providertest.User{{Subject: "s-anna", Username: "anna", Email: "anna@example.org", EmailVerified: true}},
		Now: func() time.Time {
			if x == nil {
				return harness.NewClock().Now()
			}
			return x.Clock.Now()
		},
	})
	x = newProvider(t, setup{idp: idp, broker: func(c *broker.Config) {
		p := &c.Providers[0]
		p.Issuer, p.ClientID, p.Recheck = idp.Issuer(), "latchkey", broker.Interval(time.Hour)
		p.IdP = oidc.New(oidc.Config{
			Issuer: idp.Issuer(), ClientID: "latchkey", ClientSecret: "the IdP's client secret", Cache: c.Store.(*storage.Store), Now: c.Now, Offline: true,
		})
		c.Clients[0].MaxUpstreamAge = 2 * 60 * 60
	}})
	return x, idp
}

func (x *site) recheck(in time.Duration) {
	x.t.Helper()
	x.Clock.Advance(in)
	if _, err := x.Broker.RecheckUpstreams(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
}

// A revocation at the IdP reaches the app, and its own list of sessions says
// what is known.
func TestRevocationAtTheIdPReachesTheApp(t *testing.T) {
	x, idp := rechecking(t)
	p := newApp(x)
	tokens := p.loginThrough(idp, "anna")
	known := func() map[string]any {
		list, _ := x.do(http.MethodGet, "/api/me/sessions", bearer(tokens.access)).want(200).json()["sessions"].([]any)
		if len(list) != 1 {
			t.Fatalf("%v", list)
		}
		u, _ := list[0].(map[string]any)["upstream"].(map[string]any)
		return u
	}
	start := x.Clock.Now()
	if u := known(); u["state"] != "alive" || u["aliveAt"] != float64(start.UnixMilli()) || u["nextCheckAt"].(float64) > float64(start.Add(time.Hour).UnixMilli()) {
		t.Errorf("%v", u)
	}
	idp.Script(func(s *providertest.Script) {
		s.Respond[providertest.EndpointToken] = providertest.Body(500, "text/plain", "")
	})
	x.recheck(58 * time.Minute)
	if u := known(); u["state"] != "unknown" || u["aliveAt"] != float64(start.UnixMilli()) {
		t.Errorf("%v", u)
	}
	idp.Script(func(s *providertest.Script) { *s = providertest.Script{} })
	x.recheck(time.Minute)
	if u := known(); u["state"] != "alive" {
		t.Errorf("%v", u)
	}
	idp.Revoke("s-anna")
	x.recheck(time.Hour)
	x.do(http.MethodPost, "/auth/refresh", refreshHeader(tokens.refresh)).refused(401, broker.IdPRevoked, web.VerdictLogin)
}

// A strict client is told to come again, and when.
func TestStrictClientIsToldToComeAgain(t *testing.T) {
	x, idp := rechecking(t)
	b := x.newBrowser()
	away := b.open("/oauth2/authorize?" + request("web1", "https://rp1.test/cb", "idp_hint", "openid").Encode()).location()
	back, err := idp.Authorize(t.Context(), away.String(), "anna")
	if err != nil {
		t.Fatal(err)
	}
	code := b.open(back).sentTo("https://rp1.test/cb").Get("code")
	got := x.redeem("web1", "https://rp1.test/cb", code).granted()
	x.Clock.Advance(2*time.Hour - time.Millisecond)
	got = x.refreshAt("web1", got.refresh).granted()
	x.Clock.Advance(time.Millisecond)
	a := x.refreshAt("web1", got.refresh).refused(503, broker.TemporarilyUnavailable, web.VerdictRetry).oauthError(503, "temporarily_unavailable")
	if a.Header.Get("Retry-After") == "" || a.text("error_description") == "" {
		t.Errorf("%v %s", a.Header, a.Body)
	}
	x.recheck(verify.Leeway)
	x.do(http.MethodGet, "/oauth2/userinfo", bearer(got.access)).refused(401, broker.TokenExpired, web.VerdictRefresh)
	x.refreshAt("web1", got.refresh).granted()
}
