package web_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// hostileTexts are what somebody calls himself who wants to do harm.
var hostileTexts = map[string]string{
	"markup":        `"><svg onload=alert(1)><img src=x onerror=alert(1)>`,
	"single quotes": `' autofocus onfocus='alert(1)`,
	"closing tags":  `</td></table></textarea></option></select></title></bdi></main><script>alert(1)</script>`,
	"a scheme":      `javascript:alert(1)//`,
	"a template":    `{{7*7}}{{.User.PasswordHash}}${7*7}`,
	"another side":  "\u202Etxt.exe\u2066\u2067\u200F",
	"ten kilobytes": strings.Repeat("W", 10<<10),
	"entities":      `&lt;script&gt;&#0;&notin;&amp;quot;`,
}

// shapeOf is what a page is made of: which elements stand in which, with which
// attributes, without what is said.
func shapeOf(root *html.Node) (out []string) {
	for _, e := range elements(root) {
		names := []string{}
		for _, a := range e.Attr {
			names = append(names, a.Key)
		}
		out = append(out, strings.Join(append([]string{e.Parent.Data, ">", e.Data}, names...), " "))
	}
	return out
}

// Whatever anybody calls himself, his devices, his clients or his groups: a page
// has no element and no attribute that no page of its kind has with harmless
// names, and its links lead nowhere else.
func TestW01HostileTextsAreInert(t *testing.T) {
	walk := func(text string) []view { return furnish(t, furniture{rows: 3, text: text, url: text}).walkAll() }
	harmless := map[string]bool{}
	for _, v := range walk(plainText) {
		for _, part := range shapeOf(v.root) {
			harmless[v.who+v.route+part] = true
		}
	}
	for what, text := range hostileTexts {
		t.Run(what, func(t *testing.T) {
			for _, v := range walk(text) {
				for _, part := range shapeOf(v.root) {
					if !harmless[v.who+v.route+part] {
						t.Errorf("%s: with harmless names there is no %s", v, part)
					}
				}
				for _, e := range elements(v.root, "a") {
					v.checkLink(t, e)
				}
				v.checkSetApart(t)
			}
		})
	}
}

// checkSetApart wants texts that turn the direction of writing around in an
// element that keeps it to itself (code does by its style).
func (v view) checkSetApart(t *testing.T) {
	t.Helper()
	for n := range v.root.Descendants() {
		if n.Type == html.TextNode && strings.Contains(n.Data, "\u202E") && around(n, "bdi", "code", "option", "textarea", "title") == nil {
			t.Errorf("%s: %q in <%s> turns the page around", v, n.Data, n.Parent.Data)
		}
	}
}

var secretForms = map[string]*regexp.Regexp{
	"a password hash":       regexp.MustCompile(`\$(argon2\w*|2[aby]|pbkdf2[\w-]*|scrypt)\$[\w=,./+$-]{8,}`),
	"a JWT":                 regexp.MustCompile(`eyJ[\w-]{10,}\.[\w-]{10,}\.`),
	"an API key":            regexp.MustCompile(`lk_[0-9A-Za-z]+_[0-9A-Za-z]{40,}`),
	"a private key":         regexp.MustCompile(`PRIVATE KEY|"d":"`),
	"a hash or such in hex": regexp.MustCompile(`[^?]\b[0-9a-f]{64}\b`),
}

// No page says what only its owner or nobody may know: not even to him, once
// it was handed out.
func TestNoPageSaysSecrets(t *testing.T) {
	h := furnish(t, furniture{rows: 3, text: plainText})
	if len(h.secrets) < 10 {
		t.Fatalf("only %v", slices.Collect(maps.Keys(h.secrets)))
	}
	for _, v := range h.walkAll() {
		said := html.UnescapeString(v.Body)
		for what, secret := range h.secrets {
			if strings.Contains(said, secret) {
				t.Errorf("%s says %s", v, what)
			}
		}
		for what, form := range secretForms {
			if found := form.FindString(said); found != "" {
				t.Errorf("%s says %s: %s", v, what, found)
			}
		}
	}
}
