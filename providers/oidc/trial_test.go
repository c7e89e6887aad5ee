package oidc_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/tokens"
)

// tried is a trial as a text for each step.
func tried(t testing.TB, p *oidc.Provider) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out := map[string]string{}
	for _, s := range p.Try(ctx, request) {
		if !slices.Contains(broker.TrialSteps, s.Step) || broker.FindingTexts[s.Finding] == "" || strings.Count(broker.FindingTexts[s.Finding], "{") != len(s.Values) {
			t.Errorf("nobody can read %+v", s)
		}
		out[s.Step] = s.Result + " " + string(s.Finding)
		if strings.Contains(fmt.Sprint(s.Values), "secret") && s.Step != broker.TrialAuth {
			t.Errorf("%+v has the secret", s)
		}
	}
	return out
}

// allIsWell are the steps of an honest IdP.
var allIsWell = map[string]string{
	broker.TrialDiscovery: "passed discovery_read", broker.TrialIssuer: "passed same_issuer", broker.TrialFlow: "passed code_flow", broker.TrialPKCE: "passed pkce",
	broker.TrialAuth: "passed token_auth", broker.TrialScopes: "passed scopes", broker.TrialKeys: "passed keys", broker.TrialClock: "passed clock",
	broker.TrialEndSession: "passed end_session", broker.TrialBackchannel: "note no_backchannel_logout", broker.TrialRedirect: "passed redirect_uri_registered",
	broker.TrialSecret: "passed secret_taken",
}

func respond(endpoint string, with providertest.Responder) func(*providertest.Script) {
	return func(s *providertest.Script) { s.Respond[endpoint] = with }
}

func metadata(name string, value any) func(*providertest.Script) {
	return func(s *providertest.Script) {
		s.EditDiscovery = func(m map[string]any) {
			if m[name] = value; value == nil {
				delete(m, name)
			}
		}
	}
}

