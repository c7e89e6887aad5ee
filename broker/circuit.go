package broker

import (
	"sync"
	"time"
)

const (
	circuitOpens    = 3 // failures in a row: fewer may be about the logins that were asked about
	longestDarkness = 5 * time.Minute
)

// circuits remember which IdPs are dark, so that one probe asks in place of
// everything that is due.
type circuits struct {
	mu sync.Mutex
	of map[string]*circuit
}

type circuit struct {
	failures int       // in a row
	probeAt  time.Time // while it is open
	said     string    // what the operator was last told
}

func (c *circuits) get(providerID string) *circuit {
	if c.of == nil {
		c.of = map[string]*circuit{}
	}
	if c.of[providerID] == nil {
		c.of[providerID] = &circuit{}
	}
	return c.of[providerID]
}

// allowed is how many calls may be made at once.
func (c *circuits) allowed(providerID string, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch x := c.get(providerID); {
	case x.failures < circuitOpens:
		return recheckAtOnce
	case now.Before(x.probeAt):
		return 0
	}
	return 1
}

// note counts the outcome of a call, and returns how many failed in a row. The
// next probe waits longer each time, and never longer than the interval.
func (c *circuits) note(providerID string, failed bool, now time.Time, interval time.Duration) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.get(providerID)
	if !failed {
		x.failures = 0
		return 0
	}
	x.failures++
	x.probeAt = now.Add(min(recheckRetry<<min(max(x.failures-circuitOpens, 0), 10), longestDarkness, interval))
	return x.failures
}

// told reports whether this was the last that the operator was told here.
func (c *circuits) told(providerID, said string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.get(providerID).said == said
}

func (c *circuits) tell(providerID, said string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.get(providerID).said = said
}
