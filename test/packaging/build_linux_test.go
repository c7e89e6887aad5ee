package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A fixed time, so that no test depends on the commit.
const epoch = "1700000000"

var work string // what all tests share

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "packaging")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	work = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// makeDeb runs `make deb` in a copy of the sources.
func makeDeb(source, dist string, extra ...string) error {
	c := exec.Command("make", "--no-print-directory", "deb", "DIST="+dist, "ARCH="+runtime.GOARCH)
	c.Dir = source
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MAKE") && !strings.HasPrefix(v, "MFLAGS=") {
			c.Env = append(c.Env, v)
		}
	}
	c.Env = append(c.Env, append([]string{"SOURCE_DATE_EPOCH=" + epoch}, extra...)...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("make deb: %w\n%s", err, out)
	}
	return nil
}

var buildOnce = sync.OnceValues(func() (string, error) {
	source, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	dist := filepath.Join(work, "dist")
	return dist, makeDeb(source, dist)
})

// dist is the folder of `make deb`, which runs once for all tests.
func dist(t *testing.T) string {
	t.Helper()
	dir, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func deb(t *testing.T) string {
	t.Helper()
	return filepath.Join(dist(t), "latchkey_0.1.0_"+runtime.GOARCH+".deb")
}

// command runs a program to its end and gives what it says.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
