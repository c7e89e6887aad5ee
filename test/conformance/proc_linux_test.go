package conformance

import "syscall"

// sysProcAttr has the kernel end a process when the tests die without a
// clean-up (a panic, a timeout, kill -9).
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
