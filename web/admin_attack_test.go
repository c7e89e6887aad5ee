package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// adminRoutes is every route of the admin API that this file attacks.
func (x *site) adminRoutes() [][2]string {
	id := x.idOf("alice")
	return [][2]string{
		{"GET", "/api/users"}, {"POST", "/api/users"}, {"GET", "/api/users/" + id}, {"PATCH", "/api/users/" + id}, {"DELETE", "/api/users/" + id},
		{"GET", "/api/sessions"}, {"POST", "/api/sessions/end"}, {"GET", "/api/sessions/x"}, {"DELETE", "/api/sessions/x"}, {"GET", "/api/keys"}, {"GET", "/api/audit"},
		{"GET", "/api/clients"},
	}
}

// Nobody but an administrator comes near, however the address is written.
func TestA01VerticalAccess(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "guest", broker.RoleGuest)
	tokens := map[int][]option{401: {func(*http.Request) {}, bearer("x"), bearer(x.login("root").refresh)}, 403: {bearer(x.login("alice").access), bearer(x.login("guest").access)}}
	inQuery := url.QueryEscape(x.login("root").access)
	for _, r := range x.adminRoutes() {
		for status, with := range tokens {
			for _, token := range with {
				x.do(r[0], r[1], token, jsonBody(`{"all":true}`)).want(status)
				x.do("GET", r[1], token, header("X-HTTP-Method-Override", r[0])).not2xx()
				for _, path := range []string{r[1] + "/", "/" + r[1], strings.ToUpper(r[1]), strings.Replace(r[1], "/api/", "/api/%2e/", 1), strings.Replace(r[1], "/api/", "/x/../api/", 1)} {
					x.do(r[0], path, token, jsonBody(`{"all":true}`)).not2xx()
				}
			}
		}
		x.do("GET", r[1]+"?token="+inQuery).not2xx() // no token in a URL administers
	}
	if n := len(x.sessions("alice", true)); n != 1 {
		t.Errorf("%d sessions of alice are left", n)
	}
}

func (a *answer) not2xx() {
	a.t.Helper()
	if a.Status < 300 {
		a.t.Errorf("%s: %d %s", a.request, a.Status, a.Body)
	}
}

// An administrator is no root, and nobody raises anybody above himself.
func TestA01AdminReachesForRoot(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "deputy", broker.RoleAdmin)
	deputy, root := x.as("deputy"), "/api/users/"+x.idOf("root")
	before, err := x.Store.UserByID(context.Background(), x.idOf("root"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`{"password":"a password of the deputy"}`, `{"isActive":false}`, `{"role":"user"}`, `{"username":"x"}`, `{"email":"deputy@example.org","emailVerified":true}`, `{"permissions":{"upload":false}}`, `{}`} {
		deputy.send("PATCH", root, text).problem(403, broker.Forbidden)
	}
	deputy.send("DELETE", root, "").problem(403, broker.Forbidden)
	after, err := x.Store.UserByID(context.Background(), x.idOf("root"))
	if err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("%v: %+v, was %+v", err, after, before)
	}
	for _, name := range []string{"alice", "deputy"} {
		deputy.send("PATCH", "/api/users/"+x.idOf(name), `{"role":"root"}`).field(403, broker.Forbidden, "role")
	}
	deputy.send("POST", "/api/users", `{"username":"second","role":"root","password":"a password of second"}`).field(403, broker.Forbidden, "role")
	deputy.send("PATCH", "/api/users/"+x.idOf("alice"), `{"role":"admin"}`).want(200) // no more than he is
	deputy.send("PATCH", "/api/users/"+x.idOf("alice"), `{"password":"a password of the deputy"}`).field(403, broker.Forbidden, "password")
	x.as("root").send("PATCH", "/api/users/"+x.idOf("alice"), `{"role":"root"}`).want(200)
	deputy.send("PATCH", "/api/users/"+x.idOf("alice"), `{"role":"user"}`).problem(403, broker.Forbidden)
}

// A slip, or a stolen token, must not lock an administrator out or take the account.
func TestA01AdminAgainstHimself(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "second", broker.RoleRoot)
	root := x.as("root")
	own := "/api/users/" + x.idOf("root")
	root.send("DELETE", own, "").problem(403, broker.Forbidden)
	for _, text := range []string{`{"role":"user"}`, `{"isActive":false}`, `{"password":"a password of the thief"}`} {
		root.send("PATCH", own, text).problem(403, broker.Forbidden)
	}
	root.send("PATCH", own, `{"username":"boss","role":"root","isActive":true}`).want(200)
	root.get("/api/users").want(200)
}

