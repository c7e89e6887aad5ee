package web_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
)

// stolen is the browser of somebody who logged in a while ago.
func (x *site) stolen(name string) *browser {
	x.t.Helper()
	b := x.inAs(name)
	x.Clock.Advance(6 * time.Minute)
	return b
}

func TestStolenCookieMakesItselfNoAPIKey(t *testing.T) {
	x := newSite(t, setup{})
	b := x.stolen("alice")
	b.open(keysPath).want(200).secure(false).contains(`id="proof-new-key"`)
	refused := b.makesKey("name", "Backup of the attic").refused(400, broker.LoginRequired, "").says("Give your password, or log in again")
	refused.contains(`id="proof-new-key-problem"`).contains(`value="Backup of the attic"`)
	wrong := b.makesKey("name", "Backup of the attic", "proof", "a guess of mine").refused(400, broker.WrongPassword, "").contains(`id="proof-new-key-problem"`)
	if strings.Contains(wrong.Body, "a guess of mine") {
		t.Error("the page says what was typed as a password")
	}
	if n := len(x.keysOf("alice")); n != 0 {
		t.Fatalf("%d keys", n)
	}
	b.makesKey("proof", harness.PasswordOf("alice")).key()
	// Who has just logged in is not asked.
	x.inAs("alice").open(keysPath).want(200).saysNot(`id="proof-new-key"`)
}

func TestStolenCookieMakesNobodyAnAdministrator(t *testing.T) {
	x := newSite(t, setup{})
	alice := x.user("alice")
	path, word := "/admin/users/"+alice.ID, harness.PasswordOf("root")
	b := x.stolen("root")
	profile := func(pairs ...string) []string {
		f := map[string]string{"username": "alice", "name": "", "email": "", "role": "user"}
		for i := 0; i < len(pairs); i += 2 {
			f[pairs[i]] = pairs[i+1]
		}
		out := []string{}
		for name, value := range f {
			out = append(out, name, value)
		}
		return out
	}
	for _, role := range []string{"admin", "root"} {
		b.sends(path, profile("role", role)...).refused(400, broker.LoginRequired, "").contains(`id="proof-profile-problem"`)
		for _, how := range []string{"invitation", "password", "provider"} {
			a := b.sends("/admin/users/new", "username", "mallory", "role", role, "how", how).refused(400, broker.LoginRequired, "")
			a.contains(`id="proof-new-user-problem"`).contains(`value="mallory"`)
		}
	}
	// By an address that is not alice's, somebody else would get her links, or be linked to her account.
	b.sends(path, profile("email", "mallory@evil.test", "emailVerified", "1")...).refused(400, broker.LoginRequired, "")
	b.sends(path, profile("email", "mallory@evil.test")...).refused(400, broker.LoginRequired, "")
	if u := x.user("alice"); u.Role != broker.RoleUser || u.Email != "" || u.UpdatedAt != alice.UpdatedAt {
		t.Errorf("%+v", u)
	}
	b.sends(path, profile("role", "admin", "proof", "wrong")...).refused(400, broker.WrongPassword, "").contains(`id="proof-profile-problem"`)
	// What makes nobody more is asked for nothing, whatever a password manager fills in.
	b.sends(path, profile("name", "Alice", "proof", "of another site")...).want(303)
	b.sends(path, profile("role", "admin", "proof", word)...).want(303)
	b.sends(path, profile("role", "admin", "name", "A.", "proof", "of another site")...).want(303)
	b.sends("/admin/users/new", "username", "carol", "role", "admin", "how", "provider", "proof", word).want(303)
	if x.user("alice").Role != broker.RoleAdmin || x.user("carol").Role != broker.RoleAdmin {
		t.Error("root's password did not do")
	}
}

