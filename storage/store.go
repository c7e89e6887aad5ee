package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jmoiron/sqlx"

	"github.com/latchkey-id/latchkey/broker"
)

// Store is a database. It implements broker.Store.
type Store struct {
	pools pools
	tx    *sqlx.Tx // set inside Tx
	d     *dialect
	away  func() time.Duration // [Options.Away]
	// version is [Options.Version].
	version string
	redis   *redis.Pool // of the limiter, or nil

	looking bool // every write is refused
	// noPasswords: nobody logs in by one.
	noPasswords bool
}

// WithoutPasswords implements broker.Store.
func (s *Store) WithoutPasswords() broker.Store {
	same := *s
	same.noPasswords = true
	return &same
}

// pools are the ways into one database. On SQLite writer and relaxed are one
// connection each and share the writing lock; on PostgreSQL writer and reader
// are the same pool.
type pools struct {
	writer  *pool // commits are durable when they return
	relaxed *pool // commits may be lost by a crash of the machine
	reader  *pool
	writing *turns // at SQLite's one writer; nil on PostgreSQL
	// together gathers the advances that wait for a turn there.
	together *together
	close    func() // what is left to do once all are closed, or nil
	unlock   func() // lets others replace the file
}

// Tx runs f in one durable transaction, again after a serialization failure.
func (s *Store) Tx(ctx context.Context, f func(broker.Store) error) error {
	if s.tx != nil {
		return f(s) // already inside
	}
	if s.looking {
		return errLooking
	}
	return s.d.retryTx(ctx, func() error {
		return s.write(ctx, s.pools.writer, func(ctx context.Context) error {
			tx, err := s.pools.writer.db.BeginTxx(ctx, nil)
			if err != nil {
				return s.d.translate(ctx, err)
			}
			defer func() { _ = tx.Rollback() }() // after a panic too; nothing once committed
			if err := f(&Store{pools: s.pools, tx: tx, d: s.d, away: s.away, noPasswords: s.noPasswords}); err != nil {
				return err
			}
			return s.d.translate(ctx, tx.Commit())
		})
	})
}

// inTx is Tx for the methods of this package that need more than one statement,
// or read what they wrote.
func (s *Store) inTx(ctx context.Context, f func(*Store) error) error {
	return s.Tx(ctx, func(tx broker.Store) error { return f(tx.(*Store)) })
}

// write is [Store.use] for what writes. On SQLite it waits its turn first: two
// connections that write would only meet in its busy handler.
func (s *Store) write(ctx context.Context, p *pool, do func(context.Context) error) error {
	if s.looking {
		return errLooking
	}
	if s.pools.writing == nil || s.tx != nil {
		return s.use(ctx, p, do)
	}
	release, err := s.pools.writing.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	return s.use(ctx, p, do)
}

// use does something with a connection of the pool, or of the transaction.
func (s *Store) use(ctx context.Context, p *pool, do func(context.Context) error) error {
	if s.tx != nil {
		if ctx.Err() != nil {
			return broker.Unavailable(ctx.Err())
		}
		return do(s.d.running(ctx))
	}
	release, err := p.places.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err = do(s.d.running(ctx)); err != nil && s.d.isDemoted(err) {
		p.forget()
	}
	return err
}

// exec runs a durable write and returns how many rows it touched.
func (s *Store) exec(ctx context.Context, query string, args ...any) (int64, error) {
	return s.execIn(ctx, s.pools.writer, query, args...)
}

func (s *Store) execIn(ctx context.Context, p *pool, query string, args ...any) (n int64, err error) {
	err = s.write(ctx, p, func(ctx context.Context) error {
		stmt, err := p.prepare(ctx, s.tx, query)
		if err != nil {
			return s.d.translate(ctx, err)
		}
		result, err := stmt.ExecContext(ctx, args...)
		if err != nil {
			return s.d.translate(ctx, err)
		}
		n, err = result.RowsAffected()
		return s.d.translate(ctx, err)
	})
	return n, err
}

// unlessThere ends an INSERT whose id is made of a fresh secret: a row that is there is
// of an earlier try, whose answer was lost.
const unlessThere = ` ON CONFLICT (id) DO NOTHING`

// writeRow runs a write that returns one row; broker.NotFound where it wrote none.
func (s *Store) writeRow(ctx context.Context, p *pool, into any, query string, args ...any) error {
	return s.write(ctx, p, func(ctx context.Context) error { return s.getIn(ctx, p, into, query, args...) })
}

// get reads one row; broker.NotFound.
func (s *Store) get(ctx context.Context, into any, query string, args ...any) error {
	p := s.pools.reader
	return s.use(ctx, p, func(ctx context.Context) error { return s.getIn(ctx, p, into, query, args...) })
}

func (s *Store) getIn(ctx context.Context, p *pool, into any, query string, args ...any) error {
	stmt, err := p.prepare(ctx, s.tx, query)
	if err != nil {
		return s.d.translate(ctx, err)
	}
	return s.one(ctx, stmt.GetContext(ctx, into, args...))
}

// one translates the error of what reads one row.
func (s *Store) one(ctx context.Context, err error) error {
	if errors.Is(err, sql.ErrNoRows) || s.d.isImpossibleText(err) {
		return &broker.Error{Code: broker.NotFound}
	}
	return s.d.translate(ctx, err)
}

// perStatement is how many values, or rows, of a list go into one statement:
// both databases have a limit of parameters.
const perStatement = 500

// placeholders are n of them.
func placeholders(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// list reads rows.
func (s *Store) list(ctx context.Context, into any, query string, args ...any) error {
	return s.use(ctx, s.pools.reader, func(ctx context.Context) error {
		stmt, err := s.pools.reader.prepare(ctx, s.tx, query)
		if err != nil {
			return s.d.translate(ctx, err)
		}
		err = stmt.SelectContext(ctx, into, args...)
		if s.d.isImpossibleText(err) {
			return nil // there is no such row
		}
		return s.d.translate(ctx, err)
	})
}

// Ping asks the database whether it answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return s.get(ctx, &one, `SELECT 1`)
}

// Close closes all connections.
func (s *Store) Close() error {
	var errs []error
	seen := map[*sqlx.DB]bool{}
	for _, p := range []*pool{s.pools.reader, s.pools.relaxed, s.pools.writer} {
		if p != nil && !seen[p.db] {
			seen[p.db] = true
			errs = append(errs, p.db.Close())
		}
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Close())
	}
	if s.pools.close != nil {
		s.pools.close()
	}
	s.pools.unlock()
	return errors.Join(errs...)
}

// Describe names the database for logs, without credentials.
func (s *Store) Describe() string { return s.d.name }

// millis stores a time; the zero time as NULL.
func millis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

func fromMillis(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMilli(n.Int64).UTC()
}

// zeroMillis stores a time; the zero time as 0.
func zeroMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func orZero(ms int64) time.Time { return fromMillis(sql.NullInt64{Int64: ms, Valid: ms != 0}) }

func orNull(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

// unique turns a unique violation into a code of the broker.
func (s *Store) unique(err error, code broker.Code, message string) error {
	if err != nil && s.d.isUnique(err) {
		return &broker.Error{Code: code, Message: message} // err says "trouble of ours", which this is not
	}
	return err
}

var errNewerSchema = errors.New("the database was written by a newer Latchkey")

func newerSchema(have, know int64) error {
	return fmt.Errorf("%w: its schema is %d, this program knows up to %d; start a newer version", errNewerSchema, have, know)
}
