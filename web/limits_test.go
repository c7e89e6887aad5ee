package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// An account that strangers attack is shut to them, and open to the addresses
// that its owner's sessions use (P02, P04).
func TestAccountUnderAttack(t *testing.T) {
	x := newSite(t, setup{failures: 40})
	const home, elsewhere = "192.0.2.10", "198.51.100.200"
	p := x.login("alice", from(home))
	refused := 0
	for i := range 100 {
		a := x.sendLogin("alice", "wrong", from("203.0.113."+strconv.Itoa(i)))
		switch a.Status {
		case 401:
		case 429:
			a.refused(429, broker.RateLimited, web.VerdictRetry)
			if a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			refused++
		default:
			t.Fatalf("attempt %d: %d", i, a.Status)
		}
	}
	if refused != 60 {
		t.Errorf("%d of 100 guesses were throttled, want 60", refused)
	}
	// A look-alike name is the same account.
	x.sendLogin(" ＡＬＩＣＥ ", harness.PasswordOf("alice"), from(elsewhere)).want(429)
	x.sendLogin("alice", harness.PasswordOf("alice"), from(elsewhere)).want(429)
	x.login("alice", from(home))
	x.refresh(p.refresh, from(elsewhere)).pair()
	x.me(p.access).want(200)
	if got := x.changePassword(p.access, harness.PasswordOf("alice"), "a new password", from(home)); got.Status != 200 {
		t.Errorf("changing the password: %d", got.Status)
	}
	// Another account is not concerned.
	x.login("root", from(elsewhere))
}

// The owner's address has the limit of every address: 40 wrong guesses there
// end it too.
func TestKnownAddressIsLimitedAsWell(t *testing.T) {
	x := newSite(t, setup{failures: 5})
	x.login("alice", from("192.0.2.10"))
	for range 5 {
		x.sendLogin("alice", "wrong", from("192.0.2.10")).want(401)
	}
	x.sendLogin("alice", harness.PasswordOf("alice"), from("192.0.2.10")).want(429)
}

// The password of PATCH /api/me/password cannot be guessed faster.
func TestPasswordChangeIsLimited(t *testing.T) {
	x := newSite(t, setup{failures: 5})
	p := x.login("alice")
	for range 5 {
		x.changePassword(p.access, "wrong", "a new password").want(400)
	}
	x.changePassword(p.access, harness.PasswordOf("alice"), "a new password").refused(429, broker.RateLimited, web.VerdictRetry)
	x.refresh(p.refresh).pair()
}

// Only failures count: not successes, not what is no attempt.
func TestWhatIsNoFailure(t *testing.T) {
	x := newSite(t, setup{failures: 3})
	p := x.login("alice")
	for range 5 {
		x.login("alice")
		x.refresh("garbage").want(401)
		x.me("garbage").want(401)
		x.do(http.MethodPost, "/auth/refresh").want(401)
		x.do(http.MethodPost, "/login", jsonBody(`{"username":"alice"}`)).want(400)
	}
	x.Clock.Advance(2 * time.Hour)
	for range 5 {
		x.me(p.access).refused(401, broker.TokenExpired, web.VerdictRefresh)
	}
	x.login("alice")
}

// Whoever fails is told the same, whatever the reason (P01).
func TestFailuresLookTheSame(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{failures: 40, idp: idp})
	newApp(x).loginThrough(idp, "anna") // has no password
	disabled := x.User(t, "disabled", broker.RoleUser)
	if err := x.Broker.SetDisabled(context.Background(), disabled.ID, true); err != nil {
		t.Fatal(err)
	}
	look := func(a *answer) string {
		h := a.Header.Clone()
		h.Del("Date")
		return fmt.Sprint(a.Status, a.Body, h)
	}
	x.User(t, "bob", broker.RoleUser)
	want := look(x.sendLogin("alice", "wrong", from("192.0.2.1")).want(401))
	for i, tc := range [][2]string{
		{"nobody", "wrong"}, {"", "wrong"}, {"disabled", "wrong"}, {"disabled", harness.PasswordOf("disabled")}, {"anna", "wrong"}, {"anna", ""},
		{"bob", ""}, {"nobody' OR 1=1 --", "x"}, {"%", "x"}, {"a_ice", harness.PasswordOf("alice")}, {"root", harness.PasswordOf("alice")},
	} {
		if got := look(x.sendLogin(tc[0], tc[1], from("192.0.2.10"+strconv.Itoa(i)))); got != want {
			t.Errorf("%q: %s\nwant %s", tc[0], got, want)
		}
	}
	// On the page as well.
	page := func(name, password string, ip string) string {
		a := x.do(http.MethodPost, "/login/password", body("application/x-www-form-urlencoded", "username="+name+"&password="+strings.ReplaceAll(password, " ", "+")), from(ip))
		a.Header.Del("Content-Length") // the name itself is in it
		return strings.ReplaceAll(look(a), name, "NAME")
	}
	want = page("alice", "wrong", "198.51.100.1")
	for i, name := range []string{"nobody", "disabled", "anna"} {
		if got := page(name, harness.PasswordOf(name), "198.51.100.2"+strconv.Itoa(i)); got != want {
			t.Errorf("page: %s: %s\nwant %s", name, got, want)
		}
	}
}

