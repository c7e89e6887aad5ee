package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// U01: nobody began this login.
func TestU01UnsolicitedCallback(t *testing.T) {
	x := idpStart(t, nil)
	before := x.tally()
	for _, query := range []string{"code=x", "code=x&state=AAAA", "state=AAAA", "code=x&state=" + strings.Repeat("A", 8000), ""} {
		x.noLogin(x.do(http.MethodGet, "/auth/openid/callback?"+query), before, 400, broker.InvalidState)
	}
	for _, code := range []string{"", "&code=", "&code=" + strings.Repeat("c", 5000)} {
		atIdP, flow := x.begin()
		target := "/auth/openid/callback?state=" + idpQuery(t, atIdP).Get("state") + code + "&iss=" + url.QueryEscape(x.idp.Issuer())
		x.noLogin(x.do(http.MethodGet, target, cookies(flow)), before, 400, broker.InvalidRequest)
	}
	x.WantRefused(t, "invalid_state 5 openid openid latchkey-app - 127.0.0.1", "invalid_request 3 openid openid latchkey-app - 127.0.0.1")
	if n := x.idp.Count(providertest.EndpointToken); n != 0 {
		t.Errorf("%d token requests", n)
	}
}

// U02: somebody else began this login (login CSRF).
func TestU02LoginCSRF(t *testing.T) {
	x := idpStart(t, nil)
	before := x.tally()
	atIdP, mallory := x.begin()
	_, alice := x.begin()
	callback := x.visit(atIdP, "anna")
	x.noLogin(x.do(http.MethodGet, callback, cookies(alice)), before, 400, broker.StateMismatch)
	x.noLogin(x.do(http.MethodGet, callback, cookies(mallory)), before, 400, broker.InvalidState) // it is burned

	// The right name with another value, and the right cookie twice.
	for _, tamper := range []func(r *http.Request, c *http.Cookie){
		func(r *http.Request, c *http.Cookie) {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: alice[0].Value})
		},
		func(r *http.Request, c *http.Cookie) {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
			r.AddCookie(&http.Cookie{Name: c.Name, Value: "tossed-in"})
		},
		func(r *http.Request, c *http.Cookie) {
			r.AddCookie(&http.Cookie{Name: strings.TrimPrefix(c.Name, "__Host-"), Value: c.Value})
		},
	} {
		atIdP, flow := x.begin()
		callback := x.visit(atIdP, "anna")
		x.noLogin(x.do(http.MethodGet, callback, func(r *http.Request) { tamper(r, flow[0]) }), before, 400, broker.StateMismatch)
	}
	x.WantRefused(t, "state_mismatch 4 openid openid latchkey-app - 127.0.0.1", "invalid_state 1 openid openid latchkey-app - 127.0.0.1")
	if n := x.idp.Count(providertest.EndpointToken); n != 0 {
		t.Errorf("%d token requests", n)
	}
}

// idpTwo is a site with two providers, p1 and p2.
func idpTwo(t testing.TB) (x *idpSite, second *providertest.IdP) {
	t.Helper()
	x = &idpSite{idp: startIdP(t), secrets: []string{"the IdP's client secret"}}
	second = startIdP(t)
	x.site = openSite(t, setup{idp: x.idp, broker: func(c *broker.Config) {
		c.Providers = nil
		for id, idp := range map[string]*providertest.IdP{"p1": x.idp, "p2": second} {
			idp.SetClient(providertest.Client{ID: "latchkey", Secret: "the IdP's client secret", RedirectURIs: []string{publicURL + "/auth/" + id + "/callback"}})
		}
		for _, one := range []struct {
			id  string
			idp *providertest.IdP
		}{{"p1", x.idp}, {"p2", second}} {
			c.Providers = append(c.Providers, broker.Provider{
				ProviderSettings: broker.ProviderSettings{
					ID: one.id, Name: one.id, Provision: broker.ProvisionCreate, RequireVerifiedEmail: broker.EmailIfPresent,
				},
				IdP: oidc.New(oidc.Config{Issuer: one.idp.Issuer(), ClientID: "latchkey", ClientSecret: "the IdP's client secret", Now: c.Now}),
			})
		}
	}})
	return x, second
}

