package interop

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"
)

// row is what came of one client.
type row struct {
	client
	application
	worked
	version string
}

const (
	tableFile  = "../../docs/interop.md"
	tableBegin = "<!-- made by `make interop` -->\n"
	tableEnd   = "<!-- end of what is made -->\n"
)

// checkTable compares the table of the documentation with what happened, or
// writes it where LATCHKEY_INTEROP_TABLE names the file.
func checkTable(t *testing.T, rows []row) {
	t.Helper()
	file, write := os.LookupEnv("LATCHKEY_INTEROP_TABLE")
	if !write {
		file = tableFile
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table of clients: the lines %q and %q", file, tableBegin, tableEnd)
	}
	table := tableOf(rows)
	switch {
	case old == table:
	case write:
		if err := os.WriteFile(file, []byte(before+tableBegin+table+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table of clients in docs/interop.md is not what happened; `make interop` writes it anew:\n%s", table)
	}
}

func tableOf(rows []row) string {
	var b bytes.Buffer
	b.WriteString("| client | version | what it is to Latchkey | login with a password | login through an IdP | refresh | logout |\n|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", r.name, r.version, r.how,
			word(r.worked[withPassword]["login"]), word(r.worked[throughIdP]["login"]), r.refreshed(), r.loggedOut())
	}
	return b.String()
}

func word(worked bool) string {
	if worked {
		return "works"
	}
	return "fails"
}

func (r row) refreshed() string {
	if r.Refresh == nil {
		return "–"
	}
	return word(r.both("refresh"))
}

func (r row) loggedOut() string {
	var kinds []string
	if r.Logout != nil {
		kinds = append(kinds, word(r.both("logout"))+": "+r.Logout.Kind)
	}
	if r.Backchannel {
		kinds = append(kinds, word(r.both("backchannel"))+": back-channel")
	}
	return cmp.Or(strings.Join(kinds, "; "), "–")
}