func TestStolenCookieTakesNoAccount(t *testing.T) {
	x := newSite(t, setup{})
	x.Enrol(t, "alice")
	path, word := "/admin/users/"+x.user("alice").ID, harness.PasswordOf("root")
	b := x.stolen("root")
	before := x.user("alice")
	ticket := hidden(b.open(path).want(200).secure(false), "ticket")
	forms := map[string][]string{
		"password": {"/password", "by", "password", "ticket", ticket}, "factors": {"/reset-factors"},
	}
	b.sends(path+"/password", "by", "link").refused(400, broker.LoginRequired, "").contains(`id="proof-password-problem"`)
	for name, f := range forms {
		b.sends(path+f[0], f[1:]...).refused(400, broker.LoginRequired, "").contains(`id="proof-` + name + `-problem"`)
		b.sends(path+f[0], append(f[1:], "proof", "wrong")...).refused(400, broker.WrongPassword, "").contains(`id="proof-` + name + `-problem"`)
	}
	if u := x.user("alice"); u.PasswordHash != before.PasswordHash || !u.SecondFactor {
		t.Errorf("%+v", u)
	}
	b.sends(path+"/reset-factors", "proof", word).want(303)
	b.sends(path+"/password", "by", "link", "proof", word).want(200).secret()
	b.sends(path+"/password", "by", "password", "ticket", ticket, "proof", word).want(200).secret()
	if u := x.user("alice"); u.PasswordHash == before.PasswordHash || u.SecondFactor {
		t.Errorf("%+v", u)
	}
}

// The cookie of the JSON API makes access tokens: they may no more than the page.
func TestStolenCookieGoesNoWayRoundByTheAPI(t *testing.T) {
	x := newSite(t, setup{})
	x.Enrol(t, "alice")
	alice := "/api/users/" + x.user("alice").ID
	x.offAndDisabled()
	if _, _, err := x.Broker.CreateClient(t.Context(), broker.Client{ID: "shelf", Name: "Shelf", RedirectURIs: []string{"https://shelf.test/cb"}}); err != nil {
		t.Fatal(err)
	}
	off := "/api/users/" + x.user("off").ID
	keys := x.Broker.SigningKeys()
	idle := keys[slices.IndexFunc(keys, func(k broker.KeyState) bool { return !k.Signs })]
	program := x.login("root")
	mine := x.keyIDFor("root")
	b := x.stolen("root")
	taken := x.do(http.MethodPost, "/auth/refresh", cookie("refresh_token", b.jar["refresh_token"])).want(200).text("user.accessToken")
	asks := [][3]string{
		{http.MethodPost, "/api/api-keys", `{"name":"x"}`}, {http.MethodPost, "/api/api-keys", `{"name":"x","userId":"` + x.user("alice").ID + `"}`},
		{http.MethodPatch, "/api/api-keys/" + mine, `{"userId":"` + x.user("alice").ID + `"}`},
		{http.MethodPatch, alice, `{"role":"admin"}`}, {http.MethodPatch, alice, `{"password":"a password of the thief"}`},
		{http.MethodPatch, alice, `{"email":"mallory@evil.test","email_verified":true}`},
		{http.MethodPost, "/api/users", `{"username":"mallory","role":"root","password":"a password of the thief"}`},
		{http.MethodPost, alice + "/password-link", `{"purpose":"reset"}`}, {http.MethodDelete, alice + "/factors", ``},
		{http.MethodPatch, "/api/api-keys/" + x.keyOff("alice"), `{"isActive":true}`},
		{http.MethodPost, "/api/users", `{"username":"mallet","password":"a password of the thief"}`},
		{http.MethodPatch, off, `{"isActive":true}`}, {http.MethodPatch, off, `{"username":"renamed"}`}, {http.MethodPatch, off, `{"permissions":{"delete":true}}`},
		{http.MethodDelete, alice + "/identities/" + x.linkFor("alice"), ``}, {http.MethodPatch, alice + "/openid-unlink", ``}, {http.MethodDelete, off, ``},
		{http.MethodPost, "/api/clients", `{"client_id":"evil","client_name":"Evil","redirect_uris":["https://evil.test/cb"]}`},
		{http.MethodPut, "/api/clients/shelf", `{"client_name":"Shelf","redirect_uris":["https://evil.test/cb"]}`},
		{http.MethodPost, "/api/clients/shelf/secret", ``}, {http.MethodDelete, "/api/clients/shelf", ``},
		{http.MethodPost, "/api/keys/rotate", ``}, {http.MethodDelete, "/api/keys/" + idle.ID, ``},
		{http.MethodPost, "/api/sessions/end", `{"all":true}`}, // the last: it ends the program, too
	}
	before := x.state()
	for _, a := range asks {
		if got := x.do(a[0], a[1], bearer(taken), jsonBody(a[2])); got.Status != 400 || !strings.Contains(got.Body+got.Header.Get("Latchkey-Code"), "login_required") {
			t.Errorf("%s %s: %d %s", a[0], a[1], got.Status, got.Body)
		}
	}
	if x.state() != before {
		t.Error("something changed")
	}
	// What throws a thief out does it at once.
	x.do(http.MethodPost, "/api/sessions/end", bearer(taken), jsonBody(`{"userId":"`+x.user("alice").ID+`"}`)).want(200)
	x.do(http.MethodPatch, alice, bearer(taken), jsonBody(`{"isActive":false}`)).want(200)
	x.do(http.MethodPatch, alice, bearer(program.access), jsonBody(`{"isActive":true}`)).want(200)
	// A program that logged in itself has nothing to type, and does as before.
	for _, a := range asks {
		if got := x.do(a[0], a[1], bearer(program.access), jsonBody(a[2])); got.Status >= 300 {
			t.Errorf("%s %s by a program: %d %s", a[0], a[1], got.Status, got.Body)
		}
	}
}

