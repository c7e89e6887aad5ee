package ban

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/proc"
)

const deploy = "../../deploy"

// checkFilter has fail2ban-regex count what the shipped filter finds.
func checkFilter(t *testing.T, file string, failures map[string]int) {
	t.Helper()
	out, err := exec.Command("fail2ban-regex", "-o", "ip", file, deploy+"/fail2ban/filter.d/latchkey.conf").Output()
	if err != nil {
		t.Fatalf("fail2ban-regex: %v %s; test/install.sh installs it", err, out)
	}
	found := map[string]int{}
	for _, ip := range strings.Fields(string(out)) {
		found[ip]++
	}
	for ip, n := range failures {
		if found[ip] != n {
			t.Errorf("%s: %d lines of %s were found, want %d", filepath.Base(file), found[ip], ip, n)
		}
		delete(found, ip)
	}
	if len(found) != 0 {
		t.Errorf("%s: found %v, who did not fail", filepath.Base(file), found)
	}
}

// checkFail2ban runs a server of its own on a log, with the shipped filter and jail.
// Instead of a firewall a file takes the addresses.
func checkFail2ban(t *testing.T, file string, want []string) {
	t.Helper()
	const jail = "latchkey-file"
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "etc"), os.DirFS("/etc/fail2ban")); err != nil {
		t.Fatal(err, "; test/install.sh installs fail2ban")
	}
	etc := func(name string) string { return filepath.Join(dir, "etc", name) }
	put(t, etc("filter.d/latchkey.conf"), read(t, deploy+"/fail2ban/filter.d/latchkey.conf"))
	put(t, etc("jail.d/latchkey.conf"), read(t, deploy+"/fail2ban/jail.d/latchkey.conf"))
	if err := os.Remove(etc("jail.d/defaults-debian.conf")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	put(t, etc("fail2ban.d/test.conf"), "[Definition]\ndbfile = None\n")
	list := filepath.Join(dir, "banned")
	put(t, etc("action.d/note.conf"), "[Definition]\nactionban = echo <ip> >> "+list+"\nactionstart =\nactionstop =\nactioncheck =\nactionunban =\n")
	put(t, etc("jail.d/zz-test.conf"), fmt.Sprintf("[DEFAULT]\naction = note\n[%s]\nenabled = true\nbackend = polling\nlogpath = %s\n", jail, file))
	server := proc.Run(t, exec.Command("fail2ban-server", "-f", "-c", etc(""), "-s", dir+"/socket", "-p", dir+"/pid",
		"--logtarget", dir+"/log", "--loglevel", "INFO", "start"))
	got := func() []string {
		raw, _ := os.ReadFile(list)
		return strings.Fields(string(raw))
	}
	for begun := time.Now(); (!slices.Contains(got(), last) || len(got()) < len(want)) && time.Since(begun) < 60*time.Second; {
		select {
		case <-server.Done:
			t.Fatalf("fail2ban ended: %s", &server.Out)
		case <-time.After(100 * time.Millisecond):
		}
	}
	same(t, "fail2ban", got(), want)
	if t.Failed() {
		t.Log(read(t, dir+"/log"))
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(raw)
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
