package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// ask reads the URL that a login prints, as the server gets it.
func (o *op) ask(u *underWay) url.Values {
	o.t.Helper()
	target, err := url.Parse(u.stderr.find(o.t, `(http://\S+/authorize\?\S+)`))
	if err != nil {
		o.t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = target.Query()
	return o.asked
}

// come is the browser that comes back; it returns the status and the page.
func come(t *testing.T, redirectURI string, answer url.Values) (int, string) {
	t.Helper()
	res, err := http.Get(redirectURI + "?" + answer.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(page)
}

// redeem answers a code with an ID token that has other claims than it should.
func (o *op) redeem(claims map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		nonce, challenge := o.asked.Get("nonce"), o.asked.Get("code_challenge")
		o.mu.Unlock()
		sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		if base64.RawURLEncoding.EncodeToString(sum[:]) != challenge {
			invalidGrant(nil)(w, r)
			return
		}
		all := map[string]any{"nonce": nonce}
		for k, v := range claims {
			all[k] = v
		}
		body := pair("A1", "R1")
		body["id_token"] = o.idToken(all)
		answer(200, body)(w, r)
	}
}

func TestLogin(t *testing.T) {
	c := nativeCLI(t)
	o := newOP(t)
	o.answers = []http.HandlerFunc{answer(503, nil, "Retry-After", "0"), o.redeem(nil)}
	u := c.start("login", "--issuer", o.URL, "--no-browser", "--json")
	q := o.ask(u)
	back := q.Get("redirect_uri")
	if !strings.HasPrefix(back, "http://127.0.0.1:") || !strings.HasSuffix(back, "/callback") || q.Get("response_type") != "code" || q.Get("client_id") != "latchkey-cli" ||
		q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || len(q.Get("state")) < 22 || len(q.Get("nonce")) < 22 ||
		q.Get("scope") != "openid profile email offline_access latchkey:api" {
		t.Fatal(q)
	}
	// Somebody else's answer, and a favicon, end nothing.
	for _, wrong := range []url.Values{{}, {"code": {"evil"}, "state": {"evil"}, "iss": {o.URL}}, {"code": {"a", "b"}, "state": {q.Get("state")}}} {
		if status, page := come(t, back, wrong); status != http.StatusBadRequest || !strings.Contains(page, "not the answer") {
			t.Errorf("%v: %d %s", wrong, status, page)
		}
	}
	if status, _ := come(t, strings.Replace(back, "/callback", "/favicon.ico", 1), nil); status != http.StatusNotFound {
		t.Error(status)
	}
	if status, page := come(t, back, url.Values{"code": {"K"}, "state": {q.Get("state")}, "iss": {o.URL}}); status != http.StatusOK || !strings.Contains(page, "You may close this window") {
		t.Errorf("%d %s", status, page)
	}
	code, out := u.wait(t)
	if code != 0 || !strings.Contains(out, `"username": "robin"`) || !strings.Contains(out, `"sub": "u1"`) {
		t.Fatalf("exit %d, %s", code, out)
	}
	if o.sent("redirect_uri") != back+" "+back || o.sent("code") != "K K" {
		t.Fatal(o.requests)
	}
	if out := c.must("", "token"); out != "A1\n" {
		t.Fatal(out)
	}
	if shown := u.stdout.String(); strings.Contains(shown, "A1") || strings.Contains(shown, "R1") {
		t.Fatal("a login prints its tokens")
	}

	// A second login replaces the first, whose session ends.
	o.mu.Lock()
	o.answers = []http.HandlerFunc{o.redeem(nil)}
	o.mu.Unlock()
	u = c.start("login", "--no-browser") // the issuer is that of the last login
	q = o.ask(u)
	come(t, q.Get("redirect_uri"), url.Values{"code": {"K"}, "state": {q.Get("state")}, "iss": {o.URL}})
	if code, out := u.wait(t); code != 0 || !strings.Contains(out, "as robin") {
		t.Fatalf("exit %d, %s", code, out)
	}
	if len(o.revoked) != 1 || o.revoked[0].Get("token") != "R1" {
		t.Fatal(o.revoked)
	}
}

// Each of these ends the login, keeps nothing, and is said in the browser too.
func TestLoginIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		claims map[string]any
		answer url.Values
		server func(*op)
		says   string
		code   string // what reached the token endpoint
	}{
		"mix-up, another iss":    {answer: url.Values{"code": {"K"}, "iss": {"https://evil.example"}}, says: "the answer comes from"},
		"mix-up, no iss":         {answer: url.Values{"code": {"K"}}, says: "the answer comes from"},
		"refused by the person":  {answer: url.Values{"error": {"access_denied"}, "error_description": {"<b>no\x1b"}}, says: "access_denied, <b>no"},
		"no code":                {answer: url.Values{"code": {""}}, says: "no code"},
		"nonce of another login": {claims: map[string]any{"nonce": "x"}, says: "nonce", code: "K"},
		"another audience":       {claims: map[string]any{"aud": "x"}, says: "ID token", code: "K"},
		"another issuer":         {claims: map[string]any{"iss": "https://evil.example"}, says: "ID token", code: "K"},
		"expired":                {claims: map[string]any{"exp": 1}, says: "ID token", code: "K"},
		"another access token":   {claims: map[string]any{"at_hash": "x"}, says: "ID token", code: "K"},
		"no ID token":            {server: func(o *op) { o.answers = []http.HandlerFunc{answer(200, pair("A", "R"))} }, says: "no ID token", code: "K"},
		"answer to the code lost": {server: func(o *op) { o.answers = []http.HandlerFunc{lost, o.redeem(nil)} }, says: "could not be completed",
			code: "K"}, // once: a code that is redeemed twice ends the session
		"code refused": {server: func(o *op) { o.answers = []http.HandlerFunc{invalidGrant(nil)} }, says: "begin again", code: "K"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := nativeCLI(t)
			o := newOP(t)
			o.answers = []http.HandlerFunc{o.redeem(tc.claims)}
			if tc.server != nil {
				tc.server(o)
			}
			u := c.start("login", "--issuer", o.URL, "--no-browser")
			q := o.ask(u)
			given := url.Values{"code": {"K"}, "iss": {o.URL}}
			if tc.answer != nil {
				given = tc.answer
				if given.Has("error") || given.Get("code") == "" {
					given.Set("iss", o.URL)
				}
			}
			given.Set("state", q.Get("state"))
			_, page := come(t, q.Get("redirect_uri"), given)
			code, out := u.wait(t)
			if code != 1 || !strings.Contains(out, tc.says) || strings.Contains(out, "\x1b") || !strings.Contains(page, "The login failed") || strings.Contains(page, "<b>") {
				t.Errorf("exit %d, %s\n%s", code, out, page)
			}
			if o.sent("code") != tc.code {
				t.Errorf("sent %q", o.sent("code"))
			}
			if code, _, _ := c.run("", "token"); code != 1 {
				t.Error("something was kept")
			}
		})
	}
}

