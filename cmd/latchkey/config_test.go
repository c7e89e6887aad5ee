package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// load reads a configuration from a file's text and an environment.
func load(t *testing.T, file string, env map[string]string) (*config, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "latchkey.yaml")
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &program{getenv: func(k string) string { return env[k] }, configFile: name}
	for k, v := range env {
		p.environ = append(p.environ, k+"="+v)
	}
	return p.loadConfig()
}

func TestDefaultsNeedNothing(t *testing.T) {
	c, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.PublicURL != "http://localhost:8080" || c.Listen != ":8080" || c.databaseURL() != "sqlite:./data/latchkey.db" || !c.LocalLogin ||
		c.Tokens.Algorithm != "ES256" || c.Tokens.AccessTTL.Duration() != time.Hour || c.Tokens.RefreshTTL.Duration() != 30*24*time.Hour ||
		c.Tokens.SessionMaxAge.Duration() != 400*24*time.Hour || c.Tokens.RefreshGrace.Duration() != 10*time.Minute ||
		c.Tokens.SessionRetention.Duration() != 90*24*time.Hour || c.RateLimit.AuthMax != 40 || c.RateLimit.AuthWindow.Duration() != 10*time.Minute ||
		len(c.MobileRedirectURIs) != 4 {
		t.Fatalf("%+v", c)
	}
}

