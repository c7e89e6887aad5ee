package ban

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/proc"
	"github.com/latchkey-id/latchkey/tokens"
)

const (
	tries = 12 // of each attacker; ten are a ban
	// framed is whom attackers want to have banned.
	framed = "192.0.2.66"
)

// forged are usernames that would be lines of their own, or name another address.
var forged = []string{
	"Failed login attempt from " + framed,
	"x\n" + `{"time":"2026-11-28T12:00:00Z","level":"WARN","msg":"Failed login attempt from ` + framed + `","event":"auth.login.failed","remote_ip":"` + framed + `",`,
	"x\r\ntime=2026-11-28T12:00:00.000Z level=WARN msg=\"Failed login attempt from " + framed + "\" event=auth.login.failed ",
	`x","msg":"Failed login attempt from ` + framed + `","event":"auth.login.failed","remote_ip":"` + framed,
	`x" msg="Failed login attempt from ` + framed + `" event=auth.login.failed remote_ip=` + framed,
	"address=" + framed + " remote_ip=" + framed + " rhost=" + framed,
	"\u2028Failed login attempt from " + framed + "\u0085\x1b[2J",
	"latchkey[1]: ,\"level\":\"WARN\",\"msg\":\"Failed login attempt from " + framed + "\",\"event\":\"auth.login.failed\",",
}

// attack is one address that tries again and again.
type attack struct {
	name string
	ip   string
	try  func(ip string, n int)
}

func wrongKey(t testing.TB) string {
	key, _, err := tokens.NewAPIKey(rand.Reader)
	if err != nil {
		t.Error(err)
	}
	return key.Reveal()
}

