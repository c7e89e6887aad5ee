package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// officeAt is the browser of an administrator of a site where providers can be
// added, and of root.
func officeAt(t testing.TB) (x *site, root, alice *browser) {
	t.Helper()
	x, _ = providersSite(t, true)
	return x, x.inBrowser("root"), x.inBrowser("alice")
}

// inBrowser is a browser in which somebody has just logged in.
func (x *site) inBrowser(name string) *browser {
	x.t.Helper()
	b := x.newBrowser()
	b.post("/login/password", "username", name, "password", harness.PasswordOf(name)).want(303)
	return b
}

func (b *browser) submit(path string, pairs ...string) *answer {
	b.t.Helper()
	return b.send(http.MethodPost, path, form(pairs...), fromPage, htmlOnly)
}

// newPocket is the form of the second step, with what differs.
func newPocket(differ ...string) []string {
	f := map[string]string{
		"kind": "pocketid", "id": "pocket", "name": "Pocket ID", "issuer": "https://pocket.test", "client_id": "latchkey", "client_secret": "the secret of pocket",
		"provision": "create", "link_by": "none", "require_verified_email": "if_present", "token_endpoint_auth": "auto", "scopes": "openid profile",
	}
	for i := 0; i < len(differ); i += 2 {
		f[differ[i]] = differ[i+1]
	}
	out := []string{}
	for name, value := range f {
		out = append(out, name, value)
	}
	return out
}

var options = regexp.MustCompile(`<option value="([^"]*)" selected`)

func TestProviderPages(t *testing.T) {
	x, root, _ := officeAt(t)
	root.send("GET", "/admin/providers", htmlOnly).want(200).says("Test IdP", "the configuration", "not asked lately")
	root.send("GET", "/admin/providers/new", htmlOnly).want(200).says("Pocket ID", "Microsoft Entra ID", "Another OAuth 2 provider")

	// Before anything is saved, the page has what to register there.
	second := root.send("GET", "/admin/providers/new?kind=keycloak&id=sso&name=Home", htmlOnly).want(200).
		says("Connect Home", publicURL+"/auth/sso/callback", publicURL+"/login", publicURL+"/auth/sso/backchannel-logout", "Valid redirect URIs")
	if list, err := x.Broker.ProvidersNow(t.Context()); err != nil || len(list) != 1 || !strings.Contains(second.Body, `name="client_secret" type="password" value=""`) {
		t.Errorf("%v %v", list, err)
	}
	root.send("GET", "/admin/providers/new?kind=github", htmlOnly).want(200).says(publicURL + "/auth/github/callback").saysNot("backchannel-logout")

	to := root.submit("/admin/providers/new", newPocket("role_map", "admins = admin\nfamily=user", "default_role", "none", "allowed_groups", " family \n\nadmins", "recheck", "1h", "logout", "1")...).location()
	if to.String() != publicURL+"/admin/providers/pocket?done=created-wrong" {
		t.Fatal(to)
	}
	p, err := x.Broker.FindProvider(t.Context(), "pocket")
	got := fmt.Sprint(err, p.Name, p.Issuer, p.ClientID, p.HasSecret, p.Scopes, p.RoleMap, p.DefaultRole, p.AllowedGroups, time.Duration(p.Recheck), p.RecheckBy, p.Logout)
	want := fmt.Sprint(error(nil), "Pocket ID", "https://pocket.test", "latchkey", true, []string{"openid", "profile"}, map[string]broker.Role{"admins": "admin", "family": "user"}, broker.RoleNone,
		[]string{"family", "admins"}, time.Hour, broker.RecheckByRefresh, true)
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	page := root.send("GET", to.String(), htmlOnly).want(200).says("was added", "admins = admin\nfamily = user"[:14], publicURL+"/auth/pocket/callback")
	if got := fmt.Sprint(options.FindAllStringSubmatch(page.Body, -1)); !strings.Contains(got, "none") {
		t.Errorf("chosen: %s", got)
	}

	// What the page shows may be sent back as it is: nothing changes, the secret stays.
	root.submit("/admin/providers/pocket", "name", "Renamed", "issuer", "https://pocket.test", "client_id", "latchkey", "client_secret", "", "provision", "create",
		"link_by", "none", "require_verified_email", "if_present", "token_endpoint_auth", "auto").location()
	if p, err = x.Broker.FindProvider(t.Context(), "pocket"); err != nil || p.Name != "Renamed" || !p.HasSecret || len(p.RoleMap) > 0 {
		t.Errorf("%+v %v", p, err)
	}
	root.submit("/admin/providers/pocket/delete").location()
	root.send("GET", "/admin/providers?done=deleted", htmlOnly).says("was deleted").saysNot("Renamed")
	root.send("GET", "/admin/providers/pocket", htmlOnly).want(404)
	root.send("GET", "/admin/providers/new?kind=saml", htmlOnly).want(400)
	root.submit("/admin/providers/new", newPocket("kind", "saml")...).want(400)
}

