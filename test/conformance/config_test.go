package conformance

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestConfigOP(t *testing.T) { runPlan(t, plan{modules: config}) }

// config is oidcc-config-certification-test-plan.
var config = []module{
	{name: "oidcc-discovery-endpoint-verification", run: discoveryVerification,
		asserts: "over https: 200 and JSON; `issuer` is where it was fetched from; every member of its type; response, grant and subject types, `RS256`, `openid`, claims and locales as they should be; every endpoint https; keys public and distinct; no unknown members"},
}

// overHTTPS has the module run against the broker that speaks https.
func (m *run) overHTTPS() {
	m.Helper()
	m.op = https
	m.begin()
}

func discoveryVerification(m *run) {
	m.overHTTPS()
	a := m.call(http.MethodGet, m.op.issuer+"/.well-known/openid-configuration", nil, nil)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" && a.header.Get("Content-Type") != "application/json; charset=utf-8" {
		m.Errorf("discovery: %d %s", a.status, a.header.Get("Content-Type"))
	}
	if u, err := url.Parse(m.meta.text("issuer")); err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		m.Errorf("issuer %s: %v", m.meta.text("issuer"), err)
	}
	m.schema()
	m.allHTTPS()
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"} {
		if !strings.HasPrefix(m.meta.text(name), "https://") {
			m.Errorf("%s is %s", name, m.meta.text(name))
		}
	}
	known := []string{"code", "id_token", "id_token token", "code id_token", "code token", "code id_token token"}
	m.among("response_types_supported", known)
	m.among("subject_types_supported", []string{"public", "pairwise"})
	m.has("id_token_signing_alg_values_supported", "RS256")
	m.has("scopes_supported", "openid")
	m.has("grant_types_supported", "authorization_code")
	m.has("code_challenge_methods_supported", "S256")
	if m.meta.list("claims_supported") == nil {
		m.warn("claims_supported", "claims_supported is %v", m.meta["claims_supported"])
	}
	for _, scope := range m.meta.list("scopes_supported") {
		if !regexp.MustCompile(`^[!#-\[\]-~]+$`).MatchString(scope) {
			m.Errorf("the scope %q", scope)
		}
	}
	for _, name := range []string{"ui_locales_supported", "claims_locales_supported"} {
		for _, tag := range m.meta.list(name) {
			if !regexp.MustCompile(`^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2}|-[0-9]{3})?$`).MatchString(tag) {
				m.Errorf("%s: %q", name, tag)
			}
		}
	}
}

// has expects a value in a list of the metadata.
func (m *run) has(name, value string) {
	m.Helper()
	if !slices.Contains(m.meta.list(name), value) {
		m.Errorf("%s is %v, without %s", name, m.meta[name], value)
	}
}

// among expects a list with nothing but known values.
func (m *run) among(name string, known []string) {
	m.Helper()
	list := m.meta.list(name)
	if len(list) == 0 || slices.ContainsFunc(list, func(one string) bool { return !slices.Contains(known, one) }) {
		m.Errorf("%s is %v", name, m.meta[name])
	}
}

// allHTTPS is asked of every endpoint, whoever defined it.
func (m *run) allHTTPS() {
	m.Helper()
	for name := range m.meta {
		if !strings.HasSuffix(name, "_endpoint") {
			continue
		}
		if u, err := url.Parse(m.meta.text(name)); err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment != "" {
			m.Errorf("%s is %v", name, m.meta[name])
		}
	}
}

// booleans are the members of the metadata that are true or false.
var booleans = []string{
	"claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported", "require_request_uri_registration",
	"require_pushed_authorization_requests", "authorization_response_iss_parameter_supported", "backchannel_logout_supported",
	"backchannel_logout_session_supported", "frontchannel_logout_supported", "frontchannel_logout_session_supported",
	"tls_client_certificate_bound_access_tokens",
}

// registered are the other members that the IANA registry of authorization
// server metadata and OpenID Connect Discovery have, as far as a provider like
// this one may use them.
var registered = append([]string{
	"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint", "userinfo_endpoint", "revocation_endpoint",
	"introspection_endpoint", "device_authorization_endpoint", "pushed_authorization_request_endpoint", "end_session_endpoint",
	"check_session_iframe", "service_documentation", "op_policy_uri", "op_tos_uri", "scopes_supported", "response_types_supported",
	"response_modes_supported", "grant_types_supported", "acr_values_supported", "subject_types_supported", "claim_types_supported",
	"claims_supported", "claims_locales_supported", "ui_locales_supported", "display_values_supported", "prompt_values_supported",
	"code_challenge_methods_supported", "id_token_signing_alg_values_supported", "id_token_encryption_alg_values_supported",
	"id_token_encryption_enc_values_supported", "userinfo_signing_alg_values_supported", "userinfo_encryption_alg_values_supported",
	"userinfo_encryption_enc_values_supported", "request_object_signing_alg_values_supported", "request_object_encryption_alg_values_supported",
	"request_object_encryption_enc_values_supported", "token_endpoint_auth_methods_supported", "token_endpoint_auth_signing_alg_values_supported",
	"revocation_endpoint_auth_methods_supported", "revocation_endpoint_auth_signing_alg_values_supported",
	"introspection_endpoint_auth_methods_supported", "introspection_endpoint_auth_signing_alg_values_supported",
	"dpop_signing_alg_values_supported",
}, booleans...)

// schema checks the type of each member, and that each is known.
func (m *run) schema() {
	m.Helper()
	for name, value := range m.meta {
		if !slices.Contains(registered, name) {
			m.warn("metadata", "%s is not known", name)
		}
		ok := false
		switch {
		case slices.Contains(booleans, name):
			_, ok = value.(bool)
		case strings.HasSuffix(name, "_supported"):
			list := m.meta.list(name)
			slices.Sort(list)
			ok = len(list) > 0 && len(slices.Compact(slices.Clone(list))) == len(list)
		default:
			ok = m.meta.text(name) != ""
		}
		if !ok {
			m.Errorf("%s is %v", name, value)
		}
	}
	if slices.Contains(m.meta.list("token_endpoint_auth_signing_alg_values_supported"), "none") {
		m.Error("token_endpoint_auth_signing_alg_values_supported has none") // RFC 8414 section 2
	}
}
