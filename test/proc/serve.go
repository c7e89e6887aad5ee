package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Latchkey is one that serves, by a configuration of its own.
type Latchkey struct {
	*Process
	Base string // its public URL
	Dir  string // its working directory, with latchkey.yaml
}

// Serve starts what was built into a file at a port of loopback, and waits until it
// is ready. config is YAML behind what all tests want, and env, NAME=value, is all
// of its environment. Its host is localhost, so that it shares no cookies with what
// is at 127.0.0.1. It logs JSON and has a database of its own, unless they say
// otherwise.
func Serve(tb testing.TB, binary string, port int, config string, env ...string) *Latchkey {
	tb.Helper()
	Watch(tb)
	dir := tb.TempDir()
	x := &Latchkey{Base: fmt.Sprintf("http://localhost:%d", port), Dir: dir}
	config = fmt.Sprintf("public_url: %s\nlisten: 127.0.0.1:%d\ndata_dir: %s\nlog: {format: json}\n%s", x.Base, port, filepath.Join(dir, "data"), config)
	if err := os.WriteFile(filepath.Join(dir, "latchkey.yaml"), []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(binary, "serve")
	cmd.Dir, cmd.Env = dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	x.Process = Run(tb, cmd)
	x.Until(tb, "latchkey is ready", func() bool { return Answers(fmt.Sprintf("http://127.0.0.1:%d/readyz", port)) })
	return x
}

// Stop ends a process as whoever looks after services does, and waits until it has
// written everything.
func (p *Process) Stop(tb testing.TB) {
	tb.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Fatal(err)
	}
	select {
	case <-p.Done:
	case <-time.After(30 * time.Second):
		tb.Fatalf("%s does not end", filepath.Base(p.Cmd.Path))
	}
	if p.Err != nil {
		tb.Fatalf("%s ended: %v", filepath.Base(p.Cmd.Path), p.Err)
	}
}
