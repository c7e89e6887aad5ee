package web_test

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// desk is a browser in which somebody is logged in, at the pages of the office.
type desk struct {
	*site
	jar option
}

func (x *site) desk(name string) desk {
	x.t.Helper()
	return desk{x, cookies(x.pageLogin(name))}
}

func (d desk) get(path string) *answer {
	d.t.Helper()
	return d.do(http.MethodGet, path, d.jar, htmlOnly)
}

// post sends a form of a page of the house.
func (d desk) post(path string, pairs ...string) *answer {
	d.t.Helper()
	return d.do(http.MethodPost, path, d.jar, htmlOnly, fromPage, form(pairs...))
}

// does expects that a form did its work, and opens the page that it leads to.
func (d desk) does(path string, pairs ...string) *answer {
	d.t.Helper()
	a := d.post(path, pairs...)
	to := a.location()
	if a.Status != http.StatusSeeOther {
		d.t.Fatalf("%s: %d %s", a.request, a.Status, plain(a.Body))
	}
	return d.get(to.RequestURI()).want(200)
}

func (d desk) make(name string, change func(*broker.NewUser)) broker.User {
	d.t.Helper()
	n := broker.NewUser{Username: name, Password: harness.PasswordOf(name)}
	if change != nil {
		change(&n)
	}
	u, err := d.Broker.CreateUser(context.Background(), n)
	if err != nil {
		d.t.Fatal(err)
	}
	return u
}

func TestOfficeUserList(t *testing.T) {
	x := newSite(t, setup{idp: startIdP(t)})
	root := x.desk("root")
	root.get("/admin/users").want(200).secure(false).says("New user", "root", "alice", "active", "any")
	for i := range 55 {
		root.make("user"+string(rune('a'+i/26))+string(rune('a'+i%26)), func(n *broker.NewUser) { n.Name, n.Email = "Somebody", "some"+n.Username+"@example.org" })
	}
	first := root.get("/admin/users?search=some").want(200).says("Next page").saysNot("First page", "alice")
	next := regexp.MustCompile(`href="(\?[^"]*next=[^"]*)"`).FindStringSubmatch(first.Body)
	if next == nil || len(first.Body) > 45_000 {
		t.Fatalf("no next page in %d bytes", len(first.Body))
	}
	second := root.get("/admin/users" + strings.ReplaceAll(next[1], "&amp;", "&")).want(200).says("First page").saysNot("Next page")
	if n := strings.Count(second.Body, "<tr>") - 1; n != 5 {
		t.Errorf("%d rows on the second page, want 5", n)
	}
	if err := x.Broker.SetDisabled(context.Background(), x.idOf("useraa"), true); err != nil {
		t.Fatal(err)
	}
	root.get("/admin/users?disabled=true").want(200).says("useraa", "disabled").saysNot("userab")
	root.get("/admin/users?role=root&search=&disabled=&provider=").want(200).says("root").saysNot("useraa")
	root.get("/admin/users?search=nobody").want(200).says("Nobody fits this search.", "Show everybody")
	root.get("/admin/users?role=king").want(400)
	root.get("/admin/users?serach=x").want(400)
}

