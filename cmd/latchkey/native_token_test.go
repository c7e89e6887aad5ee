package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTokenIsPrintedAloneAndRefreshedWhenItIsDue(t *testing.T) {
	c := nativeCLI(t)
	o := newOP(t, answer(200, pair("A2", "R2")))
	c.loggedIn(o, 10*time.Minute)
	if out := c.must("", "token"); out != "A1\n" || o.sent("grant_type") != "" {
		t.Fatalf("%q", out)
	}
	s, k := c.loggedIn(o, 50*time.Second)
	if out := c.must("", "token"); out != "A2\n" || kept(t, s, k) != "R2" {
		t.Fatalf("%q", out)
	}
	if o.sent("grant_type") != "refresh_token" || o.sent("client_id") != k.ClientID || o.sent("refresh_token") != "R1" {
		t.Fatalf("%v", o.requests)
	}
	var v tokenView
	if err := json.Unmarshal([]byte(c.must("", "token", "--json")), &v); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(time.Unix(*v.ExpiresAt, 0)); v.AccessToken != "A2" || v.TokenType != "Bearer" || v.Issuer != o.URL || v.Subject != "u1" || left < 3500*time.Second || left > time.Hour {
		t.Fatalf("%+v", v)
	}
	if strings.Contains(c.must("", "token", "--json"), "R2") {
		t.Fatal("the refresh token is shown")
	}
	c.must("", "token", "--refresh")
	if got := o.sent("refresh_token"); got != "R1 R2" {
		t.Fatal(got)
	}
}

func TestDue(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		life, left time.Duration
		due        bool
	}{
		"an hour, most of it left": {time.Hour, 59 * time.Minute, false},
		"an hour, 61 s left":       {time.Hour, 61 * time.Second, false},
		"an hour, 60 s left":       {time.Hour, time.Minute, true},
		"an hour, over":            {time.Hour, -time.Second, true},
		"a minute, 10 s left":      {time.Minute, 10 * time.Second, false},
		"a minute, 6 s left":       {time.Minute, 6 * time.Second, true},
	} {
		s := nativeSession{ObtainedAt: now.Add(tc.left - tc.life), ExpiresAt: now.Add(tc.left)}
		if s.due(now) != tc.due {
			t.Errorf("%s: %v", name, !tc.due)
		}
	}
	if s := (nativeSession{ObtainedAt: now.Add(24 * time.Hour), ExpiresAt: now.Add(25 * time.Hour)}); !s.due(now) {
		t.Error("a clock that went back")
	}
	if !(nativeSession{ObtainedAt: now}).due(now) {
		t.Error("a life that the server did not tell")
	}
}

// Trouble never logs out: exit 1, tokens kept, and asked again where it helps.
func TestTroubleKeepsTheLogin(t *testing.T) {
	good := answer(200, pair("A2", "R2"))
	for name, tc := range map[string]struct {
		answers []http.HandlerFunc
		sent    string
		ok      bool
		says    string
		least   time.Duration
	}{
		"lost answer":                 {[]http.HandlerFunc{lost, good}, "R1 R1", true, "", 0},
		"cut answer":                  {[]http.HandlerFunc{answer(200, pair("A9", "R9"), "Content-Length", "20"), good}, "R1 R1", true, "", 0},
		"503, come again in a second": {[]http.HandlerFunc{answer(503, nil, "Retry-After", "1"), good}, "R1 R1", true, "", time.Second},
		"503 for an hour":             {[]http.HandlerFunc{answer(503, nil, "Retry-After", "3600"), good}, "R1", false, "try again later", 0},
		"429":                         {[]http.HandlerFunc{answer(429, map[string]any{"error": "slow_down"}, "Retry-After", "0"), good}, "R1 R1", true, "", 0},
		"429 for ever":                {[]http.HandlerFunc{answer(429, nil, "Retry-After", "0")}, "R1 R1 R1 R1", false, "try again later", 0},
		"502 of a proxy":              {[]http.HandlerFunc{answer(502, nil), good}, "R1 R1", true, "", 0},
		"invalid_grant in a 500":      {[]http.HandlerFunc{answer(500, map[string]any{"error": "invalid_grant", "verdict": "login"}, "Retry-After", "900")}, "R1", false, "try again later", 0},
		"a page of the hotel": {[]http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>Welcome"))
		}, good}, "R1 R1", true, "", 0},
		"a redirect of the hotel": {[]http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, good}, "R1 R1", true, "", 0},
		"verdict retry":  {[]http.HandlerFunc{invalidGrant(map[string]any{"verdict": "retry", "code": "client_mismatch"})}, "R1", false, "client_mismatch", 0},
		"invalid_client": {[]http.HandlerFunc{answer(401, map[string]any{"error": "invalid_client"})}, "R1", false, "invalid_client", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := nativeCLI(t)
			o := newOP(t, tc.answers...)
			s, k := c.loggedIn(o, -time.Minute)
			begun := time.Now()
			code, out, errs := c.run("", "token")
			if took := time.Since(begun); took < tc.least {
				t.Errorf("took %v", took)
			}
			if o.sent("refresh_token") != tc.sent {
				t.Errorf("sent %s", o.sent("refresh_token"))
			}
			if tc.ok && (code != 0 || out != "A2\n" || kept(t, s, k) != "R2") {
				t.Errorf("exit %d, %q %q", code, out, errs)
			}
			if !tc.ok && (code != 1 || out != "" || !strings.Contains(errs, tc.says) || kept(t, s, k) != "R1") {
				t.Errorf("exit %d, %q %q", code, out, errs)
			}
		})
	}
}

