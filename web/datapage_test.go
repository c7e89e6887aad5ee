package web_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

const ownDataPath = "/account/data"

// rows are the elements of an array of an answer.
func (a *answer) rows(name string) (out []map[string]any) {
	a.t.Helper()
	found, _ := a.at(name)
	list, ok := found.([]any)
	if !ok {
		a.t.Fatalf("%s is %v", name, found)
	}
	for _, one := range list {
		out = append(out, one.(map[string]any))
	}
	return out
}

func TestDownloadOfOwnData(t *testing.T) {
	x := linkStart(t, nil)
	b := x.at("alice")
	x.links(b, "p1", "anna")
	key := b.makesKey().key()
	old := x.login("alice")
	x.do(http.MethodPost, "/logout", refreshHeader(old.refresh)).want(200)
	if err := x.Store.SaveConsent(context.Background(), broker.Consent{UserID: x.userID("alice"), ClientID: "gone", Scope: "openid", GrantedAt: x.Clock.Now()}); err != nil {
		t.Fatal(err)
	}
	x.links(x.at("mallory"), "p2", "mallory")
	b.open(ownDataPath).want(200).secure(false).says("What is stored about you", "Download all of it", "An administrator of this Latchkey deletes accounts")
	a := b.sends(ownDataPath).want(200)
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "Content-Disposition": `attachment; filename="latchkey-alice.json"`, "X-Content-Type-Options": "nosniff",
	} {
		if got := a.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if name := a.text("user.username"); name != "alice" {
		t.Error(name)
	}
	if list := a.rows("identities"); len(list) != 1 || list[0]["subject"] != "s-anna" || list[0]["how"] != "hand" {
		t.Errorf("%v", list)
	}
	if list := a.rows("apiKeys"); len(list) != 1 || list[0]["name"] != "Nightly backup" {
		t.Errorf("%v", list)
	}
	if list := a.rows("apps"); len(list) != 1 || list[0]["client_id"] != "gone" {
		t.Errorf("%v", list)
	}
	live := 0
	sessions := a.rows("sessions")
	for _, one := range sessions {
		if one["live"] == true {
			live++
		}
	}
	if len(sessions) != 2 || live != 1 {
		t.Errorf("%v", sessions)
	}
	names := []string{}
	for _, e := range a.rows("events") {
		if names = append(names, e["name"].(string)); e["userId"] != x.userID("alice") {
			t.Errorf("%v", e)
		}
	}
	if !slices.Contains(names, broker.EventIdentityLinked) || !slices.Contains(names, broker.EventAPIKeyCreated) || !slices.Contains(names, broker.EventSessionEnded) {
		t.Errorf("%v", names)
	}
	u := x.user("alice")
	for what, secret := range map[string]string{
		"the key": key, "its secret": key[strings.LastIndex(key, "_")+1:], "its hash": x.keysOf("alice")[0].SecretHash,
		"the password": harness.PasswordOf("alice"), "its hash too": string(u.PasswordHash), "somebody else": "mallory",
	} {
		if secret == "" || strings.Contains(a.Body, secret) {
			t.Errorf("%s is in the file", what)
		}
	}
}

// What administrators did is there; who they are, and where they were, is theirs.
func TestOwnDataTellsNothingOfAdministrators(t *testing.T) {
	x := newSite(t, setup{})
	b, root := x.inAs("alice"), x.login("root")
	id := x.userID("alice")
	const at = "203.0.113.77"
	x.do(http.MethodPatch, "/api/users/"+id, bearer(root.access), jsonBody(`{"name":"Alice"}`), from(at)).want(200)
	x.do(http.MethodPost, "/api/api-keys", bearer(root.access), jsonBody(`{"name":"made for alice","userId":"`+id+`"}`), from(at)).want(200)
	a := b.sends(ownDataPath).want(200)
	if strings.Contains(a.Body, at) || strings.Contains(a.Body, x.userID("root")) || strings.Contains(a.Body, "root\"") {
		t.Errorf("%s", a.Body)
	}
	by := []any{}
	for _, e := range a.rows("events") {
		if e["actor"] != "" {
			by = append(by, e["actor"])
		}
	}
	if len(by) != 2 || by[0] != "administrator" || by[1] != "administrator" {
		t.Errorf("%v", by)
	}
}

