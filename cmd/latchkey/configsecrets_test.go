package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var soundsSecret = regexp.MustCompile(`(^|[._])(secret|secrets|password|token|key|keys|secret_key|dsn|headers)$|database_url|redis_url`)

// Whatever sounds like a secret is treated as one: it may come from a file, and
// is never printed.
func TestKeysThatSoundSecretAreSecret(t *testing.T) {
	for _, s := range (&config{}).settings() {
		if soundsSecret.MatchString(s.key) && !s.secret {
			t.Errorf("%s is not marked as a secret", s.key)
		}
	}
}

const shibboleth = "shibboleth0123456789shibboleth0123456789"

// No secret is in what config check and print say, in a file that is right, and
// in one where it stands in the wrong shape.
func TestConfigCommandsSayNoSecret(t *testing.T) {
	c := newCLI(t)
	file := filepath.Join(t.TempDir(), "latchkey.yaml")
	c.env["LATCHKEY_CONFIG"] = file
	run := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"config", "check"}, {"config", "print"}, {"config", "print", "--json"}} {
			if _, out, errs := c.run("", args...); strings.Contains(out+errs, shibboleth[:7]) {
				t.Errorf("%v says a secret of\n%s\n%s%s", args, text, out, errs)
			}
		}
	}
	for _, s := range (&config{}).settings() {
		if !s.secret || s.key == "" {
			continue
		}
		value := shibboleth
		if strings.HasSuffix(s.key, "_url") {
			value = "postgres://user:" + shibboleth + "@db.example.org/x"
		}
		if _, list := s.value.(*[]string); list {
			run(nested(s.key, "["+value+"]"))
		}
		for _, shape := range []string{value, "[" + value + "]", "{a: " + value + "}", "{" + value + ": 1}", "*" + value, "!!int " + value, "\"" + value} {
			run(nested(s.key, shape))
		}
	}
	run("providers:\n  - {id: openid, issuer: \"https://x.example.org\", client_id: l, client_secret: " + shibboleth + "}\n")
	run("providers:\n  - {id: openid, issuer: \"https://x.example.org\", client_id: l, client_secret: [" + shibboleth + "]}\n")
	run("providers:\n  - {id: cloud, type: oauth2, client_id: l, client_secret: s, authorization_endpoint: \"https://u:" + shibboleth +
		"@x.example.org/a\", token_endpoint: \"https://u:" + shibboleth + "@x.example.org/t\", userinfo_endpoint: \"https://x.example.org/u\", scopes: [a], claims: {subject: id}}\n")
	run("clients:\n  - {client_id: a, client_secret: " + shibboleth + ", redirect_uris: [\"https://a.example.org\"]}\n")
	run("clients:\n  - {client_id: a, client_secret: {x: " + shibboleth + "}}\n")
	run("providers: " + shibboleth + "\n")
	run("listen: \"http://user:" + shibboleth + "@x\"\n")
	run("public_url: \"http://user:" + shibboleth + "@x\"\n")
}

// nested writes a dotted key as YAML.
func nested(key, value string) string {
	out := ""
	for i, part := range strings.Split(key, ".") {
		out += "\n" + strings.Repeat("  ", i) + part + ":"
	}
	return strings.TrimPrefix(out, "\n") + " " + value + "\n"
}

// Passwords in URLs of keys that are no secrets as a whole are hidden too.
func TestPasswordsInURLsAreHidden(t *testing.T) {
	var n yaml.Node
	if err := n.Encode(map[string]any{"a": []string{"https://user:pass@x.org/y?z=1", "https://user@x.org", "mail@x.org"}}); err != nil {
		t.Fatal(err)
	}
	withoutPasswords(&n)
	var got map[string][]string
	if err := n.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if want := []string{"https://user:xxxxx@x.org/y?z=1", "https://user@x.org", "mail@x.org"}; !reflect.DeepEqual(got["a"], want) {
		t.Error(fmt.Sprint(got))
	}
}
