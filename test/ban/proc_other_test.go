//go:build !linux

package ban

import "syscall"

// sysProcAttr: there is no parent death signal here.
func sysProcAttr() *syscall.SysProcAttr { return nil }
