package storage

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/latchkey-id/latchkey/broker"
)

// pool is a connection pool with its prepared statements: parsing and planning
// once is a third of a small statement's time.
type pool struct {
	db *sqlx.DB
	// places are as many as there are connections.
	places *turns
	forgot atomic.Int64 // when forget last did something, in Unix ns
	// prepared maps a query's text to *sqlx.Stmt. The texts are constants of this
	// package, so it is bounded.
	prepared sync.Map
	// direct is for transaction poolers, where a prepared statement may meet
	// another client's connection.
	direct bool
	// rewrite is how the dialect writes a query of this package, but for its
	// placeholders; nil: as it stands.
	rewrite func(query string) string
	// trace is [Options.Trace], or nil.
	trace func(query string)
}

// forget closes the connections that rest, so that the next ones are new. Not more
// than once a second: a server that takes no writes for long is asked by the
// connections that there are.
func (p *pool) forget() {
	now, last := time.Now().UnixNano(), p.forgot.Load()
	if now-last < int64(time.Second) || !p.forgot.CompareAndSwap(last, now) {
		return
	}
	p.db.SetMaxIdleConns(0)
	p.db.SetMaxIdleConns(cap(p.places.taken))
}

// text is a query as this pool's database reads it.
func (p *pool) text(query string) string {
	if p.rewrite != nil {
		query = p.rewrite(query)
	}
	return p.db.Rebind(query)
}

// runner is what a prepared statement and a direct query have in common.
type runner interface {
	ExecContext(ctx context.Context, args ...any) (result, error)
	GetContext(ctx context.Context, into any, args ...any) error
	SelectContext(ctx context.Context, into any, args ...any) error
}

type result interface{ RowsAffected() (int64, error) }

// prepare returns how to run a query. Inside a transaction it runs unprepared:
// preparing would ask the pool for a second connection while one is held, and
// a pool of one, or an exhausted one, would wait for itself.
func (p *pool) prepare(ctx context.Context, tx *sqlx.Tx, query string) (runner, error) {
	run, err := p.runner(ctx, tx, query)
	return p.noted(ctx, run, query), err
}

// noted is a runner whose query is told and traced, to whoever wants to know.
func (p *pool) noted(ctx context.Context, run runner, query string) runner {
	if p.trace != nil {
		p.trace(query)
	}
	if broker.Traced(ctx) {
		return traced{run, query}
	}
	return run
}

func (p *pool) runner(ctx context.Context, tx *sqlx.Tx, query string) (runner, error) {
	if tx != nil {
		return direct{tx, p.text(query)}, nil
	}
	if p.direct {
		return direct{p.db, p.text(query)}, nil
	}
	stmt, err := p.statement(ctx, query)
	return prepared{stmt}, err
}

func (p *pool) statement(ctx context.Context, query string) (*sqlx.Stmt, error) {
	if known, ok := p.prepared.Load(query); ok {
		return known.(*sqlx.Stmt), nil
	}
	// The statement outlives the request that needed it first.
	stmt, err := p.db.PreparexContext(context.WithoutCancel(ctx), p.text(query))
	if err != nil {
		return nil, err
	}
	if known, loaded := p.prepared.LoadOrStore(query, stmt); loaded {
		_ = stmt.Close()
		return known.(*sqlx.Stmt), nil
	}
	return stmt, nil
}

type prepared struct{ stmt *sqlx.Stmt }

func (p prepared) ExecContext(ctx context.Context, args ...any) (result, error) {
	return p.stmt.ExecContext(ctx, args...)
}
func (p prepared) GetContext(ctx context.Context, into any, args ...any) error {
	rows, err := p.stmt.QueryxContext(ctx, args...)
	if err != nil {
		return err
	}
	return only(rows, into)
}
func (p prepared) SelectContext(ctx context.Context, into any, args ...any) error {
	return p.stmt.SelectContext(ctx, into, args...)
}

type direct struct {
	on    sqlx.ExtContext
	query string
}

func (d direct) ExecContext(ctx context.Context, args ...any) (result, error) {
	return d.on.ExecContext(ctx, d.query, args...)
}
func (d direct) GetContext(ctx context.Context, into any, args ...any) error {
	rows, err := d.on.QueryxContext(ctx, d.query, args...)
	if err != nil {
		return err
	}
	return only(rows, into)
}
func (d direct) SelectContext(ctx context.Context, into any, args ...any) error {
	return sqlx.SelectContext(ctx, d.on, into, d.query, args...)
}

// only reads the one row that there is, or sql.ErrNoRows. It reads on to the end:
// SQLite writes its log back, once that is long, where a statement ends by itself, and
// not where what it has to say is left.
func only(rows *sqlx.Rows, into any) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	if !rows.Next() {
		if rows.Err() != nil {
			return rows.Err()
		}
		return sql.ErrNoRows
	}
	if _, one := into.(sql.Scanner); !one && reflect.TypeOf(into).Elem().Kind() == reflect.Struct {
		err = rows.StructScan(into)
	} else {
		err = rows.Scan(into)
	}
	for err == nil && rows.Next() {
	}
	return errors.Join(err, rows.Err())
}
