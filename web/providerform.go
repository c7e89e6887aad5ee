package web

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the form of a provider's settings. Its fields are called as the
// settings are, so that a fault of the broker's finds its field.

// providerForm are the fields with the settings in them; the secret is not
// among those.
func providerForm(k knownIdP, s broker.ProviderSettings, hasSecret bool) []input {
	out := []input{{Name: "name", Label: say("Name on the login page"), Value: s.Name, Max: broker.MaxName, Required: true}}
	switch s.Type {
	case broker.TypeOIDC:
		if k.Settings.Issuer == "" {
			out = append(out, urlInput("issuer", say("Issuer"), k.IssuerHelp, s.Issuer, k.Issuer, true))
		}
	case broker.TypeOAuth2:
		out = append(out,
			urlInput("authorization_endpoint", say("Authorization endpoint"), nil, s.AuthorizationEndpoint, "https://cloud.example.org/oauth2/authorize", true),
			urlInput("token_endpoint", say("Token endpoint"), nil, s.TokenEndpoint, "https://cloud.example.org/oauth2/token", true),
			urlInput("userinfo_endpoint", say("Userinfo endpoint"), say("Where a GET with the access token is answered with who somebody is."), s.UserinfoEndpoint, "https://cloud.example.org/api/user", true),
			claimInput("claims.subject", say("Field that names a person for good"), s.Claims.Subject, "sub"))
	}
	secret := input{
		Name: "client_secret", Type: "password", Label: say("Client secret"), Max: 4096, Autocomplete: "off",
		Required: !hasSecret && (s.Type == broker.TypeGitHub || s.Type == broker.TypeDiscord), Help: say("It is encrypted in the database and never shown again."),
	}
	if hasSecret {
		secret.Help = say("There is one. Leave this empty to keep it.")
	}
	out = append(out, input{Name: "client_id", Label: say("Client id"), Value: s.ClientID, Max: 512, Required: true, Code: true, Autocomplete: "off"}, secret)
	return append(append(out, ruleInputs(s)...), moreInputs(k, s)...)
}

// ruleInputs are who may log in.
func ruleInputs(s broker.ProviderSettings) []input {
	return []input{
		{Name: "provision", Type: "select", Label: say("Somebody who is new"), Required: true, Value: string(cmp.Or(s.Provision, broker.ProvisionCreate)), Options: []option{
			{Value: string(broker.ProvisionCreate), Text: say("gets an account")}, {Value: string(broker.ProvisionMatch), Text: say("comes in only if there is an account to link to")},
			{Value: string(broker.ProvisionDeny), Text: say("does not come in; people link their logins by hand")},
		}},
		{Name: "link_by", Type: "select", Label: say("Link newcomers to an account that is here"), Required: true, Value: string(cmp.Or(s.LinkBy, broker.LinkNone)), Options: []option{
			{Value: string(broker.LinkNone), Text: say("never")}, {Value: string(broker.LinkVerifiedEmail), Text: say("of the same verified e-mail address")},
		}},
		{Name: "require_verified_email", Type: "select", Label: say("A verified e-mail address"), Required: true, Value: string(cmp.Or(s.RequireVerifiedEmail, broker.EmailIfPresent)), Options: []option{
			{Value: string(broker.EmailAlways), Text: say("is always needed")}, {Value: string(broker.EmailIfPresent), Text: say("is needed where the provider says whether it is verified")},
			{Value: string(broker.EmailNever), Text: say("is not needed")},
		}},
		linesInput("allowed_groups", say("Only these groups"), say("One a line. Empty: any."), s.AllowedGroups),
		linesInput("allowed_domains", say("Only these e-mail domains"), say("One a line, of a verified address. Empty: any."), s.AllowedDomains),
		linesInput("role_map", say("Roles by group"), say("One a line, such as {example}. The roles are admin, user and guest; empty: the provider has no say in roles.", "family = user"), roleLines(s.RoleMap)),
		{Name: "default_role", Type: "select", Label: say("Who has none of these groups"), Value: string(s.DefaultRole), Help: say("It counts where there are roles by group."), Options: []option{
			{Value: "", Text: say("is a user")}, {Value: string(broker.RoleGuest), Text: say("is a guest")}, {Value: string(broker.RoleNone), Text: say("does not come in")},
		}},
	}
}