func TestEnvironmentWinsOverFileAndBareNumbersHaveUnits(t *testing.T) {
	c, err := load(t, `
public_url: https://id.example.org/
tokens: {access_ttl: 120, refresh_ttl: 7d, refresh_grace: 1m30s}
rate_limit: {auth_window: 60000, auth_max: 5}
local_login: false
mobile_redirect_uris: [my.app://oauth]
`, map[string]string{
		"ACCESS_TOKEN_EXPIRY": "900", "RATE_LIMIT_AUTH_WINDOW": "120000", "LATCHKEY_SESSION_MAX_AGE": "0",
		"LATCHKEY_MOBILE_REDIRECT_URIS": "a.b://x, c.d://y", "LATCHKEY_TRUSTED_PROXIES": "10.0.0.0/8,127.0.0.1",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.PublicURL != "https://id.example.org" || c.Tokens.AccessTTL.Duration() != 15*time.Minute || c.Tokens.RefreshTTL.Duration() != 7*24*time.Hour ||
		c.Tokens.RefreshGrace.Duration() != 90*time.Second || c.RateLimit.AuthWindow.Duration() != 2*time.Minute || c.RateLimit.AuthMax != 5 ||
		c.LocalLogin || strings.Join(c.MobileRedirectURIs, " ") != "a.b://x c.d://y" || c.Tokens.SessionMaxAge != 0 || len(c.TrustedProxies) != 2 {
		t.Fatalf("%+v", c)
	}
	if c, err = load(t, "rate_limit: {auth_window: 60000}", nil); err != nil || c.RateLimit.AuthWindow.Duration() != time.Minute {
		t.Fatalf("a bare auth_window in the file is %v, %v", c.RateLimit.AuthWindow, err)
	}
}

func TestProviderFromEnvironmentAndFile(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, `
providers:
  - {id: pocket, issuer: "https://pocket.example.org", client_id: lk, client_secret_file: `+secret+`, role_map: {admins: admin}, claims: {groups: "urn:groups"}, recheck: 12h}
`, map[string]string{"OIDC_ISSUER": "https://auth.example.org", "OIDC_CLIENT_ID": "x", "OIDC_CLIENT_SECRET_FILE": secret, "OIDC_NAME": "Authelia"})
	if err != nil {
		t.Fatal(err)
	}
	first, second := c.Providers[0], c.Providers[1]
	if first.ID != "openid" || first.Name != "Authelia" || first.ClientSecret != "s3cret" || first.Provision != "create" ||
		second.ID != "pocket" || second.Name != "pocket" || second.ClientSecret != "s3cret" || second.LinkBy != "none" ||
		second.RequireVerifiedEmail != "if_present" || second.Claims.Groups != "urn:groups" ||
		second.Recheck != broker.Interval(12*time.Hour) || second.RecheckBy != "refresh" || first.Recheck != 0 || first.RecheckBy != "" {
		t.Fatalf("%+v", c.Providers)
	}
}

// Each problem names its key and the remedy, and all come at once.
func TestProblemsNameTheKeyAndTheRemedy(t *testing.T) {
	long := strings.Repeat("x", 40)
	for name, tc := range map[string]struct {
		file string
		env  map[string]string
		want []string
	}{
		"unknown key":          {file: "publc_url: https://x.org", want: []string{"publc_url", "line 1", "did you mean public_url"}},
		"unknown nested key":   {file: "tokens:\n  acces_ttl: 1h", want: []string{"tokens.acces_ttl", "line 2", "tokens.access_ttl"}},
		"unknown provider key": {file: "providers:\n- {id: a, isuer: x}", want: []string{"providers.isuer", "issuer"}},
		"unknown variable":     {env: map[string]string{"LATCHKEY_PUBLICURL": "x"}, want: []string{"LATCHKEY_PUBLICURL", "LATCHKEY_PUBLIC_URL"}},
		"several at once":      {file: "listen: foo\npublic_url: ftp://x", want: []string{"listen:", "public_url:"}},
		"public url":           {file: "public_url: id.example.org", want: []string{"public_url", "https://id.example.org"}},
		"duration":             {env: map[string]string{"ACCESS_TOKEN_EXPIRY": "soon"}, want: []string{"ACCESS_TOKEN_EXPIRY", "soon", "30d"}},
		"negative duration":    {env: map[string]string{"ACCESS_TOKEN_EXPIRY": "-5"}, want: []string{"ACCESS_TOKEN_EXPIRY", "-5"}},
		"grace too long":       {file: "tokens: {refresh_grace: 2h}", want: []string{"tokens.refresh_grace", "1h"}},
		"zero access ttl":      {env: map[string]string{"ACCESS_TOKEN_EXPIRY": "0"}, want: []string{"tokens.access_ttl"}},
		"number":               {env: map[string]string{"RATE_LIMIT_AUTH_MAX": "many"}, want: []string{"RATE_LIMIT_AUTH_MAX", "whole number"}},
		"passwords too short":  {env: map[string]string{"LATCHKEY_PASSWORD_MIN_LENGTH": "7"}, want: []string{"passwords.min_length", "8 to 64"}},
		"passwords too long":   {file: "passwords: {min_length: 65}", want: []string{"passwords.min_length", "8 to 64"}},
		"sessions":             {env: map[string]string{"LATCHKEY_SESSION_LIMIT": "-1"}, want: []string{"tokens.session_limit"}},
		"boolean":              {env: map[string]string{"LATCHKEY_LOCAL_LOGIN": "maybe"}, want: []string{"LATCHKEY_LOCAL_LOGIN", "true or false"}},
		"database":             {file: "database_url: mysql://u:hunter2@h/d", want: []string{"database_url", "sqlite:<path>"}},
		"postgres no secret":   {file: "database_url: postgres://u:p@h/d", want: []string{"JWT_SECRET_KEY", "openssl rand"}},
		"short secret":         {env: map[string]string{"JWT_SECRET_KEY": "short"}, want: []string{"JWT_SECRET_KEY", "32"}},
		"short old secret":     {env: map[string]string{"JWT_SECRET_KEY": long, "JWT_SECRET_KEY_PREVIOUS": "short"}, want: []string{"JWT_SECRET_KEY_PREVIOUS"}},
		"redis without scheme": {env: map[string]string{"LATCHKEY_REDIS_URL": "hunter2@localhost:6379"}, want: []string{"redis_url", "redis://"}},
		"starts below zero":    {env: map[string]string{"LATCHKEY_RATE_LIMIT_STARTS_MAX": "-1"}, want: []string{"rate_limit.starts_max", "0 (off) to 1000000"}},
		"secret twice":         {env: map[string]string{"JWT_SECRET_KEY": long, "JWT_SECRET_KEY_FILE": "/x"}, want: []string{"JWT_SECRET_KEY", "both set"}},
		"secret file gone":     {env: map[string]string{"JWT_SECRET_KEY_FILE": "/nonexistent"}, want: []string{"JWT_SECRET_KEY", "/nonexistent"}},
		"algorithm":            {env: map[string]string{"LATCHKEY_TOKEN_ALGORITHM": "none"}, want: []string{"tokens.algorithm", "ES256"}},
		"believe everybody":    {file: "trusted_proxies: [0.0.0.0/0]", want: []string{"trusted_proxies", "everybody"}},
		"dangerous redirect":   {file: `mobile_redirect_uris: ["javascript:alert(1)"]`, want: []string{"mobile_redirect_uris", "javascript"}},
		"wildcard redirect":    {file: `mobile_redirect_uris: ["*"]`, want: []string{"mobile_redirect_uris"}},
		"reserved id":          {file: "providers: [{id: refresh, issuer: 'https://x.org', client_id: a}]", want: []string{"providers.refresh.id", "reserved"}},
		"same id twice":        {file: "providers: [{id: a, issuer: 'https://x.org', client_id: a}, {id: a, issuer: 'https://y.org', client_id: a}]", want: []string{"used twice"}},
		"plain http issuer":    {file: "providers: [{id: a, issuer: 'http://x.org', client_id: a}]", want: []string{"providers.a.issuer", "insecure_http"}},
		"issuer missing":       {env: map[string]string{"OIDC_CLIENT_ID": "x"}, want: []string{"providers.openid.issuer"}},
		"public issuer":        {file: "providers: [{id: g, issuer: 'https://accounts.google.com', client_id: a}]", want: []string{"providers.g.provision", "allowed_domains"}},
		"github, anybody":      {file: "providers: [{id: gh, type: github, client_id: a, client_secret: s}]", want: []string{"providers.gh.provision", "github.com", "allowed_groups"}},
		"github, no secret":    {file: "providers: [{id: gh, type: github, client_id: a, provision: match}]", want: []string{"providers.gh.client_secret"}},
		"secret beside a key":  {file: "providers: [{id: k, issuer: 'https://x.org', client_id: a, client_secret: hunter2, token_endpoint_auth: private_key_jwt}]", want: []string{"providers.k.client_secret", "private_key_jwt", "remove one"}},
		"github by a key":      {file: "providers: [{id: gh, type: github, client_id: a, client_secret: s, provision: match, token_endpoint_auth: private_key_jwt}]", want: []string{"providers.gh.token_endpoint_auth"}},
		"unknown method":       {file: "providers: [{id: k, issuer: 'https://x.org', client_id: a, token_endpoint_auth: tls}]", want: []string{"providers.k.token_endpoint_auth", "private_key_jwt"}},
		"a server's name":      {file: "providers: [{id: d, type: discord, client_id: a, client_secret: s, allowed_groups: [Readers]}]", want: []string{"providers.d.allowed_groups", "developer mode"}},
		"oauth2, no endpoints": {file: "providers: [{id: c, type: oauth2, client_id: a}]", want: []string{"providers.c.token_endpoint", "providers.c.userinfo_endpoint"}},
		"unknown type":         {file: "providers: [{id: c, type: saml, issuer: 'https://x.org', client_id: a}]", want: []string{"providers.c.type", "github, discord, oauth2"}},
		"root by a group":      {file: "providers: [{id: a, issuer: 'https://x.org', client_id: a, role_map: {x: root}}]", want: []string{"role_map.x"}},
		"forward auth":         {file: "forward_auth: {rules: [{hosts: ['*'], policy: login}, {hosts: [a.x.org], policy: bypass}]}", want: []string{"forward_auth.rules[0].hosts", "app.example.org", "forward_auth.rules[1].policy", "allow, login", "trusted_proxies"}},
		"forward auth, key":    {file: "forward_auth: {rules: [{host: a.x.org}]}", want: []string{"forward_auth.rules.host", "hosts"}},
		"half an admin":        {env: map[string]string{"LATCHKEY_ADMIN_USERNAME": "x"}, want: []string{"LATCHKEY_ADMIN_PASSWORD"}},
		"half a certificate":   {file: "tls: {cert_file: x}", want: []string{"tls"}},
		"cors":                 {file: "cors_origins: [app.example.org]", want: []string{"cors_origins", "origin"}},
		"not yaml":             {file: "a: [", want: []string{"latchkey.yaml"}},
		"wrong shape":          {file: "listen: [a]", want: []string{"latchkey.yaml"}},
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
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a password is in: %v", err)
			}
		})
	}
}

