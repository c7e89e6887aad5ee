package packaging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const password = "correct horse battery"

func freeAddress(t *testing.T) string {
	t.Helper()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	return probe.Addr().String()
}

// nextDeb is the same package in a later version with another configuration file.
func nextDeb(t *testing.T, folder string) {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "next")
	command(t, "dpkg-deb", "-R", deb(t), tree)
	for file, change := range map[string][2]string{
		"DEBIAN/control":             {"Version: 0.1.0", "Version: 0.1.1"},
		"etc/latchkey/latchkey.yaml": {"# Latchkey's configuration.", "# Latchkey's newer configuration."},
	} {
		name := filepath.Join(tree, file)
		text := read(t, name)
		if !strings.Contains(text, change[0]) {
			t.Fatalf("%s has no %q", file, change[0])
		}
		if err := os.WriteFile(name, []byte(strings.Replace(text, change[0], change[1], 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "dpkg-deb", "-Znone", "--root-owner-group", "-b", tree, filepath.Join(folder, "next.deb"))
}

// The package is installed, configured, started by systemd, reloaded, upgraded,
// removed and purged. Where no machine can be made for it, its program is run out
// of its files.
func TestInstallRunUpgradeRemovePurge(t *testing.T) {
	folder := t.TempDir()
	command(t, "cp", deb(t), filepath.Join(folder, "first.deb"))
	nextDeb(t, folder)
	m, err := (*machine)(nil), errors.New("asked for by PACKAGING_WAY")
	if os.Getenv("PACKAGING_WAY") != "files" {
		m, err = boot(t, folder)
	}
	if err != nil {
		fmt.Printf("PACKAGE: run out of its unpacked files; NOT installed by dpkg, NOT run by systemd: %v\n", err)
		runUnpacked(t)
		return
	}
	fmt.Println("PACKAGE: installed by dpkg and run by", strings.SplitN(m.run("systemctl", "--version"), "\n", 2)[0], "as process 1 over an overlay of this machine")
	s := install(m)
	session := s.login()
	s.isConfined()
	s.reloads()
	s.backs()
	s.comesBack()
	s.upgrade(session)
	s.removeAndPurge()
}

// installed is the package on such a machine.
type installed struct {
	*machine
	base string
}

// install does what a user does, up to the first administrator.
func install(m *machine) *installed {
	m.t.Helper()
	m.run("dpkg", "-i", "/mnt/first.deb")
	for file, want := range map[string]string{
		"/var/lib/latchkey": "700 latchkey latchkey", "/etc/latchkey/latchkey.yaml": "640 root latchkey", "/usr/bin/latchkey": "755 root root",
	} {
		if got := m.run("stat", "-c", "%a %U %G", file); got != want {
			m.t.Errorf("%s is %s, want %s", file, got, want)
		}
	}
	if got := m.show("ActiveState"); got != "inactive" {
		m.t.Errorf("it runs before anybody has read its configuration: %s", got)
	}
	address := freeAddress(m.t)
	s := &installed{m, "http://" + address}
	m.run("sed", "-i", "-e", "s|^public_url:.*|public_url: "+s.base+"|", "-e", "s|^#listen:.*|listen: "+address+"|", "/etc/latchkey/latchkey.yaml")
	m.run("systemctl", "enable", "--now", "latchkey")
	// Type=notify: what has been started answers.
	if res, err := http.Get(s.base + "/readyz"); err != nil || res.StatusCode != http.StatusOK {
		m.t.Fatal(res, err)
	}
	if got := m.show("StatusText"); got != "Ready" {
		m.t.Errorf("systemctl status says %q", got)
	}
	if out := s.latchkey("", "healthcheck"); out != "" {
		m.t.Error(out)
	}
	s.latchkey(password, "user", "create", "root", "--role", "root", "--password-stdin")
	return s
}

// latchkey is a command of the installed program, as the documentation has it.
func (s *installed) latchkey(stdin string, args ...string) string {
	s.t.Helper()
	script := `cd / && printf '%s\n' "$0" | runuser -u latchkey -- latchkey --config /etc/latchkey/latchkey.yaml "$@"`
	return s.run(append([]string{"sh", "-c", script, stdin}, args...)...)
}

func (s *installed) login() (refresh string) {
	s.t.Helper()
	return loginAt(s.t, s.base)
}

func loginAt(t *testing.T, base string) (refresh string) {
	t.Helper()
	return tokens(t, base+"/login", `{"username":"root","password":"`+password+`"}`, map[string]string{"X-Return-Tokens": "true"})
}

// tokens is the refresh token that a request is answered with.
func tokens(t *testing.T, url, body string, header map[string]string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	var out struct {
		User struct {
			RefreshToken string `json:"refreshToken"`
		} `json:"user"`
	}
	if err := json.Unmarshal(text, &out); err != nil || out.User.RefreshToken == "" {
		t.Fatalf("%s: %d %s", url, res.StatusCode, text)
	}
	return out.User.RefreshToken
}

// isConfined looks at the process that systemd started.
func (s *installed) isConfined() {
	s.t.Helper()
	pid := s.show("MainPID")
	status := s.run("cat", "/proc/"+pid+"/status")
	uid := s.run("id", "-u", "latchkey")
	for _, want := range []string{"Uid:\t" + uid + "\t" + uid, "NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000400"} {
		if !strings.Contains(status, want) {
			s.t.Errorf("the process has no %q:\n%s", want, status)
		}
	}
	for file, writable := range map[string]bool{"/var/lib/latchkey/written": true, "/etc/latchkey/written": false, "/usr/bin/written": false} {
		if out, err := s.try("nsenter", "--target", pid, "--mount", "--", "touch", file); (err == nil) != writable {
			s.t.Errorf("%s: %v %s", file, err, out)
		}
	}
}

// backs runs what the timer of the package runs.
func (s *installed) backs() {
	s.t.Helper()
	s.run("systemctl", "start", "latchkey-backup.service")
	if list := s.run("ls", "/var/lib/latchkey/backups"); !strings.HasSuffix(list, ".backup") {
		s.t.Errorf("backups: %q", list)
	}
}

func (s *installed) reloads() {
	s.t.Helper()
	pid := s.show("MainPID")
	s.run("sh", "-c", "echo 'local_login: nonsense' >>/etc/latchkey/latchkey.yaml")
	s.run("systemctl", "reload", "latchkey")
	s.becomes("StatusText", func(x string) bool { return strings.Contains(x, "refused") })
	s.run("sed", "-i", "$ d", "/etc/latchkey/latchkey.yaml")
	s.run("systemctl", "reload", "latchkey")
	s.becomes("StatusText", func(x string) bool { return x == "Ready" })
	if got := s.show("ActiveState") + s.show("MainPID"); got != "active"+pid {
		s.t.Errorf("after reloads: %s, was %s", got, pid)
	}
}

// comesBack kills the process, as trouble would.
func (s *installed) comesBack() {
	s.t.Helper()
	pid := s.show("MainPID")
	s.run("kill", "-KILL", pid)
	s.becomes("MainPID", func(x string) bool { return x != pid && x != "0" })
	s.becomes("ActiveState", func(x string) bool { return x == "active" })
}

// upgrade installs the next version over the running one: the session of before
// goes on, and so does the configuration.
func (s *installed) upgrade(session string) {
	s.t.Helper()
	pid, was := s.show("MainPID"), s.run("cat", "/etc/latchkey/latchkey.yaml")
	s.run("dpkg", "-i", "--force-confold", "/mnt/next.deb")
	if got := s.run("dpkg-query", "-W", "-f", "${Version}", "latchkey"); got != "0.1.1" {
		s.t.Errorf("version %s", got)
	}
	s.becomes("MainPID", func(x string) bool { return x != pid && x != "0" })
	s.becomes("ActiveState", func(x string) bool { return x == "active" })
	if got := s.run("cat", "/etc/latchkey/latchkey.yaml"); got != was {
		s.t.Errorf("the upgrade changed the configuration:\n%s", got)
	}
	if got := s.run("cat", "/etc/latchkey/latchkey.yaml.dpkg-dist"); !strings.Contains(got, "newer") {
		s.t.Errorf("the new configuration is not beside it:\n%s", got)
	}
	if got := s.run("stat", "-c", "%a %U %G", "/etc/latchkey/latchkey.yaml"); got != "640 root latchkey" {
		s.t.Errorf("the configuration is %s", got)
	}
	tokens(s.t, s.base+"/auth/refresh", "", map[string]string{"X-Refresh-Token": session})
	s.login()
}

// removeAndPurge: a removal keeps configuration and data, a purge the data, until
// somebody says that they may go.
func (s *installed) removeAndPurge() {
	s.t.Helper()
	s.run("dpkg", "-r", "latchkey")
	if c, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://")); err == nil {
		c.Close()
		s.t.Error("it runs after its removal")
	}
	data := []string{"/var/lib/latchkey/latchkey.db", "/var/lib/latchkey/secret.key"}
	for _, kept := range append(data, "/etc/latchkey/latchkey.yaml") {
		s.run("test", "-s", kept)
	}
	s.fails("test", "-e", "/usr/bin/latchkey")
	s.purged()
	for _, kept := range data {
		s.run("test", "-s", kept)
	}
	s.run("dpkg", "-i", "/mnt/first.deb")
	s.run("sh", "-c", "echo latchkey latchkey/purge-data boolean true | debconf-set-selections")
	s.purged()
	s.fails("test", "-e", "/var/lib/latchkey")
	s.run("dpkg", "-i", "/mnt/first.deb")
	s.purged() // nothing is there that could be lost
	s.fails("test", "-e", "/var/lib/latchkey")
	s.fails("sh", "-c", "debconf-show latchkey | grep .")
}

func (s *installed) purged() {
	s.t.Helper()
	s.run("dpkg", "-P", "latchkey")
	for _, gone := range []string{"/etc/latchkey", "/usr/share/latchkey", "/usr/share/doc/latchkey", "/usr/lib/systemd/system/latchkey.service", "/etc/systemd/system/multi-user.target.wants/latchkey.service"} {
		s.fails("test", "-e", gone)
	}
	s.fails("dpkg-query", "-W", "latchkey")
}

// runUnpacked starts the program as the unit has it, with the configuration of
// the package, out of a folder.
func runUnpacked(t *testing.T) {
	t.Helper()
	tree := t.TempDir()
	command(t, "dpkg-deb", "-x", deb(t), tree)
	line := ""
	for l := range strings.Lines(read(t, filepath.Join(tree, "usr/lib/systemd/system/latchkey.service"))) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(l), "ExecStart="); ok {
			line = rest
		}
	}
	start := strings.Fields(line)
	if len(start) != 2 || start[0] != "/usr/bin/latchkey" {
		t.Fatalf("ExecStart=%s", line)
	}
	address := freeAddress(t)
	env := append(os.Environ(), "LATCHKEY_CONFIG="+filepath.Join(tree, "etc/latchkey/latchkey.yaml"), "LATCHKEY_DATA_DIR="+t.TempDir(),
		"LATCHKEY_LISTEN="+address, "LATCHKEY_PUBLIC_URL=http://"+address)
	program := filepath.Join(tree, start[0])
	create := exec.CommandContext(t.Context(), program, "user", "create", "root", "--role", "root", "--password-stdin")
	create.Env, create.Stdin = env, strings.NewReader(password+"\n")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	serve(t, exec.Command(program, start[1:]...), env, "http://"+address)
	check := exec.CommandContext(t.Context(), program, "healthcheck")
	check.Env = env
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("healthcheck: %v\n%s", err, out)
	}
	loginAt(t, "http://"+address)
}

// serve runs a program until the test ends, and wants it to end well.
func serve(t *testing.T, c *exec.Cmd, env []string, base string) {
	t.Helper()
	var log bytes.Buffer
	c.Env, c.Stdout, c.Stderr = env, &log, &log
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The kernel ends it with the thread that started it, which must stay therefore.
	runtime.LockOSThread()
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			t.Errorf("the program ended with %v\n%s", err, log.String())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		res, err := http.Get(base + "/readyz")
		if err != nil {
			continue
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatal("it never became ready")
}
