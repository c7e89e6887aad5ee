package proc

import "syscall"

// DieWithUs has the kernel end a process when the tests die without a clean-up (a
// panic, a timeout, kill -9). The thread that starts the process has to live as long
// as it does; see [Start].
func DieWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