// says answers an endpoint with a status, a header and a body.
func says(status int, header, value, body string) providertest.Responder {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		if header != "" {
			w.Header().Set(header, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		return true
	}
}

func TestTrialNamesWhatIsWrong(t *testing.T) {
	type change struct {
		what   string
		config func(*oidc.Config)
		script func(*providertest.Script)
		step   string
		want   string
	}
	token := func(status int, body string) func(*providertest.Script) {
		return respond(providertest.EndpointToken, says(status, "Content-Type", "application/json", body))
	}
	for _, c := range []change{
		{"nothing", nil, nil, "", ""},
		{"nonsense", nil, respond(providertest.EndpointDiscovery, says(200, "", "", "<html>")), broker.TrialDiscovery, "failed not_json"},
		{"a list", nil, respond(providertest.EndpointDiscovery, says(200, "", "", "[]")), broker.TrialDiscovery, "failed not_json"},
		{"not found", nil, respond(providertest.EndpointDiscovery, says(404, "", "", "")), broker.TrialDiscovery, "failed bad_status"},
		{"a redirect", nil, respond(providertest.EndpointDiscovery, says(301, "Location", "http://169.254.169.254/latest/meta-data", "")), broker.TrialDiscovery, "failed leads_on"},
		{"ten megabytes", nil, respond(providertest.EndpointDiscovery, says(200, "", "", strings.Repeat("x", 10<<20))), broker.TrialDiscovery, "failed too_large"},
		{"no token endpoint", nil, respond(providertest.EndpointDiscovery, says(200, "", "", `{"authorization_endpoint":"http://x/a"}`)), broker.TrialDiscovery, "failed discovery_lacks"},
		{"another issuer", nil, metadata("issuer", "https://evil.test"), broker.TrialIssuer, "failed other_issuer"},
		{"the implicit flow alone", nil, metadata("response_types_supported", []string{"id_token"}), broker.TrialFlow, "failed no_code_flow"},
		{"no PKCE", nil, metadata("code_challenge_methods_supported", nil), broker.TrialPKCE, "note pkce_unsaid"},
		{"plain PKCE", nil, metadata("code_challenge_methods_supported", []string{"plain"}), broker.TrialPKCE, "note pkce_unsaid"},
		{"mTLS alone", nil, metadata("token_endpoint_auth_methods_supported", []string{"tls_client_auth"}), broker.TrialAuth, "warning other_token_auth"},
		{"a scope that is not there", func(c *oidc.Config) { c.Scopes = []string{"openid", "groups"} }, nil, broker.TrialScopes, "warning scopes_unlisted"},
		{"no scopes", nil, metadata("scopes_supported", nil), broker.TrialScopes, "note scopes_unsaid"},
		{"no key", nil, func(s *providertest.Script) { s.EditJWKS = func(m map[string]any) { m["keys"] = []any{} } }, broker.TrialKeys, "failed no_keys"},
		{"a key set that is gone", nil, respond(providertest.EndpointJWKS, says(500, "", "", "")), broker.TrialKeys, "failed bad_status"},
		{"HS256 alone", nil, metadata("id_token_signing_alg_values_supported", []string{"HS256"}), broker.TrialKeys, "failed other_algorithms"},
		{"a clock ahead", nil, respond(providertest.EndpointDiscovery, wrongDate(time.Minute)), broker.TrialClock, "warning clock_ahead"},
		{"a clock behind", nil, respond(providertest.EndpointDiscovery, wrongDate(-time.Hour)), broker.TrialClock, "warning clock_behind"},
		{"no clock", nil, respond(providertest.EndpointDiscovery, func(w http.ResponseWriter, _ *http.Request) bool { w.Header()["Date"] = nil; return false }), broker.TrialClock, "note clock_unsaid"},
		{"no logout", nil, metadata("end_session_endpoint", nil), broker.TrialEndSession, "warning no_end_session"},
		{"no logout that is wanted", func(c *oidc.Config) { c.Logout = false }, metadata("end_session_endpoint", nil), broker.TrialEndSession, "note no_end_session"},
		{"logout tokens", nil, metadata("backchannel_logout_supported", true), broker.TrialBackchannel, "passed backchannel_logout"},
		{"another client id", func(c *oidc.Config) { c.ClientID = "other" }, nil, broker.TrialRedirect, "failed redirect_uri_refused"},
		{"a login page, for whoever comes", nil, respond(providertest.EndpointAuthorize, says(200, "", "", "<form>")), broker.TrialRedirect, "unknown redirect_uri_unknown"},
		{"a login elsewhere, for whoever comes", nil, respond(providertest.EndpointAuthorize, says(302, "Location", "/login?next=x", "")), broker.TrialRedirect, "unknown redirect_uri_unknown"},
		{"a page of errors", nil, respond(providertest.EndpointAuthorize, says(302, "Location", "/signin/oauth/error?authError=x", "")), broker.TrialRedirect, "failed redirect_uri_refused"},
		{"a login page, for this one", nil, respond(providertest.EndpointAuthorize, onlyFor(returnTo)), broker.TrialRedirect, "passed redirect_uri_seems_registered"},
		{"an outage", nil, respond(providertest.EndpointAuthorize, says(503, "", "", "")), broker.TrialRedirect, "unknown request_trouble"},
		{"a scope that is refused", nil, respond(providertest.EndpointAuthorize, says(303, "Location", returnTo+"?error=invalid_scope", "")), broker.TrialRedirect, "failed request_refused"},
		{"HTML for an error", nil, respond(providertest.EndpointAuthorize, says(303, "Location", returnTo+"?error=%3Cscript%3E", "")), broker.TrialRedirect, "failed request_refused"},
		{"a wrong secret", func(c *oidc.Config) { c.ClientSecret = "wrong" }, nil, broker.TrialSecret, "failed secret_refused"},
		{"401 and nothing else", nil, token(401, `{}`), broker.TrialSecret, "failed secret_refused"},
		{"the code first", nil, token(400, `{"error":"invalid_grant"}`), broker.TrialSecret, "unknown secret_unknown"},
		{"no such grant", nil, token(400, `{"error":"unauthorized_client"}`), broker.TrialSecret, "failed grant_refused"},
		{"trouble", nil, token(500, `oops`), broker.TrialSecret, "unknown token_trouble"},
		{"an error of their own, with the secret in it", nil, token(400, `{"error":"the secret is: secret"}`), broker.TrialSecret, "unknown token_trouble"},
		{"tokens for nothing", nil, token(200, `{"access_token":"x","token_type":"Bearer"}`), broker.TrialSecret, "unknown token_trouble"},
		{"an assertion that is not taken", func(c *oidc.Config) {
			c.TokenEndpointAuth, c.ClientSecret, c.Assertion = "private_key_jwt", "", refusing
		}, nil, broker.TrialSecret, "unknown token_trouble"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.config)
			if c.script != nil {
				r.idp.Script(c.script)
			}
			got := tried(t, r.Provider)
			if c.step == "" {
				for step, want := range allIsWell {
					if got[step] != want {
						t.Errorf("%s: %q, want %q", step, got[step], want)
					}
				}
			} else if got[c.step] != c.want {
				t.Errorf("%q, want %q; all: %v", got[c.step], c.want, got)
			}
			if c.want == "failed other_issuer" && r.idp.Count(providertest.EndpointToken) > 0 {
				t.Error("the secret went to another issuer")
			}
		})
	}
}

