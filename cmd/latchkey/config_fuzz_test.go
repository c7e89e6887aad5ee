package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var databaseLine = regexp.MustCompile(`(?m)^database_url: .*\n`)

// Whatever a configuration file holds: it is read or refused with text that a
// terminal can show, and what `latchkey config print` says of one that is good is good
// again, and the same.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		"", "public_url: https://id.example.org\nlisten: :8080\n", "tokens: {access_ttl: 1h, refresh_ttl: 30d}", "tokens: {access_ttl: -1h}", "listen: [a, b]", "a: &a [*a]",
		"providers:\n- {id: x, name: X, issuer: https://idp.test, client_id: a, client_secret: b, rules: [{group: a, role: admin}]}\n", "clients:\n- {id: a, redirect_uris: [https://a.test/cb], secret: x}\n",
		"smtp: {host: mail.test, from: a@b.test}", "cors_origins: [https://a.test]", "trusted_proxies: [10.0.0.0/8, x]", "forward_auth: {rules: [{host: a.test, allow: all}]}",
		"\x00", "%YAML 1.1\n---\n", "a: !!binary aGk=", "public_url: \"\\e[2J\"", "log: {level: debug, format: json}", "database_url: postgres://a:b@h/d\nsecret_key: 0123456789012345678901234567890123456789",
	} {
		f.Add([]byte(seed))
	}
	read := func(t *testing.T, raw []byte) (*program, *config, error) {
		name := filepath.Join(t.TempDir(), "latchkey.yaml")
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		p := &program{getenv: func(string) string { return "" }, stdout: io.Discard, configFile: name}
		c, err := p.loadConfig()
		return p, c, err
	}
	printed := func(t *testing.T, p *program, c *config) []byte {
		var out bytes.Buffer
		p.stdout = &out
		if err := p.printConfig(c); err != nil {
			t.Fatal(err)
		}
		return databaseLine.ReplaceAll(out.Bytes(), nil) // hidden, but for the standard one
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if bytes.Contains(raw, []byte("_file")) {
			t.Skip("files of this machine are no matter of the file's text")
		}
		p, c, err := read(t, raw)
		if err != nil {
			if text := err.Error(); len(text) > 64<<10 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }) {
				t.Errorf("the refusal is no text for a terminal: %.200q", text)
			}
			return
		}
		if bytes.Contains(raw, []byte(redacted)) {
			return
		}
		first := printed(t, p, c)
		if bytes.Contains(first, []byte(redacted)) {
			return // what is hidden cannot be read back
		}
		again, c2, err := read(t, first)
		if err != nil {
			t.Fatalf("what is printed is refused: %v\n%s", err, first)
		}
		if second := printed(t, again, c2); !bytes.Equal(first, second) {
			t.Errorf("printed\n%s\nand read again\n%s", first, second)
		}
	})
}
