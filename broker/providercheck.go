package broker

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Bounds of a provider's settings.
const (
	maxProviderText = 512 // bytes of each text
	maxProviderList = 200 // entries of each list
)

var providerIDShape = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// reservedProviderIDs are path segments beside /auth/:provider, and the word
// for the password.
var reservedProviderIDs = []string{
	"refresh", "config", "callback", "authorize", "mobile-redirect", "backchannel-logout", "logout", "login", localProvider,
	"new", // stands beside the pages of providers
}

// publicIssuers let anybody make an account, so that whoever may come in must
// be said.
var publicIssuers = []string{
	"accounts.google.com", "login.microsoftonline.com", "appleid.apple.com", "discord.com", "github.com", "gitlab.com", "facebook.com",
	"login.yahoo.com",
}

// CheckProvider fills in what was left out, and refuses what cannot be right:
// InvalidRequest, with [Faults] for every field that is wrong.
func CheckProvider(s ProviderSettings) (ProviderSettings, error) {
	s = s.withDefaults()
	var bad Faults
	s.checkTexts(&bad)
	if _, _, err := ReadLogo(s.Logo); err != nil {
		bad.add("logo", "%v", err)
	}
	s.checkChoices(&bad)
	s.checkRules(&bad)
	s.checkIssuer(&bad)
	s.checkType(&bad)
	return s, bad.refusal()
}

func (s ProviderSettings) withDefaults() ProviderSettings {
	s.Name = cleanText(s.Name, MaxName)
	orElse(&s.Name, s.ID)
	orElse(&s.Type, TypeOIDC)
	orElse(&s.TokenEndpointAuth, AuthAuto)
	orElse(&s.Provision, ProvisionCreate)
	orElse(&s.LinkBy, LinkNone)
	orElse(&s.RequireVerifiedEmail, EmailIfPresent)
	if s.Recheck > 0 {
		orElse(&s.RecheckBy, RecheckByRefresh)
	}
	if len(s.RoleMap) > 0 {
		orElse(&s.DefaultRole, RoleUser)
	}
	s.typeDefaults()
	domains := []string{}
	for _, d := range s.AllowedDomains {
		domains = append(domains, FoldEmail(d))
	}
	s.AllowedDomains = domains
	return s
}

func orElse[T ~string](field *T, standard T) {
	if *field == "" {
		*field = standard
	}
}

func (s *ProviderSettings) checkTexts(bad *Faults) {
	checkProviderID(bad, s.ID)
	if s.ClientID == "" {
		bad.add("client_id", "is needed")
	}
	for _, text := range []struct{ field, value string }{
		{"client_id", s.ClientID}, {"claims.username", s.Claims.Username}, {"claims.email", s.Claims.Email}, {"claims.name", s.Claims.Name},
		{"claims.groups", s.Claims.Groups}, {"claims.permissions", s.Claims.Permissions}, {"claims.subject", s.Claims.Subject},
		{"claims.email_verified", s.Claims.EmailVerified},
	} {
		if badProviderText(text.value) {
			bad.add(text.field, "must be at most %d bytes, without control characters", maxProviderText)
		}
	}
	for _, list := range []struct {
		field  string
		values []string
	}{
		{"scopes", s.Scopes}, {"allowed_groups", s.AllowedGroups}, {"allowed_domains", s.AllowedDomains}, {"exchange_audiences", s.ExchangeAudiences},
	} {
		if len(list.values) > maxProviderList || slices.Contains(list.values, "") || slices.ContainsFunc(list.values, badProviderText) {
			bad.add(list.field, "must be at most %d texts of 1 to %d bytes, without control characters", maxProviderList, maxProviderText)
		}
	}
}

func checkProviderID(bad *Faults, id string) {
	if !providerIDShape.MatchString(id) || slices.Contains(reservedProviderIDs, id) {
		bad.add("id", "must be a lower-case word of at most 32 letters, digits and hyphens that is not reserved, such as pocketid")
	}
}

