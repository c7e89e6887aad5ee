package storage

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var errNoTurn = errors.New("the database is busy: no turn came in time")

// turns are at something of which there are few. Whoever waits is served in order.
type turns struct {
	taken         chan struct{}
	waits, waited atomic.Int64 // how often somebody had to wait, and for how many ns
}

func newTurns(n int) *turns { return &turns{taken: make(chan struct{}, n)} }

// take waits for a turn, but not for ever.
func (t *turns) take(ctx context.Context) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, broker.Unavailable(ctx.Err())
	}
	release = func() { <-t.taken }
	select {
	case t.taken <- struct{}{}:
		return release, nil
	default:
	}
	begun := time.Now()
	t.waits.Add(1)
	defer func() { t.waited.Add(int64(time.Since(begun))) }()
	limit := time.NewTimer(turnLimit)
	defer limit.Stop()
	select {
	case t.taken <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, broker.Unavailable(ctx.Err())
	case <-limit.C:
		return nil, broker.Unavailable(errNoTurn)
	}
}