func TestKubernetesServiceVariablesAreNotOurs(t *testing.T) {
	_, err := load(t, "", map[string]string{"LATCHKEY_PORT": "tcp://10.0.0.1:80", "LATCHKEY_SERVICE_HOST": "10.0.0.1", "LATCHKEY_PORT_80_TCP": "x"})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDurationsAreReadAndWrittenAsPeopleDo(t *testing.T) {
	for text, want := range map[string]string{"1h": "1h", "30d": "30d", "1d12h": "36h", "90s": "1m30s", "10m": "10m", "0": "0s", "3600": "1h", "48h": "2d", "1h30m": "1h30m"} {
		d, err := parseDuration(text, time.Second)
		if err != nil || d.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, d, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1h", "1x", "9999999999999999999", "1e9h", "200000d"} {
		if d, err := parseDuration(text, time.Second); err == nil {
			t.Errorf("%q was read as %v", text, d)
		}
	}
}

func TestAutoLaunchNamesAProvider(t *testing.T) {
	file := "providers: [{id: pocketid, issuer: 'https://x.org', client_id: a}]"
	for id, warned := range map[string]bool{"pocketid": false, "openid": false, "pocket": true, "": false} {
		c, err := load(t, file, map[string]string{"LATCHKEY_AUTO_LAUNCH": id})
		if err != nil || c.AutoLaunch != id {
			t.Fatal(c, err)
		}
		if got := strings.Contains(strings.Join(c.warnings(), "\n"), "auto_launch: "+id+" is no provider"); got != warned {
			t.Errorf("%q: %v", id, c.warnings())
		}
	}
}
