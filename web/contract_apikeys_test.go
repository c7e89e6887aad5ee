package web_test

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

func (x *site) idOf(name string) string {
	x.t.Helper()
	u, err := x.Broker.FindUser(context.Background(), name)
	if err != nil {
		x.t.Fatal(err)
	}
	return u.ID
}

// keyFor makes a key that acts for a user, by the command line's way.
func (x *site) keyFor(name string, change func(*broker.NewAPIKey)) (id, key string) {
	x.t.Helper()
	n := broker.NewAPIKey{Name: "a script", UserID: x.idOf(name)}
	if change != nil {
		change(&n)
	}
	made, text, err := x.Broker.CreateAPIKey(context.Background(), nil, n, broker.Device{})
	if err != nil {
		x.t.Fatal(err)
	}
	return made.ID, text.Reveal()
}

func scope(text string) func(*broker.NewAPIKey) {
	return func(n *broker.NewAPIKey) { n.Scope = text }
}

// Check 19: create, 200 with apiKey.apiKey, usable as Bearer and ?token=;
// isActive:false, 401; unknown user, 400; delete, 200 then 401. Different on
// purpose: an ordinary user keeps own keys, and absent isActive means active.
func TestCheck19APIKeys(t *testing.T) {
	x := newSite(t, setup{})
	root, alice := x.login("root"), x.idOf("alice")
	made := x.do(http.MethodPost, "/api/api-keys", bearer(root.access), jsonBody(`{"name":"Backup","userId":"`+alice+`","expiresIn":3600,"isActive":true}`)).want(200)
	key, id := made.text("apiKey.apiKey"), made.text("apiKey.id")
	if !regexp.MustCompile(`^lk_`+id+`_[0-9A-Za-z]{49}$`).MatchString(key) || made.Header.Get("Cache-Control") != "no-store" {
		t.Error(made.Body)
	}
	for path, want := range map[string]any{
		"apiKey.name": "Backup", "apiKey.userId": alice, "apiKey.isActive": true, "apiKey.createdByUserId": x.idOf("root"), "apiKey.user.username": "alice",
		"apiKey.user.type": "user", "apiKey.user.id": alice, "apiKey.expiresAt": "2026-01-02T04:04:05Z", "apiKey.createdAt": "2026-01-02T03:04:05Z",
		"apiKey.updatedAt": "2026-01-02T03:04:05Z", "apiKey.lastUsedAt": nil, "apiKey.description": nil, "apiKey.permissions": nil, "apiKey.scope": "latchkey:api",
	} {
		if got, ok := made.at(path); !ok || got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	for _, a := range []*answer{x.me(key), x.do(http.MethodGet, "/api/me?token="+key), x.do(http.MethodPost, "/api/authorize", bearer(key))} {
		if a.want(200); !strings.Contains(a.Body, `"username":"alice"`) || strings.Contains(a.Body, "lk_") {
			t.Error(a.Body)
		}
	}
	list := x.do(http.MethodGet, "/api/api-keys", bearer(root.access)).want(200)
	first := list.json()["apiKeys"].([]any)[0].(map[string]any)
	if first["lastUsedAt"] != "2026-01-02T03:04:05Z" || first["createdByUser"].(map[string]any)["username"] != "root" || first["apiKey"] != nil || strings.Contains(list.Body, key[20:]) {
		t.Error(list.Body)
	}
	path := "/api/api-keys/" + id
	if a := x.do(http.MethodPatch, path, bearer(root.access), jsonBody(`{"isActive":false}`)).want(200); a.json()["apiKey"].(map[string]any)["isActive"] != false || strings.Contains(a.Body, "password") {
		t.Error(a.Body)
	}
	x.me(key).refused(401, broker.InvalidToken, web.VerdictLogin)
	x.do(http.MethodGet, "/api/me?token="+key).refused(401, broker.InvalidToken, web.VerdictLogin)
	x.do(http.MethodPatch, path, bearer(root.access), jsonBody(`{"isActive":true,"userId":"`+x.idOf("root")+`"}`)).want(200)
	if name := x.me(key).text("username"); name != "root" {
		t.Errorf("the key acts for %s", name)
	}
	// made inactive
	off := x.do(http.MethodPost, "/api/api-keys", bearer(root.access), jsonBody(`{"name":"off","userId":"`+alice+`","isActive":false}`)).want(200)
	x.me(off.text("apiKey.apiKey")).want(401)
	// absent isActive: active
	x.me(x.do(http.MethodPost, "/api/api-keys", bearer(root.access), jsonBody(`{"name":"on","userId":"`+alice+`"}`)).want(200).text("apiKey.apiKey")).want(200)
	for _, bad := range []string{
		`{"name":"x","userId":"nobody"}`, `{"name":"x","userId":7}`, `{"name":"","userId":"U"}`, `{"userId":"U"}`, `{"name":7,"userId":"U"}`, `{"name":"x","userId":"U","expiresIn":0}`,
		`{"name":"x","userId":"U","expiresIn":-1}`, `{"name":"x","userId":"U","expiresIn":"60"}`, `{"name":"x","userId":"U","expiresIn":1e300}`, `{"name":"x","userId":"U","isActive":"false"}`,
		`{"name":"x","name":"y","userId":"U"}`, `{"name":"x","userId":"U","scope":"latchkey:admin"}`, `[]`, ``, `{`, `{"name":"x\u0000","userId":"U"}`,
	} {
		x.do(http.MethodPost, "/api/api-keys", bearer(root.access), jsonBody(strings.ReplaceAll(bad, `"U"`, `"`+alice+`"`))).refused(400, broker.InvalidRequest, "")
	}
	x.do(http.MethodPost, "/api/api-keys", bearer(root.access), form("name", "x")).want(400)
	for _, bad := range []string{`{"userId":"nobody"}`, `{"userId":7}`, `{"isActive":1}`, `{"scope":"latchkey:read"}`, `{"expiresIn":60}`, `{"name":""}`} {
		x.do(http.MethodPatch, path, bearer(root.access), jsonBody(bad)).refused(400, broker.InvalidRequest, "")
	}
	if a := x.do(http.MethodDelete, path, bearer(root.access)).want(200); a.Body != "OK" {
		t.Error(a.Body)
	}
	x.me(key).refused(401, broker.InvalidToken, web.VerdictLogin)
	for _, method := range []string{http.MethodDelete, http.MethodPatch} {
		x.do(method, path, bearer(root.access), jsonBody(`{}`)).refused(404, broker.NotFound, "")
	}
}

// People keep their own keys; what is others' is refused or not there.
func TestOwnAPIKeys(t *testing.T) {
	x := newSite(t, setup{})
	x.User(t, "guest", broker.RoleGuest)
	x.User(t, "admin", broker.RoleAdmin)
	alice, root, admin, guest := x.login("alice"), x.login("root"), x.login("admin"), x.login("guest")
	create := func(p pair, body string) *answer {
		return x.do(http.MethodPost, "/api/api-keys", bearer(p.access), jsonBody(body))
	}
	own := create(alice, `{"name":"mine","description":"of mine","scope":"latchkey:read"}`).want(200)
	if name := x.me(own.text("apiKey.apiKey")).text("username"); name != "alice" || own.text("apiKey.description") != "of mine" {
		t.Error(own.Body)
	}
	path := "/api/api-keys/" + own.text("apiKey.id")
	x.do(http.MethodPatch, path, bearer(alice.access), jsonBody(`{"name":"renamed","unknown":1}`)).want(200)
	roots := create(root, `{"name":"root's"}`).want(200)
	for what, a := range map[string]*answer{
		"a key for root": create(alice, `{"name":"x","userId":"`+x.idOf("root")+`"}`), "a key given to root": x.do(http.MethodPatch, path, bearer(alice.access), jsonBody(`{"userId":"`+x.idOf("root")+`"}`)),
		"an admin's key for root": create(admin, `{"name":"x","userId":"`+x.idOf("root")+`"}`), "root's key, by an admin": x.do(http.MethodPatch, "/api/api-keys/"+roots.text("apiKey.id"), bearer(admin.access), jsonBody(`{"isActive":true}`)),
		"a guest's key": create(guest, `{"name":"x"}`), "a guest's list": x.do(http.MethodGet, "/api/api-keys", bearer(guest.access)), "the list of root's": x.do(http.MethodGet, "/api/api-keys?userId="+x.idOf("root"), bearer(alice.access)),
	} {
		if a.refused(403, broker.Forbidden, ""); a.Body != "Forbidden" {
			t.Errorf("%s: %s", what, a.Body)
		}
	}
	for _, method := range []string{http.MethodPatch, http.MethodDelete} {
		x.do(method, "/api/api-keys/"+roots.text("apiKey.id"), bearer(alice.access), jsonBody(`{}`)).refused(404, broker.NotFound, "")
		for _, id := range []string{"%25", "_", "%27%20OR%20%271%27=%271", "%00", "lk_x", strings.Repeat("x", 5000)} {
			x.do(method, "/api/api-keys/"+id, bearer(root.access), jsonBody(`{}`)).refused(404, broker.NotFound, "")
		}
	}
	if list := x.do(http.MethodGet, "/api/api-keys", bearer(alice.access)).want(200).json()["apiKeys"].([]any); len(list) != 1 || list[0].(map[string]any)["name"] != "renamed" {
		t.Error(list)
	}
	// Pages of a long list.
	seen := []string{}
	for after := ""; ; {
		a := x.do(http.MethodGet, "/api/api-keys?limit=1&after="+after, bearer(root.access)).want(200)
		for _, k := range a.json()["apiKeys"].([]any) {
			seen = append(seen, k.(map[string]any)["name"].(string))
		}
		if after, _ = a.json()["next"].(string); after == "" {
			break
		}
	}
	if slices.Sort(seen); !slices.Equal(seen, []string{"renamed", "root's"}) {
		t.Error(seen)
	}
	x.do(http.MethodDelete, path, bearer(alice.access)).want(200)
}