// U04: the answer of one IdP is given to another.
func TestU04MixUp(t *testing.T) {
	edit := func(x *idpSite, change func(url.Values)) *answer {
		x.lie(func(s *providertest.Script) { s.EditCallback = change })
		return x.browse("anna")
	}
	t.Run("a: iss of another", func(t *testing.T) {
		x := idpStart(t, nil)
		before := x.tally()
		for _, iss := range []string{"https://idp2.test", x.idp.Issuer() + "/", strings.ToUpper(x.idp.Issuer())} {
			x.noLogin(edit(x, func(v url.Values) { v.Set("iss", iss) }), before, 400, broker.IssuerMismatch)
		}
		if n := x.idp.Count(providertest.EndpointToken); n != 0 {
			t.Errorf("%d token requests", n)
		}
		x.honest()
	})
	t.Run("b: iss is missing where it is promised", func(t *testing.T) {
		x := idpStart(t, nil)
		x.noLogin(edit(x, func(v url.Values) { v.Del("iss") }), x.tally(), 400, broker.IssuerMismatch)
		if n := x.idp.Count(providertest.EndpointToken); n != 0 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("not promised, not missed", func(t *testing.T) {
		x := idpStart(t, nil)
		x.lie(func(s *providertest.Script) {
			s.EditCallback = func(v url.Values) { v.Del("iss") }
			s.EditDiscovery = func(m map[string]any) { delete(m, "authorization_response_iss_parameter_supported") }
		})
		x.browse("anna").location()
	})
	t.Run("an error without iss is an error", func(t *testing.T) {
		x := idpStart(t, nil)
		x.lie(func(s *providertest.Script) { s.EditCallback = func(v url.Values) { v.Del("iss") } })
		x.noLogin(x.browse(""), x.tally(), 403, broker.AccessDenied)
	})
	t.Run("c: at another provider's path", func(t *testing.T) {
		x, second := idpTwo(t)
		before := x.tally()
		begin := x.do(http.MethodGet, "/auth/p1?callback=/")
		callback := x.visit(begin.location().String(), "anna")
		crossed := strings.Replace(callback, "/p1/", "/p2/", 1)
		x.noLogin(x.do(http.MethodGet, crossed, cookies(begin.cookies)), before, 400, broker.InvalidState)
		if n := x.idp.Count(providertest.EndpointToken) + second.Count(providertest.EndpointToken); n != 0 {
			t.Errorf("%d token requests", n)
		}
		x.do(http.MethodGet, callback, cookies(begin.cookies)).location() // and it was not consumed
	})
}

// U05: a stolen code in another's flow.
func TestU05CodeInjection(t *testing.T) {
	inject := func(x *idpSite) *answer {
		stolen := idpQuery(t, x.visit(func() string { at, _ := x.begin(); return at }(), "anna")).Get("code")
		atIdP, flow := x.begin()
		q := idpQuery(t, x.visit(atIdP, "mallory"))
		q.Set("code", stolen)
		return x.do(http.MethodGet, "/auth/openid/callback?"+q.Encode(), cookies(flow))
	}
	mallory := providertest.User{Subject: "s-mallory", Username: "mallory"}
	t.Run("the IdP refuses the verifier", func(t *testing.T) {
		x := idpStart(t, nil)
		x.idp.SetUser(mallory)
		x.noLogin(inject(x), x.tally(), 403, broker.IdPRefused)
		if n := x.idp.Count(providertest.EndpointToken); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("an IdP that ignores PKCE", func(t *testing.T) {
		x := idpStart(t, nil)
		x.idp.SetUser(mallory)
		x.lie(func(s *providertest.Script) { s.IgnorePKCE = true })
		x.noLogin(inject(x), x.tally(), 400, broker.NonceMismatch)
		x.browse("anna").location()
	})
	t.Run("what is sent", func(t *testing.T) {
		x := idpStart(t, nil)
		one, _ := x.begin()
		two, _ := x.begin()
		a, b := idpQuery(t, one), idpQuery(t, two)
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if len(a.Get(name)) < 43 || a.Get(name) == b.Get(name) {
				t.Errorf("%s: %q and %q", name, a.Get(name), b.Get(name))
			}
		}
		if a.Get("code_challenge_method") != "S256" || a.Get("response_type") != "code" || a.Get("scope") != "openid profile email" ||
			a.Get("redirect_uri") != publicURL+"/auth/openid/callback" {
			t.Errorf("%v", a)
		}
	})
}
