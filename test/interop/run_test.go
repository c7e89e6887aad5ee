package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/proc"
)

// What TestMain builds.
var (
	binary      string // latchkey
	oauth2Proxy string
	bundles     string // folder with the clients that run in Node.js or in the browser
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if err := missing(); err != nil {
		fmt.Fprintf(os.Stderr, "The tests with real clients need Node.js, Chromium, Apache with mod_auth_openidc, and the Node packages of test/e2e and test/interop: %v\n"+
			"Run test/install.sh, or make test, which does.\n", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "latchkey-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// missing names what the tests cannot do without.
func missing() error {
	for _, file := range []string{"/usr/bin/chromium", apache, openidcModule} {
		if _, err := os.Stat(file); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("node"); err != nil {
		return err
	}
	for _, file := range []string{"node_modules/.package-lock.json", "../e2e/node_modules/.package-lock.json"} {
		if _, err := os.Stat(file); err != nil {
			return err
		}
	}
	return nil
}

func build(dir string) error {
	run := func(in, name string, args ...string) error {
		cmd := exec.Command(name, args...)
		cmd.Dir = in
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
		return nil
	}
	binary = filepath.Join(dir, "latchkey")
	if !control {
		if err := proc.Build(binary); err != nil {
			return err
		}
	}
	// It stays in Go's build cache.
	path, err := exec.Command("go", "-C", "oauth2proxy", "tool", "-n", "oauth2-proxy").Output()
	if err != nil {
		return fmt.Errorf("go tool oauth2-proxy: %w", err)
	}
	oauth2Proxy = strings.TrimSpace(string(path))
	bundles = filepath.Join(dir, "clients")
	esbuild, err := filepath.Abs("node_modules/.bin/esbuild")
	if err != nil {
		return err
	}
	// AppAuth runs in no other way, and Node 18 can run others only so.
	common := []string{"--bundle", "--format=esm", "--log-level=warning", "--outdir=" + bundles, "--out-extension:.js=.mjs"}
	servers := append(common, "--platform=node", "--target=node18", "--alias:opener=./clients/opener.mjs",
		"--banner:js=import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
		"clients/openid-client.mjs", "clients/openid-client-5.mjs", "clients/oauth4webapi.mjs", "clients/appauth.mjs", "clients/auth.mjs",
		"clients/passport-openidconnect.mjs", "clients/express-openid-connect.mjs")
	if err := run(".", esbuild, servers...); err != nil {
		return err
	}
	return run(".", esbuild, append(common, "--platform=browser", "clients/oidc-client-ts.mjs")...)
}

// start runs a program until the test ends. It is ready when a URL answers 200.
func start(t *testing.T, ready string, cmd *exec.Cmd) {
	t.Helper()
	proc.Watch(t)
	proc.Run(t, cmd).Until(t, ready+" answers", func() bool { return proc.Answers(ready) })
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// node runs a script of this folder to its end. What it prints counts even
// where it fails.
func node(t *testing.T, script string, input any) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script, asJSON(t, input))
	cmd.WaitDelay = 5 * time.Second
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("node %s: %w\n%s", script, err, &problems)
	}
	return strings.TrimSpace(out.String()), err
}
