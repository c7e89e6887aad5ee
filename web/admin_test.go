package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/web"
)

// onBoth runs a test on each database.
func onBoth(t *testing.T, test func(t *testing.T, x *site)) {
	t.Run("sqlite", func(t *testing.T) { test(t, newSite(t, setup{})) })
	t.Run("postgres", func(t *testing.T) { test(t, newSite(t, setup{database: pgtest.Shared(t).NewDatabase(t)})) })
}

// onBothDatabases runs a test with the URL of each, which more than one may open.
func onBothDatabases(t *testing.T, test func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "latchkey.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.Shared(t).NewDatabase(t)) })
}

// caller is somebody who calls the admin API.
type caller struct {
	*site
	token option
}

func (x *site) as(name string) caller {
	x.t.Helper()
	return caller{x, bearer(x.login(name).access)}
}

func (a caller) get(path string) *answer {
	a.t.Helper()
	return a.do(http.MethodGet, path, a.token)
}

func (a caller) send(method, path, text string) *answer {
	a.t.Helper()
	return a.do(method, path, a.token, jsonBody(text))
}

// field expects a fault of one field.
func (a *answer) field(status int, code broker.Code, field string) *answer {
	a.t.Helper()
	if got, _ := a.problem(status, code).at("field"); got != field {
		a.t.Errorf("%s: field %v, want %s; %s", a.request, got, field, a.Body)
	}
	return a
}

// column reads one member of each entry of a list.
func (a *answer) column(list, member string) string {
	a.t.Helper()
	out := []string{}
	for _, entry := range a.want(200).json()[list].([]any) {
		out = append(out, fmt.Sprint(entry.(map[string]any)[member]))
	}
	return strings.Join(out, " ")
}

// everything pages through a list.
func (a caller) everything(path, list, member string) string {
	a.t.Helper()
	out, next := []string{}, ""
	for range 100 {
		page := a.get(path + "&next=" + url.QueryEscape(next))
		out = append(out, strings.Fields(page.column(list, member))...)
		token, more := page.at("next")
		if !more {
			return strings.Join(out, " ")
		}
		next = token.(string)
	}
	a.t.Fatal("pages without end")
	return ""
}

func TestAdminMakesUsers(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		root := x.as("root")
		made := root.send("POST", "/api/users", `{"username":"robin","name":"Robin R.","email":"robin@example.org","email_verified":true,"role":"guest",
			"password":"a password of robin","temporary":true,"permissions":{"download":false,"librariesAccessible":["l1"]},"itemTagsSelected":["t"]}`).want(201)
		for path, want := range map[string]any{
			"success": true, "user.username": "robin", "user.name": "Robin R.", "user.email": "robin@example.org", "user.emailVerified": true, "user.type": "guest",
			"user.isActive": true, "user.passwordTemporary": true, "user.hasPassword": true, "user.permissions.download": false, "user.permissions.accessAllTags": true,
		} {
			if got, _ := made.at(path); got != want {
				t.Errorf("%s: %v, want %v", path, got, want)
			}
		}
		if strings.Contains(made.Body, "argon2") || strings.Contains(made.Body, "a password of robin") {
			t.Error(made.Body)
		}
		id := made.text("user.id")
		shown := root.get("/api/users/" + id).want(200)
		if got, _ := shown.at("librariesAccessible"); toJSON(got) != `["l1"]` {
			t.Error(shown.Body)
		}
		root.send("POST", "/api/users", `{"username":"idp only"}`).want(201)
		root.send("POST", "/api/users", `{"username":"off","isActive":false,"password":"a password of off x"}`).want(201)
		if got := root.get("/api/users?disabled=true").column("users", "username"); got != "off" {
			t.Error(got)
		}
		for field, text := range map[string]string{
			"username": `{"name":"x"}`, "email": `{"username":"x","email":"a@b@c"}`, "password": `{"username":"x","password":"short"}`, "role": `{"username":"x","role":"king"}`,
			"type": `{"username":"x","role":"user","type":"admin"}`, "permissions": `{"username":"x","permissions":{"fly":true}}`,
			"librariesAccessible": `{"username":"x","librariesAccessible":[""]}`, "itemTagsSelected": `{"username":"x","permissions":{"itemTagsSelected":"t"}}`,
			"passwordHash": `{"username":"x","passwordHash":"y"}`, "isActive": `{"username":"x","isActive":"yes"}`, "temporary": `{"username":"x","temporary":true}`, "name": `{"username":"x","name":"a","name":"b"}`,
		} {
			a := root.send("POST", "/api/users", text).want(400)
			a.field(400, broker.Code(a.text("code")), field)
		}
		if _, err := x.Broker.FindUser(context.Background(), "x"); broker.CodeOf(err) != broker.NotFound {
			t.Errorf("something was made half: %v", err)
		}
	})
}

