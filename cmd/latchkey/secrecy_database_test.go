package main

import (
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// A server and its commands say the password at PostgreSQL nowhere: not while it serves,
// not when PostgreSQL lets it in no more, and not when the password is wrong.
func TestNothingSaysThePasswordOfPostgreSQL(t *testing.T) {
	const right, wrong = "the-password-at-the-database", "another-password-at-the-database"
	admin, as := pgtest.MustStartAsking(t, right)
	l := newLedger(t)
	l.note("database_url", right)
	l.note("a wrong database_url", wrong)

	x := prepareWorld(t, "", map[string]string{"JWT_SECRET_KEY": strings.Repeat("k", 40), "LATCHKEY_DATABASE_URL": as(wrong)})
	said := ""
	command := func(want int, stdin string, args ...string) string {
		t.Helper()
		code, out, errs := x.run(stdin, args...)
		said += out + errs
		if code != want {
			t.Fatalf("%v: exit %d, want %d: %s%s", args, code, want, out, errs)
		}
		return errs
	}
	if errs := command(1, "", "user", "list"); !strings.Contains(errs, "password authentication failed") {
		t.Fatalf("a wrong password: %s", errs)
	}
	x.env["LATCHKEY_DATABASE_URL"] = as(right)
	command(0, x.admin+"\n", "user", "create", "root", "--role", "root", "--password-stdin")
	x.start()
	x.passwordLogin()
	if _, err := harness.Open(t, admin).Exec("ALTER ROLE latchkey NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'latchkey'"); err != nil {
		t.Fatal(err)
	}
	l.want(503, l.sendBody(l.client(false), "POST", x.base+"/login", `{"username":"root","password":"`+x.admin+`"}`, "Content-Type", "application/json"))
	if errs := command(1, "", "user", "list"); !strings.Contains(errs, "not permitted to log in") {
		t.Fatalf("a role that may not log in: %s", errs)
	}
	x.stop()
	l.isIn("the log", x.log.String())
	l.isIn("an error", strings.Join(l.errors, "\n"))
	l.isIn("a command", said)
}
