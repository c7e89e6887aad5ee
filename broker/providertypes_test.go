package broker_test

import (
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

func gitHub(change ...func(*broker.ProviderSettings)) broker.ProviderSettings {
	return added("gh", append([]func(*broker.ProviderSettings){func(s *broker.ProviderSettings) {
		s.Type, s.Issuer, s.AllowedGroups = broker.TypeGitHub, "", []string{"acme", "acme/readers"}
	}}, change...)...)
}

func discord(change ...func(*broker.ProviderSettings)) broker.ProviderSettings {
	return gitHub(append([]func(*broker.ProviderSettings){func(s *broker.ProviderSettings) {
		s.Type, s.AllowedGroups = broker.TypeDiscord, []string{"197038439483310086"}
	}}, change...)...)
}

func byEndpoints(change ...func(*broker.ProviderSettings)) broker.ProviderSettings {
	return added("cloud", append([]func(*broker.ProviderSettings){func(s *broker.ProviderSettings) {
		s.Type, s.Issuer = broker.TypeOAuth2, ""
		s.AuthorizationEndpoint, s.TokenEndpoint = "https://cloud.test/authorize", "https://cloud.test/token"
		s.UserinfoEndpoint, s.Claims.Subject = "https://cloud.test/user?format=json", "ocs.data.id"
	}}, change...)...)
}

func TestTypesOfProviders(t *testing.T) {
	type settings = broker.ProviderSettings
	for name, c := range map[string]struct {
		settings settings
		fields   []string
	}{
		"github":                       {gitHub(), nil},
		"github, anybody":              {gitHub(func(s *settings) { s.AllowedGroups = nil }), []string{"provision"}},
		"github, anybody, in capitals": {gitHub(func(s *settings) { s.AllowedGroups, s.Issuer = nil, "https://GitHub.com/" }), []string{"provision"}},
		"github, who is here already":  {gitHub(func(s *settings) { s.AllowedGroups, s.Provision = nil, broker.ProvisionMatch }), nil},
		"github, a domain":             {gitHub(func(s *settings) { s.AllowedGroups, s.AllowedDomains = nil, []string{"acme.test"} }), nil},
		"enterprise":                   {gitHub(func(s *settings) { s.Issuer, s.AllowedGroups = "https://git.acme.test/", nil }), nil},
		"enterprise with a path":       {gitHub(func(s *settings) { s.Issuer = "https://git.acme.test/api/v3" }), []string{"issuer"}},
		"enterprise in the clear":      {gitHub(func(s *settings) { s.Issuer = "http://git.acme.test" }), []string{"issuer"}},
		"github with claims":           {gitHub(func(s *settings) { s.Claims.Username = "name" }), []string{"claims"}},
		"github by the login name":     {gitHub(func(s *settings) { s.Claims.Subject = "login" }), []string{"claims.subject"}},
		"github with endpoints":        {gitHub(func(s *settings) { s.TokenEndpoint = "https://evil.test" }), []string{"token_endpoint"}},
		"github with what is OpenID's": {gitHub(func(s *settings) { s.Logout, s.ExchangeAudiences = true, []string{"a"} }), []string{"logout", "exchange_audiences"}},
		"github by a key":              {gitHub(func(s *settings) { s.TokenEndpointAuth = broker.AuthPrivateKeyJWT }), []string{"token_endpoint_auth"}},
		"discord by a key":             {discord(func(s *settings) { s.TokenEndpointAuth = broker.AuthPrivateKeyJWT }), []string{"token_endpoint_auth"}},
		"oauth2 by a key":              {byEndpoints(func(s *settings) { s.TokenEndpointAuth = broker.AuthPrivateKeyJWT }), []string{"token_endpoint_auth"}},
		"github by HTTP Basic":         {gitHub(func(s *settings) { s.TokenEndpointAuth = broker.AuthBasic }), []string{"token_endpoint_auth"}},
		"github, checked again":        {gitHub(func(s *settings) { s.Recheck = broker.Interval(time.Hour) }), []string{"recheck"}},
		"a group that GitHub has not":  {gitHub(func(s *settings) { s.AllowedGroups = []string{"acme/a/b"} }), []string{"allowed_groups"}},
		"a team of nobody":             {gitHub(func(s *settings) { s.RoleMap = map[string]broker.Role{"/admins": broker.RoleAdmin} }), []string{"role_map"}},
		"discord":                      {discord(), nil},
		"discord, anybody":             {discord(func(s *settings) { s.AllowedGroups = nil }), []string{"provision"}},
		"discord by a server's name":   {discord(func(s *settings) { s.AllowedGroups = []string{"My Server"} }), []string{"allowed_groups"}},
		"discord with a map of names":  {discord(func(s *settings) { s.RoleMap = map[string]broker.Role{"Mods": broker.RoleAdmin} }), []string{"role_map"}},
		"oauth2":                       {byEndpoints(), nil},
		"oauth2 without endpoints":     {added("x", func(s *settings) { s.Type, s.Issuer = broker.TypeOAuth2, "" }), []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint"}},
		"oauth2 in the clear":          {byEndpoints(func(s *settings) { s.EmailsEndpoint = "http://cloud.test/emails" }), []string{"emails_endpoint"}},
		"oauth2, a fragment":           {byEndpoints(func(s *settings) { s.TokenEndpoint += "#x" }), []string{"token_endpoint"}},
		"oauth2 at a public site":      {byEndpoints(func(s *settings) { s.AuthorizationEndpoint = "https://www.facebook.com/dialog/oauth" }), []string{"provision"}},
		"oauth2 at an API of a site":   {byEndpoints(func(s *settings) { s.UserinfoEndpoint = "https://api.github.com/user" }), []string{"provision"}},
		"oauth2 in another's name":     {byEndpoints(func(s *settings) { s.Issuer = "https://a.test" }), []string{"issuer"}},
		"oauth2 with what is OpenID's": {byEndpoints(func(s *settings) { s.Logout = true }), []string{"logout"}},
		"oidc with endpoints":          {added("a", func(s *settings) { s.UserinfoEndpoint = "https://a.test/me" }), []string{"userinfo_endpoint"}},
		"oidc with another subject":    {added("a", func(s *settings) { s.Claims.Subject = "email" }), []string{"claims.subject"}},
		"oidc with another verified":   {added("a", func(s *settings) { s.Claims.EmailVerified = "x" }), []string{"claims.email_verified"}},
	} {
		checked, err := broker.CheckProvider(c.settings)
		if c.fields == nil && err != nil || c.fields != nil && !faulty(err, c.fields...) {
			t.Errorf("%s: %v, want %v", name, err, c.fields)
		}
		if again, err := broker.CheckProvider(checked); c.fields == nil && (err != nil || again.Issuer != checked.Issuer) {
			t.Errorf("%s, checked twice: %v", name, err)
		}
	}
	for issuer, s := range map[string]settings{
		"https://github.com": gitHub(), "https://discord.com": discord(), "https://cloud.test/user?format=json#ocs.data.id": byEndpoints(),
		"https://git.acme.test": gitHub(func(s *settings) { s.Issuer = "https://GIT.acme.test/" }),
	} {
		if checked, err := broker.CheckProvider(s); err != nil || checked.Issuer != issuer {
			t.Errorf("%q, %v, want %q", checked.Issuer, err, issuer)
		}
	}
}

func TestTypesThatNeedASecret(t *testing.T) {
	for _, s := range []broker.ProviderSettings{gitHub(), discord()} {
		s.TokenEndpointAuth = broker.AuthAuto
		if err := broker.CheckProviderSecret(s, ""); !faulty(err, "client_secret") {
			t.Errorf("%s: %v", s.Type, err)
		}
	}
	if err := broker.CheckProviderSecret(byEndpoints(), ""); err != nil {
		t.Error(err)
	}
}

// An administrator who does not know the client secret makes us send it to a
// token endpoint of his own.
func TestSecretGoesToNoOtherTokenEndpoint(t *testing.T) {
	h := newHouse(t, "", nil, makingIdPs)
	h.add(byEndpoints(), "the secret")
	for name, change := range map[string]func(*broker.ProviderSettings){
		"another token endpoint": func(s *broker.ProviderSettings) { s.TokenEndpoint = "https://evil.test/token" },
		"another type": func(s *broker.ProviderSettings) {
			*s = gitHub(func(s *broker.ProviderSettings) { s.ID, s.Issuer = "cloud", "https://evil.test" })
		},
		"another endpoint of addresses, which is sent people's access tokens": func(s *broker.ProviderSettings) { s.EmailsEndpoint = "https://evil.test/emails" },
		"another userinfo endpoint": func(s *broker.ProviderSettings) { s.UserinfoEndpoint = "https://evil.test/user" },
	} {
		if _, err := h.Broker.UpdateProvider(ctx, byEndpoints(change), nil); !faulty(err, "client_secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, err := h.Broker.UpdateProvider(ctx, byEndpoints(func(s *broker.ProviderSettings) { s.Name = "Cloud" }), nil); err != nil || !p.HasSecret {
		t.Error(err)
	}
}

// U13: endpoints that came over the API are no way into our own network.
func TestU13AddedEndpointsAtPrivateAddress(t *testing.T) {
	h := newHouse(t, "", nil, makingIdPs)
	for field, change := range map[string]func(*broker.ProviderSettings){
		"authorization_endpoint": func(s *broker.ProviderSettings) { s.AuthorizationEndpoint = "https://10.0.0.1/authorize" },
		"token_endpoint":         func(s *broker.ProviderSettings) { s.TokenEndpoint = "https://localhost/token" },
		"userinfo_endpoint":      func(s *broker.ProviderSettings) { s.UserinfoEndpoint = "http://127.0.0.1:5432/" },
		"emails_endpoint":        func(s *broker.ProviderSettings) { s.EmailsEndpoint = "https://[::1]/" },
	} {
		if _, err := h.Broker.CreateProvider(ctx, byEndpoints(change), "s"); !faulty(err, field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := h.Broker.CreateProvider(ctx, gitHub(func(s *broker.ProviderSettings) { s.Issuer = "https://192.168.1.2" }), "s"); !faulty(err, "issuer") {
		t.Error(err)
	}
}
