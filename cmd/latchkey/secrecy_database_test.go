package main

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

// A server that logs in at PostgreSQL says its password nowhere: not while it serves,
// not when PostgreSQL lets it in no more, and not when the password is wrong.
func TestNothingSaysThePasswordOfPostgreSQL(t *testing.T) {
	admin := pgtest.Shared(t).NewDatabase(t)
	const right, wrong = "the-password-at-the-database", "another-password-at-the-database"
	role := asksForPassword(t, admin, right)
	address := func(password string) string {
		u, err := url.Parse(admin)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(role, password)
		return u.String()
	}
	l := newLedger(t)
	l.note("database_url", right)
	l.note("a wrong database_url", wrong)

	x := prepareWorld(t, "", map[string]string{"JWT_SECRET_KEY": strings.Repeat("k", 40), "LATCHKEY_DATABASE_URL": address(wrong)})
	code, out, errs := x.run("", "user", "list")
	if code != 1 || !strings.Contains(errs, "password authentication failed") {
		t.Fatalf("a wrong password: exit %d, %s%s", code, out, errs)
	}
	x.env["LATCHKEY_DATABASE_URL"] = address(right)
	x.must(x.admin+"\n", "user", "create", "root", "--role", "root", "--password-stdin")
	x.start()
	x.passwordLogin()
	execIn(t, admin, "ALTER ROLE "+role+" NOLOGIN", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+role+"'")
	l.want(503, l.sendBody(l.client(false), "POST", x.base+"/login", `{"username":"root","password":"`+x.admin+`"}`, "Content-Type", "application/json"))
	x.stop()
	l.isIn("the log", x.log.String())
	l.isIn("an error", strings.Join(l.errors, "\n"))
	l.isIn("a command", out+errs)
}

// asksForPassword makes a role that owns the database, and of which PostgreSQL wants
// the password.
func asksForPassword(t *testing.T, database, password string) (role string) {
	t.Helper()
	role = "tour_" + strings.ToLower(rand.Text())
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("postgres", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var rules string
	if err := db.QueryRowContext(t.Context(), "SHOW hba_file").Scan(&rules); err != nil {
		t.Fatal(err)
	}
	execIn(t, database, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, password), fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", strings.Trim(u.Path, "/"), role),
		fmt.Sprintf("COPY (VALUES ('host all %s 127.0.0.1/32 scram-sha-256'), ('local all all trust'), ('host all all 127.0.0.1/32 trust')) TO '%s'", role, rules), "SELECT pg_reload_conf()")
	return role
}

// execIn runs statements as the superuser.
func execIn(t *testing.T, database string, statements ...string) {
	t.Helper()
	db, err := sql.Open("postgres", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
