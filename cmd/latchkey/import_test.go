package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/absfile"
)

func absFile(t *testing.T, n int) *absfile.File {
	t.Helper()
	f, err := absfile.Make(filepath.Join(t.TempDir(), "absdatabase.sqlite"), n, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func importReport(t *testing.T, out string) (r broker.ImportReport) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

func TestImportAudiobookshelfCommand(t *testing.T) {
	c := newCLI(t)
	c.env["LATCHKEY_IMPORT_AUDIOBOOKSHELF_SECRET"] = absfile.Secret
	f := absFile(t, 5)
	before, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	if out := c.must("", "import", "audiobookshelf-secret", "--from", f.Path); out != absfile.Secret+"\n" {
		t.Error(out)
	}
	// One person is known at an IdP that nobody named.
	code, out, errs := c.run("", "import", "audiobookshelf", "--from", f.Path)
	if code != 1 || !strings.Contains(out, `refused: identity "reader002": no issuer`) || !strings.Contains(errs, "1 refused, nothing was written") {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if list := c.must("", "user", "list", "--json"); strings.TrimSpace(list) != "[]" {
		t.Error(list)
	}
	c.env["OIDC_ISSUER"], c.env["OIDC_CLIENT_ID"] = "https://pocket.test", "latchkey"
	args := []string{"import", "audiobookshelf", "--from", f.Path, "--provider", "openid"}
	dry := importReport(t, c.must("", append(args, "--dry-run", "--json")...))
	if dry.Written || dry.Users.Imported != 5 || dry.Sessions.Imported != 5 || dry.Identities.Imported != 1 || dry.Refused() != 0 {
		t.Errorf("%+v", dry)
	}
	if list := c.must("", "user", "list", "--json"); strings.TrimSpace(list) != "[]" {
		t.Error("a dry run wrote", list)
	}
	if out := c.must("", append(args, "--emails-verified")...); !strings.Contains(out, "users") || strings.Contains(out, "nothing") {
		t.Error(out)
	}
	if out := c.must("", args...); !strings.Contains(out, "nothing was new") {
		t.Error(out)
	}
	if list := c.must("", "user", "list", "--json"); strings.Count(list, `"emailVerified": true`) != 5 {
		t.Error("not vouched for:", list)
	}
	if list := c.must("", "session", "list"); strings.Count(list, "alive") != 5 {
		t.Error(list)
	}
	if list := c.must("", "user", "legacy"); strings.Count(list, "reader") != 4 {
		t.Error(list)
	}
	if out := c.must("", "user", "end-legacy", "reader003"); !strings.Contains(out, "1 ended") {
		t.Error(out)
	}
	if list := c.must("", "user", "legacy", "--json"); strings.Contains(list, "reader003") || !strings.Contains(list, `"lastUsedAt": null`) {
		t.Error(list)
	}
	if code, _, errs := c.run("", "user", "end-legacy", "nobody"); code != 1 || !strings.Contains(errs, "no user") {
		t.Error(errs)
	}
	after, err := os.ReadFile(f.Path)
	if err != nil || string(after) != string(before) {
		t.Error("the file was written to", err)
	}
	if left, _ := filepath.Glob(f.Path + "*"); len(left) != 1 {
		t.Errorf("beside the file: %v", left)
	}
}

func TestImportRefusesAWrongFile(t *testing.T) {
	c := newCLI(t)
	f := absFile(t, 50)
	whole, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	wal := write("wal.sqlite", whole)
	if err := os.WriteFile(wal+"-wal", []byte("frames"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.must("", "user", "list") // makes a database of ours
	garbled := []byte(strings.ReplaceAll(string(whole), "reader", "\x00\xff\x13\x37ab"))
	for i := len(garbled) / 2; i < len(garbled)*3/4; i++ {
		garbled[i] ^= 0x5a
	}
	for name, wrong := range map[string]struct{ file, says string }{
		"nothing":      {filepath.Join(t.TempDir(), "nothing"), "no such file"},
		"a folder":     {t.TempDir(), "is no SQLite database"},
		"empty":        {write("empty", nil), "is no SQLite database"},
		"text":         {write("text", []byte("username,password\nanna,secret and more")), "is no SQLite database"},
		"truncated":    {write("truncated.sqlite", whole[:len(whole)/3]), "malformed"},
		"header alone": {write("header.sqlite", whole[:100]), "truncated.sqlite|malformed|not a database|no table"},
		"garbled":      {write("garbled.sqlite", garbled), "damaged|malformed"},
		"running":      {wal, "Audiobookshelf is running"},
		"ours":         {filepath.Join(c.env["LATCHKEY_DATA_DIR"], "latchkey.db"), "no database of Audiobookshelf|is running"},
	} {
		code, out, errs := c.run("", "import", "audiobookshelf", "--from", wrong.file)
		said := false
		for _, one := range strings.Split(wrong.says, "|") {
			said = said || strings.Contains(errs, one)
		}
		if code != 1 || !said || out != "" {
			t.Errorf("%s: exit %d, %q %q, want %q", name, code, out, errs, wrong.says)
		}
	}
	if list := c.must("", "user", "list", "--json"); strings.TrimSpace(list) != "[]" {
		t.Error("something was imported:", list)
	}
	if code, _, _ := c.run("", "import", "audiobookshelf"); code == 0 {
		t.Error("no file was named, and that was fine")
	}
	if code, _, errs := c.run("", "import", "audiobookshelf", "--from", f.Path, "--provider", "nobody"); code != 1 || !strings.Contains(errs, `no provider "nobody"`) {
		t.Error(errs)
	}
}

func TestImportConfiguration(t *testing.T) {
	day := func(days int) string { return time.Now().AddDate(0, 0, days).UTC().Format(time.DateOnly) }
	for name, x := range map[string]struct {
		secret, until string
		says          string
	}{
		"short secret":     {"fifteen bytes..", "", "import.audiobookshelf_secret: (LATCHKEY_IMPORT_AUDIOBOOKSHELF_SECRET) has 15 bytes"},
		"no date":          {absfile.Secret, "soon", `import.accept_legacy_until: is "soon"`},
		"too far ahead":    {absfile.Secret, day(400), "import.accept_legacy_until: is more than a year ahead"},
		"without a secret": {"", day(10), "import.accept_legacy_until: needs import.audiobookshelf_secret"},
	} {
		c := newCLI(t)
		c.env["LATCHKEY_IMPORT_AUDIOBOOKSHELF_SECRET"], c.env["LATCHKEY_IMPORT_ACCEPT_LEGACY_UNTIL"] = x.secret, x.until
		if code, _, errs := c.run("", "config", "check"); code != 1 || !strings.Contains(errs, x.says) || x.secret != "" && strings.Contains(errs, x.secret) {
			t.Errorf("%s: exit %d, %s", name, code, errs)
		}
	}
	for name, x := range map[string]struct{ secret, until, warns string }{
		"short":  {"sixteen bytes...", "", "fewer than 32 bytes"},
		"on":     {absfile.Secret, day(10), "lets tokens in that never expire"},
		"passed": {absfile.Secret, "2020-01-01T12:00:00+02:00", "has passed"},
	} {
		c := newCLI(t)
		c.env["LATCHKEY_IMPORT_AUDIOBOOKSHELF_SECRET"], c.env["LATCHKEY_IMPORT_ACCEPT_LEGACY_UNTIL"] = x.secret, x.until
		if out := c.must("", "config", "check"); !strings.Contains(out, x.warns) {
			t.Errorf("%s: %s", name, out)
		}
		if out := c.must("", "config", "print"); strings.Contains(out, x.secret) {
			t.Errorf("%s: the secret is printed: %s", name, out)
		}
	}
}
