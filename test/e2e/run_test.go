package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/proc"
)

// missing names what the tests cannot do without.
func missing() error {
	if _, err := os.Stat("/usr/bin/chromium"); err != nil {
		return err
	}
	if _, err := exec.LookPath("node"); err != nil {
		return err
	}
	for _, name := range []string{"oidc-provider", "playwright-core", "axe-core", ".package-lock.json"} {
		if _, err := os.Stat(filepath.Join("node_modules", name)); err != nil {
			return err
		}
	}
	return nil
}

// binary is the latchkey that all tests run.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if err := missing(); err != nil {
		fmt.Fprintf(os.Stderr, "The browser tests need Node.js, Chromium and the Node packages of test/e2e: %v\n"+
			"Run test/install.sh, or make test, which does.\n", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "latchkey-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "latchkey")
	if err := proc.Build(binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// latchkey is one broker on a database of its own.
type latchkey struct {
	*proc.Process
	base string
	dir  string // the working directory, with latchkey.yaml
}

// provider is a line of the configuration.
func provider(id, name, issuer string) string {
	quoted, _ := json.Marshal(name) // a JSON string is a YAML string
	return fmt.Sprintf("  - {id: %s, name: %s, issuer: %q, client_id: latchkey, client_secret: a secret of a test, logout: true}\n", id, quoted, issuer)
}

// serve starts a latchkey and waits until it is ready. Its host is localhost
// and the OP's 127.0.0.1, so that they share no cookies.
func serve(t *testing.T, port int, config string, env ...string) *latchkey {
	t.Helper()
	x := proc.Serve(t, binary, port, config, env...)
	return &latchkey{x.Process, x.Base, x.Dir}
}

// setupLink finds the one-time link in the log.
func (x *latchkey) setupLink(t *testing.T) string {
	t.Helper()
	var link string
	x.Until(t, "a log line with event=setup.needed", func() bool {
		for line := range strings.Lines(x.Out.String()) {
			var entry struct{ Event, URL string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Event == "setup.needed" {
				link = entry.URL
			}
		}
		return link != ""
	})
	if !regexp.MustCompile(`^` + regexp.QuoteMeta(x.base) + `/setup\?token=[\w-]{20,}$`).MatchString(link) {
		t.Fatalf("the setup link is %q", link)
	}
	return link
}

// claims are what the OP says of an account.
type claims map[string]any

// readers are the accounts of tests that do not ask who somebody is.
var readers = map[string]claims{
	"anna": {"email": "anna@example.org", "email_verified": true, "preferred_username": "anna", "name": "Anna Example", "groups": []string{"readers", "editors"}},
	"bo":   {"email": "bo@example.org", "email_verified": true, "preferred_username": "bo", "name": "Bo", "groups": []string{"readers"}},
}

// op is the external IdP.
type op struct {
	*proc.Process
	port     int
	issuer   string
	latchkey string
	file     string // what op.mjs reads
	known    []string
}

// newOP starts an OP that knows a latchkey's providers of these ids.
func newOP(t *testing.T, latchkey string, accounts map[string]claims, providers ...string) *op {
	t.Helper()
	o := &op{port: proc.Port(t), latchkey: latchkey, file: filepath.Join(t.TempDir(), "op.json"), known: providers}
	o.issuer = fmt.Sprintf("http://127.0.0.1:%d", o.port)
	o.say(t, accounts)
	o.start(t)
	return o
}

// say changes what the OP says of its accounts, from now on. It may be reading.
func (o *op) say(t *testing.T, accounts map[string]claims) {
	t.Helper()
	var callbacks []string
	for _, id := range o.known {
		callbacks = append(callbacks, o.latchkey+"/auth/"+id+"/callback")
	}
	text, err := json.Marshal(map[string]any{
		"redirect_uris": callbacks, "post_logout_redirect_uris": []string{o.latchkey + "/login"}, "accounts": accounts,
	})
	if err == nil {
		err = os.WriteFile(o.file+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(o.file+".new", o.file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (o *op) start(t *testing.T) {
	t.Helper()
	o.Process = proc.Run(t, exec.Command("node", "op.mjs", fmt.Sprint(o.port), o.file))
	o.Until(t, "the OP answers", func() bool { return proc.Answers(o.issuer + "/.well-known/openid-configuration") })
}

// withOP starts a latchkey, and an OP that it knows by the id npm.
func withOP(t *testing.T) (*latchkey, *op) {
	t.Helper()
	port := proc.Port(t)
	o := newOP(t, fmt.Sprintf("http://localhost:%d", port), readers, "npm")
	x := serve(t, port, "providers:\n"+provider("npm", "The Test IdP", o.issuer),
		"LATCHKEY_ADMIN_USERNAME=root", "LATCHKEY_ADMIN_PASSWORD=a password of a test")
	return x, o
}

// node runs a script of this folder to its end and returns what it prints.
func node(t *testing.T, script string, input any) string {
	t.Helper()
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script, string(text))
	cmd.WaitDelay = 5 * time.Second
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("node %s %s: %v\n%s%s", script, text, err, &out, &problems)
	}
	return strings.TrimSpace(out.String())
}
