package storage

import (
	"context"
	"errors"
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
}

// join reports whether somebody has to lead.
func (t *together) join(a *advancing) (lead bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	lead = !t.led
	t.waiting, t.led = append(t.waiting, a), true
	return lead
}

// next takes those who came first and still wait.
func (t *together) next() (group []*advancing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.waiting), mostTogether)
	for _, a := range t.waiting[:n] {
		if a.ctx.Err() == nil {
			group = append(group, a)
		}
	}
	left := copy(t.waiting, t.waiting[n:])
	clear(t.waiting[left:])
	t.waiting = t.waiting[:left]
	return group
}

// over reports whether nobody waits, and then ends the lead.
func (t *together) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.led = len(t.waiting) > 0
	return !t.led
}

// advance runs advanceQuery, which fills row. Where SQLite's writer is taken it is
// written with the others who wait for it.
func (s *Store) advance(ctx context.Context, row sessionUserRow, args []any) (sessionUserRow, error) {
	if s.pools.together == nil || s.tx != nil || s.looking {
		err := s.writeRow(ctx, s.pools.relaxed, &row, advanceQuery, args...)
		return row, err
	}
	a := &advancing{ctx: ctx, args: args, row: row, done: make(chan error, 1)}
	if release, free := s.pools.writing.try(); free {
		defer release()
		err := s.advanceAlone(a)
		return a.row, err
	}
	// The limit is that of whoever waits for a turn.
	waiting, cancel := context.WithTimeoutCause(ctx, turnLimit, errNoTurn)
	defer cancel()
	a.ctx = waiting
	defer s.pools.writing.counted()()
	if s.pools.together.join(a) {
		go s.lead()
	}
	select {
	case err := <-a.done:
		return a.row, err
	case <-waiting.Done():
		return sessionUserRow{}, broker.Unavailable(context.Cause(waiting))
	}
}

// lead writes groups until nobody waits, and takes a turn for each, as others do.
func (s *Store) lead() {
	for t := s.pools.together; !t.over(); {
		release, err := s.pools.writing.take(context.Background())
		if err != nil {
			continue // who waits for too long gives up by itself
		}
		s.writeGroup(t.next())
		release()
	}
}

// writeGroup writes a group in one transaction. Where that fails, each is written
// alone, so that nobody fails for a neighbour; what had been written after all the
// rule answers as it answers whoever comes again.
func (s *Store) writeGroup(group []*advancing) {
	outcomes, err := make([]error, len(group)), error(nil)
	if len(group) > 1 {
		outcomes, err = s.advanceTogether(group)
	}
	for i, a := range group {
		if len(group) == 1 || err != nil {
			outcomes[i] = s.advanceAlone(a)
		}
		a.done <- outcomes[i]
	}
}

func (s *Store) advanceAlone(a *advancing) error {
	p := s.pools.relaxed
	return s.use(a.ctx, p, func(ctx context.Context) error { return s.getIn(ctx, p, &a.row, advanceQuery, a.args...) })
}

// advanceTogether returns what became of each. No caller's context reaches its
// statement: SQLite takes a transaction back when one of its statements is broken off.
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
			rows[i] = a.row
			err := s.one(ctx, p.noted(a.ctx, run, advanceQuery).GetContext(context.WithoutCancel(a.ctx), &rows[i], a.args...))
			if outcomes[i] = err; err != nil && !errors.Is(err, broker.NotFound) {
				return err
			}
		}
		return tx.Commit()
	})
	for i, a := range group {
		if err == nil {
			a.row = rows[i]
		}
	}
	return outcomes, err
}
