package broker

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/latchkey-id/latchkey/tokens"
)

// Bounds of a client's metadata.
const (
	maxClientID      = 128
	maxURIs          = 50
	maxURI           = 1024
	maxClientJWKS    = 16 << 10
	maxAccessTTL     = 24 * 60 * 60        // an ended session is in the revocation list so long
	maxClientTTL     = 3650 * 24 * 60 * 60 // of the others
	minUpstreamAge   = 60                  // the shortest recheck
	maxScopeBytes    = 1024
	defaultScope     = "openid profile email groups offline_access"
	maxClientStrings = 200
)

// CheckClient fills in what a registration left out and refuses what cannot be
// right: InvalidRedirectURI or InvalidClientMetadata (RFC 7591 section 3.2.2),
// with a message that begins with the field.
func CheckClient(c Client) (Client, error) {
	setClientDefaults(&c)
	if c.ID == "" || len(c.ID) > maxClientID || strings.ContainsFunc(c.ID, notVisibleASCII) {
		return c, badMetadata("client_id: 1 to 128 printable ASCII characters without spaces")
	}
	if ForwardHost(c.ID) != "" {
		return c, badMetadata("client_id: " + forwardClient + " begins the names of apps behind a proxy; take another one")
	}
	for _, check := range []func(*Client) error{checkGrants, checkRedirects, checkURLs, checkAuthMethod, checkClientNumbers} {
		if err := check(&c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// badMetadata takes a message that begins with the field, if it is one field's.
func badMetadata(message string) *Error {
	field, _, ok := strings.Cut(message, ":")
	if !ok {
		field = ""
	}
	return fault(InvalidClientMetadata, field, message)
}

func notVisibleASCII(r rune) bool { return r <= ' ' || r > '~' }

func setClientDefaults(c *Client) {
	if c.GrantTypes == nil {
		c.GrantTypes = []string{GrantAuthorizationCode, GrantRefreshToken}
	}
	if c.ResponseTypes == nil && slices.Contains(c.GrantTypes, GrantAuthorizationCode) {
		c.ResponseTypes = []string{"code"}
	}
	if c.ResponseTypes == nil {
		c.ResponseTypes = []string{}
	}
	if c.RedirectURIs == nil {
		c.RedirectURIs = []string{}
	}
	if c.Scope == "" {
		c.Scope = defaultScope
	}
	if c.ApplicationType == "" {
		c.ApplicationType = ApplicationWeb
		if slices.ContainsFunc(c.RedirectURIs, nativeURI) {
			c.ApplicationType = ApplicationNative
		}
	}
	c.Name = cleanText(c.Name, MaxName)
}

// nativeURI reports whether a redirect URI leads to the person's own device:
// a custom scheme or a loopback address (RFC 8252 section 7).
func nativeURI(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme != "https" && u.Scheme != "http" || u.Scheme == "http" && loopbackHost(u.Hostname()))
}

func loopbackHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || host == "localhost"
}

func checkGrants(c *Client) error {
	known := []string{GrantAuthorizationCode, GrantRefreshToken, GrantClientCredentials, GrantDeviceCode, GrantTokenExchange}
	for _, grant := range c.GrantTypes {
		if !slices.Contains(known, grant) {
			return badMetadata("grant_types: " + strconvQuote(grant) + " is not one of " + strings.Join(known, ", "))
		}
	}
	for _, responseType := range c.ResponseTypes {
		if responseType != "code" {
			return badMetadata("response_types: only code is offered")
		}
	}
	switch {
	case c.Public() && c.MayUse(GrantClientCredentials):
		return badMetadata("grant_types: client_credentials needs a client with a secret or a key")
	case c.ApplicationType != ApplicationWeb && c.ApplicationType != ApplicationNative:
		return badMetadata("application_type: web or native")
	case !validScope(c.Scope):
		return badMetadata("scope: words of printable ASCII characters, separated by spaces")
	}
	return nil
}

// validScope bounds a scope and keeps to the characters of RFC 6749 section 3.3.
func validScope(scope string) bool {
	return len(scope) <= maxScopeBytes && !strings.ContainsFunc(scope, func(r rune) bool { return r != ' ' && notVisibleASCII(r) || r == '"' || r == '\\' })
}

func strconvQuote(text string) string { return `"` + cleanText(text, 100) + `"` }

func checkRedirects(c *Client) error {
	if len(c.RedirectURIs) == 0 && c.MayUse(GrantAuthorizationCode) {
		return badRedirects("redirect_uris", "at least one is needed")
	}
	for _, list := range []struct {
		field string
		uris  []string
	}{{"redirect_uris", c.RedirectURIs}, {"post_logout_redirect_uris", c.PostLogoutRedirectURIs}} {
		if len(list.uris) > maxURIs {
			return badRedirects(list.field, "at most 50")
		}
		for _, uri := range list.uris {
			if why := badRedirectURI(uri); why != "" {
				return badRedirects(list.field, strconvQuote(uri)+" "+why)
			}
		}
	}
	return nil
}

func badRedirects(field, problem string) *Error {
	return fault(InvalidRedirectURI, field, field+": "+problem)
}

// forbiddenSchemes run or read something in a browser instead of calling a
// program.
var forbiddenSchemes = []string{"javascript", "data", "vbscript", "file", "about", "blob", "filesystem", "view-source", "ws", "wss", "ftp", "mailto", "tel", "intent"}

// badRedirectURI says why a redirect URI cannot be one, or "". It accepts https,
// http (for machines at home), and custom schemes with something behind them
// (RFC 8252 section 7.1).
func badRedirectURI(uri string) string {
	u, err := url.Parse(uri)
	web := err == nil && (u.Scheme == "https" || u.Scheme == "http")
	switch {
	case err != nil || len(uri) > maxURI || strings.ContainsFunc(uri, func(r rune) bool { return notVisibleASCII(r) || r == '\\' || r == '"' || r == '<' || r == '>' }):
		return "is not a URI"
	case u.Scheme == "" || !strings.HasPrefix(uri, u.Scheme+":"):
		return "needs a scheme in lower case"
	case strings.Contains(uri, "#"):
		return "must have no fragment (RFC 6749 section 3.1.2)"
	case strings.Contains(uri, "*"):
		return "must be exact, without wildcards"
	case u.User != nil:
		return "must have no user part"
	case slices.Contains(forbiddenSchemes, u.Scheme):
		return "has a scheme that calls no app"
	case web && !namesItsHost(uri, u):
		return "needs a host"
	case web && !isPort(u.Port()) && (u.Port() != "" || strings.HasSuffix(u.Host, ":")):
		return "has a port that is none: take one from 1 to 65535, or leave it out together with its colon"
	case !web && u.Host == "" && strings.Trim(u.Path+u.Opaque, "/") == "":
		return "needs something behind the scheme, such as myapp:/oauth"
	case slices.Contains(strings.Split(u.Path, "/"), ".."), slices.Contains(strings.Split(u.Path, "/"), "."):
		return "must have no . or .. in its path"
	}
	return ""
}

// namesItsHost reports whether a URI has a host, and says it as everybody reads it:
// what is percent-encoded there is another host to some (RFC 3986 section 7.6).
func namesItsHost(uri string, u *url.URL) bool {
	return u.Hostname() != "" && !strings.Contains(u.Host, "%") && strings.HasPrefix(uri, u.Scheme+"://"+u.Host)
}

func checkURLs(c *Client) error {
	for _, url := range []struct{ field, value string }{
		{"client_uri", c.URI}, {"logo_uri", c.LogoURI}, {"policy_uri", c.PolicyURI}, {"tos_uri", c.TermsURI}, {"jwks_uri", c.JWKSURI},
		{"backchannel_logout_uri", c.BackchannelLogoutURI},
	} {
		if url.value != "" && !webURL(url.value) {
			return badMetadata(url.field + ": must be an https URL (http only for machines at home)")
		}
	}
	for _, origin := range c.AllowedOrigins {
		if u, err := url.Parse(origin); !webURL(origin) || err != nil || u.Scheme+"://"+u.Host != origin {
			return badMetadata("allowed_origins: " + strconvQuote(origin) + " is not an origin, such as https://app.example.org")
		}
	}
	for _, resource := range c.Resources {
		if u, err := url.Parse(resource); err != nil || u.Scheme == "" || strings.Contains(resource, "#") || len(resource) > maxURI || strings.ContainsFunc(resource, notVisibleASCII) {
			return badMetadata("resources: " + strconvQuote(resource) + " is not an absolute URI (RFC 8707 section 2)")
		}
	}
	if len(c.AllowedOrigins) > maxURIs || len(c.Resources) > maxURIs || len(c.Contacts) > maxURIs || len(c.Providers) > maxURIs {
		return badMetadata("allowed_origins, resources, contacts, providers: at most 50 each")
	}
	if len(c.SoftwareID) > maxClientStrings || strings.ContainsFunc(c.SoftwareID, unicode.IsControl) {
		return badMetadata("software_id: at most 200 characters")
	}
	for _, contact := range c.Contacts {
		if len(contact) > maxClientStrings || strings.ContainsFunc(contact, unicode.IsControl) {
			return badMetadata("contacts: at most 200 characters each")
		}
	}
	return nil
}

func webURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && len(text) <= maxURI && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil &&
		!strings.Contains(text, "#") && !strings.ContainsFunc(text, func(r rune) bool { return notVisibleASCII(r) || r == '\\' || r == '"' })
}

