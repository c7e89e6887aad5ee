package ban

import "syscall"

// sysProcAttr has the kernel end what a test started when the tests die without a
// clean-up (a panic, a timeout, kill -9).
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
