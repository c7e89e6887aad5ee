//go:build !linux

package box

import "syscall"

func dieWithUs() *syscall.SysProcAttr { return nil }