// What no field of the API sets cannot be set.
func TestA02MassAssignment(t *testing.T) {
	x := newSite(t, setup{})
	root, id := x.as("root"), x.idOf("alice")
	before, err := x.Store.UserByID(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"id", "isAdmin", "createdAt", "updatedAt", "passwordHash", "password_hash", "PasswordHash", "disabledAt", "groups", "hasOpenIDLink", "Role", "token", "notice", "__proto__", "", strings.Repeat("x", 5000)} {
		text := toJSON(map[string]any{"name": "changed", name: "x"})
		if a := root.send("PATCH", "/api/users/"+id, text).problem(400, broker.InvalidRequest); len(a.Body) > 1000 {
			t.Errorf("%.20s: %d bytes come back", name, len(a.Body))
		}
	}
	alice := x.as("alice")
	for _, text := range []string{`{"role":"root"}`, `{"password":"password of alice","newPassword":"another password of alice","role":"root","isAdmin":true}`} {
		alice.send("PATCH", "/api/me", text).not2xx()
		alice.send("PATCH", "/api/users/"+id, text).want(403)
	}
	after, err := x.Store.UserByID(context.Background(), id)
	after.LastSeenAt = before.LastSeenAt
	if err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("%v: %+v, was %+v", err, after, before)
	}
}

// No read of the admin API has a hash, a private key or a secret in it.
func TestA05NoSecretsInLists(t *testing.T) {
	x := newProvider(t, setup{})
	root := x.as("root")
	u, err := x.Store.UserByUsername(context.Background(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	p := x.login("alice")
	for _, path := range []string{"/api/users", "/api/users/" + u.ID, "/api/sessions", "/api/sessions/" + p.session, "/api/keys", "/api/audit", "/api/clients"} {
		text := root.get(path).want(200).Body
		for what, secret := range map[string]string{
			"a hash": string(u.PasswordHash), "an argon2 hash": "$argon2", "a client's secret": webSecret, "its hash": broker.HashClientSecret(webSecret), "a refresh token": p.refresh, "a private key": `"d"`,
		} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %s", path, what)
			}
		}
	}
}

// Edited page tokens, limits, orders and filters are faults that name the parameter.
func TestA06ParametersAndPageTokens(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		root := x.as("root")
		for list, known := range map[string]string{"users": "search=a&", "sessions": "user=alice&", "audit": "name=x&"} {
			path := "/api/" + list
			for _, limit := range []string{"-1", "0", "501", "1e3", "1;DROP", "9999999999999999999999", "", "0x10", "１"} {
				root.get(path+"?limit="+url.QueryEscape(limit)).field(400, broker.InvalidRequest, "limit")
			}
			root.get(path+"?sort="+url.QueryEscape("id;DROP TABLE users")).field(400, broker.InvalidRequest, "sort")
			root.get(path+"?dissabled=true").field(400, broker.InvalidRequest, "dissabled")
			root.get(path + "?" + known + known).want(400) // twice
			for _, next := range []string{"x", "a.b", "..", "' OR 1=1", strings.Repeat("A", 8000), "eyJpIjoiYSJ9", ".eyJpIjoiYSJ9"} {
				root.get(path+"?next="+url.QueryEscape(next)).field(400, broker.InvalidRequest, "next")
			}
		}
		next := root.get("/api/users?limit=1").text("next")
		root.get("/api/users?limit=1&next=" + next).want(200)
		root.get("/api/sessions?next="+next).field(400, broker.InvalidRequest, "next") // another list's
		for i := range next {
			edited := []byte(next)
			if edited[i] ^= 1; edited[i] == '.' || url.QueryEscape(string(edited)) != string(edited) {
				continue
			}
			if a := root.get("/api/users?next=" + string(edited)); a.Status != 400 {
				t.Errorf("byte %d edited: %d %s", i, a.Status, a.Body)
			}
		}
		for parameter, value := range map[string]string{"role": "king", "disabled": "maybe"} {
			root.get("/api/users?"+parameter+"="+value).field(400, broker.InvalidRequest, parameter)
		}
		for parameter, value := range map[string]string{"state": "dead", "cause": "boredom"} {
			root.get("/api/sessions?"+parameter+"="+value).field(400, broker.InvalidRequest, parameter)
		}
		for _, parameter := range []string{"from", "to"} {
			root.get("/api/audit?"+parameter+"=yesterday").field(400, broker.InvalidRequest, parameter)
			root.get("/api/audit?"+parameter+"=0001-01-01T00:00:00Z").field(400, broker.InvalidRequest, parameter) // no bound, for Go
		}
		root.get("/api/audit?from=9223372036854775807&to=-9223372036854775808").want(200)
		root.do("DELETE", "/api/sessions/x?wipe=yes", root.token).field(400, broker.InvalidRequest, "wipe")
	})
}