// However long the history, what is handed out is bounded, and says so.
func TestOwnDataIsBounded(t *testing.T) {
	x := newSite(t, setup{})
	b, id := x.inAs("alice"), x.userID("alice")
	err := x.Store.Tx(context.Background(), func(s broker.Store) error {
		for i := range broker.MaxOwnRows {
			e := broker.Event{ID: fmt.Sprintf("e%05d", i), At: x.Clock.Now().Add(-time.Duration(i+1) * time.Second), Name: broker.EventSessionStarted, UserID: id}
			if err := s.InsertEvent(context.Background(), e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a := b.sends(ownDataPath).want(200)
	if n := len(a.rows("events")); n != broker.MaxOwnRows {
		t.Errorf("%d events", n)
	}
	if events, _ := a.at("cut.events"); events != true {
		t.Error("the file does not say that it is cut")
	}
	if sessions, _ := a.at("cut.sessions"); sessions != false {
		t.Error("the sessions are all there")
	}
}

// The name of the file is ours, whatever somebody is called.
func TestNameOfTheDownload(t *testing.T) {
	x := newSite(t, setup{})
	for username, want := range map[string]string{
		`a"; filename="evil.html`: "latchkey-a---filename--evil-html.json", "../../etc/passwd": "latchkey-------etc-passwd.json", "zoë \u202egnp": "latchkey-zo---gnp.json",
	} {
		u, err := x.Broker.CreateUser(context.Background(), broker.NewUser{Username: username, Password: harness.PasswordOf("x")})
		if err != nil {
			t.Logf("%q is no username: %v", username, err)
			continue
		}
		b := x.newBrowser()
		b.post("/login/password", "username", u.Username, "password", harness.PasswordOf("x")).want(303)
		if got := b.sends(ownDataPath).want(200).Header.Get("Content-Disposition"); got != `attachment; filename="`+want+`"` {
			t.Errorf("%s", got)
		}
	}
}

// CSRF and strangers: nobody gets a file, and takes nothing back, from another site.
func TestDataPageCSRF(t *testing.T) {
	x := newSite(t, setup{})
	b := x.inAs("alice")
	consent := broker.Consent{UserID: x.userID("alice"), ClientID: "app", Scope: "openid", GrantedAt: x.Clock.Now()}
	if err := x.Store.SaveConsent(context.Background(), consent); err != nil {
		t.Fatal(err)
	}
	for _, from := range crossSite {
		b.send(http.MethodPost, ownDataPath, from...).refused(403, broker.CrossSite, "")
		b.send(http.MethodPost, ownDataPath+"/withdraw", append(slices.Clone(from), form("client_id", "app"))...).refused(403, broker.CrossSite, "")
	}
	x.newBrowser().send(http.MethodPost, ownDataPath, fromPage).location()
	b.sends(ownDataPath, "user", x.userID("root")).refused(400, broker.InvalidRequest, "")
	if _, err := x.Store.ConsentOf(context.Background(), consent.UserID, "app"); err != nil {
		t.Error(err)
	}
}

// Who takes an app back is asked by it again, and its sessions end; other people
// and other apps keep theirs.
func TestAppIsTakenBack(t *testing.T) {
	x := newProvider(t, setup{})
	x.User(t, "bob", broker.RoleUser)
	const uri = "https://asking.test/cb"
	letIn := func(b *browser) granted {
		t.Helper()
		page := b.authorize(request("asking", uri)).want(200)
		code := b.post("/oauth2/consent", "id", hidden(page, "id"), "decision", "allow").sentTo(uri).Get("code")
		return x.redeem("asking", uri, code).granted()
	}
	b := x.inAs("alice")
	mine, others, bobs := letIn(b), x.redeem("web1", "https://rp1.test/cb", x.codeFor(b, "web1", "https://rp1.test/cb")).granted(), letIn(x.inAs("bob"))
	b.open(ownDataPath).want(200).says("Asking App", "see your name and username", "Let in just now", "Take back from Asking App")
	b.follow(b.sends(ownDataPath+"/withdraw", "client_id", "asking").want(303)).want(200).says("The app is not let in any more", "You have let in no app")
	x.refreshAt("asking", mine.refresh).oauthError(400, "invalid_grant")
	x.refreshAt("web1", others.refresh).want(200)
	x.refreshAt("asking", bobs.refresh).want(200)
	if b.whose() != "alice" {
		t.Error("the browser is logged out")
	}
	b.authorize(request("asking", uri)).want(200).says("Asking App")
	b.follow(b.sends(ownDataPath+"/withdraw", "client_id", "asking").want(303)).want(200).says("You have not let in such an app")
	list, err := x.Broker.Events(context.Background(), broker.EventFilter{Name: broker.EventConsentWithdrawn, Limit: 10})
	if err != nil || len(list) != 1 || list[0].ClientID != "asking" {
		t.Errorf("%v, %v", list, err)
	}
}

// "Download all of it" had none of the second factors.
func TestDownloadHasTheSecondFactors(t *testing.T) {
	x := newSite(t, setup{})
	alice, now := x.userID("alice"), x.Clock.Now()
	k := broker.Passkey{ID: "01900000-0000-7000-8000-000000000001", CredentialID: "credential-of-alice", UserID: alice, Name: "Phone", PublicKey: "key-of-alice", Transports: []string{"internal"}, CreatedAt: now}
	if ok, err := x.Store.InsertPasskey(t.Context(), k, 20); err != nil || !ok {
		t.Fatal(ok, err)
	}
	b := x.at("alice")
	b.open(ownDataPath).want(200).says("your second factors: passkeys")
	a := b.sends(ownDataPath).want(200)
	if list := a.rows("factors.passkeys"); len(list) != 1 || list[0]["name"] != "Phone" || list[0]["createdAt"] != float64(now.UnixMilli()) || list[0]["lastUsedAt"] != nil {
		t.Errorf("%v", list)
	}
	for _, secret := range []string{k.PublicKey, k.CredentialID} {
		a.saysNot(secret)
	}
}
