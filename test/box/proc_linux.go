package box

import "syscall"

// dieWithUs ends a process with the thread that started it.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
