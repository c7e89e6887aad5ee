package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/cmd/latchkey/lab"
)

const labScenarioFile = `
name: quick
title: The answer of a refresh is lost
must: Refresh again.
untried: the app did not refresh
clock: -2h
expire: 1
faults:
  - on: {kind: refresh, nth: 1}
    do: lose_answer
settle: 100ms
watch: 10s
expect: {refreshes: 1, works: true, stays: true}
`

// running lab of a test.
type labRun struct {
	t         *testing.T
	base      string // where the app finds it
	done      chan int
	out, errs *tail
}

func startLab(ctx context.Context, t *testing.T, scenario string) *labRun {
	t.Helper()
	file := filepath.Join(t.TempDir(), "quick.yaml")
	if err := os.WriteFile(file, []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &labRun{t: t, done: make(chan int, 1), out: &tail{}, errs: &tail{}}
	go func() {
		args := []string{"lab", "--scenario", file, "--port", "0", "--idp-port", "0", "--json", "--strict", "--redirect-uri", "mine://cb", "--client-id", "mine"}
		l.done <- run(ctx, args, func(string) string { return "" }, nil, strings.NewReader(""), l.out, l.errs)
	}()
	l.base = l.errs.find(t, `server for your app: +(\S+)`)
	return l
}

// report is that of a lab that has ended.
func (l *labRun) report() (report lab.Report) {
	l.t.Helper()
	if err := json.Unmarshal([]byte(l.out.String()), &report); err != nil {
		l.t.Fatalf("%v: %s %s", err, l.out.String(), l.errs.String())
	}
	return report
}

// tryInLab uses the tour's app in the lab; failed is what it does when a refresh
// fails.
func tryInLab(t *testing.T, failed func(context.Context, *demoApp)) (code int, report lab.Report) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l := startLab(ctx, t, labScenarioFile)
	app := newDemoApp(l.base)
	for app.access == "" && ctx.Err() == nil {
		_ = app.password(ctx, stageLocal, stagePassword) // the lab may be a moment behind its words
	}
	if _, err := app.begin(ctx, "mine://cb"); err != nil {
		t.Error(err)
	}
	for {
		select {
		case code = <-l.done:
			return code, l.report()
		case <-time.After(10 * time.Millisecond):
		}
		if _, err := app.whoAmI(ctx); err != nil && ctx.Err() == nil {
			if err := app.refreshTokens(ctx); err != nil {
				failed(ctx, app)
			}
		}
	}
}

// TestNativeClientInTheLab: the program's own client passes on the other face, where
// an app has the tokens of OAuth 2. It checks ID tokens by its own clock, as it has to.
func TestNativeClientInTheLab(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l := startLab(ctx, t, strings.NewReplacer("clock: -2h\n", "", "expire: 1\n", "", "works: true, ", "").Replace(labScenarioFile))
	c := newCLI(t)
	c.env["LATCHKEY_CLIENT_DIR"] = t.TempDir()
	u := c.start("login", "--issuer", l.base, "--no-browser")
	robin := newPerson(t, l.base)
	page := robin.logIn(robin.open(u.stderr.find(t, `(http://\S+/oauth2/authorize\?\S+)`)))
	robin.submit("/oauth2/consent", url.Values{"id": {robin.field(page, "id")}, "decision": {"allow"}})
	if code, out := u.wait(t); code != 0 {
		t.Fatalf("exit %d, %s", code, out)
	}
	c.must("", "token", "--refresh")
	if code := <-l.done; code != 0 || l.report().Passed != 1 {
		t.Errorf("exit %d, %+v", code, l.report())
	}
}

// TestLabCommand: the program's lab tells an app that keeps on trying from one that
// logs out, by its exit code too.
func TestLabCommand(t *testing.T) {
	if code, report := tryInLab(t, func(context.Context, *demoApp) {}); code != 0 || report.Passed != 1 || len(report.Checks) != 1 {
		t.Errorf("exit %d, %+v", code, report)
	}
	logout := func(ctx context.Context, app *demoApp) { _ = app.logout(ctx) }
	if code, report := tryInLab(t, logout); code != 1 || report.Failed != 1 || !strings.Contains(report.Checks[0].Reason, "/logout") {
		t.Errorf("exit %d, %+v", code, report)
	}
}

// TestLabUsage: what is asked for wrongly is named before anything is started.
func TestLabUsage(t *testing.T) {
	c := newCLI(t)
	for _, args := range [][]string{{"--only", "nothing"}, {"--except", "nothing"}, {"--client-id", "mine"}} {
		if code, _, errs := c.run("", append([]string{"lab"}, args...)...); code != 2 || !strings.Contains(errs, args[0]) {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	if out := c.must("", "lab", "--show", "starting"); !strings.HasPrefix(out, "name: starting\n") {
		t.Error(out)
	}
	if out := c.must("", "lab", "--list", "--only", "ended,rotation", "--except", "rotation"); strings.Contains(out, "rotation") || !strings.Contains(out, "ended") {
		t.Error(out)
	}
	if out := c.must("", "lab", "--list", "--json"); !strings.Contains(out, `"name": "both-expired"`) {
		t.Error(out)
	}
}

// With --host the lab listens there alone.
func TestLabListensAtTheNamedAddressAlone(t *testing.T) {
	for host, want := range map[string]string{"127.0.0.3": "127.0.0.3", "localhost": "127.0.0.1"} {
		listeners, err := (&labCommand{host: host}).listen()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []net.Listener{listeners.app, listeners.idp, listeners.broker} {
			at, _, _ := net.SplitHostPort(l.Addr().String())
			if at != want && l != listeners.broker || at == "::" {
				t.Errorf("%s: it listens at %s", host, at)
			}
			_ = l.Close()
		}
	}
}

// An IPv6 address stands in brackets in a URL (RFC 3986 section 3.2.2).
func TestLabNamesAnIPv6AddressInBrackets(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	for host, want := range map[string]string{"::1": "http://[::1]:", "127.0.0.1": "http://127.0.0.1:", "localhost": "http://localhost:"} {
		if got := (&labCommand{host: host}).url(listener); got != fmt.Sprint(want, port(listener)) {
			t.Errorf("%s: %s", host, got)
		}
	}
}
