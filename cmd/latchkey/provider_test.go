package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

func TestProviderCommands(t *testing.T) {
	c := newCLI(t)
	file := filepath.Join(t.TempDir(), "latchkey.yaml")
	text := `public_url: https://id.example.org
providers:
- {id: pocketid, name: Pocket ID, issuer: 'https://127.0.0.1:1', client_id: a, client_secret: the secret of the IdP, role_map: {admins: admin}, default_role: none}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env["LATCHKEY_CONFIG"] = file
	if out := c.must("", "provider", "list"); !strings.Contains(out, "https://id.example.org/auth/pocketid/callback") || strings.Contains(out, "secret of") {
		t.Errorf("%s", out)
	}
	var views []broker.ProviderView
	out := c.must("", "provider", "list", "--json")
	if err := json.Unmarshal([]byte(out), &views); err != nil || len(views) != 1 || !views[0].HasSecret || !views[0].ReadOnly || strings.Contains(out, "secret of") {
		t.Errorf("%s, %v", out, err)
	}
	const anna = `{"sub":"1","preferred_username":"anna","groups":["admins"]}`
	if out := c.must(anna, "provider", "test", "pocketid", "--claims", "-"); !strings.Contains(out, "user → admin   (role_map.admins)") || !strings.Contains(out, "would log in       as anna, admin") {
		t.Errorf("%s", out)
	}
	var dry broker.DryRun
	out = c.must(`{"sub":"1"}`, "provider", "test", "pocketid", "--claims", "-", "--json")
	if err := json.Unmarshal([]byte(out), &dry); err != nil || dry.Outcome != broker.OutcomeRefused || dry.Rule != "default_role" {
		t.Errorf("%s, %v", out, err)
	}
	// The provider is dark: what can be known of the token is said all the same.
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIiwiaXNzIjoiaHR0cHM6Ly9ldmlsLnRlc3QiLCJncm91cHMiOlsiYWRtaW5zIl19.c2ln"
	out = c.must(token+"\n", "provider", "test", "pocketid", "--token-stdin")
	for _, want := range []string{"signature    unknown", "iss          failed", "exp          failed", "would log in"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s, want %s", out, want)
		}
	}
	// It is dark: the command says so, and fails.
	if code, out, errs := c.run("", "provider", "check", "pocketid"); code != 1 || !strings.Contains(out, "nothing listens there") || !strings.Contains(errs, "cannot be used like this") {
		t.Errorf("exit %d, %s %s", code, out, errs)
	}
	var trial broker.Trial
	if _, out, _ := c.run("", "provider", "check", "pocketid", "--json"); json.Unmarshal([]byte(out), &trial) != nil || trial.Result != broker.CheckFailed {
		t.Errorf("%s", out)
	}
	if users := c.must("", "user", "list"); strings.Contains(users, "anna") {
		t.Errorf("a dry run made a user: %s", users)
	}
	for _, args := range [][]string{{"check"}, {"test", "pocketid"}, {"test", "pocketid", "--token-stdin", "--claims", "-"}, {"test"}} {
		if code, _, errs := c.run("", append([]string{"provider"}, args...)...); code != 2 {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	for stdin, args := range map[string][]string{
		"": {"test", "nobody", "--claims", "-"}, "[]": {"test", "pocketid", "--claims", "-"}, "x": {"test", "pocketid", "--token-stdin"}, "{}": {"test", "pocketid", "--claims", "/nowhere"},
	} {
		if code, _, errs := c.run(stdin, append([]string{"provider"}, args...)...); code != 1 || errs == "" {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
}
