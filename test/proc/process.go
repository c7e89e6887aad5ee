// Package proc builds and runs the programs that tests try. Each has its own
// process, is ended by its id, and does not outlive the tests.
package proc

import (
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Output is what a process has written so far.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String implements fmt.Stringer.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Process is a program that was started.
type Process struct {
	Cmd  *exec.Cmd
	Out  Output        // what it writes, if Cmd did not say where to
	Done chan struct{} // closed once it has ended and is reaped
	Err  error         // how it ended; after Done

	in io.Closer
}

// Start starts a program. Its standard input stays open as long as it may live, and
// the kernel ends it with the tests, if Cmd does not say otherwise.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Cmd: cmd, Done: make(chan struct{})}
	if cmd.Stdout == nil && cmd.Stderr == nil {
		cmd.Stdout, cmd.Stderr = &p.Out, &p.Out
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = DieWithUs()
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.in = in
	started := make(chan error)
	go func() {
		// The parent death signal goes by the thread that started the process, and
		// not by ours as a whole: this thread lives as long as it does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.Err = cmd.Wait()
			close(p.Done)
		}
	}()
	return p, <-started
}

// Run starts a program that ends with the test at the latest.
func Run(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	p, err := Start(cmd)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("%s:\n%s", filepath.Base(cmd.Path), &p.Out)
		}
	})
	return p
}

// Kill is kill -9. It waits for the end, and leaves one that has ended alone.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill() // fails only where it has ended
	_ = p.in.Close()
	<-p.Done
}

// Running reports whether it has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.Done:
		return false
	default:
		return true
	}
}

// Until polls while the process runs, for 30 s at the most; what is what it waits for.
func (p *Process) Until(tb testing.TB, what string, ready func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ready(); time.Sleep(20 * time.Millisecond) {
		if !p.Running() {
			tb.Fatalf("%s has ended, and not: %s", filepath.Base(p.Cmd.Path), what)
		}
		if time.Now().After(deadline) {
			tb.Fatalf("not within 30 s: %s", what)
		}
	}
}
