//go:build unix

package main

import "syscall"

// privateFiles makes every file that the program creates its user's own: the
// files that SQLite keeps beside the database hold password hashes too.
func privateFiles() { syscall.Umask(0o077) }
