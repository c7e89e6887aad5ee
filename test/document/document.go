// Package document keeps the parts of the documents that are made by commands:
// a test compares them with what happened, and writes them where it is told to.
package document

import (
	"os"
	"strings"
	"sync"
	"testing"
)

// Write is the environment variable that has tests write what they would else
// compare, whatever its value.
const Write = "LATCHKEY_WRITE"

var writing sync.Mutex // tests of one package end at the same time

// Part compares the part of a file between the lines "<!-- NAME -->" and
// "<!-- end of NAME -->" with what it should be, or writes it.
func Part(tb testing.TB, file, name, want string) {
	tb.Helper()
	writing.Lock()
	defer writing.Unlock()
	raw, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(string(raw), begin)
	is, after, ok2 := strings.Cut(rest, end)
	_, write := os.LookupEnv(Write)
	switch {
	case !ok || !ok2:
		tb.Fatalf("%s has no place for what is made: the lines %q and %q", file, begin, end)
	case is == want:
	case write:
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
			tb.Fatal(err)
		}
	default:
		tb.Errorf("%s is not what happened under %s; with %s=1 this test writes it anew:\n%s", file, name, Write, want)
	}
}
