package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// row is an attack, or a fault and what must hold meanwhile. It has tests, or a
// reason why there is nothing to try.
type row struct {
	ID     string   `yaml:"id"`
	Attack string   `yaml:"attack"`
	Fault  string   `yaml:"fault"`
	Must   string   `yaml:"must"`
	Tests  []string `yaml:"tests"` // folder.TestName
	Not    string   `yaml:"not"`
	Open   string   `yaml:"open"` // what of it no test shows
}

func readRows(file string) (list []row, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	return list, decoder.Decode(&list)
}

func split(test string) (folder, name string) {
	i := strings.LastIndex(test, ".")
	return test[:max(i, 0)], test[i+1:]
}

var rowID = regexp.MustCompile(`^[A-Z][0-9]{2}$`)

// faults are rows that say nothing, and tests that do not exist below top.
func (c catalog) faults(list []row, top string) (out []string) {
	known := map[string]map[string]bool{}
	seen := map[string]bool{}
	for _, r := range list {
		add := func(format string, args ...any) { out = append(out, r.ID+": "+fmt.Sprintf(format, args...)) }
		if !rowID.MatchString(r.ID) || c.groups[r.ID[0]] == "" || seen[r.ID] {
			add("is no id, or twice in the list")
		}
		seen[r.ID] = true
		what := c.cells(r)
		if slices.Contains(what, "") || strings.ContainsAny(strings.Join(what, "")+r.Not+r.Open, "|\n") {
			add("is not described, each part in one line")
		}
		if (len(r.Tests) == 0) == (r.Not == "") {
			add("needs either tests or a reason why it does not apply")
		}
		for _, t := range r.Tests {
			folder, name := split(t)
			if known[folder] == nil {
				known[folder] = testsIn(filepath.Join(top, folder))
			}
			if !known[folder][name] {
				add("there is no test %s", t)
			}
		}
	}
	return out
}

// testsIn are the names of the tests in a folder.
func testsIn(folder string) map[string]bool {
	out := map[string]bool{}
	files, _ := filepath.Glob(filepath.Join(folder, "*_test.go")) // the pattern is right
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			continue // whoever compiles it will say so
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				out[fn.Name.Name] = true
			}
		}
	}
	return out
}

// The verdicts of a row.
const (
	holds   = "holds"
	fails   = "**fails**"
	notRun  = "not run"
	nothing = "does not apply"
)

// results are what became of tests, by folder.TestName.
type results map[string]string

const module = "github.com/latchkey-id/latchkey/"

// read takes what go test -json writes.
func (s results) read(r io.Reader) error {
	decoder := json.NewDecoder(r)
	for {
		var event struct{ Action, Package, Test string }
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if event.Test == "" || strings.Contains(event.Test, "/") {
			continue
		}
		if slices.Contains([]string{"pass", "fail", "skip"}, event.Action) {
			s[strings.TrimPrefix(event.Package, module)+"."+event.Test] = event.Action
		}
	}
}

// verdict is that of all tests of a row: one that was skipped has tried nothing.
func (s results) verdict(r row) string {
	if r.Not != "" {
		return nothing
	}
	out := holds
	for _, t := range r.Tests {
		switch s[t] {
		case "pass":
		case "fail":
			return fails
		default:
			out = notRun
		}
	}
	return out
}

// verdictCell is the verdict, and what it does not cover.
func (s results) verdictCell(r row) string {
	out := s.verdict(r)
	if r.Open != "" {
		out += "; not shown: " + r.Open
	}
	return out
}

// table is the whole document.
func (c catalog) table(list []row, seen results) string {
	var out strings.Builder
	out.WriteString(c.head)
	group := byte(0)
	for _, r := range list {
		if r.ID[0] != group {
			group = r.ID[0]
			fmt.Fprintf(&out, "\n## %s\n\n| id | %s | tests | verdict |\n|%s\n", c.groups[group], strings.Join(c.columns, " | "), strings.Repeat("---|", len(c.columns)+3))
		}
		what := r.Not
		if what == "" {
			what = "`" + strings.Join(r.Tests, "`<br>`") + "`"
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", r.ID, strings.Join(c.cells(r), " | "), what, seen.verdictCell(r))
	}
	return out.String()
}
