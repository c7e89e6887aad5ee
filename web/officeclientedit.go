package web

import (
	"cmp"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the form with everything that can be changed about a client.

// clientFlags are the checkboxes of the form and the fields behind them.
var clientFlags = []struct {
	name  string
	label *text
	of    func(*broker.Client) *bool
}{
	{"first_party", askFirstParty.Label, func(c *broker.Client) *bool { return &c.FirstParty }},
	{"claims_in_id_token", say("Put what the userinfo endpoint says into the ID token too"), func(c *broker.Client) *bool { return &c.ClaimsInIDToken }},
	{"dpop_bound_access_tokens", say("Give no tokens without a proof of possession (DPoP)"), func(c *broker.Client) *bool { return &c.DPoPBound }},
	{"require_pushed_authorization_requests", say("Take only authorization requests that were pushed before (PAR)"), func(c *broker.Client) *bool { return &c.RequirePAR }},
}

// clientLists are the fields with one value a line.
var clientLists = []struct {
	input
	of func(*broker.Client) *[]string
}{
	{askRedirects, func(c *broker.Client) *[]string { return &c.RedirectURIs }},
	{askPostLogout, func(c *broker.Client) *[]string { return &c.PostLogoutRedirectURIs }},
	{input{
		Name: "allowed_origins", Type: "textarea", Label: say("Web origins"), Code: true, Max: 8 << 10,
		Help: say("Besides those of the redirect URIs, one a line: from there its pages may call the token endpoint (CORS)."),
	}, func(c *broker.Client) *[]string { return &c.AllowedOrigins }},
	{input{
		Name: "resources", Type: "textarea", Label: say("Resources"), Code: true, Max: 8 << 10, Help: say("APIs that it may ask tokens for, one URI a line (RFC 8707)."),
	}, func(c *broker.Client) *[]string { return &c.Resources }},
	{input{Name: "contacts", Type: "textarea", Label: say("Contacts"), Max: 8 << 10, Help: say("Who answers for it, one a line.")},
		func(c *broker.Client) *[]string { return &c.Contacts }},
}

// clientLines are the fields of one line.
var clientLines = []struct {
	input
	of func(*broker.Client) *string
}{
	{input{Name: "client_name", Label: say("Name"), Required: true, Max: broker.MaxName}, func(c *broker.Client) *string { return &c.Name }},
	{askScope, func(c *broker.Client) *string { return &c.Scope }},
	{input{Name: "client_uri", Label: say("Address of the app"), Code: true, Max: 1024}, func(c *broker.Client) *string { return &c.URI }},
	{input{
		Name: "backchannel_logout_uri", Label: say("Back-channel logout URI"), Code: true, Max: 1024, Help: say("Where the app is told of sessions that ended."),
	}, func(c *broker.Client) *string { return &c.BackchannelLogoutURI }},
	{input{Name: "policy_uri", Label: say("Privacy policy"), Code: true, Max: 1024}, func(c *broker.Client) *string { return &c.PolicyURI }},
	{input{Name: "tos_uri", Label: say("Terms of service"), Code: true, Max: 1024}, func(c *broker.Client) *string { return &c.TermsURI }},
	{input{Name: "logo_uri", Label: say("Logo"), Code: true, Max: 1024}, func(c *broker.Client) *string { return &c.LogoURI }},
	{input{
		Name: "jwks_uri", Label: say("Address of its keys"), Code: true, Max: 1024, Help: say("Of a client that authenticates with a key (private_key_jwt)."),
	}, func(c *broker.Client) *string { return &c.JWKSURI }},
}

// clientTimes are the lifetimes, in seconds.
var clientTimes = []struct {
	input
	of func(*broker.Client) *int64
}{
	{input{Name: "access_ttl", Label: say("Lifetime of access tokens"), Code: true, Max: 20, Placeholder: "15m", Help: say("Such as 90s, 15m, 12h or 30d. Empty: as configured.")},
		func(c *broker.Client) *int64 { return &c.AccessTTL }},
	{input{Name: "refresh_ttl", Label: say("Sessions end when unused for"), Code: true, Max: 20, Placeholder: "30d", Help: say("Empty: as configured.")},
		func(c *broker.Client) *int64 { return &c.RefreshTTL }},
	{input{Name: "session_max_age", Label: say("Sessions end at the age of"), Code: true, Max: 20, Placeholder: "365d", Help: say("Empty: as configured.")},
		func(c *broker.Client) *int64 { return &c.SessionMaxAge }},
	{input{
		Name: "max_upstream_age", Label: say("Oldest check at the identity provider"), Code: true, Max: 20, Placeholder: "10m",
		Help: say("How long ago the login at the provider may have been known to stand. Empty: no limit."),
	}, func(c *broker.Client) *int64 { return &c.MaxUpstreamAge }},
}

var grantTypes = []struct {
	name  string
	grant string
	label *text
}{
	{"grant_code", broker.GrantAuthorizationCode, say("People log in to it in the browser (authorization code)")},
	{"grant_refresh", broker.GrantRefreshToken, say("It stays logged in (refresh token)")},
	{"grant_device", broker.GrantDeviceCode, say("People log in to it with a code on another device (device code)")},
	{"grant_exchange", broker.GrantTokenExchange, say("It exchanges tokens (token exchange)")},
	{"grant_client", broker.GrantClientCredentials, say("It acts for itself (client credentials)")},
}

var authMethods = []option{
	{Value: "", Text: say("with its secret, either way")}, {Value: broker.AuthBasic, Name: broker.AuthBasic}, {Value: broker.AuthPost, Name: broker.AuthPost},
}

// editForm is the form of a client: what is changed often, and the rest.
func (s *Server) editForm(c *broker.Client) (form, more []input) {
	for _, one := range clientLines {
		field := one.input
		field.Value = *one.of(c)
		if field.Name == "client_name" || field.Name == "scope" {
			form = append(form, field)
			continue
		}
		more = append(more, field)
	}
	for _, one := range clientLists {
		field := one.input
		field.Value = strings.Join(*one.of(c), "\n")
		if field.Name == "redirect_uris" || field.Name == "post_logout_redirect_uris" {
			field.Required = field.Required && c.MayUse(broker.GrantAuthorizationCode)
			form = append(form, field)
			continue
		}
		more = append(more, field)
	}
	for _, one := range clientTimes {
		field := one.input
		field.Value = lifetime(*one.of(c))
		more = append(more, field)
	}
	if c.SecretHash != "" {
		more = append(more, input{
			Name: "token_endpoint_auth_method", Type: "select", Label: say("It authenticates"), Value: c.TokenEndpointAuthMethod, Options: authMethods, Required: true,
		})
	}
	more = append(more,
		input{
			Name: "id_token_signed_response_alg", Type: "select", Label: say("Signature of ID tokens"), Value: c.IDTokenAlg, Required: true,
			Options: []option{{Value: "", Name: "RS256"}, {Value: "ES256", Name: "ES256"}, {Value: "EdDSA", Name: "EdDSA"}},
		},
		input{
			Name: "application_type", Type: "select", Label: say("Its sessions"), Value: c.ApplicationType, Required: true, Options: []option{
				{Value: broker.ApplicationWeb, Text: say("end with the session of the browser")}, {Value: broker.ApplicationNative, Text: say("stand on their own, as on a phone")},
			},
		},
		input{Name: "jwks", Type: "textarea", Label: say("Its keys (JWKS)"), Code: true, Max: 16 << 10, Value: string(c.JWKS)})
	for i, one := range clientFlags {
		field := input{Name: one.name, Type: "checkbox", Label: one.label, Checked: *one.of(c)}
		if i == 0 {
			form = append(form, field)
			continue
		}
		more = append(more, field)
	}
	return form, more
}

// grantsOf are the checkboxes of the grant types.
func grantsOf(c *broker.Client) (out []input) {
	for _, one := range grantTypes {
		out = append(out, input{Name: one.name, Type: "checkbox", Label: one.label, Checked: c.MayUse(one.grant)})
	}
	return out
}

// wayPrefix is that of the checkboxes of ways to log in.
const wayPrefix = "way_"

// waysOf are the checkboxes of the ways to log in to the client.
func (s *Server) waysOf(c *broker.Client) []input {
	out := []input{{Name: wayPrefix + "local", Type: "checkbox", Label: say("People may log in to it with a password"), Checked: c.TakesWay("")}}
	for _, p := range s.broker.Providers() {
		out = append(out, input{Name: wayPrefix + p.ID, Type: "checkbox", Label: say("People may log in to it through {provider}", p.Name), Checked: c.TakesWay(p.ID)})
	}
	return out
}

// edited is a client with what a form of it says. Who it is, how it was made
// stay.
func (s *Server) edited(c broker.Client, typed map[string]*string) (broker.Client, error) {
	for _, one := range clientLines {
		*one.of(&c) = strings.Join(strings.Fields(or(typed[one.Name])), " ")
	}
	for _, one := range clientLists {
		*one.of(&c) = lines(or(typed[one.Name]))
	}
	for _, one := range clientFlags {
		*one.of(&c) = or(typed[one.name]) != ""
	}
	for _, one := range clientTimes {
		seconds, ok := lifetimeOf(or(typed[one.Name]))
		if !ok {
			return c, &broker.Error{Code: broker.InvalidClientMetadata, Field: one.Name, Message: one.Name + ": a time such as 90s, 15m, 12h or 30d"}
		}
		*one.of(&c) = seconds
	}
	c.GrantTypes = []string{}
	for _, one := range grantTypes {
		if or(typed[one.name]) != "" {
			c.GrantTypes = append(c.GrantTypes, one.grant)
		}
	}
	c.ResponseTypes = nil // they follow from the grant types
	if c.SecretHash != "" {
		c.TokenEndpointAuthMethod = or(typed["token_endpoint_auth_method"])
	}
	c.ApplicationType, c.IDTokenAlg = or(typed["application_type"]), or(typed["id_token_signed_response_alg"])
	c.JWKS = broker.RawJSON(strings.TrimSpace(or(typed["jwks"])))
	if c.Name == "" {
		return c, &broker.Error{Code: broker.InvalidClientMetadata, Field: "client_name", Message: "a name is needed"}
	}
	var err error
	c.Providers, err = s.waysTyped(&c, typed)
	return c, err
}

// waysTyped are the ways to log in that were checked; none where all are, so that
// a provider that is added later is one of them. What says the same as before
// stays as it was.
func (s *Server) waysTyped(c *broker.Client, typed map[string]*string) ([]string, error) {
	out, all, same := []string{}, []string{""}, true
	for _, p := range s.broker.Providers() {
		all = append(all, p.ID)
	}
	for _, id := range all {
		name := cmp.Or(id, "local")
		checked := or(typed[wayPrefix+name]) != ""
		if same = same && checked == c.TakesWay(id); checked {
			out = append(out, name)
		}
	}
	switch {
	case len(out) == 0:
		return nil, &broker.Error{Code: broker.InvalidClientMetadata, Field: wayPrefix + "local", Message: "at least one way to log in is needed"}
	case same:
		return c.Providers, nil
	case len(out) == len(all):
		return nil, nil
	}
	return out, nil
}

// lifetime writes seconds as the configuration does; 0 is empty.
func lifetime(seconds int64) string {
	if seconds == 0 {
		return ""
	}
	return broker.FormatDuration(time.Duration(seconds) * time.Second)
}

// lifetimeOf reads what [lifetime] writes, and whatever else the configuration takes
// that is whole seconds.
func lifetimeOf(typed string) (seconds int64, ok bool) {
	if typed = strings.TrimSpace(typed); typed == "" {
		return 0, true
	}
	d, err := broker.ParseDuration(typed, time.Second)
	return int64(d / time.Second), err == nil && d%time.Second == 0
}
