// Package box boots a machine out of this one: a real systemd as process 1 over a
// throw-away copy of its root file system. It needs root, and a Linux that no
// systemd runs yet.
package box

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed box.sh
var script string

// Options say what a machine has.
type Options struct {
	Mounted    string // a folder of this machine that is /mnt there; empty: none
	OwnNetwork bool   // its loopback is its own, and it has no other network
	Target     string // of systemd, such as multi-user.target
}

// Box is a machine.
type Box struct {
	outer *exec.Cmd // unshare, which takes the machine along when it ends
	ended chan struct{}
	said  bytes.Buffer // read when outer has ended
	init  *os.Process  // process 1
	rooms []*os.File   // its namespaces, in the order of kinds
	kinds []string     // of namespaces, as unshare and nsenter alike call them
	dir   string
	group string
}

// files are what /proc/PID/ns calls the kinds of namespaces.
var files = map[string]string{"mount": "mnt", "pid": "pid", "uts": "uts", "ipc": "ipc", "cgroup": "cgroup", "net": "net"}

const bootTime = 60 * time.Second

// Boot starts a machine and waits for its target. An error says why that is not
// possible here.
func Boot(o Options) (*Box, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("needs root")
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return nil, errors.New("a systemd runs this machine, and a second one would stand in its way")
	}
	b := &Box{ended: make(chan struct{}), kinds: []string{"mount", "pid", "uts", "ipc", "cgroup"}}
	if o.OwnNetwork {
		b.kinds = append(b.kinds, "net")
	}
	if err := b.start(o); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if err := b.wait(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Box) start(o Options) (err error) {
	if b.group, err = controlGroup(); err != nil {
		close(b.ended)
		return err
	}
	if b.dir, err = os.MkdirTemp("", "latchkey-box-"); err != nil {
		close(b.ended)
		return err
	}
	args := []string{"-c", `echo $$ >"$0/cgroup.procs" && exec unshare "$@"`, b.group}
	for _, kind := range b.kinds {
		args = append(args, "--"+kind)
	}
	args = append(args, "--fork", "--kill-child", "--propagation", "private", "sh", "-c", script, "sh", b.dir, o.Mounted, o.Target)
	c := exec.Command("sh", args...)
	c.Stdout, c.Stderr, c.SysProcAttr = &b.said, &b.said, dieWithUs()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel ends it with its thread
		defer close(b.ended)
		err := c.Start()
		if err == nil {
			b.outer = c
		}
		started <- err
		if err == nil {
			_ = c.Wait()
		}
	}()
	return <-started
}

func (b *Box) wait() error {
	for deadline := time.Now().Add(bootTime); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-b.ended:
			return fmt.Errorf("%s", strings.TrimSpace(b.said.String()))
		default:
		}
		if b.init == nil && !b.hold() {
			continue
		}
		out, _ := b.Command("systemctl", "is-system-running").Output() // fails while it boots
		if state := strings.TrimSpace(string(out)); state == "running" || state == "degraded" {
			return nil
		}
	}
	return errors.New("systemd did not start")
}

// hold takes hold of process 1, which is the only child that unshare ever has, and of
// its namespaces: of themselves, for its number is another process's once it has
// ended, and that one would be killed, or commands typed on this machine. It says
// false where there is no process 1 yet.
func (b *Box) hold() bool {
	child := func() int {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", b.outer.Process.Pid))
		number, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return number
	}
	number := child()
	if number == 0 {
		return false
	}
	held, err := os.FindProcess(number)
	rooms := []*os.File{}
	for _, kind := range b.kinds {
		if err == nil {
			var room *os.File
			if room, err = os.Open(fmt.Sprintf("/proc/%d/ns/%s", number, files[kind])); err == nil {
				rooms = append(rooms, room)
			}
		}
	}
	// Who is unshare's child before and after was meant in between, too; and unshare
	// itself, which is not waited for yet, has kept its number.
	if err != nil || child() != number || b.outer.Process.Signal(syscall.Signal(0)) != nil {
		closeAll(rooms)
		return false
	}
	b.init, b.rooms = held, rooms
	return true
}

func closeAll(opened []*os.File) {
	for _, f := range opened {
		f.Close()
	}
}

// Close ends the machine with all that runs there.
func (b *Box) Close() error {
	if b.outer != nil {
		if b.init != nil { // all others end with it
			_ = b.init.Kill()
		}
		_ = b.outer.Process.Kill()
	}
	<-b.ended
	closeAll(b.rooms)
	var left error
	if b.dir != "" {
		left = os.Remove(b.dir) // what was mounted there is gone with the machine
	}
	if b.group == "" {
		return left
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		_ = exec.Command("find", b.group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
		if _, err := os.Stat(b.group); err != nil {
			return left
		}
	}
	return errors.Join(left, fmt.Errorf("%s stays", b.group)) // the kernel took too long over the processes
}

// Command is a command of root's there, in root's home, with an environment of its own.
func (b *Box) Command(name string, args ...string) *exec.Cmd {
	all := []string{}
	for i, room := range b.rooms { // by this process's own descriptors, which are not handed down
		all = append(all, fmt.Sprintf("--%s=/proc/%d/fd/%d", b.kinds[i], os.Getpid(), room.Fd()))
	}
	all = append(all, "--", "env", "-i", "-C", "/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", name)
	c := exec.Command("nsenter", append(all, args...)...)
	c.SysProcAttr = dieWithUs()
	return c
}

// controlGroup is a group of our own below the one that systemd would take.
func controlGroup() (string, error) {
	for _, at := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(at, "cgroup.procs")); err == nil {
			return os.MkdirTemp(at, "latchkey-box-")
		}
	}
	return "", errors.New("no control groups")
}
