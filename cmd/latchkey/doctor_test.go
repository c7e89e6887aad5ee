package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/document"
)

var broken = slices.Concat(brokenSettings, brokenFiles, brokenDatabases, brokenPublicURLs, brokenProviders, brokenMail)

// ids are the findings of a diagnosis, but for what is only a note about a server
// that does not run.
func (d diagnosis) ids(of ...level) (out []string) {
	for _, a := range d.Areas {
		for _, f := range a.Findings {
			if slices.Contains(of, f.Level) {
				out = append(out, f.ID)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Each broken set-up is named, by its one id, with a fix; and every id has a
// set-up.
func TestDoctorNamesEachFault(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		for i, s := range broken {
			t.Run(fmt.Sprintf("%s-%d", s.id, i), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				s.make(w)
				s.judge(t, w.examine())
			})
		}
	})
	for _, a := range ailments {
		if !slices.ContainsFunc(broken, func(s setup) bool { return s.id == a.id }) {
			t.Errorf("%s has no set-up", a.id)
		}
	}
}

func (s setup) judge(t *testing.T, d diagnosis) {
	t.Helper()
	i := slices.IndexFunc(ailments, func(a ailment) bool { return a.id == s.id })
	if i < 0 {
		t.Fatalf("there is no ailment %s", s.id)
	}
	levels := []level{levelFault, levelWarning}
	if ailments[i].level == levelNote {
		levels = append(levels, levelNote)
	}
	got := d.ids(levels...)
	others := slices.DeleteFunc(slices.Clone(got), func(id string) bool {
		return id == s.id || ailments[i].level == levelNote && id == "server_not_running" ||
			slices.ContainsFunc(s.with, func(pattern string) bool { ok, _ := path.Match(pattern, id); return ok })
	})
	if !slices.Contains(got, s.id) || len(others) > 0 {
		var out strings.Builder
		d.print(&out)
		t.Errorf("found %v, want %s alone\n%s", got, s.id, out.String())
	}
	for _, a := range d.Areas {
		for _, f := range a.Findings {
			if strings.ContainsAny(f.Problem+f.Fix, "{}\n") || f.Fix == "" || strings.Contains(f.Problem+f.Fix, rootSecret) || strings.Contains(f.Problem, "p4ssw0rd") {
				t.Errorf("%s says %q, %q", f.ID, f.Problem, f.Fix)
			}
		}
	}
}

// What the doctor looks at stays as it is, to the byte: no schema, no key, no
// secret, no folder.
func TestDoctorChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.examine()
	if left := w.files("data"); len(left) > 0 {
		t.Fatalf("an empty folder has %v", left)
	}
	w.stored(broker.ProviderSettings{ID: "added", Name: "Added", Issuer: "https://127.0.0.1:1", ClientID: "x", AllowPrivate: true})
	w.sql(`DELETE FROM signing_keys`) // which a start would make again
	w.sql(`DELETE FROM facts WHERE name LIKE 'signing_key.%'`)
	w.set("JWT_SECRET_KEY_PREVIOUS", strings.TrimSpace(textOf(t, w.file("data/secret.key"))))
	w.set("JWT_SECRET_KEY", rootSecret) // under which a start would seal the secret of the provider anew
	before, files := textOf(t, w.file("data/latchkey.db")), w.files("data")
	if got := w.examine().ids(levelFault, levelNote); !slices.Contains(got, "secret_earlier") || !slices.Contains(got, "provider_refuses_connection") {
		t.Fatalf("found %v", got)
	}
	if textOf(t, w.file("data/latchkey.db")) != before {
		t.Error("the database was changed")
	}
	if left := w.files("data"); !slices.Equal(left, files) {
		t.Errorf("there were %v, and are %v", files, left)
	}
}

