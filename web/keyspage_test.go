package web_test

import (
	"context"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

const keysPath = "/account/api-keys"

// inAs is a browser in which somebody has logged in with a password.
func (x *site) inAs(name string) *browser {
	x.t.Helper()
	b := x.newBrowser()
	b.post("/login/password", "username", name, "password", harness.PasswordOf(name)).want(303)
	return b
}

var shownKey = regexp.MustCompile(`<code id="key"[^>]*>(lk_[^<]*)</code>`)

// makesKey fills in the form for a new key.
func (b *browser) makesKey(pairs ...string) *answer {
	b.t.Helper()
	ticket := hidden(b.open(keysPath).want(200), "ticket")
	return b.sends(keysPath, append([]string{"ticket", ticket, "name", "Nightly backup", "scope", "latchkey:read", "expires", "90"}, pairs...)...)
}

// key is the key that an answer shows.
func (a *answer) key() string {
	a.t.Helper()
	found := shownKey.FindStringSubmatch(a.want(200).Body)
	if found == nil {
		a.t.Fatalf("%s: no key is shown: %s", a.request, plain(a.Body))
	}
	return html.UnescapeString(found[1])
}

func (x *site) keysOf(name string) (list []broker.OwnedAPIKey) {
	x.t.Helper()
	u, err := x.Broker.FindUser(context.Background(), name)
	if err == nil {
		list, err = x.Broker.APIKeys(context.Background(), nil, u.ID, "", 1000)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return list
}

func TestKeysOnThePage(t *testing.T) {
	x := newSite(t, setup{})
	b := x.inAs("alice")
	b.open(keysPath).want(200).secure(false).says("You have no API key.", "Make a key", "An API key lets a program act for you that cannot log in")
	made := b.makesKey("description", "of the attic").secure(false)
	key := made.key()
	made.says("The key Nightly backup is made", "it is shown this once", `curl -H "Authorization: Bearer `+key+`" `+publicURL+"/api/me")
	x.do(http.MethodGet, "/api/me", bearer(key)).want(200)
	x.do(http.MethodPost, "/api/authorize", bearer(key)).bearerError(403, "insufficient_scope") // it may only read
	b.open(keysPath).want(200).says("Nightly backup", "active", "may read in your name", "last used just now", "expires in 90 days").saysNot(key)
	one := x.keysOf("alice")[0]
	b.open(keysPath+"/"+one.ID).want(200).secure(false).says("Nightly backup", "active", "of the attic", "Last used", "Delete the key", "lk_"+one.ID).saysNot(key)
	if one.CreatedBy != one.UserID || one.Scope != "latchkey:read" || !one.ExpiresAt.Equal(x.Clock.Now().Add(90*24*time.Hour)) {
		t.Errorf("%+v", one)
	}

	b.follow(b.sends(keysPath+"/"+one.ID+"/switch", "active", "0")).want(200).says("The key is switched off", "Switch on")
	x.do(http.MethodGet, "/api/me", bearer(key)).want(401)
	b.follow(b.sends(keysPath+"/"+one.ID+"/switch", "active", "1")).want(200).says("The key is switched on again.", "Switch off")
	x.do(http.MethodGet, "/api/me", bearer(key)).want(200)

	b.follow(b.sends(keysPath+"/"+one.ID, "name", "Backup", "description", "", "expires", "", "until", "")).want(200).says("The key is changed.", "Backup")
	if k := x.keysOf("alice")[0]; k.Name != "Backup" || k.Description != "" || !k.ExpiresAt.Equal(one.ExpiresAt) || k.Scope != one.Scope {
		t.Errorf("%+v", k)
	}
	b.sends(keysPath+"/"+one.ID, "name", "Backup", "expires", "date", "until", "2026-01-10").want(303)
	if k := x.keysOf("alice")[0]; !k.ExpiresAt.Equal(time.Date(2026, 1, 11, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%v", k.ExpiresAt)
	}
	x.Clock.Advance(10 * 24 * time.Hour)
	x.do(http.MethodGet, "/api/me", bearer(key)).want(401)
	b.open(keysPath).says("expired")
	b.sends(keysPath+"/"+one.ID, "name", "Backup", "expires", "never", "proof", harness.PasswordOf("alice")).want(303)
	x.do(http.MethodGet, "/api/me", bearer(key)).want(200)

	b.follow(b.sends(keysPath+"/"+one.ID+"/delete")).want(200).says("The key is deleted", "You have no API key.")
	x.do(http.MethodGet, "/api/me", bearer(key)).want(401)
	b.follow(b.sends(keysPath + "/" + one.ID + "/delete")).want(200).says("You have no such key")
}

// A reload of the answer that shows a key makes no second one and shows none.
func TestReloadMakesNoSecondKey(t *testing.T) {
	x := newSite(t, setup{})
	b := x.inAs("alice")
	ticket := hidden(b.open(keysPath), "ticket")
	sent := []string{"ticket", ticket, "name", "Nightly backup", "scope", "latchkey:api", "expires", "never"}
	// What is refused uses the form up for nothing.
	b.sends(keysPath, append(slices.Clone(sent), "description", strings.Repeat("x", 513))...).refused(400, broker.InvalidRequest, "")
	key := b.sends(keysPath, sent...).key()
	for range 3 {
		b.follow(b.sends(keysPath, sent...).want(303)).want(200).says("This form was sent already, so no second key was made.").saysNot(key)
	}
	if n := len(x.keysOf("alice")); n != 1 {
		t.Errorf("%d keys", n)
	}
	// Nor is the form another's, nor good for ever.
	x.inAs("root").sends(keysPath, "ticket", hidden(b.open(keysPath), "ticket"), "name", "x", "scope", "latchkey:api", "expires", "never").want(303)
	ticket = hidden(b.open(keysPath), "ticket")
	x.Clock.Advance(24 * time.Hour)
	b.sends(keysPath, "ticket", ticket, "name", "x", "scope", "latchkey:api", "expires", "never").want(303)
	b.sends(keysPath, "name", "x", "scope", "latchkey:api", "expires", "never").refused(400, broker.InvalidRequest, "")
	if len(x.keysOf("alice"))+len(x.keysOf("root")) != 1 {
		t.Error("a key was made")
	}
	both := make(chan *answer)
	b = x.inAs("alice") // a day later, she would be asked for her password
	ticket = hidden(b.open(keysPath), "ticket")
	for range 2 {
		go func() {
			a, err := x.try(http.MethodPost, keysPath, form("ticket", ticket, "name", "race", "scope", "latchkey:api", "expires", "never"), fromPage,
				cookie("__Host-latchkey_session", b.jar["__Host-latchkey_session"]))
			if err != nil {
				t.Error(err)
			}
			both <- a
		}()
	}
	<-both
	<-both
	if n := len(x.keysOf("alice")); n != 2 {
		t.Errorf("%d keys of two at once", n-1)
	}
}

// A key that was shown is nowhere else: not in the log, an address, the database
// or another page.
func TestKeyIsShownOnce(t *testing.T) {
	x := newSite(t, setup{})
	b := x.inAs("alice")
	made := b.makesKey()
	key := made.key()
	secret := key[strings.LastIndex(key, "_")+1:]
	if made.Header.Get("Cache-Control") != "no-store" || made.Header.Get("Location") != "" {
		t.Error("the answer with the key may be kept")
	}
	for _, target := range []string{keysPath, "/account/password", "/account/identities", "/api/audit"} {
		b.open(target).saysNot(secret)
	}
	for _, k := range x.keysOf("alice") {
		if strings.Contains(toJSON(k), secret) {
			t.Error("the key is in the database")
		}
	}
	if strings.Contains(x.log.String(), secret) {
		t.Error("the key is in the log")
	}
}

// What is wrong stands at its field, with what was typed.
func TestFaultsInTheKeyForm(t *testing.T) {
	x := newSite(t, setup{})
	b := x.inAs("alice")
	for field, pairs := range map[string][]string{
		"name":        {"name", "  "},
		"description": {"description", strings.Repeat("x", 513)},
		"scope":       {"scope", "latchkey:admin"},
		"expires":     {"expires", "12"},
		"until":       {"expires", "date", "until", "2026-01-01"},
	} {
		a := b.makesKey(append([]string{"description", "typed before"}, pairs...)...).refused(400, broker.InvalidRequest, "")
		if a.contains(`id="` + field + `-problem"`); field != "description" {
			a.contains("typed before")
		}
	}
	for _, day := range []string{"", "tomorrow", "2026-13-01", "0001-01-01", "2036-02-02", "9999-12-31"} {
		b.makesKey("expires", "date", "until", day).refused(400, broker.InvalidRequest, "").contains(`id="until-problem"`).
			says("A day that is not over yet, and at most ten years ahead.")
	}
	b.makesKey("expires", "date", "until", "2026-01-02").key()
	id := x.keysOf("alice")[0].ID
	b.sends(keysPath+"/"+id, "name", "", "description", "typed", "expires", "").refused(400, broker.InvalidRequest, "").contains(`id="name-problem"`).contains(`value="typed"`)
	b.sends(keysPath+"/"+id, "name", "x", "expires", "date", "until", "2025-01-01").refused(400, broker.InvalidRequest, "").contains(`id="until-problem"`)
	b.sends(keysPath, "name", "x", "userId", x.keysOf("alice")[0].UserID).refused(400, broker.InvalidRequest, "")
}

// A01: a member's page reaches nobody else's keys, an administrator's page no
// more, and gives no scopes of others.
func TestA01OwnKeysPageReachesOwnKeysOnly(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "kiosk", broker.RoleGuest)
	x.inAs("alice").makesKey().key()
	alices := x.keysOf("alice")[0]
	root := x.inAs("root")
	root.open(keysPath).want(200).saysNot("Nightly backup")
	for target, pairs := range map[string][]string{"": {"name", "taken", "expires", "never"}, "/switch": {"active", "0"}, "/delete": nil} {
		root.follow(root.sends(keysPath+"/"+alices.ID+target, pairs...)).want(200).says("You have no such key")
	}
	root.open(keysPath + "/" + alices.ID).want(200).says("You have no such key").saysNot("Nightly backup")
	root.makesKey("scope", "things:write").refused(400, broker.InvalidRequest, "")
	if k := x.keysOf("alice"); len(k) != 1 || k[0].UpdatedAt != alices.UpdatedAt || k[0].Name != alices.Name {
		t.Errorf("%+v", k)
	}
	kiosk := x.inAs("kiosk")
	kiosk.open(keysPath).want(200).says("Guests keep no API keys.").saysNot("Make a key")
	ticket := hidden(x.inAs("alice").open(keysPath), "ticket")
	kiosk.sends(keysPath, "ticket", ticket, "name", "x", "scope", "latchkey:api", "expires", "never").refused(403, broker.Forbidden, "")
	if len(x.keysOf("kiosk")) != 0 {
		t.Error("a guest has a key")
	}
	// An API key is no way to the page, nor is a token.
	x.do(http.MethodGet, keysPath, bearer(x.login("alice").access)).want(303)
}

// CSRF: nobody makes or deletes a key from another site.
func TestKeysPageCSRF(t *testing.T) {
	x := newSite(t, setup{})
	b := x.inAs("alice")
	b.makesKey().key()
	before, ticket := x.keysOf("alice"), hidden(b.open(keysPath), "ticket")
	for _, from := range crossSite {
		b.send(http.MethodPost, keysPath, append(slices.Clone(from), form("ticket", ticket, "name", "x", "scope", "latchkey:api", "expires", "never"))...).refused(403, broker.CrossSite, "")
		for target, pairs := range map[string][]string{"": {"name", "x", "expires", "never"}, "/switch": {"active", "0"}, "/delete": nil} {
			b.send(http.MethodPost, keysPath+"/"+before[0].ID+target, append(slices.Clone(from), form(pairs...))...).refused(403, broker.CrossSite, "")
		}
	}
	if after := x.keysOf("alice"); len(after) != 1 || after[0].UpdatedAt != before[0].UpdatedAt {
		t.Errorf("%+v", after)
	}
}

// A key outlives its login, so that a login through a link that can be undone
// makes none.
func TestKeyPageOfALinkThatCanBeUndone(t *testing.T) {
	x := linkStart(t, nil)
	x.links(x.through("p1", "anna"), "p2", "mallory")
	x.through("p2", "mallory").makesKey().refused(400, broker.LoginRequired, "").says("in the way that you have used for longest")
	if len(x.keysOf("anna")) != 0 {
		t.Error("a key was made")
	}
}

func TestKeysPageEscapes(t *testing.T) {
	x := newSite(t, setup{})
	b := x.inAs("alice")
	for _, payload := range payloads {
		if len(payload) > 128 {
			payload = payload[:128]
		}
		for _, a := range []*answer{
			b.makesKey("name", payload, "description", payload).want(200), b.makesKey("name", payload, "expires", payload, "until", payload).want(400), b.open(keysPath).want(200),
		} {
			a.Body = anyKey.ReplaceAllString(a.Body, "") // whose random letters may look like a payload's
			a.inert()
		}
	}
}

var anyKey = regexp.MustCompile(`lk_[A-Za-z0-9_-]+`)
