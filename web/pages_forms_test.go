package web_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/latchkey-id/latchkey/broker"
)

// filledForm is a form of a page as a browser would post it.
type filledForm struct {
	on     view
	action string
	fields url.Values
}

// forms are those of a page that post, each with each of its buttons, and with
// something in every field that is empty.
func (v view) forms() (out []filledForm) {
	for _, f := range elements(v.root, "form") {
		if !strings.EqualFold(attr(f, "method"), "post") {
			continue
		}
		action, _ := v.resolve(attr(f, "action"))
		fields, buttons := url.Values{}, []*html.Node{}
		for _, e := range elements(f, "input", "textarea", "select", "button") {
			switch kind := attr(e, "type"); {
			case e.Data == "button":
				buttons = append(buttons, e)
			case attr(e, "name") == "" || kind == "file":
			case e.Data == "select":
				for _, o := range elements(e, "option") {
					fields.Set(attr(e, "name"), attr(o, "value"))
				}
			case attr(e, "value") != "":
				fields.Set(attr(e, "name"), attr(e, "value"))
			default:
				fields.Set(attr(e, "name"), "something")
			}
		}
		for _, b := range buttons {
			pressed := url.Values{}
			for name, values := range fields {
				pressed[name] = values
			}
			if name := attr(b, "name"); name != "" {
				pressed.Set(name, attr(b, "value"))
			}
			out = append(out, filledForm{v, action, pressed})
		}
	}
	return out
}

// foreign is how a form comes that another site makes a browser send.
var foreign = map[string][]option{
	"cross-site":                         {header("Origin", "https://evil.test"), header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "navigate")},
	"an older browser from another site": {header("Origin", "https://evil.test")},
	"without an origin":                  {header("Origin", "null"), header("Sec-Fetch-Site", "cross-site")},
	"an older browser without an origin": {header("Origin", "null")},
	"a sibling domain":                   {header("Origin", "https://shelf.example.org"), header("Sec-Fetch-Site", "same-site")},
}

// S04: no form of a page does anything for another site, whoever is logged in.
// The forms behind the door want the word of the browser that they come from us.
func TestS04EveryFormRefusesOtherSites(t *testing.T) {
	h := furnish(t, furniture{rows: 3, text: plainText})
	_, posts := pageRoutes(t, h.Broker)
	open := []filledForm{}
	for _, g := range []*guest{{"alice", h.alice}, {"root", h.root}} {
		for _, v := range h.walk(g) {
			if v.root != nil {
				open = append(open, v.forms()...)
			}
		}
	}
	for _, f := range open {
		if route := routeOf(posts, f.action); route == "" {
			t.Errorf("%s: a form posts to %s, which is no route", f.on, f.action)
		}
	}
	for _, route := range posts { // those that no page has at the moment, too
		if !slices.Contains(postedByOthers, "POST "+route) {
			open = append(open, filledForm{view{who: "root", at: route}, pathParameter.ReplaceAllString(route, idAt(1, 0)), url.Values{}})
		}
	}
	before, tried := h.contents(), map[string]bool{}
	for _, f := range open {
		as := h.root
		if f.on.who == "alice" {
			as = h.alice
		}
		// One of each kind does: a form stands on a page for every row.
		kind := f.on.who + routeOf(posts, f.action) + strings.Join(queryNames("?"+f.fields.Encode()), " ")
		if tried[kind] {
			continue
		}
		tried[kind] = true
		send := func(how string, options ...option) {
			t.Helper()
			options = append(options, htmlOnly, cookies(as), body("application/x-www-form-urlencoded", f.fields.Encode()))
			a := h.do(http.MethodPost, f.action, options...)
			if a.Status != 403 || a.Header.Get("Latchkey-Code") != string(broker.CrossSite) {
				t.Errorf("%s: the form to %s by %s: %d %s", f.on, f.action, how, a.Status, a.Header.Get("Latchkey-Code"))
			}
			if len(a.cookies) > 0 {
				t.Errorf("%s: the form to %s by %s: it sets cookies", f.on, f.action, how)
			}
		}
		for how, options := range foreign {
			send(how, options...)
		}
		if below(f.action, "/account", "/admin") {
			send("nobody knows whom")
		}
	}
	if after := h.contents(); after != before {
		t.Errorf("something was done: %s", firstDifference(strings.Split(after, "\n"), strings.Split(before, "\n")))
	}
	t.Logf("%d kinds of forms", len(tried))
}

func firstDifference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return strings.Join(got[min(i, len(got)):min(len(got), i+3)], " | ") + "; before " + strings.Join(want[min(i, len(want)):min(len(want), i+3)], " | ")
		}
	}
	return ""
}
