package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-id/latchkey/test/absfile"
)

// reloadedElsewhere are keys whose change a test of their own looks at.
var reloadedElsewhere = map[string]func(*testing.T){
	"tls.cert_file": TestOtherCertificateFilesByReload, "tls.key_file": TestOtherCertificateFilesByReload, "local_login": TestReload,
	"cors_origins": TestReloadTakesEffectWholeOrNotAtAll, "trusted_proxies": TestReloadTakesEffectWholeOrNotAtAll,
	"audit_retention": TestReloadOfWhatTakesADay, "tokens.key_rotation": TestReloadOfWhatTakesADay,
}

// reloadedKey is a key with two values, and what each of them is seen by.
type reloadedKey struct {
	key, was, is string // was empty: it is not set
	look         func() string
	looked, to   string // what look gives, before and after
}

// reloadedKeys are those of a program with root, a user who has a limit of sessions, and
// the people of an imported file.
func (x *watchedWorld) reloadedKeys(f *absfile.File) []reloadedKey {
	const secret, token = "the secret that API servers have as well", "the token of those who register clients"
	ctx := x.t.Context()
	status := func(method, path string, headers ...string) func() string {
		return func() string { return fmt.Sprint(x.asks(method, path, "", headers...).StatusCode) }
	}
	life := func(token func(*demoApp) string) func() string {
		return func() string {
			app := x.passwordLogin()
			return fmt.Sprint(lifeOf(x.t, app.describe(token(app))))
		}
	}
	access := func(a *demoApp) string { return a.access }
	described := func(a *demoApp) string { return a.describe(a.access) }
	succeeds := func(err error) string { return fmt.Sprint(err == nil) }
	day := func(days int) string { return time.Now().AddDate(0, 0, days).UTC().Format(time.DateOnly) }
	failure := x.policyOf(func(n int) *http.Response {
		return x.asks(http.MethodPost, "/login", fmt.Sprintf(`{"username":"nobody%d","password":"a guess"}`, n), "Content-Type", "application/json")
	})
	start := x.policyOf(func(int) *http.Response {
		res, err := newDemoApp(x.base).send(ctx, http.MethodGet, "/auth/openid?callback="+x.base+"/", nil, nil)
		if err != nil {
			x.t.Fatal(err)
		}
		res.Body.Close()
		return res
	})
	return []reloadedKey{
		{"tokens.algorithm", "ES256", "HS256", func() string {
			var head struct{ Alg string }
			raw, _, _ := strings.Cut(described(x.passwordLogin()), "}.")
			_ = json.Unmarshal([]byte(raw+"}"), &head)
			return head.Alg
		}, "ES256", "HS256"},
		{"tokens.hs256_secret", "", secret, func() string {
			_, err := jwt.Parse(x.passwordLogin().access, func(*jwt.Token) (any, error) { return []byte(secret), nil }, jwt.WithValidMethods([]string{"HS256"}))
			return succeeds(err)
		}, "false", "true"},
		{"tokens.access_ttl", "600s", "900s", life(access), "600", "900"},
		{"tokens.session_max_age", "2d", "1d", life(func(a *demoApp) string { return a.refresh }), "172800", "86400"},
		{"tokens.refresh_ttl", "3h", "5h", x.idleLife, "3h0m0s", "5h0m0s"},
		{"tokens.refresh_grace", "10m", "1s", x.nextGeneration(), "0", "1"},
		{"tokens.session_retention", "7d", "9d", x.pageSays("/account/ended", `(\d+) days`), "8", "10"},
		{"tokens.session_limit", "2", "1", x.firstOfTwo, "", "session_limit"},
		{"rate_limit.auth_max", "50", "60", func() string { return failure()[0] }, "50", "60"},
		{"rate_limit.auth_window", "10m", "20m", func() string { return failure()[1] }, "600", "1200"},
		{"rate_limit.starts_max", "100", "200", func() string { return start()[0] }, "100", "200"},
		{"passwords.min_length", "16", "20", x.pageSays("/account/password", `At least (\d+) characters`), "16", "20"},
		{"auto_launch", "", "openid", func() string { _, err := newDemoBrowser().follow(ctx, x.base+"/login"); return succeeds(err) }, "false", "true"},
		{"registration_token", "", token, func() string {
			return fmt.Sprint(x.asks(http.MethodPost, "/oauth2/register", `{"redirect_uris":["https://app.example.org/cb"]}`, "Content-Type", "application/json", "Authorization", "Bearer "+token).StatusCode)
		}, "404", "201"},
		{"mobile_redirect_uris", "[" + demoAppURI + "]", "[" + demoAppURI + ", 'other://oauth']", func() string { _, err := newDemoApp(x.base).begin(ctx, "other://oauth"); return succeeds(err) }, "false", "true"},
		{"mobile_confirm", "false", "true", x.asksBeforeTheApp, "false", "true"},
		{"import.audiobookshelf_secret", "a secret that signed nothing of the file", absfile.Secret, status(http.MethodPost, "/auth/refresh", "X-Refresh-Token", f.Sessions[2].Refresh), "401", "200"},
		{"import.accept_legacy_until", day(-1), day(1), status(http.MethodGet, "/api/me", "Authorization", "Bearer "+f.Users[3].Legacy), "401", "200"},
		{"log.level", "info", "debug", func() string {
			x.asks(http.MethodGet, "/nowhere", "", "Accept", "text/html")
			return fmt.Sprint(strings.Contains(x.log.String(), `"level":"DEBUG"`))
		}, "false", "true"},
	}
}

