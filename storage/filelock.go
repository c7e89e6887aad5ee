package storage

import (
	"errors"
	"fmt"
	"os"
)

// ErrInUse is a database that somebody else has open.
var ErrInUse = errors.New("another Latchkey has this database open: stop it first")

// LockFile keeps every other process away from an SQLite database until it is
// released, or this process ends. The lock is a file beside the database, which
// may be replaced meanwhile. ErrInUse.
func LockFile(database string) (release func(), err error) {
	return lockFile(database, true)
}

func lockFile(database string, alone bool) (release func(), err error) {
	f, err := os.OpenFile(database+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	held, err := tryLock(f, alone)
	if !held {
		_ = f.Close()
		if err == nil {
			err = ErrInUse
		}
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
