package broker_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// A provider that got another id is the same issuer still: what was made through
// the link under the old id goes with the link, and makes nothing lasting before.
func TestS08UndoReachesSessionsOfARenamedProvider(t *testing.T) {
	database := "sqlite:" + filepath.Join(t.TempDir(), "l.db")
	h := newHouse(t, database, nil, nil)
	h.User(t, "alice", broker.RoleUser)
	h.links(h.here("alice"), "p", says("evil"))
	h.links(h.here("alice"), "q", says("harmless"))
	evil, err := h.enter("p", says("evil"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.enter("q", says("harmless"))
	if err != nil {
		t.Fatal(err)
	}

	h = newHouse(t, database, func(p *broker.Provider) { p.ID += "-renamed" }, nil)
	h.Clock.Advance(time.Minute)
	h.enters("p-renamed", says("evil")) // so that no row names the old id but the session's
	who, err := h.Broker.Authenticate(ctx, evil.Session.ID)
	if err != nil {
		t.Fatal(err)
	}
	key := broker.NewAPIKey{Name: "outlives the undo", UserID: who.User.ID}
	if _, _, err := h.Broker.CreateAPIKey(ctx, &who, key, phone); broker.CodeOf(err) != broker.LoginRequired || err == nil {
		t.Errorf("a key: %v", err)
	}
	h.mustUndo(h.here("alice"), "p-renamed")
	if _, err := h.Broker.Authenticate(ctx, evil.Session.ID); broker.CodeOf(err) != broker.LinkUndone || err == nil {
		t.Errorf("the session of the link: %v", err)
	}
	if _, err := h.Broker.Authenticate(ctx, other.Session.ID); err != nil {
		t.Errorf("the session of another link: %v", err)
	}
}

// Two IdPs may call a person the same: each link has its own sessions.
func TestS08UndoSparesTheSameSubjectOfAnotherIssuer(t *testing.T) {
	h := newHouse(t, "", nil, nil)
	h.User(t, "alice", broker.RoleUser)
	p := h.here("alice")
	sessions := map[string]string{}
	for _, provider := range []string{"p", "q"} {
		h.links(p, provider, says("1"))
		login, err := h.enter(provider, says("1"))
		if err != nil {
			t.Fatal(err)
		}
		sessions[provider] = login.Session.ID
	}
	h.mustUndo(p, "p")
	if _, err := h.Broker.Authenticate(ctx, sessions["p"]); broker.CodeOf(err) != broker.LinkUndone || err == nil {
		t.Errorf("p: %v", err)
	}
	if _, err := h.Broker.Authenticate(ctx, sessions["q"]); err != nil {
		t.Errorf("q: %v", err)
	}
}

// What an IdP took away while a link said the same is not given back by an undo
// of the link.
func TestUndoMakesNobodyAnAdministratorAgain(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) { p.RoleMap = map[string]broker.Role{"admins": broker.RoleAdmin} }, nil)
	h.User(t, "root", broker.RoleRoot) // or the last administrator would keep the role
	login, err := h.enter("p", says("anna", groups("admins")))
	if err != nil {
		t.Fatal(err)
	}
	h.links(broker.Principal{User: login.User, Session: login.Session}, "q", says("anna-at-q"))
	anna := h.enters("p", says("anna")) // she is out of the group
	if anna.Role != broker.RoleUser {
		t.Fatalf("%+v", anna)
	}
	again, err := h.enter("p", says("anna"))
	if err != nil {
		t.Fatal(err)
	}
	err = h.Broker.Unlink(ctx, broker.Principal{User: again.User, Session: again.Session}, h.identityOf(anna, "q").ID(), "", phone)
	if err != nil {
		t.Fatal(err)
	}
	if anna, err = h.Store.UserByID(ctx, anna.ID); err != nil || anna.Role != broker.RoleUser {
		t.Errorf("%+v, %v", anna, err)
	}
}

// Whoever unlinks leaves an administrator who can log in.
func TestUnlinkingKeepsTheLastAdministrator(t *testing.T) {
	h := newHouse(t, "", func(p *broker.Provider) { p.RoleMap = map[string]broker.Role{"admins": broker.RoleAdmin} }, nil)
	anna, eve := h.enters("p", says("anna", groups("admins"))), h.enters("q", says("eve", groups("admins")))
	if n, err := h.Broker.UnlinkProvider(ctx, eve.ID, ""); n != 1 || err != nil { // anna is left
		t.Fatal(n, err)
	}
	if _, err := h.Broker.UnlinkProvider(ctx, anna.ID, ""); broker.CodeOf(err) != broker.LastAdmin || err == nil {
		t.Errorf("the command: %v", err)
	}
	_, err := h.Broker.UnlinkByAdmin(ctx, broker.Principal{User: anna}, anna.ID, h.identityOf(anna, "p").ID(), phone)
	if broker.CodeOf(err) != broker.LastAdmin || err == nil {
		t.Errorf("the API: %v", err)
	}
	// With a password the identity is not needed.
	if err := h.Broker.ResetPassword(ctx, anna.ID, harness.PasswordOf("anna"), false); err != nil {
		t.Fatal(err)
	}
	if n, err := h.Broker.UnlinkProvider(ctx, anna.ID, ""); n != 1 || err != nil {
		t.Error(n, err)
	}
}