func TestServerThatIsGoneKeepsTheLogin(t *testing.T) {
	t.Parallel()
	c := nativeCLI(t)
	o := newOP(t, lost)
	s, k := c.loggedIn(o, -time.Minute)
	o.Close()
	if code, out, errs := c.run("", "token"); code != 1 || out != "" || !strings.Contains(errs, "try again later") || kept(t, s, k) != "R1" {
		t.Fatalf("exit %d, %q %q", code, out, errs)
	}
}

func TestEndOfASessionIsSaidOnceAndForgotten(t *testing.T) {
	for name, tc := range map[string]struct {
		more map[string]any
		says string
	}{
		"login":             {map[string]any{"verdict": "login", "code": "revoked_by_admin"}, "an administrator ended it (revoked_by_admin)"},
		"wipe":              {map[string]any{"verdict": "wipe", "code": "revoked_by_admin"}, "an administrator ended it (revoked_by_admin)"},
		"no verdict at all": {nil, "the server does not know it any more"},
		"unknown code":      {map[string]any{"verdict": "login", "code": "new\x1b[2J_code"}, "(new[2J_code)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := nativeCLI(t)
			o := newOP(t, invalidGrant(tc.more))
			s, k := c.loggedIn(o, -time.Minute)
			code, out, errs := c.run("", "token")
			if code != 1 || out != "" || !strings.Contains(errs, tc.says) || !strings.Contains(errs, "latchkey login --issuer "+o.URL) || strings.Count(errs, "\n") != 1 {
				t.Errorf("exit %d, %q %q", code, out, errs)
			}
			if kept(t, s, k) != "" || o.sent("refresh_token") != "R1" {
				t.Error("the tokens are still there")
			}
			if code, _, errs := c.run("", "token"); code != 1 || !strings.Contains(errs, "not logged in at "+o.URL) {
				t.Errorf("exit %d, %q", code, errs)
			}
		})
	}
}

// What another process stored past the lock is tried before a login is given up.
func TestRefusalOfAnOldTokenIsNotTheEnd(t *testing.T) {
	c := nativeCLI(t)
	var s *nativeStore
	var k nativeKey
	o := newOP(t, func(w http.ResponseWriter, r *http.Request) {
		other, _ := s.load(k)
		other.RefreshToken = "R5"
		_ = s.save(other)
		invalidGrant(map[string]any{"verdict": "login", "code": "token_reused"})(w, r)
	}, answer(200, pair("A6", "R6")))
	s, k = c.loggedIn(o, -time.Minute)
	if out := c.must("", "token"); out != "A6\n" || o.sent("refresh_token") != "R1 R5" || kept(t, s, k) != "R6" {
		t.Fatalf("%q, sent %s", out, o.sent("refresh_token"))
	}
}

