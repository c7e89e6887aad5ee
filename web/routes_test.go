package web_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// forUsers are the routes below /api that an ordinary user may call. Whatever is
// not here is for administrators alone: a route that forgot its rule fails the
// test below.
var forUsers = []string{
	"POST /api/authorize", "GET /api/me", "GET /api/me/sessions", "DELETE /api/me/sessions/:id", "PATCH /api/me/password",
	"GET /api/me/identities", "DELETE /api/me/identities/:id",
	"GET /api/api-keys", "POST /api/api-keys", "PATCH /api/api-keys/:id", "DELETE /api/api-keys/:id",
}

// forKeys are those of them that an API key may call; no key may call another.
var forKeys = []string{"POST /api/authorize", "GET /api/me", "GET /api/me/sessions", "GET /api/me/identities"}

var pathParameter = regexp.MustCompile(`[:*][a-z]+`)

// apiRoutes are all routes below /api, as "METHOD /path".
func apiRoutes(t *testing.T, x *site) (routes []string) {
	t.Helper()
	handler, err := web.New(web.Config{Broker: x.Broker, LocalLogin: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range handler.(*gin.Engine).Routes() {
		if strings.HasPrefix(route.Path, "/api/") {
			routes = append(routes, route.Method+" "+route.Path)
		}
	}
	if slices.Sort(routes); len(routes) < len(forUsers) {
		t.Fatalf("only %v", routes)
	}
	return routes
}

// callRoute calls a route with a session that is nobody's in its path.
func (x *site) callRoute(route string, options ...option) *answer {
	x.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	return x.do(method, pathParameter.ReplaceAllString(path, "00000000-0000-7000-8000-000000000000"), options...)
}

// A01: vertical access. Nobody gets anything below /api without credentials,
// an ordinary user nothing but what is listed as theirs, and an API key of root's
// nothing but what is listed for keys.
func TestVerticalAccess(t *testing.T) {
	x := newSite(t, setup{})
	alice, root := x.login("alice"), x.login("root")
	_, key := x.keyFor("root", nil)
	_, reading := x.keyFor("root", scope("latchkey:read"))
	routes := apiRoutes(t, x)
	for _, route := range append(forUsers, forKeys...) {
		if !slices.Contains(routes, route) {
			t.Errorf("there is no route %s", route)
		}
	}
	for _, route := range routes {
		x.callRoute(route).refused(401, broker.NoToken, web.VerdictLogin)
		x.callRoute(route, bearer(alice.refresh)).refused(401, broker.WrongTokenType, web.VerdictLogin)
		if a := x.callRoute(route, bearer(alice.access)); slices.Contains(forUsers, route) != (a.Status != 401 && a.Status != 403) {
			t.Errorf("%s by a user: %d %s", route, a.Status, a.Body)
		}
		if slices.Contains(forKeys, route) {
			x.callRoute(route, bearer(key)).want(200)
		} else {
			x.callRoute(route, bearer(key)).bearerError(403, "insufficient_scope")
		}
		if !slices.Contains(forKeys, route) || !strings.HasPrefix(route, "GET ") {
			x.callRoute(route, bearer(reading)).bearerError(403, "insufficient_scope")
		}
		if !slices.Contains(forUsers, route) {
			// T15: no administrator's token in a URL.
			method, path, _ := strings.Cut(route, " ")
			x.callRoute(method+" "+path+"?token="+root.access).refused(401, broker.NoToken, web.VerdictLogin)
			x.callRoute(route, bearer(alice.access)).refused(403, broker.Forbidden, "")
		}
	}
}

// A01: a path or method in disguise reaches no other route than its own.
func TestVerticalAccessInDisguise(t *testing.T) {
	x := newSite(t, setup{})
	alice := x.login("alice")
	for _, route := range apiRoutes(t, x) {
		method, path, _ := strings.Cut(route, " ")
		if slices.Contains(forUsers, route) {
			continue
		}
		disguises := []string{path + "/", "/" + path, strings.ToUpper(path), strings.Replace(path, "/api/", "/api/%2e/", 1), "/api/me/.." + strings.TrimPrefix(path, "/api"), path + "?token=" + alice.access}
		for _, disguised := range disguises {
			if a := x.callRoute(method+" "+disguised, header("X-HTTP-Method-Override", "GET"), bearer(alice.access)); a.Status < 400 {
				t.Errorf("%s %s: %d %s", method, disguised, a.Status, a.Body)
			}
		}
		if a := x.do(http.MethodGet, "/api/me", header("X-HTTP-Method-Override", method), header("X-Original-URL", path), bearer(alice.access)); a.json()["username"] != "alice" {
			t.Errorf("X-Original-URL %s: %s", path, a.Body)
		}
	}
}
