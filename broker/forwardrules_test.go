package broker_test

import (
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/latchkey-id/latchkey/broker"
)

func forwardRules(tb testing.TB, rules ...broker.ForwardRule) broker.ForwardRules {
	tb.Helper()
	checked, err := broker.CheckForwardRules(rules, "id.example.org")
	if err != nil {
		tb.Fatal(err)
	}
	return checked
}

func pathRules(tb testing.TB) broker.ForwardRules {
	return forwardRules(tb,
		broker.ForwardRule{Hosts: []string{"app.x.test"}, Paths: []string{"/public/*", "/health"}, Policy: broker.ForwardAllow},
		broker.ForwardRule{Hosts: []string{"app.x.test"}, Paths: []string{"/Admin/*"}, Policy: broker.ForwardLogin, Roles: []broker.Role{broker.RoleAdmin}},
		broker.ForwardRule{Hosts: []string{"app.x.test"}, Paths: []string{"/internal/*"}, Policy: broker.ForwardDeny},
		broker.ForwardRule{Hosts: []string{"app.x.test"}, Paths: []string{"/api/*"}, Policy: broker.ForwardKey},
		broker.ForwardRule{Hosts: []string{"app.x.test", "open.test"}, Paths: []string{"/*"}, Policy: broker.ForwardLogin},
		broker.ForwardRule{Hosts: []string{"*.apps.x.test"}, Policy: broker.ForwardAllow},
		broker.ForwardRule{Hosts: []string{"bücher.test:8443"}, Policy: broker.ForwardLogin},
		broker.ForwardRule{Hosts: []string{"lax.test"}, Paths: []string{"/secret/*"}, Policy: broker.ForwardDeny},
		broker.ForwardRule{Hosts: []string{"lax.test"}, Policy: broker.ForwardAllow},
	)
}

// judged says what a request meets: allow, login, admin, key, or refused.
func judged(rules broker.ForwardRules, host, uri string) string {
	app, err := broker.ForwardAppOf("https", host)
	if err != nil {
		return "refused"
	}
	d, err := rules.Judge(app.Host, uri)
	switch {
	case err != nil:
		return "refused"
	case d.Open():
		return "allow"
	case !d.ByLogin():
		return "key"
	case d.Admit(broker.Principal{User: broker.User{Role: broker.RoleUser}}, nil) != nil:
		return "admin"
	}
	return "login"
}

