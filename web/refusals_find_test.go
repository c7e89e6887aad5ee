package web

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// This file finds in the sources what refusals say to people: every text that
// becomes the Message of an Error or the Problem of a Fault in a function that a
// page's handler can reach. It goes by names, not by types: it may find too much,
// and does not miss what is called.

// sources are the packages that refuse something.
var sources = []string{
	".", "../broker", "../storage", "../providers/password", "../providers/oidc", "../providers/oauth2", "../providers/internal/idp",
	"../providers/passkey", "../providers/totp", "../providers/rp", "../providers/smtp",
}

// fn is a function, or the value of a package's variable or constant.
type fn struct {
	pkg    string // the folder
	name   string
	method bool
	params []string
	body   ast.Node
	value  ast.Expr // of a variable or a constant
}

// site is a call in a function.
type site struct {
	in   *fn
	call *ast.CallExpr
}

// variable is a variable of a function.
type variable struct {
	of   *fn
	name string
}

type finder struct {
	files   *token.FileSet
	fns     map[string][]*fn
	fields  map[string]bool // the names of fields of structs
	reached map[*fn]bool
	calls   map[string][]site // by the name of what is called, in what is reached
	returns map[*fn][]string
	asked   map[*fn]bool
	busy    map[variable]bool
}

const (
	gap   = "\x00" // stands for a value that is only known when it is said
	param = "\x01" // around the name of a parameter
)

func newFinder(t *testing.T) *finder {
	t.Helper()
	f := &finder{
		files: token.NewFileSet(), fns: map[string][]*fn{}, fields: map[string]bool{}, reached: map[*fn]bool{}, calls: map[string][]site{},
		returns: map[*fn][]string{}, asked: map[*fn]bool{}, busy: map[variable]bool{},
	}
	for _, folder := range sources {
		names, err := fs.Glob(os.DirFS(folder), "*.go")
		if err != nil || len(names) == 0 {
			t.Fatal(folder, err)
		}
		for _, name := range names {
			if !strings.HasSuffix(name, "_test.go") {
				file, err := parser.ParseFile(f.files, path.Join(folder, name), nil, parser.SkipObjectResolution)
				if err != nil {
					t.Fatal(err)
				}
				f.declare(folder, file)
			}
		}
	}
	return f
}

func (f *finder) declare(pkg string, file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.StructType); ok {
			for _, field := range s.Fields.List {
				for _, name := range field.Names {
					f.fields[name.Name] = true
				}
			}
		}
		return true
	})
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			one := &fn{pkg: pkg, name: d.Name.Name, method: d.Recv != nil, body: d.Body}
			for _, p := range d.Type.Params.List {
				for _, n := range p.Names {
					one.params = append(one.params, n.Name)
				}
			}
			f.fns[one.name] = append(f.fns[one.name], one)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				v, ok := spec.(*ast.ValueSpec)
				for i := 0; ok && i < len(v.Names) && i < len(v.Values); i++ {
					f.fns[v.Names[i].Name] = append(f.fns[v.Names[i].Name], &fn{pkg: pkg, name: v.Names[i].Name, body: v.Values[i], value: v.Values[i]})
				}
			}
		}
	}
}

// forPeople are the ways to say an error to a person.
var forPeople = []string{"asPage", "asForward", "byAccept"}

// reach walks from what shows pages: the handlers of their routes, and what
// answers with a page by itself.
func (f *finder) reach() {
	for _, all := range f.fns {
		for _, one := range all {
			if one.body == nil || one.name == "routes" {
				continue
			}
			ast.Inspect(one.body, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && slices.Contains(forPeople, id.Name) {
					f.visit(one)
				}
				return true
			})
		}
	}
	ast.Inspect(f.fns["routes"][0].body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		as := nameOf(call.Fun)
		if as == "member" || as == "officer" || as == "as" && slices.Contains(forPeople, nameOf(call.Args[0])) {
			f.follow(".", call)
		}
		return true
	})
}

func (f *finder) visit(one *fn) {
	if f.reached[one] || one.name == "routes" || one.body == nil {
		return
	}
	f.reached[one] = true
	f.follow(one.pkg, one.body)
	ast.Inspect(one.body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			f.calls[nameOf(call.Fun)] = append(f.calls[nameOf(call.Fun)], site{one, call})
		}
		return true
	})
}

