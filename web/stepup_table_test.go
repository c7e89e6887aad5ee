package web_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// guarded is something that a stolen cookie must not do: the form that does it, and
// which form of its page that is.
type guarded struct {
	route, path, asks string
	form              []string
}

// stepUpWorld has something of everything that asks for a proof.
func stepUpWorld(t testing.TB) (x *site, list []guarded) {
	t.Helper()
	x = newProvider(t, setup{failures: 1000})
	shelf, _, err := x.Broker.CreateClient(t.Context(), broker.Client{ID: "shelf", Name: "Shelf", RedirectURIs: []string{"https://shelf.test/cb"}})
	if err != nil {
		t.Fatal(err)
	}
	off := x.offAndDisabled()
	alice, root := x.user("alice"), x.user("root")
	x.Enrol(t, "alice")
	linked, hers, mine := x.linkFor("alice"), x.keyOff("alice"), x.keyOff("root")
	short, _ := x.keyFor("root", func(n *broker.NewAPIKey) { n.ExpiresIn = time.Hour })
	d := x.do(http.MethodPost, "/oauth2/device_authorization", form("client_id", "nat1", "scope", "openid")).want(200)
	settings := fieldsOf(x.inAs("root").open("/admin/clients/shelf").want(200), "client")
	user := "/admin/users/" + alice.ID
	profile := []string{"username", "alice", "name", "", "email", "", "role", "user"}
	return x, []guarded{
		{"POST /device", "/device", "let-in", []string{"user_code", d.text("user_code"), "decision", "allow"}},
		{"POST /account/api-keys", keysPath, "new-key", []string{"ticket", x.Broker.FormTicket(root.ID), "name", "x", "scope", "latchkey:read", "expires", "never"}},
		{"POST /account/api-keys/:id", keysPath + "/" + short, "key", []string{"name", "x", "expires", "never"}},
		{"POST /account/api-keys/:id/switch", keysPath + "/" + mine + "/switch", "switch", []string{"active", "1"}},
		{"POST /admin/connect/:what", "/admin/connect/web", "new-client", []string{"client_name", "Evil", "redirect_uris", "https://evil.test/cb"}},
		{"POST /admin/clients/*id", "/admin/clients/shelf", "save", differ(settings, "redirect_uris", "https://evil.test/cb")},
		{"POST /admin/clients/*id", "/admin/clients/shelf", "secret", []string{"do", "secret", "ticket", x.Broker.FormTicket(root.ID)}},
		{"POST /admin/clients/*id", "/admin/clients/" + shelf.ID, "delete", []string{"do", "delete"}},
		{"POST /admin/keys/rotate", "/admin/keys/rotate", "rotate", nil},
		{"POST /admin/keys/revoke", "/admin/keys/revoke", "revoke-" + x.Broker.SigningKeys()[0].ID, []string{"kid", x.Broker.SigningKeys()[0].ID}},
		{"POST /admin/users/new", "/admin/users/new", "new-user", []string{"username", "link", "role", "user", "how", "invitation"}},
		{"POST /admin/users/new", "/admin/users/new", "new-user", []string{"username", "pass", "role", "user", "how", "password"}},
		{"POST /admin/users/new", "/admin/users/new", "new-user", []string{"username", "idp", "role", "user", "how", "provider"}},
		{"POST /admin/users/:id", "/admin/users/" + off.ID, "profile", differ(profile, "username", "renamed")},
		{"POST /admin/users/:id", user, "profile", differ(profile, "email", "mallory@evil.test")},
		{"POST /admin/users/:id", user, "profile", differ(profile, "role", "admin")},
		{"POST /admin/users/:id/permissions", user + "/permissions", "permissions", []string{"download", "1", "delete", "1"}},
		{"POST /admin/users/:id/password", user + "/password", "password", []string{"by", "link"}},
		{"POST /admin/users/:id/reset-factors", user + "/reset-factors", "factors", nil},
		{"POST /admin/users/:id/state", "/admin/users/" + off.ID + "/state", "state", []string{"to", "enabled"}},
		{"POST /admin/users/:id/api-keys", user + "/api-keys", "key-" + hers, []string{"key", hers, "to", "enabled"}},
		{"POST /admin/users/:id/unlink", user + "/unlink", "unlink-" + linked, []string{"identity", linked}},
		{"POST /admin/users/:id/delete", "/admin/users/" + off.ID + "/delete", "delete", nil},
	}
}

