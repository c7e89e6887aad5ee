//go:build !linux

package proc

import "syscall"

// DieWithUs: there is no parent death signal here.
func DieWithUs() *syscall.SysProcAttr { return nil }
