package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func TestAPIKeyCommands(t *testing.T) {
	c := newCLI(t)
	c.must("", "user", "create", "alice")
	c.must("", "user", "create", "bob")
	var made map[string]any
	out := c.must("", "apikey", "create", "alice", "--name", "Backup", "--description", "of the house", "--scope", "latchkey:read", "--scope", "things:read", "--expires-in", "90d", "--json")
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	key, _ := made["apiKey"].(string)
	if !regexp.MustCompile(`^lk_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}$`).MatchString(key) || made["name"] != "Backup" || made["username"] != "alice" ||
		made["scope"] != "latchkey:read things:read" || made["isActive"] != true || made["expiresAt"] == nil || made["lastUsedAt"] != nil || made["description"] != "of the house" {
		t.Fatal(out)
	}
	id := made["id"].(string)
	if out := c.must("", "apikey", "create", "bob", "--name", "plain"); strings.Count(out, "lk_") != 1 || !strings.Contains(out, "shown this once") || !strings.Contains(out, "latchkey:api") {
		t.Error(out)
	}
	for _, args := range [][]string{{"apikey", "list"}, {"apikey", "list", "--json"}, {"apikey", "list", "--user", "alice"}, {"apikey", "list", "--user", "alice", "--json"}} {
		out := c.must("", args...)
		if strings.Contains(out, key[20:]) || strings.Contains(out, "lk_") || !strings.Contains(out, id) || strings.Contains(out, "plain") == (len(args) > 3) {
			t.Errorf("%v: %s", args, out)
		}
	}
	if out := c.must("", "apikey", "revoke", id, "--json"); !strings.Contains(out, id) {
		t.Error(out)
	}
	if out := c.must("", "apikey", "list", "--user", "alice", "--json"); strings.TrimSpace(out) != "[]" {
		t.Error(out)
	}
	c.must("", "user", "delete", "bob")
	if out := c.must("", "apikey", "list"); strings.Contains(out, "bob") {
		t.Error(out)
	}
}

func TestAPIKeyCommandsRefuse(t *testing.T) {
	c := newCLI(t)
	c.must("", "user", "create", "alice")
	for _, args := range [][]string{
		{"apikey", "create"}, {"apikey", "create", "alice"}, {"apikey", "create", "alice", "--name", "x", "--expires-in", "soon"}, {"apikey", "revoke"}, {"apikey", "nonsense"}, {"apikey", "list", "alice"},
	} {
		if code, _, errs := c.run("", args...); code != 2 || errs == "" {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	for want, args := range map[string][]string{
		"there is no user":    {"apikey", "create", "nobody", "--name", "x"},
		"there is no user \"": {"apikey", "list", "--user", "nobody"},
		"there is no API key": {"apikey", "revoke", "nobody"},
		"name:":               {"apikey", "create", "alice", "--name", ""},
		"scope:":              {"apikey", "create", "alice", "--name", "x", "--scope", "latchkey:admin"},
		"expiresIn:":          {"apikey", "create", "alice", "--name", "x", "--expires-in", "4000d"},
	} {
		if code, out, errs := c.run("", args...); code != 1 || !strings.Contains(errs, want) || strings.Contains(out, "lk_") {
			t.Errorf("%v: exit %d, %s %s", args, code, out, errs)
		}
	}
}
