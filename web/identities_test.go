package web_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// linkSite has two IdPs, p1 and p2, that know anna and mallory; alice, mallory
// and root have passwords here, and nothing is linked.
type linkSite struct {
	*idpSite
	idps    map[string]*providertest.IdP
	idpTime *harness.Clock
}

func linkStart(t testing.TB, change func(*broker.Provider)) *linkSite {
	t.Helper()
	x := &linkSite{idpSite: &idpSite{}, idps: map[string]*providertest.IdP{}, idpTime: harness.NewClock()}
	for _, id := range []string{"p1", "p2"} {
		x.idps[id] = providertest.Start(t, providertest.Config{
			Now: x.idpTime.Now,
			Users: []providertest.User{
				{Subject: "s-anna", Username: "anna", Name: "Anna", Email: "anna@example.org", EmailVerified: true, Groups: []string{}},
				{Subject: "s-mallory", Username: "mallory", Name: "Mallory", Email: "mallory@evil.test", EmailVerified: true},
			},
			Clients: []providertest.Client{{ID: "latchkey", TokenAuth: "none", RedirectURIs: []string{publicURL + "/auth/" + id + "/callback"}}},
		})
	}
	x.idp = x.idps["p1"]
	x.site = openSite(t, setup{
		broker: func(c *broker.Config) {
			c.Clients = testClients(t)
			for _, id := range []string{"p1", "p2"} {
				p := broker.Provider{
					ProviderSettings: broker.ProviderSettings{ID: id, Name: id, Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailIfPresent},
					IdP:              oidc.New(oidc.Config{Issuer: x.idps[id].Issuer(), ClientID: "latchkey", TokenEndpointAuth: "none", Now: c.Now}),
				}
				if change != nil {
					change(&p)
				}
				c.Providers = append(c.Providers, p)
			}
		},
		web: func(c *web.Config) { c.CORSOrigins = []string{"https://app.example.org"} },
	})
	for name, role := range map[string]broker.Role{"alice": broker.RoleUser, "mallory": broker.RoleUser, "root": broker.RoleRoot} {
		x.User(t, name, role)
	}
	return x
}

// wait lets time pass, here and at the IdPs.
func (x *linkSite) wait(d time.Duration) {
	x.Clock.Advance(d)
	x.idpTime.Advance(d)
}

// fromPage is what a browser says of a form of the page itself.
var fromPage = header("Sec-Fetch-Site", "same-origin")

// at is a browser in which somebody has just logged in with a password.
func (x *linkSite) at(name string) *browser {
	x.t.Helper()
	b := x.newBrowser()
	b.post("/login/password", "username", name, "password", harness.PasswordOf(name)).want(303)
	return b
}

// link begins a link by hand.
func (b *browser) link(provider string, pairs ...string) *answer {
	b.t.Helper()
	return b.send(http.MethodPost, "/account/identities/link", form(append([]string{"provider", provider}, pairs...)...), fromPage)
}

// choose is the person at the IdP; it returns the callback.
func (x *linkSite) choose(provider string, begun *answer, who string) string {
	x.t.Helper()
	callback, err := x.idps[provider].Authorize(context.Background(), begun.location().String(), who)
	if err != nil {
		x.t.Fatal(err)
	}
	return callback
}

// links is a whole link by hand.
func (x *linkSite) links(b *browser, provider, who string) {
	x.t.Helper()
	a := b.send(http.MethodGet, x.choose(provider, b.link(provider), who))
	if to := a.location().String(); to != publicURL+"/account/identities?done=linked" {
		x.t.Fatalf("the link leads to %s", to)
	}
	x.wait(time.Second) // links are listed by their time
}

// through is a browser in which somebody has just logged in through an IdP.
func (x *linkSite) through(provider, who string) *browser {
	x.t.Helper()
	b := x.newBrowser()
	begun := b.send(http.MethodGet, "/auth/"+provider+"?callback=/")
	b.send(http.MethodGet, x.choose(provider, begun, who)).location()
	x.wait(time.Second)
	return b
}

// whose is who is logged in in a browser, or "".
func (b *browser) whose() string {
	b.t.Helper()
	a := b.send(http.MethodPost, "/auth/refresh")
	name, _ := a.at("user.username")
	text, _ := name.(string)
	return text
}

