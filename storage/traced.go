package storage

import (
	"context"
	"database/sql"
	"errors"

	"github.com/latchkey-id/latchkey/broker"
)

// traced is a statement whose runs are noted: its text, never its values.
type traced struct {
	next  runner
	query string
}

func (t traced) run(ctx context.Context, f func(context.Context) error) error {
	ctx, span := broker.BeginSpan(ctx, broker.SpanQuery, t.query)
	err := f(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		span.End(nil) // an answer like any other
	} else {
		span.End(err)
	}
	return err
}

func (t traced) ExecContext(ctx context.Context, args ...any) (out result, err error) {
	err = t.run(ctx, func(ctx context.Context) (err error) {
		out, err = t.next.ExecContext(ctx, args...)
		return err
	})
	return out, err
}

func (t traced) GetContext(ctx context.Context, into any, args ...any) error {
	return t.run(ctx, func(ctx context.Context) error { return t.next.GetContext(ctx, into, args...) })
}

func (t traced) SelectContext(ctx context.Context, into any, args ...any) error {
	return t.run(ctx, func(ctx context.Context) error { return t.next.SelectContext(ctx, into, args...) })
}
