package main

import (
	"context"
	"encoding/json"
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

// tryInLab runs the lab with one scenario while the tour's app is used in it; failed
// is what the app does when a refresh fails.
func tryInLab(t *testing.T, failed func(context.Context, *demoApp)) (code int, report lab.Report) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "quick.yaml")
	if err := os.WriteFile(file, []byte(labScenarioFile), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, errs := &tail{}, &tail{}
	done := make(chan int, 1)
	go func() {
		args := []string{"lab", "--scenario", file, "--port", "0", "--idp-port", "0", "--json", "--strict", "--redirect-uri", "mine://cb", "--client-id", "mine"}
		done <- run(ctx, args, func(string) string { return "" }, nil, strings.NewReader(""), out, errs)
	}()
	app := newDemoApp(errs.find(t, `server for your app: +(\S+)`))
	for app.access == "" && ctx.Err() == nil {
		_ = app.password(ctx, stageLocal, stagePassword) // the lab may be a moment behind its words
	}
	if _, err := app.begin(ctx, "mine://cb"); err != nil {
		t.Error(err)
	}
	for {
		select {
		case code = <-done:
			if err := json.Unmarshal([]byte(out.buf.String()), &report); err != nil {
				t.Fatalf("%v: %s %s", err, out.buf.String(), errs.buf.String())
			}
			return code, report
		case <-time.After(10 * time.Millisecond):
		}
		if _, err := app.whoAmI(ctx); err != nil && ctx.Err() == nil {
			if err := app.refreshTokens(ctx); err != nil {
				failed(ctx, app)
			}
		}
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
	for _, args := range [][]string{{"--only", "nothing"}, {"--client-id", "mine"}} {
		if code, _, errs := c.run("", append([]string{"lab"}, args...)...); code != 2 || !strings.Contains(errs, args[0]) {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	if out := c.must("", "lab", "--show", "starting"); !strings.HasPrefix(out, "name: starting\n") {
		t.Error(out)
	}
	if out := c.must("", "lab", "--list", "--json"); !strings.Contains(out, `"name": "both-expired"`) {
		t.Error(out)
	}
}
