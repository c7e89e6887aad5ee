package web_test

import (
	"cmp"
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

const sessionCookie = "__Host-latchkey_session"

var htmlOnly = header("Accept", "text/html,application/xhtml+xml")

func form(values ...string) option {
	f := url.Values{}
	for i := 0; i < len(values); i += 2 {
		f.Set(values[i], values[i+1])
	}
	return body("application/x-www-form-urlencoded", f.Encode())
}

// says expects a page with texts, as a person reads them.
func (a *answer) says(texts ...string) *answer {
	a.t.Helper()
	if kind := a.Header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
		a.t.Errorf("%s: Content-Type %q", a.request, kind)
	}
	for _, text := range texts {
		if !strings.Contains(plain(a.Body), text) {
			a.t.Errorf("%s: does not say %q: %s", a.request, text, plain(a.Body))
		}
	}
	return a
}

func (a *answer) saysNot(texts ...string) *answer {
	a.t.Helper()
	for _, text := range texts {
		if strings.Contains(a.Body, text) || strings.Contains(plain(a.Body), text) {
			a.t.Errorf("%s: says %q: %s", a.request, text, a.Body)
		}
	}
	return a
}

var (
	tags   = regexp.MustCompile(`<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
	links  = regexp.MustCompile(`\s(?:href|src|action)="([^"]*)"`)
	input  = regexp.MustCompile(`<input[^>]*>`)
)

func plain(page string) string {
	return spaces.ReplaceAllString(html.UnescapeString(tags.ReplaceAllString(page, "")), " ")
}

func (a *answer) links() (out []string) {
	for _, m := range links.FindAllStringSubmatch(a.Body, -1) {
		out = append(out, html.UnescapeString(m[1]))
	}
	return out
}

func (a *answer) linksTo(target string) bool {
	for _, link := range a.links() {
		if link == target {
			return true
		}
	}
	return false
}

// pageLogin logs in by the form and returns the browser's cookies.
func (x *site) pageLogin(name string) []*http.Cookie {
	x.t.Helper()
	a := x.do(http.MethodPost, "/login/password", form("username", name, "password", harness.PasswordOf(name)))
	if to := a.location().String(); to != x.public+"/" || a.Status != http.StatusSeeOther {
		x.t.Fatalf("the login leads to %s with %d", to, a.Status)
	}
	return a.cookies
}

// idpLogin logs anna in through the IdP.
func (x *site) idpLogin(authorize func(ctx context.Context, at, user string) (string, error)) []*http.Cookie {
	x.t.Helper()
	begin := x.do(http.MethodGet, "/auth/openid?callback=/")
	callback, err := authorize(context.Background(), begin.location().String(), "anna")
	if err != nil {
		x.t.Fatal(err)
	}
	a := x.do(http.MethodGet, callback, cookies(begin.cookies))
	a.location()
	return a.cookies
}

func (x *site) setupToken() string {
	x.t.Helper()
	token, err := x.Broker.SetupToken(context.Background())
	if err != nil {
		x.t.Fatal(err)
	}
	return token
}

func (x *site) admins() (names []string) {
	x.t.Helper()
	users, _, err := x.Broker.PageUsers(context.Background(), broker.UserFilter{}, broker.Page{Limit: 100})
	if err != nil {
		x.t.Fatal(err)
	}
	for _, u := range users {
		if u.Role.IsAdmin() {
			names = append(names, u.Username)
		}
	}
	return names
}