func TestAdminChangesUsers(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		root, alice := x.as("root"), x.login("alice")
		path := "/api/users/" + x.idOf("alice")
		change := func(text string) *answer { return root.send("PATCH", path, text).want(200) }

		// A rename logs nobody out.
		a := change(`{"username":"Alicia","email":"alicia@example.org","emailVerified":true,"type":"admin","permissions":{"upload":true}}`)
		for at, want := range map[string]any{
			"success": true, "user.username": "Alicia", "user.type": "admin", "user.emailVerified": true, "user.permissions.upload": true, "user.permissions.download": true,
		} {
			if got, _ := a.at(at); got != want {
				t.Errorf("%s: %v, want %v", at, got, want)
			}
		}
		if x.me(alice.access).want(200).text("username") != "Alicia" {
			t.Error("the old name is told")
		}
		x.refresh(alice.refresh).pair()
		// Another address is not verified; the same one stays so.
		if got, _ := change(`{"email":"alicia@example.org"}`).at("user.emailVerified"); got != true {
			t.Error("the same address lost its verification")
		}
		if got, _ := change(`{"email":"other@example.org","username":null}`).at("user.emailVerified"); got != false {
			t.Error("another address is verified")
		}
		// Only a password that is being set can be temporary.
		root.send("PATCH", path, `{"temporary":true}`).field(400, broker.InvalidRequest, "temporary")
		// A password ends every session, and a disabling, with their causes.
		change(`{"password":"another password of alice"}`)
		x.refresh(alice.refresh).refused(401, broker.PasswordChanged, web.VerdictLogin)
		again := x.sendLogin("alicia", "another password of alice", returnTokens).pair()
		change(`{"isActive":false}`)
		x.me(again.access).refused(401, broker.UserDisabled, web.VerdictLogin)
		x.sendLogin("alicia", "another password of alice").want(401)
		change(`{"isActive":true}`)
		last := x.sendLogin("alicia", "another password of alice", returnTokens).pair()
		root.send("DELETE", path, "").want(200)
		x.me(last.access).refused(401, broker.UserDeleted, web.VerdictLogin)
		root.send("DELETE", path, "").problem(404, broker.NotFound)
		root.send("PATCH", path, `{"name":"x"}`).problem(404, broker.NotFound)
		root.get(path).problem(404, broker.NotFound)
	})
}

