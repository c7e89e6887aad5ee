package web_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// document is /openapi.yaml, checked by its own rules. Every answer of a test
// that goes through [site.try] is held against it.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData([]byte(web.OpenAPI))
	if err == nil {
		err = doc.Validate(loader.Context, openapi3.IsOpenAPI31OrLater())
	}
	return doc, err
})

// operationOf finds what the document says of a request; nil where it has no such
// route or method, which is a page, or refused as unknown.
func operationOf(doc *openapi3.T, method, path string) *openapi3.Operation {
	segments := strings.Split(path, "/")
	var best *openapi3.PathItem
	fewest := len(segments) + 1
	for template, item := range doc.Paths.Map() {
		parts, variables := strings.Split(template, "/"), 0
		fits := len(parts) == len(segments)
		for i := 0; fits && i < len(parts); i++ {
			if strings.HasPrefix(parts[i], "{") {
				variables++
				fits = segments[i] != ""
			} else {
				fits = parts[i] == segments[i]
			}
		}
		if fits && variables < fewest { // what is written out wins
			best, fewest = item, variables
		}
	}
	if best == nil {
		return nil
	}
	return best.GetOperation(method)
}

// undocumented says how an answer differs from the document, or nothing.
func undocumented(doc *openapi3.T, method, path string, status int, header http.Header, body []byte) error {
	op := operationOf(doc, method, path)
	if op == nil {
		return nil
	}
	response := op.Responses.Value(strconv.Itoa(status))
	if response == nil {
		return fmt.Errorf("the status %d is not in the document", status)
	}
	content := response.Value.Content
	switch {
	case status >= 300 && status < 400 && status != http.StatusNotModified:
		if header.Get("Location") == "" {
			return fmt.Errorf("a redirect to nowhere")
		}
		return nil
	case len(content) == 0 && len(body) > 0:
		return fmt.Errorf("%d bytes where the document has none", len(body))
	case len(content) == 0:
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("Content-Type %q: %w", header.Get("Content-Type"), err)
	}
	said := content[mediaType]
	if said == nil {
		return fmt.Errorf("%d is not documented as %s", status, mediaType)
	}
	if mediaType != "application/json" && mediaType != "application/problem+json" {
		return nil
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	err = said.Schema.Value.VisitJSON(value, openapi3.EnableJSONSchema2020(), openapi3.VisitAsResponse())
	if wrong, ok := errors.AsType[*openapi3.SchemaError](err); ok { // which shows the whole schema
		return fmt.Errorf("%v: %s", wrong.JSONPointer(), wrong.Reason)
	}
	return err
}

// checkDocumented fails the test of an answer that the document does not have.
func (x *site) checkDocumented(a *answer, req *http.Request) {
	x.t.Helper()
	doc, err := document()
	if err != nil {
		x.t.Fatal(err)
	}
	if a.Status == http.StatusRequestHeaderFieldsTooLarge {
		return // net/http's own, before any route
	}
	path := req.URL.Path
	if _, rest, ok := strings.Cut(x.public, "://"); ok && strings.Contains(rest, "/") {
		path = strings.TrimPrefix(path, rest[strings.Index(rest, "/"):])
	}
	if err := undocumented(doc, req.Method, path, a.Status, a.Header, []byte(a.Body)); err != nil {
		x.t.Errorf("%s %s: /openapi.yaml: %v\n%.500s", req.Method, req.URL.Path, err, a.Body)
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	x := newSite(t, setup{})
	a := x.do(http.MethodGet, "/openapi.yaml").want(200)
	doc, err := openapi3.NewLoader().LoadFromData([]byte(a.Body))
	if err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || doc.Info.Version != "test" || doc.Servers[0].URL != publicURL || a.Header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%s %+v %s %v", doc.OpenAPI, doc.Info, doc.Servers[0].URL, a.Header)
	}
}

// pagePaths are for people, or for the reverse proxies before them, and not in the
// document.
var pagePaths = []string{
	"/", "/login GET", "/login/password", "/login/new-password", "/login/forgotten", "/password", "/session/end", "/setup", "/static/*file", "/device", "/oauth2/continue", "/oauth2/consent",
	"/oauth2/logout/confirm", "/auth/:provider/confirm", "/login/second", "/login/second/passkey", "/login/second/passkey/options", "/login/passkey", "/login/passkey/options",
	"/forward-auth", "/forward-auth/continue", "/.latchkey/login", "/.latchkey/callback",
}

var ginParameter = regexp.MustCompile(`[:*](\w+)`)

// A route that nobody described, or a description of none, fails.
func TestOpenAPIHasEveryRoute(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	x := newSite(t, setup{})
	handler, err := web.New(web.Config{Broker: x.Broker})
	if err != nil {
		t.Fatal(err)
	}
	served := []string{}
	for _, r := range web.Routes(handler) {
		page := slices.Contains(pagePaths, r.Path) || slices.Contains(pagePaths, r.Path+" "+r.Method) ||
			r.Path == "/account" || strings.HasPrefix(r.Path, "/account/") || r.Path == "/admin" || strings.HasPrefix(r.Path, "/admin/")
		if !page {
			served = append(served, r.Method+" "+ginParameter.ReplaceAllString(r.Path, "{$1}"))
		}
	}
	described, ids := []string{}, map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			described = append(described, method+" "+path)
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" {
				t.Errorf("%s %s: operationId %q, summary %q", method, path, op.OperationID, op.Summary)
			}
			ids[op.OperationID] = true
		}
	}
	for _, r := range served {
		if !slices.Contains(described, r) {
			t.Errorf("%s is not in /openapi.yaml", r)
		}
	}
	for _, r := range described {
		if !slices.Contains(served, r) {
			t.Errorf("/openapi.yaml has %s, which is not served", r)
		}
	}
}

// The check of answers against the document can fail.
func TestOpenAPICheckIsACheck(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	x := newSite(t, setup{})
	a := x.as("root").get("/api/users/" + x.idOf("alice")).want(200)
	for what, change := range map[string]func(status *int, header http.Header, body map[string]any){
		"nothing":              nil,
		"another status":       func(status *int, _ http.Header, _ map[string]any) { *status = 418 },
		"another content type": func(_ *int, h http.Header, _ map[string]any) { h.Set("Content-Type", "text/html") },
		"a field too many":     func(_ *int, _ http.Header, body map[string]any) { body["passwordHash"] = "x" },
		"a field too few":      func(_ *int, _ http.Header, body map[string]any) { delete(body, "username") },
		"another type":         func(_ *int, _ http.Header, body map[string]any) { body["createdAt"] = "yesterday" },
		"an unknown role":      func(_ *int, _ http.Header, body map[string]any) { body["type"] = string(broker.RoleRoot) + "s" },
	} {
		status, header, body := a.Status, a.Header.Clone(), a.json()
		if change != nil {
			change(&status, header, body)
		}
		err := undocumented(doc, http.MethodGet, "/api/users/1", status, header, []byte(toJSON(body)))
		if (err == nil) != (change == nil) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
