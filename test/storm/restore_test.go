package storm

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// run runs a command of the program beside the server.
func (p *process) run(args ...string) (stdout, stderr string, err error) {
	var out, errs strings.Builder
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (p *process) must(args ...string) string {
	p.tb.Helper()
	out, errs, err := p.run(args...)
	if err != nil {
		p.tb.Fatalf("latchkey %s: %v: %s", strings.Join(args, " "), err, errs)
	}
	return out
}

// device is one session that refreshes, by one goroutine at a time.
type device struct {
	id, token string
}

// crowd makes many sessions out of one login, each at a generation of its own:
// a login costs a password hash.
func crowd(p *process, db *sql.DB, n int) []*device {
	p.tb.Helper()
	sid, token := login(p)
	key, err := tokens.NewRootSecret([]byte(secret))
	if err != nil {
		p.tb.Fatal(err)
	}
	claims, err := (tokens.Secrets{key}).ParseRefresh(token, time.Now())
	if err != nil {
		p.tb.Fatal(err)
	}
	columns := columnsOf(p.tb, db, "sessions")
	tx, err := db.Begin()
	if err != nil {
		p.tb.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	devices := []*device{}
	for i := range n {
		d := &device{id: fmt.Sprintf("%s%012d", sid[:24], i)}
		claims.SessionID, claims.Generation, claims.Branch, claims.ID = d.id, int64(i%7), 0, d.id
		minted, err := key.MintRefresh(claims)
		if err != nil {
			p.tb.Fatal(err)
		}
		d.token = minted.Reveal()
		from := strings.NewReplacer(",id,", fmt.Sprintf(",'%s',", d.id), ",rt_gen,", fmt.Sprintf(",%d,", i%7)).Replace("," + strings.Join(columns, ",") + ",")
		if _, err := tx.Exec(`INSERT INTO sessions (` + strings.Join(columns, ",") + `) SELECT ` + strings.Trim(from, ",") + ` FROM sessions WHERE id = '` + sid + `'`); err != nil {
			p.tb.Fatal(err)
		}
		devices = append(devices, d)
	}
	if err := tx.Commit(); err != nil {
		p.tb.Fatal(err)
	}
	return devices
}

func columnsOf(tb testing.TB, db *sql.DB, table string) []string {
	tb.Helper()
	rows, err := db.Query(`SELECT * FROM ` + table + ` LIMIT 0`)
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		tb.Fatal(err)
	}
	return columns
}

var ready = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8, DialContext: fromElsewhere()}}

// fromElsewhere dials from one address of loopback after the other, as phones do.
func fromElsewhere() func(ctx context.Context, network, address string) (net.Conn, error) {
	var n atomic.Int64
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		i := n.Add(1)
		from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i))}}
		return from.DialContext(ctx, network, address)
	}
}

// refresh refreshes once, and says what the answer was.
func (d *device) refresh(p *process) reply {
	r, err := post(context.Background(), ready, p.url("/auth/refresh"), d.token, "")
	if err != nil {
		return reply{body: []byte(err.Error())}
	}
	if _, next := r.tokens(); r.status == http.StatusOK && next != "" {
		d.token = next
	}
	return r
}

// refreshing refreshes all devices again and again, until stop, and gives how
// often and every answer that was not 200.
func refreshing(p *process, devices []*device) (stop func() (n int64, refused []string)) {
	var all sync.WaitGroup
	var n atomic.Int64
	var mu sync.Mutex
	refused := []string{}
	ctx, cancel := context.WithCancel(context.Background())
	for part := range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				for i := part; i < len(devices) && ctx.Err() == nil; i += 4 { // a device is of one of the four
					n.Add(1)
					if r := devices[i].refresh(p); r.status != http.StatusOK {
						mu.Lock()
						refused = append(refused, r.String())
						mu.Unlock()
					}
				}
			}
		})
	}
	return func() (int64, []string) {
		cancel()
		all.Wait()
		return n.Load(), refused
	}
}

// restored is a database of a test that is backed up and restored.
type restored struct {
	*process
	devices   []*device
	backup    string
	meanwhile int64 // refreshes during two backups
	json      struct {
		Kept  string `json:"kept"`
		Ended int    `json:"sessionsEnded"`
	}
}

