package packaging

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The same sources make the same package, byte for byte: in another folder, with
// other times, another umask, another time zone and other settings of Go. Go's
// build cache is shared, so this says little of the compiler itself.
func TestSecondBuildIsTheSame(t *testing.T) {
	first := read(t, deb(t))
	source := filepath.Join(work, "elsewhere", "deeper", "source")
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root(t)
	names, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-1000 * time.Hour)
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		from := filepath.Join(root(t), name)
		if info, err := os.Stat(from); err != nil || !info.Mode().IsRegular() {
			continue
		}
		write(t, filepath.Join(source, name), read(t, from))
		if err := os.Chtimes(filepath.Join(source, name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	was := syscall.Umask(0o077)
	defer syscall.Umask(was)
	other := filepath.Join(work, "elsewhere", "dist")
	if err := makeDeb(source, other, "GOFLAGS=-buildvcs=true", "TZ=Asia/Tokyo", "LC_ALL=C", "GOAMD64=v2"); err != nil {
		t.Fatal(err)
	}
	second := read(t, filepath.Join(other, filepath.Base(deb(t))))
	if first != second {
		t.Errorf("two builds: %x and %x", sha256.Sum256([]byte(first)), sha256.Sum256([]byte(second)))
	} else {
		t.Logf("both builds: %x, %d bytes", sha256.Sum256([]byte(first)), len(first))
	}
}
