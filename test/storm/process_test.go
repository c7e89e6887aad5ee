package storm

import (
	"cmp"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq"                    // registers "postgres"
	_ "github.com/ncruces/go-sqlite3/driver" // registers "sqlite3"

	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/test/proc"
)

const (
	secret   = "a root secret of the storms, long enough"
	username = "storm"
	password = "password of storm"
)

// binary is the program, built once by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "latchkey-storm-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "latchkey")
	if err := proc.Build(binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return pgtest.Main(m)
}

// process is one latchkey at one address, over all its restarts. One goroutine
// at a time starts and ends it.
type process struct {
	tb testing.TB
	// program is what is run; empty: binary.
	program string
	dir     string // its working directory, with its log
	addr    string
	env     []string
	out     *os.File      // where it logs; nil: into its folder
	now     *proc.Process // the last one; nil: none
}

// newProcess prepares a latchkey with an environment made from scratch; more
// is NAME=value and wins. It is ended with the test.
func newProcess(tb testing.TB, databaseURL string, more ...string) *process {
	tb.Helper()
	proc.Watch(tb)
	dir := tb.TempDir()
	p := &process{tb: tb, dir: dir, addr: freeAddress(tb)}
	p.env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TZ=UTC",
		"LATCHKEY_LISTEN=" + p.addr, "LATCHKEY_PUBLIC_URL=http://storm.test", "LATCHKEY_DATA_DIR=" + dir,
		"LATCHKEY_DATABASE_URL=" + databaseURL, "LATCHKEY_ADMIN_USERNAME=" + username, "LATCHKEY_ADMIN_PASSWORD=" + password,
		"JWT_SECRET_KEY=" + secret, "RATE_LIMIT_AUTH_MAX=0", "LATCHKEY_SESSION_LIMIT=0", "REFRESH_TOKEN_GRACE_PERIOD=" + strconv.Itoa(int(grace/time.Second)),
	}, more...)
	tb.Cleanup(func() {
		p.kill()
		if tb.Failed() {
			tb.Logf("the log of %s ends:\n%s", p.addr, tail(p.output(), 16<<10))
		}
	})
	return p
}

// start starts latchkey and waits until it is ready.
func start(tb testing.TB, databaseURL string, more ...string) *process {
	tb.Helper()
	p := newProcess(tb, databaseURL, more...)
	p.launch()
	p.waitFor("/readyz", http.StatusOK, 30*time.Second)
	return p
}

// launch starts the program.
func (p *process) launch() {
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		p.tb.Errorf("the log of latchkey: %v", err)
		return
	}
	defer log.Close() // the program has its own copy
	cmd := exec.Command(cmp.Or(p.program, binary), "serve")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, log, log
	if p.out != nil {
		cmd.Stdout, cmd.Stderr = p.out, p.out
	}
	now, err := proc.Start(cmd)
	if err != nil {
		p.tb.Errorf("starting latchkey: %v", err)
		return
	}
	p.now = now
}

// kill is kill -9. A process that has ended already is left alone.
func (p *process) kill() {
	if p.now != nil {
		p.now.Kill()
		p.now = nil
	}
}

// exitCode waits until the process has ended by itself.
func (p *process) exitCode(within time.Duration) int {
	p.tb.Helper()
	select {
	case <-p.now.Done:
		return p.now.Cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.tb.Fatalf("latchkey still runs after %v", within)
		return 0
	}
}

func (p *process) url(path string) string { return "http://" + p.addr + path }

// status asks a path for its status, 0 where nobody answers.
func (p *process) status(path string) int {
	res, err := (&http.Client{Timeout: 5 * time.Second}).Get(p.url(path))
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// waitFor polls a path until it answers with a status, and returns how long
// that took.
func (p *process) waitFor(path string, status int, within time.Duration) time.Duration {
	p.tb.Helper()
	began := time.Now()
	for {
		got := p.status(path)
		took := time.Since(began)
		switch {
		case got == status:
			return took
		case !p.now.Running():
			p.tb.Fatalf("latchkey has ended: %v", p.now.Cmd.ProcessState)
		case took > within:
			p.signal(syscall.SIGQUIT) // what it does instead stands in its log then
			<-p.now.Done
			p.tb.Fatalf("%s answers %d after %v, want %d", path, got, within, status)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *process) signal(sig syscall.Signal) {
	p.tb.Helper()
	if err := p.now.Cmd.Process.Signal(sig); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *process) output() string {
	raw, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(raw)
}

func tail(s string, most int) string { return s[max(0, len(s)-most):] }

// freeAddress picks a loopback port below the range that the kernel hands out
// itself: while latchkey is dead, no outgoing connection may take its port.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(17000))
		if l, err := net.Listen("tcp4", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	tb.Fatal("no free loopback port")
	return ""
}

// sqliteURL names a database in a folder of the test.
func sqliteURL(tb testing.TB) string { return "sqlite:" + filepath.Join(tb.TempDir(), "latchkey.db") }

// openDB looks into latchkey's database beside it.
func openDB(tb testing.TB, databaseURL string) *sql.DB {
	tb.Helper()
	driver, dsn := "postgres", databaseURL
	if file, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		driver, dsn = "sqlite3", "file:"+file+"?_pragma=busy_timeout(5000)&_txlock=immediate"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxIdleConns(0) // a connection that is kept may be broken by a crash
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func number(tb testing.TB, db *sql.DB, query string, args ...any) int {
	tb.Helper()
	var n int
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return n
}