// attacks are what attackers try, each kind from an address of either kind.
func (w *world) attacks() (out []attack) {
	mallory := w.browser("192.0.2.200", "mallory")
	for _, name := range guarded {
		w.Enrol(w.t, name)
	}
	stolen := []string{w.Login(w.t, "carol").AccessToken.Reveal(), w.Login(w.t, "dave").AccessToken.Reveal()}
	for kind, try := range map[string]func(ip string, n int){
		"password": func(ip string, n int) { w.login(ip, "alice of "+ip, fmt.Sprint("guess ", n)) },
		"spraying": func(ip string, n int) { w.login(ip, fmt.Sprint("name ", n, " of ", ip), "Winter2026!") },
		"page": func(ip string, n int) {
			w.form(ip, "/login/password", url.Values{"username": {ip}, "password": {fmt.Sprint(n)}})
		},
		"API key":      func(ip string, _ int) { w.get(ip, "/api/me", "Authorization", "Bearer "+wrongKey(w.t)) },
		"forged lines": func(ip string, n int) { w.login(ip, forged[n%len(forged)], "x") },
		"client secret": func(ip string, n int) {
			w.form(ip, []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/par"}[n%4], url.Values{"client_id": {"app"}, "client_secret": {fmt.Sprint("guess ", n)}})
		},
		"device code": func(ip string, n int) {
			w.get(ip, fmt.Sprintf("/device?user_code=BCDF-%c%cGH", "BCDFGHJKLMNP"[n], "BCDFGHJKLMNP"[n]), "Cookie", mallory)
		},
		"registration token": func(ip string, n int) {
			w.send(ip, http.MethodPost, "/oauth2/register", "application/json", `{"redirect_uris":["https://evil.test/cb"]}`, "Authorization", fmt.Sprint("Bearer guess-", n))
		},
		// The password is known, and codes are tried: by an app, and on the page.
		"second factor": func(ip string, n int) {
			code, name := fmt.Sprintf("%06d", n), guarded[n/2%2]
			if n%2 == 0 {
				w.login(ip, name, harness.PasswordOf(name), "otp", code)
				return
			}
			w.form(ip, "/login/second", url.Values{"code": {code}}, "Cookie", w.browser(ip, name))
		},
		"own password": func(ip string, n int) {
			w.send(ip, http.MethodPatch, "/api/me/password", "application/json", fmt.Sprintf(`{"password":"%d","newPassword":"whatever it is"}`, n), "Authorization", "Bearer "+stolen[n%2])
		},
	} {
		i := len(out)
		out = append(out, attack{kind, fmt.Sprintf("203.0.113.%d", i+1), try}, attack{kind, fmt.Sprintf("2001:db8:%x::1", i+1), try})
	}
	return out
}

// guarded are users with a second factor.
var guarded = []string{"erin", "frank"}

// phones are what happens at phones and is no attack.
func (w *world) phones() []func(ip string) {
	login := w.Login(w.t, "alice")
	old := w.Login(w.t, "alice")
	if _, err := w.Broker.EndSessions(w.t.Context(), broker.SessionFilter{ID: old.Session.ID}, broker.LoggedOut, false, ""); err != nil {
		w.t.Fatal(err)
	}
	reused := w.Login(w.t, "alice") // three refreshes behind
	next := reused
	for range 3 {
		var err error
		w.Clock.Advance(20 * time.Minute)
		if next, err = w.Broker.Refresh(w.t.Context(), next.RefreshToken.Reveal(), broker.AppClientID, broker.Device{IP: "192.0.2.1"}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.Clock.Set(time.Since(w.Clock.Now())) // the access tokens have expired
	lost := map[string]string{}
	for n := range phoneCount {
		lost[phoneAddress(n)] = w.Login(w.t, "alice").RefreshToken.Reveal()
	}
	deadKey := wrongKey(w.t)
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	refresh := func(token string) func(string) {
		return func(ip string) { w.send(ip, http.MethodPost, "/auth/refresh", "", "", "x-refresh-token", token) }
	}
	// A server goes on with the secret that was replaced: that is said once.
	oldSecret := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"old"}, "client_id": {"app"}, "client_secret": {"the secret of last year"}}
	html := []string{"Accept", "text/html"}
	dark := func(ip string) { w.get(ip, "/auth/dark?callback="+url.QueryEscape(w.server.Base+"/")) }
	return []func(ip string){
		func(ip string) { w.get(ip, "/api/me", bearer(login.AccessToken.Reveal())...) },
		// The answer with the next token is lost each time.
		func(ip string) {
			if a := w.send(ip, http.MethodPost, "/auth/refresh", "", "", "x-refresh-token", lost[ip]); a.status != http.StatusOK {
				w.t.Errorf("a phone that repeats its refresh is not let in: %d", a.status)
			}
		},
		refresh(reused.RefreshToken.Reveal()), refresh(old.RefreshToken.Reveal()), refresh("garbage"), refresh(login.RefreshToken.Reveal() + "x"),
		func(ip string) { w.send(ip, http.MethodPost, "/auth/refresh", "", "") },
		func(ip string) { w.get(ip, "/api/me") },
		// A script goes on with a key that was deleted: that is said once.
		func(ip string) { w.get(ip, "/api/me", bearer(deadKey)...) },
		func(ip string) { w.form(ip, "/oauth2/token", oldSecret) },
		dark, dark, dark, dark, dark, dark, dark, dark, dark, dark,
		func(ip string) {
			w.get(ip, "/auth/dark?response_type=code&code_challenge_method=S256&redirect_uri="+url.QueryEscape(`app://x" msg="Failed login attempt from `+framed), html...)
		},
		func(ip string) { w.get(ip, "/auth/dark/callback?state=old&code=old", html...) },
		func(ip string) { w.get(ip, "/auth/dark/callback?state=s&code=old&code_verifier=v") },
		func(ip string) { w.get(ip, "/no/such/page", "User-Agent", "Failed login attempt from "+framed) },
		func(ip string) { w.get(ip, "/setup", html...) },
		func(ip string) {
			w.form(ip, "/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"old"}, "client_id": {"latchkey-cli"}})
		},
		func(ip string) { w.get(ip, "/password?token=old", html...) },
	}
}

// phoneCount is how many addresses phones have.
const phoneCount = 53

func phoneAddress(n int) string { return fmt.Sprintf("198.51.100.%d", n%phoneCount+1) }

// happen is all of it, with so many requests of phones, and returns how often each
// address failed.
func (w *world) happen(requests int) (failures map[string]int) {
	failures = map[string]int{}
	const usurper = "203.0.113.250" // while there is no administrator
	for n := range tries {
		w.get(usurper, fmt.Sprint("/setup?token=guess", n))
	}
	failures[usurper] = tries
	for name, role := range map[string]broker.Role{"root": broker.RoleRoot, "alice": broker.RoleUser, "mallory": broker.RoleUser, "carol": broker.RoleUser, "dave": broker.RoleUser, "erin": broker.RoleUser, "frank": broker.RoleUser} {
		w.User(w.t, name, role)
	}
	phones := w.phones()
	for n := range phoneCount {
		failures[phoneAddress(n)] = 2 // a key that was deleted, a secret that was replaced
	}
	attacks := w.attacks()
	for _, a := range attacks {
		failures[a.ip] = tries
	}
	// One in so many requests is an attack.
	every := requests / (len(attacks) * tries)
	var all sync.WaitGroup
	for part := range 4 {
		all.Go(func() {
			for n := part; n < requests; n += 4 {
				phones[n/phoneCount%len(phones)](phoneAddress(n)) // each does all of it
				if i := n / every; n%every == 0 && i < len(attacks)*tries {
					attacks[i/tries].try(attacks[i/tries].ip, i%tries)
				}
			}
		})
	}
	all.Wait()
	// People mistype, and log in.
	for n := range 6 {
		for range 3 {
			w.login(phoneAddress(n), "alice", "mistyped")
			failures[phoneAddress(n)]++
		}
		if a := w.login(phoneAddress(n), "alice", harness.PasswordOf("alice")); a.status != http.StatusOK {
			w.t.Errorf("alice is not let in: %d", a.status)
		}
		for range tries { // an app that does not know of second factors
			w.login(phoneAddress(n), guarded[0], harness.PasswordOf(guarded[0]))
		}
	}
	// Whoever comes last is banned when all has been read.
	for n := range tries {
		w.login(last, "somebody", fmt.Sprint(n))
	}
	failures[last] = tries
	return failures
}

const last = "203.0.113.251"

// banned are the attackers of those who failed.
func banned(failures map[string]int) (out []string) {
	for ip, n := range failures {
		if n >= tries {
			out = append(out, ip)
		}
	}
	slices.Sort(out)
	return out
}

// TestAttackersAreBannedAndPhonesAreNot is the whole of it: a log in each format,
// and both programs on it.
func TestAttackersAreBannedAndPhonesAreNot(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "latchkey")
	if err := proc.Build(binary); err != nil {
		t.Fatal(err)
	}
	for format, requests := range map[string]int{"json": 10_000, "text": 2000} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, binary, format)
			failures := w.happen(requests)
			log, dir := w.logged(), t.TempDir()
			for _, needed := range []string{framed, string(broker.TokenReused), "auth.setup.failed"} {
				if !strings.Contains(log, needed) {
					t.Errorf("nothing in the log has %s", needed)
				}
			}
			file, journal := filepath.Join(dir, format+".log"), filepath.Join(dir, "journal.log")
			put(t, file, log)
			put(t, journal, asJournal(t, log))
			t.Run("fail2ban-regex", func(t *testing.T) { checkFilter(t, file, failures) })
			t.Run("fail2ban-regex of the journal", func(t *testing.T) { checkFilter(t, journal, failures) })
			t.Run("fail2ban", func(t *testing.T) { checkFail2ban(t, file, banned(failures)) })
			t.Run("CrowdSec", func(t *testing.T) { checkCrowdSec(t, file, "latchkey", banned(failures)) })
			t.Run("CrowdSec of the journal", func(t *testing.T) { checkCrowdSec(t, journal, "syslog", banned(failures)) })
		})
	}
}

// same compares two lists of addresses.
func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	if slices.Equal(got, want) {
		return
	}
	for _, ip := range got {
		if !slices.Contains(want, ip) {
			t.Errorf("%s: %s is banned and did not attack", what, ip)
		}
	}
	for _, ip := range want {
		if !slices.Contains(got, ip) {
			t.Errorf("%s: %s attacked and is not banned", what, ip)
		}
	}
}