// moreInputs are what is rarely changed.
func moreInputs(k knownIdP, s broker.ProviderSettings) []input {
	out := []input{{Name: "scopes", Label: say("Scopes"), Value: strings.Join(s.Scopes, " "), Max: 4096, Code: true, Help: say("With spaces between them. Empty: the usual ones.")}}
	openID := s.Type == broker.TypeOIDC
	if s.Type == broker.TypeGitHub || s.Type == broker.TypeDiscord {
		out = append(out, urlInput("issuer", say("Issuer"), say("Only for a server of your own. Empty: the service itself."), s.Issuer, k.Issuer, false))
	}
	if s.Type != broker.TypeGitHub {
		out = append(out, authInput(openID, s.TokenEndpointAuth))
	}
	if openID || s.Type == broker.TypeOAuth2 {
		out = append(out, claimInput("claims.username", say("Claim of the username"), s.Claims.Username, "preferred_username"), claimInput("claims.name", say("Claim of the name"), s.Claims.Name, "name"),
			claimInput("claims.email", say("Claim of the e-mail address"), s.Claims.Email, "email"), claimInput("claims.groups", say("Claim of the groups"), s.Claims.Groups, "groups"),
			claimInput("claims.permissions", say("Claim of the permissions"), s.Claims.Permissions, ""))
	}
	if s.Type == broker.TypeOAuth2 {
		out = append(out, claimInput("claims.email_verified", say("Field that says whether the address is verified"), s.Claims.EmailVerified, "email_verified"),
			urlInput("emails_endpoint", say("Endpoint of the e-mail addresses"), say("Where they are not in the answer of the userinfo endpoint."), s.EmailsEndpoint, "", false))
	}
	if openID {
		out = append(out, recheckInputs(s)...)
	}
	return append(out,
		input{Name: "allow_private", Type: "checkbox", Label: say("It is at a private address, which Latchkey may ask"), Checked: s.AllowPrivate},
		input{Name: "insecure_http", Type: "checkbox", Label: say("It speaks plain http, and I know the way there"), Checked: s.InsecureHTTP})
}

func authInput(openID bool, value string) input {
	i := input{Name: "token_endpoint_auth", Type: "select", Label: say("How Latchkey proves itself there"), Value: cmp.Or(value, broker.AuthAuto), Required: true, Options: []option{
		{Value: broker.AuthAuto, Text: say("as the provider wants it")}, {Value: broker.AuthBasic, Name: broker.AuthBasic}, {Value: broker.AuthPost, Name: broker.AuthPost},
	}}
	if openID {
		i.Options = append(i.Options, option{Value: broker.AuthPrivateKeyJWT, Name: broker.AuthPrivateKeyJWT})
	}
	i.Options = append(i.Options, option{Value: broker.AuthNone, Text: say("not at all: a public client")})
	return i
}

func recheckInputs(s broker.ProviderSettings) []input {
	recheck := ""
	if s.Recheck > 0 {
		text, _ := s.Recheck.MarshalText()
		recheck = string(text)
	}
	return []input{
		{Name: "recheck", Label: say("Check logins again every"), Value: recheck, Placeholder: "1h", Code: true, Help: say("Such as {example}: whoever is locked out there is logged out here. Empty: never. It needs refresh tokens of the provider.", "1h")},
		{Name: "recheck_by", Type: "select", Label: say("How they are checked"), Value: string(s.RecheckBy), Options: []option{
			{Value: "", Text: say("by a refresh")}, {Value: string(broker.RecheckByIntrospection), Text: say("by introspection")},
		}},
		{Name: "logout", Type: "checkbox", Label: say("Logging out here ends the session there too"), Checked: s.Logout},
		linesInput("exchange_audiences", say("Client ids of apps that log in there by themselves"), say("One a line. Their ID tokens are accepted for a login here."), s.ExchangeAudiences),
	}
}

func urlInput(name string, label, help *text, value, placeholder string, required bool) input {
	return input{Name: name, Type: "url", Label: label, Help: help, Value: value, Placeholder: placeholder, Required: required, Max: 2048, Code: true, Autocomplete: "off"}
}

func claimInput(name string, label *text, value, standard string) input {
	return input{Name: name, Label: label, Value: value, Placeholder: standard, Max: 512, Code: true}
}

func linesInput(name string, label, help *text, lines []string) input {
	return input{Name: name, Type: "textarea", Label: label, Help: help, Value: strings.Join(lines, "\n"), Max: 20000, Code: true}
}