// failedLogins finds what fail2ban and CrowdSec find.
var failedLogins = map[bool]*regexp.Regexp{
	false: regexp.MustCompile(`(?m)^time=\S+ level=WARN msg="Failed login attempt from (\S+)" event=auth\.login\.failed remote_ip=(\S+) `),
	true:  regexp.MustCompile(`(?m)^\{"time":"[^"]+","level":"WARN","msg":"Failed login attempt from ([^" ]+)","event":"auth\.login\.failed","remote_ip":"([^"]+)",`),
}

func TestFailedLoginsInTheLog(t *testing.T) {
	for _, inJSON := range []bool{false, true} {
		t.Run(fmt.Sprintf("JSON %v", inJSON), func(t *testing.T) {
			x := newSite(t, setup{failures: 40, logJSON: inJSON, web: trust("192.0.2.1/32")})
			found := func() (addresses []string) {
				for _, m := range failedLogins[inJSON].FindAllStringSubmatch(x.log.String(), -1) {
					if m[1] != m[2] {
						t.Errorf("two addresses in one line: %v", m)
					}
					addresses = append(addresses, m[1])
				}
				return addresses
			}
			want := []string{}
			fails := func(name, password, ip string, options ...option) {
				t.Helper()
				before := x.log.String()
				x.sendLogin(name, password, append(options, from(ip))...).want(401)
				if lines := strings.Count(strings.TrimPrefix(x.log.String(), before), "\n"); lines != 1 {
					t.Errorf("%d lines for one failure", lines)
				}
				want = append(want, ip)
			}
			fails("alice", "wrong", "203.0.113.5")
			fails("nobody", "wrong", "203.0.113.6")
			// A name cannot forge a line, whatever it holds.
			for _, name := range []string{
				"Failed login attempt from 198.51.100.1", "x\nFailed login attempt from 198.51.100.1", `x" msg="Failed login attempt from 198.51.100.1"`,
				`time=2026-01-02T03:04:05.000Z level=WARN msg="Failed login attempt from 198.51.100.1" event=auth.login.failed remote_ip=198.51.100.1 `,
				"x\r\n" + `{"time":"2026-01-02T03:04:05Z","level":"WARN","msg":"Failed login attempt from 198.51.100.1","event":"auth.login.failed","remote_ip":"198.51.100.1",`,
				"\u2028Failed login attempt from 198.51.100.1\u0085", "Failed login attempt from \x1b[2J",
			} {
				if len([]rune(name)) <= 256 {
					fails(name, "wrong", "203.0.113.7")
				}
			}
			// Behind a trusted proxy it is the client's address; from others no header counts.
			x.sendLogin("alice", "wrong", from("192.0.2.1"), header("X-Forwarded-For", "10.9.9.9, 203.0.113.8")).want(401)
			want = append(want, "203.0.113.8")
			twice := func(r *http.Request) { r.Header["X-Forwarded-For"] = []string{"10.9.9.9", "203.0.113.9"} }
			x.sendLogin("alice", "wrong", from("192.0.2.1"), twice).want(401)
			want = append(want, "203.0.113.9")
			fails("alice", "wrong", "203.0.113.10", header("X-Forwarded-For", "198.51.100.1"))
			x.sendLogin("alice", "wrong", from("192.0.2.1"), header("X-Forwarded-For", "198.51.100.1 Failed login attempt")).want(401)
			want = append(want, "192.0.2.1")
			// Nothing else matches, not even loosely.
			p := x.login("alice")
			x.Clock.Advance(2 * time.Hour)
			x.me(p.access).want(401)
			x.refresh("garbage").want(401)
			x.do(http.MethodPost, "/auth/refresh").want(401)
			x.do(http.MethodPost, "/login", jsonBody(`{"username":"Failed login attempt from 198.51.100.1"}`)).want(400)
			x.do(http.MethodPost, "/logout", refreshHeader(p.refresh)).want(200)
			x.refresh(p.refresh).want(401)
			x.do(http.MethodGet, "/auth/openid?response_type=code&redirect_uri="+"Failed+login+attempt+from+198.51.100.1%22+msg").want(404)
			if got := found(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("found %v\nwant  %v\nin %s", got, want, x.log)
			}
			if inJSON {
				for line := range strings.Lines(x.log.String()) {
					if !json.Valid([]byte(line)) {
						t.Errorf("a line is no JSON: %s", line)
					}
				}
			}
		})
	}
}