// files are the names in a folder.
func (w *world) files(folder string) (out []string) {
	w.t.Helper()
	entries, err := os.ReadDir(w.file(folder))
	w.must(err)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func textOf(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The command fails if there is a fault, and only then.
func TestDoctorCommand(t *testing.T) {
	c := newCLI(t)
	c.env["LATCHKEY_LISTEN"] = freeAddress(t)
	c.env["LATCHKEY_PUBLIC_URL"] = "http://" + c.env["LATCHKEY_LISTEN"]
	if out := c.must("", "doctor"); !strings.Contains(out, "ok       listen") || !strings.Contains(out, "note: server_not_running") {
		t.Errorf("%s", out)
	}
	c.env["RATE_LIMIT_AUTH_MAX"] = "0" // a warning is no fault
	var d diagnosis
	if err := json.Unmarshal([]byte(c.must("", "doctor", "--json")), &d); err != nil || d.Result != "warning" || d.Warnings != 1 || len(d.Areas) != len(checks) {
		t.Errorf("%+v, %v", d, err)
	}
	c.env["LATCHKEY_PUBLIC_URL"], c.env["LATCHKEY_TOKEN_ALGORITHM"], c.env["LATCHKEY_LOG_LEVLE"] = "nonsense", "none", "debug"
	code, out, errs := c.run("", "doctor") // everything that is wrong with the configuration at once
	if code != 1 || strings.Count(out, "fault: config_") != 3 || !strings.Contains(errs, "3 faults") || !strings.Contains(out, "skipped  providers") {
		t.Errorf("exit %d, %s %s", code, out, errs)
	}
	if code, _, _ := c.run("", "doctor", "now"); code != 2 {
		t.Errorf("exit %d", code)
	}
}

// docs/doctor.md lists what the doctor knows.
func TestDoctorTable(t *testing.T) {
	var table strings.Builder
	table.WriteString("\n| finding | is a | what | fix |\n|---|---|---|---|\n")
	for _, a := range ailments {
		escape := strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`)
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", a.id, a.level, escape.Replace(a.problem), escape.Replace(a.fix))
	}
	table.WriteString("\n")
	document.Part(t, "../../docs/doctor.md", "table", table.String())
	for i, a := range ailments {
		if slices.ContainsFunc(ailments[:i], func(b ailment) bool { return a.id == b.id }) || len(a.problem) > 250 || len(a.fix) > 250 {
			t.Errorf("%s is there twice, or too long for a line", a.id)
		}
	}
}

// What is inside and what is not.
func TestDoctorKnowsAddresses(t *testing.T) {
	own := func(texts ...string) func() ([]net.Addr, error) {
		return func() (out []net.Addr, _ error) {
			for _, text := range texts {
				ip, network, err := net.ParseCIDR(text)
				out = append(out, &net.IPNet{IP: ip, Mask: network.Mask})
				if err != nil {
					t.Fatal(err)
				}
			}
			return out, nil
		}
	}
	atHome, onTheNet := own("127.0.0.1/8", "::1/128", "192.168.1.5/24", "fe80::1/64"), own("127.0.0.1/8", "203.0.113.5/24")
	for listen, want := range map[string][2]bool{ // at home, and on the net
		"": {}, "127.0.0.1:1": {}, "[::1]:1": {}, "10.0.0.1:1": {}, "metrics.internal:1": {}, "[fd00::1]:1": {},
		"203.0.113.5:1": {true, true}, "[2001:db8::1]:1": {true, true}, ":1": {false, true}, "0.0.0.0:1": {false, true}, "[::]:1": {false, true},
	} {
		if got := [2]bool{isPublic(listen, atHome), isPublic(listen, onTheNet)}; got != want {
			t.Errorf("%s: %v", listen, got)
		}
	}
	for network, want := range map[string]bool{
		"10.0.0.0/8": false, "192.168.0.0/16": false, "fd00::/8": false, "173.245.48.0/20": false, "104.16.0.0/12": false, "2400:cb00::/32": false,
		"0.0.0.0/1": true, "64.0.0.0/8": true, "2000::/3": true, "8.0.0.0/8": true, "fc00::/7": false, "192.0.0.0/8": true,
	} {
		if got := tooWide(netip.MustParsePrefix(network)); got != want {
			t.Errorf("%s: %v", network, got)
		}
	}
}