func TestPageSetupWorksOnce(t *testing.T) {
	x := openSite(t, setup{})
	token := x.setupToken()
	link := "/setup?token=" + url.QueryEscape(token)
	x.do(http.MethodGet, "/setup").refused(403, broker.Forbidden, "").says("This setup link is not valid").saysNot("<form")
	x.do(http.MethodGet, "/setup?token=wrong").refused(403, broker.Forbidden, "").saysNot("<form")
	x.do(http.MethodPost, "/setup", form("token", "wrong", "username", "eve", "password", "a few words")).refused(403, broker.Forbidden, "").noCookies()
	x.do(http.MethodGet, "/setup", cookies(x.do(http.MethodGet, link).want(303).cookies)).want(200).says("Set up Latchkey", "This link works once.").noCookies()

	if to := x.do(http.MethodGet, link+"&ui_locales=de").want(303).location(); to.String() != publicURL+"/setup?ui_locales=de" {
		t.Errorf("the link in German leads to %s", to)
	}
	weak := x.do(http.MethodPost, "/setup", form("token", token, "username", "First <One>", "password", "sh0rt!!"))
	weak.refused(400, broker.WeakPassword, "").says("A password has at least 8 characters.", "weak_password").saysNot("sh0rt!!", "<One>").noCookies()
	if !strings.Contains(weak.Body, `value="First &lt;One&gt;"`) {
		t.Errorf("the name that was typed is gone: %s", weak.Body)
	}
	x.do(http.MethodPost, "/setup", form("token", token, "username", "no password")).want(400)

	done := x.do(http.MethodPost, "/setup", form("token", token, "username", "First", "password", "a few words"))
	if to := done.location().String(); to != publicURL+"/admin/setup" || done.Status != http.StatusSeeOther {
		t.Errorf("leads to %s with %d", to, done.Status)
	}
	x.do(http.MethodGet, "/", cookies(done.cookies)).want(200).says("Hello First", "root", "with a password")

	for _, again := range []*answer{
		x.do(http.MethodGet, link),
		x.do(http.MethodPost, "/setup", form("token", token, "username", "Second", "password", "a few words")),
		x.do(http.MethodPost, "/setup", form("token", x.setupToken(), "username", "Second", "password", "a few words")),
	} {
		again.refused(404, broker.SetupDone, "").says("This installation has an administrator already.").noCookies()
		if !again.linksTo(publicURL + "/login") {
			t.Errorf("no way to the login: %v", again.links())
		}
	}
	if got := x.admins(); len(got) != 1 || got[0] != "First" {
		t.Errorf("administrators %v", got)
	}
}

func TestPageSetupTwoAtOnce(t *testing.T) {
	x := openSite(t, setup{})
	token := x.setupToken()
	var wg sync.WaitGroup
	answers := make([]*answer, 6)
	for i := range answers {
		wg.Go(func() {
			answers[i], _ = x.try(http.MethodPost, "/setup", form("token", token, "username", fmt.Sprint("admin ", i), "password", "a few words"))
		})
	}
	wg.Wait()
	won := 0
	for _, a := range answers {
		switch {
		case a == nil:
			t.Error("no answer")
		case a.Status == http.StatusSeeOther:
			won++
		case a.Status == http.StatusForbidden: // its link was good when it came, and worth nothing a moment later
			a.noCookies()
		default:
			a.refused(404, broker.SetupDone, "").noCookies()
		}
	}
	if got := x.admins(); won != 1 || len(got) != 1 {
		t.Errorf("%d won, administrators %v", won, got)
	}
}