func (x *site) user(name string) broker.User {
	x.t.Helper()
	u, err := x.Broker.FindUser(context.Background(), name)
	if err != nil {
		x.t.Fatal(err)
	}
	return u
}

// linkedTo is what is linked to a user, as provider and subject.
func (x *linkSite) linkedTo(name string) []string {
	x.t.Helper()
	list, err := x.Broker.Identities(context.Background(), x.user(name).ID)
	if err != nil {
		x.t.Fatal(err)
	}
	out := []string{}
	for _, i := range list {
		out = append(out, i.ProviderID+" "+i.Subject)
	}
	return out
}

func (x *linkSite) wantLinked(name string, want ...string) {
	x.t.Helper()
	if got := x.linkedTo(name); !slices.Equal(got, append([]string{}, want...)) {
		x.t.Errorf("linked to %s: %v, want %v", name, got, want)
	}
}

// mine is the list that the JSON API gives.
func (x *linkSite) mine(access string) (list []map[string]any) {
	x.t.Helper()
	found, _ := x.do(http.MethodGet, "/api/me/identities", bearer(access)).want(200).at("identities")
	for _, one := range found.([]any) {
		list = append(list, one.(map[string]any))
	}
	return list
}

func (x *linkSite) events(name string) int {
	x.t.Helper()
	list, err := x.Broker.Events(context.Background(), broker.EventFilter{Name: name, Limit: 100})
	if err != nil {
		x.t.Fatal(err)
	}
	return len(list)
}

func TestLinkByHand(t *testing.T) {
	x := linkStart(t, nil)
	b := x.at("alice")
	b.open("/account/identities").want(200).says("No login of an identity provider is linked", "Link a login of p1").secure(true)
	begun := b.link("p1").want(303)
	// Whoever is still logged in at the IdP is asked again.
	if q := begun.location().Query(); q.Get("prompt") != "login" {
		t.Errorf("the IdP is asked %v", q)
	}
	before := x.tally()
	done := b.send(http.MethodGet, x.choose("p1", begun, "anna"))
	if done.Status != 302 || len(done.cookies) != 1 || done.cookies[0].MaxAge >= 0 {
		t.Errorf("%d, cookies %v", done.Status, done.cookies)
	}
	if after := x.tally(); after != (idpTally{before.users, before.identities + 1, before.sessions}) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	x.wantLinked("alice", "p1 s-anna")
	if n := x.events(broker.EventIdentityLinked); n != 1 {
		t.Errorf("%d events", n)
	}
	b.follow(done).want(200).says("p1", "anna", "you linked it", "Undo this link")
	if who := x.through("p1", "anna").whose(); who != "alice" {
		t.Errorf("the identity logs %q in", who)
	}
	// Again is no error, and nothing happens.
	told := x.user("alice").Notice
	x.wait(time.Minute)
	x.links(b, "p1", "anna")
	if x.wantLinked("alice", "p1 s-anna"); x.events(broker.EventIdentityLinked) != 1 || x.user("alice").Notice != told {
		t.Error("it was linked twice")
	}
	// A second one of another provider, and of the same.
	x.links(b, "p2", "anna")
	x.links(b, "p1", "mallory")
	x.wantLinked("alice", "p1 s-anna", "p2 s-anna", "p1 s-mallory")
}

// A program with a page session is answered in JSON.
func TestLinkByHandInJSON(t *testing.T) {
	x := linkStart(t, nil)
	b, p := x.at("alice"), x.login("alice")
	accept := header("Accept", "application/json")
	a := b.send(http.MethodPost, "/account/identities/link", jsonBody(`{"provider":"p1"}`), accept, fromPage).want(200)
	callback, err := x.idp.Authorize(context.Background(), a.text("redirect_url"), "anna")
	if err != nil {
		t.Fatal(err)
	}
	b.send(http.MethodGet, callback).location()
	x.wantLinked("alice", "p1 s-anna")
	// An access token is no page session.
	x.do(http.MethodPost, "/account/identities/link", jsonBody(`{"provider":"p1"}`), accept, fromPage, bearer(p.access)).want(401)
}

// An administrator's account is linked by hand, though never by an address.
func TestLinkByHandOfAnAdministrator(t *testing.T) {
	x := linkStart(t, func(p *broker.Provider) { p.RoleMap = map[string]broker.Role{"x": broker.RoleGuest} })
	x.links(x.at("root"), "p1", "anna")
	x.wantLinked("root", "p1 s-anna")
	if x.user("root").Role != broker.RoleRoot {
		t.Error("root is root no more")
	}
}