// A page of another site makes nobody's browser administer.
func TestA06AdminCSRF(t *testing.T) {
	x := newSite(t, setup{})
	root := x.as("root")
	for _, r := range x.adminRoutes() {
		if r[0] == "GET" {
			continue
		}
		for _, evil := range []option{header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.test")} {
			x.do(r[0], r[1], root.token, evil, jsonBody(`{"username":"evil"}`)).want(403)
		}
		if r[0] != "DELETE" { // which has no body
			x.do(r[0], r[1], root.token, body("text/plain", `{"username":"evil","all":true}`)).not2xx()
		}
	}
}

// Characters that mean something to a database mean themselves.
func TestQ01Injection(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		root, alice := x.as("root"), "/api/users/"+x.idOf("alice")
		for _, text := range []string{"'", `"`, "--", ";", "%", "_", `\`, "$1", "?", "\x00", "a\x00b", "\xff", "' OR '1'='1", "'; DROP TABLE users; --", "${1}", "\u2028", "{}", "[]", strings.Repeat("a", 3000), "\U0010FFFF"} {
			q := url.QueryEscape(text)
			for _, path := range []string{
				"/api/users?search=" + q, "/api/users?provider=" + q, "/api/users?role=" + q, "/api/users?next=" + q, "/api/users?" + q + "=1", "/api/users/" + url.PathEscape(text),
				"/api/sessions?user=" + q, "/api/sessions?client=" + q, "/api/sessions?provider=" + q, "/api/sessions?ip=" + q, "/api/sessions?cause=" + q, "/api/sessions/" + url.PathEscape(text),
				"/api/audit?user=" + q, "/api/audit?session=" + q, "/api/audit?client=" + q, "/api/audit?actor=" + q, "/api/audit?ip=" + q, "/api/audit?name=" + q, "/api/audit?name_prefix=" + q,
				"/api/clients/" + url.PathEscape(text), "/api/users/" + url.PathEscape(text) + "/identities", "/api/providers/" + url.PathEscape(text),
			} {
				a := root.get(path)
				empty := a.Status == 200 && (strings.Contains(a.Body, `":[]`))
				if a.Status != 400 && a.Status != 404 && !empty {
					t.Errorf("%q at %.60s: %d %.200s", text, path, a.Status, a.Body)
				}
			}
			for _, name := range []string{"username", "name", "email", "password", "role"} {
				body := toJSON(map[string]string{"username": "q01", name: text})
				a := root.send("POST", "/api/users", body)
				if a.Status >= 500 {
					t.Errorf("%q as %s: %d %s", text, name, a.Status, a.Body)
				}
				if a.Status == 201 {
					root.send("DELETE", "/api/users/"+a.text("user.id"), "").want(200)
				}
				if a := root.send("PATCH", alice, toJSON(map[string]string{name: text})); a.Status >= 500 {
					t.Errorf("%q as %s: %d %s", text, name, a.Status, a.Body)
				}
			}
			for _, path := range []string{"/api/users/", "/api/sessions/"} {
				for _, method := range []string{"PATCH", "DELETE"} {
					if a := root.send(method, path+url.PathEscape(text), `{"name":"x"}`); a.Status >= 500 || a.Status < 400 {
						t.Errorf("%s %q: %d", method, text, a.Status)
					}
				}
			}
			for _, r := range [][2]string{
				{"DELETE", alice + "/identities/" + url.PathEscape(text)}, {"DELETE", "/api/users/" + url.PathEscape(text) + "/identities/" + url.PathEscape(text)},
				{"PATCH", "/api/users/" + url.PathEscape(text) + "/openid-unlink"}, {"POST", "/api/users/" + url.PathEscape(text) + "/password-link"},
				{"PUT", "/api/providers/" + url.PathEscape(text)}, {"DELETE", "/api/providers/" + url.PathEscape(text)},
				{"POST", "/api/providers/" + url.PathEscape(text) + "/test"}, {"PATCH", "/api/api-keys/" + url.PathEscape(text)},
				{"DELETE", "/api/api-keys/" + url.PathEscape(text)}, {"DELETE", "/api/clients/" + url.PathEscape(text)},
			} {
				if a := root.send(r[0], r[1], "{}"); a.Status >= 500 || a.Status < 400 {
					t.Errorf("%s %.60q: %d %.200s", r[0], r[1], a.Status, a.Body)
				}
			}
			for _, name := range []string{"userId", "clientId", "providerId"} {
				if a := root.send("POST", "/api/sessions/end", toJSON(map[string]string{name: text})).want(200); a.json()["ended"] != 0.0 {
					t.Errorf("%s %q ended %s", name, text, a.Body)
				}
			}
		}
		if got := strings.Fields(root.get("/api/users").column("users", "id")); len(got) != 2 {
			t.Errorf("users %v, want root and who was alice", got)
		}
	})
}