// offAndDisabled makes the user off, who is disabled.
func (x *site) offAndDisabled() broker.User {
	x.t.Helper()
	off := x.User(x.t, "off", broker.RoleUser)
	if err := x.Broker.SetDisabled(x.t.Context(), off.ID, true); err != nil {
		x.t.Fatal(err)
	}
	return off
}

// linkFor links a login at a provider that is gone to somebody, and is its id.
func (x *site) linkFor(name string) string {
	x.t.Helper()
	at := x.Clock.Now()
	i := broker.Identity{Issuer: "https://p.test", Subject: name + " there", ProviderID: "p", UserID: x.user(name).ID, CreatedAt: at, LastUsedAt: at}
	if err := x.Store.InsertIdentity(x.t.Context(), i); err != nil {
		x.t.Fatal(err)
	}
	return i.ID()
}

// keyOff is the id of a new key of somebody that is switched off.
func (x *site) keyOff(name string) string {
	id, _ := x.keyFor(name, func(n *broker.NewAPIKey) { n.Disabled = true })
	return id
}

// keyIDFor is the id of a new key of somebody.
func (x *site) keyIDFor(name string) string {
	id, _ := x.keyFor(name, nil)
	return id
}

func TestGuessesOfAStolenCookieAreLimited(t *testing.T) {
	x := newSite(t, setup{failures: 3})
	b := x.stolen("alice")
	for range 3 {
		b.makesKey("proof", "a guess").refused(400, broker.WrongPassword, "")
	}
	b.makesKey("proof", harness.PasswordOf("alice")).refused(429, broker.RateLimited, "retry")
}

// Beside a second factor the password proves nothing, and a code proves once.
func TestStolenCookieAndPasswordDoNotStandInForTheSecondFactor(t *testing.T) {
	x := newSite(t, setup{})
	b := x.inAs("alice")
	app := b.enrols("alice")
	x.Clock.Advance(6 * time.Minute)
	b.open(keysPath).contains(`id="proof-new-key"`).says("Code of your second factor", "Log in again")
	b.makesKey("proof", harness.PasswordOf("alice")).refused(400, broker.LoginRequired, "").contains(`id="proof-new-key-problem"`)
	b.makesKey("proof", "000000").refused(400, broker.WrongPassword, "")
	code := app.At(t, 0)
	// What is refused for another reason uses no code up.
	b.makesKey("proof", code, "name", "").refused(400, broker.InvalidRequest, "")
	b.makesKey("proof", code).key()
	b.makesKey("proof", code).refused(400, broker.WrongPassword, "")
	if n := len(x.keysOf("alice")); n != 1 {
		t.Errorf("%d keys", n)
	}
	b.makesKey("proof", app.Recovery[0]).key()
}

