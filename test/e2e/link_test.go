package e2e

import (
	"net/http"
	"net/url"
	"testing"
)

// identities is what is linked to whoever is logged in.
func (b *browser) identities() (list []struct{ ID, Provider, How string }) {
	b.t.Helper()
	var got struct {
		Identities []struct{ ID, Provider, How string }
	}
	b.api("/api/me/identities", &got)
	return got.Identities
}

// link begins a link by hand on the page and goes through the OP; the code is
// that of a refusal.
func (b *browser) link(provider, account string) string {
	b.t.Helper()
	at := b.send(http.MethodPost, b.x.base+"/account/identities/link", url.Values{"provider": {provider}})
	to, err := at.Location()
	if err != nil || to.Query().Get("prompt") == "" {
		b.t.Fatalf("the link leads to %v: %d %s", to, at.StatusCode, at.body)
	}
	at = b.follow(at, account, "")
	code := at.Header.Get("Latchkey-Code")
	if code == "" && at.Request.URL.String() != b.x.base+"/account/identities?done=linked" {
		b.t.Fatalf("the link ends at %s: %d %s", at.Request.URL, at.StatusCode, at.body)
	}
	return code
}

// A local user links a login of the OP, logs in by it, and undoes it: what was
// logged in by it is over, and the account is what it was.
func TestLinkByHandAtTheOP(t *testing.T) {
	t.Parallel()
	x, o := withPolicies(t, map[string]claims{
		"rob": {"preferred_username": "rob", "name": "Rob at the OP", "email": "rob@op.test", "email_verified": true, "groups": []string{"kids"}},
		"eve": {"preferred_username": "eve"},
	}, map[string]string{"hand": "provision: match, role_map: {kids: admin}", "open": ""})
	root := newAdmin(t, x, o)
	for _, name := range []string{"robin", "mallory"} {
		root.create(map[string]any{"username": name, "password": "a password of " + name, "name": "Local " + name, "email": name + "@example.org", "emailVerified": true})
	}
	own, byOP := newBrowser(t, x, o), newBrowser(t, x, o)
	own.password("robin", "a password of robin")
	before := root.user(own)
	if code := byOP.logIn("hand", "rob"); code != "not_provisioned" {
		t.Fatalf("a login that nobody linked: %q", code)
	}
	if code := own.link("hand", "rob"); code != "" {
		t.Fatalf("the link is refused: %s", code)
	}
	if list := own.identities(); len(list) != 1 || list[0].Provider != "hand" || list[0].How != "hand" {
		t.Fatalf("%+v", list)
	}

	if code := byOP.logIn("hand", "rob"); code != "" {
		t.Fatalf("the linked login: %s", code)
	}
	if u := root.user(byOP); u.ID != before.ID || u.Username != "robin" || u.Name != "Rob at the OP" || u.Type != "admin" {
		t.Errorf("by the link: %+v, the user was %+v", u, before)
	}

	// Nobody else gets it, and a login that has an account is not taken from it.
	newBrowser(t, x, o).logIn("open", "eve")
	for _, account := range []string{"rob", "eve"} {
		mallory := newBrowser(t, x, o)
		mallory.password("mallory", "a password of mallory")
		if code := mallory.link("hand", account); code != "identity_conflict" {
			t.Errorf("mallory links %s: %q", account, code)
		}
		if list := mallory.identities(); len(list) != 0 {
			t.Errorf("mallory has %+v", list)
		}
	}

	at := own.send(http.MethodPost, x.base+"/account/identities/unlink", url.Values{"id": {own.identities()[0].ID}})
	if at.StatusCode != http.StatusSeeOther {
		t.Fatalf("undoing answers %d %s", at.StatusCode, at.body)
	}
	if _, code := byOP.refresh(); code != "link_undone" {
		t.Errorf("the session that came of the link: %q", code)
	}
	if u := root.user(own); u.Name != before.Name || u.Type != before.Type || u.Email != before.Email || len(u.Groups) != 0 {
		t.Errorf("after undoing: %+v, before the link %+v", u, before)
	}
	if code := newBrowser(t, x, o).logIn("hand", "rob"); code != "not_provisioned" {
		t.Errorf("a login by what was undone: %q", code)
	}
}