// CheckProviderID refuses what can be no provider's id: InvalidRequest, at the
// field id.
func CheckProviderID(id string) error {
	var bad Faults
	checkProviderID(&bad, id)
	return bad.refusal()
}

func badProviderText(text string) bool {
	return len(text) > maxProviderText || strings.ToValidUTF8(text, "") != text || strings.ContainsFunc(text, unicode.IsControl)
}

func (s *ProviderSettings) checkChoices(bad *Faults) {
	oneOf := func(field, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			bad.add(field, "is %s, must be one of %s", strconvQuote(value), strings.Join(allowed, ", "))
		}
	}
	oneOf("type", s.Type, TypeOIDC, TypeGitHub, TypeDiscord, TypeOAuth2)
	oneOf("token_endpoint_auth", s.TokenEndpointAuth, AuthAuto, AuthBasic, AuthPost, AuthPrivateKeyJWT, AuthNone)
	oneOf("provision", string(s.Provision), string(ProvisionCreate), string(ProvisionMatch), string(ProvisionDeny))
	oneOf("link_by", string(s.LinkBy), string(LinkNone), string(LinkVerifiedEmail))
	oneOf("require_verified_email", string(s.RequireVerifiedEmail), string(EmailAlways), string(EmailIfPresent), string(EmailNever))
	switch {
	case s.DefaultRole == "":
	case len(s.RoleMap) == 0:
		bad.add("default_role", "needs a role_map: without one the IdP has no say in roles")
	default: // an administrator is named by a group, never by the lack of one
		oneOf("default_role", string(s.DefaultRole), string(RoleUser), string(RoleGuest), string(RoleNone))
	}
	if len(s.RoleMap) > maxProviderList {
		bad.add("role_map", "must be at most %d groups", maxProviderList)
		return
	}
	for group, role := range s.RoleMap {
		oneOf("role_map."+cleanText(group, 100), string(role), string(RoleAdmin), string(RoleUser), string(RoleGuest))
		if group == "" || badProviderText(group) {
			bad.add("role_map", "names a group that is not 1 to %d bytes, without control characters", maxProviderText)
		}
	}
}

func (s *ProviderSettings) checkRules(bad *Faults) {
	s.checkRecheck(bad)
	if i := slices.IndexFunc(s.Scopes, func(scope string) bool { return strings.ContainsFunc(scope, notVisibleASCII) }); i >= 0 {
		bad.add("scopes", "%s is not one scope: write a list of them", strconvQuote(s.Scopes[i]))
	}
	for _, d := range s.AllowedDomains {
		if _, err := checkEmail("someone@" + d); err != nil || !isASCII(d) || strings.HasPrefix(d, ".") || !strings.Contains(d, ".") {
			bad.add("allowed_domains", "%s is not a domain, such as example.org (Punycode for other letters)", strconvQuote(d))
		}
	}
}

// Bounds of recheck.
const (
	minRecheck = Interval(time.Minute)
	maxRecheck = Interval(365 * 24 * time.Hour)
)

func (s *ProviderSettings) checkRecheck(bad *Faults) {
	switch {
	case s.Recheck == 0 && s.RecheckBy != "":
		bad.add("recheck_by", "is of no use without recheck; remove it, or set recheck")
	case s.Recheck == 0:
	case s.Recheck < minRecheck || s.Recheck > maxRecheck:
		bad.add("recheck", "is %s, must be 0 (never) or 1m to 365d", FormatDuration(time.Duration(s.Recheck)))
	case s.Type != TypeOIDC:
		bad.add("recheck", "needs type %s", TypeOIDC)
	case s.RecheckBy != RecheckByRefresh && s.RecheckBy != RecheckByIntrospection:
		bad.add("recheck_by", "is %s, must be one of %s, %s", strconvQuote(string(s.RecheckBy)), RecheckByRefresh, RecheckByIntrospection)
	}
}

