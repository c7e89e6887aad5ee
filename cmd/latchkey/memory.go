package main

import (
	"runtime/debug"
)

// What a busy server makes is garbage within milliseconds and little of it
// lives: collecting it less often is worth a quarter of a refresh, and the
// limit keeps the process small all the same. A password's hash takes 19 MiB
// while it is computed.
const (
	collectAt   = 400      // percent of the live heap, Go's own is 100
	memoryLimit = 56 << 20 // bytes; soft: above it Go collects more often
)

// tuneMemory sets both, unless the operator has (GOGC, GOMEMLIMIT).
func tuneMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
