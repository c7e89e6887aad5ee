package storage

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var errNoTurn = errors.New("the database is busy: no turn came in time")

// turns are at something of which there are few. Whoever waits is served in order, but
// for one who waits ahead of them.
type turns struct {
	taken         chan struct{}
	ahead         chan struct{} // a turn that is handed over, and stays taken
	waits, waited atomic.Int64  // how often somebody had to wait, and for how many ns
}

func newTurns(n int) *turns { return &turns{taken: make(chan struct{}, n), ahead: make(chan struct{})} }

// take waits for a turn, but not for ever.
func (t *turns) take(ctx context.Context) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, broker.Unavailable(ctx.Err())
	}
	if release, free := t.try(); free {
		return release, nil
	}
	defer t.counted()()
	limit := time.NewTimer(turnLimit)
	defer limit.Stop()
	select {
	case t.taken <- struct{}{}:
		return t.release, nil
	case <-ctx.Done():
		return nil, broker.Unavailable(ctx.Err())
	case <-limit.C:
		return nil, broker.Unavailable(errNoTurn)
	}
}

// counted counts somebody who waits, until what it returns is called.
func (t *turns) counted() (over func()) {
	begun := time.Now()
	t.waits.Add(1)
	return func() { t.waited.Add(int64(time.Since(begun))) }
}

// try takes a turn if there is one.
func (t *turns) try() (release func(), free bool) {
	select {
	case t.taken <- struct{}{}:
		return t.release, true
	default:
		return nil, false
	}
}

// await waits for the next turn for as long as it takes, ahead of all others and
// uncounted. It is for one at a time, who takes no second turn without giving the
// others one in between.
func (t *turns) await() (release func()) {
	select {
	case t.taken <- struct{}{}:
	case <-t.ahead:
	}
	return t.release
}

func (t *turns) release() {
	select {
	case t.ahead <- struct{}{}:
	default:
		<-t.taken
	}
}