func TestOfficeIsForAdministrators(t *testing.T) {
	x := newSite(t, setup{})
	alice := x.desk("alice")
	rows := x.sessions("alice", true)
	for _, path := range []string{"/admin/users", "/admin/users/new", "/admin/users/" + x.idOf("root"), "/admin/sessions", "/admin/sessions/" + rows[0].ID} {
		alice.get(path).refused(403, broker.Forbidden, "").says("This page is for administrators.")
		if to := x.do(http.MethodGet, path, htmlOnly).location(); to.Path != "/login" || to.Query().Get("next") == "" {
			t.Errorf("%s leads a stranger to %s", path, to)
		}
	}
	user := "/admin/users/" + x.idOf("root")
	for _, path := range []string{
		"/admin/users/new", user, user + "/permissions", user + "/state", user + "/unlink", user + "/end-sessions", user + "/end-legacy-tokens", user + "/api-keys",
		user + "/password", user + "/delete", "/admin/sessions/end", "/admin/sessions/" + rows[0].ID + "/end",
	} {
		alice.post(path, "username", "x").refused(403, broker.Forbidden, "")
		x.do(http.MethodPost, path, x.desk("root").jar, htmlOnly, header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.example"), form("username", "x")).
			refused(403, broker.CrossSite, "")
		x.do(http.MethodPost, path, x.desk("root").jar, htmlOnly, form("username", "x")).refused(403, broker.CrossSite, "")
	}
	if u, err := x.Broker.FindUser(context.Background(), "root"); err != nil || u.Username != "root" || !u.DisabledAt.IsZero() {
		t.Errorf("%+v %v", u, err)
	}
}

var secretShown = regexp.MustCompile(`<code [^>]*data-copy="Copy"[^>]*>([^<]*)</code>`)

func (a *answer) secret() string {
	a.t.Helper()
	found := secretShown.FindStringSubmatch(a.want(200).Body)
	if found == nil {
		a.t.Fatalf("%s: no secret in %s", a.request, a.Body)
	}
	return found[1]
}

func TestOfficeMakesUsers(t *testing.T) {
	x := newSite(t, setup{})
	root := x.desk("root")
	root.get("/admin/users/new").want(200).secure(false).says("How the person gets in", "by an invitation link")

	invited := root.post("/admin/users/new", "username", "ben", "name", "Ben", "email", "ben@example.org", "emailVerified", "1", "role", "user", "how", "invitation").secure(false)
	link := invited.secret()
	invited.says("Invitation", "With this link Ben chooses a password", "It works once, until 5 January 2026 at 03:04 UTC.")
	if !strings.HasPrefix(link, publicURL+"/password?token=") || strings.Contains(x.log.String(), link) {
		t.Errorf("the link is %s", link)
	}
	opened := x.do(http.MethodGet, strings.TrimPrefix(link, publicURL))
	x.do(http.MethodPost, "/password", form("token", opened.cookies[0].Value, "password", harness.PasswordOf("ben"))).location()
	x.pageLogin("ben")
	page := "/admin/users/" + x.idOf("ben")
	root.get(page).says("Ben", "ben@example.org, verified", "The person chose it.").saysNot(link)

	password := root.post("/admin/users/new", "username", "carla", "role", "guest", "how", "password").says("Temporary password").secret()
	x.do(http.MethodPost, "/login", jsonBody(toJSON(map[string]string{"username": "carla", "password": password}))).refused(403, broker.PasswordChangeRequired, "")

	root.does("/admin/users/new", "username", "dora", "role", "user", "how", "provider").says("The user was made.", "no login yet", "There is none.")

	for field, pairs := range map[string][]string{
		"username": {"username", "ALICE", "name", "Kept <name>", "role", "user", "how", "invitation"}, "email": {"username", "eva", "name", "Kept <name>", "email", "no@", "role", "user", "how", "password"},
		"role": {"username", "eva", "name", "Kept <name>", "role", "king", "how", "password"}, "how": {"username", "eva", "name", "Kept <name>", "role", "user", "how", "somehow"},
	} {
		a := root.post("/admin/users/new", pairs...)
		if a.Status < 400 || !strings.Contains(a.Body, `id="`+field+`-problem"`) || !strings.Contains(a.Body, `value="Kept &lt;name&gt;"`) {
			t.Errorf("%s: %d %s", field, a.Status, a.Body)
		}
	}
	if _, err := x.Broker.FindUser(context.Background(), "eva"); err == nil {
		t.Error("a form with a fault made a user")
	}
}

// What an administrator invites is worth no more than the administrator.
func TestOfficeInvitationEndsWithItsMaker(t *testing.T) {
	x := newSite(t, setup{})
	boss := x.User(t, "boss", broker.RoleAdmin)
	admin := x.desk("boss")
	link := admin.post("/admin/users/new", "username", "ben", "role", "user", "how", "invitation").secret()
	admin.post("/admin/users/new", "username", "eva", "role", "root", "how", "password").refused(403, broker.Forbidden, "").says("Nobody gives a role above his own.")
	admin.post("/admin/users/new", "username", "eva", "role", "admin", "how", "invitation").refused(403, broker.Forbidden, "").says("Only root makes password links for administrators.")
	if err := x.Broker.SetDisabled(context.Background(), boss.ID, true); err != nil {
		t.Fatal(err)
	}
	opened := x.do(http.MethodGet, strings.TrimPrefix(link, publicURL))
	x.do(http.MethodGet, "/password", cookies(opened.cookies)).refused(400, broker.PasswordLinkInvalid, "")
}

func TestOfficeUserPage(t *testing.T) {
	x := newSite(t, setup{})
	root := x.desk("root")
	phone := x.login("alice", from("203.0.113.7"), header("User-Agent", "Shelf/2.0 (phone)"))
	old := x.login("alice")
	x.do(http.MethodPost, "/logout", refreshHeader(old.refresh))
	id := x.idOf("alice")
	at := "/admin/users/" + id
	root.get(at).want(200).secure(false).says("alice", "user", "Shelf", "203.0.113.7", "Logged out on the device", "A session of alice in Latchkey ended: Logged out on the device.", "alice logged in to Latchkey with a password.", "They are those of the role.")

	root.does(at, "username", "alicia", "name", "Alicia", "email", "a@example.org", "emailVerified", "1", "role", "guest").says("The change is saved.", "Alicia", "a@example.org, verified", "guest", "The account of alicia was changed")
	root.post(at, "username", "root", "name", "Kept", "role", "guest").refused(409, broker.UsernameTaken, "").says("This username is taken").says("Code: username_taken")
	root.does(at+"/permissions", "download", "1", "upload", "1", "librariesAccessible", "one\r\n two \r\n\r\n").says("The permissions are saved.", "They were set for this person.")
	u, err := x.Broker.UserByID(context.Background(), id)
	if err != nil || u.Permissions == nil || !u.Permissions.Upload || u.Permissions.AccessAllTags || strings.Join(u.Permissions.Libraries, " ") != "one two" {
		t.Errorf("%+v %v", u.Permissions, err)
	}
	tooLong := root.post(at+"/permissions", "itemTagsSelected", strings.Repeat("x", 200)).want(400)
	if !strings.Contains(tooLong.Body, `id="itemTagsSelected-problem"`) || !strings.Contains(tooLong.Body, `<details class="ask" open>`) {
		t.Error("the fault does not stand at its field")
	}

	key, text, err := x.Broker.CreateAPIKey(context.Background(), nil, broker.NewAPIKey{Name: "backup", UserID: id}, broker.Device{})
	if err != nil {
		t.Fatal(err)
	}
	root.get(at).says("backup", "never used").saysNot(text.Reveal())
	root.does(at+"/api-keys", "key", key.ID, "to", "disabled").says("The API key is changed.", "disabled")
	root.does(at+"/api-keys", "key", key.ID, "to", "deleted").says("The API key is deleted.").saysNot("backup")

	link := root.post(at+"/password", "by", "link").says("chooses another password").secret()
	if root.get(at).saysNot(link); !strings.HasPrefix(link, publicURL+"/password?token=") {
		t.Error(link)
	}
	x.refresh(phone.refresh).pair()
	root.does(at+"/end-sessions", "wipe", "1").says("Every session of the account has ended.", "Ended by an administrator", "Nowhere.")
	x.refresh(phone.refresh).refused(401, broker.RevokedByAdmin, "wipe")

	root.does(at+"/state", "to", "disabled").says("The account is disabled", "Enable the account")
	x.sendLogin("alicia", harness.PasswordOf("alice")).want(401)
	root.does(at+"/state", "to", "enabled").says("The account is enabled again.")
	temporary := root.post(at+"/password", "by", "password").says("Temporary password").secret()
	x.do(http.MethodPost, "/login", jsonBody(toJSON(map[string]string{"username": "alicia", "password": temporary}))).refused(403, broker.PasswordChangeRequired, "")
	root.get(at).says("It is temporary")

	for path, pairs := range map[string][]string{"/state": {"to", "x"}, "/unlink": {}, "/api-keys": {"key", "x", "to", "x"}, "/password": {"by", "x"}, "": {"id", "x"}, "/delete": {"id", "x"}} {
		root.post(at+path, pairs...).want(400)
	}
	root.does(at + "/delete").says("The user was deleted.").saysNot("Alicia")
	root.get(at).want(404).says("There is no such user")
	root.post(at, "username", "x").want(404)
	root.get("/admin/users/%20").want(404)
}

func TestOfficeRights(t *testing.T) {
	x := newSite(t, setup{})
	boss := x.User(t, "boss", broker.RoleAdmin)
	root, admin := "/admin/users/"+x.idOf("root"), x.desk("boss")
	admin.get(root).want(200).says("root").saysNot("Delete the account", "Disable the account", "Change permissions", ">Reset<", "Make a link")
	for path, pairs := range map[string][]string{
		"": {"username", "x"}, "/permissions": {"upload", "1"}, "/state": {"to", "disabled"}, "/password": {"by", "link"}, "/delete": {},
	} {
		admin.post(root+path, pairs...).refused(403, broker.Forbidden, "").says("Only root")
	}
	admin.post(root+"/password", "by", "password").refused(403, broker.Forbidden, "")
	admin.post(root+"/unlink", "identity", "x").refused(403, broker.Forbidden, "").says("Only root unlinks")
	// Nobody takes from himself what only somebody else could give back.
	own := "/admin/users/" + boss.ID
	admin.get(own).want(200).says("this is your own account", "Save").saysNot("Delete the account", "Disable the account", `name="role"`, "Make a link")
	admin.post(own+"/delete").refused(403, broker.Forbidden, "").says("You cannot delete yourself; another administrator can.")
	admin.post(own+"/state", "to", "disabled").refused(403, broker.Forbidden, "").says("You cannot disable yourself")
	// The last administrator stays; only another one could try, so the rule is the store's.
	if u, err := x.Broker.UserByID(context.Background(), x.idOf("root")); err != nil || !u.DisabledAt.IsZero() {
		t.Error(u, err)
	}
}

func TestOfficeEscapesNames(t *testing.T) {
	x := newSite(t, setup{})
	root := x.desk("root")
	for i, payload := range payloads {
		u := root.make("user"+string(rune('a'+i)), func(n *broker.NewUser) { n.Name = payload })
		if _, _, err := x.Broker.CreateAPIKey(context.Background(), nil, broker.NewAPIKey{Name: payload[:min(len(payload), 100)], UserID: u.ID}, broker.Device{}); err != nil {
			t.Fatal(err)
		}
		err := x.Store.InsertIdentity(context.Background(), broker.Identity{Issuer: "https://i", Subject: payload, ProviderID: payload, UserID: u.ID, Email: payload, Username: payload, CreatedAt: x.Clock.Now(), LastUsedAt: x.Clock.Now()})
		if err != nil {
			t.Fatal(err)
		}
		p := x.login(u.Username, header("User-Agent", strings.ReplaceAll(payload, "\r\n", " ")))
		x.Clock.Advance(time.Second)
		root.get("/admin/users/" + u.ID).want(200).bare()
		root.get("/admin/sessions?user=" + u.ID).want(200).bare()
		root.post("/admin/users/"+u.ID, "username", payload, "name", payload, "email", payload, "role", payload).bare()
		root.post("/admin/users/new", "username", payload, "name", payload, "email", payload, "role", payload, "how", payload).bare()
		_ = p
	}
	root.get("/admin/users").want(200).bare()
	root.get("/admin/sessions").want(200).bare()
}

var handlers = regexp.MustCompile(`<[^>]*\s(on[a-z]+|style)\s*=[^>]*>|<script>|<h2>x|<svg on|[^0-9a-f-]49[^0-9a-f-]`)

// bare expects that nothing of a payload became markup or a link, on pages that
// have headings and a script of their own.
func (a *answer) bare() {
	a.t.Helper()
	if found := handlers.FindString(quoted.ReplaceAllString(a.Body, "")); found != "" {
		a.t.Errorf("%s: %s in %s", a.request, found, a.Body)
	}
	for _, link := range a.links() {
		if !strings.HasPrefix(link, "/") && !strings.HasPrefix(link, publicURL) && !strings.HasPrefix(link, "?") && !strings.HasPrefix(link, "#") {
			a.t.Errorf("%s: leads to %q", a.request, link)
		}
	}
}

// A user's page had neither the consents nor which second factors there are.
func TestUserPageShowsConsentsAndFactors(t *testing.T) {
	x := newSite(t, setup{})
	alice, now := x.userID("alice"), x.Clock.Now()
	for _, id := range []string{"1", "2"} {
		k := broker.Passkey{ID: "01900000-0000-7000-8000-00000000000" + id, CredentialID: "credential " + id, UserID: alice, Name: "Phone", PublicKey: "key", CreatedAt: now}
		if ok, err := x.Store.InsertPasskey(t.Context(), k, 20); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	if _, err := x.Store.SetSecondFactor(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	if err := x.Store.SaveConsent(t.Context(), broker.Consent{UserID: alice, ClientID: "shelf", Scope: "openid email", GrantedAt: now}); err != nil {
		t.Fatal(err)
	}
	root := x.inBrowser("root")
	before := x.Statements.Load()
	root.send(http.MethodGet, "/admin/users/"+alice, htmlOnly).want(200).says("2 passkeys", "Apps that the person let in", "shelf", "openid email").saysNot("Authenticator app")
	if n := x.Statements.Load() - before; n > 8 {
		t.Errorf("%d statements", n)
	}
}
