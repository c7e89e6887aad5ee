package web_test

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"golang.org/x/net/html"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// noPages are the routes for programs. Every other one is a page or a form of a
// page, and keeps the rules of pages_rules_test.go.
var noPages = []string{
	"GET /healthz", "GET /readyz", "GET /openapi.yaml", "GET /static/*file", "GET /status", "GET /ping", "GET /healthcheck", "GET /diagnosis",
	"GET /.well-known/jwks.json", "GET /.well-known/openid-configuration", "GET /.well-known/oauth-authorization-server",
	"POST /oauth2/token", "POST /oauth2/par", "POST /oauth2/device_authorization", "POST /oauth2/introspect", "POST /oauth2/revoke", "GET /oauth2/userinfo", "POST /oauth2/userinfo",
	"GET /oauth2/revocations", "POST /oauth2/register", "POST /auth/:provider/backchannel-logout", "POST /login", "POST /auth/refresh", "POST /logout",
	"GET /auth/:provider", "GET /auth/:provider/config", "GET /auth/:provider/logo",
	"GET /forward-auth", "POST /forward-auth", "PUT /forward-auth", "PATCH /forward-auth", "HEAD /forward-auth", "OPTIONS /forward-auth",
	"DELETE /forward-auth", "CONNECT /forward-auth", "TRACE /forward-auth", "GET /.latchkey/login", "GET /.latchkey/callback",
}

// postedByOthers are forms that other sites post by right: what they ask for is
// judged on its merits.
var postedByOthers = []string{"POST /oauth2/authorize", "POST /oauth2/logout"}

// examples are addresses of pages that no link of another page leads to.
var examples = map[string]string{
	"/login/second":                   "/login/second?next=x",
	"/auth/:provider/authorize":       "/auth/openid/authorize",
	"/forward-auth/continue":          "/forward-auth/continue?state=x",
	"/auth/:provider/confirm":         "/auth/openid/confirm?request=x",
	"/auth/:provider/callback":        "/auth/openid/callback?state=x&code=x",
	"/auth/:provider/mobile-redirect": "/auth/openid/mobile-redirect?state=x&code=x",
}