// F03, F04: rules see the host and the path alone, each in one form, and what can
// be read in another way opens nothing.
func TestForwardPathAndHostConfusion(t *testing.T) {
	rules := pathRules(t)
	for _, x := range []struct{ host, uri, want string }{
		{"app.x.test", "/public/a", "allow"}, {"app.x.test", "/public", "allow"}, {"app.x.test", "/publicity", "login"},
		{"app.x.test", "/health", "allow"}, {"app.x.test", "/health?x=/admin", "allow"}, {"app.x.test", "/health/", "login"}, {"app.x.test", "/healthy", "login"},
		{"app.x.test", "/", "login"}, {"app.x.test", "/?x=/public/", "login"}, {"app.x.test", "/x?a=%2f..%2f", "login"}, {"app.x.test", "/caf%C3%A9", "login"},
		{"app.x.test", "/Admin", "admin"}, {"app.x.test", "/admin/x", "admin"}, {"app.x.test", "/ADMIN/", "admin"}, {"app.x.test", "/admin./x", "admin"},
		{"app.x.test", "/%EF%BC%A1dmin", "admin"}, {"app.x.test", "/admin%20/x", "admin"}, {"app.x.test", "/admin?x=/public/", "admin"},
		{"app.x.test", "/internal/x", "refused"}, {"app.x.test", "/INTERNAL/x", "refused"}, {"app.x.test", "/api/x", "key"}, {"app.x.test", "/API/x", "key"},
		{"app.x.test", "/public/../admin", "admin"}, {"app.x.test", "/public/%2e%2e/admin", "admin"}, {"app.x.test", "/PUBLIC/../admin", "admin"},
		{"app.x.test", "/admin/../public/x", "admin"}, {"app.x.test", "/public/./x", "allow"}, {"app.x.test", "/public//x", "allow"},
		{"app.x.test", "/public/..;/admin", "refused"}, {"app.x.test", "//admin", "refused"}, {"app.x.test", "/admin#/public/", "refused"},
		{"app.x.test", "/public%2f..%2fadmin", "refused"}, {"app.x.test", "/public/%252e%252e/admin", "refused"}, {"app.x.test", "/public/%00", "refused"},
		{"app.x.test", "/public/..\\admin", "refused"}, {"app.x.test", "/public/%5c..%5cadmin", "refused"}, {"app.x.test", "/public/%zz", "refused"},
		{"app.x.test", "/public/%ff", "refused"}, {"app.x.test", "/public/a//../../admin", "refused"}, {"app.x.test", "", "refused"}, {"app.x.test", "*", "refused"},
		{"app.x.test", "https://app.x.test/public/", "refused"}, {"app.x.test", "/public/" + strings.Repeat("x", 9000), "refused"},
		{"app.x.test", "/public/\uff0e\uff0e/admin", "refused"}, {"app.x.test", "/public/\u2025/internal", "refused"}, {"app.x.test", "/public/%20../admin", "refused"},
		{"app.x.test", "/public/.. /x", "refused"}, {"app.x.test", "/public/\uff0f../admin", "refused"}, {"app.x.test", "/public/x\uff0f..\uff3c../admin", "refused"},
		{"app.x.test", "/public/..%20/admin//..%20/public/y", "refused"}, {"app.x.test", "/public/..\u2215..\u2044admin", "refused"}, {"app.x.test", "/public/..\uff1bx/admin", "refused"},
		{"app.x.test", "/public/\uff052e\uff052e/admin", "refused"}, {"app.x.test", "/public/.\u200b./admin", "refused"}, {"app.x.test", "/public/AC\uff0fDC\uff1b100\uff05\u2026", "allow"},
		{"app.x.test", "/public/\uff1f\uff1b\uff05", "allow"}, {"app.x.test", "/.latchkey/login", "refused"}, {"app.x.test", "/public/../.latchkey/callback", "refused"},
		{"APP.x.TEST", "/public/a", "allow"}, {"app.x.test.", "/admin", "admin"}, {"app.x.test:443", "/", "login"}, {"app.x.test:8080", "/", "login"},
		{"a.apps.x.test", "/", "allow"}, {"a.apps.x.test", "/a%2fb;c", "allow"}, {"a.b.apps.x.test", "/", "refused"}, {"apps.x.test", "/", "refused"},
		{"xapps.x.test", "/", "refused"}, {"bücher.test", "/", "login"}, {"BÜCHER.test", "/", "login"}, {"xn--bcher-kva.test", "/", "login"},
		{"app.x.test.evil.test", "/", "refused"}, {"evil.test", "/", "refused"}, {"", "/", "refused"}, {"app.x.test@evil.test", "/", "refused"},
		{"app.x.test/..", "/", "refused"}, {"app.x.test..", "/", "refused"}, {"app.x.test:x", "/", "refused"}, {"*.apps.x.test", "/", "refused"},
		{"lax.test", "/x", "allow"}, {"lax.test", "/secret", "refused"}, {"lax.test", "/x/../Secret/", "refused"}, {"lax.test", "/secret/../x", "refused"},
	} {
		if got := judged(rules, x.host, x.uri); got != x.want {
			t.Errorf("%s%s: %s, want %s", x.host, x.uri, got, x.want)
		}
	}
}

