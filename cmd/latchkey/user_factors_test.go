package main

import (
	"encoding/base32"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/totp"
	"github.com/latchkey-id/latchkey/storage"
)

// visitor is a browser with somebody at the pages of a server.
type visitor struct {
	t    *testing.T
	base string
	http http.Client
}

// sends posts a form, or opens a page where there is none, and reads what comes of it.
func (p *visitor) sends(path string, form ...string) (status int, page string) {
	p.t.Helper()
	method, values := http.MethodGet, url.Values{}
	for i := 0; i < len(form); i += 2 {
		method = http.MethodPost
		values.Set(form[i], form[i+1])
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(values.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", p.base)
	res, err := p.http.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// shows expects a page to say something.
func (p *visitor) shows(text, path string, form ...string) string {
	p.t.Helper()
	status, page := p.sends(path, form...)
	if status != http.StatusOK || !strings.Contains(page, text) {
		p.t.Fatalf("%s: %d, and no %q in %s", path, status, text, page)
	}
	return page
}

// enrolmentIn is the secret that a page gives to an authenticator app, as it stands
// there and as the app takes it.
func enrolmentIn(t *testing.T, page string) (typed string, secret []byte) {
	t.Helper()
	found := regexp.MustCompile(`id="totp-secret"[^>]*>([A-Z2-7 ]+)<`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("no secret in %s", page)
	}
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(found[1], " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return found[1], secret
}

// codeOf is what an authenticator app shows so many time steps from now.
func codeOf(t *testing.T, secret []byte, steps int64) string {
	t.Helper()
	code, err := totp.Codes{}.Code(secret, time.Now().Unix()/30+steps)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// Somebody whose phone is lost gets in again by `user reset-factors`, hears of it,
// and is logged out nowhere. SQLite, while the server runs.
func TestResetFactorsByCommand(t *testing.T) {
	c := newCLI(t)
	address, log, stop := c.serve()
	log.find(t, `"event":"(ready)"`)
	const password = "correct horse battery"
	c.must(password+"\n", "user", "create", "alice", "--password-stdin")
	jar, _ := cookiejar.New(nil) // never fails
	alice := &visitor{t: t, base: "http://" + address, http: http.Client{Jar: jar}}
	alice.shows("alice", "/login/password", "username", "alice", "password", password)
	page := alice.shows("Until then nothing changes.", "/account/factors/totp", "proof", password)
	_, secret := enrolmentIn(t, page)
	alice.shows("recovery codes", "/account/factors/totp/confirm", "code", codeOf(t, secret, 0))

	second := func() (second bool) {
		t.Helper()
		var u userView
		if err := json.Unmarshal([]byte(c.must("", "user", "show", "alice", "--json")), &u); err != nil {
			t.Fatal(err)
		}
		return u.Second
	}
	lost := &visitor{t: t, base: alice.base}
	if status, body := lost.sends("/login", "username", "alice", "password", password); status != http.StatusUnauthorized || !strings.Contains(body, "second_factor_required") || !second() {
		t.Fatalf("the password alone: %d %s", status, body)
	}
	if out := c.must("", "user", "reset-factors", "alice", "--json"); !strings.Contains(out, `"secondFactor": false`) || second() {
		t.Error(out)
	}
	if status, body := lost.sends("/login", "username", "alice", "password", password); status != http.StatusOK {
		t.Errorf("after the reset: %d %s", status, body)
	}
	alice.shows("An administrator reset the second factors of your account", "/") // the session that was there
	alice.shows("Set up an app", "/account/factors")
	c.must("", "user", "reset-factors", "alice") // there are none: nothing happens
	if code, _, errs := c.run("", "user", "reset-factors", "nobody"); code != 1 || !strings.Contains(errs, "nobody") {
		t.Errorf("of nobody: exit %d, %s", code, errs)
	}
	if code := stop(); code != 0 {
		t.Errorf("serve exited with %d", code)
	}

	store, err := storage.Open(t.Context(), storage.Options{URL: "sqlite:" + filepath.Join(c.env["LATCHKEY_DATA_DIR"], "latchkey.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	u, err := store.UserByUsername(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := store.CountRecoveryCodes(t.Context(), u.ID); n != 0 || err != nil {
		t.Errorf("%d recovery codes are left, %v", n, err)
	}
	events, err := store.ListEvents(t.Context(), broker.EventFilter{UserID: u.ID, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	resets := 0
	for _, e := range events {
		if e.Name == broker.EventFactorsReset {
			resets++
		}
	}
	if resets != 1 {
		t.Errorf("%d events of a reset in %+v", resets, events)
	}
}
