package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// A guest's account may be several people's: the download tells one nothing of
// where the others are.
func TestDownloadOfAGuestTellsNothingOfTheOthers(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "kiosk", broker.RoleGuest)
	one, other := x.at("kiosk", from("198.51.100.1"), agent(firefoxOnLinux)), x.at("kiosk", from("198.51.100.2"), agent(chromeOnPhone))
	one.open(ownDataPath).want(200).says("the file has only the login of this device")
	a := one.sends(ownDataPath).want(200)
	if list := a.rows("sessions"); len(list) != 1 || list[0]["id"] != one.session() {
		t.Errorf("%v", list)
	}
	if list := a.rows("events"); len(list) == 0 {
		t.Error("the own login is not there")
	}
	for _, secret := range []string{other.session(), "198.51.100.2", "Android"} {
		if strings.Contains(a.Body, secret) {
			t.Errorf("%s is in the file", secret)
		}
	}
}

// An app that was taken back does not come in again by a code that was still on
// its way to it.
func TestCodeOutlivesNoWithdrawnConsent(t *testing.T) {
	x := newProvider(t, setup{})
	const uri = "https://asking.test/cb"
	b := x.inAs("alice")
	code := func() string {
		page := b.authorize(request("asking", uri)).want(200)
		return b.post("/oauth2/consent", "id", hidden(page, "id"), "decision", "allow").sentTo(uri).Get("code")
	}
	before := code()
	b.sends(ownDataPath+"/withdraw", "client_id", "asking").want(303)
	x.redeem("asking", uri, before).oauthError(400, "invalid_grant")
	for _, s := range x.sessions("alice", true) {
		if s.ClientID == "asking" {
			t.Errorf("the app has a session: %+v", s)
		}
	}
	x.redeem("asking", uri, code()).granted()
}

// What the form of a provider has no field for is not lost where it is saved.
func TestSavingAProviderKeepsItsLogo(t *testing.T) {
	x, root, _ := officeAt(t)
	api := bearer(x.login("root").access)
	const logo = "data:image/svg+xml;base64,PHN2Zy8+"
	x.do("POST", "/api/providers", api, jsonBody(`{"id":"pocket","issuer":"https://pocket.test","client_id":"latchkey","client_secret":"the secret of pocket","logo":"`+logo+`"}`)).want(201)
	root.submit("/admin/providers/pocket", "name", "Renamed", "issuer", "https://pocket.test", "client_id", "latchkey", "client_secret", "", "provision", "create",
		"link_by", "none", "require_verified_email", "if_present", "token_endpoint_auth", "auto").want(303)
	if p, err := x.Broker.FindProvider(t.Context(), "pocket"); err != nil || p.Name != "Renamed" || p.Logo != logo {
		t.Errorf("%+v %v", p.ProviderSettings, err)
	}
}

// A secret goes to no other server than the one that it was typed for: whoever
// moves a provider and tries it gets nothing.
func TestSecretFollowsNoMovedProvider(t *testing.T) {
	_, root, _ := officeAt(t)
	root.submit("/admin/providers/new", newPocket()...).want(303)
	root.submit("/admin/providers/pocket", "name", "Pocket", "issuer", "https://evil.test", "client_id", "latchkey", "client_secret", "", "provision", "create",
		"link_by", "none", "require_verified_email", "if_present", "token_endpoint_auth", "auto").want(400).contains(`id="client_secret-problem"`)
}

// An administrator makes a client that may administrate, and leads root's browser
// to it: what comes back would be root's own power.
func TestAdministratorBecomesNoRootByAClient(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "admin", broker.RoleAdmin)
	b, api := x.inAs("admin"), bearer(x.login("admin").access)
	b.sends("/admin/connect/service", "client_name", "Evil", "client_id", "evil", "scope", "latchkey:admin").refused(403, broker.Forbidden, "")
	evil := `{"client_id":"evil","client_name":"Evil","redirect_uris":["https://evil.test/cb"],"first_party":true,"scope":"openid latchkey:admin"}`
	x.do(http.MethodPost, "/api/clients", api, jsonBody(evil)).want(403)
	x.do(http.MethodPost, "/api/clients", api, jsonBody(strings.ReplaceAll(evil, " latchkey:admin", ""))).want(201)
	x.do(http.MethodPut, "/api/clients/evil", api, jsonBody(strings.ReplaceAll(evil, `"client_id":"evil",`, ""))).want(403)
	b.sends("/admin/clients/evil", "do", "save", "client_name", "Evil", "redirect_uris", "https://evil.test/cb", "scope", "openid latchkey:admin",
		"application_type", "web", "grant_code", "1", "way_local", "1").refused(403, broker.Forbidden, "")

	// One that root made stays as root made it; it can be taken away.
	root := bearer(x.login("root").access)
	x.do(http.MethodPost, "/api/clients", root, jsonBody(strings.ReplaceAll(evil, "evil", "console"))).want(201)
	x.do(http.MethodPut, "/api/clients/console", api, jsonBody(`{"client_name":"Evil","redirect_uris":["https://evil.test/cb"],"first_party":true}`)).want(403)
	b.sends("/admin/clients/console", "do", "secret").refused(403, broker.Forbidden, "")
	b.sends("/admin/clients/console", "do", "delete").want(303)
}
