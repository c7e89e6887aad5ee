package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/latchkey-id/latchkey/broker"
)

// mostTogether bounds how long everybody else who writes waits for one group.
const mostTogether = 64

// together gathers the advances that wait for SQLite's one writer: those that came
// meanwhile are written in one transaction. Nobody waits for others to come.
type together struct {
	mu      sync.Mutex
	waiting []*advancing
	led     bool // somebody writes those who wait
}

// advancing is one advance that waits. Its row belongs to whoever writes it until done
// says how that went.
type advancing struct {
	ctx  context.Context
	args []any
	row  sessionUserRow
	done chan error
	over func() // ends the count of its waiting
}

// join reports whether somebody has to lead.
func (t *together) join(a *advancing) (lead bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	lead = !t.led
	t.waiting, t.led = append(t.waiting, a), true
	return lead
}

// next takes those who came first.
func (t *together) next() (group []*advancing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	group = slices.Clone(t.waiting[:min(len(t.waiting), mostTogether)])
	t.waiting = slices.Delete(t.waiting, 0, len(group))
	for _, a := range group {
		a.over()
	}
	return group
}

// leave is for those who give up: they take nobody's place in a group.
func (t *together) leave(a *advancing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, a); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		a.over()
	}
}

// done reports whether nobody waits, and then ends the lead.
func (t *together) done() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.led = len(t.waiting) > 0
	return !t.led
}

// advance runs advanceQuery, which fills the row. Where SQLite's writer is taken it is
// written with the others who wait for it. After an error the row is not to be read.
func (s *Store) advance(a *advancing) error {
	if s.pools.together == nil || s.tx != nil || s.looking {
		return s.writeRow(a.ctx, s.pools.relaxed, &a.row, advanceQuery, a.args...)
	}
	if release, free := s.pools.writing.try(); free {
		defer release()
		return s.advanceAlone(a)
	}
	// The limit is that of whoever waits for a turn.
	waiting, cancel := context.WithTimeoutCause(a.ctx, turnLimit, errNoTurn)
	defer cancel()
	a.ctx, a.done = waiting, make(chan error, 1)
	a.over = s.pools.writing.counted()
	if s.pools.together.join(a) {
		go s.lead()
	}
	select {
	case err := <-a.done:
		return err
	case <-waiting.Done():
		s.pools.together.leave(a)
	}
	select {
	case err := <-a.done:
		return err
	default:
		return broker.Unavailable(context.Cause(waiting))
	}
}

// lead writes groups until nobody waits. Each has the next turn, whoever else waits:
// what strangers may have written (logins that are begun, proofs that count once) is
// many statements, most wait for the disk, and no phone stands behind all of them. It
// waits for that without a limit: whoever waits for too long gives up by itself.
func (s *Store) lead() {
	for !s.pools.together.done() {
		s.leadOne()
	}
}

// leadOne writes one group. A panic of the driver, which can have no memory, is the
// trouble of those in it, as in a request.
func (s *Store) leadOne() {
	release := s.pools.writing.await()
	defer release()
	group := s.pools.together.next()
	defer func() {
		if p := recover(); p != nil {
			for _, a := range group {
				a.answer(broker.Unavailable(fmt.Errorf("panic: %v", p)))
			}
		}
	}()
	s.writeGroup(group)
}

// answer says how it went, unless that was said.
func (a *advancing) answer(err error) {
	select {
	case a.done <- err:
	default:
	}
}

// writeGroup writes a group in one transaction. Where that fails, each is written
// alone, so that nobody fails for a neighbour; what had been written after all the
// rule answers as it answers whoever comes again.
func (s *Store) writeGroup(group []*advancing) {
	if len(group) > 1 {
		if outcomes, err := s.advanceTogether(group); err == nil {
			for i, a := range group {
				a.answer(outcomes[i])
			}
			return
		}
	}
	for _, a := range group {
		a.answer(s.advanceAlone(a))
	}
}

func (s *Store) advanceAlone(a *advancing) error {
	p := s.pools.relaxed
	return s.use(a.ctx, p, func(ctx context.Context) error { return s.getIn(ctx, p, &a.row, advanceQuery, a.args...) })
}

// advanceTogether returns what became of each. No caller's context reaches its
// statement: SQLite takes a transaction back when one of its statements is broken off.
// Who has given up by then is left out.
func (s *Store) advanceTogether(group []*advancing) ([]error, error) {
	p, rows, outcomes := s.pools.relaxed, make([]sessionUserRow, len(group)), make([]error, len(group))
	err := s.use(context.Background(), p, func(ctx context.Context) error {
		stmt, err := p.statement(ctx, advanceQuery)
		if err != nil {
			return err
		}
		tx, err := p.db.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing once committed
		run := prepared{tx.StmtxContext(ctx, stmt)}
		for i, a := range group {
			if a.ctx.Err() != nil {
				outcomes[i] = broker.Unavailable(context.Cause(a.ctx))
				continue
			}
			rows[i] = a.row
			err := s.one(ctx, p.noted(a.ctx, run, advanceQuery).GetContext(context.WithoutCancel(a.ctx), &rows[i], a.args...))
			if outcomes[i] = err; err != nil && !errors.Is(err, broker.NotFound) {
				return err
			}
		}
		return tx.Commit()
	})
	if err != nil {
		return nil, err
	}
	for i, a := range group {
		a.row = rows[i]
	}
	return outcomes, nil
}
