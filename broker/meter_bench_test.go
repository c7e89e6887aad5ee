package broker

import (
	"testing"
	"time"
)

// BenchmarkCountedRefresh is what counting costs a refresh.
func BenchmarkCountedRefresh(b *testing.B) {
	x := &Broker{cfg: Config{Now: time.Now}, memory: &memory{meter: newMeter()}}
	login := &Login{Outcome: OutcomeAdvance}
	b.ReportAllocs()
	for b.Loop() {
		x.countedRefresh(login, nil)
	}
}
