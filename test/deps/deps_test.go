package deps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/latchkey-id/latchkey"

// pkg is a package as go list tells it. Path and imports of our own packages
// are relative to the module: broker, web, providers/oidc.
type pkg struct {
	Path     string
	Standard bool
	Imports  []string // without those of its tests
	Deps     []string // everything behind Imports
}

// room is a package or a folder of packages: "storage" stands for storage and
// storage/anything.
type room string

func (r room) holds(path string) bool {
	return path == string(r) || strings.HasPrefix(path, string(r)+"/")
}

func in(path string, rooms ...room) bool {
	return slices.ContainsFunc(rooms, func(r room) bool { return r.holds(path) })
}

// homes says which rooms may import a library. Tests, and what stands under
// test for them, may import anything: it goes into no program.
var homes = []struct {
	library room
	rooms   []room
}{
	{"github.com/gin-gonic/gin", []room{"web", "examples"}},
	{"github.com/gin-contrib", []room{"web", "examples"}},
	{"github.com/mileusna/useragent", []room{"web"}},
	{"github.com/prometheus", []room{"web/metrics"}},
	{"go.opentelemetry.io", []room{"cmd/latchkey/tracing"}},
	{"google.golang.org/protobuf", []room{"cmd/latchkey/tracing"}},
	{"database/sql", []room{"storage"}},
	{"github.com/jmoiron/sqlx", []room{"storage"}},
	{"github.com/lib/pq", []room{"storage"}},
	{"github.com/ncruces/go-sqlite3", []room{"storage"}},
	{"modernc.org/sqlite", []room{"storage"}},
	{"github.com/mattn/go-sqlite3", []room{"storage"}},
	{"github.com/pressly/goose", []room{"storage"}},
	{"github.com/throttled/throttled", []room{"storage"}},
	{"github.com/gomodule/redigo", []room{"storage"}},
	{"github.com/coreos/go-oidc", []room{"providers", "cmd"}},
	{"golang.org/x/oauth2", []room{"providers", "cmd"}},
	{"github.com/golang-jwt/jwt", []room{"tokens"}},
	{"github.com/trustelem/zxcvbn", []room{"providers"}},
	{"github.com/wneessen/go-mail", []room{"providers"}},
	{"github.com/pquerna/otp", []room{"providers"}},
	{"github.com/go-webauthn", []room{"providers"}},
	{"migrations", []room{"storage"}},
	{"golang.org/x/net", []room{"broker"}},
	{"github.com/coreos/go-systemd", []room{"cmd/latchkey"}},
	{"github.com/getkin/kin-openapi", nil}, // tests alone
}

// ofTokens are the libraries that come along with tokens and tokens/verify.
var ofTokens = []room{"github.com/golang-jwt/jwt", "github.com/go-jose/go-jose", "github.com/go-json-experiment/json"}

// leaves may import nothing but the standard library and what is listed.
var leaves = []struct {
	room    room
	imports []room
}{
	{"broker", []room{"broker", "tokens", "golang.org/x/text", "golang.org/x/net/idna"}},
	{"tokens", append([]room{"tokens"}, ofTokens...)},
	{"migrations", nil},
}

// strangers never import each other.
var strangers = []room{"web", "providers", "storage"}

// forbidden are imports of the standard library that a room does without.
var forbidden = map[room][]room{
	"broker": {"net/http", "database/sql", "html/template", "os"},
	"tokens": {"database/sql", "os"},
}