func TestPageLoginForm(t *testing.T) {
	x := newSite(t, setup{failures: 3})
	wrong := x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "hunter22", "next", "/account"))
	wrong.refused(401, broker.InvalidCredentials, "").noCookies().saysNot("hunter22").
		says("The username or the password is wrong.", "Code: invalid_credentials", "Error: Log in · Latchkey")
	if !strings.Contains(wrong.Body, `name="username" value="alice"`) || !strings.Contains(wrong.Body, `name="next" value="/account"`) {
		t.Errorf("what was typed and next are gone: %s", wrong.Body)
	}
	for _, field := range input.FindAllString(wrong.Body, -1) {
		if focus := strings.Contains(field, "autofocus"); focus != strings.Contains(field, `type="password"`) {
			t.Errorf("autofocus %v: %s", focus, field)
		}
	}
	// Of somebody who is not there, the same is said.
	nobody := x.do(http.MethodPost, "/login/password", form("username", "nobody", "password", "hunter22", "next", "/account"))
	if strings.ReplaceAll(nobody.Body, "nobody", "alice") != wrong.Body {
		t.Error("the page tells whether a user exists")
	}

	x.pageLogin("alice")
	if rows := x.sessions("alice", true); len(rows) != 1 {
		t.Errorf("%d sessions", len(rows))
	}
	for range 3 {
		x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "hunter22"))
	}
	limited := x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "hunter22")).want(429)
	limited.says("Too many failed attempts. Try again in ").noCookies()
	if limited.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	x.do(http.MethodPost, "/login/password", form("username", "a", "password", "b"), body("application/x-www-form-urlencoded", "username=a&username=b&password=c")).want(400)
}

func TestPageLoginFormSwitchedOff(t *testing.T) {
	x := newSite(t, setup{broker: func(c *broker.Config) { c.LocalLogin = false }})
	x.do(http.MethodGet, "/login").want(200).says("There is no way to log in yet").saysNot("<form")
	x.do(http.MethodPost, "/login/password", form("username", "alice", "password", harness.PasswordOf("alice"))).
		refused(403, broker.LocalLoginDisabled, "retry").noCookies()
}

// nexts are where a login may lead, and what must not.
var nexts = []struct{ next, to string }{
	{"", "/"},
	{"/account?tab=1#x", "/account?tab=1#x"},
	{publicURL + "/account", "/account"},
	{"https://evil.example/", "/"},
	{"//evil.example/", "/"},
	{"/\\evil.example/", "/"},
	{"\\\\evil.example/", "/"},
	{"/\t/evil.example/", "/"},
	{" https://evil.example/", "/"},
	{"https://id.example.org@evil.example/", "/"},
	{"https://id.example.org.evil.example/", "/"},
	{"http://id.example.org/", "/"},
	{"https:evil.example", "/"},
	{"javascript:alert(1)", "/"},
	{"data:text/html,x", "/"},
	{"account", "/"},
	{"/%5cevil.example", "/"},
	{"/%2f/evil.example", "/"},
	{"/\r\nX-Injected: yes", "/"},
}

func TestPageNextIsOfThisOrigin(t *testing.T) {
	x := newSite(t, setup{idp: startIdP(t)})
	browser := x.pageLogin("alice")
	for _, n := range nexts {
		done := x.do(http.MethodPost, "/login/password", form("username", "alice", "password", harness.PasswordOf("alice"), "next", n.next))
		if to := done.Header.Get("Location"); done.Status != http.StatusSeeOther || to != publicURL+n.to {
			t.Errorf("next %q: the form leads to %q with %d", n.next, to, done.Status)
		}
		there := x.do(http.MethodGet, "/login?next="+url.QueryEscape(n.next), cookies(browser))
		if to := there.Header.Get("Location"); there.Status != http.StatusSeeOther || to != publicURL+n.to {
			t.Errorf("next %q: whoever is logged in goes to %q with %d", n.next, to, there.Status)
		}
		page := x.do(http.MethodGet, "/login?next="+url.QueryEscape(n.next)).want(200)
		if !page.linksTo(publicURL + "/auth/openid?callback=" + url.QueryEscape(publicURL+n.to)) {
			t.Errorf("next %q: the IdP's button leads back to %v", n.next, page.links())
		}
		if done.Header.Get("X-Injected") != "" || n.to == "/" && n.next != "" && strings.Contains(page.Body, `name="next"`) {
			t.Errorf("next %q is kept: %s", n.next, page.Body)
		}
	}
}

