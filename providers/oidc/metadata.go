package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// Metadata is the part of a discovery document (OIDC Discovery section 3) that
// Latchkey reads.
type Metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	UserinfoEndpoint      string   `json:"userinfo_endpoint,omitempty"`
	JWKSURI               string   `json:"jwks_uri"`
	EndSessionEndpoint    string   `json:"end_session_endpoint,omitempty"`
	IntrospectionEndpoint string   `json:"introspection_endpoint,omitempty"` // RFC 8414 section 2
	Scopes                []string `json:"scopes_supported,omitempty"`
	SigningAlgs           []string `json:"id_token_signing_alg_values_supported"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	AssertionAlgs         []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	IssParameter          bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
}

func discoveryURL(issuer string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
}

func newDiscovery(issuer string, client *http.Client, cache Cache, now func() time.Time) *document[*Metadata] {
	return &document[*Metadata]{
		issuer: issuer, kind: "discovery", client: client, cache: cache, now: now,
		parse: func(raw []byte) (*Metadata, error) { return parseMetadata(issuer, raw) },
	}
}

// metadata asks the IdP, so that whoever is sent there finds it alive. One that
// is dark is an error even where a document is known, because the login would
// only fail later and elsewhere; one that answers nonsense is used by its last
// good document.
func (p *Provider) metadata(ctx context.Context) (*Metadata, error) {
	m, err := p.discovery.ask(ctx, discoveryURL(p.cfg.Issuer), forLogin)
	if err == nil {
		return m, nil
	}
	if last, ok := p.discovery.last(ctx); ok && !idp.Dark(err) {
		return last, nil
	}
	return nil, idp.Trouble("the identity provider's discovery document", err)
}

// recentMetadata does not ask again within the life of a login: it is for the
// way back from the IdP.
func (p *Provider) recentMetadata(ctx context.Context) (*Metadata, error) {
	if last, ok := p.discovery.last(ctx); ok && p.discovery.answeredWithin(10*time.Minute) {
		return last, nil
	}
	return p.metadata(ctx)
}

// strangersMetadata is for a token that somebody sent us: they cannot make us
// ask often, and what was good once stays so while the IdP is dark.
func (p *Provider) strangersMetadata(ctx context.Context) (*Metadata, error) {
	last, known := p.discovery.last(ctx)
	if known && p.discovery.answeredWithin(10*time.Minute) {
		return last, nil
	}
	m, err := p.discovery.ask(ctx, discoveryURL(p.cfg.Issuer), forStranger)
	switch {
	case err == nil:
		return m, nil
	case known:
		return last, nil
	}
	return nil, idp.Unavailable(fmt.Errorf("the identity provider's discovery document: %w", err))
}

// parseMetadata checks what a login depends on. The issuer is compared byte
// for byte (OIDC Discovery section 4.3), so that nobody speaks for another. An
// issuer behind TLS has all its endpoints behind TLS.
func parseMetadata(issuer string, raw []byte) (*Metadata, error) {
	var m Metadata
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, errors.New("the discovery document is not JSON")
	}
	if m.Issuer != issuer {
		return nil, fmt.Errorf("the discovery document is of another issuer than the configured %s", issuer)
	}
	if field := m.lacks(issuer); field != "" {
		return nil, fmt.Errorf("the discovery document has no usable %s", field)
	}
	return &m, nil
}

// lacks is the first endpoint that is missing or cannot be used, or "".
func (m *Metadata) lacks(issuer string) string {
	for _, e := range []struct {
		name, url string
		optional  bool
	}{
		{"authorization_endpoint", m.AuthorizationEndpoint, false},
		{"token_endpoint", m.TokenEndpoint, false},
		{"jwks_uri", m.JWKSURI, false},
		{"userinfo_endpoint", m.UserinfoEndpoint, true},
		{"end_session_endpoint", m.EndSessionEndpoint, true},
		{"introspection_endpoint", m.IntrospectionEndpoint, true},
	} {
		if (e.url != "" || !e.optional) && !usableEndpoint(issuer, e.url) {
			return e.name
		}
	}
	return ""
}

func usableEndpoint(issuer, endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && u.Host != "" && u.User == nil &&
		(u.Scheme == "https" || u.Scheme == "http" && strings.HasPrefix(issuer, "http:"))
}

// FetchMetadata reads the discovery document of any issuer once, for an
// administrator who sets one up.
func FetchMetadata(ctx context.Context, client *http.Client, issuer string) (json.RawMessage, error) {
	m, err := newDiscovery(issuer, client, nil, time.Now).ask(ctx, discoveryURL(issuer), forLogin)
	if err != nil {
		return nil, idp.Trouble("the discovery document", err)
	}
	return json.Marshal(m)
}
