package web_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// The rules of every page. Which pages there are says the router, so that a new
// page keeps them or fails here.

// Every route that a browser opens is looked at, and no other answers HTML.
func TestEveryPageIsLookedAt(t *testing.T) {
	h := furnish(t, furniture{rows: 3, text: plainText})
	gets, _ := pageRoutes(t, h.Broker)
	reached := map[string]bool{}
	for _, g := range h.guests() {
		for _, v := range h.walk(g) {
			reached[v.route] = true
			if v.root == nil && v.Status == http.StatusOK && v.Header.Get("Content-Disposition") == "" {
				t.Errorf("%s: neither a page nor a download: %v", v, v.Header)
			}
			if v.Status >= 500 {
				t.Errorf("%s: %d %s", v, v.Status, v.Body)
			}
		}
	}
	for _, route := range gets {
		if !reached[route] {
			t.Errorf("no page links to %s: give it an address in examples", route)
		}
	}
	for _, route := range noPages {
		method, path, _ := strings.Cut(route, " ")
		if method != http.MethodGet {
			continue
		}
		for _, g := range h.guests() {
			a := h.do(method, strings.NewReplacer(":provider", "openid", "*file", "key.svg").Replace(path), htmlOnly, cookies(g.cookies))
			if strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") && a.Status == http.StatusOK {
				t.Errorf("%s answers a page and is listed as none", route)
			}
		}
	}
}

// Strangers are led to the login and from there back to where they wanted to go,
// with its query; users come to no page of the office.
func TestEveryPageKnowsWhoMaySeeIt(t *testing.T) {
	h := furnish(t, furniture{rows: 3, text: plainText})
	x := newSite(t, setup{}) // where names and passwords are as they were
	office := 0
	for _, v := range h.walk(&guest{"root", h.root}) {
		if !v.inside() {
			continue
		}
		to := h.do(http.MethodGet, v.at, htmlOnly).location()
		if to.Path != "/login" || to.Query().Get("next") != v.at || to.Host != "id.example.org" {
			t.Errorf("a stranger at %s is led to %s", v.at, to)
		}
		login := form("username", "root", "password", harness.PasswordOf("root"), "next", v.at)
		if back := x.do(http.MethodPost, "/login/password", login).location(); back.String() != publicURL+v.at {
			t.Errorf("from the login it goes to %s, not back to %s", back, v.at)
		}
		if below(v.at, "/admin") {
			office++
			a := h.do(http.MethodGet, v.at, htmlOnly, cookies(h.alice)).refused(403, broker.Forbidden, "")
			if strings.Contains(plain(a.Body), plainText) {
				t.Errorf("the refusal of %s says what is there: %s", v.at, a.Body)
			}
		}
	}
	t.Logf("%d addresses of the office", office)
}

var cspSource = regexp.MustCompile(`^('none'|'self'|data:)$`)

// What a browser may do with a page: no frame around it, nothing from elsewhere,
// no script that stands in it, nothing kept.
func TestEveryPageHasItsHeaders(t *testing.T) {
	for _, v := range furnish(t, furniture{rows: 3, text: plainText}).walkAll() {
		policy := map[string]string{}
		for directive := range strings.SplitSeq(v.Header.Get("Content-Security-Policy"), ";") {
			name, sources, _ := strings.Cut(strings.TrimSpace(directive), " ")
			policy[name] = sources
			for source := range strings.FieldsSeq(sources) {
				if !cspSource.MatchString(source) {
					t.Errorf("%s: the policy allows %s of %s", v, source, name)
				}
			}
		}
		for _, name := range []string{"default-src", "frame-ancestors", "base-uri"} {
			if policy[name] != "'none'" {
				t.Errorf("%s: %s is %q", v, name, policy[name])
			}
		}
		for name, want := range map[string]string{
			"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
		} {
			if got := v.Header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q", v, name, got)
			}
		}
	}
}

// Nothing in a page runs or looks but by files of ours, and it leads nowhere but
// to us and, for clients, to https.
func TestEveryPageIsMadeOfOurOwn(t *testing.T) {
	for _, v := range furnish(t, furniture{rows: 3, text: plainText}).walkAll() {
		for _, e := range elements(v.root) {
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "srcdoc" || a.Key == "srcset" || a.Key == "formaction" {
					t.Errorf("%s: <%s> has %s", v, e.Data, a.Key)
				}
				if a.Key == "src" || a.Key == "href" && e.Data == "link" {
					if to, ours := v.resolve(a.Val); !ours || !strings.HasPrefix(to, "/static/") {
						t.Errorf("%s: <%s> loads %s", v, e.Data, a.Val)
					}
				}
			}
			switch e.Data {
			case "style", "base", "iframe", "object", "embed", "frame":
				t.Errorf("%s: has <%s>", v, e.Data)
			case "script":
				if !hasAttr(e, "src") || textIn(e) != "" {
					t.Errorf("%s: a script stands in the page", v)
				}
			case "meta":
				if strings.EqualFold(attr(e, "http-equiv"), "refresh") {
					t.Errorf("%s: it leads on by itself", v)
				}
			case "form":
				if _, ours := v.resolve(attr(e, "action")); !ours {
					t.Errorf("%s: a form leads to %s", v, attr(e, "action"))
				}
			case "a":
				v.checkLink(t, e)
			}
		}
	}
}

func (v view) checkLink(t *testing.T, e *html.Node) {
	t.Helper()
	href := attr(e, "href")
	_, ours := v.resolve(href)
	switch {
	case href == "" || href == "#":
		t.Errorf("%s: a link leads nowhere: %s", v, textIn(e))
	case ours:
	case !strings.HasPrefix(href, "https://"):
		t.Errorf("%s: a link leads to %s", v, href)
	case !strings.Contains(attr(e, "rel"), "noreferrer"):
		t.Errorf("%s: the link to %s tells where it comes from", v, href)
	}
}

