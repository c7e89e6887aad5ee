package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// hiddenURLs are URLs that are hidden as a whole.
var hiddenURLs = regexp.MustCompile(`(?m)^(database_url|redis_url): .*\n`)

// Whatever a configuration file and a variable of the environment hold: they are read or refused
// with text that a terminal can show, and what `latchkey config print` says of one that is good is good
// again, and the same.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		"", "public_url: https://id.example.org\nlisten: :8080\n", "tokens: {access_ttl: 1h, refresh_ttl: 30d}", "tokens: {access_ttl: -1h}", "listen: [a, b]", "a: &a [*a]",
		"providers:\n- {id: x, name: X, issuer: https://idp.test, client_id: a, client_secret: b, role_map: {staff: admin}, default_role: guest, recheck: 1h}\n",
		"providers:\n- {id: x, name: X, issuer: https://idp.test, client_id: a, token_endpoint_auth: none, claims: {groups: a.b}, allowed_domains: [x.test]}\n",
		"clients:\n- {client_id: a, redirect_uris: [https://a.test/cb], client_secret: a-secret-of-a-client-which-is-long-enough, access_ttl: 10m}\n",
		"clients:\n- {client_id: a, redirect_uris: [app.a:/cb, http://127.0.0.1/cb], token_endpoint_auth_method: none, scope: openid, resources: [https://api.test]}\n",
		"smtp: {host: mail.test, from: a@b.test}", "cors_origins: [https://a.test]", "trusted_proxies: [10.0.0.0/8, x]", "trusted_proxies: [10.0.0.1]\nforward_auth: {rules: [{hosts: [a.test, '*.b.test:8443'], paths: [/public/*], policy: allow}, {hosts: [a.test], policy: login, groups: [x]}]}",
		"\x00", "%YAML 1.1\n---\n", "a: !!binary aGk=", "public_url: \"\\e[2J\"", "log: {level: debug, format: json}", "database_url: postgres://a:b@h/d\nsecret_key: 0123456789012345678901234567890123456789",
	} {
		f.Add([]byte(seed), "", "")
	}
	for _, variable := range []string{
		"LATCHKEY_PUBLIC_URL=https://id.example.org/\x1b[2J", "LATCHKEY_LISTEN=:x", "ACCESS_TOKEN_EXPIRY=3600", "REFRESH_TOKEN_EXPIRY=99999999999999999999", "LATCHKEY_KEY_ROTATION=-1d", "LATCHKEY_LOCAL_LOGIN=\xff",
		"RATE_LIMIT_AUTH_WINDOW=1e9", "RATE_LIMIT_AUTH_MAX=0x10", "LATCHKEY_CORS_ORIGINS=https://a.test, https://b.test,,", "LATCHKEY_TRUSTED_PROXIES=::1,10.0.0.0/8", "LATCHKEY_DATABASE_URL=postgres://a:b@h/%zz",
		"LATCHKEY_REDIS_URL=redis://:p@h:1/0", "LATCHKEY_TOKEN_ALGORITHM=none", "LATCHKEY_MOBILE_REDIRECT_URIS=app:/x,javascript:alert(1)", "OIDC_ISSUER=https://idp.test", "OIDC_NAME=\u202e", "LATCHKEY_SMTP_FROM=a@b",
		"LATCHKEY_IMPORT_ACCEPT_LEGACY_UNTIL=2027-01-01", "OTEL_EXPORTER_OTLP_HEADERS=a=b,c", "LATCHKEY_PUBLIC_ULR=x", "LATCHKEY_\x1b[2J=x", "JWT_SECRET_KEY_PREVIOUS=,,", "LATCHKEY_ADMIN_USERNAME=root",
	} {
		name, value, _ := strings.Cut(variable, "=")
		f.Add([]byte("log: {level: debug}"), name, value)
	}
	read := func(t *testing.T, raw []byte, name, value string) (*program, *config, error) {
		file := filepath.Join(t.TempDir(), "latchkey.yaml")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		getenv := func(asked string) string {
			if asked == name {
				return value
			}
			return ""
		}
		p := &program{getenv: getenv, environ: []string{name + "=" + value}, stdout: io.Discard, configFile: file}
		c, err := p.loadConfig()
		return p, c, err
	}
	printed := func(t *testing.T, p *program, c *config) []byte {
		var out bytes.Buffer
		p.stdout = &out
		if err := p.printConfig(c); err != nil {
			t.Fatal(err)
		}
		return hiddenURLs.ReplaceAll(out.Bytes(), nil)
	}
	f.Fuzz(func(t *testing.T, raw []byte, name, value string) {
		if bytes.Contains(raw, []byte("_file")) || strings.HasSuffix(name, "_FILE") {
			t.Skip("files of this machine are no matter of the file's text")
		}
		if strings.Contains(name, "=") || strings.Contains(name+value, "\x00") {
			t.Skip("no environment holds that")
		}
		p, c, err := read(t, raw, name, value)
		if err != nil {
			if text := err.Error(); len(text) > 64<<10 || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return plain(string(r)) == "" && r != '\n' && r != '\t' }) {
				t.Errorf("the refusal is no text for a terminal: %.200q", text)
			}
			return
		}
		if bytes.Contains(raw, []byte(redacted)) || strings.Contains(value, redacted) {
			return
		}
		first := printed(t, p, c)
		again, c2, err := read(t, bytes.ReplaceAll(first, []byte(redacted), []byte("a-secret-of-forty-characters-for-reading")), "", "")
		if err != nil {
			t.Fatalf("what is printed is refused: %v\n%s", err, first)
		}
		if second := printed(t, again, c2); !bytes.Equal(first, second) {
			t.Errorf("printed\n%s\nand read again\n%s", first, second)
		}
	})
}
