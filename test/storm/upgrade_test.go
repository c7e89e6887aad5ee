package storm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/migrations"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/test/upgrade/stored"
)

// onStored runs a test on the databases that the first program has written.
func onStored(t *testing.T, test func(t *testing.T, database string, d stored.Database)) {
	for name, database := range map[string]string{"sqlite": sqliteURL(t), "postgres": pgtest.Shared(t).NewDatabase(t)} {
		t.Run(name, func(t *testing.T) {
			d, err := stored.Put(context.Background(), stored.FirstSchema, database)
			if err != nil {
				t.Fatal(err)
			}
			test(t, database, d)
		})
	}
}

// ofStored prepares a program on a stored database.
func ofStored(t *testing.T, database string, d stored.Database) *process {
	return newProcess(t, database, "JWT_SECRET_KEY="+d.Secret, "LATCHKEY_PUBLIC_URL="+d.PublicURL)
}

// goesOn: whoever was logged in is, and whoever was not is told why.
func goesOn(t *testing.T, p *process, d stored.Database) {
	t.Helper()
	for _, x := range d.Sessions {
		if r := refreshOnce(p, x.Refresh); r.code() != x.Cause || (r.status == http.StatusOK) != (x.Cause == "") {
			t.Errorf("the session %q is answered %v, want %q", x.Kind, r, x.Cause)
		}
	}
}

// schemaOf is the last migration that is in the database, and how many are.
func schemaOf(t *testing.T, database string) (last, n int) {
	t.Helper()
	db := openDB(t, database)
	defer db.Close()
	return number(t, db, `SELECT MAX(version_id) FROM goose_db_version`), number(t, db, `SELECT COUNT(*) FROM goose_db_version WHERE version_id > 0`)
}

// TestKilledMigrationLeavesOldOrNew: wherever the program is killed while it
// migrates, each migration is there whole or not at all, and the next start goes on.
func TestKilledMigrationLeavesOldOrNew(t *testing.T) {
	newest := len(migrations.Versions())
	onStored(t, func(t *testing.T, database string, d stored.Database) {
		p := ofStored(t, database, d)
		_, sqlite := strings.CutPrefix(database, "sqlite:")
		if sqlite {
			killWhileStarting(t, p, database, newest)
		} else {
			killInTheMiddle(t, p, database)
		}
		p.launch()
		p.waitFor("/readyz", http.StatusOK, 60*time.Second)
		if last, n := schemaOf(t, database); last != newest || n != newest {
			t.Errorf("the schema is %d, by %d migrations, want %d", last, n, newest)
		}
		goesOn(t, p, d)
	})
}

// killWhileStarting kills at moments that come later and later, until one is after
// the last migration.
func killWhileStarting(t *testing.T, p *process, database string, newest int) {
	t.Helper()
	seen := []int{}
	for wait := time.Duration(0); ; wait += 7 * time.Millisecond {
		p.launch()
		time.Sleep(wait)
		p.kill()
		last, n := schemaOf(t, database)
		if last != n {
			t.Fatalf("the schema is %d, by %d migrations", last, n)
		}
		seen = append(seen, last)
		if last == newest {
			break
		}
		if wait > 30*time.Second {
			t.Fatal("it never comes to the end")
		}
	}
	t.Logf("after each kill the schema was %v", seen)
}