// A token that could not be stored is not printed: the next run would send an
// older refresh token than this one got.
func TestTokenThatCannotBeStoredIsNotPrinted(t *testing.T) {
	c := nativeCLI(t)
	o := newOP(t, answer(200, pair("A2", "R2")))
	s, k := c.loggedIn(o, -time.Minute)
	if err := os.MkdirAll(s.path(k)+".new/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := c.run("", "token"); code != 1 || out != "" || errs == "" || kept(t, s, k) != "R1" {
		t.Fatalf("exit %d, %q %q", code, out, errs)
	}
}

func TestManyProcessesRefreshOnce(t *testing.T) {
	c := nativeCLI(t)
	o := newOP(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(300 * time.Millisecond)
		answer(200, pair("A2", "R2"))(w, r)
	}, invalidGrant(map[string]any{"verdict": "login", "code": "token_reused"}))
	s, k := c.loggedIn(o, -time.Minute)
	var group sync.WaitGroup
	outs := make([]*bytes.Buffer, 30)
	for i := range outs {
		child, out, errs := process(t, "latchkey", s.dir, "token")
		outs[i] = out
		group.Go(func() {
			if err := child.Run(); err != nil {
				t.Errorf("%v %s", err, errs)
			}
		})
	}
	group.Wait()
	for _, out := range outs {
		if out.String() != "A2\n" {
			t.Errorf("%q", out)
		}
	}
	if o.sent("refresh_token") != "R1" || kept(t, s, k) != "R2" {
		t.Fatalf("sent %s", o.sent("refresh_token"))
	}
}

func TestLastLoginIsTheDefault(t *testing.T) {
	c := nativeCLI(t)
	first, second := newOP(t, answer(200, pair("A2", "R2"))), newOP(t, answer(200, pair("B2", "S2")))
	c.loggedIn(first, -time.Minute)
	c.loggedIn(second, -time.Minute)
	if out := c.must("", "token"); out != "B2\n" {
		t.Fatal(out)
	}
	if out := c.must("", "token", "--issuer", first.URL); out != "A2\n" {
		t.Fatal(out)
	}
	c.must("", "logout")
	// A login that is over is not replaced by another server's behind one's back.
	if code, out, errs := c.run("", "token"); code != 1 || out != "" || !strings.Contains(errs, second.URL) {
		t.Fatalf("exit %d, %q %q", code, out, errs)
	}
	if code, _, _ := c.run("", "token", "--profile", "other"); code != 1 {
		t.Fatal("a profile has another one's login")
	}
	if code, _, _ := c.run("", "token", "--profile", "../x"); code != 2 {
		t.Fatal("a profile leads out of the folder")
	}
}

func TestLogout(t *testing.T) {
	c := nativeCLI(t)
	o := newOP(t, answer(200, pair("A2", "R2")))
	s, k := c.loggedIn(o, time.Hour)
	o.revoke = answer(503, nil, "Retry-After", "600")
	if code, _, errs := c.run("", "logout"); code != 1 || !strings.Contains(errs, "--force") || kept(t, s, k) != "R1" {
		t.Fatalf("exit %d, %q", code, errs)
	}
	o.revoke = nil
	if out := c.must("", "logout", "--json"); !strings.Contains(out, `"revoked": true`) || kept(t, s, k) != "" {
		t.Fatal(out)
	}
	last := o.revoked[len(o.revoked)-1]
	if last.Get("token") != "R1" || last.Get("token_type_hint") != "refresh_token" || last.Get("client_id") != k.ClientID {
		t.Fatal(last)
	}
	if code, _, _ := c.run("", "logout"); code != 1 {
		t.Fatal("logged out twice")
	}
	s, k = c.loggedIn(o, time.Hour)
	o.Close()
	if code, _, errs := c.run("", "logout"); code != 1 || !strings.Contains(errs, "still logged in") || kept(t, s, k) != "R1" {
		t.Fatalf("exit %d, %q", code, errs)
	}
	if out := c.must("", "logout", "--force"); !strings.Contains(out, "Logged out") || kept(t, s, k) != "" {
		t.Fatal(out)
	}
}
