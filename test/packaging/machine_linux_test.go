package packaging

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bootScript makes a machine out of this one: its files under an overlay in
// memory, namespaces of its own for processes, mounts and control groups, and the
// real systemd as process 1. Nothing that happens there reaches this machine, and
// all of it is gone with process 1. The network is shared. $1 is a folder to mount
// on, $2 what appears there as /mnt.
const bootScript = `set -e
mount -t tmpfs -o mode=0755 tmpfs "$1"
R=$1/root
mkdir -p $1/up/etc $1/work $R
: >$1/up/etc/fstab
mount -t overlay overlay -o lowerdir=/,upperdir=$1/up,workdir=$1/work $R
mount -t proc proc $R/proc
mount --bind $R/proc/sys $R/proc/sys
mount -o remount,bind,ro $R/proc/sys
mount -t sysfs -o ro sysfs $R/sys
mount -t tmpfs tmpfs $R/sys/fs/cgroup
mkdir $R/sys/fs/cgroup/systemd
if ! mount -t cgroup -o none,name=systemd cgroup $R/sys/fs/cgroup/systemd; then
	umount $R/sys/fs/cgroup
	mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
fi
for dir in run tmp dev; do mount -t tmpfs -o mode=0755 tmpfs $R/$dir; done
chmod 1777 $R/tmp
mkdir $R/dev/pts $R/dev/shm $R/dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts $R/dev/pts
ln -s pts/ptmx $R/dev/ptmx
ln -s /proc/self/fd $R/dev/fd
mknod -m 666 $R/dev/null c 1 3
mknod -m 666 $R/dev/zero c 1 5
mknod -m 666 $R/dev/full c 1 7
mknod -m 666 $R/dev/random c 1 8
mknod -m 666 $R/dev/urandom c 1 9
mknod -m 666 $R/dev/tty c 5 0
mount --bind "$2" $R/mnt
mkdir $R/run/old
cd $R
pivot_root . run/old
exec env -i container=latchkey-test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . sh -c 'umount -l /run/old
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_boot /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no'
`

// machine is one that was booted so.
type machine struct {
	t    *testing.T
	init string // process 1, as this machine numbers it
}

// boot starts a machine; an error says why that is not possible here.
func boot(t *testing.T, mounted string) (*machine, error) {
	t.Helper()
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("needs root")
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return nil, fmt.Errorf("a systemd runs this machine, and a second one would stand in its way")
	}
	dir := t.TempDir()
	group, err := controlGroup(t)
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	c := exec.Command("sh", "-c", `echo $$ >"$0/cgroup.procs" && exec unshare --mount --pid --cgroup --fork --kill-child --propagation private sh -c "$1" sh "$2" "$3"`,
		group, bootScript, dir, mounted)
	c.Stdout, c.Stderr = &said, &said
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	m := &machine{t: t}
	t.Cleanup(func() {
		if m.init != "" { // all others end with it
			_ = exec.Command("kill", "-KILL", m.init).Run()
		}
		_ = c.Process.Kill()
		<-ended
	})
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			return nil, fmt.Errorf("%s", strings.TrimSpace(said.String()))
		default:
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.Process.Pid, c.Process.Pid))
		m.init = strings.TrimSpace(string(children))
		if out, _ := m.try("systemctl", "is-system-running"); m.init != "" && (strings.HasPrefix(out, "running") || strings.HasPrefix(out, "degraded")) {
			return m, nil
		}
	}
	return nil, fmt.Errorf("systemd did not start: %s", said.String())
}

// controlGroup is a group of our own below the one that systemd would take, which
// goes with the test.
func controlGroup(t *testing.T) (string, error) {
	t.Helper()
	for _, at := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(at, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(at, fmt.Sprintf("latchkey-test-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
		t.Cleanup(func() { // the kernel takes a moment over the processes
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				_ = exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
				if _, err := os.Stat(dir); err != nil {
					return
				}
			}
			t.Errorf("%s stays", dir)
		})
		return dir, nil
	}
	return "", fmt.Errorf("no control groups")
}

// try runs a command there.
func (m *machine) try(args ...string) (string, error) {
	c := exec.Command("nsenter", append([]string{"--target", m.init, "--mount", "--pid", "--cgroup", "--root", "--wd", "--",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.CombinedOutput()
	return string(out), err
}

func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		logs, _ := m.try("journalctl", "--no-pager", "-n", "30")
		m.t.Fatalf("%s: %v\n%s\n%s", strings.Join(args, " "), err, out, logs)
	}
	return strings.TrimSpace(out)
}

// fails wants a command to fail.
func (m *machine) fails(args ...string) {
	m.t.Helper()
	if out, err := m.try(args...); err == nil {
		m.t.Errorf("%s: success\n%s", strings.Join(args, " "), out)
	}
}

// becomes waits for a property of a unit.
func (m *machine) becomes(property string, is func(string) bool) string {
	m.t.Helper()
	got := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = m.show(property); is(got) {
			return got
		}
	}
	m.t.Fatalf("%s stays %q", property, got)
	return ""
}

func (m *machine) show(property string) string {
	m.t.Helper()
	return m.run("systemctl", "show", "--value", "-p", property, "latchkey.service")
}