// newRestored has a server with many devices, and backups that were made while
// they refreshed: none of them was refused (R17).
func newRestored(t *testing.T, database string, backup func(r *restored), more ...string) *restored {
	r := &restored{process: start(t, database, append(more, "LATCHKEY_SESSION_LIMIT=0")...)}
	db := openDB(t, database)
	r.devices = crowd(r.process, db, stormSize(t).devices)
	_ = db.Close()
	stop := refreshing(r.process, r.devices)
	backup(r)
	n, refused := stop()
	if len(refused) > 0 {
		t.Errorf("%d of %d refreshes during the backup were refused: %s", len(refused), n, refused[0])
	}
	r.meanwhile = n
	if info, err := os.Stat(r.backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v; want it for its owner alone", info.Mode(), err)
	}
	return r
}

// byCommand backs up twice, as latchkey does it.
func byCommand(r *restored) {
	r.backup = filepath.Join(r.tb.TempDir(), "backup")
	r.must("backup", "--json", r.backup)
	r.must("backup", "--json", r.backup, "--force")
}

// restore restores as latchkey does it.
func (r *restored) restore() {
	r.tb.Helper()
	if err := json.Unmarshal([]byte(r.must("restore", "--json", r.backup)), &r.json); err != nil {
		r.tb.Fatal(err)
	}
	if r.json.Ended != len(r.devices)/4 {
		r.tb.Errorf("%d sessions ended again, want %d", r.json.Ended, len(r.devices)/4)
	}
}

// R36, R17: everybody who was logged in goes on, everybody who was ended stays
// ended, though the server was killed the moment after.
func TestRestoreSQLite(t *testing.T) {
	database := sqliteURL(t)
	file := strings.TrimPrefix(database, "sqlite:")
	r := newRestored(t, database, byCommand)
	if _, errs, err := r.run("restore", r.backup); err == nil || !strings.Contains(errs, "stop it first") {
		t.Errorf("a restore while the server runs: %v %s", err, errs)
	}
	r.endAndRestore(t, r.restore)
	if r.json.Kept == "" || !strings.HasPrefix(r.json.Kept, file+".before-") {
		t.Errorf("the old database is kept as %q", r.json.Kept)
	}
	if n := number(t, openDB(t, "sqlite:"+r.json.Kept), `SELECT COUNT(*) FROM sessions`); n < len(r.devices) {
		t.Errorf("the database that was kept has %d sessions", n)
	}
	r.record(t)
}

// endAndRestore ends every fourth device, kills the server right after, and
// restores the backup.
func (r *restored) endAndRestore(t *testing.T, restore func()) {
	time.Sleep(grace + 10*time.Millisecond) // so that the next refresh is a new generation
	for i, d := range r.devices {
		if i%4 == 0 {
			if res, err := post(context.Background(), ready, r.url("/logout"), d.token, ""); err != nil || res.status != http.StatusOK {
				t.Fatalf("a logout: %v %v", res, err)
			}
		} else if res := d.refresh(r.process); res.status != http.StatusOK {
			t.Fatalf("a refresh after the backup: %v", res)
		}
	}
	late, lateToken := login(r.process)
	access := accessOf(refreshOnce(r.process, lateToken))
	r.must("key", "revoke", kidOf(access))
	r.kill()
	restore()
	r.launch()
	r.waitFor("/readyz", http.StatusOK, 30*time.Second)
	for i, d := range r.devices {
		res := d.refresh(r.process)
		if i%4 == 0 && res.code() != "logged_out" || i%4 != 0 && res.status != http.StatusOK {
			t.Errorf("device %d: %v", i, res)
		}
	}
	if set := call(r.process, "GET", "/.well-known/jwks.json", "", ""); strings.Contains(string(set.body), kidOf(access)) || set.status != http.StatusOK {
		t.Errorf("the key that was revoked after the backup is published: %s", set.body)
	}
	if res := (&device{late, lateToken}).refresh(r.process); res.code() != "session_unknown" {
		t.Errorf("a session that began after the backup: %v", res)
	}
}

