//go:build !linux

package storm

import "syscall"

// sysProcAttr: there is no parent death signal here.
func sysProcAttr() *syscall.SysProcAttr { return nil }
