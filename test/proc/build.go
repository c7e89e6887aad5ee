package proc

import (
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// root is that of the repository, from a package two folders below it, as all tests
// with programs are.
const root = "../.."

// Build builds latchkey into a file.
func Build(file string) error {
	cmd := exec.Command("go", "build", "-tags", "nomsgpack", "-o", file, "./cmd/latchkey")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// Watch has go test notice a change of what the tests are made of: it would repeat
// the result of an earlier run, since the tests import nothing of the program. What
// they look at is a reason to run them again, but not what TestMain looks at.
func Watch(tb testing.TB) {
	tb.Helper()
	if err := look(); err != nil {
		tb.Fatal(err)
	}
}

var look = sync.OnceValue(func() error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && slices.Contains([]string{".git", "bin", "data", "node_modules", "shots"}, d.Name()) {
			return fs.SkipDir
		}
		return err
	})
})
