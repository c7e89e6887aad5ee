package main

import "syscall"

// dieWithUs has the kernel end a process when the tests die without a clean-up.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
