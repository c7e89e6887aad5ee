package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func TestClientCommands(t *testing.T) {
	c := newCLI(t)
	out := c.must("", "client", "create", "shelf", "--redirect-uri", "https://shelf.example.org/cb", "--redirect-uri", "https://shelf.example.org/cb2",
		"--first-party", "--name", "Shelf", "--grant-type", "authorization_code", "--grant-type", "refresh_token", "--grant-type", "device_code",
		"--scope", "openid", "--scope", "groups", "--access-ttl", "10m", "--refresh-ttl", "7d", "--json")
	var made map[string]any
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	secret, _ := made["client_secret"].(string)
	if made["client_id"] != "shelf" || len(secret) < 40 || made["client_secret_expires_at"] != 0.0 || made["client_id_issued_at"].(float64) < 1e9 ||
		len(made["redirect_uris"].([]any)) != 2 || made["client_name"] != "Shelf" || made["first_party"] != true || made["scope"] != "openid groups" ||
		made["access_ttl"] != 600.0 || made["refresh_ttl"] != 604800.0 || len(made["grant_types"].([]any)) != 3 || made["application_type"] != "web" ||
		made["grant_types"].([]any)[2] != "urn:ietf:params:oauth:grant-type:device_code" {
		t.Fatal(out)
	}
	for _, args := range [][]string{{"client", "show", "shelf"}, {"client", "show", "shelf", "--json"}, {"client", "list"}, {"client", "list", "--json"}} {
		if out := c.must("", args...); strings.Contains(out, secret) || strings.Contains(out, "client_secret ") || strings.Contains(out, `"client_secret"`) || !strings.Contains(out, "shelf") {
			t.Errorf("%v: %s", args, out)
		}
	}
	if out := c.must("", "client", "secret", "shelf"); strings.Contains(out, secret) || !regexp.MustCompile(`client_secret +lks_\S{43}\n`).MatchString(out) || !strings.Contains(out, "shown this once") {
		t.Error(out)
	}
	if out := c.must("", "client", "create", "app", "--redirect-uri", "myapp:/oauth", "--public", "--json"); strings.Contains(out, "client_secret") ||
		!strings.Contains(out, `"token_endpoint_auth_method": "none"`) || !strings.Contains(out, `"application_type": "native"`) {
		t.Error(out)
	}
	if out := c.must("", "client", "create", "plain", "--redirect-uri", "https://p.example.org/cb"); strings.Count(out, "lks_") != 1 || !strings.Contains(out, "shown this once") {
		t.Error(out)
	}
	var list []map[string]any
	if err := json.Unmarshal([]byte(c.must("", "client", "list", "--json")), &list); err != nil || len(list) != 4 || list[0]["client_id"] != "latchkey-cli" {
		t.Errorf("%v %v", list, err)
	}
	c.must("", "client", "delete", "shelf", "--json")
	if code, _, errs := c.run("", "client", "show", "shelf"); code != 1 || !strings.Contains(errs, "there is no client") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

func TestClientCommandsRefuse(t *testing.T) {
	c := newCLI(t)
	for _, args := range [][]string{
		{"client", "create"}, {"client", "create", "x"}, {"client", "create", "x", "--redirect-uri", "https://x.org", "--public", "--auth-method", "client_secret_basic"},
		{"client", "create", "x", "--redirect-uri", "https://x.org", "--provider", "nowhere"}, {"client", "create", "x", "--redirect-uri", "https://x.org", "--access-ttl", "soon"},
		{"client", "nonsense"}, {"client", "show"},
	} {
		if code, _, errs := c.run("", args...); code != 2 || errs == "" {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	c.must("", "client", "create", "twice", "--redirect-uri", "https://x.org/cb")
	for want, args := range map[string][]string{
		"redirect_uri":      {"client", "create", "x", "--redirect-uri", "javascript:alert(1)"},
		"grant_types":       {"client", "create", "x", "--redirect-uri", "https://x.org", "--grant-type", "password"},
		"client_exists":     {"client", "create", "twice", "--redirect-uri", "https://x.org"},
		"client_read_only":  {"client", "delete", "latchkey-cli"},
		"there is no":       {"client", "secret", "nobody"},
		"private_key_jwt":   {"client", "create", "x", "--redirect-uri", "https://x.org", "--auth-method", "private_key_jwt"},
		"in the configurat": {"client", "create", "latchkey-app", "--redirect-uri", "https://x.org"},
	} {
		if code, _, errs := c.run("", args...); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
}

// Clients of the file are shown with the others, and changed there.
func TestConfiguredClients(t *testing.T) {
	c := newCLI(t)
	c.env["LATCHKEY_CONFIG"] = fileWith(t, `
clients:
  - {client_id: wiki, client_secret: hunter2 hunter2 hunter2, redirect_uris: ["https://wiki.example.org/cb"], access_ttl: 5m}
`)
	c.must("", "client", "create", "other", "--redirect-uri", "https://o.example.org/cb")
	if out := c.must("", "client", "list"); !strings.Contains(out, "wiki") || !strings.Contains(out, "configuration") || !strings.Contains(out, "other") {
		t.Error(out)
	}
	if out := c.must("", "client", "show", "wiki", "--json"); strings.Contains(out, "hunter2") || !strings.Contains(out, `"access_ttl": 300`) || !strings.Contains(out, `"read_only": true`) {
		t.Error(out)
	}
	for _, args := range [][]string{{"client", "delete", "wiki"}, {"client", "secret", "wiki"}, {"client", "create", "wiki", "--redirect-uri", "https://x.org"}} {
		if code, _, errs := c.run("", args...); code != 1 || !strings.Contains(errs, "configuration") {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	for _, args := range [][]string{{"config", "print"}, {"config", "print", "--json"}} {
		if out := c.must("", args...); strings.Contains(out, "hunter2") || !strings.Contains(out, "client_secret") || !strings.Contains(out, redacted) || !strings.Contains(out, "wiki.example.org") {
			t.Errorf("%v: %s", args, out)
		}
	}
}