func TestLoginAtTheWrongServer(t *testing.T) {
	c := nativeCLI(t)
	o := newOP(t, lost)
	for name, tc := range map[string]struct {
		change func(map[string]any)
		issuer string
		code   int
		says   string
	}{
		"no issuer":         {nil, "", 2, "--issuer"},
		"not a URL":         {nil, "id.example.org", 1, "https://id.example.org"},
		"in the clear":      {nil, "http://id.example.org", 1, "--insecure-http"},
		"almost its name":   {nil, o.URL + "/", 1, "--issuer " + o.URL},
		"another issuer":    {func(m map[string]any) { m["issuer"] = "https://evil.example" }, o.URL, 1, "calls itself"},
		"tokens elsewhere":  {func(m map[string]any) { m["token_endpoint"] = "http://evil.example/token" }, o.URL, 1, "token_endpoint"},
		"no token endpoint": {func(m map[string]any) { delete(m, "token_endpoint") }, o.URL, 1, "token_endpoint"},
		"not there":         {nil, "http://127.0.0.1:1", 1, "try again later"},
	} {
		o.change = tc.change
		args := []string{"login", "--no-browser"}
		if tc.issuer != "" {
			args = append(args, "--issuer", tc.issuer)
		}
		if code, _, errs := c.run("", args...); code != tc.code || !strings.Contains(errs, tc.says) {
			t.Errorf("%s: exit %d, %q", name, code, errs)
		}
	}
}

