package web

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"html/template"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template/parse"

	"github.com/latchkey-id/latchkey/broker"
)

// textsInUse are the texts of the source and of the templates, with a place
// where each stands.
func textsInUse(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	files := token.NewFileSet()
	names, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "say" {
				at := files.Position(call.Pos()).String()
				if literal, ok := call.Args[0].(*ast.BasicLit); ok {
					key, err := strconv.Unquote(literal.Value)
					if err != nil {
						t.Fatal(err)
					}
					out[key] = at
				} else if !strings.HasPrefix(at, "texts.go:") { // textOf, for templates
					t.Errorf("%s: a text is a literal", at)
				}
			}
			return true
		})
	}
	for finding, key := range broker.FindingTexts { // which the JSON API says too
		out[key] = "finding " + string(finding)
	}
	for message, at := range refusalsInUse(t) {
		out[message] = at
	}
	templates, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range templates {
		parsed, err := template.New("").Funcs(template.FuncMap{"asset": same, "person": person}).ParseFS(templateFiles, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range parsed.Templates() {
			if one.Tree != nil {
				inTemplate(reflect.ValueOf(one.Tree.Root), func(key string) { out[key] = name })
			}
		}
	}
	return out
}

// inTemplate finds the texts of a parsed template: what .T and .Plain are called
// with.
func inTemplate(v reflect.Value, found func(string)) {
	if command, ok := v.Interface().(*parse.CommandNode); ok && command != nil && len(command.Args) > 1 {
		if name := command.Args[0].String(); strings.HasSuffix(name, ".T") || strings.HasSuffix(name, ".Plain") {
			if s, ok := command.Args[1].(*parse.StringNode); ok {
				found(s.Text)
			}
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			inTemplate(v.Elem(), found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			inTemplate(v.Index(i), found)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				inTemplate(v.Field(i), found)
			}
		}
	}
}

// Every text has its German, with the same places and the same HTML, and the
// catalog has no more.
func TestTextsAreTranslated(t *testing.T) {
	used := textsInUse(t)
	for _, one := range []string{"Log in", "Ways to log in", "You logged out on this device.", "see your name and username", "It will be able to", "Your password", "1 day"} {
		if used[one] == "" {
			t.Errorf("the text %q is not found in the source", one)
		}
	}
	all, err := loadTongues()
	if err != nil {
		t.Fatal(err)
	}
	if got := all.names(); !slices.Equal(got, []string{"en", "de"}) {
		t.Errorf("the languages are %v", got)
	}
	for _, l := range all.list[1:] {
		for key, at := range used {
			said, ok := l.says[key]
			if !ok || said == "" {
				shown, _ := json.Marshal(key)
				t.Errorf("%s: no text in %s for %s", at, l.tag, shown)
				continue
			}
			for what, pattern := range map[string]interface{ FindAllString(string, int) []string }{"places": places, "HTML": markup} {
				a, b := pattern.FindAllString(key, -1), pattern.FindAllString(said, -1)
				slices.Sort(a)
				slices.Sort(b)
				if !slices.Equal(a, b) {
					t.Errorf("%s: the %s of %q are not those of %q", at, what, said, key)
				}
			}
		}
		for key := range l.says {
			if used[key] == "" {
				t.Errorf("nothing uses the text %q of %s", key, l.tag)
			}
		}
	}
}

var markup = regexp.MustCompile(`</?[a-z][^>]*>`)