// Names that a reader takes for one are one, on both databases.
func TestQ02LookAlikeNames(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		root := x.as("root")
		x.User(t, "kelly", broker.RoleUser)
		x.User(t, "zoé", broker.RoleUser)
		for _, name := range []string{"Alice", "ALICE", " alice", "alice ", "ａｌｉｃｅ", "\u212Aelly", "zoe\u0301", "ZOÉ"} {
			root.send("POST", "/api/users", toJSON(map[string]string{"username": name})).field(409, broker.UsernameTaken, "username")
		}
		for _, name := range []string{"alice\u200b", "al\u00adice", "\u202ealice"} {
			root.send("POST", "/api/users", toJSON(map[string]string{"username": name})).field(400, broker.InvalidUsername, "username")
		}
		root.send("PATCH", "/api/users/"+x.idOf("alice"), `{"username":"ＫＥＬＬＹ"}`).field(409, broker.UsernameTaken, "username")
	})
}

// Of many who make one name at once, one does.
func TestQ03OneNameMadeAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		root := x.as("root")
		statuses := map[int]int{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				name := []string{"robin", "ROBIN", " Robin", "ｒｏｂｉｎ"}[i%4]
				a, err := x.try("POST", "/api/users", root.token, jsonBody(toJSON(map[string]string{"username": name, "email": "robin@example.org"})))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				statuses[a.Status]++
			})
		}
		wg.Wait()
		if statuses[201] != 1 || statuses[409] != 49 {
			t.Error(statuses)
		}
	})
}

// Two administrators who remove each other at once: one stays.
func TestTheLastAdminsRemoveEachOther(t *testing.T) {
	onBoth(t, func(t *testing.T, x *site) {
		for round, text := range []string{`{"isActive":false}`, `{"role":"user"}`, ""} {
			one, two := fmt.Sprint("one", round), fmt.Sprint("two", round)
			x.User(t, one, broker.RoleRoot)
			x.User(t, two, broker.RoleRoot)
			users, _, err := x.Broker.PageUsers(context.Background(), broker.UserFilter{Role: broker.RoleRoot}, broker.Page{Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range users {
				if u.Username != one && u.Username != two {
					if err := x.Broker.DeleteUser(context.Background(), u.ID); err != nil {
						t.Fatal(err)
					}
				}
			}
			method := "PATCH"
			if text == "" {
				method = "DELETE"
			}
			callers, targets := []caller{x.as(one), x.as(two)}, []string{x.idOf(two), x.idOf(one)}
			statuses := make([]int, 2)
			var wg sync.WaitGroup
			for i := range 2 {
				wg.Go(func() {
					if a, err := x.try(method, "/api/users/"+targets[i], callers[i].token, jsonBody(text)); err == nil {
						statuses[i] = a.Status
					}
				})
			}
			wg.Wait()
			// The slower one has lost the rights, or meets the guard.
			won := 0
			for _, status := range statuses {
				switch status {
				case 200:
					won++
				case 401, 403, 409:
				default:
					t.Errorf("status %d", status)
				}
			}
			if won != 1 {
				t.Errorf("%s: %v", text, statuses)
			}
		}
	})
}
