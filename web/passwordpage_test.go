package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// send posts a form of a page of the account, as the page itself does.
func (b *browser) sends(path string, pairs ...string) *answer {
	b.t.Helper()
	return b.send(http.MethodPost, path, form(pairs...), fromPage)
}

// S08: on the page, too, a changed password ends every session, and the browser
// goes on in a new one.
func TestS08PasswordOnThePage(t *testing.T) {
	x := newSite(t, setup{})
	b, phone := x.newBrowser(), x.login("alice")
	b.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
	page := b.open("/account/password").want(200).secure(false)
	page.says("Current password", "New password", "Every other device and app has to log in again", "This device stays logged in.")
	page.contains(`value="alice" autocomplete="username"`).contains(`autocomplete="current-password"`).contains(`autocomplete="new-password"`)
	before := b.jar["__Host-latchkey_session"]
	const fresh = "three quiet words more"
	b.sends("/account/password", "username", "alice", "current", "wrong", "password", fresh).refused(400, broker.WrongPassword, "").
		says("The current password is wrong.").contains(`id="current-problem"`).saysNot(fresh, `value="wrong"`)
	b.sends("/account/password", "username", "alice", "current", harness.PasswordOf("alice"), "password", "alice").refused(400, broker.WeakPassword, "").
		says("A password has at least 8 characters.").contains(`id="password-problem"`).saysNot(harness.PasswordOf("alice"))
	b.sends("/account/password", "current", harness.PasswordOf("alice")).refused(400, broker.InvalidRequest, "")
	b.sends("/account/password", "current", harness.PasswordOf("alice"), "password", fresh, "user", "root").refused(400, broker.InvalidRequest, "")
	x.refresh(phone.refresh).pair()
	done := b.sends("/account/password", "username", "alice", "current", harness.PasswordOf("alice"), "password", fresh).want(303)
	b.follow(done).want(200).says("Your password is changed.")
	if b.jar["__Host-latchkey_session"] == before || b.whose() != "alice" {
		t.Error("the browser is not in a new session")
	}
	x.refresh(phone.refresh).want(401)
	x.sendLogin("alice", harness.PasswordOf("alice")).want(401)
	x.sendLogin("alice", fresh).want(200)
	if strings.Contains(x.log.String(), fresh) || strings.Contains(done.location().String(), "quiet") {
		t.Error("the password is in the log or an address")
	}
}

// CSRF: nobody changes alice's password from another site, and a form names no
// other user.
func TestPasswordPageCSRF(t *testing.T) {
	x := newSite(t, setup{})
	b := x.newBrowser()
	b.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
	data := form("username", "root", "current", harness.PasswordOf("alice"), "password", "three quiet words more")
	for _, from := range crossSite {
		b.send(http.MethodPost, "/account/password", append(from, data)...).refused(403, broker.CrossSite, "")
	}
	x.newBrowser().send(http.MethodPost, "/account/password", data, fromPage).location()
	x.sendLogin("alice", harness.PasswordOf("alice")).want(200)
	b.send(http.MethodPost, "/account/password", data, fromPage).want(303)
	x.sendLogin("root", harness.PasswordOf("root")).want(200) // the field is for password managers alone
}

// crossSite is how browsers send what is not from a page of ours.
var crossSite = map[string][]option{
	"another site":         {header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.test")},
	"a sibling domain":     {header("Sec-Fetch-Site", "same-site"), header("Origin", "https://evil.example.org")},
	"an older browser":     {header("Origin", "https://evil.test")},
	"a typed address":      {header("Sec-Fetch-Site", "none")},
	"a hidden origin":      {header("Origin", "null")},
	"nobody says where of": {},
}

// Whoever has no password sets one after a recent login, and else is led to it.
func TestFirstPasswordOnThePage(t *testing.T) {
	x := linkStart(t, nil)
	b := x.through("p1", "anna")
	b.open("/account/password").want(200).says("Your account has no password yet", "Set the password").saysNot("Current password")
	x.wait(6 * time.Minute)
	b.open("/account/password").want(200).says("log in again in the way that you have used for longest").saysNot("New password")
	const fresh = "three quiet words more"
	b.sends("/account/password", "password", fresh).refused(400, broker.WrongPassword, "")
	b = x.through("p1", "anna")
	b.follow(b.sends("/account/password", "password", fresh)).want(200).says("Your password is set.", "Current password")
	x.sendLogin("anna", fresh).want(200)
}

// Where there is no password to change, the page says so.
func TestPasswordPageWithoutAForm(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "kiosk", broker.RoleGuest)
	b := x.newBrowser()
	b.post("/login/password", "username", "kiosk", "password", harness.PasswordOf("kiosk")).want(303)
	b.open("/account/password").want(200).says("This account is a guest's.").saysNot("New password")
	b.sends("/account/password", "current", harness.PasswordOf("kiosk"), "password", "three quiet words more").refused(403, broker.Forbidden, "")

	idp := startIdP(t)
	off := newSite(t, setup{idp: idp, broker: func(c *broker.Config) { c.LocalLogin = false }})
	list := cookies(off.idpLogin(idp.Authorize))
	off.do(http.MethodGet, "/account/password", list).want(200).says("Logging in with a password is switched off here").saysNot("New password")
	off.do(http.MethodPost, "/account/password", list, form("password", "three quiet words more"), fromPage).refused(403, broker.LocalLoginDisabled, web.VerdictRetry)
}