// wrongDate answers honestly, by another clock.
func wrongDate(by time.Duration) providertest.Responder {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		now, _ := http.ParseTime(w.Header().Get("Date"))
		w.Header().Set("Date", now.Add(by).Format(http.TimeFormat))
		return false
	}
}

// onlyFor shows a login page where it knows the redirect URI, and pays no heed
// to prompt.
func onlyFor(redirectURI string) providertest.Responder {
	return func(w http.ResponseWriter, r *http.Request) bool {
		status := http.StatusOK
		if r.URL.Query().Get("redirect_uri") != redirectURI {
			status = http.StatusBadRequest
		}
		return says(status, "", "", "<html>")(w, r)
	}
}

func refusing(context.Context, string, string, string) (tokens.ClientAssertion, error) {
	return "", &broker.Error{Code: broker.IdPBadResponse}
}

// What is wrong with the way there is told apart, and nothing waits for long.
func TestTrialNamesTheWayThere(t *testing.T) {
	try := func(issuer string, client *http.Client) string {
		return tried(t, oidc.New(oidc.Config{Issuer: issuer, ClientID: "latchkey", HTTPClient: client}))[broker.TrialDiscovery]
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = nil
	r := newRig(t, nil)
	r.idp.SetDown(true)
	for issuer, want := range map[string]string{
		"http://nobody.invalid": "failed no_such_host", secure.URL: "failed bad_certificate", r.idp.Issuer(): "failed connection_refused",
	} {
		if got := try(issuer, nil); got != want {
			t.Errorf("%s: %s, want %s", issuer, got, want)
		}
	}
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	if got := try(silent.URL, &http.Client{Timeout: 50 * time.Millisecond}); got != "failed timed_out" {
		t.Error(got)
	}
}

// S: a trial is no way into our own network: neither by the issuer, nor by what
// its document names, nor by a redirect.
func TestTrialKeepsOutOfOurNetwork(t *testing.T) {
	r := newRig(t, nil)
	public := oidc.New(oidc.Config{Issuer: r.idp.Issuer(), ClientID: "latchkey", HTTPClient: oidc.NewPublicHTTPClient()})
	if got := tried(t, public); got[broker.TrialDiscovery] != "failed private_address" || r.idp.Count(providertest.EndpointDiscovery) > 0 {
		t.Errorf("%v", got)
	}
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
	defer inside.Close()
	elsewhere := strings.Replace(inside.URL, "127.0.0.1", "127.0.0.2", 1)
	for endpoint, step := range map[string]string{"authorization_endpoint": broker.TrialRedirect, "token_endpoint": broker.TrialSecret, "jwks_uri": broker.TrialKeys} {
		r.idp.Script(metadata(endpoint, elsewhere))
		if got := tried(t, r.Provider)[step]; got != "failed private_address" {
			t.Errorf("%s: %s", endpoint, got)
		}
	}
	r.idp.Script(respond(providertest.EndpointAuthorize, says(302, "Location", inside.URL, "")))
	tried(t, r.Provider)
}
