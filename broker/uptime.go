package broker

import (
	"context"
	"errors"
	"sync"
	"time"
)

// How a server keeps the service's own time.
const (
	// BeatEvery is how often it is moved on.
	BeatEvery = 20 * time.Second
	// LongestBeat is how much of the time since the last beat counts at most:
	// whoever beats later was not there. So much may an idle end be off.
	LongestBeat = 30 * time.Second
)

// Uptime is the service's own time, in which sessions lie unused. It goes on
// while some server runs and reaches its database: a box that is off, a laptop
// that sleeps, a process that stands still and a database that is gone let nobody
// expire, and neither does a wall clock that is set. It never goes back.
//
// A server keeps it by [Broker.Beat]: it is what the process's own monotonic
// clock says has passed since the last beat, and no more than LongestBeat. What
// nobody keeps runs as the wall clock does. The database has it for the next
// start, and replicas take the furthest, so that they differ by a beat at most,
// whatever their wall clocks say.
type Uptime struct {
	now func() time.Time
	ran func() time.Duration

	mu      sync.Mutex
	begun   bool
	service time.Time     // at the last beat
	at      time.Duration // ran then
}

// NewUptime is one that nobody keeps yet. now is the wall clock, ran a clock that
// nobody sets: how long this process has run.
func NewUptime(now func() time.Time, ran func() time.Duration) *Uptime {
	return &Uptime{now: now, ran: ran}
}

// Away is by how much the wall clock is ahead of the service's own time. It asks
// nobody.
func (u *Uptime) Away() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.begun {
		return 0
	}
	return u.now().Round(0).Sub(u.reached(u.ran())).Round(time.Millisecond)
}

// reached is how far the service's own time is.
func (u *Uptime) reached(ran time.Duration) time.Time {
	return u.service.Add(min(ran-u.at, LongestBeat))
}

// beat moves it on by store, which keeps it.
func (u *Uptime) beat(store func(service, now time.Time) (time.Time, error)) error {
	u.mu.Lock()
	ran, service := u.ran(), time.Time{}
	if u.begun {
		service = u.reached(ran)
	}
	u.mu.Unlock()
	stands, err := store(service, u.now())
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.begun, u.service, u.at = true, later(stands, service), ran
	return nil
}

// load takes what the database has, where this process has not begun.
func (u *Uptime) load(read func() (time.Time, error)) error {
	u.mu.Lock()
	begun := u.begun
	u.mu.Unlock()
	if begun {
		return nil
	}
	stands, err := read()
	if errors.Is(err, NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.begun, u.service, u.at = true, stands, u.ran()
	return nil
}

// Beat says that the service is there; a server does at every [BeatEvery].
func (b *Broker) Beat(ctx context.Context) (left int, err error) {
	if b.cfg.Uptime == nil || b.Ready() != nil {
		return 0, nil
	}
	return 0, b.cfg.Uptime.beat(func(service, now time.Time) (time.Time, error) { return b.cfg.Store.Beat(ctx, service, now) })
}

// loadUptime is part of a start: what was off until now has not been there.
func (b *Broker) loadUptime(ctx context.Context) error {
	if b.cfg.Uptime == nil {
		return nil
	}
	return b.cfg.Uptime.load(func() (time.Time, error) { return b.cfg.Store.Uptime(ctx) })
}