// Whoever has no password logs in again at the IdP, and is back with what was typed;
// nobody else gets to see it.
func TestLogInAgainKeepsWhatWasTyped(t *testing.T) {
	x := linkStart(t, nil)
	x.idp.Script(func(s *providertest.Script) { s.SessionAge = time.Hour })
	b := x.through("p1", "anna")
	x.wait(6 * time.Minute)
	page := b.open(keysPath).want(200).says("Log in again", "what you typed is kept").saysNot("Make the key")
	sent := []string{"ticket", hidden(page, "ticket"), "name", "Nightly backup", "description", "of the attic", "scope", "latchkey:api", "expires", "never"}
	b.sends(keysPath, sent...).refused(400, broker.LoginRequired, "").says("Log in again and do this within five minutes.")
	to := b.sends(keysPath, append(sent, "again", "new-key", "proof", "a secret")...).want(303)
	kept := b.jar["__Host-latchkey_typed"]
	if kept == "" || strings.Contains(to.location().String(), "Nightly") {
		t.Fatalf("%q, %s", kept, to.location())
	}
	thief := x.at("mallory")
	thief.jar["__Host-latchkey_typed"] = kept
	thief.open(keysPath + "?again=1").want(200).saysNot("of the attic")
	button := ""
	for _, link := range b.follow(to).want(200).links() {
		if strings.Contains(link, "/auth/p1?") {
			button = link
		}
	}
	begun := b.send(http.MethodGet, button)
	if q := begun.location().Query(); q.Get("prompt") != "login" {
		t.Errorf("the IdP is asked %v", q)
	}
	back := b.follow(b.send(http.MethodGet, x.choose("p1", begun, "anna"))).want(200).secure(true)
	back.says("You have logged in again", "Make the key").contains(`value="Nightly backup"`).contains(`value="of the attic"`).saysNot("a secret")
	b.open(keysPath + "?again=1").saysNot(`value="of the attic"`) // once
	b.makesKey().key()
}

// An IdP that does not say when it asked has just let its person in all the same: that
// makes a key, and links nothing.
func TestJustLoggedInMakesAKeyWhereTheIdPSaysNoTime(t *testing.T) {
	x := linkStart(t, nil)
	x.idp.Script(func(s *providertest.Script) {
		s.EditIDToken = func(claims map[string]any) { delete(claims, "auth_time") }
	})
	b := x.through("p1", "anna")
	b.link("p2").refused(400, broker.LoginRequired, "")
	b.makesKey().key()
	x.wait(6 * time.Minute)
	b.makesKey().refused(400, broker.LoginRequired, "")
	if n := len(x.keysOf("anna")); n != 1 {
		t.Errorf("%d keys", n)
	}
}

