package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// advances moves sessions forward; each caller waits for its own.
type advances func(ctx context.Context, session string) error

// together measures what it would be worth to write the refreshes of some callers in
// one transaction, or one statement, beside each in its own.
func (o options) together(ctx context.Context, r *report, d database, p *product) error {
	db, err := d.open(d.relaxed, d.writers)
	if err != nil {
		return err
	}
	defer db.Close()
	alone, err := writeAlone(ctx, db, d.writers)
	if err != nil {
		return err
	}
	one, err := d.open(d.relaxed, 1)
	if err != nil {
		return err
	}
	defer one.Close()
	grouped, stop, err := writeTogether(ctx, one)
	if err != nil {
		return err
	}
	defer stop()
	for _, workers := range []int{1, 8, maxWorkers} {
		a, b, ratio, err := compare(advancing(ctx, grouped), advancing(ctx, alone), workers, o.times, o.each)
		if err != nil {
			return err
		}
		r.line("bare advances written together, "+d.name, workers, a, b, fmt.Sprintf("%.0f %%", ratio*100), "", true)
	}
	return nil
}

func advancing(ctx context.Context, advance advances) load {
	return func(worker int) (step, end func() error, err error) {
		session := fmt.Sprintf("s%d", 2000+worker)
		return func() error { return advance(ctx, session) }, func() error { return nil }, nil
	}
}

const bareAdvance = `UPDATE sessions SET rt_gen = rt_gen + 1, rt_advanced_at = ? WHERE id = ? RETURNING rt_gen`

func writeAlone(ctx context.Context, db *sqlx.DB, writers int) (advances, error) {
	update, err := db.PrepareContext(ctx, db.Rebind(bareAdvance))
	writing := make(chan struct{}, writers)
	return func(ctx context.Context, session string) error {
		writing <- struct{}{}
		defer func() { <-writing }()
		var gen int
		return update.QueryRowContext(ctx, time.Now().UnixMilli(), session).Scan(&gen)
	}, err
}

// writeTogether takes whoever waits, up to 32, and writes them at once: on SQLite
// statement by statement in one transaction, on PostgreSQL in one statement. Who is
// alone writes alone.
func writeTogether(ctx context.Context, db *sqlx.DB) (advances, func(), error) {
	conn, err := db.Connx(ctx)
	if err != nil {
		return nil, nil, err
	}
	single, err := conn.PrepareContext(ctx, db.Rebind(bareAdvance))
	if err != nil {
		return nil, nil, err
	}
	one := func(ctx context.Context, session string) error {
		var gen int
		return single.QueryRowContext(ctx, time.Now().UnixMilli(), session).Scan(&gen)
	}
	var write groups
	if db.DriverName() == "postgres" {
		write, err = inOneStatement(ctx, conn)
	} else {
		write, err = inOneTransaction(ctx, conn, one)
	}
	if err != nil {
		return nil, nil, err
	}
	type caller struct {
		session string
		done    chan error
	}
	callers := make(chan caller, maxWorkers)
	go func() {
		for first := range callers {
			group := []caller{first}
			for len(callers) > 0 {
				group = append(group, <-callers)
			}
			sessions := make([]string, 0, len(group))
			for _, c := range group {
				sessions = append(sessions, c.session)
			}
			var err error
			if len(group) == 1 {
				err = one(ctx, first.session)
			} else {
				err = write(ctx, sessions)
			}
			for _, c := range group {
				c.done <- err
			}
		}
	}()
	return func(_ context.Context, session string) error {
		done := make(chan error, 1)
		callers <- caller{session, done}
		return <-done
	}, func() { close(callers); _ = conn.Close() }, nil
}

type groups func(ctx context.Context, sessions []string) error

func inOneTransaction(ctx context.Context, conn *sqlx.Conn, one advances) (groups, error) {
	begin, err := conn.PrepareContext(ctx, `BEGIN IMMEDIATE`)
	if err != nil {
		return nil, err
	}
	commit, err := conn.PrepareContext(ctx, `COMMIT`)
	return func(ctx context.Context, sessions []string) error {
		if _, err := begin.ExecContext(ctx); err != nil {
			return err
		}
		for _, session := range sessions {
			if err := one(ctx, session); err != nil {
				return err
			}
		}
		_, err := commit.ExecContext(ctx)
		return err
	}, err
}

// inOneStatement leaves out rows that somebody else holds, so that nobody waits for
// another's session.
func inOneStatement(ctx context.Context, conn *sqlx.Conn) (groups, error) {
	update, err := conn.PrepareContext(ctx, `WITH free AS (SELECT id FROM sessions WHERE id = ANY($2) FOR UPDATE SKIP LOCKED)
		UPDATE sessions s SET rt_gen = rt_gen + 1, rt_advanced_at = $1 FROM free WHERE s.id = free.id RETURNING s.id, rt_gen`)
	return func(ctx context.Context, sessions []string) error {
		rows, err := update.QueryContext(ctx, time.Now().UnixMilli(), pq.Array(sessions))
		if err != nil {
			return err
		}
		defer rows.Close()
		n := 0
		for ; rows.Next(); n++ {
			var id string
			var gen int
			if err := rows.Scan(&id, &gen); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if n != len(sessions) {
			return fmt.Errorf("%d of %d sessions", n, len(sessions))
		}
		return nil
	}, err
}
