package storm

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/pgtest"
)

// bouncer starts PgBouncer with transaction pooling before a database, and
// returns the database's URL through it.
func bouncer(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "latchkey-bouncer-") // t.TempDir is closed to other accounts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	host, port, _ := strings.Cut(freeAddress(t), ":")
	lines := []string{
		"[databases]", fmt.Sprintf("* = host=%s port=%s", u.Hostname(), u.Port()),
		"[pgbouncer]", "listen_addr = " + host, "listen_port = " + port, "unix_socket_dir =", "auth_type = any", "pool_mode = transaction",
		"default_pool_size = 5", "logfile = " + filepath.Join(dir, "log"),
	}
	lines[1] += " user=" + u.User.Username()
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	args := []string{"-q", file}
	if os.Geteuid() == 0 { // which PgBouncer refuses to run as
		args = append([]string{"-u", "nobody"}, args...)
	}
	program := "/usr/sbin/pgbouncer" // where Debian keeps it, out of PATH
	cmd := exec.Command(program, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install Debian's pgbouncer", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	u.Host = host + ":" + port
	return u.String()
}

func throughPooler(database string) string {
	separator := "?"
	if strings.Contains(database, "?") {
		separator = "&"
	}
	return database + separator + "binary_parameters=yes"
}

// call asks the JSON API.
func call(p *process, method, path, access, body string) reply {
	p.tb.Helper()
	req, err := http.NewRequest(method, p.url(path), strings.NewReader(body))
	if err != nil {
		p.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	req.Header.Set("Content-Type", "application/json")
	r, err := do(patient, req)
	if err != nil {
		p.tb.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func accessOf(r reply) string {
	var body struct {
		User struct {
			AccessToken string `json:"accessToken"`
		} `json:"user"`
	}
	_ = json.Unmarshal(r.body, &body)
	return body.User.AccessToken
}

// soon waits until something has come about.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	began := time.Now()
	for !is() {
		if time.Since(began) > healWithin {
			t.Errorf("%s: not after %v", what, time.Since(began).Round(time.Millisecond))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
}

// TestChangesReachReplicas: three programs on one PostgreSQL, two of them through
// PgBouncer, which tells of no change; what one changes the others go by, whichever
// way each has. That they look every second is a test of cmd/latchkey.
func TestChangesReachReplicas(t *testing.T) {
	database := pgtest.Shared(t).NewDatabase(t)
	pooled := throughPooler(bouncer(t, database))
	a, b, c := start(t, database), start(t, pooled), start(t, pooled)
	if n := number(t, openDB(t, database), `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN %'`); n != 1 {
		t.Errorf("%d connections listen, want the one past the pooler", n)
	}
	for turn, x := range []struct{ at, seen *process }{{a, b}, {b, a}, {b, c}} {
		_, token := login(x.at)
		access := accessOf(refreshOnce(x.at, token))
		name := fmt.Sprint("work", turn)
		offered := func() bool { return bytes.Contains(call(x.seen, "GET", "/login", "", "").body, []byte("Work "+name)) }
		if offered() {
			t.Fatal("it is there already")
		}
		if r := call(x.at, "POST", "/api/providers", access, `{"id":"`+name+`","name":"Work `+name+`","issuer":"https://idp.example.org","client_id":"c"}`); r.status != http.StatusCreated {
			t.Fatalf("a provider: %v", r)
		}
		soon(t, "a provider", offered)
		client := `{"client_id":"app-` + name + `","client_name":"App","redirect_uris":["https://app.example.org/cb"]}`
		if r := call(x.at, "POST", "/api/clients", access, client); r.status != http.StatusCreated {
			t.Fatalf("a client: %v", r)
		}
		soon(t, "a client", func() bool { return call(x.seen, "GET", "/api/clients/app-"+name, access, "").status == http.StatusOK })
		kid := kidOf(access)
		if r := call(x.at, "DELETE", "/api/keys/"+kid, access, ""); r.status != http.StatusNoContent {
			t.Fatalf("revoking the key %s: %v", kid, r)
		}
		soon(t, "a revoked key", func() bool { return call(x.seen, "GET", "/api/me", access, "").status == http.StatusUnauthorized })
		fresh := accessOf(refreshOnce(x.at, token))
		if r := call(x.seen, "GET", "/api/me", fresh, ""); r.status != http.StatusOK || kidOf(fresh) == kid {
			t.Errorf("a token of the new key at the other replica: %v", r)
		}
		if r := call(x.at, "POST", "/logout", fresh, ""); r.status >= 400 {
			t.Fatalf("logging out: %v", r)
		}
		req, _ := http.NewRequest("POST", x.at.url("/logout"), nil)
		req.Header.Set("X-Refresh-Token", token)
		if _, err := do(patient, req); err != nil {
			t.Fatal(err)
		}
		if r := refreshOnce(x.seen, token); r.status != http.StatusUnauthorized {
			t.Errorf("a session that was logged out at the other replica: %v", r)
		}
	}
}

// TestPoolerIsNamed: PgBouncer without binary_parameters=yes ends the start with
// the remedy.
func TestPoolerIsNamed(t *testing.T) {
	p := newProcess(t, bouncer(t, pgtest.Shared(t).NewDatabase(t)))
	p.launch()
	if code := p.exitCode(30 * time.Second); code != 1 || !strings.Contains(p.output(), "binary_parameters=yes") {
		t.Errorf("exit code %d; it says %s", code, tail(p.output(), 500))
	}
}

// TestDoctorNamesThePooler: the doctor finds PgBouncer, with the remedy, and finds nothing
// more once that is taken.
func TestDoctorNamesThePooler(t *testing.T) {
	pooled := bouncer(t, pgtest.Shared(t).NewDatabase(t))
	examine := func(database string) string {
		p := newProcess(t, database, "LATCHKEY_PUBLIC_URL=http://localhost", "RATE_LIMIT_AUTH_MAX=40", "REFRESH_TOKEN_GRACE_PERIOD=600", "LATCHKEY_JOURNAL_FILE=ends.journal")
		out, _, err := p.run("doctor", "--json")
		var said struct {
			Areas []struct {
				Area     string
				Result   string
				Findings []struct{ ID, Level, Fix string }
			}
		}
		if jsonErr := json.Unmarshal([]byte(out), &said); jsonErr != nil {
			t.Fatalf("%v: %s", err, out)
		}
		found := []string{}
		for _, area := range said.Areas {
			if area.Area == "database" {
				found = append(found, area.Result)
			}
			for _, f := range area.Findings {
				if f.Level != "note" {
					found = append(found, f.ID+": "+f.Fix)
				}
			}
		}
		return fmt.Sprint(found, err)
	}
	if got, want := examine(pooled), "[fault database_pooler: Add binary_parameters=yes to database_url.] exit status 1"; got != want {
		t.Errorf("it finds %s, want %s", got, want)
	}
	start(t, throughPooler(pooled)).kill()
	if got, want := examine(throughPooler(pooled)), "[ok] <nil>"; got != want {
		t.Errorf("it finds %s, want %s", got, want)
	}
}

// TestPoolerLeavesMigrationsTheirLimits: a migration through PgBouncer takes as long as
// it needs, where the database ends every other statement, and waits for no table longer
// than half a second.
func TestPoolerLeavesMigrationsTheirLimits(t *testing.T) {
	database := pgtest.Shared(t).NewDatabase(t)
	db, err := sql.Open("postgres", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`
		DO 'BEGIN EXECUTE format(''ALTER DATABASE %I SET statement_timeout = 1500'', current_database()); END';
		CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
			IF current_setting('lock_timeout') <> '500ms' AND EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE '%.sessions%') THEN
				RAISE EXCEPTION 'lock_timeout is %', current_setting('lock_timeout');
			END IF;
			IF EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE '%.uptime') THEN PERFORM pg_sleep(2.5); END IF;
		END $$;
		CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE') EXECUTE FUNCTION slow()`); err != nil {
		t.Fatal(err)
	}
	start(t, throughPooler(bouncer(t, database)))
	if _, err := db.Exec(`SELECT 1 FROM uptime`); err != nil {
		t.Error(err)
	}
}

// kidOf reads which key signed a token.
func kidOf(token string) string {
	var head struct {
		KeyID string `json:"kid"`
	}
	part, _, _ := strings.Cut(token, ".")
	raw, _ := base64.RawURLEncoding.DecodeString(part)
	_ = json.Unmarshal(raw, &head)
	return head.KeyID
}

// balancer spreads requests over the replicas that are ready, as a proxy with a
// health check does.
func balancer(t *testing.T, replicas []*process) string {
	t.Helper()
	ready := make([]atomic.Bool, len(replicas))
	ctx, stop := context.WithCancel(context.Background())
	var checks sync.WaitGroup
	for i, p := range replicas {
		checks.Go(func() {
			for ctx.Err() == nil {
				ready[i].Store(p.status("/readyz") == http.StatusOK)
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	var turn atomic.Int64
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 16},
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetXForwarded()
			r := p.Out
			r.URL.Scheme, r.URL.Host = "http", ""
			// A check that is late finds none for a moment: the request waits, as a
			// proxy that tries again lets it.
			for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
				for range replicas {
					if i := int(turn.Add(1)) % len(replicas); ready[i].Load() {
						r.URL.Host = replicas[i].addr
						return
					}
				}
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, err.Error())
		},
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(func() { s.Close(); stop(); checks.Wait() })
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		all := true
		for i := range ready {
			all = all && ready[i].Load()
		}
		if all {
			return s.URL
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal("the replicas do not become ready")
		}
	}
}

// TestRollingRestart: every replica is ended and started again while clients
// refresh without a pause. No answer is lost, and nobody is logged out.
func TestRollingRestart(t *testing.T) {
	database := pgtest.Shared(t).NewDatabase(t)
	const delay = "LATCHKEY_DRAIN_DELAY=2s"
	replicas := []*process{start(t, database, delay), start(t, database, delay)}
	answers, stop := refreshingThrough(t, balancer(t, replicas), replicas[0], 4)
	for _, p := range replicas {
		p.restartAs(binary, answers)
	}
	stop()
	t.Logf("%d refreshes", answers())
}

// refreshingThrough has devices refresh without a pause, and counts their answers.
// Any but a new token fails the test.
func refreshingThrough(t *testing.T, front string, first *process, devices int) (answers func() int64, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	var n atomic.Int64
	for range devices {
		_, token := login(first)
		clients.Go(func() {
			client := &http.Client{Timeout: 30 * time.Second}
			for ctx.Err() == nil {
				r, err := post(context.Background(), client, front+"/auth/refresh", token, "")
				if _, next := r.tokens(); err != nil || r.status != http.StatusOK || next == "" {
					t.Errorf("a refresh while replicas restart: %v %v", r, err)
					return
				}
				_, token = r.tokens()
				n.Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return n.Load, func() {
		cancel()
		clients.Wait()
	}
}

// restartAs ends a replica in order, starts a program in its place, and waits until
// devices were answered after that.
func (p *process) restartAs(program string, answers func() int64) {
	p.tb.Helper()
	before := answers()
	p.signal(syscall.SIGTERM)
	if code := p.exitCode(30 * time.Second); code != 0 {
		p.tb.Errorf("exit code %d, want 0", code)
	}
	p.program = program
	p.launch()
	p.waitFor("/readyz", http.StatusOK, 30*time.Second)
	for began := time.Now(); answers() < before+20 && time.Since(began) < 30*time.Second; {
		time.Sleep(10 * time.Millisecond)
	}
}

// TestDrainIsTold: told to end, a replica says so to whoever asks whether it is
// ready, lives, and answers what still comes; a second signal ends it at once.
func TestDrainIsTold(t *testing.T) {
	p := start(t, sqliteURL(t), "LATCHKEY_DRAIN_DELAY=5m")
	_, token := login(p)
	p.signal(syscall.SIGTERM)
	p.waitFor("/readyz", http.StatusServiceUnavailable, 10*time.Second)
	res, err := http.Get(p.url("/readyz"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.Header.Get("Retry-After") == "" || !res.Close {
		t.Errorf("Retry-After %q, closes %t", res.Header.Get("Retry-After"), res.Close)
	}
	if p.status("/healthz") != http.StatusOK {
		t.Error("it does not live")
	}
	if r := refreshOnce(p, token); r.status != http.StatusOK {
		t.Errorf("a refresh meanwhile: %v", r)
	}
	check := exec.Command(binary, "healthcheck")
	check.Dir, check.Env = p.dir, p.env
	if out, err := check.CombinedOutput(); err == nil || !strings.Contains(string(out), "not ready") {
		t.Errorf("healthcheck says %v %s", err, out)
	}
	p.signal(syscall.SIGTERM)
	if code := p.exitCode(5 * time.Second); code == 0 {
		t.Error("it ended in order")
	}
}
