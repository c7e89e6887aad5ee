//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package storage

import "os"

// tryLock holds nothing: this system has no lock that ends with its process.
func tryLock(*os.File, bool) (held bool, err error) { return true, nil }
