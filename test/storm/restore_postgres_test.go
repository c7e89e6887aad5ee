package storm

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

func TestRestorePostgres(t *testing.T) {
	database := pgtest.Shared(t).NewDatabase(t)
	r := newRestored(t, database, byCommand, "LATCHKEY_JOURNAL_FILE="+filepath.Join(t.TempDir(), "ends.journal"))
	if _, errs, err := r.run("restore", r.backup); err == nil || !strings.Contains(errs, "stop it first") {
		t.Errorf("a restore while the server runs: %v %s", err, errs)
	}
	r.endAndRestore(t, r.restore)
	schema, _ := strings.CutPrefix(r.json.Kept, "schema ")
	db := openDB(t, database)
	if n := number(t, db, `SELECT COUNT(*) FROM `+schema+`.sessions`); n < len(r.devices) {
		t.Errorf("the schema that was kept has %d sessions", n)
	}
	r.must("backup", "--force", r.backup) // without what was kept
	r.kill()
	raw, err := os.ReadFile(r.backup)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"cut": string(raw[:len(raw)*3/4]), "text": strings.Repeat("text ", 100), "empty": ""} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, errs, err := r.run("restore", file); err == nil || !strings.Contains(errs, "no backup") {
			t.Errorf("restore of %s: %v %s", name, err, errs)
		}
	}
	before := number(t, db, `SELECT COUNT(*) FROM sessions`)
	for range 6 { // killed at any point: the old tables or the new ones, all of them
		cmd := exec.Command(binary, "restore", r.backup)
		cmd.Dir, cmd.Env = r.dir, r.env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(time.Second))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if n := number(t, db, `SELECT COUNT(*) FROM sessions`); n != before {
			t.Fatalf("%d sessions, want %d", n, before)
		}
	}
	r.launch()
	r.waitFor("/readyz", http.StatusOK, 30*time.Second)
	for i, d := range r.devices {
		if res := d.refresh(r.process); (res.status == http.StatusOK) != (i%4 != 0) {
			t.Fatalf("device %d: %v", i, res)
		}
	}
	r.record(t)
}

// By hand, as docs/backup.md has it for machines on which Latchkey finds no pg_dump: into an
// empty database, and the next start does the rest.
func TestRestorePostgresByHand(t *testing.T) {
	database, empty := pgtest.Shared(t).NewDatabase(t), pgtest.Shared(t).NewDatabase(t)
	if _, err := openDB(t, database).Exec(`CREATE SCHEMA latchkey_before_20260101_000000 CREATE TABLE sessions (id TEXT)`); err != nil {
		t.Fatal(err)
	}
	r := newRestored(t, database, func(r *restored) {
		r.backup = filepath.Join(r.dir, "latchkey.dump")
		r.recipe("pg_dump", database)
		r.recipe("pg_dump", database)
	}, "LATCHKEY_JOURNAL_FILE="+filepath.Join(t.TempDir(), "ends.journal"))
	r.endAndRestore(t, func() {
		r.recipe("pg_restore", empty)
		r.env = append(r.env, "LATCHKEY_DATABASE_URL="+empty)
	})
	if log := r.output(); strings.Count(log, `"event":"journal.replayed"`) != 1 || !strings.Contains(log, fmt.Sprintf(`"sessions":%d,`, len(r.devices)/4)) {
		t.Error("the log does not say what was replayed")
	}
	if n := number(t, openDB(t, empty), `SELECT COUNT(*) FROM pg_namespace WHERE nspname LIKE 'latchkey\_before\_%'`); n != 0 {
		t.Errorf("the backup has %d schemas of what an earlier restore kept", n)
	}
	r.kill()
	r.must("restore", r.backup) // the command takes it too
}

// recipe types the block of docs/backup.md with a program of PostgreSQL in it.
func (r *restored) recipe(program, database string) {
	r.tb.Helper()
	doc, err := os.ReadFile("../../docs/backup.md")
	if err != nil {
		r.tb.Fatal(err)
	}
	for block := range strings.SplitSeq(string(doc), "\n\n") {
		if !strings.HasPrefix(block, "    ") || !strings.Contains(block, program+" ") {
			continue
		}
		cmd := exec.Command("sh", "-e", "-c", strings.ReplaceAll(block, "DATABASE", "'"+database+"'"))
		cmd.Dir, cmd.Env = r.dir, r.env
		if out, err := cmd.CombinedOutput(); err != nil {
			r.tb.Fatalf("%s: %v: %s", block, err, out)
		}
		return
	}
	r.tb.Fatalf("docs/backup.md does not say how to use %s", program)
}