func TestInterruptEndsALogin(t *testing.T) {
	c := nativeCLI(t)
	o := newOP(t, lost)
	u := c.start("login", "--issuer", o.URL, "--no-browser")
	o.ask(u)
	u.stop()
	begun := time.Now()
	if code, out := u.wait(t); code != 1 || time.Since(begun) > 3*time.Second {
		t.Fatalf("exit %d after %v, %s", code, time.Since(begun), out)
	}
}

// As a process of its own: the system browser is called with the URL, and
// Ctrl-C ends the waiting.
func TestSystemBrowserAndCtrlC(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the browser's caller is called otherwise here")
	}
	o := newOP(t, lost)
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "xdg-open"), []byte("#!/bin/sh\necho \"$1\" >"+bin+"/part; mv "+bin+"/part "+bin+"/opened\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	child, _, stderr := process(t, "latchkey", t.TempDir(), "login", "--issuer", o.URL)
	child.Env = append(child.Env, "PATH="+bin+":"+os.Getenv("PATH"))
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	opened := ""
	for deadline := time.Now().Add(20 * time.Second); opened == "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		raw, _ := os.ReadFile(filepath.Join(bin, "opened"))
		opened = strings.TrimSpace(string(raw))
	}
	if err := child.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := child.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "interrupt") {
		t.Errorf("%v %s", err, stderr)
	}
	if !strings.HasPrefix(opened, o.URL+"/authorize?") || !strings.Contains(stderr.String(), opened) {
		t.Errorf("opened %q, printed %s", opened, stderr)
	}
}

func TestDeviceLogin(t *testing.T) {
	t.Parallel()
	c := nativeCLI(t)
	o := newOP(t)
	pending := answer(400, map[string]any{"error": "authorization_pending"})
	var times []time.Time
	timed := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			times = append(times, time.Now())
			next(w, r)
		}
	}
	o.answers = []http.HandlerFunc{
		timed(pending), timed(answer(400, map[string]any{"error": "slow_down"})),
		timed(func(w http.ResponseWriter, r *http.Request) {
			body := pair("A1", "R1")
			body["id_token"] = o.idToken(nil)
			answer(200, body)(w, r)
		}),
	}
	o.device = func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if r.PostForm.Get("client_id") != "latchkey-cli" || r.PostForm.Get("scope") != "openid a b" {
			t.Errorf("%v", r.PostForm)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"device_code": "D", "user_code": "WDJB-MJHT", "verification_uri": o.URL + "/device", "expires_in": 60, "interval": 1,
		})
	}
	u := c.start("login", "--issuer", o.URL, "--device", "--scope", "a", "--scope", "b")
	code, out := u.wait(t)
	if code != 0 || !strings.Contains(out, "WDJB-MJHT") || !strings.Contains(out, o.URL+"/device") || !strings.Contains(out, "as robin") {
		t.Fatalf("exit %d, %s", code, out)
	}
	if o.sent("device_code") != "D D D" || len(times) != 3 || times[1].Sub(times[0]) < 900*time.Millisecond || times[2].Sub(times[1]) < 5*time.Second {
		t.Fatalf("%v %v", o.requests, times)
	}
	if out := c.must("", "token"); out != "A1\n" {
		t.Fatal(out)
	}
}

func TestDeviceLoginIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []http.HandlerFunc
		says    string
	}{
		"denied":       {[]http.HandlerFunc{answer(400, map[string]any{"error": "access_denied"})}, "refused on the other device"},
		"expired":      {[]http.HandlerFunc{answer(400, map[string]any{"error": "expired_token"})}, "has expired"},
		"after an end": {[]http.HandlerFunc{answer(400, map[string]any{"error": "authorization_pending"})}, "has expired"},
		"and trouble":  {[]http.HandlerFunc{answer(503, nil), lost, answer(400, map[string]any{"error": "access_denied"})}, "has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := nativeCLI(t)
			o := newOP(t, tc.answers...)
			o.device = answer(200, map[string]any{"device_code": "D", "user_code": "U", "verification_uri": o.URL + "/device", "expires_in": 5, "interval": 1})
			if code, out := c.start("login", "--issuer", o.URL, "--device").wait(t); code != 1 || !strings.Contains(out, tc.says) {
				t.Errorf("exit %d, %s", code, out)
			}
		})
	}
}