// state is what there is that the forms of [stepUpWorld] change.
func (x *site) state() string {
	x.t.Helper()
	ctx := context.Background()
	events, _, err := x.Broker.PageEvents(ctx, broker.EventFilter{}, broker.Page{Limit: broker.MaxEvents})
	if err != nil {
		x.t.Fatal(err)
	}
	_, sessions, err := x.Store.ListSessions(ctx, broker.SessionFilter{All: true, LiveAt: x.Clock.Now()}, 0, 1)
	if err != nil {
		x.t.Fatal(err)
	}
	text, err := json.Marshal([]any{events, sessions, x.user("alice"), x.clients(), x.keysOf("alice"), x.keysOf("root"), x.Broker.SigningKeys()})
	if err != nil {
		x.t.Fatal(err)
	}
	return string(text)
}

func TestStolenCookieDoesNothingThatOutlivesIt(t *testing.T) {
	x, list := stepUpWorld(t)
	b := x.stolen("root")
	before := x.state()
	for _, g := range list {
		name := g.route + " " + strings.Join(g.form, " ")
		a := b.sends(g.path, g.form...)
		if a.Status != 400 || a.Header.Get("Latchkey-Code") != string(broker.LoginRequired) || !strings.Contains(a.Body, `id="proof-`+g.asks+`-problem"`) {
			t.Errorf("%s: %d %s", name, a.Status, a.Header.Get("Latchkey-Code"))
		}
		wrong := b.sends(g.path, append(slices.Clone(g.form), "proof", "a guess of mine")...)
		if wrong.Status != 400 || wrong.Header.Get("Latchkey-Code") != string(broker.WrongPassword) || strings.Contains(wrong.Body, "a guess of mine") {
			t.Errorf("%s with a guess: %d %s", name, wrong.Status, wrong.Header.Get("Latchkey-Code"))
		}
		to := b.sends(g.path, append(slices.Clone(g.form), "again", g.asks)...)
		if at := to.Header.Get("Location"); to.Status != 303 || !strings.HasPrefix(at, publicURL+"/login?switch=1&next=") || !strings.Contains(at, "again%3D1") {
			t.Errorf("%s: again leads to %d %q", name, to.Status, at)
		}
		if x.state() != before {
			t.Fatalf("%s changed something", name)
		}
	}
}

// Whoever is there does it all: by the password, or within five minutes of a login.
func TestProofLetsItsOwnerDoIt(t *testing.T) {
	for what, in := range map[string]func(*site) (*browser, []string){
		"the password": func(x *site) (*browser, []string) {
			return x.stolen("root"), []string{"proof", harness.PasswordOf("root")}
		},
		"a fresh login": func(x *site) (*browser, []string) { return x.inAs("root"), nil },
	} {
		x, list := stepUpWorld(t)
		b, proof := in(x)
		for _, g := range list {
			before := x.state()
			a := b.sends(g.path, append(slices.Clone(g.form), proof...)...)
			if a.Status >= 400 || g.route != "POST /device" && x.state() == before {
				t.Errorf("%s, %s %v: %d %s", what, g.route, g.form, a.Status, plain(a.Body))
			}
		}
	}
}

