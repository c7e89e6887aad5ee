//go:build unix && !linux

package pgtest

import "syscall"

// sysProcAttr runs a program under the given account. There is no parent death
// signal here, so the program stays in the tests' process group, where Ctrl-C
// stops it together with them.
func sysProcAttr(account *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: account}
}