// The notice is on every device, and ends.
func TestNoticeOfALink(t *testing.T) {
	x := linkStart(t, nil)
	phone, other := x.login("alice"), x.at("alice")
	if _, there := x.me(phone.access).want(200).at("notice"); there {
		t.Error("there is a notice of nothing")
	}
	other.open("/").want(200).saysNot("was linked")
	at := x.Clock.Now()
	x.links(x.at("alice"), "p1", "anna")
	const message = "A login of p1 was linked to your account on 2 January 2026 at 03:04 UTC. If that was not you, undo it."
	told := func(a *answer) {
		t.Helper()
		n, _ := a.want(200).at("notice")
		got, _ := n.(map[string]any)
		if got["code"] != "identity.linked" || got["at"] != float64(at.UnixMilli()) || got["until"] != float64(at.Add(7*24*time.Hour).UnixMilli()) ||
			got["detail"] != "p1" || got["message"] != message {
			t.Errorf("%s: notice %v", a.request, n)
		}
	}
	told(x.me(phone.access))
	told(x.do(http.MethodPost, "/api/authorize", bearer(phone.access)))
	refreshed := x.refresh(phone.refresh)
	told(refreshed)
	told(x.sendLogin("alice", harness.PasswordOf("alice")))
	told(other.send(http.MethodPost, "/auth/refresh"))
	other.open("/").says(message, "Undo")
	x.do(http.MethodGet, "/api/me", bearer(x.login("mallory").access)).want(200).saysNotOf("notice")
	// What an administrator changes leaves it alone.
	if _, err := x.Broker.UpdateUser(context.Background(), x.user("alice").ID, broker.UserChange{Name: new("New")}); err != nil {
		t.Fatal(err)
	}
	told(x.refresh(phone.refresh))
	x.wait(7*24*time.Hour - 2*time.Second)
	told(x.refresh(refreshed.pair().refresh))
	x.wait(time.Second)
	if _, there := x.refresh(refreshed.pair().refresh).want(200).at("notice"); there {
		t.Error("the notice has no end")
	}
	other.open("/").saysNot("was linked", "Undo")
}

// Whoever came by a link sets up a factor to have the notice of the link gone.
func TestFactorDoesNotHideTheNoticeOfALink(t *testing.T) {
	x := linkStart(t, nil)
	x.links(x.at("alice"), "p1", "anna")
	app, _ := x.Enrol(t, "alice")
	b := x.at("alice")
	b.post("/login/second", "code", app.Recovery[0]).want(303)
	b.open("/").says("A login of p1 was linked to your account", "Undo")
	if n := x.events(broker.EventRecoveryUsed); n != 1 {
		t.Errorf("%d events", n)
	}
}

// saysNotOf expects a JSON answer without a field.
func (a *answer) saysNotOf(field string) {
	a.t.Helper()
	if v, there := a.at(field); there {
		a.t.Errorf("%s: %s is %v", a.request, field, v)
	}
}

// Nobody who is new is told of a link.
func TestNoNoticeForANewAccount(t *testing.T) {
	x := linkStart(t, nil)
	b := x.through("p1", "anna")
	b.send(http.MethodPost, "/auth/refresh").want(200).saysNotOf("notice")
	b.open("/").saysNot("was linked")
}

func TestLinkNeedsARecentLogin(t *testing.T) {
	x := linkStart(t, nil)
	b := x.at("alice")
	x.wait(5*time.Minute + time.Second)
	b.link("p1").refused(400, broker.LoginRequired, "").says("Give your password, or log in again", "Your password")
	b.link("p1", "proof", "wrong").refused(400, broker.WrongPassword, "").says("The current password is wrong")
	begun := b.link("p1", "proof", harness.PasswordOf("alice")).want(303)
	// The other side may take as long as a login may.
	x.wait(9 * time.Minute)
	b.send(http.MethodGet, x.choose("p1", begun, "anna")).want(302)
	x.wantLinked("alice", "p1 s-anna")
	// An old login at an IdP is no recent login here (auth_time).
	x.idp.Script(func(s *providertest.Script) { s.SessionAge = time.Hour })
	c := x.through("p1", "anna")
	c.link("p2").refused(400, broker.LoginRequired, "")
	c.send(http.MethodPost, "/account/identities/unlink", form("id", x.mine(x.login("alice").access)[0]["id"].(string)), fromPage).refused(400, broker.LoginRequired, "")
}

