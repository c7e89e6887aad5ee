package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

func fileWith(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestClientsOfTheFile(t *testing.T) {
	c, err := load(t, `
clients:
  - client_id: wiki
    client_secret_file: `+fileWith(t, "0123456789abcdef\n")+`
    client_name: The wiki
    redirect_uris: [https://wiki.example.org/cb]
    post_logout_redirect_uris: [https://wiki.example.org/]
    scope: openid groups
    backchannel_logout_uri: https://wiki.example.org/logout
    first_party: true
    providers: [local]
    resources: [https://api.example.org]
    allowed_origins: [https://app.example.org]
    id_token_signed_response_alg: ES256
    require_pushed_authorization_requests: true
    access_ttl: 5m
    refresh_ttl: 7d
    session_max_age: 30d
    max_upstream_age: 15m
  - client_id: phone
    token_endpoint_auth_method: none
    redirect_uris: [myapp:/oauth]
    dpop_bound_access_tokens: true
  - client_id: robot
    token_endpoint_auth_method: private_key_jwt
    grant_types: [client_credentials]
    jwks:
      keys:
        - {kty: OKP, crv: Ed25519, kid: 2024, use: sig, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := c.brokerClients()
	if len(got) != 3 {
		t.Fatalf("%+v", got)
	}
	wiki, phone, robot := got[0], got[1], got[2]
	if wiki.SecretHash != broker.HashClientSecret("0123456789abcdef") || wiki.AccessTTL != 300 || wiki.RefreshTTL != 7*86400 || wiki.SessionMaxAge != 30*86400 || wiki.MaxUpstreamAge != 900 ||
		!wiki.FirstParty || !wiki.ReadOnly || !wiki.RequirePAR || wiki.Scope != "openid groups" || wiki.ApplicationType != "web" || len(wiki.Providers) != 1 {
		t.Errorf("%+v", wiki)
	}
	if !phone.Public() || phone.SecretHash != "" || !phone.Native() || !phone.DPoPBound {
		t.Errorf("%+v", phone)
	}
	if robot.SecretHash != "" || !strings.Contains(string(robot.JWKS), `"kid":"2024"`) {
		t.Errorf("%+v %s", robot, robot.JWKS)
	}
}

// Each problem names its key and the remedy.
func TestProblemsOfClients(t *testing.T) {
	long := strings.Repeat("x", 40)
	good := "client_secret: 0123456789abcdef, redirect_uris: ['https://x.org/cb']"
	for name, tc := range map[string]struct {
		file string
		want []string
	}{
		"unknown key":       {"{client_id: a, redirect_uri: x, " + good + "}", []string{"clients.redirect_uri", "did you mean clients.redirect_uris"}},
		"no id":             {"{" + good + "}", []string{"clients[0].client_id", "printable"}},
		"id with a space":   {"{client_id: a b, " + good + "}", []string{"clients.a b.client_id"}},
		"id twice":          {"{client_id: a, " + good + "}, {client_id: a, " + good + "}", []string{"clients.a.client_id", "used twice"}},
		"built in, app":     {"{client_id: latchkey-app, " + good + "}", []string{"clients.latchkey-app.client_id", "built-in", "choose another"}},
		"built in, cli":     {"{client_id: latchkey-cli, " + good + "}", []string{"clients.latchkey-cli.client_id", "built-in"}},
		"no secret":         {"{client_id: a, redirect_uris: ['https://x.org']}", []string{"clients.a.client_secret", "openssl rand", "token_endpoint_auth_method: none"}},
		"short secret":      {"{client_id: a, client_secret: short, redirect_uris: ['https://x.org']}", []string{"clients.a.client_secret", "5 bytes", "at least 16"}},
		"secret twice":      {"{client_id: a, client_secret_file: /x, " + good + "}", []string{"clients.a", "keep one"}},
		"secret file gone":  {"{client_id: a, client_secret_file: /nonexistent, redirect_uris: ['https://x.org']}", []string{"clients.a.client_secret_file", "/nonexistent"}},
		"public and secret": {"{client_id: a, token_endpoint_auth_method: none, " + good + "}", []string{"clients.a.client_secret", "remove one"}},
		"method":            {"{client_id: a, token_endpoint_auth_method: mtls, " + good + "}", []string{"clients.a.token_endpoint_auth_method", "client_secret_basic"}},
		"no redirect":       {"{client_id: a, client_secret: 0123456789abcdef}", []string{"clients.a.redirect_uris"}},
		"dangerous":         {"{client_id: a, client_secret: 0123456789abcdef, redirect_uris: ['javascript:alert(1)']}", []string{"clients.a.redirect_uris", "javascript"}},
		"wildcard":          {"{client_id: a, post_logout_redirect_uris: ['https://*.x.org/'], " + good + "}", []string{"clients.a.post_logout_redirect_uris", "wildcards"}},
		"grant type":        {"{client_id: a, grant_types: [implicit], " + good + "}", []string{"clients.a.grant_types", "implicit", "authorization_code"}},
		"response type":     {"{client_id: a, response_types: [token], " + good + "}", []string{"clients.a.response_types", "code"}},
		"application type":  {"{client_id: a, application_type: tv, " + good + "}", []string{"clients.a.application_type", "native"}},
		"key sets":          {"{client_id: a, token_endpoint_auth_method: private_key_jwt, redirect_uris: ['https://x.org']}", []string{"clients.a.token_endpoint_auth_method", "jwks"}},
		"bad key set":       {"{client_id: a, jwks: {keys: [{kty: oct, k: AAAA}]}, " + good + "}", []string{"clients.a.jwks"}},
		"both key sets":     {"{client_id: a, jwks: {keys: []}, jwks_uri: 'https://x.org', " + good + "}", []string{"clients.a.jwks"}},
		"algorithm":         {"{client_id: a, id_token_signed_response_alg: HS256, " + good + "}", []string{"clients.a.id_token_signed_response_alg", "RS256"}},
		"logout URI":        {"{client_id: a, backchannel_logout_uri: nowhere, " + good + "}", []string{"clients.a.backchannel_logout_uri", "https"}},
		"origin":            {"{client_id: a, allowed_origins: ['https://x.org/path'], " + good + "}", []string{"clients.a.allowed_origins", "origin"}},
		"resource":          {"{client_id: a, resources: [books], " + good + "}", []string{"clients.a.resources", "absolute URI"}},
		"provider":          {"{client_id: a, providers: [nowhere], " + good + "}", []string{"clients.a.providers", "nowhere", "local"}},
		"access ttl":        {"{client_id: a, access_ttl: 30d, " + good + "}", []string{"clients.a.access_ttl", "86400"}},
		"duration":          {"{client_id: a, access_ttl: soon, " + good + "}", []string{"soon", "30d"}},
		"half a second":     {"{client_id: a, refresh_ttl: 500ms, " + good + "}", []string{"clients.a.refresh_ttl", "whole seconds"}},
		"no time at all":    {"{client_id: a, session_max_age: 0, " + good + "}", []string{"clients.a.session_max_age", "leave it out"}},
		"upstream age":      {"{client_id: a, max_upstream_age: 30s, " + good + "}", []string{"clients.a.max_upstream_age", "60"}},
		"no upstream age":   {"{client_id: a, max_upstream_age: 0, " + good + "}", []string{"clients.a.max_upstream_age", "leave it out"}},
		"and all at once":   {"{client_id: a, providers: [x], grant_types: [y]}", []string{"clients.a.providers", "clients.a.grant_types", "clients.a.client_secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, "clients: ["+tc.file+"]", nil)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "0123456789abcdef") {
				t.Error("the secret is in the error")
			}
		})
	}
	for name, tc := range map[string]struct {
		file string
		env  map[string]string
		want []string
	}{
		"local only, and off":  {"local_login: false\nclients: [{client_id: a, providers: [local], " + good + "}]", nil, []string{"clients.a.providers", "local_login"}},
		"HS256, no secret":     {"tokens: {algorithm: HS256}", nil, []string{"tokens.hs256_secret", "openssl rand"}},
		"HS256, short":         {"tokens: {algorithm: HS256}", map[string]string{"LATCHKEY_HS256_SECRET": "short"}, []string{"LATCHKEY_HS256_SECRET", "at least 32"}},
		"HS256, root secret":   {"tokens: {algorithm: HS256, hs256_secret: " + long + "}", map[string]string{"JWT_SECRET_KEY": long}, []string{"tokens.hs256_secret", "root secret"}},
		"HS256, earlier root":  {"tokens: {algorithm: HS256, hs256_secret: " + long + "}", map[string]string{"JWT_SECRET_KEY_PREVIOUS": long}, []string{"tokens.hs256_secret", "root secret"}},
		"secret without HS256": {"tokens: {hs256_secret: " + long + "}", nil, []string{"tokens.hs256_secret", "ES256", "remove it"}},
		"registration token":   {"registration_token: short", nil, []string{"LATCHKEY_REGISTRATION_TOKEN", "at least 32"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.file, tc.env)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
	if c, err := load(t, "tokens: {algorithm: HS256}\nproviders: [{id: a, issuer: 'https://x.org', client_id: a, exchange_audiences: [sdk]}]",
		map[string]string{"LATCHKEY_HS256_SECRET_FILE": fileWith(t, long), "LATCHKEY_REGISTRATION_TOKEN": long}); err != nil || c.Tokens.HS256Secret != long ||
		c.RegistrationToken != long || len(c.Providers[0].ExchangeAudiences) != 1 {
		t.Errorf("%+v %v", c, err)
	}
}

// The generated root secret is not known to the configuration; the start
// compares it all the same.
func TestSharedSecretIsNeverTheGeneratedRootSecret(t *testing.T) {
	c := newCLI(t)
	c.must("", "key", "list")
	root, err := os.ReadFile(filepath.Join(c.env["LATCHKEY_DATA_DIR"], "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	c.env["LATCHKEY_TOKEN_ALGORITHM"], c.env["LATCHKEY_HS256_SECRET"] = "HS256", string(root)
	if code, _, errs := c.run("", "key", "list"); code != 1 || !strings.Contains(errs, "hs256_secret") {
		t.Fatalf("exit %d, %s", code, errs)
	}
}
