package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// What lives when thousands are connected must not fill the limit: Go would collect all
// the time. When they have gone, the limit is what it was.
func TestMemoryLimitMovesWithWhatLives(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	m := newMemory()
	m.giveRoom()
	for _, s := range m.samples {
		if s.Value.Kind() == metrics.KindBad {
			t.Errorf("this Go does not know %s", s.Name)
		}
	}

	const crowd = 200 << 20
	connections := make([]byte, crowd)
	runtime.GC()
	m.giveRoom()
	if limit := debug.SetMemoryLimit(-1); limit < crowd*3/2 || limit > crowd*3 {
		t.Errorf("with %d MiB that live the limit is %d MiB", crowd>>20, limit>>20)
	}
	runtime.KeepAlive(connections)

	runtime.GC()
	m.giveRoom()
	if limit := debug.SetMemoryLimit(-1); limit >= crowd {
		t.Errorf("when they have gone the limit is %d MiB", limit>>20)
	}
	if got := limitFor(10<<20, 10<<20); got != memoryLimit {
		t.Errorf("a small program has a limit of %d MiB", got>>20)
	}
}