// record says what a test of a restore counted.
func (r *restored) record(t *testing.T) {
	t.Helper()
	record(t, fmt.Sprintf("%d refreshes during two backups, none was refused; of %d devices %d were logged out after the backup and were refused after the restore, the others went on",
		r.meanwhile, len(r.devices), len(r.devices)/4))
}

// Killed at any point, a restore leaves the old database or the new one.
func TestKilledRestoreLeavesOldOrNew(t *testing.T) {
	database := sqliteURL(t)
	file := strings.TrimPrefix(database, "sqlite:")
	p := start(t, database)
	sid, token := login(p)
	backup := filepath.Join(t.TempDir(), "backup")
	p.must("backup", backup)
	if res, err := post(context.Background(), ready, p.url("/logout"), token, ""); err != nil || res.status != http.StatusOK {
		t.Fatalf("a logout: %v %v", res, err)
	}
	p.must("user", "create", "later")
	p.kill()
	began := time.Now()
	p.must("restore", backup)
	takes := time.Since(began)
	old, fresh := 0, 0
	for range 25 {
		cmd := exec.Command(binary, "restore", backup)
		cmd.Dir, cmd.Env = p.dir, p.env
		// Half of the time the old one has somebody whom the new one has not.
		p.must("user", "create", fmt.Sprint("later", rand.Int64()))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(takes + takes/4))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		db := openDB(t, database)
		var verdict string
		if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
			t.Fatalf("the database: %q %v", verdict, err)
		}
		if number(t, db, `SELECT COUNT(*) FROM users`) > 1 {
			old++
		} else {
			fresh++
		}
		if n := number(t, db, `SELECT COUNT(*) FROM sessions WHERE id = $1 AND end_cause = 'logged_out'`, sid); n != 1 {
			t.Fatal("the session that ended lives")
		}
		_ = db.Close()
	}
	t.Logf("old %d times, new %d times; a restore takes %v", old, fresh, takes)
	p.must("restore", backup)
	if left, _ := filepath.Glob(file + ".restoring-*"); len(left) > 0 {
		t.Errorf("a restore leaves %v", left)
	}
}

func TestRestoreRefusesWhatIsNoBackup(t *testing.T) {
	database := sqliteURL(t)
	p := start(t, database)
	good := filepath.Join(t.TempDir(), "backup")
	p.must("backup", good)
	if _, errs, err := p.run("backup", good); err == nil || !strings.Contains(errs, "is there already") {
		t.Errorf("a backup over another: %v %s", err, errs)
	}
	p.kill()
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	damaged := []byte(string(raw))
	copy(damaged[len(damaged)/2:], strings.Repeat("damage ", 2000))
	newer := file("newer", raw)
	db := openDB(t, "sqlite:"+newer)
	if _, err := db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	other := filepath.Join(t.TempDir(), "other")
	db = openDB(t, "sqlite:"+other)
	if _, err := db.Exec(`CREATE TABLE another (program INTEGER)`); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	for name, want := range map[string]string{
		file("empty", nil): "no backup", file("text", []byte(strings.Repeat("text ", 100))): "no SQLite database", file("cut", raw[:len(raw)/2]): "damaged",
		file("damaged", damaged): "damaged", newer: "newer Latchkey", other: "no backup", file("dump", []byte("PGDMP and so on, of another database")): "PostgreSQL",
		"not there": "no such file",
	} {
		if _, errs, err := p.run("restore", name); err == nil || !strings.Contains(errs, want) {
			t.Errorf("restore of %s: %v, %q, want %q", filepath.Base(name), err, errs, want)
		}
	}
	foreign := newProcess(t, database, "JWT_SECRET_KEY=another root secret, as long as the first")
	if _, errs, err := foreign.run("restore", good); err == nil || !strings.Contains(errs, "root secret") {
		t.Errorf("restore with another root secret: %v %s", err, errs)
	}
	if left, _ := filepath.Glob(strings.TrimPrefix(database, "sqlite:") + ".*"); len(left) != 1 { // the lock
		t.Errorf("refused restores leave %v", left)
	}
	p.launch()
	p.waitFor("/readyz", http.StatusOK, 30*time.Second)
}