// follow visits what is named there: x.name is a method, or a function of another
// package, if it is called or is no field; name is one of the same.
func (f *finder) follow(pkg string, n ast.Node) {
	called := map[ast.Expr]bool{}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			called[n.Fun] = true
		case *ast.SelectorExpr:
			if called[n] || !f.fields[n.Sel.Name] {
				for _, one := range f.fns[n.Sel.Name] {
					if one.pkg == pkg || ast.IsExported(one.name) {
						f.visit(one)
					}
				}
			}
			f.follow(pkg, n.X)
			return false
		case *ast.Ident:
			for _, one := range f.fns[n.Name] {
				if one.pkg == pkg && !one.method {
					f.visit(one)
				}
			}
		}
		return true
	})
}

// messages are the texts, with a place where each stands.
func (f *finder) messages() map[string]string {
	out := map[string]string{}
	for one := range f.reached {
		ast.Inspect(one.body, func(n ast.Node) bool {
			for _, said := range saidIn(n) {
				for _, text := range f.everyCall(one, said) {
					if key := keyOf(text); key != "" {
						out[key] = f.files.Position(said.Pos()).String()
					}
				}
			}
			return true
		})
	}
	return out
}

// saidIn are the messages that are made there.
func saidIn(n ast.Node) (out []ast.Expr) {
	switch n := n.(type) {
	case *ast.AssignStmt:
		for i, to := range n.Lhs {
			if at, ok := to.(*ast.SelectorExpr); ok && len(n.Lhs) == len(n.Rhs) && (at.Sel.Name == "Message" || at.Sel.Name == "Problem") {
				out = append(out, n.Rhs[i])
			}
		}
	case *ast.CompositeLit:
		field := map[string]string{"Error": "Message", "Fault": "Problem", "TokenCheck": "Detail"}[nameOf(n.Type)]
		for i, e := range n.Elts {
			pair, ok := e.(*ast.KeyValueExpr)
			switch {
			case field == "":
			case ok && nameOf(pair.Key) == field:
				out = append(out, pair.Value)
			case !ok && field == "Problem" && i == 1:
				out = append(out, e)
			}
		}
	}
	return out
}

var placeNames = []string{"{one}", "{two}", "{three}", "{four}", "{five}"}

// keyOf names the places of a text; empty: nothing of it is written down.
func keyOf(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r >= 'a' && r <= 'z' }) {
		return ""
	}
	text = fieldName.ReplaceAllString(strings.TrimPrefix(paramMark.ReplaceAllString(text, gap), gap+": "), "")
	for _, place := range placeNames {
		text = strings.Replace(text, gap, place, 1)
	}
	return text
}

// everyCall are the texts of an expression in a function, for each call of it
// where they have its parameters.
func (f *finder) everyCall(one *fn, e ast.Expr) (out []string) {
	said := f.texts(one, e)
	if f.asked[one] || !slices.ContainsFunc(said, func(text string) bool { return strings.Contains(text, param) }) {
		return said
	}
	f.asked[one] = true
	defer delete(f.asked, one)
	for _, at := range f.calls[one.name] {
		if !f.mayBe(one, at) {
			continue
		}
		out = append(out, f.bound(said, one, at.call.Args, func(e ast.Expr) []string { return f.everyCall(at.in, e) })...)
	}
	return unique(out)
}

// mayBe reports whether a call of that name may be one of this function.
func (f *finder) mayBe(one *fn, at site) bool {
	_, selected := at.call.Fun.(*ast.SelectorExpr)
	return one.pkg == at.in.pkg && (selected || !one.method) || selected && ast.IsExported(one.name)
}

func unique(texts []string) []string {
	slices.Sort(texts)
	return slices.Compact(texts)
}

var (
	paramMark = regexp.MustCompile(param + `([^` + param + `]+)` + param)
	verbs     = regexp.MustCompile(`%[-+# 0]*[0-9.]*[a-zA-Z]`)
)

// bound are texts with what a call gives in the place of the parameters.
func (f *finder) bound(texts []string, to *fn, args []ast.Expr, read func(ast.Expr) []string) (out []string) {
	for _, text := range texts {
		at := paramMark.FindStringSubmatchIndex(text)
		if at == nil {
			out = append(out, text)
			continue
		}
		name, isFormat := strings.CutSuffix(text[at[2]:at[3]], "...")
		given := []string{gap}
		if i := slices.Index(to.params, name); i >= 0 && i < len(args) {
			given = read(args[i])
			if isFormat {
				values := [][]string{}
				for _, arg := range args[i+1:] {
					values = append(values, read(arg))
				}
				var all []string
				for _, format := range given {
					all = append(all, formatted(format, values)...)
				}
				given = all
			}
		}
		for _, one := range given {
			// What is bound may have parameters of the caller, which stay apart.
			for _, rest := range f.bound([]string{text[at[1]:]}, to, args, read) {
				out = append(out, text[:at[0]]+one+rest)
			}
		}
	}
	return out
}