// Where a link of a page leads there is a page, for whoever sees the link.
func TestEveryLinkLeadsToAPage(t *testing.T) {
	h := furnish(t, furniture{rows: 3, text: plainText})
	for _, g := range h.guests() {
		known := map[string]int{}
		for _, v := range h.walk(g) {
			known[v.at] = v.Status
			for _, to := range v.leadsTo() {
				itself := strings.SplitN(to, "?", 2)[0] == strings.SplitN(v.at, "?", 2)[0]
				if below(to, "/auth") || v.Status >= 400 && itself {
					continue // out to an IdP, or the same refusal in another language
				}
				if known[to] == 0 {
					known[to] = h.do(http.MethodGet, to, htmlOnly, cookies(g.cookies)).Status
				}
				if status := known[to]; status >= 400 {
					t.Errorf("%s: a link leads to %s, which answers %d", v, to, status)
				}
			}
		}
	}
}

// A first view loads in a moment on a bad line.
func TestEveryPageIsLight(t *testing.T) {
	const most = 60_000
	h := furnish(t, furniture{rows: 300, text: strings.Repeat("Name ", 6)})
	loaded, heaviest := map[string]int{}, view{}
	weigh := func(v view) int {
		all := len(v.Body)
		for _, e := range elements(v.root, "link", "script", "img") {
			path, ours := v.resolve(attr(e, "src") + attr(e, "href"))
			if !ours {
				continue
			}
			if loaded[path] == 0 {
				loaded[path] = len(h.do(http.MethodGet, path).want(200).Body)
			}
			all += loaded[path]
		}
		return all
	}
	for _, v := range h.walkAll() {
		weight := weigh(v)
		if weight > most {
			t.Errorf("%s: %d bytes, of which the page itself is %d", v, weight, len(v.Body))
		}
		if heaviest.root == nil || weight > weigh(heaviest) {
			heaviest = v
		}
	}
	t.Logf("the heaviest is %s with %d bytes", heaviest, weigh(heaviest))
}

// A page asks the database a few times, however many rows there are.
func TestEveryPageAsksTheDatabaseLittle(t *testing.T) {
	const most = 8
	asked := func(rows int) map[string]int64 { // the most of each kind of page
		h, out := furnish(t, furniture{rows: rows, text: plainText}), map[string]int64{}
		for _, g := range h.guests() {
			for _, v := range h.walk(g) {
				before := h.Statements.Load() // what is remembered for a while was read by the walk
				h.do(http.MethodGet, v.at, htmlOnly, cookies(g.cookies))
				out[v.kind()] = max(out[v.kind()], h.Statements.Load()-before)
			}
		}
		return out
	}
	few, many := asked(3), asked(300)
	for kind, n := range many {
		if n > most {
			t.Errorf("%s: %d statements, at most %d", kind, n, most)
		}
		if before, known := few[kind]; known && before < n { // a search that finds a page of people by one key asks for no other
			t.Errorf("%s: %d statements for 3 rows and %d for 300", kind, before, n)
		}
	}
}

// What a screen reader and a keyboard need of the HTML.
func TestEveryPageIsOrderly(t *testing.T) {
	for _, v := range furnish(t, furniture{rows: 3, text: plainText}).walkAll() {
		wrong := func(format string, args ...any) { t.Errorf("%s: %s", v, fmt.Sprintf(format, args...)) }
		for _, name := range []string{"h1", "main", "title"} {
			found := elements(v.root, name)
			if name == "title" {
				found = slices.DeleteFunc(found, func(e *html.Node) bool { return around(e, "svg") != nil })
			}
			if len(found) != 1 || textIn(found[0]) == "" {
				wrong("%d of %s", len(found), name)
			}
		}
		if lang := attr(elements(v.root, "html")[0], "lang"); lang == "" {
			wrong("no lang")
		}
		ids := map[string]bool{}
		for _, e := range elements(v.root) {
			if id := attr(e, "id"); id != "" {
				if ids[id] {
					wrong("the id %s is there twice", id)
				}
				ids[id] = true
			}
		}
		labels := map[string]bool{}
		for _, e := range elements(v.root, "label") {
			if labels[attr(e, "for")] = textIn(e) != ""; hasAttr(e, "for") && !ids[attr(e, "for")] {
				wrong("a label for %s, which is not there", attr(e, "for"))
			}
		}
		for _, e := range elements(v.root) {
			for _, name := range []string{"aria-describedby", "aria-labelledby", "aria-controls", "headers"} {
				for id := range strings.FieldsSeq(attr(e, name)) {
					if !ids[id] {
						wrong("%s names %s, which is not there", name, id)
					}
				}
			}
			if unnamed(e, labels) {
				wrong("<%s name=%q> has no name to read out", e.Data, attr(e, "name"))
			}
		}
	}
}

// unnamed reports whether something that can be used says not what it is.
func unnamed(e *html.Node, labels map[string]bool) bool {
	said := attr(e, "aria-label")+attr(e, "aria-labelledby") != ""
	switch e.Data {
	case "input":
		if kind := attr(e, "type"); kind == "hidden" || hasAttr(e, "hidden") || kind == "submit" && attr(e, "value") != "" {
			return false
		}
		return !said && !labels[attr(e, "id")] && around(e, "label") == nil
	case "select", "textarea":
		return !said && !labels[attr(e, "id")] && around(e, "label") == nil
	case "a", "button", "summary":
		return !said && textIn(e) == ""
	case "table":
		return !said && len(elements(e, "caption")) == 0
	case "nav":
		return !said
	}
	return false
}
