package broker

import (
	"sync"
	"time"
)

// figureStep is what figures are kept by.
const figureStep = time.Hour

// maxCounters bounds how many figures wait in memory: a label more is
// [OtherLabels].
const maxCounters = 1000

// meter counts what happens too often to be written down one by one. What it has
// counted goes into the table of figures once a minute. Beside that it keeps the
// tallies, which nobody writes down.
type meter struct {
	mu sync.Mutex
	n  map[Figure]int64 // by figures without a number

	totals map[tallyKey]uint64 // since the process began
}

func newMeter() *meter { return &meter{n: map[Figure]int64{}, totals: map[tallyKey]uint64{}} }

// count counts one more. Labels are of a closed list: codes, outcomes.
func (m *meter) count(name, label string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(Figure{Name: name, Hour: now.Truncate(figureStep), Label: label}, 1)
}

func (m *meter) add(key Figure, n int64) {
	if _, known := m.n[key]; !known && len(m.n) >= maxCounters {
		key.Label = OtherLabels
	}
	m.n[key] += n
}

// take gives what was counted since the last time.
func (m *meter) take() []Figure {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := figuresOf(m.n)
	clear(m.n)
	return out
}

// putBack keeps what could not be written for the next time.
func (m *meter) putBack(list []Figure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range list {
		m.add(f.key(), f.N)
	}
}
