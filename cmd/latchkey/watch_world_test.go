package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/proc"
)

// watchedWorld is the real program as a process of its own, over a folder and a
// file of configuration, with an identity provider beside it.
type watchedWorld struct {
	*cli
	base  string
	file  string
	idp   *providertest.IdP
	admin string // password of root
	log   *tail
	cmd   *exec.Cmd
	ended chan error
}

const idpClientSecret = "the secret at the identity provider"

// freeAddress is where nobody listens at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprint("127.0.0.1:", proc.Port(t))
}

// newWatchedWorld starts the program. The configuration has what every test
// wants, and extra behind it.
func newWatchedWorld(t *testing.T, extra string, env map[string]string) *watchedWorld {
	t.Helper()
	x := prepareWorld(t, extra, env)
	x.must(x.admin+"\n", "user", "create", "root", "--role", "root", "--password-stdin")
	x.start()
	return x
}

// newFreshWorld is one without an administrator.
func newFreshWorld(t *testing.T, extra string, env map[string]string) *watchedWorld {
	t.Helper()
	x := prepareWorld(t, extra, env)
	x.start()
	return x
}

func prepareWorld(t *testing.T, extra string, env map[string]string) *watchedWorld {
	t.Helper()
	address := freeAddress(t)
	x := &watchedWorld{
		cli: &cli{t: t, env: map[string]string{}}, base: "http://" + address, file: filepath.Join(t.TempDir(), "latchkey.yaml"),
		admin: "correct horse battery", log: &tail{},
	}
	x.idp = providertest.Start(t, providertest.Config{
		Users:   []providertest.User{{Subject: "1", Username: "anna", Name: "Anna Archer", Email: "anna@example.org", EmailVerified: true}},
		Clients: []providertest.Client{{ID: "latchkey", Secret: idpClientSecret, RedirectURIs: []string{x.base + "/auth/openid/callback"}}},
	})
	x.write(extra)
	for k, v := range env {
		x.env[k] = v
	}
	x.env["LATCHKEY_CONFIG"], x.env["LATCHKEY_LISTEN"], x.env["LATCHKEY_DATA_DIR"] = x.file, address, t.TempDir()
	return x
}

// stop ends the program before the test does.
func (x *watchedWorld) stop() {
	x.t.Helper()
	if err := x.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		x.t.Fatal(err)
	}
	if err := <-x.ended; err != nil {
		x.t.Fatal(err)
	}
	x.ended <- nil
}

// write writes the configuration anew; the level of the log is debug if extra has none.
func (x *watchedWorld) write(extra string) {
	x.t.Helper()
	text := fmt.Sprintf("public_url: %s\nproviders:\n  - {id: openid, name: The IdP, issuer: %s, client_id: latchkey, client_secret: %s}\n%s", x.base, x.idp.Issuer(), idpClientSecret, extra)
	if !strings.Contains(extra, "log: {") {
		text += "\nlog: {level: debug}\n"
	}
	if err := os.WriteFile(x.file, []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

// start starts the program, with a log of its own; anew if it was stopped.
func (x *watchedWorld) start() {
	x.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd, ended := exec.CommandContext(ctx, os.Args[0], "serve"), make(chan error, 1)
	x.cmd, x.ended, x.log = cmd, ended, &tail{}
	x.cmd.Env = append(os.Environ(), append(x.environ(), "LATCHKEY_TEST_AS=latchkey")...)
	x.cmd.Stdout, x.cmd.Stderr = x.log, x.log
	if err := x.cmd.Start(); err != nil {
		x.t.Fatal(err)
	}
	log := x.log
	go func() { ended <- cmd.Wait() }()
	x.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				x.t.Errorf("serve: %v\n%s", err, log.String())
			}
		case <-time.After(30 * time.Second):
			x.t.Error("serve did not end")
		}
		cancel()
	})
	x.log.find(x.t, `"event":"(ready)"`)
}

// throughIdP begins anna's login as an app does, and tells where it leads when the
// identity provider has let her in.
func (x *watchedWorld) throughIdP() (app *demoApp, to string, err error) {
	x.t.Helper()
	app, ctx := newDemoApp(x.base), x.t.Context()
	if _, err := app.begin(ctx, demoAppURI); err != nil {
		x.t.Fatal(err)
	}
	browser := newDemoBrowser()
	atIdP, err := browser.follow(ctx, app.rebuilt)
	if err != nil {
		x.t.Fatal(err)
	}
	callback, err := x.idp.Authorize(ctx, atIdP, "anna")
	if err != nil {
		x.t.Fatal(err)
	}
	to, err = browser.follow(ctx, callback)
	return app, to, err
}

// mobileLogin logs anna in as an app does.
func (x *watchedWorld) mobileLogin() *demoApp {
	x.t.Helper()
	app, appURI, err := x.throughIdP()
	if err == nil {
		err = app.redeem(x.t.Context(), appURI)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return app
}

// passwordLogin logs root in.
func (x *watchedWorld) passwordLogin() *demoApp {
	x.t.Helper()
	app := newDemoApp(x.base)
	if err := app.password(x.t.Context(), "root", x.admin); err != nil {
		x.t.Fatal(err)
	}
	return app
}

// get answers the status and the body of an address.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// metrics are what the program says at its own address for them.
func (x *watchedWorld) metrics() string {
	x.t.Helper()
	address := x.log.find(x.t, `"event":"metrics.listening","listen":"([^"]+)"`)
	status, text := get(x.t, "http://"+address+"/metrics")
	if status != http.StatusOK {
		x.t.Fatal(status, text)
	}
	return text
}

// promtool runs Prometheus' own checks.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Fatal("promtool is missing: run test/install.sh")
	}
	c := exec.CommandContext(t.Context(), "promtool", args...)
	c.Stdin = strings.NewReader(stdin)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
