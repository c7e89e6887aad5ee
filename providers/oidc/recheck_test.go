package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

func offline(c *oidc.Config) { c.Offline = true }

func (r *rig) recheck(token broker.UpstreamToken, by broker.RecheckBy) (broker.RecheckResult, error) {
	return r.Recheck(context.Background(), token, by)
}

// loggedIn is a login that gave a refresh token.
func (r *rig) loggedIn() broker.UpstreamToken {
	r.t.Helper()
	c, err := r.login()
	if err != nil || c.RefreshToken == "" {
		r.t.Fatalf("%+v, %v", c, err)
	}
	return c.RefreshToken
}

func (r *rig) asked() url.Values {
	r.t.Helper()
	to, err := r.AuthURL(context.Background(), request)
	if err != nil {
		r.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		r.t.Fatal(err)
	}
	return u.Query()
}

func TestRefreshTokenIsAskedForWhereItIsWanted(t *testing.T) {
	const want = "openid profile email"
	for name, c := range map[string]struct {
		change func(*oidc.Config)
		lists  bool
		scope  string
	}{
		"not wanted":   {nil, true, want},
		"wanted":       {offline, true, want + " offline_access"},
		"not known":    {offline, false, want},
		"named itself": {func(c *oidc.Config) { c.Offline, c.Scopes = true, []string{"openid", "offline_access"} }, true, "openid offline_access"},
		"named anyhow": {func(c *oidc.Config) { c.Offline, c.Scopes = true, []string{"openid", "offline_access"} }, false, "openid offline_access"},
	} {
		r := newRig(t, c.change)
		r.idp.Script(func(s *providertest.Script) {
			s.EditDiscovery = func(m map[string]any) {
				if !c.lists {
					m["scopes_supported"] = []string{"openid"}
				}
			}
		})
		if q := r.asked(); q.Get("scope") != c.scope || q.Has("prompt") || q.Has("access_type") {
			t.Errorf("%s: %v", name, q)
		}
	}
	r := newRig(t, nil)
	r.idp.Script(func(s *providertest.Script) {
		s.EditTokenAnswer = func(a map[string]any) { a["refresh_token"] = "unwanted" }
	})
	if c, err := r.login(); err != nil || c.RefreshToken != "" {
		t.Errorf("%+v, %v", c, err)
	}
}

// answering is a discovery document of Google's issuer.
type answering struct{}

func (answering) RoundTrip(*http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	providertest.Body(200, "application/json", `{"issuer":"https://accounts.google.com","authorization_endpoint":"https://accounts.google.com/o/oauth2/v2/auth",
		"token_endpoint":"https://oauth2.googleapis.com/token","jwks_uri":"https://www.googleapis.com/oauth2/v3/certs","scopes_supported":["openid","email","profile"]}`)(rec, nil)
	return rec.Result(), nil
}

func TestRefreshTokenOfGoogle(t *testing.T) {
	for prompt, want := range map[string]string{"": "consent", "select_account": "select_account consent", "consent": "consent"} {
		p := oidc.New(oidc.Config{Issuer: "https://accounts.google.com", ClientID: "x", Offline: true, HTTPClient: &http.Client{Transport: answering{}}})
		ask := request
		ask.Prompt = prompt
		to, err := p.AuthURL(context.Background(), ask)
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(to)
		if q := u.Query(); q.Get("access_type") != "offline" || q.Get("prompt") != want || strings.Contains(q.Get("scope"), "offline") {
			t.Errorf("%v", q)
		}
	}
}

// Consent is asked for where a login without it gave no refresh token, and no
// more where it did not help.
func TestConsentIsAskedForWhereItHelps(t *testing.T) {
	r := newRig(t, offline)
	r.idp.Script(func(s *providertest.Script) { s.RefreshNeedsConsent = true })
	for i, want := range []bool{false, true, true} {
		if c, err := r.login(); err != nil || (c.RefreshToken != "") != want {
			t.Fatalf("login %d: %q, %v", i, c.RefreshToken.Reveal(), err)
		}
	}
	r = newRig(t, offline)
	r.idp.Script(func(s *providertest.Script) {
		s.EditTokenAnswer = func(a map[string]any) { delete(a, "refresh_token") }
	})
	prompts := []string{}
	for range 4 {
		prompts = append(prompts, r.asked().Get("prompt"))
		r.works()
	}
	if !slices.Equal(prompts, []string{"", "consent", "", ""}) {
		t.Errorf("%q", prompts)
	}
}

