// Package document keeps the parts of the documents that are made by commands:
// a test compares them with what happened, and writes them where it is told to.
package document

import (
	"fmt"
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
	before, is, after, err := part(file, name)
	_, write := os.LookupEnv(Write)
	switch {
	case err != nil:
		tb.Fatal(err)
	case is == want:
	case write:
		if err := os.WriteFile(file, []byte(before+want+after), 0o644); err != nil {
			tb.Fatal(err)
		}
	default:
		tb.Errorf("%s is not what happened under %s; with %s=1 this test writes it anew:\n%s", file, name, Write, want)
	}
}

// Replace writes a part of a file, as Part does, for commands that are no tests.
func Replace(file, name, text string) error {
	before, _, after, err := part(file, name)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(before+text+after), 0o644)
}

// part reads a part of a file, and what stands before and after it with its two lines.
func part(file, name string) (before, is, after string, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", "", "", err
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(string(raw), begin)
	is, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", "", "", fmt.Errorf("%s has no place for what is made: the lines %q and %q", file, begin, end)
	}
	return before + begin, is, end + after, nil
}