func TestPageLoginOfWhoIsLoggedIn(t *testing.T) {
	x := newSite(t, setup{})
	browser := cookies(x.pageLogin("alice"))
	if to := x.do(http.MethodGet, "/login", browser).noCookies().location().String(); to != publicURL+"/" {
		t.Errorf("leads to %s", to)
	}
	for _, query := range []string{"switch=1", "ended=logged_out", "error=access_denied"} {
		page := x.do(http.MethodGet, "/login?next=/account&"+query, browser).want(200).noCookies().says("You are logged in as alice.", "Password")
		if !page.linksTo(publicURL + "/account") {
			t.Errorf("%s: no way on: %v", query, page.links())
		}
	}
	x.do(http.MethodGet, "/login").want(200).saysNot("You are logged in")
}

func TestPageLogOut(t *testing.T) {
	x := newSite(t, setup{})
	list := x.pageLogin("alice")
	x.do(http.MethodGet, "/", cookies(list)).want(200).says("Hello alice", "user", "just now, with a password")

	foreign := x.do(http.MethodPost, "/session/end", cookies(list), header("Origin", "https://evil.example"), header("Sec-Fetch-Site", "cross-site"))
	foreign.refused(403, broker.CrossSite, "").noCookies()
	if len(x.sessions("alice", true)) != 1 {
		t.Fatal("another site ended the session")
	}

	out := x.do(http.MethodPost, "/session/end", cookies(list))
	if to := out.location().String(); to != publicURL+"/login?ended=logged_out" || out.Status != http.StatusSeeOther {
		t.Errorf("leads to %s with %d", to, out.Status)
	}
	for _, name := range []string{"refresh_token", sessionCookie} {
		if c := out.cookie(name); c == nil || c.MaxAge >= 0 || c.Value != "" {
			t.Errorf("%s is not cleared: %v", name, c)
		}
	}
	x.do(http.MethodGet, "/login?ended=logged_out").want(200).says("You logged out on this device.").saysNot("alice", "Code:")
	if rows := x.sessions("alice", false); len(rows) != 1 || rows[0].EndCause != broker.LoggedOut {
		t.Errorf("sessions %+v", rows)
	}
	// Whoever kept the cookies has nothing.
	if to := x.do(http.MethodGet, "/", cookies(list)).location().String(); to != publicURL+"/login?ended=logged_out" {
		t.Errorf("leads to %s", to)
	}
	x.do(http.MethodPost, "/auth/refresh", cookies(list)).want(401)
	x.do(http.MethodPost, "/session/end").location() // nobody is logged in: no error
}

func TestPageLogOutAtTheIdPToo(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	list := x.idpLogin(idp.Authorize)
	home := x.do(http.MethodGet, "/", cookies(list)).want(200).says("Hello Anna", "through Test IdP")
	origin := strings.TrimSuffix(idp.Issuer(), "/")
	if csp := home.Header.Get("Content-Security-Policy"); strings.Contains(csp, "form-action") { // the IdP may lead on to hosts of its own
		t.Errorf("the form cannot lead to %s: %s", origin, csp)
	}
	out := x.do(http.MethodPost, "/session/end", cookies(list)).location()
	if !strings.HasPrefix(out.String(), origin+"/") || out.Query().Get("post_logout_redirect_uri") != publicURL+"/login" {
		t.Errorf("leads to %s", out)
	}
}

// anEnd is one way for a session to be over, and what its browser reads then.
type anEnd struct {
	cause       broker.Code
	end         func(x *site, userID, sessionID string) error
	full, plain string // with the session at hand, and with its cause alone
}

func endBy(cause broker.EndCause) func(*site, string, string) error {
	return func(x *site, _, id string) error {
		_, err := x.Broker.EndSessions(context.Background(), broker.SessionFilter{ID: id}, cause, false, "")
		return err
	}
}

func endByWaiting(days time.Duration) func(*site, string, string) error {
	return func(x *site, _, _ string) error { x.Clock.Advance(days * 24 * time.Hour); return nil }
}