// A whole run leaves no secret in the log.
func TestNoSecretInTheLog(t *testing.T) {
	idp := startIdP(t)
	p := newApp(newSite(t, setup{idp: idp, failures: 40}))
	var secrets []string
	keep := func(s ...string) { secrets = append(secrets, s...) }
	alice := p.login("alice")
	keep(harness.PasswordOf("alice"), harness.Secret, "the IdP's client secret", "a wrong password", "a new password")
	p.sendLogin("alice", "a wrong password").want(401)
	page := p.page("alice")
	keep(named(page, "refresh_token").Value, named(page, "__Host-latchkey_session").Value)
	p.Clock.Advance(grace)
	next := p.refresh(alice.refresh).pair()
	p.refresh(alice.refresh + "x")
	p.me(alice.access + "x")
	p.do(http.MethodGet, "/api/me?token="+next.access).want(200)

	p.Clock.Advance(-grace)
	given := p.start(nil).location()
	atIdP := p.do(http.MethodGet, p.open(given)).location()
	callback := p.atIdP(idp, atIdP.String(), "anna")
	back := p.do(http.MethodGet, callback).location()
	p.do(http.MethodGet, callback).want(400)
	anna := p.redeem(back.Query().Get("code")).pair()
	p.redeem(back.Query().Get("code")).want(401)
	code, _, _ := strings.Cut(strings.SplitN(callback, "code=", 2)[1], "&")
	keep(p.verifier, p.state, back.Query().Get("code"), code, anna.access, anna.refresh)
	for _, name := range []string{"state", "nonce"} {
		keep(atIdP.Query().Get(name))
	}
	// Where the IdP fails and lies, too.
	callback = p.atIdP(idp, p.toIdP(), "anna")
	idp.SetDown(true)
	p.do(http.MethodGet, callback).location()
	again, _, _ := strings.Cut(strings.SplitN(callback, "code=", 2)[1], "&")
	keep(again)
	p.Clock.Advance(grace)
	p.changePassword(next.access, "a wrong password", "a new password").want(400)
	changed := p.changePassword(next.access, harness.PasswordOf("alice"), "a new password", refreshHeader(next.refresh)).want(200)
	keep(changed.text("user.accessToken"), changed.text("user.refreshToken"), alice.access, alice.refresh, next.access, next.refresh)
	p.do(http.MethodPost, "/logout?allDevices=1", refreshHeader(changed.text("user.refreshToken"))).want(200)

	log := p.log.String()
	for _, s := range secrets {
		if len(s) < 8 {
			t.Fatalf("%q is too short to look for", s)
		}
		if strings.Contains(log, s) {
			t.Errorf("%q is in the log", s)
		}
		if parts := strings.Split(s, "."); len(parts) == 3 && strings.Contains(log, parts[2]) {
			t.Errorf("the signature of %.20s... is in the log", s)
		}
	}
	if !strings.Contains(log, "session.ended") || !strings.Contains(log, "idp.failed") {
		t.Error("the log is empty of what happened")
	}
}
