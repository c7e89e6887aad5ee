package pgtest

import "syscall"

// sysProcAttr runs a program under the given account, in a process group of its
// own so that Ctrl-C reaches the tests alone, and has the kernel stop it when
// the tests die without a Close (a panic, a timeout, kill -9).
func sysProcAttr(account *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: account, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
}
