package web_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
)

// U15: the proof of a link is bound to user, session, browser and the IdP's own
// answer, and dies on first use.
func TestU15LinkProofIsBound(t *testing.T) {
	for name, attack := range map[string]func(t *testing.T, x *linkSite, b *browser, callback string){
		"another subject's code": func(t *testing.T, x *linkSite, b *browser, callback string) {
			mallory := x.choose("p1", x.at("mallory").link("p1"), "mallory")
			u, q := parse(t, callback)
			_, theirs := parse(t, mallory)
			q.Set("code", theirs.Get("code"))
			// PKCE at the IdP, which refuses the verifier.
			b.send(http.MethodGet, u.Path+"?"+q.Encode()).refused(403, broker.IdPRefused, "")
		},
		"another subject's code at an IdP without PKCE": func(t *testing.T, x *linkSite, b *browser, callback string) {
			x.idp.Script(func(s *providertest.Script) { s.IgnorePKCE = true })
			mallory := x.choose("p1", x.at("mallory").link("p1"), "mallory")
			u, q := parse(t, callback)
			_, theirs := parse(t, mallory)
			q.Set("code", theirs.Get("code"))
			b.send(http.MethodGet, u.Path+"?"+q.Encode()).refused(400, broker.NonceMismatch, "")
		},
		"another browser": func(_ *testing.T, x *linkSite, b *browser, callback string) {
			x.newBrowser().send(http.MethodGet, callback).refused(400, broker.StateMismatch, "")
			b.send(http.MethodGet, callback).refused(400, broker.InvalidState, "") // used up
		},
		"another person's browser, with the cookie of the flow": func(_ *testing.T, x *linkSite, b *browser, callback string) {
			other := x.at("mallory")
			for name, value := range b.jar {
				if strings.Contains(name, "latchkey_flow_") {
					other.jar[name] = value
				}
			}
			other.send(http.MethodGet, callback).refused(400, broker.StateMismatch, "")
		},
		"another session of the same person": func(_ *testing.T, x *linkSite, b *browser, callback string) {
			b.post("/login/password", "username", "alice", "password", harness.PasswordOf("alice")).want(303)
			b.send(http.MethodGet, callback).refused(400, broker.StateMismatch, "").says("This link was begun in a login that is over; log in and begin again.")
		},
		"after the session ended": func(t *testing.T, x *linkSite, b *browser, callback string) {
			if _, err := x.Broker.EndSessions(context.Background(), broker.SessionFilter{UserID: x.user("alice").ID}, broker.RevokedByAdmin, false, ""); err != nil {
				t.Fatal(err)
			}
			b.send(http.MethodGet, callback).refused(400, broker.StateMismatch, "")
		},
		"after a logout": func(_ *testing.T, x *linkSite, b *browser, callback string) {
			b.post("/session/end").want(303)
			b.send(http.MethodGet, callback).refused(400, broker.StateMismatch, "")
		},
		"on an account that was disabled meanwhile": func(t *testing.T, x *linkSite, b *browser, callback string) {
			if err := x.Broker.SetDisabled(context.Background(), x.user("alice").ID, true); err != nil {
				t.Fatal(err)
			}
			b.send(http.MethodGet, callback).want(400)
		},
		"on an account that was deleted meanwhile": func(t *testing.T, x *linkSite, b *browser, callback string) {
			if err := x.Broker.DeleteUser(context.Background(), x.user("alice").ID); err != nil {
				t.Fatal(err)
			}
			x.User(t, "alice", broker.RoleUser)
			b.send(http.MethodGet, callback).want(400)
		},
		"too late": func(_ *testing.T, x *linkSite, b *browser, callback string) {
			x.wait(10 * time.Minute)
			b.send(http.MethodGet, callback).refused(400, broker.InvalidState, "")
		},
		"at another provider": func(_ *testing.T, x *linkSite, b *browser, callback string) {
			b.send(http.MethodGet, strings.Replace(callback, "/auth/p1/", "/auth/p2/", 1)).refused(400, broker.InvalidState, "")
		},
		"by an app that redeems": func(t *testing.T, x *linkSite, b *browser, callback string) {
			_, q := parse(t, callback)
			q.Set("code_verifier", strings.Repeat("v", 43))
			b.send(http.MethodGet, "/auth/p1/callback?"+q.Encode()).want(401)
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := linkStart(t, nil)
			b := x.at("alice")
			attack(t, x, b, x.choose("p1", b.link("p1"), "anna"))
			x.wantLinked("alice")
			x.wantLinked("mallory")
			if n := x.tally(); n.users != 3 || n.identities != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

func parse(t testing.TB, target string) (*url.URL, url.Values) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u, u.Query()
}

// U15: a replay links nothing, and a new address in the middle moves nothing: an
// account is its ID.
func TestU15ReplayAndChangedAddress(t *testing.T) {
	x := linkStart(t, func(p *broker.Provider) { p.LinkBy = broker.LinkVerifiedEmail })
	b := x.at("alice")
	callback := x.choose("p1", b.link("p1"), "anna")
	change := broker.UserChange{Email: new("anna@example.org")}
	if _, err := x.Broker.UpdateUser(context.Background(), x.user("mallory").ID, change); err != nil {
		t.Fatal(err)
	}
	b.send(http.MethodGet, callback).want(302)
	x.wantLinked("alice", "p1 s-anna")
	x.wantLinked("mallory")
	b.send(http.MethodGet, callback).refused(400, broker.InvalidState, "")
	if x.events(broker.EventIdentityLinked) != 1 {
		t.Error("it was linked twice")
	}
}

// An identity belongs to whoever has it: linking it elsewhere changes nothing.
func TestLinkOfAnothersIdentityIsRefused(t *testing.T) {
	x := linkStart(t, nil)
	x.links(x.at("alice"), "p1", "anna")
	before := x.user("alice")
	b := x.at("mallory")
	b.send(http.MethodGet, x.choose("p1", b.link("p1"), "anna")).refused(403, broker.IdentityConflict, "").
		says("This p1 login belongs to another account here; nothing was changed.")
	x.wantLinked("alice", "p1 s-anna")
	x.wantLinked("mallory")
	if after := x.user("alice"); after.Notice != before.Notice || after.Name != before.Name || x.user("mallory").Notice.Code != "" {
		t.Errorf("%+v, %+v", after, x.user("mallory"))
	}
	if who := b.whose(); who != "mallory" {
		t.Errorf("the browser is %q", who)
	}
}

// U16: nobody makes alice's browser link.
func TestU16LinkCSRF(t *testing.T) {
	x := linkStart(t, nil)
	b := x.at("alice")
	rows := x.tally()
	const path = "/account/identities/link"
	b.send(http.MethodGet, path+"?provider=p1").want(405)
	for _, q := range []string{"?callback=/&link=1", "?callback=/account/identities&link_user_id=" + x.user("alice").ID} {
		atIdP := b.send(http.MethodGet, "/auth/p1"+q)
		if prompt := atIdP.location().Query().Get("prompt"); prompt != "" {
			t.Errorf("%s began a link", q)
		}
	}
	data := form("provider", "p1")
	for name, sent := range map[string][]option{
		"another site":              {header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.test")},
		"a sibling domain":          {header("Sec-Fetch-Site", "same-site"), header("Origin", "https://evil.example.org")},
		"an origin of cors_origins": {header("Sec-Fetch-Site", "same-site"), header("Origin", "https://app.example.org")},
		"that, in an older browser": {header("Origin", "https://app.example.org")},
		"another site's, older":     {header("Origin", "https://evil.test")},
		"a typed address":           {header("Sec-Fetch-Site", "none")},
		"a hidden origin":           {header("Origin", "null")},
		"nobody":                    {},
	} {
		for _, target := range []string{path, "/account/identities/unlink"} {
			if a := b.send(http.MethodPost, target, append(sent, data)...).refused(403, broker.CrossSite, ""); a.Header.Get("Location") != "" {
				t.Errorf("%s: sent to %s", name, a.Header.Get("Location"))
			}
		}
	}
	// An older browser says where its own form comes from.
	b.send(http.MethodPost, path, data, header("Origin", publicURL)).want(303)
	if x.tally() != rows {
		t.Errorf("%+v, before %+v", x.tally(), rows)
	}
}

// U16: mallory stops at her own callback, of a link or of a login, and leads
// alice's browser there.
func TestU16ForeignCallback(t *testing.T) {
	x := linkStart(t, nil)
	mallory, alice := x.at("mallory"), x.at("alice")
	alice.link("p1") // she is on the way herself, and has a cookie of that
	alice.send(http.MethodGet, x.choose("p1", mallory.link("p1"), "mallory")).refused(400, broker.StateMismatch, "")
	begun := mallory.send(http.MethodGet, "/auth/p1?callback=/")
	alice.send(http.MethodGet, x.choose("p1", begun, "mallory")).refused(400, broker.StateMismatch, "")
	if who := alice.whose(); who != "alice" {
		t.Errorf("alice's browser is %q", who)
	}
	x.wantLinked("alice")
	x.wantLinked("mallory")
	// And of a login, with mallory's cookie tossed in, alice's browser becomes no
	// more than mallory's: nothing of hers is linked.
	begun = mallory.send(http.MethodGet, "/auth/p1?callback=/")
	callback := x.choose("p1", begun, "mallory")
	for name, value := range mallory.jar {
		if strings.Contains(name, "latchkey_flow_") {
			alice.jar[name] = value
		}
	}
	alice.send(http.MethodGet, callback).want(302)
	x.wantLinked("alice")
}

// A04: no field points an identity at another user, and one that is sent is
// refused rather than overlooked.
func TestA04NothingRepointsAnIdentity(t *testing.T) {
	x := linkStart(t, nil)
	b := x.at("alice")
	x.links(b, "p1", "anna")
	root := x.user("root").ID
	admin, alice := x.login("root"), x.login("alice")
	id := x.mine(alice.access)[0]["id"].(string)
	for _, field := range []string{"userId", "user_id", "user", "issuer", "subject", "sub", "session_id", "link_user_id"} {
		a := b.link("p2", field, root).refused(400, broker.InvalidRequest, "")
		if !strings.Contains(plain(a.Body), `"`+field+`"`) {
			t.Errorf("%s is not named: %s", field, plain(a.Body))
		}
		b.send(http.MethodPost, "/account/identities/unlink", form("id", id, field, root), fromPage).refused(400, broker.InvalidRequest, "")
		text := jsonBody(toJSON(map[string]string{field: root}))
		x.do(http.MethodDelete, "/api/me/identities/"+id, bearer(alice.access), text).refused(400, broker.InvalidRequest, "")
		of := "/api/users/" + x.user("alice").ID
		x.do(http.MethodDelete, of+"/identities/"+id, bearer(admin.access), text).refused(400, broker.InvalidRequest, "")
		x.do(http.MethodPatch, of+"/openid-unlink", bearer(admin.access), text).refused(400, broker.InvalidRequest, "")
	}
	for _, method := range []string{http.MethodPatch, http.MethodPut, http.MethodPost} {
		for _, path := range []string{"/api/me/identities/" + id, "/api/users/" + root + "/identities/" + id, "/api/users/" + root + "/identities"} {
			if a := x.do(method, path, bearer(admin.access), jsonBody(`{"userId":"`+root+`"}`)); a.Status != 404 && a.Status != 405 {
				t.Errorf("%s %s: %d", method, path, a.Status)
			}
		}
	}
	x.do(http.MethodDelete, "/api/users/"+root+"/identities/"+id, bearer(admin.access)).refused(404, broker.NotFound, "")
	x.wantLinked("alice", "p1 s-anna")
	x.wantLinked("root")
}

// Somebody who was linked by an address undoes it. What the app of the other
// side has not redeemed by then is worth nothing, and the rule does not link the
// same two again.
func TestUndoOfALinkByAddress(t *testing.T) {
	x := linkStart(t, func(p *broker.Provider) { p.LinkBy = broker.LinkVerifiedEmail })
	u, err := x.Broker.CreateUser(context.Background(), broker.NewUser{
		Username: "ann", Name: "Ann", Email: "anna@example.org", EmailVerified: true, Password: harness.PasswordOf("ann"),
	})
	if err != nil {
		t.Fatal(err)
	}
	phone := x.login("ann")
	x.wait(time.Minute)
	evil := x.through("p1", "anna")
	if who := evil.whose(); who != "ann" {
		t.Fatalf("%q", who)
	}
	x.me(phone.access).text("notice.message")
	p := newApp(x.site)
	p.provider = "p1"
	code := p.do(http.MethodGet, p.atIdP(x.idp, p.toIdP(), "anna")).location().Query().Get("code")
	one := x.mine(phone.access)[0]
	if one["how"] != "email" {
		t.Errorf("%v", one)
	}
	x.do(http.MethodDelete, "/api/me/identities/"+one["id"].(string), bearer(phone.access)).want(200)
	p.redeem(code).refused(401, broker.LinkUndone, web.VerdictLogin)
	if who := evil.whose(); who != "" {
		t.Errorf("%q", who)
	}
	after := x.user("ann")
	if after.Name != "Ann" || after.Email != "anna@example.org" || !after.EmailVerified || after.Notice.Code != "" || after.ID != u.ID {
		t.Errorf("%+v", after)
	}
	x.refresh(phone.refresh).want(200).saysNotOf("notice")
	if who := x.through("p1", "anna").whose(); who != "anna" {
		t.Errorf("the next login is %q", who)
	}
	x.wantLinked("ann")
	// By hand nobody is held back: the account of its own goes, and ann links.
	if err := x.Broker.DeleteUser(context.Background(), x.user("anna").ID); err != nil {
		t.Fatal(err)
	}
	x.links(x.at("ann"), "p1", "anna")
	x.wantLinked("ann", "p1 s-anna")
}
