package pgtest

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// role is who has to say its password.
const role = "latchkey"

// asking are the lines of pg_hba.conf of a server that lets its superuser in, and
// asks everybody else for a password.
const asking = "local all all trust\nhost all " + superuser + " 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"

// MustStartAsking starts a server for one test, with an empty database of the role
// latchkey, which has to say its password there. It gives the URL of that database as
// the superuser, and as the role with a password, right or wrong. The server lets in by
// these rules from its start on: no reload that is still under way changes them.
func MustStartAsking(tb testing.TB, password string) (admin string, as func(password string) string) {
	tb.Helper()
	c := MustStart(tb, func(c *Cluster) { c.rules = asking })
	admin = c.NewDatabase(tb)
	u, err := url.Parse(admin)
	if err != nil {
		tb.Fatal(err)
	}
	for _, statement := range []string{
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, strings.ReplaceAll(password, "'", "''")),
		fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", strings.Trim(u.Path, "/"), role),
	} {
		if err := c.exec(statement); err != nil {
			tb.Fatalf("making a role: %v", err)
		}
	}
	return admin, func(password string) string {
		with := *u
		with.User = url.UserPassword(role, password)
		return with.String()
	}
}