// notAsked are the forms of the room and the office that ask for no proof, and why.
var notAsked = map[string]string{
	"POST /account/devices/end":                 "throws a thief out",
	"POST /account/devices/end-others":          "throws a thief out",
	"POST /account/devices/end-all":             "throws a thief out",
	"POST /account/devices/name":                "is a name",
	"POST /account/api-keys/:id/delete":         "takes away what a thief may have",
	"POST /account/data":                        "shows what the pages show",
	"POST /account/data/withdraw":               "takes away what a thief may have let in",
	"POST /account/identities/link":             "always asks, fresh or not in the browser alone: web/link_attack_test.go",
	"POST /account/identities/unlink":           "always asks: web/link_attack_test.go",
	"POST /account/password":                    "asks for the password, however fresh the login: web/passwordpage_test.go",
	"POST /account/factors/totp":                "asks for the password, however fresh the login: web/factors_test.go",
	"POST /account/factors/totp/confirm":        "goes on with what was asked for",
	"POST /account/factors/totp/remove":         "asks for a code: web/factors_test.go",
	"POST /account/factors/recovery":            "asks for a code: web/factors_test.go",
	"POST /account/factors/passkeys":            "goes on with what was asked for",
	"POST /account/factors/passkeys/options":    "asks for the password, however fresh the login: web/passkey_attack_test.go",
	"POST /account/factors/passkeys/:id":        "is a name",
	"POST /account/factors/passkeys/:id/remove": "asks for a code: web/factors_test.go",
	"POST /admin/setup":                         "puts a list away",
	"POST /admin/providers/new":                 "asks: TestStolenCookieConnectsNoProviderOfItsOwn",
	"POST /admin/providers/:id":                 "asks: TestStolenCookieConnectsNoProviderOfItsOwn",
	"POST /admin/providers/:id/delete":          "asks: TestStolenCookieConnectsNoProviderOfItsOwn",
	"POST /admin/providers/:id/check":           "changes nothing",
	"POST /admin/providers/:id/dry-run":         "changes nothing",
	"POST /admin/users/:id/end-sessions":        "throws a thief out",
	"POST /admin/users/:id/end-legacy-tokens":   "throws a thief out",
	"POST /admin/sessions/end":                  "throws thieves out of one person, client or provider",
	"POST /admin/sessions/:id/end":              "throws a thief out",
}

// A form that is added to the room or the office asks for a proof, or says here why not.
func TestEveryFormAsksOrSaysWhyNot(t *testing.T) {
	x, list := stepUpWorld(t)
	_, posts := pageRoutes(t, x.Broker)
	asked := map[string]bool{}
	for _, g := range list {
		asked[g.route] = true
	}
	there := 0
	for _, path := range posts {
		if !strings.HasPrefix(path, "/account") && !strings.HasPrefix(path, "/admin") && path != "/device" {
			continue
		}
		there++
		if route := "POST " + path; asked[route] == (notAsked[route] != "") {
			t.Errorf("%s: neither asks nor says why not, or both", route)
		}
	}
	if want := len(asked) + len(notAsked); there != want {
		t.Errorf("%d forms are there, and %d are known", there, want)
	}
}

// A program that anybody may say to be gets no session of its own by a cookie: not by a
// yes, and not without a page.
func TestStolenCookieLetsNoAppIn(t *testing.T) {
	const uri = "app.one:/oauth"
	x := newProvider(t, setup{broker: func(c *broker.Config) {
		for _, differs := range []broker.Client{
			{ID: "nat2", FirstParty: false, RedirectURIs: []string{uri}, ApplicationType: broker.ApplicationNative},
			{ID: "spa2", FirstParty: false, RedirectURIs: []string{"https://spa2.test/cb"}},
		} {
			differs.TokenEndpointAuthMethod = broker.AuthNone
			checked, err := broker.CheckClient(differs)
			if err != nil {
				t.Fatal(err)
			}
			c.Clients = append(c.Clients, checked)
		}
	}})
	b := x.stolen("alice")
	sessions, word := x.rows(), harness.PasswordOf("alice")
	for client, to := range map[string]string{"nat1": uri, "nat2": uri, "spa2": "https://spa2.test/cb"} {
		page := b.authorize(request(client, to)).want(200).contains(`id="proof-let-in"`)
		id := hidden(page, "id")
		b.sends("/oauth2/consent", "id", id, "decision", "allow").refused(400, broker.LoginRequired, "").contains(`id="proof-let-in-problem"`)
		b.sends("/oauth2/consent", "id", id, "decision", "allow", "proof", "a guess").refused(400, broker.WrongPassword, "").contains(`id="proof-let-in-problem"`)
		if at := b.sends("/oauth2/consent", "id", id, "again", "let-in").want(303).location(); at.Query().Get("next") != publicURL+"/oauth2/continue?id="+id+"&again=1" {
			t.Errorf("it leads to %s", at)
		}
		want := map[string]string{"nat1": "login_required"}[client]
		if want == "" {
			want = "consent_required"
		}
		if q := b.authorize(request(client, to, "prompt", "none")).sentTo(to); q.Get("error") != want || q.Get("code") != "" {
			t.Errorf("%s without a page: %v", client, q)
		}
		if b.sends("/oauth2/consent", "id", hidden(b.authorize(request(client, to)), "id"), "decision", "deny").sentTo(to).Get("error") != "access_denied" {
			t.Error("a no needs a proof")
		}
		code := b.sends("/oauth2/consent", "id", id, "decision", "allow", "proof", word).sentTo(to).Get("code")
		x.redeem(client, to, code).granted()
	}
	if n := x.rows() - sessions; n != 3 {
		t.Errorf("%d sessions", n)
	}
	// A code that nobody else can use, and what ends with the browser's session, need none.
	for client, to := range map[string]string{"web1": cb1, "spa": "https://spa.test/cb", "spa2": "https://spa2.test/cb"} {
		if q := b.authorize(request(client, to, "prompt", "none")).sentTo(to); q.Get("code") == "" {
			t.Errorf("%s: %v", client, q)
		}
	}
	// Who has just logged in, for this very app, is not asked twice.
	fresh := x.newBrowser()
	x.redeem("nat1", uri, x.codeFor(fresh, "nat1", uri)).granted()
	page := fresh.authorize(request("nat2", uri)).want(200).saysNot("Your password")
	fresh.sends("/oauth2/consent", "id", hidden(page, "id"), "decision", "allow").sentTo(uri)
}