// Every change names the administrator beside the user whom it is about.
func TestAdminIsNamedInTheAuditLog(t *testing.T) {
	x := newSite(t, setup{})
	root := x.as("root")
	x.login("alice")
	id, by := x.idOf("alice"), x.idOf("root")
	root.send("PATCH", "/api/users/"+id, `{"username":"alicia","role":"guest","password":"another password of alice"}`).want(200)
	root.send("PATCH", "/api/users/"+id, `{"isActive":false}`).want(200)
	root.send("POST", "/api/clients", `{"client_id":"new","redirect_uris":["https://new.test/cb"]}`).want(201)
	x.login("root")
	root.send("POST", "/api/sessions/end", `{"userId":"`+by+`"}`).want(200)
	list, err := x.Broker.Events(context.Background(), broker.EventFilter{Actor: by, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, e := range list {
		seen[e.Name+" "+e.Detail["cause"]+e.Detail["changed"]] = e.UserID + e.ClientID + " " + e.IP
	}
	for event, about := range map[string]string{
		"user.updated username role": id, "user.password_changed ": id, "session.ended password_changed": id, "user.disabled ": id, "client.created ": "new",
		"session.ended revoked_by_admin": by,
	} {
		if !strings.HasPrefix(seen[event], about) || !strings.HasSuffix(seen[event], " 127.0.0.1") {
			t.Errorf("%s: %q, want %s by root; all: %v", event, seen[event], about, seen)
		}
	}
	// What people do themselves bears nobody else's name.
	started, err := x.Broker.Events(context.Background(), broker.EventFilter{Name: broker.EventSessionStarted, Limit: 100})
	if err != nil || len(started) == 0 || started[0].Actor != "" {
		t.Errorf("%v %+v", err, started)
	}
}

func TestUserListPages(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		root := x.as("root")
		want := []string{"alice"}
		for i := range 9 {
			n := broker.NewUser{Username: fmt.Sprintf("m%d", i), Name: fmt.Sprintf("Zoe %d", i), Email: fmt.Sprintf("zoe%d@example.org", i)}
			if i%3 == 0 {
				n.Username, n.Name = fmt.Sprintf("zoe-%d", i), ""
			}
			if _, err := x.Broker.CreateUser(context.Background(), n); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, "m1", "m2", "m4", "m5", "m7", "m8", "root", "zoe-0", "zoe-3", "zoe-6")
		for _, limit := range []int{1, 2, 3, 11, 100} {
			if got := root.everything(fmt.Sprint("/api/users?limit=", limit), "users", "username"); got != strings.Join(want, " ") {
				t.Errorf("%d: %s", limit, got)
			}
			// By username first, then by address; nobody twice.
			if got := root.everything(fmt.Sprint("/api/users?search=ZOE&limit=", limit), "users", "username"); got != "zoe-0 zoe-3 zoe-6 m1 m2 m4 m5 m7 m8" {
				t.Errorf("%d: %s", limit, got)
			}
			if got := root.everything(fmt.Sprint("/api/users?search=zoe%207&limit=", limit), "users", "username"); got != "m7" {
				t.Errorf("%d: %s", limit, got)
			}
		}
		if got := root.get("/api/users?role=root&include=latestSession").column("users", "username"); got != "root" {
			t.Error(got)
		}
	})
}

func TestAdminSessions(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		root := x.as("root")
		x.Clock.Advance(time.Minute)
		one := x.login("alice")
		x.Clock.Advance(time.Minute)
		two := x.login("alice", from("203.0.113.7"))
		id := x.idOf("alice")
		if got := root.get("/api/sessions?user=alice").column("sessions", "id"); got != two.session+" "+one.session {
			t.Error(got)
		}
		if got := root.everything("/api/sessions?limit=1", "sessions", "username"); got != "alice alice root" {
			t.Error(got)
		}
		shown := root.get("/api/sessions/" + one.session).want(200)
		if shown.text("userId") != id || shown.text("username") != "alice" || shown.json()["live"] != true || shown.json()["current"] != false {
			t.Error(shown.Body)
		}
		root.do("DELETE", "/api/sessions/"+one.session+"?wipe=1", root.token).want(200)
		x.refresh(one.refresh).refused(401, broker.RevokedByAdmin, web.VerdictWipe)
		root.do("DELETE", "/api/sessions/"+one.session, root.token).problem(404, broker.NotFound)
		for filter, want := range map[string]string{
			"state=live&user=" + id: two.session, "state=ended": one.session, "cause=revoked_by_admin": one.session, "ip=203.0.113.7": two.session,
			"client=latchkey-app&state=ended": one.session, "provider=none": "", "user=nobody": "",
		} {
			if got := root.get("/api/sessions?"+filter).column("sessions", "id"); got != want {
				t.Errorf("%s: %q, want %q", filter, got, want)
			}
		}
		if ended := root.send("POST", "/api/sessions/end", `{"userId":"`+id+`","wipe":true}`).want(200).json()["ended"]; ended != 1.0 {
			t.Error(ended)
		}
		x.refresh(two.refresh).refused(401, broker.RevokedByAdmin, web.VerdictWipe)
		for _, text := range []string{`{}`, `{"wipe":true}`, `{"all":false}`, `{"all":true,"userId":"x"}`} {
			root.send("POST", "/api/sessions/end", text).field(400, broker.InvalidRequest, "all")
		}
		// A name that a script has not filled in is not one that everybody fits.
		for field, text := range map[string]string{
			"userId": `{"userId":"","clientId":"latchkey-app"}`, "clientId": `{"userId":"` + id + `","clientId":""}`, "providerId": `{"all":true,"providerId":""}`,
		} {
			root.send("POST", "/api/sessions/end", text).field(400, broker.InvalidRequest, field)
		}
		root.send("POST", "/api/sessions/end", `{"clientId":"nobody's","providerId":"p"}`).want(200)
		if n := root.send("POST", "/api/sessions/end", `{"all":true}`).want(200).json()["ended"]; n != 1.0 { // the caller's own too
			t.Error(n)
		}
	})
}

