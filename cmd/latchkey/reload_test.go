package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// hangUp sends SIGHUP and gives the log line that it was answered with.
func (x *watchedWorld) hangUp() map[string]any {
	x.t.Helper()
	was := len(x.answers())
	if err := x.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		x.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if all := x.answers(); len(all) > was {
			var line map[string]any
			if err := json.Unmarshal([]byte(all[was]), &line); err != nil {
				x.t.Fatal(err)
			}
			return line
		}
	}
	x.t.Fatalf("no answer to SIGHUP:\n%s", x.log.String())
	return nil
}

var reloadLine = regexp.MustCompile(`(?m)^.*"event":"config\.(?:reloaded|refused)".*$`)

func (x *watchedWorld) answers() []string { return reloadLine.FindAllString(x.log.String(), -1) }

func changedIn(line map[string]any) (out []string) {
	list, _ := line["changed"].([]any)
	for _, key := range list {
		out = append(out, key.(string))
	}
	return out
}

func (x *watchedWorld) methods() []string {
	x.t.Helper()
	methods, err := newDemoApp(x.base).status(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	return methods
}

const watchedMetrics = "metrics: {listen: \"127.0.0.1:0\"}\n"

// A new configuration takes effect as a whole, a wrong one not at all, and what
// needs a restart is named. Nobody is logged out by any of it, and what was
// counted and remembered stays.
func TestReload(t *testing.T) {
	limit := "rate_limit: {auth_max: 3}\n"
	x := newWatchedWorld(t, watchedMetrics+limit, nil)
	app := x.passwordLogin()
	for range 3 {
		_ = newDemoApp(x.base).password(t.Context(), "nobody", "wrong")
	}

	x.write(watchedMetrics + limit + "local_login: false\nclients:\n  - {client_id: later, client_secret: \"" + strings.Repeat("s", 40) + "\", redirect_uris: [\"https://app.example.org/cb\"]}\n")
	line := x.hangUp()
	if got := changedIn(line); line["event"] != "config.reloaded" || !slices.Equal(got, []string{"local_login", "clients.later"}) {
		t.Fatal(line)
	}
	if got := x.methods(); slices.Contains(got, "local") {
		t.Errorf("local_login: false, and the status offers %v", got)
	}
	if status, page := get(t, x.base+"/oauth2/authorize?client_id=later&response_type=code&redirect_uri=https%3A%2F%2Felsewhere.example.org"); status != http.StatusBadRequest || strings.Contains(page, "unknown") {
		t.Errorf("the new client is not known: %d", status)
	}
	if err := app.refreshTokens(t.Context()); err != nil {
		t.Errorf("a session did not survive the reload: %v", err)
	}
	before := x.metrics()

	for wrong, want := range map[string]string{
		"passwords: {min_length: 3}\n": "passwords.min_length",
		"paswords: {}\n":               "passwords",
		"listen: 127.0.0.1:1\ndatabase_url: sqlite:/elsewhere/other.db\n": "database_url: needs a restart",
		"secret_key: " + strings.Repeat("k", 40) + "\n":                   "secret_key: needs a restart",
		"import: {audiobookshelf_secret: short}\nlocal_login: true\n":     "import.audiobookshelf_secret",
	} {
		x.write(watchedMetrics + limit + wrong)
		line := x.hangUp()
		if said, _ := line["error"].(string); line["event"] != "config.refused" || !strings.Contains(said, want) || strings.Contains(said, "kkkk") || strings.Contains(said, "elsewhere") {
			t.Errorf("%s: %v", wrong, line)
		}
	}
	if err := os.Remove(x.file); err != nil {
		t.Fatal(err)
	}
	if line := x.hangUp(); line["event"] != "config.refused" {
		t.Error(line)
	}
	if got := x.methods(); slices.Contains(got, "local") {
		t.Errorf("a refused configuration took effect: %v", got)
	}
	if text := x.metrics(); !strings.Contains(text, "latchkey_config_last_reload_successful 0") || !strings.Contains(text, `latchkey_config_reloads_total{result="refused"} 6`) {
		t.Error("the metrics do not tell of refused reloads")
	}

	x.write(watchedMetrics + limit)
	if line := x.hangUp(); line["event"] != "config.reloaded" {
		t.Fatal(line)
	}
	// The limiter remembers the three failures of before, and so do the numbers.
	err := newDemoApp(x.base).password(t.Context(), "nobody", "wrong")
	if err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("the limiter forgot: %v", err)
	}
	if want := `latchkey_logins_total{method="password",result="invalid_credentials"} 3`; !strings.Contains(before, want) || !strings.Contains(x.metrics(), want) {
		t.Error("the count of failed logins was lost")
	}
	x.figuresAre(broker.FigureLoginRefused, "invalid_credentials", 3)
}