// Nor does a device get one.
func TestStolenCookieConnectsNoDevice(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.stolen("alice")
	d := x.do(http.MethodPost, "/oauth2/device_authorization", form("client_id", "nat1", "scope", "openid")).want(200)
	poll := func() *answer {
		x.Clock.Advance(6 * time.Second)
		return x.callToken([]string{"grant_type", broker.GrantDeviceCode, "device_code", d.text("device_code"), "client_id", "nat1"})
	}
	allow := []string{"user_code", d.text("user_code"), "decision", "allow"}
	b.open(d.text("verification_uri_complete")).want(200).contains(`id="proof-let-in"`)
	b.sends("/device", allow...).refused(400, broker.LoginRequired, "")
	b.sends("/device", append(allow, "proof", "a guess")...).refused(400, broker.WrongPassword, "").says(d.text("user_code"))
	poll().oauthError(400, "authorization_pending")
	b.sends("/device", append(allow, "proof", harness.PasswordOf("alice"))...).want(303)
	poll().granted()
}

// A session of `latchkey login` was let in with a proof and is a program's own from then
// on; that of another client with the same rights stays a browser's.
func TestOnlyOurOwnCommandIsAProgram(t *testing.T) {
	const uri = "http://127.0.0.1/callback"
	admin := broker.Client{ID: "console", RedirectURIs: []string{uri}, TokenEndpointAuthMethod: broker.AuthNone, Scope: "openid latchkey:api latchkey:admin"}
	checked, err := broker.CheckClient(admin)
	if err != nil {
		t.Fatal(err)
	}
	x := newProvider(t, setup{broker: func(c *broker.Config) { c.Clients = append(c.Clients, checked) }})
	b, tokens := x.inAs("root"), map[string]string{}
	for _, client := range []string{broker.CLIClientID, "console"} {
		page := b.authorize(request(client, uri, "scope", "openid latchkey:api latchkey:admin")).want(200)
		code := b.sends("/oauth2/consent", "id", hidden(page, "id"), "decision", "allow").sentTo(uri).Get("code")
		tokens[client] = x.redeem(client, uri, code).granted().access
	}
	x.Clock.Advance(6 * time.Minute)
	x.do(http.MethodPost, "/api/users", bearer(tokens["console"]), jsonBody(`{"username":"ben"}`)).problem(400, broker.LoginRequired)
	if got := x.do(http.MethodPost, "/api/users", bearer(tokens[broker.CLIClientID]), jsonBody(`{"username":"ben"}`)); got.Status >= 300 {
		t.Errorf("%d %s", got.Status, got.Body)
	}
}
