package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

func TestCheckProviderNamesEveryFaultyField(t *testing.T) {
	type settings = broker.ProviderSettings
	long, many := strings.Repeat("x", 600), make([]string, 300)
	for i := range many {
		many[i] = "g"
	}
	for name, c := range map[string]struct {
		change func(*settings)
		fields []string
	}{
		"nothing":            {func(*settings) {}, nil},
		"everything":         {func(s *settings) { *s = settings{} }, []string{"id", "client_id", "issuer"}},
		"id":                 {func(s *settings) { s.ID = "A b" }, []string{"id"}},
		"id of a path":       {func(s *settings) { s.ID = "refresh" }, []string{"id"}},
		"id of the password": {func(s *settings) { s.ID = "local" }, []string{"id"}},
		"long id":            {func(s *settings) { s.ID = strings.Repeat("a", 33) }, []string{"id"}},
		"id with slash":      {func(s *settings) { s.ID = "a/../b" }, []string{"id"}},
		"type":               {func(s *settings) { s.Type = "saml" }, []string{"type"}},
		"choices":            {func(s *settings) { s.Provision, s.LinkBy, s.RequireVerifiedEmail = "x", "y", "z" }, []string{"provision", "link_by", "require_verified_email"}},
		"auth":               {func(s *settings) { s.TokenEndpointAuth = "tls" }, []string{"token_endpoint_auth"}},
		"auth by a key":      {func(s *settings) { s.TokenEndpointAuth = broker.AuthPrivateKeyJWT }, nil},
		"root by a group":    {func(s *settings) { s.RoleMap = map[string]broker.Role{"g": broker.RoleRoot} }, []string{"role_map.g"}},
		"no group":           {func(s *settings) { s.RoleMap = map[string]broker.Role{"": broker.RoleUser} }, []string{"role_map"}},
		"default role": {func(s *settings) {
			s.RoleMap, s.DefaultRole = map[string]broker.Role{"g": broker.RoleAdmin}, broker.RoleNone
		}, nil},
		"root by default": {func(s *settings) {
			s.RoleMap, s.DefaultRole = map[string]broker.Role{"g": broker.RoleAdmin}, broker.RoleRoot
		}, []string{"default_role"}},
		"admin by default": {func(s *settings) {
			s.RoleMap, s.DefaultRole = map[string]broker.Role{"g": broker.RoleUser}, broker.RoleAdmin
		}, []string{"default_role"}},
		"default without map":   {func(s *settings) { s.DefaultRole = broker.RoleUser }, []string{"default_role"}},
		"nobody by a group":     {func(s *settings) { s.RoleMap = map[string]broker.Role{"g": broker.RoleNone} }, []string{"role_map.g"}},
		"another sub":           {func(s *settings) { s.Claims.Subject, s.Claims.EmailVerified = "email", "x" }, []string{"claims.subject", "claims.email_verified"}},
		"no openid":             {func(s *settings) { s.Scopes = []string{"profile"} }, []string{"scopes"}},
		"scopes in one text":    {func(s *settings) { s.Scopes = []string{"openid profile"} }, []string{"scopes"}},
		"domain":                {func(s *settings) { s.AllowedDomains = []string{"x.test", "@y.test"} }, []string{"allowed_domains"}},
		"domain of one word":    {func(s *settings) { s.AllowedDomains = []string{"test"} }, []string{"allowed_domains"}},
		"domain of look-alikes": {func(s *settings) { s.AllowedDomains = []string{"x\u0430.test"} }, []string{"allowed_domains"}},
		"empty group":           {func(s *settings) { s.AllowedGroups = []string{"a", ""} }, []string{"allowed_groups"}},
		"long lists":            {func(s *settings) { s.AllowedGroups, s.ExchangeAudiences = many, []string{long} }, []string{"allowed_groups", "exchange_audiences"}},
		"long texts":            {func(s *settings) { s.ClientID, s.Claims.Groups, s.Claims.Email = long, long, "a\nb" }, []string{"client_id", "claims.groups", "claims.email"}},
		"public issuer":         {func(s *settings) { s.Issuer = "https://Accounts.Google.com" }, []string{"provision"}},
		"public, with domains":  {func(s *settings) { s.Issuer, s.AllowedDomains = "https://accounts.google.com", []string{"X.test"} }, nil},
		"recheck":               {func(s *settings) { s.Recheck = broker.Interval(time.Minute) }, nil},
		"recheck each second":   {func(s *settings) { s.Recheck = broker.Interval(time.Second) }, []string{"recheck"}},
		"recheck in two years":  {func(s *settings) { s.Recheck = broker.Interval(730 * 24 * time.Hour) }, []string{"recheck"}},
		"recheck by asking":     {func(s *settings) { s.Recheck, s.RecheckBy = broker.Interval(time.Hour), "introspection" }, nil},
		"recheck by guessing":   {func(s *settings) { s.Recheck, s.RecheckBy = broker.Interval(time.Hour), "guess" }, []string{"recheck_by"}},
		"recheck_by alone":      {func(s *settings) { s.RecheckBy = broker.RecheckByRefresh }, []string{"recheck_by"}},
		"plain http":            {func(s *settings) { s.Issuer = "http://idp.test" }, []string{"issuer"}},
		"plain http, said":      {func(s *settings) { s.Issuer, s.InsecureHTTP = "http://idp.test", true }, nil},
		"plain http, loopback":  {func(s *settings) { s.Issuer = "http://127.0.0.1:8080" }, nil},
	} {
		s := added("a")
		c.change(&s)
		if _, err := broker.CheckProvider(s); c.fields == nil && err != nil || c.fields != nil && !faulty(err, c.fields...) {
			t.Errorf("%s: %v, want %v", name, err, c.fields)
		}
	}
	for _, issuer := range []string{
		"", "idp.test", "file:///etc/passwd", "gopher://x.test", "https://", "https://u:p@x.test", "https://x.test?a=b", "https://x.test#f", "https://x.test#",
		"https://x.test ", "https://x\x00.test", `https://x.test\a`, "//x.test", "javascript:alert(1)", "https://" + strings.Repeat("x", 2000) + ".test",
	} {
		if _, err := broker.CheckProvider(added("a", func(s *settings) { s.Issuer = issuer })); !faulty(err, "issuer") {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}

// U13: an issuer that came over the API is no way into our own network.
func TestU13AddedIssuerAtPrivateAddress(t *testing.T) {
	h := newHouse(t, "", nil, makingIdPs)
	for _, issuer := range []string{
		"https://127.0.0.1", "https://localhost:8443", "http://localhost:8080", "https://idp.localhost", "https://10.0.0.1", "https://192.168.1.2", "https://172.16.0.1",
		"https://169.254.169.254", "https://[::1]:5432", "https://[fd00::1]", "https://[fe80::1]", "https://0.0.0.0", "https://[::ffff:10.0.0.1]", "https://224.0.0.1",
	} {
		s := added("a", func(s *broker.ProviderSettings) { s.Issuer = issuer })
		if _, err := h.Broker.CreateProvider(ctx, s, ""); !faulty(err, "issuer") {
			t.Errorf("%s: %v", issuer, err)
		}
		s.AllowPrivate = true
		if _, err := h.Broker.CreateProvider(ctx, s, ""); err != nil {
			t.Errorf("%s: %v", issuer, err)
		} else if err := h.Broker.DeleteProvider(ctx, "a"); err != nil {
			t.Error(err)
		}
	}
}
