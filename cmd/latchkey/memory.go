package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What a busy server makes is garbage within milliseconds and little of it
// lives: collecting it less often is worth a quarter of a refresh, and the
// limit keeps the process small all the same. A password's hash takes 19 MiB
// while it is computed.
const (
	collectAt   = 400      // percent of the live heap, Go's own is 100
	memoryLimit = 56 << 20 // bytes; soft: above it Go collects more often

	memoryPause = time.Second // between two looks at what lives
)

// tuneMemory sets both, unless the operator has (GOGC, GOMEMLIMIT), and keeps the
// limit away from what lives until ctx ends.
func tuneMemory(ctx context.Context, getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(memoryLimit)
	go func() {
		tick := time.NewTicker(memoryPause)
		defer tick.Stop()
		for m := newMemory(); ; m.giveRoom() {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
}

// memory is what Go says of its own.
type memory struct {
	samples []metrics.Sample
	limit   int64 // that is set
}

func newMemory() *memory {
	m := &memory{limit: memoryLimit}
	for _, name := range []string{
		"/gc/heap/live:bytes",
		"/memory/classes/heap/stacks:bytes", "/memory/classes/metadata/mcache/inuse:bytes", "/memory/classes/metadata/mspan/inuse:bytes",
		"/memory/classes/metadata/other:bytes", "/memory/classes/os-stacks:bytes", "/memory/classes/other:bytes",
	} {
		m.samples = append(m.samples, metrics.Sample{Name: name})
	}
	return m
}

// giveRoom sets the limit anew where what lives has moved. Thousands of connections
// live, and under a limit that they nearly fill Go would do nothing but collect.
func (m *memory) giveRoom() {
	metrics.Read(m.samples)
	live, beside := int64(m.samples[0].Value.Uint64()), int64(0) // #nosec G115 -- bytes of this machine
	for _, s := range m.samples[1:] {
		beside += int64(s.Value.Uint64()) // #nosec G115 -- the same
	}
	// Setting it stops the program for an instant.
	if limit := limitFor(live, beside); limit > m.limit || limit < m.limit*9/10 {
		debug.SetMemoryLimit(limit)
		m.limit = limit
	}
}

// limitFor leaves room for garbage, at least half as much as there is that lives. Both
// are bytes; beside the heap are stacks and Go's own tables.
func limitFor(live, beside int64) int64 { return max(memoryLimit, beside+live*3/2) }