func checkAuthMethod(c *Client) error {
	if !slices.Contains([]string{"", AuthBasic, AuthPost, AuthPrivateKeyJWT, AuthNone}, c.TokenEndpointAuthMethod) {
		return badMetadata("token_endpoint_auth_method: one of client_secret_basic, client_secret_post, private_key_jwt, none")
	}
	if len(c.JWKS) > 0 && string(c.JWKS) != "null" {
		if c.JWKSURI != "" {
			return badMetadata("jwks, jwks_uri: one of them, not both")
		}
		if _, err := tokens.ParseKeySet(c.JWKS); len(c.JWKS) > maxClientJWKS || err != nil || !json.Valid(c.JWKS) {
			return badMetadata("jwks: must be a key set of public keys (RFC 7517 section 5)")
		}
	} else {
		c.JWKS = nil
	}
	if c.TokenEndpointAuthMethod == AuthPrivateKeyJWT && c.JWKS == nil && c.JWKSURI == "" {
		return badMetadata("token_endpoint_auth_method: private_key_jwt needs jwks or jwks_uri")
	}
	if c.IDTokenAlg != "" && !slices.Contains(tokens.Algorithms, c.IDTokenAlg) {
		return badMetadata("id_token_signed_response_alg: one of " + strings.Join(tokens.Algorithms, ", "))
	}
	return nil
}

func checkClientNumbers(c *Client) error {
	for _, ttl := range []struct {
		field string
		value int64
	}{{"refresh_ttl", c.RefreshTTL}, {"session_max_age", c.SessionMaxAge}} {
		if ttl.value < 0 || ttl.value > maxClientTTL {
			return badMetadata(ttl.field + ": 0 (as configured) to 315360000 seconds")
		}
	}
	if c.MaxUpstreamAge != 0 && (c.MaxUpstreamAge < minUpstreamAge || c.MaxUpstreamAge > maxClientTTL) {
		return badMetadata("max_upstream_age: 0 (no limit) or 60 to 315360000 seconds")
	}
	if c.AccessTTL < 0 || c.AccessTTL > maxAccessTTL {
		return badMetadata("access_ttl: 0 (as configured) to 86400 seconds")
	}
	return nil
}