// Whom a rule lets in.
func TestForwardAdmits(t *testing.T) {
	rules := forwardRules(t,
		broker.ForwardRule{Hosts: []string{"staff.test"}, Policy: broker.ForwardLogin, Groups: []string{"staff"}, Users: []string{"Robin"}, Roles: []broker.Role{broker.RoleRoot}},
		broker.ForwardRule{Hosts: []string{"key.test"}, Policy: broker.ForwardKey, Scopes: []string{"shelf:read"}},
		broker.ForwardRule{Hosts: []string{"all.test"}, Policy: broker.ForwardLogin},
	)
	anna := broker.User{Username: "anna", Role: broker.RoleUser}
	member := func(u broker.User, groups ...string) broker.User { u.Groups = groups; return u }
	key := func(scope string) *broker.APIKey { return &broker.APIKey{Scope: scope} }
	for name, x := range map[string]struct {
		host  string
		who   broker.Principal
		scope *string
		want  broker.Code
	}{
		"nobody's group":         {"staff.test", broker.Principal{User: anna}, nil, broker.GroupNotAllowed},
		"another group":          {"staff.test", broker.Principal{User: member(anna, "Staff", "x")}, nil, broker.GroupNotAllowed},
		"the group":              {"staff.test", broker.Principal{User: member(anna, "x", "staff")}, nil, ""},
		"the user":               {"staff.test", broker.Principal{User: broker.User{Username: "ROBIN"}}, nil, ""},
		"the role":               {"staff.test", broker.Principal{User: broker.User{Username: "x", Role: broker.RoleRoot}}, nil, ""},
		"everybody":              {"all.test", broker.Principal{User: anna}, nil, ""},
		"a key of the API":       {"all.test", broker.Principal{User: anna, Key: key("latchkey:api")}, nil, broker.InsufficientScope},
		"a key":                  {"all.test", broker.Principal{User: anna, Key: key("x latchkey:forward")}, nil, ""},
		"a key of another group": {"staff.test", broker.Principal{User: anna, Key: key("latchkey:forward")}, nil, broker.GroupNotAllowed},
		"a token without":        {"all.test", broker.Principal{User: anna}, new("openid latchkey:api"), broker.InsufficientScope},
		"a token":                {"all.test", broker.Principal{User: anna}, new("openid latchkey:forward"), ""},
		"a person for keys":      {"key.test", broker.Principal{User: anna}, nil, broker.Forbidden},
		"a token for keys":       {"key.test", broker.Principal{User: anna}, new("shelf:read"), broker.Forbidden},
		"a key without":          {"key.test", broker.Principal{User: anna, Key: key("latchkey:forward")}, nil, broker.InsufficientScope},
		"the key for it":         {"key.test", broker.Principal{User: anna, Key: key("shelf:read")}, nil, ""},
	} {
		d, err := rules.Judge(x.host, "/")
		if err != nil {
			t.Fatal(err)
		}
		err = d.Admit(x.who, x.scope)
		if x.want == "" && err != nil || x.want != "" && !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
}

// Bad rules are named, each with its field.
func TestForwardRulesChecked(t *testing.T) {
	ok := broker.ForwardRule{Hosts: []string{"a.test"}, Policy: broker.ForwardAllow}
	for _, x := range []struct {
		change func(*broker.ForwardRule)
		field  string
	}{
		{func(r *broker.ForwardRule) { r.Hosts = nil }, "hosts"},
		{func(r *broker.ForwardRule) { r.Hosts = []string{"*"} }, "hosts"},
		{func(r *broker.ForwardRule) { r.Hosts = []string{"*.test"} }, "hosts"},
		{func(r *broker.ForwardRule) { r.Hosts = []string{"a.*.test"} }, "hosts"},
		{func(r *broker.ForwardRule) { r.Hosts = []string{"https://a.test"} }, "hosts"},
		{func(r *broker.ForwardRule) { r.Hosts = []string{"a.test:0"} }, "hosts"},
		{func(r *broker.ForwardRule) { r.Hosts = []string{"ID.example.org."} }, "hosts"},
		{func(r *broker.ForwardRule) { r.Paths = []string{"public"} }, "paths"},
		{func(r *broker.ForwardRule) { r.Paths = []string{"/a/../b"} }, "paths"},
		{func(r *broker.ForwardRule) { r.Paths = []string{"/a*"} }, "paths"},
		{func(r *broker.ForwardRule) { r.Paths = []string{"/a%20b"} }, "paths"},
		{func(r *broker.ForwardRule) { r.Paths = []string{"//a/*"} }, "paths"},
		{func(r *broker.ForwardRule) { r.Policy = "" }, "policy"},
		{func(r *broker.ForwardRule) { r.Policy = "bypass" }, "policy"},
		{func(r *broker.ForwardRule) { r.Groups = []string{"x"} }, "policy"},
		{func(r *broker.ForwardRule) { r.Policy, r.Roles = broker.ForwardLogin, []broker.Role{"boss"} }, "roles"},
		{func(r *broker.ForwardRule) { r.Policy, r.Groups = broker.ForwardLogin, []string{""} }, "groups"},
		{func(r *broker.ForwardRule) { r.Policy, r.Scopes = broker.ForwardLogin, []string{"a b"} }, "scopes"},
	} {
		bad := ok
		x.change(&bad)
		_, err := broker.CheckForwardRules([]broker.ForwardRule{ok, bad}, "id.example.org")
		faults, _ := errors.AsType[broker.Faults](err)
		if len(faults) != 1 || faults[0].Field != "rules[1]."+x.field {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	forwardRules(t, broker.ForwardRule{Hosts: []string{"10.0.0.1:8080", "[::1]", "my_app"}, Paths: []string{"/", "/*", "/a/", "/ä b/*"}, Policy: broker.ForwardDeny})
}

// spellings are ways to write a path that some proxy, framework or file system
// takes for the same one.
func spellings(t *rapid.T, path string) string {
	for range rapid.IntRange(1, 4).Draw(t, "times") {
		i := rapid.IntRange(1, len(path)-1).Draw(t, "at")
		switch rapid.IntRange(0, 12).Draw(t, "how") {
		case 0:
			path = path[:i] + strings.ToUpper(path[i:])
		case 1:
			path = strings.Replace(path, "/", "//", 1)
		case 2:
			path = "/public/.." + path
		case 3:
			path = "/public/%2e%2E" + path
		case 4:
			path = "/public/..;x" + path
		case 5:
			path = strings.Replace(path, "/", "/./", 1)
		case 6:
			const hex = "0123456789abcdef"
			path = path[:i] + "%" + string(hex[path[i]>>4]) + string(hex[path[i]&15]) + path[i+1:]
		case 7:
			path += "/"
		case 8:
			path += rapid.SampledFrom([]string{".", "%20", ";a=b", "%00", "?x=/public/", "#/public/", "/..", "/x/..", "\\"}).Draw(t, "end")
		case 9:
			path = "/public%2f.." + path
		case 10:
			path = strings.ReplaceAll(path, "/", "\\")
		case 11:
			path = "/public//.." + path
		case 12:
			path = strings.Replace(path, "a", "\uff41", 1)
		}
	}
	return path
}

// What is refused, or asks for somebody, when it is written plainly opens to nobody
// in any other spelling.
func TestForwardSpellingsOpenNothing(t *testing.T) {
	rules := pathRules(t)
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.SampledFrom([]string{"app.x.test", "lax.test"}).Draw(t, "host")
		plain := rapid.SampledFrom(map[string][]string{"app.x.test": {"/admin/a", "/internal/a", "/api/a", "/a"}, "lax.test": {"/secret/a"}}[host]).Draw(t, "plain")
		other := spellings(t, plain)
		if got := judged(rules, host, other); got == "allow" && !elsewhere(other) {
			t.Errorf("%s%s is as %s, and open", host, other, plain)
		}
	})
}

// elsewhere reports whether a spelling leads out of the plain path: then it is
// another address.
func elsewhere(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	return slices.Contains(strings.Split(path, "/"), "..") && (strings.HasSuffix(path, "/..") || strings.HasSuffix(path, "/../"))
}

// Whatever an address looks like: it is judged without a panic, every host and
// every path alike, and an open one is open however an app reads it.
func FuzzForwardJudge(f *testing.F) {
	rules := pathRules(f)
	for _, seed := range []string{
		"/public/../admin", "/public/%2e%2e/admin", "/public/..;/admin", "//admin", "/admin#/public/", "/PUBLIC/../admin", "/public%2f..%2fadmin",
		"/public/\x00", "/public/%252e%252e/admin", "/public/\uff0e\uff0e/admin", "/public\uff0fx", "/public/\u2025/admin", "/./public/x", "/public/. ./admin",
		"/public/x/../admin", "/admin/../public/x", "/public/a//../../admin", "/public//../admin", "/public/.. /admin", "/public/..%20/admin//..%20/public/y", "/public/%20../admin", "/public/.../admin", "/health", "/health/../public/x?y", "/public/x/..",
		"/public/a/\uff0e./../admin", "/public/\uff0f../admin",
	} {
		f.Add("app.x.test", seed)
	}
	f.Add("APP.X.TEST.:443", "/")
	f.Add("[::1%25eth0]:80", "/")
	f.Fuzz(func(t *testing.T, host, uri string) {
		first := judged(rules, host, uri)
		if again := judged(rules, strings.ToUpper(host), uri); again != first && isPlain(host) {
			t.Fatalf("%q %q: %s, in capitals %s", host, uri, first, again)
		}
		if judged(rules, "app.x.test", uri) != "allow" {
			return
		}
		for _, read := range readByApps(uri) {
			if read != "/health" && read != "/public" && !strings.HasPrefix(read, "/public/") {
				t.Errorf("%q is open, and %q to an app", uri, read)
			}
		}
	})
}

// readByApps are the paths that apps may read in an address: decoded once, in the form that
// Unicode calls compatible or not, with segments trimmed or not, in small letters or not, and
// with its dots resolved by a file system, by RFC 3986, or not at all.
func readByApps(uri string) (out []string) {
	raw, _, _ := strings.Cut(uri, "?")
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return []string{"what cannot be decoded"}
	}
	trimmed := func(text string, trim func(string) string) string {
		segments := strings.Split(text, "/")
		for i := range segments {
			segments[i] = trim(segments[i])
		}
		return strings.Join(segments, "/")
	}
	texts := []string{decoded, norm.NFKC.String(decoded)}
	for _, text := range texts {
		texts = append(texts, trimmed(text, strings.TrimSpace), trimmed(text, func(s string) string { return strings.TrimRight(s, " .") }))
	}
	for _, text := range texts {
		texts = append(texts, strings.ToLower(text), strings.ReplaceAll(text, "\\", "/"))
	}
	for _, text := range texts {
		resolved := (&url.URL{Path: "/"}).ResolveReference(&url.URL{Path: text})
		out = append(out, text, path.Clean(text), resolved.Path)
	}
	return out
}

func isPlain(host string) bool {
	return !strings.ContainsFunc(host, func(r rune) bool { return r > '~' || r < '!' })
}
