package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// ErrNotInstalled says what to install. Tests fail on it and never skip: a
// suite that passes without its database has tested nothing.
var ErrNotInstalled = errors.New("PostgreSQL server binaries not found: install Debian's postgresql-15 (apt-get install postgresql-15)")

// findBinaries returns the directory that holds initdb and postgres, which
// Debian keeps out of PATH.
func findBinaries() (string, error) {
	if dir := os.Getenv("LATCHKEY_PG_BIN"); dir != "" {
		// Whoever names a version must not silently get another one.
		if !hasBinaries(dir) {
			return "", fmt.Errorf("LATCHKEY_PG_BIN=%s: %w", dir, ErrNotInstalled)
		}
		return filepath.Abs(dir)
	}
	if dir := newestPackaged("/usr/lib/postgresql"); dir != "" {
		return dir, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) && hasBinaries(dir) {
			return dir, nil
		}
	}
	return "", ErrNotInstalled
}

// newestPackaged returns <root>/<version>/bin of the highest version there.
func newestPackaged(root string) string {
	dirs, _ := filepath.Glob(filepath.Join(root, "*", "bin")) // fails only on a bad pattern
	var best string
	var bestVersion float64
	for _, dir := range dirs {
		// A number, not a string: 9.6 comes before 15.
		version, err := strconv.ParseFloat(filepath.Base(filepath.Dir(dir)), 64)
		if err == nil && version > bestVersion && hasBinaries(dir) {
			best, bestVersion = dir, version
		}
	}
	return best
}

func hasBinaries(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

// serverAccount is the account to run the server under when the tests run as
// root, which PostgreSQL refuses; nil means their own.
func serverAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}