// killInTheMiddle keeps a table from the third migration, which has changed others
// by then, and kills the program that waits for it.
func killInTheMiddle(t *testing.T, p *process, database string) {
	t.Helper()
	db := openDB(t, database)
	holder, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(`LOCK TABLE audit_events IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	p.launch()
	for began := time.Now(); number(t, db, `SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND relation = 'audit_events'::regclass`) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatal("the migration does not come to the table")
		}
	}
	p.kill()
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	if last, _ := schemaOf(t, database); last != 2 {
		t.Errorf("the schema is %d, want 2", last)
	}
	left := func() int {
		return number(t, db, `SELECT COUNT(*) FROM information_schema.columns WHERE table_name = 'users' AND column_name = 'permissions'`)
	}
	for began := time.Now(); left() != 0; time.Sleep(5 * time.Millisecond) { // its server process may end a moment later
		if time.Since(began) > 10*time.Second {
			t.Fatal("half of the migration is there")
		}
	}
}

// TestTwoMigrateAtOnce: of two programs on an old database one migrates, and both
// start.
func TestTwoMigrateAtOnce(t *testing.T) {
	newest := len(migrations.Versions())
	onStored(t, func(t *testing.T, database string, d stored.Database) {
		two := []*process{ofStored(t, database, d), ofStored(t, database, d)}
		for _, p := range two {
			p.launch()
		}
		done := 0
		for _, p := range two {
			p.waitFor("/readyz", http.StatusOK, 60*time.Second)
			done += strings.Count(p.output(), "schema.migrated")
		}
		if last, n := schemaOf(t, database); last != newest || n != newest || done > newest-stored.FirstSchema {
			t.Errorf("the schema is %d, by %d migrations, of which the programs tell %d", last, n, done)
		}
		goesOn(t, two[0], d)
	})
}

// nextProgram builds a program that has one more migration. lowest is the lowest
// program that may run beside it; empty: as before.
func nextProgram(t *testing.T, migration, lowest string) (program string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, n := t.TempDir(), len(migrations.Versions())+1
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	put := func(name, content string) {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, "migrations", name)] = file
	}
	put(fmt.Sprintf("%05d_next.sql", n), "-- +goose Up\n"+migration)
	if lowest != "" {
		source, err := os.ReadFile(filepath.Join(root, "migrations", "migrations.go"))
		if err != nil {
			t.Fatal(err)
		}
		const first = "\t1: \"0.1.0\",\n"
		if !strings.Contains(string(source), first) {
			t.Fatal("migrations.go does not say which program may run with schema 1")
		}
		put("migrations.go", strings.Replace(string(source), first, first+fmt.Sprintf("\t%d: %q,\n", n, lowest), 1))
	}
	raw, _ := json.Marshal(overlay) // of strings alone
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "latchkey")
	build := exec.Command("go", "build", "-overlay", list, "-ldflags", "-X main.version=9.0.0", "-o", program, "./cmd/latchkey")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the next program: %v: %s", err, out)
	}
	return program
}

// TestRollToNextAndBack: replicas are replaced one by one by the next version,
// which has a migration of its own, and by this one again, while devices refresh.
// No answer is lost, and nobody is logged out.
func TestRollToNextAndBack(t *testing.T) {
	next := nextProgram(t, "ALTER TABLE sessions ADD COLUMN of_the_future TEXT;\nCREATE INDEX sessions_future ON sessions (of_the_future) WHERE of_the_future IS NOT NULL;\n", "")
	database := pgtest.Shared(t).NewDatabase(t)
	const delay = "LATCHKEY_DRAIN_DELAY=2s"
	replicas := []*process{start(t, database, delay), start(t, database, delay)}
	answers, stop := refreshingThrough(t, balancer(t, replicas), replicas[0], 4)
	for _, program := range []string{next, binary} {
		for _, p := range replicas {
			p.restartAs(program, answers)
		}
		if last, _ := schemaOf(t, database); last != len(migrations.Versions())+1 {
			t.Errorf("the schema is %d", last)
		}
	}
	stop()
	if n := number(t, openDB(t, database), `SELECT COUNT(*) FROM sessions WHERE ended_at IS NOT NULL`); n != 0 {
		t.Errorf("%d sessions have ended", n)
	}
	t.Logf("%d refreshes", answers())
}

// TestNextThatMustRunAlone: the next version states that this one may not work on
// its schema. Programs of this version that run say so and answer 503 from then
// on, and do not start again.
func TestNextThatMustRunAlone(t *testing.T) {
	next := nextProgram(t, "ALTER TABLE sessions ADD COLUMN of_the_future TEXT;\n", "9.0.0")
	database := pgtest.Shared(t).NewDatabase(t)
	old, fresh := start(t, database), newProcess(t, database)
	_, token := login(old)
	fresh.program = next
	fresh.launch()
	fresh.waitFor("/readyz", http.StatusOK, 60*time.Second)
	old.waitFor("/readyz", http.StatusServiceUnavailable, 20*time.Second)
	wantUnavailable(old, token)
	if r := refreshOnce(fresh, token); r.status != http.StatusOK {
		t.Errorf("the next version answers %v", r)
	}
	old.kill()
	old.launch()
	if code := old.exitCode(30 * time.Second); code != 1 {
		t.Errorf("it ends with %d, want 1", code)
	}
	for _, part := range []string{"newer Latchkey", "needs Latchkey 9.0.0"} {
		if !strings.Contains(old.output(), part) {
			t.Errorf("its log does not say %q", part)
		}
	}
}