// pageRoutes are all routes of pages, by method.
func pageRoutes(t testing.TB, b *broker.Broker) (gets, posts []string) {
	t.Helper()
	handler, err := web.New(web.Config{Broker: b, LocalLogin: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range handler.(*gin.Engine).Routes() {
		switch route := r.Method + " " + r.Path; {
		case strings.HasPrefix(r.Path, "/api/") || slices.Contains(noPages, route):
		case r.Method == http.MethodGet:
			gets = append(gets, r.Path)
		case r.Method == http.MethodPost:
			posts = append(posts, r.Path)
		default:
			t.Errorf("%s: a page has no other methods than GET and POST", route)
		}
	}
	slices.Sort(gets)
	slices.Sort(posts)
	return gets, posts
}

// view is one page as one person sees it.
type view struct {
	*answer
	who   string
	at    string // path and query
	route string
	root  *html.Node
}

func (v view) String() string { return v.who + " at " + v.at }

// kind is what a page has in common with those of other rows or filters.
func (v view) kind() string {
	return v.who + " " + v.route + " " + strings.Join(queryNames(v.at), " ")
}

// inside reports whether the page is behind the door.
func (v view) inside() bool { return below(v.at, "/account", "/admin") }

func below(at string, places ...string) bool {
	path, _, _ := strings.Cut(at, "?")
	return slices.ContainsFunc(places, func(place string) bool { return path == place || strings.HasPrefix(path, place+"/") })
}

// guest is whoever walks through a house.
type guest struct {
	name    string
	cookies []*http.Cookie
}

func (h *house) guests() []*guest {
	return []*guest{{"a stranger", nil}, {"alice", slices.Clone(h.alice)}, {"root", slices.Clone(h.root)}}
}

// keep keeps the cookies of what waits for the guest where a redirect leads.
func (g *guest) keep(a *answer) {
	for _, c := range a.cookies {
		if (strings.Contains(c.Name, "latchkey_flow_") || strings.Contains(c.Name, "latchkey_kept_")) && c.MaxAge > 0 && a.Status == http.StatusSeeOther {
			g.cookies = append(g.cookies, c)
		}
	}
}

// sameKind is how many addresses of one kind are looked at: pages that differ in
// an id or the value of a filter.
const sameKind = 6

// walk opens every page that a guest can come to: the routes themselves, and
// from each page where its links and its filters lead.
func (h *house) walk(g *guest) []view {
	h.t.Helper()
	gets, _ := pageRoutes(h.t, h.Broker)
	queue, kinds, seen, views := []string{}, map[string]int{}, map[string]bool{}, []view{}
	add := func(at string) {
		kind := routeOf(gets, at) + " " + strings.Join(queryNames(at), " ")
		if !seen[at] && kinds[kind] < sameKind && routeOf(gets, at) != "" {
			queue, seen[at] = append(queue, at), true
			kinds[kind]++
		}
	}
	for _, route := range gets {
		if at := examples[route]; at != "" {
			add(at)
		} else if !strings.ContainsAny(route, ":*") {
			add(route)
		}
	}
	for len(queue) > 0 {
		v := h.look(g, gets, queue[0])
		queue = queue[1:]
		views = append(views, v)
		for _, to := range v.leadsTo() {
			add(to)
		}
	}
	return views
}

// look opens one page.
func (h *house) look(g *guest, gets []string, at string) view {
	h.t.Helper()
	v := view{answer: h.do(http.MethodGet, at, htmlOnly, cookies(g.cookies)), who: g.name, at: at, route: routeOf(gets, at)}
	g.keep(v.answer)
	if redirects := v.Status >= 300 && v.Status < 400; !redirects && strings.HasPrefix(v.Header.Get("Content-Type"), "text/html") {
		root, err := html.Parse(strings.NewReader(v.Body))
		if err != nil {
			h.t.Fatalf("%s: %v", v, err)
		}
		v.root = root
	}
	return v
}

// walkAll is walk for everybody, of what is a page.
func (h *house) walkAll() (views []view) {
	h.t.Helper()
	for _, g := range h.guests() {
		for _, v := range h.walk(g) {
			if v.root != nil {
				views = append(views, v)
			}
		}
	}
	return views
}

// routeOf is the route that an address belongs to, or empty.
func routeOf(routes []string, at string) string {
	path, _, _ := strings.Cut(at, "?")
	best, fewest := "", 100
	for _, route := range routes {
		if variables := strings.Count(route, ":") + 10*strings.Count(route, "*"); variables < fewest && fits(route, path) {
			best, fewest = route, variables
		}
	}
	return best
}

func fits(route, path string) bool {
	parts, segments := strings.Split(route, "/"), strings.Split(path, "/")
	if last := len(parts) - 1; strings.HasPrefix(parts[last], "*") && len(segments) > last {
		parts, segments = parts[:last], segments[:last]
	}
	return slices.EqualFunc(parts, segments, func(part, segment string) bool {
		return part == segment || strings.HasPrefix(part, ":") && segment != ""
	})
}

func queryNames(at string) []string {
	_, query, _ := strings.Cut(at, "?")
	q, _ := url.ParseQuery(query)
	return slices.Sorted(maps.Keys(q))
}

// leadsTo are the addresses of ours that a redirect, or the page's links and
// filters lead to.
func (v view) leadsTo() (out []string) {
	if v.root == nil {
		if to, ours := v.resolve(v.Header.Get("Location")); ours && v.Header.Get("Location") != "" {
			out = append(out, to)
		}
		return out
	}
	for e := range v.root.Descendants() {
		switch {
		case e.Type != html.ElementNode:
		case e.Data == "a":
			if to, ours := v.resolve(attr(e, "href")); ours {
				out = append(out, to)
			}
		case e.Data == "form" && !strings.EqualFold(attr(e, "method"), "post"):
			out = append(out, v.filtered(e)...)
		}
	}
	return out
}

// resolve makes an address of the page absolute, as path and query, and says
// whether it is ours.
func (v view) resolve(href string) (string, bool) {
	base, err := url.Parse(publicURL + v.at)
	if err != nil {
		return href, false
	}
	to, err := base.Parse(href)
	if err != nil || to.Scheme+"://"+to.Host != publicURL {
		return href, false
	}
	to.Fragment = ""
	return to.RequestURI(), true
}

// filtered are the addresses of a form that filters: each choice by itself, and
// each field with something in it.
func (v view) filtered(form *html.Node) (out []string) {
	to, ours := v.resolve(attr(form, "action"))
	if !ours {
		return nil
	}
	path, _, _ := strings.Cut(to, "?")
	with := func(name, value string) { out = append(out, path+"?"+url.Values{name: {value}}.Encode()) }
	for e := range form.Descendants() {
		if e.Type != html.ElementNode || attr(e, "name") == "" {
			continue
		}
		switch e.Data {
		case "input":
			typed := map[string]string{"date": "2026-01-02"}[attr(e, "type")]
			with(attr(e, "name"), cmp.Or(attr(e, "value"), typed, "u"))
		case "select":
			for o := range e.Descendants() {
				if o.Type == html.ElementNode && o.Data == "option" && attr(o, "value") != "" {
					with(attr(e, "name"), attr(o, "value"))
				}
			}
		}
	}
	return out
}

func attr(e *html.Node, name string) string {
	for _, a := range e.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(e *html.Node, name string) bool {
	return slices.ContainsFunc(e.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// elements are those of a page by name; without a name all.
func elements(root *html.Node, names ...string) (out []*html.Node) {
	for e := range root.Descendants() {
		if e.Type == html.ElementNode && (len(names) == 0 || slices.Contains(names, e.Data)) {
			out = append(out, e)
		}
	}
	return out
}

// around finds the nearest element of a name around a node, or nil.
func around(n *html.Node, names ...string) *html.Node {
	for a := range n.Ancestors() {
		if a.Type == html.ElementNode && slices.Contains(names, a.Data) {
			return a
		}
	}
	return nil
}

// textIn is what stands in an element, as it is read.
func textIn(n *html.Node) string {
	var out strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			out.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(spaces.ReplaceAllString(out.String(), " "))
}
