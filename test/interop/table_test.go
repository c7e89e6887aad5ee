package interop

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/document"
)

// row is what came of one client.
type row struct {
	client
	application
	worked
	version string
}

// checkTable compares the table of the documentation with what happened; `make
// interop` writes it.
func checkTable(t *testing.T, rows []row) {
	t.Helper()
	document.Part(t, "../../docs/interop.md", "clients", tableOf(rows))
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