// What an IdP takes somebody for who was logged in there before may be somebody
// else: where it says so, nothing is linked.
func TestLingeringSessionAtTheIdPIsNotLinked(t *testing.T) {
	x := linkStart(t, nil)
	x.idp.Script(func(s *providertest.Script) { s.SessionAge, s.IgnoreReauth = time.Hour, true })
	b := x.at("alice")
	b.send(http.MethodGet, x.choose("p1", b.link("p1"), "mallory")).refused(400, broker.LoginRequired, "").
		says("P1 did not ask you to log in; log out there and begin again.", "Your logins")
	x.wantLinked("alice")
}

// The provider's rules hold for a link as they do for a login.
func TestLinkHeedsTheProvidersRules(t *testing.T) {
	x := linkStart(t, func(p *broker.Provider) { p.AllowedGroups = []string{"staff"} })
	b := x.at("alice")
	b.send(http.MethodGet, x.choose("p1", b.link("p1"), "anna")).refused(403, broker.GroupNotAllowed, "").says("Your groups at p1 may not log in here.", "Your logins")
	b.send(http.MethodGet, x.choose("p1", b.link("p1"), "")).refused(403, broker.AccessDenied, "")
	x.wantLinked("alice")
	b.link("p9").refused(404, broker.ProviderUnknown, "")
}

func TestGuestsDoNotLink(t *testing.T) {
	x := linkStart(t, nil)
	x.User(t, "kiosk", broker.RoleGuest)
	x.at("kiosk").link("p1").refused(403, broker.Forbidden, "")
}

// Whoever became a guest by a link undoes it, and unlinks nothing else.
func TestGuestUndoesTheLinkThatMadeOne(t *testing.T) {
	x := linkStart(t, func(p *broker.Provider) {
		if p.ID == "p2" {
			p.RoleMap, p.DefaultRole = map[string]broker.Role{"x": broker.RoleUser}, broker.RoleGuest
		}
	})
	alice := x.at("alice")
	x.links(alice, "p1", "anna")
	x.links(alice, "p2", "anna")
	if role := x.user("alice").Role; role != broker.RoleGuest {
		t.Fatal(role)
	}
	undo := func(provider string) *answer {
		t.Helper()
		list, err := x.Store.IdentitiesOfUser(context.Background(), x.user("alice").ID)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(i broker.Identity) bool { return i.ProviderID == provider })
		return alice.send(http.MethodPost, "/account/identities/unlink", form("id", list[i].ID()), fromPage)
	}
	undo("p2").want(303)
	if role := x.user("alice").Role; role != broker.RoleUser {
		t.Error(role)
	}
	x.wantLinked("alice", "p1 s-anna")
	x.links(alice, "p2", "anna")
	x.wait(8 * 24 * time.Hour)
	alice = x.at("alice")
	undo("p2").refused(403, broker.Forbidden, "")
}