// The office leads back to the very form, too.
func TestLogInAgainLeadsBackToTheFormOfTheOffice(t *testing.T) {
	x := newSite(t, setup{})
	b := x.inAs("root")
	b.enrols("root")
	x.Clock.Advance(6 * time.Minute)
	path := "/admin/users/" + x.user("alice").ID
	for form, f := range map[string][]string{
		"profile": {"", "username", "alice", "name", "Alice of the Lake", "role", "admin"}, "password": {"/password"},
	} {
		to := b.sends(path+f[0], append(f[1:], "again", form)...).want(303).location()
		if next := to.Query().Get("next"); to.Path != "/login" || next != publicURL+path+"?again=1" {
			t.Fatalf("it leads to %s", to)
		}
		back := b.open(path + "?again=1").want(200).says("You have logged in again")
		if got := strings.Contains(back.Body, `value="Alice of the Lake"`); got != (form == "profile") {
			t.Errorf("%s: the name stands there: %t", form, got)
		}
		if got := strings.Contains(back.Body, `<details class="ask act" open>`); got != (form == "password") {
			t.Errorf("%s: the form of the password is open: %t", form, got)
		}
	}
	to := b.sends("/admin/users/new", "username", "carol", "role", "admin", "how", "provider", "again", "new-user").want(303).location()
	if next := to.Query().Get("next"); next != publicURL+"/admin/users/new?again=1" {
		t.Errorf("it leads to %s", next)
	}
	b.open("/admin/users/new?again=1").want(200).contains(`value="carol"`)
}

// The rules of a provider can make anybody an administrator, or let them into another's
// account.
func TestStolenCookieConnectsNoProviderOfItsOwn(t *testing.T) {
	x, root, _ := officeAt(t)
	root.submit("/admin/providers/new", newPocket()...).want(303)
	x.Clock.Advance(6 * time.Minute)
	before, err := x.Broker.FindProvider(t.Context(), "pocket")
	if err != nil {
		t.Fatal(err)
	}
	evil := newPocket("id", "evil", "role_map", "all = admin")
	root.submit("/admin/providers/new", evil...).refused(400, broker.LoginRequired, "").contains(`id="proof-new-provider-problem"`).says("all = admin")
	root.submit("/admin/providers/pocket", newPocket("role_map", "all = admin")...).refused(400, broker.LoginRequired, "").contains(`id="proof-provider-problem"`)
	taken := x.do(http.MethodPost, "/auth/refresh", cookie("refresh_token", root.jar["refresh_token"])).want(200).text("user.accessToken")
	x.do(http.MethodPost, "/api/providers", bearer(taken), jsonBody(`{"id":"evil","issuer":"https://evil.test","client_id":"a"}`)).problem(400, broker.LoginRequired)
	if _, err := x.Broker.FindProvider(t.Context(), "evil"); broker.CodeOf(err) != broker.ProviderUnknown {
		t.Errorf("%v", err)
	}
	if p, err := x.Broker.FindProvider(t.Context(), "pocket"); err != nil || len(p.RoleMap) != len(before.RoleMap) {
		t.Errorf("%+v %v", p, err)
	}
	root.submit("/admin/providers/pocket/delete").refused(400, broker.LoginRequired, "").contains(`id="proof-delete-problem"`)
	x.do(http.MethodDelete, "/api/providers/pocket", bearer(taken)).problem(400, broker.LoginRequired)
	if _, err := x.Broker.FindProvider(t.Context(), "pocket"); err != nil {
		t.Error(err)
	}
	word := harness.PasswordOf("root")
	root.submit("/admin/providers/new", append(evil, "proof", word)...).want(303)
	root.submit("/admin/providers/pocket", newPocket("proof", word, "name", "Renamed")...).want(303)
	to := root.submit("/admin/providers/new", newPocket("id", "third", "again", "new-provider", "client_id", "a typed id")...).want(303).location()
	back := root.send("GET", to.Query().Get("next"), htmlOnly).want(200).says("You have logged in again").contains(`value="a typed id"`)
	if strings.Contains(back.Body, "the secret of pocket") {
		t.Error("a secret was kept")
	}
	root.submit("/admin/providers/evil/delete", "proof", word).want(303)

	// What a cookie has no room for is left out, and stays on the page as it is.
	long := strings.Repeat("a group of many\n", 400)
	to = root.submit("/admin/providers/pocket", newPocket("again", "provider", "client_id", "another id", "allowed_groups", long)...).want(303).location()
	root.send("GET", to.Query().Get("next"), htmlOnly).want(200).says("You have logged in again").contains(`value="another id"`).saysNot("a group of many")
}