// figuresAre ends the program and reads what it wrote down.
func (x *watchedWorld) figuresAre(name, label string, want int64) {
	x.t.Helper()
	x.stop()
	store, err := storage.Open(x.t.Context(), storage.Options{URL: "sqlite:" + filepath.Join(x.env["LATCHKEY_DATA_DIR"], "latchkey.db")})
	if err != nil {
		x.t.Fatal(err)
	}
	defer store.Close()
	list, err := store.Figures(x.t.Context(), broker.FigureQuery{Names: []string{name}, From: time.Now().Add(-3 * time.Hour), Until: time.Now().Add(time.Hour), Step: time.Hour})
	got := int64(0)
	for _, f := range list {
		if f.Label == label {
			got += f.N
		}
	}
	if err != nil || got != want {
		x.t.Errorf("%s %s: %d, want %d; %v", name, label, got, want, err)
	}
}

// Fifty reloads under load: every request is answered by one configuration or
// the other, and nothing runs twice or is left behind.
func TestReloadsLeaveNothingBehind(t *testing.T) {
	x := newWatchedWorld(t, watchedMetrics, nil)
	x.mobileLogin() // so that there are connections to the IdP
	app := x.passwordLogin()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var refreshed atomic.Int64
	failed := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := app.refreshTokens(context.Background()); err != nil {
				failed <- err
				return
			}
			refreshed.Add(1)
		}
		failed <- nil
	}()
	goroutines := func() int {
		m := regexp.MustCompile(`(?m)^go_goroutines (\d+)`).FindStringSubmatch(x.metrics())
		n, _ := strconv.Atoi(m[1])
		return n
	}
	before := goroutines()
	for i := range 50 {
		x.write(fmt.Sprintf("%stokens: {access_ttl: %ds}\n", watchedMetrics, 600+i))
		if line := x.hangUp(); line["event"] != "config.reloaded" {
			t.Fatal(line)
		}
	}
	cancel()
	if err := <-failed; err != nil {
		t.Errorf("a refresh failed during a reload: %v", err)
	}
	if refreshed.Load() < 20 {
		t.Errorf("only %d refreshes during the reloads", refreshed.Load())
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		after := goroutines()
		if after <= before+4 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines after 50 reloads, %d before", after, before)
		}
	}
	if err := app.refreshTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := app.describe(app.access); !strings.Contains(out, `"exp"`) || lifeOf(t, out) != 649 {
		t.Errorf("the last configuration is not in effect: %s", out)
	}
}

// lifeOf is how long an access token lives, in seconds.
func lifeOf(t *testing.T, described string) int64 {
	t.Helper()
	var claims struct{ Iat, Exp int64 }
	if err := json.Unmarshal([]byte(described[strings.Index(described, "}.{")+2:]), &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Exp - claims.Iat
}

// Every key of the list of what a reload can change is a key.
func TestChangeableKeysExist(t *testing.T) {
	keys := []string{}
	for _, s := range (&config{}).settings() {
		keys = append(keys, s.key)
	}
	for _, key := range changeable {
		if !slices.Contains(keys, key) {
			t.Errorf("%s is no key", key)
		}
	}
}
