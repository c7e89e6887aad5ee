package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/providers/providertest"
)

// again follows "Log in again" of a page to the IdP p1, where anna is, and back.
func (x *linkSite) again(b *browser, path string) *answer {
	x.t.Helper()
	page := b.open(path).want(200).says("Log in again")
	door := ""
	for _, to := range page.links() {
		if strings.Contains(to, "/login?switch=1") {
			door = to
		}
	}
	button := ""
	for _, to := range b.open(door).want(200).links() {
		if strings.Contains(to, "/auth/p1?") {
			button = to
		}
	}
	begun := b.send(http.MethodGet, button)
	if q := begun.location().Query(); q.Get("prompt") != "login" || q.Get("max_age") != "0" {
		x.t.Errorf("the IdP is asked %v", q)
	}
	return b.open(x.choose("p1", begun, "anna"))
}

// An IdP that keeps its own session answers with the auth_time of that one, unless
// it is asked for another login.
func TestLogInAgainIsNoDeadEndBesideAnIdPsOwnSession(t *testing.T) {
	for _, path := range []string{"/account/identities", "/account/password"} {
		x := linkStart(t, nil)
		x.idp.Script(func(s *providertest.Script) { s.SessionAge = time.Hour })
		b := x.through("p1", "anna")
		x.again(b, path).want(200).saysNot("Log in again", "without asking")
		b.link("p2").want(303)
	}
}

// One that does not heed it has its own way out, which the page names.
func TestLogInAgainInVainSaysToLogOutThere(t *testing.T) {
	x := linkStart(t, nil)
	x.idp.Script(func(s *providertest.Script) { s.SessionAge, s.IgnoreReauth = time.Hour, true })
	b := x.through("p1", "anna")
	b.open("/account/identities").saysNot("without asking")
	x.again(b, "/account/identities").says("p1 let you in without asking. Log out at p1 first, then log in again here.", "Log in again")
	x.again(b, "/account/password").says("Log out at p1 first")
}

// An IdP that says nothing of when somebody logged in there may have let in whoever
// sits at the machine.
func TestSilentLoginWithoutAuthTimeIsNoProof(t *testing.T) {
	x := linkStart(t, nil)
	x.idp.Script(func(s *providertest.Script) {
		s.EditIDToken = func(claims map[string]any) { delete(claims, "auth_time") }
	})
	b := x.through("p1", "anna")
	b.link("p2").want(400)
	x.again(b, "/account/identities").saysNot("Log in again")
	b.link("p2").want(303)
}
