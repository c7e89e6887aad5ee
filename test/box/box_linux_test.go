package box

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// What has a machine's process 1 for its number later is another's: no command is
// typed there, and it is not killed.
func TestNumberOfProcessOneIsReused(t *testing.T) {
	b, err := Boot(Options{Target: "basic.target"})
	if err != nil {
		fmt.Println("BOX: NOT booted:", err)
		return
	}
	if out, err := b.Command("sh", "-c", "echo $HOME $PWD; cat /proc/1/comm").Output(); err != nil || string(out) != "/root /root\nsystemd\n" {
		t.Errorf("there: %v %q", err, out)
	}
	number := b.init.Pid
	if err := b.init.Kill(); err != nil {
		t.Fatal(err)
	}
	<-b.ended
	stranger, leave := numbered(t, number)
	if out, err := b.Command("echo", "here").Output(); err == nil {
		t.Errorf("a command of a machine that has ended says %q", out)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	leave.Close()
	if err := stranger.Wait(); err != nil {
		t.Errorf("whoever has the number of process 1: %v", err)
	}
}

// numbered is a process with a number that is free; it ends well when it is let go.
func numbered(t *testing.T, number int) (process *exec.Cmd, leave io.Closer) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(number-1)), 0); err != nil {
			t.Fatal(err)
		}
		c := exec.Command("cat")
		c.SysProcAttr = dieWithUs()
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if c.Process.Pid == number {
			return c, in
		}
		in.Close()
		_ = c.Wait()
	}
	t.Fatalf("no process gets the number %d", number)
	return nil, nil
}
