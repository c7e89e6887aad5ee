package lab

import (
	"slices"
	"sync/atomic"
	"time"
)

// Clock is the wall clock of Latchkey in the lab, and that of the IdP. The app has
// its own.
type Clock struct{ ahead, idp atomic.Int64 }

// NewClock shows what the first of these scenarios needs: afterwards it goes only
// forward.
func NewClock(scenarios []Scenario) *Clock {
	c := &Clock{}
	if list := inOrder(slices.Clone(scenarios)); len(list) > 0 {
		c.set(list[0].Clock.span())
	}
	return c
}

// Now is the real time, and what the clock is ahead of it.
func (c *Clock) Now() time.Time { return time.Now().Add(c.Ahead()) }

// Ahead is by how much it is ahead; negative: behind.
func (c *Clock) Ahead() time.Duration { return time.Duration(c.ahead.Load()) }

func (c *Clock) set(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

// IdPNow is the IdP's time, which may be off from Latchkey's.
func (c *Clock) IdPNow() time.Time { return c.Now().Add(time.Duration(c.idp.Load())) }

func (c *Clock) setIdP(ahead time.Duration) { c.idp.Store(int64(ahead)) }
