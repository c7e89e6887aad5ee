package broker

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Built-in clients.
const (
	// AppClientID is the client of the JSON API; it has no face at /oauth2.
	AppClientID = "latchkey-app"
	// CLIClientID is the client of `latchkey login`.
	CLIClientID = "latchkey-cli"
)

// AppScope is what the JSON API's own client is granted.
const AppScope = "openid profile email"

// Scopes that Latchkey knows. A client may have others, which it only passes on
// to its own API.
const (
	ScopeOpenID        = "openid"
	ScopeProfile       = "profile"
	ScopeEmail         = "email"
	ScopeGroups        = "groups"
	ScopeOfflineAccess = "offline_access"      // understood, and needed for nothing
	ScopeAPI           = "latchkey:api"        // /api/* for this user
	ScopeAdmin         = "latchkey:admin"      // the admin routes, for an administrator
	ScopeIntrospect    = "latchkey:introspect" // introspection of other clients' tokens
	ScopeForward       = "latchkey:forward"    // apps behind a proxy that asks Latchkey
)

// Grant types (RFC 6749, 8628, 8693).
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantClientCredentials = "client_credentials"
	GrantDeviceCode        = "urn:ietf:params:oauth:grant-type:device_code"
	GrantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// Ways in which a client authenticates (OIDC Core section 9). Empty means
// either of the first two.
const (
	AuthBasic         = "client_secret_basic"
	AuthPost          = "client_secret_post"
	AuthPrivateKeyJWT = "private_key_jwt"
	AuthNone          = "none"
	AuthAuto          = "auto" // towards an IdP: what it advertises
)

// Kinds of applications (OIDC Dynamic Client Registration section 2).
const (
	ApplicationWeb    = "web"
	ApplicationNative = "native"
)

// Client is a program that people log in to through Latchkey. The field names
// on the wire are those of RFC 7591, OIDC Registration and its companions;
// what they lack has plain names. Durations are seconds.
type Client struct {
	ID                      string   `json:"client_id"`
	Name                    string   `json:"client_name,omitempty"`
	URI                     string   `json:"client_uri,omitempty"`
	LogoURI                 string   `json:"logo_uri,omitempty"`
	PolicyURI               string   `json:"policy_uri,omitempty"`
	TermsURI                string   `json:"tos_uri,omitempty"`
	Contacts                []string `json:"contacts,omitempty"`
	SoftwareID              string   `json:"software_id,omitempty"` // the same for every installation of a program
	RedirectURIs            []string `json:"redirect_uris"`
	PostLogoutRedirectURIs  []string `json:"post_logout_redirect_uris,omitempty"`
	ApplicationType         string   `json:"application_type"`
	TokenEndpointAuthMethod string   `json:"token_endpoint_auth_method,omitempty"` // none: a public client
	GrantTypes              []string `json:"grant_types"`
	ResponseTypes           []string `json:"response_types"`
	Scope                   string   `json:"scope"` // what it may ask for
	JWKS                    RawJSON  `json:"jwks,omitempty"`
	JWKSURI                 string   `json:"jwks_uri,omitempty"`
	IDTokenAlg              string   `json:"id_token_signed_response_alg,omitempty"` // empty: RS256
	ClaimsInIDToken         bool     `json:"claims_in_id_token,omitempty"`           // those of userinfo too, for programs that read nothing else
	BackchannelLogoutURI    string   `json:"backchannel_logout_uri,omitempty"`
	DPoPBound               bool     `json:"dpop_bound_access_tokens,omitempty"` // no tokens without a proof (RFC 9449)
	RequirePAR              bool     `json:"require_pushed_authorization_requests,omitempty"`

	FirstParty     bool     `json:"first_party"`               // no consent is asked for
	Providers      []string `json:"providers,omitempty"`       // IdPs that may stand behind a login, "local" for a password; empty: all
	Resources      []string `json:"resources,omitempty"`       // audiences that it may ask tokens for (RFC 8707)
	AllowedOrigins []string `json:"allowed_origins,omitempty"` // web origins besides those of its redirect URIs
	AccessTTL      int64    `json:"access_ttl,omitempty"`      // 0: as configured
	RefreshTTL     int64    `json:"refresh_ttl,omitempty"`
	SessionMaxAge  int64    `json:"session_max_age,omitempty"`
	MaxUpstreamAge int64    `json:"max_upstream_age,omitempty"` // how long ago the login at an IdP may have been known to be alive; 0: no limit

	SecretHash string    `json:"-"` // empty: it has none
	CreatedAt  time.Time `json:"-"`
	UpdatedAt  time.Time `json:"-"`
	// ReadOnly clients come from the configuration, or are built in.
	ReadOnly bool `json:"-"`
	// Registered says that it registered itself; its URLs are not trusted.
	Registered bool `json:"dynamically_registered,omitempty"`
}

// RawJSON is a JSON value as it came.
type RawJSON []byte

// MarshalJSON implements json.Marshaler.
func (r RawJSON) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *RawJSON) UnmarshalJSON(raw []byte) error {
	*r = append((*r)[:0], raw...)
	return nil
}

// Public reports whether the client can keep no secret (RFC 6749 section 2.1).
func (c *Client) Public() bool { return c.TokenEndpointAuthMethod == AuthNone }

// Native reports whether the client runs on the person's own device (RFC 8252).
func (c *Client) Native() bool { return c.ApplicationType == ApplicationNative }

// idTokenAlg is what signs the client's ID and logout tokens.
func (c *Client) idTokenAlg() string { return cmp.Or(c.IDTokenAlg, "RS256") }

// TakesWay reports whether a login may have come this way: an IdP by its id, or
// a password (empty).
func (c *Client) TakesWay(providerID string) bool {
	return len(c.Providers) == 0 || slices.Contains(c.Providers, cmp.Or(providerID, localProvider))
}

// MayUse reports whether the client is registered for a grant type.
func (c *Client) MayUse(grantType string) bool { return slices.Contains(c.GrantTypes, grantType) }

// DisplayName is how people know the client.
func (c *Client) DisplayName() string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

// grantScope is what of the wanted scopes the client may have, in the order in
// which they were wanted, each once. Others are left out, as OIDC Core section
// 3.1.2.1 asks.
func (c *Client) grantScope(wanted string) string {
	allowed, out := strings.Fields(c.Scope), []string{}
	for _, scope := range strings.Fields(wanted) {
		if slices.Contains(allowed, scope) && !slices.Contains(out, scope) {
			out = append(out, scope)
		}
	}
	return strings.Join(out, " ")
}

// hasScope reports whether a scope string names one scope.
func hasScope(scope, one string) bool { return slices.Contains(strings.Fields(scope), one) }

// subset reports whether every scope of a is one of b.
func subset(a, b string) bool {
	return !slices.ContainsFunc(strings.Fields(a), func(s string) bool { return !hasScope(b, s) })
}

// lifetimes are the configured ones with the client's own in their place.
func (b *Broker) lifetimes(c *Client) Lifetimes {
	l := b.cfg.Lifetimes
	own := func(field *time.Duration, seconds int64) {
		if seconds > 0 {
			*field = time.Duration(seconds) * time.Second
		}
	}
	own(&l.Access, c.AccessTTL)
	own(&l.Refresh, c.RefreshTTL)
	own(&l.MaxAge, c.SessionMaxAge)
	return l
}

// redirectAllowed compares a redirect URI of the JSON API's apps with the
// registered ones: plain string equality and nothing else (RFC 9700 section 2.1).
func (b *Broker) redirectAllowed(uri string) bool {
	return slices.Contains(b.cfg.MobileRedirectURIs, uri)
}