const endedAt = "2 January 2026 at 03:14 UTC"

var ends = []anEnd{
	{broker.LoggedOut, endBy(broker.LoggedOut), "You logged out on this device.", ""},
	{broker.RevokedByUser, endBy(broker.RevokedByUser), "You ended this device from your account page on " + endedAt + ".", "You ended this device from your account page."},
	{broker.RevokedByAdmin, endBy(broker.RevokedByAdmin), "An administrator ended this device on " + endedAt + ".", "An administrator ended this device."},
	{
		broker.PasswordChanged, endBy(broker.PasswordChanged),
		"Your password was changed on " + endedAt + "; every device has to log in again.", "Your password was changed; every device has to log in again.",
	},
	{broker.SessionExpired, endByWaiting(30), "This device was not used for 30 days.", "This device was not used for a long time."},
	{broker.SessionMaxAge, endByWaiting(20), "This login reached its limit of 20 days.", "This login reached its age limit."},
	{broker.SessionLimit, endBy(broker.SessionLimit), "You logged in on more devices than are allowed; the one unused for longest was ended.", ""},
	{
		broker.TokenReused, endBy(broker.TokenReused),
		"Two devices used the same login, so it was ended for safety. If one of them was not you, change your password.", "",
	},
	{broker.CodeReused, endBy(broker.CodeReused), "This login was redeemed twice, so it was ended for safety.", ""},
	{broker.IdPLogout, endBy(broker.IdPLogout), "Test IdP ended your session there.", "Your identity provider ended your session there."},
	{
		broker.IdPRevoked, endBy(broker.IdPRevoked),
		"Test IdP says that your account may no longer log in.", "Your identity provider says that your account may no longer log in.",
	},
	{broker.ClientRemoved, endBy(broker.ClientRemoved), "The app that this login was for has been removed by an administrator.", ""},
	{broker.LinkUndone, endBy(broker.LinkUndone), "The link to the account that you logged in with was removed.", ""},
	{
		broker.UserDisabled, func(x *site, user, _ string) error { return x.Broker.SetDisabled(context.Background(), user, true) },
		"Your account was disabled by an administrator.", "",
	},
	{
		broker.UserDeleted, func(x *site, user, _ string) error { return x.Broker.DeleteUser(context.Background(), user) },
		"Your account was deleted by an administrator.", "",
	},
}

func TestPageSaysWhySessionEnded(t *testing.T) {
	idp := startIdP(t)
	for _, c := range ends {
		t.Run(string(c.cause), func(t *testing.T) {
			x := newSite(t, setup{idp: idp, broker: func(b *broker.Config) {
				if c.cause == broker.SessionMaxAge {
					b.Lifetimes.MaxAge = 20 * 24 * time.Hour
				}
			}})
			list := x.idpLogin(idp.Authorize)
			x.do(http.MethodGet, "/", cookies(list)).want(200)
			u, err := x.Broker.FindUser(context.Background(), "anna")
			if err != nil {
				t.Fatal(err)
			}
			x.Clock.Advance(10 * time.Minute)
			if err := c.end(x, u.ID, x.sessions("anna", false)[0].ID); err != nil {
				t.Fatal(err)
			}
			to := x.do(http.MethodGet, "/", cookies(list)).noCookies().location().String()
			if to != publicURL+"/login?ended="+string(c.cause) {
				t.Fatalf("leads to %s", to)
			}
			told := x.do(http.MethodGet, to, cookies(list)).want(200).says(c.full)
			if cleared := told.cookie(sessionCookie); cleared == nil || cleared.MaxAge >= 0 {
				t.Error("the dead cookie stays")
			}
			x.do(http.MethodGet, to).want(200).says(cmp.Or(c.plain, c.full)).noCookies()
		})
	}
	x := newSite(t, setup{})
	x.do(http.MethodGet, "/login?ended=something").want(200).saysNot("something", "role=\"status\"")
}
