package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const top = "../.."

// each runs a test on every list.
func each(t *testing.T, test func(t *testing.T, c catalog, list []row)) {
	for name, c := range catalogs {
		t.Run(name, func(t *testing.T) {
			list, err := readRows(c.file)
			if err != nil {
				t.Fatal(err)
			}
			test(t, c, list)
		})
	}
}

// TestEveryRowIsTried: each row names tests that exist, or says why there is
// nothing to try, and the list is the one that it was.
func TestEveryRowIsTried(t *testing.T) {
	each(t, func(t *testing.T, c catalog, list []row) {
		for _, f := range c.faults(list, top) {
			t.Error(f)
		}
		if len(list) < c.least {
			t.Errorf("there are %d rows: one was lost", len(list))
		}
	})
}

// TestEachAttackNamesATest: the id of an attack finds a test that is for it alone.
func TestEachAttackNamesATest(t *testing.T) {
	list, err := readRows(catalogs["attacks"].file)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if r.Not == "" && !slices.ContainsFunc(r.Tests, func(name string) bool { return strings.Contains(name, ".Test"+r.ID) }) {
			t.Errorf("no test of %s begins with its id", r.ID)
		}
	}
}

// TestDocumentIsOfTheseRows: the document was made from this list, and everything
// in it held.
func TestDocumentIsOfTheseRows(t *testing.T) {
	each(t, func(t *testing.T, c catalog, list []row) {
		seen := results{}
		for _, r := range list {
			for _, name := range r.Tests {
				seen[name] = "pass"
			}
		}
		raw, err := os.ReadFile(filepath.Join(top, c.document))
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Split(c.table(list, seen), "\n")
		got := strings.Split(string(raw), "\n")
		for _, line := range got {
			if !slices.Contains(want, line) {
				t.Errorf("the document says %q; make it again", line)
			}
		}
		if len(got) != len(want) {
			t.Errorf("the document has %d lines, want %d", len(got), len(want))
		}
	})
}

// TestFaultsAreFound: a list that is wrong is no list.
func TestFaultsAreFound(t *testing.T) {
	here, attacks := []string{"test/attacks.TestFaultsAreFound"}, catalogs["attacks"]
	for _, c := range []struct {
		row  row
		want string
	}{
		{row{ID: "X99", Attack: "a"}, "needs either"},
		{row{ID: "X99", Attack: "a", Not: "no", Tests: here}, "needs either"},
		{row{ID: "X99", Attack: "a", Tests: []string{"test/attacks.TestNobodyWrote"}}, "there is no test"},
		{row{ID: "X99", Attack: "a", Tests: []string{"test/nowhere.TestFaultsAreFound"}}, "there is no test"},
		{row{ID: "X99", Tests: here}, "not described"},
		{row{ID: "X9", Attack: "a", Tests: here}, "no id"},
		{row{ID: "R01", Attack: "a", Tests: here}, "no id"},
		{row{ID: "X99", Attack: "a", Tests: here}, ""},
	} {
		got := strings.Join(attacks.faults([]row{c.row}, top), " ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.row, got, c.want)
		}
	}
	twice := row{ID: "X99", Attack: "a", Tests: here}
	if got := attacks.faults([]row{twice, twice}, top); len(got) != 1 {
		t.Errorf("twice: %q", got)
	}
}

// TestVerdicts: one test that failed, was skipped or did not run decides for its row.
func TestVerdicts(t *testing.T) {
	seen := results{}
	err := seen.read(strings.NewReader(`{"Action":"start","Package":"github.com/latchkey-id/latchkey/web"}
{"Action":"pass","Package":"github.com/latchkey-id/latchkey/web","Test":"TestA"}
{"Action":"fail","Package":"github.com/latchkey-id/latchkey/web","Test":"TestA/part"}
{"Action":"fail","Package":"github.com/latchkey-id/latchkey/web","Test":"TestB"}
{"Action":"skip","Package":"github.com/latchkey-id/latchkey/providers/oidc","Test":"TestC"}
`))
	if err != nil {
		t.Fatal(err)
	}
	for want, tests := range map[string][]string{
		holds: {"web.TestA"}, fails: {"web.TestA", "web.TestB", "web.TestD"}, notRun: {"web.TestA", "providers/oidc.TestC"},
	} {
		if got := seen.verdict(row{Tests: tests}); got != want {
			t.Errorf("%q: %s, want %s", tests, got, want)
		}
	}
	if got := seen.verdict(row{Not: "there is none"}); got != nothing {
		t.Error(got)
	}
	if err := seen.read(strings.NewReader("no JSON")); err == nil {
		t.Error("what is no JSON is read")
	}
}
