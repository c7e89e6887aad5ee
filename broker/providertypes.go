package broker

import (
	"net/url"
	"slices"
	"strings"
)

// Types of providers. All but [TypeOIDC] speak OAuth 2 without OpenID.
const (
	TypeOIDC    = "oidc"
	TypeGitHub  = "github"
	TypeDiscord = "discord"
	TypeOAuth2  = "oauth2" // any, by its endpoints
)

// issuers are those of the types that have one.
var issuers = map[string]string{TypeGitHub: "https://github.com", TypeDiscord: "https://discord.com"}

// WantsGroups reports whether groups decide something, so that they have to be
// asked for.
func (s *ProviderSettings) WantsGroups() bool { return len(s.AllowedGroups) > 0 || len(s.RoleMap) > 0 }

// typeDefaults fills in what a type has of its own.
func (s *ProviderSettings) typeDefaults() {
	switch s.Type {
	case TypeOIDC:
		if len(s.Scopes) == 0 {
			s.Scopes = []string{ScopeOpenID, ScopeProfile, ScopeEmail}
		}
	case TypeGitHub, TypeDiscord:
		orElse(&s.Issuer, issuers[s.Type])
		s.Issuer = strings.TrimSuffix(strings.ToLower(s.Issuer), "/") // a host, and nothing else
	case TypeOAuth2:
		orElse(&s.Claims.Subject, "sub")
		orElse(&s.Issuer, s.derivedIssuer())
	}
}

// derivedIssuer is what a provider of type oauth2 has in place of an issuer: who
// says who somebody is, and in which field. No issuer of OpenID looks like that,
// so that nobody who may name endpoints can speak for another provider.
func (s *ProviderSettings) derivedIssuer() string { return s.UserinfoEndpoint + "#" + s.Claims.Subject }

// checkType refuses what means nothing with a type, and wants what it needs.
func (s *ProviderSettings) checkType(bad *Faults) {
	only := func(field string, given bool, types ...string) {
		if given && !slices.Contains(types, s.Type) {
			bad.add(field, "means nothing with type %s; leave it out", s.Type)
		}
	}
	only("claims.subject", s.Claims.Subject != "", TypeOAuth2)
	only("claims.email_verified", s.Claims.EmailVerified != "", TypeOAuth2)
	named := s.Claims
	named.Subject, named.EmailVerified = "", ""
	only("claims", named != ClaimNames{}, TypeOIDC, TypeOAuth2)
	only("exchange_audiences", len(s.ExchangeAudiences) > 0, TypeOIDC)
	only("logout", s.Logout, TypeOIDC)
	for _, e := range s.endpoints() {
		only(e.field, e.url != "", TypeOAuth2)
	}
	switch s.Type {
	case TypeOIDC:
		if !slices.Contains(s.Scopes, ScopeOpenID) && !bad.has("scopes") {
			bad.add("scopes", "needs %s, or there is no ID token", ScopeOpenID)
		}
	case TypeOAuth2:
		s.checkEndpoints(bad)
	case TypeGitHub, TypeDiscord:
		if u, err := url.Parse(s.Issuer); err == nil && u.Path != "" {
			bad.add("issuer", "must be the address of the server alone, such as https://git.example.org; for %s itself leave it out", issuers[s.Type])
		}
	}
	if s.Type == TypeGitHub {
		only("token_endpoint_auth", s.TokenEndpointAuth != AuthAuto && s.TokenEndpointAuth != AuthPost)
	} else {
		only("token_endpoint_auth", s.TokenEndpointAuth == AuthPrivateKeyJWT, TypeOIDC)
	}
	s.checkGroupNames(bad)
}

// endpoint is an address of a provider of type oauth2.
type endpoint struct{ field, url string }

func (s *ProviderSettings) endpoints() []endpoint {
	return []endpoint{
		{"authorization_endpoint", s.AuthorizationEndpoint}, {"token_endpoint", s.TokenEndpoint}, {"userinfo_endpoint", s.UserinfoEndpoint},
		{"emails_endpoint", s.EmailsEndpoint},
	}
}

func (s *ProviderSettings) checkEndpoints(bad *Faults) {
	for _, e := range s.endpoints() {
		u, err := url.Parse(e.url)
		switch {
		case e.url == "" && e.field == "emails_endpoint":
		case err != nil || !webAddress(u, e.url) || strings.Contains(e.url, "#"):
			bad.add(e.field, "must be the URL that the provider's documentation names, such as https://cloud.example.org/oauth2/token")
		default:
			s.checkPlainHTTP(bad, e.field, u)
			s.checkPublic(bad, u)
		}
	}
	if s.Issuer != s.derivedIssuer() {
		bad.add("issuer", "is %s with type oauth2; leave it out", strconvQuote(s.derivedIssuer()))
	}
}

// checkGroupNames finds the names that no group has: whoever wrote them would
// wait in vain for somebody to be let in.
func (s *ProviderSettings) checkGroupNames(bad *Faults) {
	check := func(field, group string) {
		org, team, isTeam := strings.Cut(group, "/")
		switch {
		case s.Type == TypeDiscord && strings.Trim(group, "0123456789") != "":
			bad.add(field, "%s is not the number of a server: switch Discord's developer mode on, and copy the server's ID", strconvQuote(group))
		case s.Type == TypeGitHub && (org == "" || isTeam && team == "" || strings.Contains(team, "/") || strings.ContainsAny(group, " @")):
			bad.add(field, "%s is neither an organization nor a team of one, such as acme or acme/readers", strconvQuote(group))
		}
	}
	for _, group := range s.AllowedGroups {
		check("allowed_groups", group)
	}
	for group := range s.RoleMap {
		check("role_map", group)
	}
}

// sameSecretHolder reports whether a client secret, and the access tokens that it
// buys, go to the same places by both settings.
func (s *ProviderSettings) sameSecretHolder(o *ProviderSettings) bool {
	return s.Type == o.Type && s.Issuer == o.Issuer && s.TokenEndpoint == o.TokenEndpoint && (s.EmailsEndpoint == o.EmailsEndpoint || s.EmailsEndpoint == "")
}