func (s *ProviderSettings) checkIssuer(bad *Faults) {
	if s.Type == TypeOAuth2 {
		return // its endpoints are checked
	}
	u, err := url.Parse(s.Issuer)
	if err != nil || !webAddress(u, s.Issuer) || strings.ContainsAny(s.Issuer, "?#") {
		bad.add("issuer", "must be the issuer's URL, such as https://pocket.example.org")
		return
	}
	s.checkPlainHTTP(bad, "issuer", u)
	s.checkPublic(bad, u)
}

// webAddress reports whether an address of a provider can be used at all.
func webAddress(u *url.URL, text string) bool {
	return len(text) <= maxURI && u.Hostname() != "" && (u.Scheme == "https" || u.Scheme == "http") && u.User == nil &&
		!strings.ContainsFunc(text, func(r rune) bool { return notVisibleASCII(r) || strings.ContainsRune(`\"<>`, r) })
}

func (s *ProviderSettings) checkPlainHTTP(bad *Faults, field string, u *url.URL) {
	if u.Scheme == "http" && !s.InsecureHTTP && !LoopbackName(u.Hostname()) {
		bad.add(field, "is plain http: code and secret would travel in the clear; use https, or insecure_http: true if you know the way")
	}
}

// checkPublic is for an address of a provider where anybody has an account.
func (s *ProviderSettings) checkPublic(bad *Faults, u *url.URL) {
	host := strings.ToLower(u.Hostname())
	public := slices.ContainsFunc(publicIssuers, func(p string) bool { return host == p || strings.HasSuffix(host, "."+p) })
	if public && s.Provision == ProvisionCreate && len(s.AllowedGroups) == 0 && len(s.AllowedDomains) == 0 && !bad.has("provision") {
		bad.add("provision", "is create, and anybody can have an account at %s: name allowed_groups or allowed_domains, or set provision: match", host)
	}
}

// checkAdded is for settings that came over the API: the issuer of a stranger's
// choice must not be a way into our own network. What a name resolves to is
// judged when it is dialed.
func (s *ProviderSettings) checkAdded(bad *Faults) {
	for _, e := range append(s.endpoints(), endpoint{"issuer", s.Issuer}) {
		u, err := url.Parse(e.url)
		if err != nil || s.AllowPrivate || e.url == "" || e.field == "issuer" && s.Type == TypeOAuth2 {
			continue
		}
		addr, err := netip.ParseAddr(u.Hostname())
		if addr = addr.Unmap(); LoopbackName(u.Hostname()) || err == nil && (!addr.IsGlobalUnicast() || addr.IsPrivate()) {
			bad.add(e.field, "is at a private address; set allow_private: true if it is yours")
		}
	}
}

// checkSecret judges a client secret beside the settings that it belongs to.
func (s *ProviderSettings) checkSecret(bad *Faults, secret string) {
	switch {
	case secret == "" && (s.Type == TypeGitHub || s.Type == TypeDiscord):
		bad.add("client_secret", "is needed with type %s", s.Type)
	case secret == "" && (s.TokenEndpointAuth == AuthBasic || s.TokenEndpointAuth == AuthPost):
		bad.add("client_secret", "is needed for token_endpoint_auth %s", s.TokenEndpointAuth)
	case secret != "" && s.TokenEndpointAuth == AuthPrivateKeyJWT:
		bad.add("client_secret", "is of no use with token_endpoint_auth %s; remove one of them", AuthPrivateKeyJWT)
	case len(secret) > maxProviderSecret || strings.ContainsFunc(secret, unicode.IsControl) || strings.ToValidUTF8(secret, "") != secret:
		bad.add("client_secret", "must be at most %d bytes, without control characters", maxProviderSecret)
	}
}

// maxProviderSecret bounds a client secret, in bytes.
const maxProviderSecret = 4096

// CheckProviderSecret judges a client secret beside its settings, as
// [CheckProvider] does with the rest.
func CheckProviderSecret(s ProviderSettings, secret string) error {
	var bad Faults
	s.checkSecret(&bad, secret)
	return bad.refusal()
}

// LoopbackName reports whether a host name or address is of this very machine
// (RFC 6761 section 6.3).
func LoopbackName(host string) bool {
	return loopbackHost(host) || strings.HasSuffix(host, ".localhost")
}
