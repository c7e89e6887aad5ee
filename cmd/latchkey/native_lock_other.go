//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package main

import (
	"errors"
	"fmt"
	"os"
)

// tryLock refuses: without a lock two processes could use one refresh token.
func tryLock(*os.File) (held bool, err error) {
	return false, fmt.Errorf("locking a file: %w", errors.ErrUnsupported)
}
