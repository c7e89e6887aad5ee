//go:build !linux

package password

func lowerPriority() {}