func formatted(format string, args [][]string) (out []string) {
	at := verbs.FindStringIndex(format)
	if at == nil {
		return []string{format}
	}
	said, rest := []string{gap}, args
	if len(args) > 0 {
		said, rest = args[0], args[1:]
	}
	for _, tail := range formatted(format[at[1]:], rest) {
		for _, one := range said {
			out = append(out, format[:at[0]]+one+tail)
		}
	}
	return out
}

// texts are what an expression may be in a function, with gaps, and with its
// parameters as such.
func (f *finder) texts(in *fn, e ast.Expr) (out []string) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			return []string{constant.StringVal(constant.MakeFromLiteral(e.Value, e.Kind, 0))}
		}
	case *ast.BinaryExpr:
		for _, a := range f.texts(in, e.X) {
			for _, b := range f.texts(in, e.Y) {
				out = append(out, a+b)
			}
		}
		return out
	case *ast.Ident:
		return f.named(in, e.Name)
	case *ast.SelectorExpr:
		return f.named(&fn{}, e.Sel.Name)
	case *ast.CallExpr:
		return f.called(in, e)
	}
	return []string{gap}
}

// named is what a parameter, a variable of the function or a constant may be.
func (f *finder) named(in *fn, name string) (out []string) {
	if slices.Contains(in.params, name) {
		return []string{param + name + param}
	}
	key := variable{in, name}
	if f.busy[key] {
		return []string{gap}
	}
	f.busy[key] = true
	defer delete(f.busy, key)
	for _, value := range assigned(in, name) {
		out = append(out, f.texts(in, value)...)
	}
	for _, one := range f.fns[name] {
		if one.value == nil || len(out) > 0 {
			continue
		}
		for _, said := range f.texts(one, one.value) {
			if strings.Contains(said, " ") { // words, not a name
				out = append(out, said)
			}
		}
	}
	if len(out) == 0 {
		return []string{gap}
	}
	return unique(out)
}

// assigned are the values that a function gives a variable of its own.
func assigned(in *fn, name string) (out []ast.Expr) {
	if in.body == nil {
		return nil
	}
	ast.Inspect(in.body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, to := range n.Lhs {
				if id, ok := to.(*ast.Ident); ok && id.Name == name {
					out = append(out, n.Rhs[min(i, len(n.Rhs)-1)])
				}
			}
		case *ast.ValueSpec:
			for i, to := range n.Names {
				if to.Name == name && i < len(n.Values) {
					out = append(out, n.Values[i])
				}
			}
		}
		return true
	})
	return out
}

// called is what a call gives: a format with its values, the words of an error,
// or what a function of ours returns.
func (f *finder) called(in *fn, call *ast.CallExpr) (out []string) {
	read := func(e ast.Expr) []string { return f.texts(in, e) }
	at, _ := call.Fun.(*ast.SelectorExpr)
	switch name := nameOf(call.Fun); {
	case at != nil && nameOf(at.X) == "fmt" && call.Ellipsis.IsValid():
		return []string{param + nameOf(call.Args[0]) + "..." + param}
	case at != nil && nameOf(at.X) == "fmt":
		args := [][]string{}
		for _, arg := range call.Args[1:] {
			args = append(args, read(arg))
		}
		for _, format := range read(call.Args[0]) {
			out = append(out, formatted(format, args)...)
		}
	case at != nil && nameOf(at.X) == "errors" && name == "New":
		out = read(call.Args[0])
	case at != nil && name == "Error" && len(call.Args) == 0:
		out = read(at.X)
	case name != "String": // which many types have
		for _, one := range f.fns[name] {
			if f.reached[one] && f.mayBe(one, site{in, call}) {
				out = append(out, f.bound(f.returned(one), one, call.Args, read)...)
			}
		}
	}
	if len(out) == 0 {
		return []string{gap}
	}
	return unique(out)
}

// returned is what a function returns last, where that is words.
func (f *finder) returned(one *fn) []string {
	if out, known := f.returns[one]; known {
		return out
	}
	f.returns[one] = nil // a recursion says nothing new
	if one.value != nil || one.body == nil {
		return nil
	}
	out := []string{}
	ast.Inspect(one.body, func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok {
			return false
		}
		if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > 0 {
			for _, text := range f.texts(one, r.Results[len(r.Results)-1]) {
				if keyOf(paramMark.ReplaceAllString(text, gap)) != "" && strings.Contains(text, " ") {
					out = append(out, text)
				}
			}
		}
		return true
	})
	f.returns[one] = unique(out)
	return f.returns[one]
}