func TestAdminKeys(t *testing.T) {
	x := newSite(t, setup{})
	root := x.as("root")
	list := root.get("/api/keys").want(200)
	kid := headerOf(t, x.login("alice").access)["kid"].(string)
	signs := 0
	for _, entry := range list.json()["keys"].([]any) {
		key := entry.(map[string]any)
		if key["state"] != "active" || key["createdAt"] == nil || key["activeAt"] == nil {
			t.Error(key)
		}
		if key["signs"] == true {
			signs++
			if key["kid"] != kid || key["alg"] != "ES256" {
				t.Error(key)
			}
		}
	}
	if signs != 1 || strings.Contains(list.Body, "private") {
		t.Error(list.Body)
	}
}

func TestAuditLog(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		start := x.Clock.Now()
		x.Clock.Advance(time.Minute)
		root := x.as("root")
		x.Clock.Advance(time.Minute)
		p := x.login("alice", from("203.0.113.7"))
		x.Clock.Advance(time.Second)
		x.do("POST", "/logout", refreshHeader(p.refresh))
		x.Clock.Advance(time.Minute)
		for filter, want := range map[string]string{
			"user=alice&name_prefix=session.": "session.ended session.started", "session=" + p.session + "&name=session.ended": "session.ended", "ip=203.0.113.7": "session.started",
			"name=session.": "", "name_prefix=%25": "", "name_prefix=session_": "", "user=nobody": "", "actor=root": "", "client=latchkey-app&user=root": "session.started",
			"name_prefix=session&from=" + url.QueryEscape(start.Add(90*time.Second).Format(time.RFC3339)): "session.ended session.started",
			fmt.Sprint("name_prefix=session&to=", start.Add(90*time.Second).UnixMilli()):                  "session.started",
		} {
			if got := root.get("/api/audit?"+filter).column("events", "name"); got != want {
				t.Errorf("%s: %q, want %q", filter, got, want)
			}
		}
		all := root.get("/api/audit?limit=500").column("events", "id")
		if got := root.everything("/api/audit?limit=2", "events", "id"); got != all || len(strings.Fields(all)) < 5 {
			t.Errorf("%s\n%s", got, all)
		}
		// The same as lines, to the last.
		ids, next := []string{}, "/api/audit?limit=2&name_prefix="
		for range 20 {
			lines := root.do("GET", next, root.token, header("Accept", "application/x-ndjson")).want(200)
			if lines.Header.Get("Content-Type") != "application/x-ndjson" {
				t.Fatal(lines.Header)
			}
			for line := range strings.Lines(lines.Body) {
				var event struct{ ID string }
				if err := json.Unmarshal([]byte(line), &event); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, event.ID)
			}
			link, more := strings.CutPrefix(lines.Header.Get("Link"), "<")
			if !more {
				break
			}
			next, _, _ = strings.Cut(link, ">")
		}
		if got := strings.Join(ids, " "); got != all {
			t.Errorf("%s\n%s", got, all)
		}
	})
}

// Whoever loses the rights loses them at once, whatever the token says.
func TestT08DemotedAdminIsRefusedAtOnce(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "deputy", broker.RoleAdmin)
	root, deputy := x.as("root"), x.as("deputy")
	deputy.get("/api/users").want(200)
	root.send("PATCH", "/api/users/"+x.idOf("deputy"), `{"role":"user"}`).want(200)
	deputy.get("/api/users").problem(403, broker.Forbidden)
	deputy.send("DELETE", "/api/users/"+x.idOf("alice"), "").problem(403, broker.Forbidden)
	root.send("PATCH", "/api/users/"+x.idOf("deputy"), `{"role":"admin","isActive":false}`).want(200)
	deputy.get("/api/users").refused(401, broker.UserDisabled, web.VerdictLogin)
}