// S08: an unlinking ends what was made through the identity, on every face, and
// nothing else; within the seven days and after.
func TestS08UnlinkEndsItsSessions(t *testing.T) {
	for name, days := range map[string]int{"undone": 1, "unlinked": 8} {
		t.Run(name, func(t *testing.T) {
			x := linkStart(t, nil)
			desk := x.at("alice")
			x.links(desk, "p1", "anna")
			x.links(desk, "p2", "anna")
			phone := x.login("alice")
			evil := x.through("p1", "anna")
			kept := x.through("p2", "anna")
			mallory := x.login("mallory")
			atClient := x.redeem("nat1", "app.one:/oauth", x.codeFor(evil, "nat1", "app.one:/oauth")).granted()
			p := newApp(x.site)
			p.provider = "p1"
			app := p.loginThrough(x.idp, "anna")
			x.wait(time.Duration(days) * 24 * time.Hour)

			phone = x.refresh(phone.refresh).pair()
			id := x.mine(phone.access)[0]["id"].(string)
			path := "/api/me/identities/" + id
			x.do(http.MethodDelete, path, bearer(phone.access)).refused(400, broker.LoginRequired, "")
			x.do(http.MethodDelete, path, bearer(phone.access), jsonBody(`{"password":"wrong"}`)).refused(400, broker.WrongPassword, "")
			x.do(http.MethodDelete, path, bearer(x.login("mallory").access)).refused(404, broker.NotFound, "") // nobody else's
			x.wantLinked("alice", "p1 s-anna", "p2 s-anna")
			if a := x.do(http.MethodDelete, path, bearer(phone.access), jsonBody(`{"password":"`+harness.PasswordOf("alice")+`"}`)).want(200); a.Body != "OK" {
				t.Errorf("%q", a.Body)
			}
			x.wantLinked("alice", "p2 s-anna")
			x.refresh(app.refresh).refused(401, broker.LinkUndone, web.VerdictLogin)
			x.me(app.access).want(401)
			x.refreshAt("nat1", atClient.refresh).oauthError(400, "invalid_grant")
			if code := evil.send(http.MethodPost, "/auth/refresh").Header.Get("Latchkey-Code"); code != string(broker.LinkUndone) {
				t.Errorf("the browser is told %s", code)
			}
			evil.open("/").want(200).says("The link to the account that you logged in with was removed.")
			for _, live := range []*browser{desk, kept} {
				if who := live.whose(); who != "alice" {
					t.Errorf("%q", who)
				}
			}
			x.refresh(phone.refresh).pair()
			x.refresh(mallory.refresh).pair()
			x.do(http.MethodDelete, path, bearer(x.login("alice").access)).refused(404, broker.NotFound, "") // once
			if x.events(broker.EventIdentityUnlinked) != 1 {
				t.Error("no event")
			}
		})
	}
}

// The page does the same, and tells of its own end where it ends.
func TestUnlinkOnThePage(t *testing.T) {
	x := linkStart(t, nil)
	b := x.at("alice")
	x.links(b, "p1", "anna")
	page := b.open("/").want(200).says("Undo")
	// Somebody who has been logged in for long is asked for the password first.
	x.wait(time.Hour)
	asked := b.send(http.MethodPost, "/account/identities/unlink", form("id", hidden(page, "id")), fromPage).refused(400, broker.LoginRequired, "")
	asked.says("Undo this link", "Your password")
	done := b.send(http.MethodPost, "/account/identities/unlink", form("id", hidden(asked, "id"), "proof", harness.PasswordOf("alice")), fromPage)
	b.follow(done).want(200).says("No login of an identity provider is linked")
	b.open("/").saysNot("was linked")
	x.wantLinked("alice")

	// In a session that the link made.
	x.links(x.at("alice"), "p1", "anna")
	evil := x.through("p1", "anna")
	id := hidden(evil.open("/account/identities"), "id")
	evil.send(http.MethodPost, "/account/identities/unlink", form("id", id), fromPage).refused(400, broker.LoginRequired, "") // see below
	done = evil.send(http.MethodPost, "/account/identities/unlink", form("id", id, "proof", harness.PasswordOf("alice")), fromPage)
	evil.follow(done).want(200).says("The link to the account that you logged in with was removed.", "link_undone")
}

// What is made in a session of a link that can still be undone would outlive
// the undo: such a login counts for nothing here.
func TestALinkThatCanBeUndoneMakesNothingLasting(t *testing.T) {
	x := linkStart(t, nil)
	owner := x.through("p1", "anna") // an account without a password
	x.links(owner, "p2", "mallory")  // somehow
	evil := x.through("p2", "mallory")
	if who := evil.whose(); who != "anna" {
		t.Fatalf("%q", who)
	}
	access := evil.send(http.MethodPost, "/auth/refresh").text("user.accessToken")
	x.do(http.MethodPatch, "/api/me/password", bearer(access), jsonBody(`{"password":null,"newPassword":"a password of the attacker"}`)).refused(400, broker.WrongPassword, "")
	evil.link("p1").refused(400, broker.LoginRequired, "").says("in the way that you have used for longest")
	key := jsonBody(`{"name":"a key that outlives the undo","userId":"` + x.user("anna").ID + `"}`)
	x.do(http.MethodPost, "/api/api-keys", bearer(access), key).refused(400, broker.LoginRequired, "")
	for _, i := range x.mine(access) {
		x.do(http.MethodDelete, "/api/me/identities/"+i["id"].(string), bearer(access)).refused(400, broker.LoginRequired, "")
	}
	x.wait(8 * 24 * time.Hour)
	evil = x.through("p2", "mallory")
	evil.link("p1").want(303)
	access = evil.send(http.MethodPost, "/auth/refresh").text("user.accessToken")
	x.do(http.MethodPost, "/api/api-keys", bearer(access), key).want(200)
}

