package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-id/latchkey/test/proc"
)

// serviceManager hears what a process tells systemd.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	folder, err := os.MkdirTemp("", "notify") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(folder, "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &serviceManager{t, conn}
}

func (m *serviceManager) socket() string { return m.conn.LocalAddr().String() }

// next is the next message that is not about the watchdog, in lines.
func (m *serviceManager) next() []string {
	m.t.Helper()
	for {
		if lines := m.any(20 * time.Second); lines == nil {
			m.t.Fatal("the service manager was told nothing")
		} else if lines[0] != "WATCHDOG=1" {
			return lines
		}
	}
}

// any is the next message; nil where none comes.
func (m *serviceManager) any(within time.Duration) []string {
	m.t.Helper()
	buf := make([]byte, 4096)
	_ = m.conn.SetReadDeadline(time.Now().Add(within))
	n, err := m.conn.Read(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	} else if err != nil {
		m.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(buf[:n])), "\n")
}

func (m *serviceManager) expect(want ...string) {
	m.t.Helper()
	if got := m.next(); !slices.Equal(got, want) {
		m.t.Fatalf("the service manager was told %q, not %q", got, want)
	}
}

func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// reloading sends SIGHUP and hears of it with the time of the moment.
func (m *serviceManager) reloading(x *watchedWorld) {
	m.t.Helper()
	before := monotonic(m.t)
	if err := x.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		m.t.Fatal(err)
	}
	said := m.next()
	if len(said) != 2 || said[0] != "RELOADING=1" {
		m.t.Fatalf("SIGHUP, and the service manager was told %q", said)
	}
	text, ok := strings.CutPrefix(said[1], "MONOTONIC_USEC=")
	at, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || at < before || at > monotonic(m.t) {
		m.t.Errorf("%q, between %d and %d", said[1], before, monotonic(m.t))
	}
}

// systemd hears of the start once requests are served, of every reload with how
// it went, that the process answers itself, and of the end.
func TestServiceManagerHearsAll(t *testing.T) {
	m := newServiceManager(t)
	x := prepareWorld(t, "", map[string]string{"NOTIFY_SOCKET": m.socket(), "WATCHDOG_USEC": "40000"})
	x.start()
	m.expect("READY=1", "STATUS=Ready")
	if status, _ := get(t, x.base+"/readyz"); status != http.StatusOK {
		t.Errorf("READY=1, and /readyz says %d", status)
	}

	x.write("local_login: false\n")
	m.reloading(x)
	m.expect("READY=1", "STATUS=Ready")
	x.write("nonsense: 1\n")
	m.reloading(x)
	m.expect("READY=1", "STATUS=Ready; the new configuration was refused, see the log")

	if said := m.any(20 * time.Second); !slices.Equal(said, []string{"WATCHDOG=1"}) {
		t.Errorf("the watchdog heard %q", said)
	}
	x.stop() // and waits: a second signal would end it at once
	m.expect("STOPPING=1", "STATUS=Answering what is under way")
}

// A process that cannot answer itself is not alive, whatever its clock does.
func TestWatchdogHearsNothingOfADeafProcess(t *testing.T) {
	m := newServiceManager(t)
	t.Setenv("NOTIFY_SOCKET", m.socket())
	t.Setenv("WATCHDOG_USEC", "40000")
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, answers none
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := &tail{}
	c := &config{}
	c.Log.Level = "debug"
	go (&manager{log: c.logger(log)}).watch(ctx, c, deaf.Addr())
	log.find(t, `"?event"?[=:]"?(watchdog\.failed)`)
	if said := m.any(100 * time.Millisecond); said != nil {
		t.Errorf("the watchdog heard %q", said)
	}
}

// While there is no database the service manager is told so, and not that
// anything is ready: not at the start, and not after a reload either.
func TestServiceManagerHearsOfNoReadinessWithoutADatabase(t *testing.T) {
	m := newServiceManager(t)
	x := prepareWorld(t, "", map[string]string{
		"NOTIFY_SOCKET": m.socket(), "LATCHKEY_DATABASE_URL": "postgres://latchkey@" + freeAddress(t) + "/latchkey?sslmode=disable",
		"JWT_SECRET_KEY": strings.Repeat("k", 40),
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0], "serve")
	c.Env, c.Stdout, c.Stderr = append(os.Environ(), append(x.environ(), "LATCHKEY_TEST_AS=latchkey")...), x.log, x.log
	serving, err := proc.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	m.expect("STATUS=Waiting for the database")
	if err := c.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	x.log.find(t, `"event":"config\.(refused)"`)
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-serving.Done
	for said := m.any(time.Millisecond); said != nil; said = m.any(time.Millisecond) {
		if !slices.Equal(said, []string{"STATUS=Waiting for the database"}) {
			t.Errorf("without a database the service manager was told %q", said)
		}
	}
}

// Whoever starts it by hand has no socket, and nothing is said about that.
func TestWithoutAServiceManagerNothingIsSaid(t *testing.T) {
	m := newServiceManager(t)
	x := newFreshWorld(t, "", nil)
	x.stop()
	if said := m.any(time.Millisecond); said != nil || strings.Contains(x.log.String(), "notify") {
		t.Errorf("told %q\n%s", said, x.log.String())
	}
}