// Logins that began before it was known that consent helps say nothing of it.
func TestLoginsAtOnceDoNotSpoilConsent(t *testing.T) {
	r := newRig(t, offline)
	r.idp.Script(func(s *providertest.Script) { s.RefreshNeedsConsent = true })
	began := []broker.IdPResponse{}
	for range 3 {
		res, err := r.answer()
		if err != nil {
			t.Fatal(err)
		}
		began = append(began, res)
	}
	for i, res := range began {
		early := request
		if i > 0 { // another login asks meanwhile
			early.State = "another state"
			if prompt := r.asked().Get("prompt"); prompt != "consent" {
				t.Errorf("prompt=%q", prompt)
			}
		}
		if c, err := r.Exchange(t.Context(), early, res); err != nil || c.RefreshToken != "" {
			t.Fatalf("%q, %v", c.RefreshToken.Reveal(), err)
		}
	}
	if c, err := r.login(); err != nil || c.RefreshToken == "" {
		t.Errorf("no refresh token, %v", err)
	}
}

func TestRefreshOfALogin(t *testing.T) {
	for _, auth := range []string{"client_secret_basic", "client_secret_post"} {
		r := newRig(t, func(c *oidc.Config) { c.Offline, c.TokenEndpointAuth = true, auth })
		first := r.loggedIn()
		got, err := r.recheck(first, broker.RecheckByRefresh)
		if want := (broker.RecheckResult{State: broker.UpstreamAlive, Subject: "s-anna"}); err != nil || got != want {
			t.Errorf("%s: %+v, %v", auth, got, err)
		}
		r.idp.Script(func(s *providertest.Script) { s.RotateRefreshTokens, s.OmitIDToken = true, true })
		got, err = r.recheck(first, broker.RecheckByRefresh)
		if err != nil || got.State != broker.UpstreamAlive || got.Subject != "" || got.Token == "" || got.Token == first {
			t.Errorf("%s: %+v, %v", auth, got, err)
		}
		if again, err := r.recheck(first, broker.RecheckByRefresh); err != nil || again.State != broker.UpstreamEnded {
			t.Errorf("%s: %+v, %v", auth, again, err)
		}
		if got, err = r.recheck(got.Token, broker.RecheckByIntrospection); err != nil || got.State != broker.UpstreamAlive || got.Subject != "s-anna" {
			t.Errorf("%s: %+v, %v", auth, got, err)
		}
	}
}

// A token that came with an ID token that proves nothing is kept.
func TestNewTokenBesideABadIDToken(t *testing.T) {
	r := newRig(t, offline)
	first := r.loggedIn()
	r.idp.Script(func(s *providertest.Script) { s.RotateRefreshTokens, s.SignWithUnknownKey = true, true })
	got, err := r.recheck(first, broker.RecheckByRefresh)
	if !errors.Is(err, broker.IdPBadResponse) || got.Token == "" || got.State != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

// What never left this machine has certainly used no token up.
func TestCallThatIsNeverSent(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler()) // of which nobody trusts the certificate
	defer server.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, endpoint := range map[string]string{
		"certificate": server.URL, "nobody listens": closed.URL, "no such host": "http://idp.invalid/token",
	} {
		r := newRig(t, offline)
		token := r.loggedIn()
		r.idp.Script(func(s *providertest.Script) {
			s.EditDiscovery = func(m map[string]any) { m["token_endpoint"], m["introspection_endpoint"] = endpoint, endpoint }
		})
		r.clock.Advance(time.Hour)
		for _, by := range []broker.RecheckBy{broker.RecheckByRefresh, broker.RecheckByIntrospection} {
			got, err := r.recheck(token, by)
			if !errors.Is(err, broker.TemporarilyUnavailable) || got != (broker.RecheckResult{Untouched: true}) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	}
}

func TestIntrospectionThatIsNotOffered(t *testing.T) {
	r := newRig(t, offline)
	r.idp.Script(func(s *providertest.Script) {
		s.EditDiscovery = func(m map[string]any) { delete(m, "introspection_endpoint") }
	})
	if got, err := r.recheck(r.loggedIn(), broker.RecheckByIntrospection); !errors.Is(err, broker.IdPBadResponse) || !got.Untouched {
		t.Errorf("%+v, %v", got, err)
	}
}
