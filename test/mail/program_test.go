package mail_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/providers/smtp"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/mail"
	"github.com/latchkey-id/latchkey/test/proc"
)

const serving = `
database_url: sqlite:%s
secret_key: %q
smtp: {host: 127.0.0.1, port: %d, tls: starttls, ca_file: %s, username: %s, password: %s, from: Latchkey <login@example.org>}
providers:
  - {id: openid, name: The IdP, issuer: %q, client_id: latchkey, client_secret: a secret of a test, provision: match, link_by: verified_email}
`

// program is the real one that serves, with a mail server and an identity provider
// beside it, and a broker of the test at the same database.
type program struct {
	*harness.Rig
	t      *testing.T
	served *proc.Latchkey
	mails  *server
	idp    *providertest.IdP
}

func newProgram(t *testing.T) *program {
	t.Helper()
	binary, port := filepath.Join(t.TempDir(), "latchkey"), proc.Port(t)
	if err := proc.Build(binary); err != nil {
		t.Fatal(err)
	}
	x, base := &program{t: t, mails: start(t, smtp.StartTLS, true)}, fmt.Sprintf("http://localhost:%d", port)
	x.idp = providertest.Start(t, providertest.Config{
		Users:   []providertest.User{{Subject: "1", Username: "dora", Email: address("dora"), EmailVerified: true}},
		Clients: []providertest.Client{{ID: "latchkey", Secret: "a secret of a test", RedirectURIs: []string{base + "/auth/openid/callback"}}},
	})
	database, ca := filepath.Join(t.TempDir(), "latchkey.db"), filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(x.mails.Cert), 0o600); err != nil {
		t.Fatal(err)
	}
	clock := harness.NewClock()
	clock.Set(time.Now().Add(-2 * time.Hour).Sub(clock.Now()))
	x.Rig = harness.NewAt(t, clock, "sqlite:"+database, func(c *broker.Config) { c.PublicURL = base })
	for _, name := range []string{"root", "anna", "carol", "dora"} {
		n := broker.NewUser{Username: name, Email: address(name), EmailVerified: true, Password: harness.PasswordOf(name)}
		if name == "root" {
			n.Role = broker.RoleRoot
		}
		if _, err := x.Broker.CreateUser(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	x.served = proc.Serve(t, binary, port, fmt.Sprintf(serving, database, harness.Secret, x.mails.Port, ca, mail.User, mail.Password, x.idp.Issuer()))
	return x
}

func address(name string) string { return name + "@example.org" }

// command runs the program with the configuration of the one that serves.
func (x *program) command(args ...string) {
	x.t.Helper()
	cmd := exec.CommandContext(x.t.Context(), x.served.Cmd.Path, args...)
	cmd.Dir, cmd.Env = x.served.Cmd.Dir, x.served.Cmd.Env
	if out, err := cmd.CombinedOutput(); err != nil {
		x.t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// browser is one of a person, which follows redirects of Latchkey.
func (x *program) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		x.t.Fatal(err)
	}
	follow := func(next *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(next.URL.String(), x.served.Base) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	browser := &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{}, CheckRedirect: follow}
	x.t.Cleanup(browser.CloseIdleConnections)
	return browser
}

// opened is what an address, or a form that is sent to it, comes to.
func opened(t *testing.T, browser *http.Client, at string, form ...string) (page string, where *url.URL) {
	t.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	var res *http.Response
	var err error
	if len(form) == 0 {
		res, err = browser.Get(at)
	} else {
		res, err = browser.PostForm(at, values)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if location := res.Header.Get("Location"); location != "" { // leads away
		res.Request.URL, err = res.Request.URL.Parse(location)
	}
	if err != nil || res.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s answered %d, %v: %s", at, res.StatusCode, err, text)
	}
	return string(text), res.Request.URL
}

// mailed is the subject of the n-th mail to somebody, and where it leads.
func (x *program) mailed(name string, n int) (subject, link string) {
	x.t.Helper()
	m := x.mails.To(x.t, address(name), n)[n-1]
	if m.From != "login@example.org" || len(m.To) != 1 || !m.Secure || m.User != mail.User {
		x.t.Errorf("%+v", m)
	}
	subject, link = m.Letter(x.t)
	if !strings.HasPrefix(link, x.served.Base+"/") {
		x.t.Fatalf("%s: no link of ours in\n%s", subject, m.Raw)
	}
	return subject, link
}

// chooses opens the link of a mail, chooses a password, and logs in with it.
func (x *program) chooses(name, link string) {
	x.t.Helper()
	browser, fresh := x.browser(), "a fresh password of "+name
	page, where := opened(x.t, browser, link)
	token := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(page)
	if token == nil || where.RawQuery != "" {
		x.t.Fatalf("%s asks for no password:\n%s", where, page)
	}
	opened(x.t, browser, where.String(), "token", token[1], "password", fresh)
	if _, where = opened(x.t, browser, x.served.Base+"/login/password", "username", name, "password", fresh, "next", "/account"); where.Path != "/account" {
		x.t.Errorf("%s is not let in with the new password, but led to %s", name, where)
	}
	res, err := browser.Get(link)
	if err != nil {
		x.t.Fatal(err)
	}
	if _ = res.Body.Close(); res.StatusCode < http.StatusBadRequest {
		x.t.Errorf("the link of %s works once more: %d", name, res.StatusCode)
	}
}

// What happens at a program that serves is mailed by it, through a mail server with
// TLS and a login, to whom it concerns, with a link that works.
func TestProgramSendsMails(t *testing.T) {
	x := newProgram(t)

	opened(t, x.browser(), x.served.Base+"/login/forgotten", "account", "anna")
	subject, link := x.mailed("anna", 1)
	if subject != "Choose a new password" {
		t.Error(subject)
	}
	x.chooses("anna", link)
	if subject, link = x.mailed("anna", 2); subject != "Your password was changed" || link != x.served.Base+"/account" {
		t.Error(subject, link)
	}

	x.command("user", "invite", "bo", "--email", address("bo"), "--mail")
	if subject, link = x.mailed("bo", 1); subject != "Your new account" {
		t.Error(subject)
	}
	x.chooses("bo", link)

	x.reuses("carol")
	if subject, link = x.mailed("carol", 1); subject != "A login of your account was ended" {
		t.Error(subject)
	}
	browser := x.browser()
	opened(t, browser, x.served.Base+"/login/password", "username", "carol", "password", harness.PasswordOf("carol"))
	if page, where := opened(t, browser, link); where.String() != link || !strings.Contains(page, "Two devices used the same login") {
		t.Errorf("%s leads to %s, and nothing there says what has ended:\n%s", link, where, page)
	}

	browser = x.browser()
	x.linksBy(browser, "dora")
	if subject, link = x.mailed("dora", 1); subject != "A login was linked to your account" {
		t.Error(subject)
	}
	if page, where := opened(t, browser, link); where.String() != link || !strings.Contains(page, "The IdP") {
		t.Errorf("%s leads to %s, and nothing there names the login:\n%s", link, where, page)
	}

	for name, want := range map[string]int{"root": 0, "anna": 2, "bo": 1, "carol": 1, "dora": 1} {
		if got := len(x.mails.To(t, address(name), want)); got != want {
			t.Errorf("%s got %d mails, want %d", name, got, want)
		}
	}
}

// reuses presents a refresh token that was replaced three times: somebody else has it.
func (x *program) reuses(name string) {
	x.t.Helper()
	stolen := x.Login(x.t, name)
	next := stolen
	for range 3 {
		var err error
		x.Clock.Advance(20 * time.Minute)
		if next, err = x.Broker.Refresh(x.t.Context(), next.RefreshToken.Reveal(), broker.AppClientID, broker.Device{IP: "192.0.2.1"}); err != nil {
			x.t.Fatal(err)
		}
	}
	ask, err := http.NewRequestWithContext(x.t.Context(), http.MethodPost, x.served.Base+"/auth/refresh", nil)
	if err != nil {
		x.t.Fatal(err)
	}
	ask.Header.Set("x-refresh-token", stolen.RefreshToken.Reveal())
	res, err := x.browser().Do(ask)
	if err != nil {
		x.t.Fatal(err)
	}
	_ = res.Body.Close()
	if code := res.Header.Get("Latchkey-Code"); code != string(broker.TokenReused) {
		x.t.Fatalf("the reuse is answered %d %s", res.StatusCode, code)
	}
}

// linksBy logs somebody in at the IdP, which links the login by the verified address.
func (x *program) linksBy(browser *http.Client, name string) {
	x.t.Helper()
	_, atIdP := opened(x.t, browser, x.served.Base+"/auth/openid?callback="+url.QueryEscape(x.served.Base+"/account"))
	callback, err := x.idp.Authorize(x.t.Context(), atIdP.String(), name)
	if err != nil {
		x.t.Fatal(err)
	}
	if page, where := opened(x.t, browser, callback); where.Path != "/account" {
		x.t.Fatalf("%s is not let in, but led to %s: %s", name, where, page)
	}
}
