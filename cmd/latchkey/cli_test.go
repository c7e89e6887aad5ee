package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/proc"
)

// cli runs commands as a shell would, over one data folder.
type cli struct {
	t   *testing.T
	env map[string]string
}

func newCLI(t *testing.T) *cli {
	return &cli{t: t, env: map[string]string{"LATCHKEY_DATA_DIR": t.TempDir(), "LATCHKEY_CONFIG": emptyFile(t)}}
}

func emptyFile(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (c *cli) environ() (out []string) {
	for k, v := range c.env {
		out = append(out, k+"="+v)
	}
	return out
}

func (c *cli) run(stdin string, args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), args, func(k string) string { return c.env[k] }, c.environ(), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func (c *cli) must(stdin string, args ...string) string {
	c.t.Helper()
	code, out, errs := c.run(stdin, args...)
	if code != 0 {
		c.t.Fatalf("%v: exit %d, %s", args, code, errs)
	}
	return out
}

func TestWrongUsageExits2AndFailureExits1(t *testing.T) {
	c := newCLI(t)
	for _, args := range [][]string{
		{"nonsense"}, {"user", "nonsense"}, {"user", "create"}, {"user", "create", "a", "b"}, {"--nope"}, {"serve", "now"},
		{"user", "set-password", "bob"}, {"session", "revoke"}, {"session", "revoke", "x", "--all"}, {"user", "create", "x", "--role", "king"},
	} {
		if code, _, errs := c.run("", args...); code != 2 || errs == "" {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
	for _, args := range [][]string{{"user", "show", "nobody"}, {"session", "revoke", "01a20a50-2151-7605-ba48-8bad41da1e0a"}, {"healthcheck"}} {
		if code, _, errs := c.run("", args...); code != 1 || errs == "" {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
	for _, args := range [][]string{{"--help"}, {"user", "--help"}, {"version"}, {"completion", "bash"}, {"config", "check"}, {"config", "print"}} {
		if code, out, _ := c.run("", args...); code != 0 || out == "" {
			t.Errorf("%v: exit %d, %q", args, code, out)
		}
	}
}

func TestUserCommands(t *testing.T) {
	c := newCLI(t)
	var u userView
	if err := json.Unmarshal([]byte(c.must("correct horse battery\n", "user", "create", "Bob", "--email", "bob@example.org", "--role", "admin", "--password-stdin", "--json")), &u); err != nil {
		t.Fatal(err)
	}
	if u.Username != "Bob" || u.Type != "admin" || !u.IsActive || u.Email != "bob@example.org" {
		t.Fatalf("%+v", u)
	}
	for _, args := range [][]string{{"user", "update", "bob", "--role", "user"}, {"user", "disable", "bob"}, {"user", "delete", "bob"}} {
		if code, _, errs := c.run("", args...); code != 1 || !strings.Contains(errs, "last_admin") {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
	c.must("correct horse battery\n", "user", "create", "carol", "--role", "root", "--password-stdin")
	for name, args := range map[string][]string{
		"username": {"user", "create", "ｂｏｂ"}, // the same name to a reader
		"password": {"user", "create", "eve", "--password-stdin"},
		"e-mail":   {"user", "create", "eve", "--email", "a@b@c"},
	} {
		if code, _, errs := c.run("short\n", args...); code != 1 || !strings.Contains(errs, name) {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
	c.must("", "user", "update", "bob", "--name", "Robert", "--full-name", "Robert R.", "--role", "user", "--email-verified")
	c.must("another horse and cart\n", "user", "set-password", "robert", "--password-stdin")
	if out := c.must("", "user", "disable", "robert"); !strings.Contains(out, "disabled") {
		t.Error(out)
	}
	if out := c.must("", "user", "enable", "robert", "--json"); !strings.Contains(out, `"isActive": true`) || !strings.Contains(out, u.ID) {
		t.Error(out)
	}
	if out := c.must("", "user", "list"); !strings.Contains(out, "Robert") {
		t.Error(out)
	}
	c.must("", "user", "delete", "robert")
	if out := c.must("", "user", "list", "--json"); strings.Contains(out, u.ID) || !strings.Contains(out, "carol") {
		t.Error(out)
	}
}

func TestPasswordLinksAndTemporaryPasswordsByCommand(t *testing.T) {
	c := newCLI(t)
	c.env["LATCHKEY_PUBLIC_URL"] = "https://id.example.org"
	link := func(args ...string) linkView {
		t.Helper()
		var v linkView
		if err := json.Unmarshal([]byte(c.must("", append(args, "--json")...)), &v); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(v.URL, "https://id.example.org/password?token=") || v.ExpiresAt == nil {
			t.Errorf("%v: %+v", args, v)
		}
		return v
	}
	if v := link("user", "invite", "robin", "--email", "robin@example.org", "--role", "guest"); v.Purpose != "invitation" || v.Username != "robin" {
		t.Errorf("%+v", v)
	}
	if v := link("user", "reset-link", "robin"); v.Purpose != "invitation" {
		t.Errorf("who has no password yet is not invited again: %+v", v)
	}
	if code, _, errs := c.run("", "user", "invite", "robin"); code != 1 || !strings.Contains(errs, "taken") {
		t.Errorf("exit %d, %s", code, errs)
	}
	c.must("chosen by an admin\n", "user", "set-password", "robin", "--password-stdin", "--temporary")
	if v := link("user", "reset-link", "robin"); v.Purpose != "reset" {
		t.Errorf("%+v", v)
	}
	if out := c.must("", "user", "reset-link", "robin"); !strings.Contains(out, "https://id.example.org/password?token=") || !strings.Contains(out, "works once") {
		t.Error(out)
	}
	c.must("chosen by an admin\n", "user", "create", "anna", "--password-stdin", "--temporary")
	for _, args := range [][]string{{"user", "create", "eve", "--temporary"}, {"user", "invite", "eve", "--role", "king"}} {
		if code, _, errs := c.run("", args...); code != 2 {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	if code, _, errs := c.run("", "user", "reset-link", "nobody"); code != 1 || !strings.Contains(errs, "nobody") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

func TestUserUnlink(t *testing.T) {
	c := newCLI(t)
	var u userView
	if err := json.Unmarshal([]byte(c.must("", "user", "create", "bob", "--json")), &u); err != nil {
		t.Fatal(err)
	}
	store, err := storage.Open(context.Background(), storage.Options{URL: "sqlite:" + filepath.Join(c.env["LATCHKEY_DATA_DIR"], "latchkey.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, provider := range []string{"one", "two", "three"} {
		i := broker.Identity{Issuer: "https://" + provider + ".example.org", Subject: "s", ProviderID: provider, UserID: u.ID, CreatedAt: time.Now(), LastUsedAt: time.Now()}
		if err := store.InsertIdentity(context.Background(), i); err != nil {
			t.Fatal(err)
		}
	}
	linked := func(want int) {
		t.Helper()
		if list, err := store.IdentitiesOfUser(context.Background(), u.ID); err != nil || len(list) != want {
			t.Errorf("%d are linked, want %d; %v", len(list), want, err)
		}
	}
	if code, _, errs := c.run("", "user", "unlink", "bob", "--provider", "four"); code != 1 || !strings.Contains(errs, `nothing of that kind is linked to "bob"`) {
		t.Errorf("exit %d, %q", code, errs)
	}
	linked(3)
	c.must("", "user", "unlink", "bob", "--provider", "two")
	linked(2)
	if out := c.must("", "user", "unlink", "bob", "--json"); !strings.Contains(out, `"hasOpenIDLink": false`) {
		t.Error(out)
	}
	linked(0)
}

func TestConfigPrintRedactsSecrets(t *testing.T) {
	c := newCLI(t)
	secret := strings.Repeat("hunter2 ", 5)
	for k, v := range map[string]string{
		"JWT_SECRET_KEY": secret, "JWT_SECRET_KEY_PREVIOUS": secret, "LATCHKEY_DATABASE_URL": "postgres://u:hunter2@h/d",
		"OIDC_ISSUER": "https://x.org", "OIDC_CLIENT_ID": "id", "OIDC_CLIENT_SECRET": "hunter2",
		"LATCHKEY_ADMIN_USERNAME": "a", "LATCHKEY_ADMIN_PASSWORD": "hunter2 hunter2",
	} {
		c.env[k] = v
	}
	for _, args := range [][]string{{"config", "print"}, {"config", "print", "--json"}} {
		if out := c.must("", args...); strings.Contains(out, "hunter2") || !strings.Contains(out, redacted) || !strings.Contains(out, "https://x.org") {
			t.Errorf("%v: %s", args, out)
		}
	}
}

func TestDemoOnce(t *testing.T) {
	code, out, errs := newCLI(t).run("", "demo", "--once", "--listen", "127.0.0.1:0")
	if code != 0 || !strings.Contains(out, "Every step worked.") {
		t.Fatalf("exit %d\n%s\n%s", code, out, errs)
	}
}

// tail is a log that can be waited for.
type tail struct{ proc.Output }

func (l *tail) find(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if m := re.FindStringSubmatch(l.String()); m != nil {
			return m[1]
		}
	}
	t.Fatalf("the log never had %s:\n%s", pattern, l)
	return ""
}

// With no configuration serve works, prints a one-time setup link, is changed
// from beside by the commands, and stops cleanly.
func TestServeSetupAndBreakGlass(t *testing.T) {
	c := newCLI(t)
	address, log, stop := c.serve()
	link := log.find(t, `"event":"setup.needed","url":"([^"]+)"`)
	log.find(t, `"event":"(ready)"`)
	if got := status(t, link); got != http.StatusOK {
		t.Fatalf("the setup link answers %d", got)
	}
	c.must("", "healthcheck")
	c.must("correct horse battery\n", "user", "create", "root", "--role", "root", "--password-stdin")
	if got := status(t, link); got != http.StatusNotFound {
		t.Fatalf("the setup link answers %d once there is an administrator", got)
	}
	body := strings.NewReader(`{"username":"ROOT","password":"correct horse battery"}`)
	res, err := http.Post("http://"+address+"/login", "application/json", body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", res, err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if out := c.must("", "session", "list", "--user", "root"); !strings.Contains(out, "alive") {
		t.Error(out)
	}
	if out := c.must("", "session", "revoke", "--user", "root", "--wipe", "--json"); !strings.Contains(out, `"ended": 1`) {
		t.Error(out)
	}
	if out := c.must("", "session", "list", "--json"); !strings.Contains(out, `"endCause": "revoked_by_admin"`) || !strings.Contains(out, `"wipe": true`) {
		t.Error(out)
	}
	if code := stop(); code != 0 {
		t.Fatalf("serve exited with %d after a signal", code)
	}
}

// serve runs the server on a port of its own, the same one each time.
func (c *cli) serve() (address string, log *tail, stop func() int) {
	c.t.Helper()
	if address = c.env["LATCHKEY_LISTEN"]; address == "" {
		probe, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			c.t.Fatal(err)
		}
		address = probe.Addr().String()
		probe.Close()
		c.env["LATCHKEY_LISTEN"], c.env["LATCHKEY_PUBLIC_URL"] = address, "http://"+address
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.t.Cleanup(cancel)
	log = &tail{}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"serve"}, func(k string) string { return c.env[k] }, c.environ(), strings.NewReader(""), log, log)
	}()
	return address, log, func() int {
		cancel()
		return <-done
	}
}

// status is what a browser is answered there in the end.
func status(t *testing.T, url string) int {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Jar: jar}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// A database whose secret is lost is not given another: nothing would fit it.
func TestLostSecretStopsTheStart(t *testing.T) {
	c := newCLI(t)
	c.must("", "key", "list")
	if err := os.Remove(filepath.Join(c.env["LATCHKEY_DATA_DIR"], "secret.key")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := c.run("", "key", "list"); code != 1 || !strings.Contains(errs, "JWT_SECRET_KEY") {
		t.Fatalf("exit %d, %s", code, errs)
	}
}

// Another secret than the database was used with is refused, and the earlier
// one named as previous makes it good.
func TestChangedSecretNeedsThePreviousOne(t *testing.T) {
	c := newCLI(t)
	first, second := strings.Repeat("a", 40), strings.Repeat("b", 40)
	c.env["JWT_SECRET_KEY"] = first
	c.must("", "key", "list") // the first start leaves a key to the second
	before := c.must("", "key", "list", "--json")
	c.env["JWT_SECRET_KEY"] = second
	if code, _, errs := c.run("", "key", "list"); code != 1 || !strings.Contains(errs, "JWT_SECRET_KEY_PREVIOUS") {
		t.Fatalf("exit %d, %s", code, errs)
	}
	c.env["JWT_SECRET_KEY_PREVIOUS"] = first
	if after := c.must("", "key", "list", "--json"); after != before {
		t.Fatalf("the keys changed: %s", after)
	}
	// A command beside servers that hold the first secret alone changes nothing
	// for them: that is for a server to do, which all others see.
	delete(c.env, "JWT_SECRET_KEY_PREVIOUS")
	if code, _, errs := c.run("", "key", "list"); code != 1 || !strings.Contains(errs, "JWT_SECRET_KEY_PREVIOUS") {
		t.Fatalf("a command took the installation to another secret: exit %d, %s", code, errs)
	}
	c.env["JWT_SECRET_KEY"] = first
	if after := c.must("", "key", "list", "--json"); after != before {
		t.Fatalf("the keys changed: %s", after)
	}
}
