package packaging

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every file of the package with its mode; all belong to root.
var files = map[string]string{
	"./etc/latchkey/latchkey.yaml":                              "-rw-r-----",
	"./usr/bin/latchkey":                                        "-rwxr-xr-x",
	"./usr/lib/systemd/system/latchkey-backup.service":          "-rw-r--r--",
	"./usr/lib/systemd/system/latchkey-backup.timer":            "-rw-r--r--",
	"./usr/lib/systemd/system/latchkey@.service":                "-rw-r--r--",
	"./usr/lib/systemd/system/latchkey@.service.d/replica.conf": "-rw-r--r--",
	"./usr/lib/systemd/system/latchkey.service":                 "-rw-r--r--",
	"./usr/lib/sysusers.d/latchkey.conf":                        "-rw-r--r--",
	"./usr/share/bash-completion/completions/latchkey":          "-rw-r--r--",
	"./usr/share/doc/latchkey/CHANGELOG.md":                     "-rw-r--r--",
	"./usr/share/doc/latchkey/copyright":                        "-rw-r--r--",
	"./usr/share/doc/latchkey/sbom.cdx.json":                    "-rw-r--r--",
	"./usr/share/fish/vendor_completions.d/latchkey.fish":       "-rw-r--r--",
	"./usr/share/zsh/vendor-completions/_latchkey":              "-rw-r--r--",
}

func TestPackageHasTheseFilesAndNoOthers(t *testing.T) {
	seen, shares := map[string]bool{}, 0
	for line := range strings.Lines(command(t, "dpkg-deb", "-c", deb(t))) {
		f := strings.Fields(line)
		mode, owner, name := f[0], f[1], f[5]
		if owner != "root/root" {
			t.Errorf("%s belongs to %s", name, owner)
		}
		if strings.HasSuffix(name, "/") {
			if mode != "drwxr-xr-x" {
				t.Errorf("%s has %s", name, mode)
			}
			continue
		}
		if shared, ok := strings.CutPrefix(name, "./usr/share/latchkey/"); ok { // settings for others, as in deploy
			if _, err := os.Stat(filepath.Join("../../deploy", shared)); err != nil || mode != "-rw-r--r--" {
				t.Errorf("%s has %s: %v", name, mode, err)
			}
			shares++
			continue
		}
		seen[name] = true
		if files[name] != mode {
			t.Errorf("%s has %s, want %q", name, mode, files[name])
		}
	}
	if len(seen) != len(files) || shares < 10 {
		t.Errorf("%d files, want %d; and %d that are shared", len(seen), len(files), shares)
	}
}

func TestControlOfThePackage(t *testing.T) {
	field := func(name string) string {
		return strings.TrimSpace(command(t, "dpkg-deb", "-f", deb(t), name))
	}
	for name, want := range map[string]string{
		"Package": "latchkey", "Version": "0.1.0", "Section": "net", "Priority": "optional",
		"Depends": "debconf | debconf-2.0, systemd | systemd-standalone-sysusers | systemd-sysusers | adduser", "Recommends": "ca-certificates",
	} {
		if got := field(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	dir := t.TempDir()
	command(t, "dpkg-deb", "-e", deb(t), dir)
	if got := strings.TrimSpace(read(t, filepath.Join(dir, "conffiles"))); got != "/etc/latchkey/latchkey.yaml" {
		t.Errorf("conffiles: %q", got)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		file := filepath.Join(dir, script)
		command(t, "sh", "-n", file)
		if text := read(t, file); !strings.HasPrefix(text, "#!/bin/sh\n") || !strings.Contains(text, "\nset -e\n") {
			t.Errorf("%s goes on after a failure", script)
		}
	}
}

// The bill of materials lists what the program says that it was made of: no
// module more, none less.
func TestBillOfMaterialsIsTheProgram(t *testing.T) {
	info, err := buildinfo.ReadFile(filepath.Join(dist(t), "latchkey"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		want = append(want, m.Path+"@"+m.Version)
	}
	var bom struct {
		BOMFormat    string
		SerialNumber string
		Metadata     struct{ Timestamp string }
		Components   []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dist(t), "sbom.json"))), &bom); err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, c := range bom.Components {
		got = append(got, c.Name+"@"+c.Version)
		if !strings.HasPrefix(c.PURL, "pkg:golang/"+c.Name+"@"+strings.ReplaceAll(c.Version, "+", "%2B")) {
			t.Errorf("%s %s has the purl %s", c.Name, c.Version, c.PURL)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("the program has %d modules, the bill %d:\n%v\n%v", len(want), len(got), want, got)
	}
	if bom.BOMFormat != "CycloneDX" || bom.SerialNumber != "" || bom.Metadata.Timestamp != "" {
		t.Errorf("%s, serial number %q, time %q", bom.BOMFormat, bom.SerialNumber, bom.Metadata.Timestamp)
	}
}

// What systemd says of the sandbox, from 0 (good) to 10. What is left open is
// what a server on the network needs: sockets, and ports below 1024.
const exposure = "1.5"

func TestUnitIsWellFormedAndTight(t *testing.T) {
	dir := t.TempDir()
	command(t, "dpkg-deb", "-x", deb(t), dir)
	unit := filepath.Join(dir, "usr/lib/systemd/system/latchkey.service")
	text := read(t, unit)
	run := filepath.Join(dir, "latchkey.service") // verify wants to find the program
	write(t, run, strings.Replace(text, "/usr/bin/latchkey", filepath.Join(dir, "usr/bin/latchkey"), 1))
	if out := command(t, "systemd-analyze", "verify", "--man=no", run); strings.Contains(out, "latchkey") {
		t.Errorf("systemd-analyze verify:\n%s", out)
	}
	out := command(t, "systemd-analyze", "security", "--offline=yes", unit)
	m := regexp.MustCompile(`Overall exposure level for latchkey.service: ([0-9.]+)`).FindStringSubmatch(out)
	if m == nil || m[1] > exposure {
		t.Errorf("exposure %v, want at most %s:\n%s", m, exposure, out)
	}
}