// A fault stands at its field, all of them at once; what was typed stays, but
// never the secret.
func TestFaultsOfAProviderStandAtTheirFields(t *testing.T) {
	_, root, _ := officeAt(t)
	root.submit("/admin/providers/new", newPocket()...).want(303)
	for _, path := range []string{"/admin/providers/new", "/admin/providers/pocket"} {
		a := root.submit(path, newPocket("id", "other", "issuer", "http://pocket.test", "scopes", "profile", "role_map", "family = root", "recheck", "often",
			"allowed_domains", "*", "client_id", "a typed id")...).want(400)
		for _, name := range []string{"issuer", "scopes", "recheck", "allowed_domains", "role_map"} {
			if !strings.Contains(a.Body, `id="`+name+`-problem"`) {
				t.Errorf("%s: nothing at %s: %s", path, name, a.Body)
			}
		}
		a.says("family = root").saysNot("the secret of pocket")
		root.send(http.MethodPost, path, form(newPocket("id", "other", "issuer", "http://pocket.test", "recheck", "often", "allowed_domains", "*", "role_map", "family = root")...), fromPage, htmlOnly, inGerman).want(400).
			says("Das ist http ohne Verschlüsselung", `"*" ist keine Domain`, `family: Das ist "root"; es muss eines davon sein: admin, user, guest.`, "Muss eine Dauer wie 90s").
			saysNot("must be", "is not", "plain http")
		if !strings.Contains(a.Body, `<details class="more" open>`) || !strings.Contains(a.Body, `value="a typed id"`) {
			t.Error("what is wrong is hidden, or what was typed is gone")
		}
	}
	root.submit("/admin/providers/new", newPocket("id", "other", "role_map", "nonsense")...).want(400).says("like family = user")
	root.submit("/admin/providers/new", newPocket()...).want(409)
	for _, id := range []string{"pocket", "openid", "new", "UP", strings.Repeat("x", 33), "../x", "login"} {
		a := root.send("GET", "/admin/providers/new?kind=oidc&name=Kept&id="+url.QueryEscape(id), htmlOnly)
		if a.Status != 400 && a.Status != 409 || !strings.Contains(a.Body, `id="id-problem"`) || !strings.Contains(a.Body, "Kept") {
			t.Errorf("%s: %d %s", id, a.Status, a.Body)
		}
	}
	// A secret goes to no other issuer.
	root.submit("/admin/providers/pocket", newPocket("issuer", "https://evil.test", "client_secret", "")...).want(400).says("Is needed again")
	root.submit("/admin/providers/openid", newPocket()...).want(409)
	root.submit("/admin/providers/openid/delete").want(409)
	root.submit("/admin/providers/nobody", newPocket()...).want(404)
	root.submit("/admin/providers/pocket", newPocket("isuer", "x")...).want(400)
}

// A01: the pages of the providers are for administrators, and their forms come
// from these pages.
func TestA01ProviderPages(t *testing.T) {
	x, root, alice := officeAt(t)
	for _, path := range []string{"/admin/providers", "/admin/providers/new", "/admin/providers/new?kind=oidc", "/admin/providers/openid"} {
		alice.send("GET", path, htmlOnly).refused(403, broker.Forbidden, "")
		if to := x.do("GET", path, htmlOnly).location(); to.Path != "/login" {
			t.Errorf("%s: %s", path, to)
		}
	}
	for _, path := range []string{"/admin/providers/new", "/admin/providers/openid", "/admin/providers/openid/delete"} {
		alice.submit(path, newPocket()...).refused(403, broker.Forbidden, "")
		for _, site := range []string{"cross-site", "same-site", "none"} {
			root.send("POST", path, form(newPocket()...), header("Sec-Fetch-Site", site), htmlOnly).refused(403, broker.CrossSite, "")
		}
		root.send("POST", path, form(newPocket()...), htmlOnly).refused(403, broker.CrossSite, "")
	}
	if list, err := x.Broker.ProvidersNow(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
}

// A05: the name of a provider is a text.
func TestA05ProviderNames(t *testing.T) {
	_, root, _ := officeAt(t)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	root.submit("/admin/providers/new", newPocket("name", evil, "client_id", evil, "allowed_groups", "</textarea>"+evil)...).want(303)
	for _, path := range []string{"/admin/providers", "/admin/providers/pocket", "/admin/providers/new?kind=oidc&id=x&name=" + url.QueryEscape(evil), "/admin/providers/new?kind=oidc&id=" + url.QueryEscape(evil)} {
		if a := root.send("GET", path, htmlOnly); strings.Contains(a.Body, "<script>alert") || strings.Contains(a.Body, "<img") || !strings.Contains(a.Body, "&lt;script&gt;") {
			t.Errorf("%s: %s", path, a.Body)
		}
	}
}