func roleLines(roles map[string]broker.Role) (out []string) {
	for _, group := range slices.Sorted(maps.Keys(roles)) {
		out = append(out, group+" = "+string(roles[group]))
	}
	return out
}

// hiddenFields are those of the form that are none of the settings.
var hiddenFields = []string{"kind", "id"}

// readProvider reads the form into settings of that type. The secret is nil
// where none was typed.
func readProvider(typed map[string]*string, kind string) (s broker.ProviderSettings, secret *string, err error) {
	value := func(name string) string { return strings.TrimSpace(or(typed[name])) }
	s = broker.ProviderSettings{
		ID: value("id"), Name: value("name"), Type: kind, Issuer: value("issuer"), ClientID: value("client_id"),
		TokenEndpointAuth: value("token_endpoint_auth"), Scopes: strings.Fields(value("scopes")),
		Claims: broker.ClaimNames{
			Username: value("claims.username"), Email: value("claims.email"), Name: value("claims.name"), Groups: value("claims.groups"),
			Permissions: value("claims.permissions"), Subject: value("claims.subject"), EmailVerified: value("claims.email_verified"),
		},
		Provision: broker.Provisioning(value("provision")), LinkBy: broker.LinkRule(value("link_by")), RequireVerifiedEmail: broker.EmailRule(value("require_verified_email")),
		AllowedGroups: lines(value("allowed_groups")), AllowedDomains: lines(value("allowed_domains")), ExchangeAudiences: lines(value("exchange_audiences")),
		Logout: value("logout") != "", RecheckBy: broker.RecheckBy(value("recheck_by")), InsecureHTTP: value("insecure_http") != "", AllowPrivate: value("allow_private") != "",
		AuthorizationEndpoint: value("authorization_endpoint"), TokenEndpoint: value("token_endpoint"), UserinfoEndpoint: value("userinfo_endpoint"), EmailsEndpoint: value("emails_endpoint"),
	}
	var bad broker.Faults
	if recheck := value("recheck"); recheck != "" {
		if err := s.Recheck.UnmarshalText([]byte(recheck)); err != nil {
			bad = append(bad, broker.Fault{Field: "recheck", Problem: err.Error()})
		}
	}
	if s.Recheck == 0 {
		s.RecheckBy = ""
	}
	if s.RoleMap, err = readRoles(value("role_map")); err != nil {
		bad = append(bad, broker.Fault{Field: "role_map", Problem: err.Error()})
	} else if len(s.RoleMap) > 0 {
		s.DefaultRole = broker.Role(value("default_role"))
	}
	if typedSecret := or(typed["client_secret"]); typedSecret != "" || s.TokenEndpointAuth == broker.AuthPrivateKeyJWT { // which takes the place of one
		secret = &typedSecret
	}
	return s, secret, withFaults(s, bad)
}

// withFaults is an error of what the form cannot say in settings, with what is
// wrong with those.
func withFaults(s broker.ProviderSettings, bad broker.Faults) error {
	if len(bad) == 0 {
		return nil
	}
	_, err := broker.CheckProvider(s)
	more, _ := errors.AsType[broker.Faults](err)
	bad = append(bad, more...)
	return &broker.Error{Code: broker.InvalidRequest, Field: bad[0].Field, Message: bad.Error(), Err: bad}
}

// lines are those of a field that have something in them.
func lines(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// readRoles reads lines of "group = role"; a group may have = in its name.
func readRoles(text string) (map[string]broker.Role, error) {
	out := map[string]broker.Role{}
	for _, line := range lines(text) {
		i := strings.LastIndex(line, "=")
		if i < 0 {
			return nil, errors.New("a line is not like family = user")
		}
		group, role := strings.TrimSpace(line[:i]), strings.TrimSpace(line[i+1:])
		if out[group] != "" {
			return nil, errors.New("a group is there twice")
		}
		out[group] = broker.Role(role)
	}
	return out, nil
}

// formParts is the form in parts. Open says that something is wrong among More.
type formParts struct {
	Main, Rules, More []input
	Open              bool
}

func partsOf(form []input) (out formParts) {
	rules := slices.IndexFunc(form, func(i input) bool { return i.Name == "provision" })
	more := slices.IndexFunc(form, func(i input) bool { return i.Name == "scopes" })
	out.Main, out.Rules, out.More = form[:rules], form[rules:more], form[more:]
	out.Open = slices.ContainsFunc(out.More, func(i input) bool { return i.Wrong != nil })
	return out
}
