package packaging

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/box"
)

// machine is a box that shares the network with this machine.
type machine struct {
	*box.Box
	t *testing.T
}

// boot starts one; mounted is its /mnt.
func boot(t *testing.T, mounted string) (*machine, error) {
	t.Helper()
	b, err := box.Boot(box.Options{Mounted: mounted, Target: "basic.target"})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return &machine{b, t}, nil
}

// try runs a command there.
func (m *machine) try(args ...string) (string, error) {
	out, err := m.Command(args[0], args[1:]...).CombinedOutput()
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
