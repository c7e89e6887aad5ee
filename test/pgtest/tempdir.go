package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	tempPrefix = "latchkey-pgtest-"
	lockName   = "owner.lock"

	// A socket's path may have some 100 bytes; this leaves room for the names
	// below the base directory.
	maxBasePath = 60
)

// tempDir holds one cluster's files. A lock on a file in it tells a directory
// in use from one that a killed test process has left behind.
type tempDir struct {
	path string
	lock *os.File
}

// newTempDir makes a directory that the given account owns (nil for the
// process's own), and removes those that dead processes left.
func newTempDir(account *syscall.Credential) (*tempDir, error) {
	base := tempBase(account)
	removeAbandoned(base)
	path, err := os.MkdirTemp(base, tempPrefix)
	if err != nil {
		return nil, err
	}
	d := &tempDir{path: path}
	if err := d.setUp(account); err != nil {
		return nil, errors.Join(err, d.remove())
	}
	return d, nil
}

func (d *tempDir) setUp(account *syscall.Credential) error {
	// Locked under another name first: under its own name it is always locked
	// while its process lives, so removeAbandoned cannot come in between.
	name := filepath.Join(d.path, lockName)
	var err error
	if d.lock, err = os.OpenFile(name+".new", os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("locking %s: %w", name, err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	if account == nil {
		return nil
	}
	return os.Chown(d.path, int(account.Uid), int(account.Gid))
}

func (d *tempDir) remove() error {
	err := os.RemoveAll(d.path)
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

// tempBase is the usual temporary directory, unless a socket's path would grow
// too long there or the server's account could not reach it.
func tempBase(account *syscall.Credential) string {
	base, err := filepath.Abs(os.TempDir())
	if err != nil || len(base) > maxBasePath || (account != nil && !openToAll(base)) {
		return "/tmp"
	}
	return base
}

// openToAll reports whether every account may pass through a directory and all
// of its parents.
func openToAll(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

// removeAbandoned removes the directories whose process is gone, since a killed
// process cannot do so itself. It leaves alone what it may not open.
func removeAbandoned(base string) {
	locks, _ := filepath.Glob(filepath.Join(base, tempPrefix+"*", lockName)) // fails only on a bad pattern
	for _, name := range locks {
		// Others may write in the base directory too: no links, no waiting for pipes.
		lock, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(filepath.Dir(name)) // what stays is tried again next time
		}
		_ = lock.Close()
	}
}
