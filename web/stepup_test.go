package web_test

import (
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
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

// A form with nothing to type in promises to keep nothing.
func TestLogInAgainPromisesNothingWhereNothingIsTyped(t *testing.T) {
	x := linkStart(t, nil)
	tv := broker.Client{ID: "tv", GrantTypes: []string{broker.GrantDeviceCode}, TokenEndpointAuthMethod: broker.AuthNone}
	if _, _, err := x.Broker.CreateClient(t.Context(), tv); err != nil {
		t.Fatal(err)
	}
	x.idp.Script(func(s *providertest.Script) { s.SessionAge = time.Hour })
	b := x.through("p1", "anna")
	x.wait(6 * time.Minute)
	d := x.do(http.MethodPost, "/oauth2/device_authorization", form("client_id", "tv", "scope", "openid")).want(200)
	b.open(d.text("verification_uri_complete")).want(200).says("For this, log in again. You come back here.").saysNot("what you typed")
}

// So it is on every page: a form promises to keep what is typed where something is.
func TestLogInAgainPromisesToKeepWhatCanBeTyped(t *testing.T) {
	x, list := stepUpWorld(t)
	b := x.stolen("root")
	x.losesPassword("root")
	for _, g := range list {
		if g.asks == "let-in" || g.asks == "key" || g.asks == "profile" { // the first has a test of its own; the others ask now and then
			continue
		}
		at := g.path
		if b.send(http.MethodGet, at, htmlOnly).Status != http.StatusOK { // it only takes what is sent
			at = path.Dir(at)
		}
		b.open(at).want(200).promises(g.asks)
	}
	x, b, _ = officeAt(t)
	b.submit("/admin/providers/new", newPocket()...).want(303)
	x.Clock.Advance(6 * time.Minute)
	x.losesPassword("root")
	b.open("/admin/providers/pocket").want(200).promises("provider").promises("delete")
	b.open("/admin/providers/new?kind=pocketid&id=second&name=").want(200).promises("new-provider")
}

// losesPassword has somebody asked for a login anew, and for nothing else.
func (x *site) losesPassword(name string) {
	x.t.Helper()
	if _, err := x.Store.SetPassword(x.t.Context(), x.user(name).ID, nil, "", false, x.Clock.Now()); err != nil {
		x.t.Fatal(err)
	}
}

// promises looks at the form of the page that leads to a login anew, whether it
// promises to keep what is typed if, and only if, there is something to type.
func (a *answer) promises(asks string) *answer {
	a.t.Helper()
	root, err := html.Parse(strings.NewReader(a.Body))
	if err != nil {
		a.t.Fatal(err)
	}
	found := 0
	for _, button := range elements(root, "button") {
		if attr(button, "name") != "again" || attr(button, "value") != asks {
			continue
		}
		found++
		typed, text, f := false, strings.Builder{}, around(button, "form")
		for _, e := range elements(f, "input", "select", "textarea") {
			typed = typed || attr(e, "type") != "hidden"
		}
		if err := html.Render(&text, f); err != nil {
			a.t.Fatal(err)
		}
		says, bare := strings.Contains(plain(text.String()), "and what you typed is kept"), strings.Contains(plain(text.String()), "You come back here. ")
		if says != typed || bare == typed {
			a.t.Errorf("%s, %s: something can be typed: %t; it says %q", a.request, asks, typed, plain(text.String()))
		}
	}
	if found != 1 {
		a.t.Errorf("%s has %d forms %s", a.request, found, asks)
	}
	return a
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

// cors_origins may call the API; they send no form in a person's name.
func TestTrustedOriginSendsNoFormOfThePages(t *testing.T) {
	x := linkStart(t, nil)
	b := x.at("alice")
	for _, path := range []string{"/device", "/oauth2/consent", "/oauth2/logout/confirm", "/session/end"} {
		for what, from := range map[string]option{"an older browser": header("Origin", "https://app.example.org"), "a sibling": header("Sec-Fetch-Site", "same-site")} {
			a := b.send(http.MethodPost, path, form("user_code", "BCDF-GHJK", "decision", "allow", "id", "x"), header("Origin", "https://app.example.org"), from)
			if a.refused(403, broker.CrossSite, ""); b.whose() != "alice" {
				t.Fatalf("%s at %s", what, path)
			}
		}
	}
	b.send(http.MethodPost, "/session/end", form(), fromPage).want(303)
}

// A form whose session has ended leads back to the page that it was on, and to no
// other site's.
func TestEndedSessionOnAFormKeepsThePlace(t *testing.T) {
	x := linkStart(t, nil)
	for referer, next := range map[string]string{
		publicURL + "/device?user_code=BCDF-GHJK":   publicURL + "/device?user_code=BCDF-GHJK",
		"https://evil.test/device":                  "",
		publicURL + "/" + strings.Repeat("x", 4096): "",
	} {
		to := x.newBrowser().send(http.MethodPost, "/device", form("user_code", "BCDF-GHJK"), header("Referer", referer), fromPage).location()
		if to.Path != "/login" || to.Query().Get("next") != next {
			t.Errorf("%s leads to %s", referer, to)
		}
	}
}

// A hint of the client does not log in again whoever has just logged out.
func TestHintedIdPDoesNotUndoALogout(t *testing.T) {
	x := newProvider(t, setup{idp: startIdP(t)})
	b := x.byPassword("alice")
	b.post("/session/end").want(303)
	hinted := "/oauth2/authorize?" + request("web1", "https://rp1.test/cb", "idp_hint", "openid").Encode()
	if to := b.send(http.MethodGet, hinted).location(); to.Path != "/login" {
		t.Errorf("it leads to %s", to)
	}
	x.Clock.Advance(time.Minute)
	if to := x.newBrowser().send(http.MethodGet, hinted).location(); to.Path != "/auth/openid" {
		t.Errorf("whoever comes first is led to %s", to)
	}
}

// A reload of "Set a temporary password" would set another than the one that was
// passed on.
func TestReloadSetsNoSecondTemporaryPassword(t *testing.T) {
	x := linkStart(t, nil)
	b, path := x.at("root"), "/admin/users/"+x.user("alice").ID
	found := regexp.MustCompile(`name="ticket" value="([^"]+)"`).FindStringSubmatch(b.open(path).want(200).Body)
	if found == nil {
		t.Fatal("the form has no ticket")
	}
	b.send(http.MethodPost, path+"/password", form("by", "password", "ticket", found[1]), fromPage).want(200)
	set := x.user("alice").PasswordHash
	b.follow(b.send(http.MethodPost, path+"/password", form("by", "password", "ticket", found[1]), fromPage)).says("This form was sent already")
	if x.user("alice").PasswordHash != set {
		t.Error("another password was set")
	}
}

// A key would hand an administrator another one's account.
func TestAdministratorMakesNoKeyForAnother(t *testing.T) {
	x := linkStart(t, nil)
	admin, other := x.User(t, "admin", broker.RoleAdmin), x.User(t, "other", broker.RoleAdmin)
	if r := broker.RightsOver(admin, other); r.Keys || r.PasswordLink {
		t.Errorf("%+v", r)
	}
	if r := broker.RightsOver(x.user("root"), other); !r.Keys || !broker.RightsOver(other, other).Keys {
		t.Errorf("%+v", r)
	}
}

// The code that the door shows for support is in the log.
func TestCodeOfALateSecondStepIsInTheLog(t *testing.T) {
	x := newSite(t, setup{})
	x.byPassword("alice").enrols("alice")
	b := x.newBrowser()
	b.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
	x.Clock.Advance(6 * time.Minute)
	b.post("/login/second", "code", "000000").want(303)
	x.do(http.MethodPost, "/login/new-password", form("ticket", "x", "password", "three quiet words more")).want(303)
	b = x.byPassword("root")
	b.open("/admin/users/none")
	for _, want := range []string{"route=/login/second", "route=/login/new-password"} {
		if !strings.Contains(x.log.String(), want) {
			t.Errorf("no %s in the log", want)
		}
	}
}