// violations are the imports that break a rule, one sentence each.
func violations(pkgs []pkg) (out []string) {
	own, standard := map[string]pkg{}, map[string]bool{}
	for _, p := range pkgs {
		standard[p.Path] = p.Standard
		if ours(p) {
			own[p.Path] = p
		}
	}
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, p := range own {
		for _, i := range p.Imports {
			for _, home := range homes {
				if home.library.holds(i) && !in(p.Path, "test") && !in(p.Path, home.rooms...) && !home.library.holds(p.Path) {
					add("%s imports %s, which only %v may", p.Path, i, home.rooms)
				}
			}
			for r, not := range forbidden {
				if r.holds(p.Path) && in(i, not...) {
					add("%s imports %s", p.Path, i)
				}
			}
			for _, leaf := range leaves {
				if leaf.room.holds(p.Path) && !standard[i] && !in(i, leaf.imports...) {
					add("%s imports %s, and may import only the standard library and %v", p.Path, i, leaf.imports)
				}
			}
			for _, a := range strangers {
				for _, b := range strangers {
					if a != b && a.holds(p.Path) && b.holds(i) {
						add("%s imports %s: %v are strangers", p.Path, i, strangers)
					}
				}
			}
			if in(i, "cmd", "examples", "test") && !in(p.Path, "cmd", "examples", "test") {
				add("%s imports %s, which nobody may", p.Path, i)
			}
		}
		// What API servers import must not bring anything along.
		if in(p.Path, "tokens") {
			for _, d := range p.Deps {
				if !standard[d] && !in(d, "tokens") && !in(d, ofTokens...) {
					add("%s depends on %s", p.Path, d)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// ours tells the packages of this module by their short paths: other modules
// have a dot in the first element.
func ours(p pkg) bool {
	first, _, _ := strings.Cut(p.Path, "/")
	return !p.Standard && !strings.Contains(first, ".")
}

// list asks the go command about this module and everything behind it.
func list(t *testing.T) []pkg {
	t.Helper()
	pkgs := []pkg{}
	for _, p := range run(t, "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", module+"/...") {
		path := short(p.ImportPath)[0]
		if path == p.ImportPath { // not ours: what it imports is its own affair
			pkgs = append(pkgs, pkg{Path: path, Standard: p.Standard})
			continue
		}
		pkgs = append(pkgs, pkg{Path: path, Imports: short(p.Imports...), Deps: short(p.Deps...)})
	}
	return pkgs
}

func short(paths ...string) []string {
	out := []string{}
	for _, p := range paths {
		out = append(out, strings.TrimPrefix(p, module+"/"))
	}
	return out
}

type listed struct {
	ImportPath    string
	Standard      bool
	Imports, Deps []string
}

func run(t *testing.T, args ...string) (out []listed) {
	t.Helper()
	c := exec.Command("go", args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	text, err := c.Output()
	if err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, stderr.String())
	}
	d := json.NewDecoder(bytes.NewReader(text))
	for {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
}

func TestRules(t *testing.T) {
	pkgs := list(t)
	// A rule about a folder that is gone, or a list that is empty, holds by itself.
	for _, r := range []room{"broker", "cmd/latchkey", "migrations", "providers/oidc", "providers/password", "storage", "tokens", "tokens/verify", "web"} {
		if !slices.ContainsFunc(pkgs, func(p pkg) bool { return p.Path == string(r) && len(p.Imports) > 0 }) {
			t.Errorf("there is no package %s", r)
		}
	}
	for _, v := range violations(pkgs) {
		t.Error(v)
	}
}

// TestCheckerFails breaks each rule on purpose.
func TestCheckerFails(t *testing.T) {
	standard := []pkg{{Path: "net/http", Standard: true}, {Path: "database/sql", Standard: true}, {Path: "os", Standard: true}, {Path: "errors", Standard: true}}
	for _, c := range []struct {
		name string
		pkg  pkg
		want string // "" : no violation
	}{
		{"broker and HTTP", pkg{Path: "broker", Imports: []string{"net/http"}}, "broker imports net/http"},
		{"broker and SQL", pkg{Path: "broker", Imports: []string{"database/sql"}}, "broker imports database/sql"},
		{"broker and storage", pkg{Path: "broker", Imports: []string{"storage"}}, "broker imports storage"},
		{"broker and web", pkg{Path: "broker", Imports: []string{"web"}}, "broker imports web"},
		{"broker and gin", pkg{Path: "broker", Imports: []string{"github.com/gin-gonic/gin"}}, "broker imports github.com/gin-gonic/gin"},
		{"broker and go-oidc", pkg{Path: "broker", Imports: []string{"github.com/coreos/go-oidc/v3/oidc"}}, "broker imports github.com/coreos/go-oidc/v3/oidc"},
		{"broker and anything else", pkg{Path: "broker", Imports: []string{"example.org/x"}}, "broker imports example.org/x"},
		{"web and storage", pkg{Path: "web", Imports: []string{"storage"}}, "web imports storage"},
		{"web and a provider", pkg{Path: "web", Imports: []string{"providers/oidc"}}, "web imports providers/oidc"},
		{"a provider and storage", pkg{Path: "providers/oidc", Imports: []string{"storage"}}, "providers/oidc imports storage"},
		{"storage and web", pkg{Path: "storage", Imports: []string{"web"}}, "storage imports web"},
		{"gin in cmd", pkg{Path: "cmd/latchkey", Imports: []string{"github.com/gin-gonic/gin/binding"}}, "cmd/latchkey imports github.com/gin-gonic/gin/binding"},
		{"sqlx in web", pkg{Path: "web", Imports: []string{"github.com/jmoiron/sqlx"}}, "web imports github.com/jmoiron/sqlx"},
		{"lib/pq in cmd", pkg{Path: "cmd/latchkey", Imports: []string{"github.com/lib/pq"}}, "cmd/latchkey imports github.com/lib/pq"},
		{"goose in cmd", pkg{Path: "cmd/latchkey", Imports: []string{"github.com/pressly/goose/v3"}}, "cmd/latchkey imports github.com/pressly/goose/v3"},
		{"SQLite in cmd", pkg{Path: "cmd/latchkey", Imports: []string{"github.com/ncruces/go-sqlite3/driver"}}, "cmd/latchkey imports github.com/ncruces/go-sqlite3/driver"},
		{"oauth2 in web", pkg{Path: "web", Imports: []string{"golang.org/x/oauth2"}}, "web imports golang.org/x/oauth2"},
		{"golang-jwt in broker", pkg{Path: "broker", Imports: []string{"github.com/golang-jwt/jwt/v5"}}, "broker imports github.com/golang-jwt/jwt/v5"},
		{"golang-jwt in web", pkg{Path: "web", Imports: []string{"github.com/golang-jwt/jwt/v5"}}, "web imports github.com/golang-jwt/jwt/v5"},
		{"tokens and something", pkg{Path: "tokens/verify", Imports: []string{"github.com/gin-gonic/gin"}}, "tokens/verify imports github.com/gin-gonic/gin"},
		{"tokens and our broker", pkg{Path: "tokens/verify", Imports: []string{"broker"}}, "tokens/verify imports broker"},
		{"something behind tokens", pkg{Path: "tokens/verify", Deps: []string{"example.org/x"}}, "tokens/verify depends on example.org/x"},
		{"migrations in cmd", pkg{Path: "cmd/latchkey", Imports: []string{"migrations"}}, "cmd/latchkey imports migrations"},
		{"test code in web", pkg{Path: "web", Imports: []string{"test/harness"}}, "web imports test/harness"},

		{"broker as it may be", pkg{Path: "broker", Imports: []string{"tokens", "errors", "golang.org/x/text/cases"}}, ""},
		{"cmd as it may be", pkg{Path: "cmd/latchkey", Imports: []string{"web", "storage", "providers/oidc", "broker", "net/http"}}, ""},
		{"tokens as they may be", pkg{Path: "tokens/verify", Imports: []string{"tokens", "net/http"}, Deps: []string{"github.com/go-json-experiment/json/jsontext", "tokens"}}, ""},
		{"a neighbour's name", pkg{Path: "web", Imports: []string{"example.org/storage", "websocket"}}, ""},
		{"a helper of the tests", pkg{Path: "test/pgtest", Imports: []string{"github.com/lib/pq", "storage"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := violations(append(slices.Clone(standard), c.pkg))
			found := slices.ContainsFunc(got, func(v string) bool { return strings.HasPrefix(v, c.want) })
			if c.want == "" && len(got) > 0 || c.want != "" && !found {
				t.Errorf("violations are %q, want one that begins %q", got, c.want)
			}
		})
	}
}
