package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type composition struct {
	Services map[string]struct {
		Environment map[string]*string
		Ports       []any
		Profiles    []string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		SecurityOpt []string `yaml:"security_opt"`
	}
}

// compose has docker-compose read the file, with an environment.
func compose(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "docker-compose", append([]string{"--project-directory", t.TempDir(), "-f", filepath.Join(root(t), "docker-compose.yml")}, args...)...)
	c.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	out, err := c.CombinedOutput()
	return string(out), err
}

// docker-compose reads the file; it starts nothing, for no registry is asked here.
// Of the profiles it tells nothing, so they are read out of the file.
func TestComposeProfiles(t *testing.T) {
	out, err := compose(t, nil, "config")
	if err != nil {
		t.Fatal(err, out)
	}
	var c composition
	if err := yaml.Unmarshal([]byte(out), &c); err != nil {
		t.Fatal(err)
	}
	latchkey := c.Services["latchkey"]
	if !latchkey.ReadOnly || !slices.Equal(latchkey.CapDrop, []string{"ALL"}) || !slices.Equal(latchkey.SecurityOpt, []string{"no-new-privileges:true"}) {
		t.Errorf("latchkey is not confined: %+v", latchkey)
	}
	for name, value := range latchkey.Environment {
		// SQLite, and a secret that Latchkey makes: nothing has to be set.
		if value != nil && *value != "" && name != "LATCHKEY_PUBLIC_URL" {
			t.Errorf("%s=%s without a configuration", name, *value)
		}
	}
	var file composition
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(root(t), "docker-compose.yml"))), &file); err != nil {
		t.Fatal(err)
	}
	for name, s := range file.Services {
		want := map[string]string{"db": "postgres", "pocket-id": "pocket-id"}[name]
		if (want == "") != (len(s.Profiles) == 0) || want != "" && !slices.Contains(s.Profiles, want) {
			t.Errorf("%s is in the profiles %v", name, s.Profiles)
		}
		for _, port := range s.Ports {
			if text, ok := port.(string); !ok || !strings.HasPrefix(text, "127.0.0.1:") {
				t.Errorf("%s is open to the network: %v", name, port)
			}
		}
	}
}

// What a user sets in .env arrives in the containers.
func TestComposeHandsOverTheEnvironment(t *testing.T) {
	values := map[string]string{}
	env := []string{"COMPOSE_PROFILES=postgres,pocket-id", "POSTGRES_PASSWORD=pw1", "POCKET_ID_ENCRYPTION_KEY=pw2"}
	for line := range strings.Lines(read(t, filepath.Join(root(t), ".env.example"))) {
		name, _, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "#"), "=")
		if ok && !strings.Contains(name, " ") && (strings.HasPrefix(name, "LATCHKEY_") || strings.HasPrefix(name, "OIDC_") || name == "JWT_SECRET_KEY") {
			values[name] = "value-of-" + name
			env = append(env, name+"="+values[name])
		}
	}
	out, err := compose(t, env, "config")
	if err != nil {
		t.Fatal(err, out)
	}
	var c composition
	if err := yaml.Unmarshal([]byte(out), &c); err != nil {
		t.Fatal(err)
	}
	for name, want := range values {
		if got := c.Services["latchkey"].Environment[name]; got == nil || *got != want {
			t.Errorf("%s of .env.example does not reach Latchkey", name)
		}
	}
	if len(values) < 8 {
		t.Errorf(".env.example names %d settings", len(values))
	}
	for service, want := range map[string][2]string{"db": {"POSTGRES_PASSWORD", "pw1"}, "pocket-id": {"ENCRYPTION_KEY", "pw2"}} {
		if got := c.Services[service].Environment[want[0]]; got == nil || *got != want[1] {
			t.Errorf("%s has no %s", service, want[0])
		}
	}
}
