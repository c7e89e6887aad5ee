package guide_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/test/operations/guide"
)

// What the guide for operators types is at least written in the shell's language,
// and calls commands of Latchkey that there are, and files that the package brings.
// `make operations` types all of it on a machine in a box.
func TestOperationsGuide(t *testing.T) {
	const top = "../../.."
	text, err := os.ReadFile(filepath.Join(top, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := guide.Blocks(string(text))
	if err != nil {
		t.Fatal(err)
	}
	latchkey := filepath.Join(t.TempDir(), "latchkey")
	build := exec.Command("go", "build", "-tags", "nomsgpack", "-o", latchkey, "./cmd/latchkey")
	build.Dir = top
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	command := regexp.MustCompile(`runuser -u latchkey -- latchkey ((?:[a-z-]+ ?)+)`)
	file := regexp.MustCompile(`/usr/share/latchkey/(\S+)`)
	unit := regexp.MustCompile(`\b(latchkey[a-z-]*@?)(?:80\d\d|\$port|)(\.(?:service|timer))?\b`)
	commands, files := 0, 0
	for _, b := range blocks {
		shell := exec.Command("bash", "-n")
		shell.Stdin = strings.NewReader(b.Text)
		if out, err := shell.CombinedOutput(); err != nil {
			t.Errorf("line %d: %s", b.Line, out)
		}
		for _, m := range command.FindAllStringSubmatch(b.Text, -1) {
			commands++
			// The name of a user is an argument, which --help ignores; a command that is not there is refused.
			// And so is what stands behind --.
			words, _, _ := strings.Cut(m[1], " -- ")
			args := append(strings.Fields(words), "--help")
			if out, err := exec.Command(latchkey, args...).CombinedOutput(); err != nil || !strings.Contains(string(out), "Usage:") || strings.Contains(string(out), "[command]") {
				t.Errorf("line %d: latchkey %s: %v\n%s", b.Line, m[1], err, out)
			}
		}
		for _, m := range file.FindAllStringSubmatch(b.Text, -1) {
			files++
			if _, err := os.Stat(filepath.Join(top, "deploy", m[1])); err != nil {
				t.Errorf("line %d: %v", b.Line, err)
			}
		}
		for line := range strings.Lines(b.Text) {
			if !strings.HasPrefix(line, "systemctl ") {
				continue
			}
			for _, m := range unit.FindAllStringSubmatch(line, -1) {
				name := strings.TrimSuffix(m[1], "@") + ".service"
				if m[2] != "" {
					name = m[1] + m[2]
				}
				if _, err := os.Stat(filepath.Join(top, "deploy/systemd", name)); err != nil {
					t.Errorf("line %d: %v", b.Line, err)
				}
			}
		}
	}
	if commands < 8 || files < 3 {
		t.Errorf("%d commands and %d files were found in the guide", commands, files)
	}
}

func TestBlocks(t *testing.T) {
	got, err := guide.Blocks("# A\n\n```sh\none\n```\n```yaml\n# not a heading\n```\n## B\n```sh\ntwo\nthree\n```\n")
	if err != nil || len(got) != 2 || got[0] != (guide.Block{Section: "A", Line: 4, Text: "one\n"}) || got[1] != (guide.Block{Section: "B", Line: 11, Text: "two\nthree\n"}) {
		t.Errorf("%v, %+v", err, got)
	}
	for _, bad := range []string{"", "# A\n", "```sh\nopen\n"} {
		if _, err := guide.Blocks(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