// An account keeps a way in.
func TestLastLoginMethodStays(t *testing.T) {
	x := linkStart(t, nil)
	b := x.through("p1", "anna")
	access := b.send(http.MethodPost, "/auth/refresh").text("user.accessToken")
	one := x.mine(access)
	if len(one) != 1 || one[0]["how"] != "created" || one[0]["undoUntil"] != nil || one[0]["provider"] != "p1" || one[0]["name"] != "anna" ||
		one[0]["email"] != "anna@example.org" || strings.Contains(one[0]["id"].(string), "s-anna") {
		t.Errorf("%v", one)
	}
	path := "/api/me/identities/" + one[0]["id"].(string)
	x.do(http.MethodDelete, path, bearer(access)).refused(409, broker.LastLoginMethod, "")
	b.send(http.MethodPost, "/account/identities/unlink", form("id", one[0]["id"].(string)), fromPage).refused(409, broker.LastLoginMethod, "").
		says("This is the last way to log in to your account; set a password or link another one first.")
	x.links(b, "p2", "anna")
	two := x.mine(access)
	if len(two) != 2 || two[1]["how"] != "hand" || two[1]["undoUntil"] != float64(x.Clock.Now().Add(7*24*time.Hour-time.Second).UnixMilli()) {
		t.Errorf("%v", two)
	}
	x.do(http.MethodDelete, path, bearer(access)).want(200)
	x.wantLinked("anna", "p2 s-anna")
	// The session went with the identity.
	x.me(access).want(401)
	c := x.through("p2", "anna")
	c.send(http.MethodPost, "/account/identities/unlink", form("id", two[1]["id"].(string)), fromPage).refused(409, broker.LastLoginMethod, "")
}

func TestUnlinkByAnAdministrator(t *testing.T) {
	x := linkStart(t, nil)
	x.User(t, "admin", broker.RoleAdmin)
	root, admin, alice := x.login("root"), x.login("admin"), x.login("alice")
	b := x.at("alice")
	x.links(b, "p1", "anna")
	x.links(b, "p2", "anna")
	x.links(x.at("root"), "p1", "mallory")
	evil := x.through("p1", "anna")
	path := "/api/users/" + x.user("alice").ID
	list, _ := x.do(http.MethodGet, path+"/identities", bearer(admin.access)).want(200).at("identities")
	first := list.([]any)[0].(map[string]any)
	if len(list.([]any)) != 2 || first["provider"] != "p1" || first["how"] != "hand" {
		t.Errorf("%v", list)
	}
	x.do(http.MethodDelete, path+"/identities/"+first["id"].(string), bearer(alice.access)).refused(403, broker.Forbidden, "")
	x.do(http.MethodDelete, path+"/identities/"+first["id"].(string), bearer(admin.access)).want(204)
	x.do(http.MethodDelete, path+"/identities/"+first["id"].(string), bearer(admin.access)).refused(404, broker.NotFound, "")
	x.wantLinked("alice", "p2 s-anna")
	if who := evil.whose(); who != "" {
		t.Errorf("%s is still logged in through the identity", who)
	}
	other := x.through("p2", "anna")
	if a := x.do(http.MethodPatch, path+"/openid-unlink", bearer(admin.access)).want(200); a.Body != "OK" {
		t.Errorf("%q", a.Body)
	}
	x.do(http.MethodPatch, path+"/openid-unlink", bearer(admin.access), jsonBody("{}")).want(200) // all of none
	x.wantLinked("alice")
	if code := other.send(http.MethodPost, "/auth/refresh").Header.Get("Latchkey-Code"); code != string(broker.LinkUndone) {
		t.Errorf("the browser is told %s", code)
	}
	x.refresh(alice.refresh).pair()
	x.do(http.MethodPatch, "/api/users/nobody/openid-unlink", bearer(admin.access)).refused(404, broker.NotFound, "")
	// Nobody takes from root but root.
	rootPath := "/api/users/" + x.user("root").ID + "/openid-unlink"
	x.do(http.MethodPatch, rootPath, bearer(admin.access)).refused(403, broker.Forbidden, "")
	x.wantLinked("root", "p1 s-mallory")
	x.do(http.MethodPatch, rootPath, bearer(root.access)).want(200)
	x.wantLinked("root")
}
