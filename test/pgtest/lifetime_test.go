package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childVariable turns the test binary into a process that starts a cluster,
// prints its postmaster's pid and directory, and waits to be killed.
const childVariable = "PGTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		c, err := Start()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%d %s\n", c.server.Cmd.Process.Pid, c.dir.path)
		select {}
	}
	os.Exit(Main(m))
}

func TestCloseLeavesNothing(t *testing.T) {
	c, err := Start(WithSetting("application_name", "pgtest"))
	if err != nil {
		t.Fatal(err)
	}
	pid := c.server.Cmd.Process.Pid
	db := open(t, c.URL("postgres"))
	if got := query1(t, db, "SELECT reset_val FROM pg_settings WHERE name = 'application_name'"); got != "pgtest" {
		t.Errorf("application_name = %q, want the one set", got)
	}
	backend, err := strconv.Atoi(query1(t, db, "SELECT pg_backend_pid()"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // closing again is harmless
		if err := c.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	for _, pid := range []int{pid, backend} {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("signalling process %d after Close: %v, want %v", pid, err, syscall.ESRCH)
		}
	}
	if _, err := os.Stat(c.dir.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory after Close: %v, want it gone", err)
	}
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.Port())); err == nil {
		conn.Close()
		t.Error("the port still answers after Close")
	}
	if err := c.StartAgain(); err == nil {
		t.Error("StartAgain after Close reports no error")
	}
}

func TestMainClosesTheSharedClusterOnPanic(t *testing.T) {
	var c *Cluster
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		runAndClose(func() int { c = Shared(t); panic("boom") })
	}()
	if !c.closed {
		t.Error("the shared cluster is still open")
	}
}

func TestServerDiesWithItsProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), childVariable+"=1")
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	_, err = fmt.Fscan(bufio.NewReader(out), &pid, &dir)
	if killErr := child.Process.Kill(); err != nil || killErr != nil {
		t.Fatalf("reading from the child: %v; killing it: %v", err, killErr)
	}
	_ = child.Wait() // killed, as asked

	for deadline := time.Now().Add(20 * time.Second); alive(pid); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGQUIT)
			t.Fatalf("postmaster %d outlives its test process", pid)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("the killed process's directory: %v", err)
	}
	keep := Shared(t)
	removeAbandoned(filepath.Dir(dir))
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the abandoned directory: %v, want it gone", err)
	}
	if _, err := os.Stat(keep.dataDir()); err != nil {
		t.Errorf("the directory of a live cluster: %v", err)
	}
}

// alive tells a running process from one that has ended and waits to be reaped.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}