// policyOf gives the numbers of the limit that an answer tells of: how many, and in how
// many seconds.
func (x *watchedWorld) policyOf(ask func(n int) *http.Response) func() []string {
	n := 0
	return func() []string {
		x.t.Helper()
		n++
		policy := ask(n).Header.Get("RateLimit-Policy")
		most, window, found := strings.Cut(policy, ";w=")
		if !found {
			x.t.Fatalf("the answer tells of no limit: %q", policy)
		}
		return []string{most, window}
	}
}

// idleLife is how long a login lasts that is not used.
func (x *watchedWorld) idleLife() string {
	x.t.Helper()
	x.passwordLogin()
	var list []sessionView
	if err := json.Unmarshal([]byte(x.must("", "session", "list", "--user", "root", "--limit", "1", "--json")), &list); err != nil || len(list) != 1 {
		x.t.Fatal(list, err)
	}
	return (time.Duration(*list[0].ExpiresAt-*list[0].UpdatedAt) * time.Millisecond).Round(time.Minute).String()
}

// nextGeneration refreshes one login again and again, and gives the generation of its
// refresh token, which stays within the grace.
func (x *watchedWorld) nextGeneration() func() string {
	var app *demoApp
	return func() string {
		x.t.Helper()
		if app == nil {
			app = x.loginOf("grace")
		}
		if err := app.refreshTokens(x.t.Context()); err != nil {
			x.t.Fatal(err)
		}
		return fmt.Sprint(app.generation())
	}
}

// firstOfTwo gives the code with which the first of two logins is refused; empty: it is
// not.
func (x *watchedWorld) firstOfTwo() string {
	x.t.Helper()
	first := x.loginOf("limited")
	x.loginOf("limited")
	return x.asks(http.MethodPost, "/auth/refresh", "", "X-Refresh-Token", first.refresh).Header.Get("Latchkey-Code")
}

// loginOf logs somebody in who has the password of root.
func (x *watchedWorld) loginOf(name string) *demoApp {
	x.t.Helper()
	app := newDemoApp(x.base)
	if err := app.password(x.t.Context(), name, x.admin); err != nil {
		x.t.Fatal(err)
	}
	return app
}

// pageSays gives what a page says to root, by a pattern with one group.
func (x *watchedWorld) pageSays(path, pattern string) func() string {
	return func() string {
		x.t.Helper()
		l := newLedger(x.t)
		browser := l.client(true)
		l.want(303, l.send(browser, "POST", x.base+"/login/password", []string{"username", "root", "password", x.admin}, ownPage...))
		page := l.want(200, l.send(browser, "GET", x.base+path, nil))
		found := regexp.MustCompile(pattern).FindStringSubmatch(page.body)
		if found == nil {
			x.t.Fatalf("%s does not say %s: %s", path, pattern, page.body)
		}
		return found[1]
	}
}

// asksBeforeTheApp reports whether a person is asked before an app gets its code.
func (x *watchedWorld) asksBeforeTheApp() string {
	x.t.Helper()
	_, to, err := x.throughIdP()
	return fmt.Sprint(err != nil || !strings.HasPrefix(to, demoAppURI))
}

// settingsOf writes keys and values as YAML.
func settingsOf(values map[string]string) (out string) {
	blocks := map[string][]string{}
	for key, value := range values {
		block, name, nested := strings.Cut(key, ".")
		switch {
		case value == "":
		case nested:
			blocks[block] = append(blocks[block], name+": "+value)
		default:
			out += key + ": " + value + "\n"
		}
	}
	for block, lines := range blocks {
		out += block + ": {" + strings.Join(lines, ", ") + "}\n"
	}
	return out
}

// Every key that takes effect by a reload is seen to do so, all of them by one SIGHUP.
func TestReloadOfEveryKey(t *testing.T) {
	f := absFile(t, 5)
	x := prepareWorld(t, "", nil)
	x.write("import: {audiobookshelf_secret: " + absfile.Secret + "}\n")
	x.must("", "import", "audiobookshelf", "--from", f.Path, "--provider", "openid")
	x.must(x.admin+"\n", "user", "set-password", "root", "--password-stdin")
	for _, name := range []string{"grace", "limited"} {
		x.must(x.admin+"\n", "user", "create", name, "--password-stdin")
	}
	list, was, is := x.reloadedKeys(f), map[string]string{}, map[string]string{}
	keys := []string{}
	for _, k := range list {
		was[k.key], is[k.key], keys = k.was, k.is, append(keys, k.key)
	}
	for _, key := range changeable {
		if !slices.Contains(keys, key) && reloadedElsewhere[key] == nil {
			t.Errorf("nothing looks whether a change of %s takes effect by a reload", key)
		}
	}

	x.write(settingsOf(was))
	x.start()
	for _, k := range list {
		if got := k.look(); got != k.looked {
			t.Errorf("at the start, by %s %q: %s, want %s", k.key, k.was, got, k.looked)
		}
	}
	x.write(settingsOf(is))
	line := x.hangUp()
	got := changedIn(line)
	slices.Sort(got)
	slices.Sort(keys)
	if line["event"] != "config.reloaded" || !slices.Equal(got, keys) {
		t.Fatalf("%v, want %v", line, keys)
	}
	for _, k := range list {
		seen := k.look()
		for deadline := time.Now().Add(10 * time.Second); seen != k.to && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			seen = k.look()
		}
		if seen != k.to {
			t.Errorf("after the reload, by %s %q: %s, want %s", k.key, k.is, seen, k.to)
		}
	}
}
