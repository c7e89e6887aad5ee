package storage

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// AddFigures implements broker.FigureStore.
func (s *Store) AddFigures(ctx context.Context, list []broker.Figure) error {
	return s.writeFigures(ctx, list, `figures.n + excluded.n`)
}

// SetFigures implements broker.FigureStore.
func (s *Store) SetFigures(ctx context.Context, list []broker.Figure) error {
	return s.writeFigures(ctx, list, `excluded.n`)
}

func (s *Store) writeFigures(ctx context.Context, list []broker.Figure, n string) error {
	// In one order: of two processes that write the same rows at once, neither waits
	// for the other for ever.
	list = slices.SortedFunc(slices.Values(list), func(a, b broker.Figure) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Hour.Compare(b.Hour), cmp.Compare(a.Label, b.Label))
	})
	rows := mapped(list, func(f broker.Figure) []any { return []any{f.Name, f.Hour.UnixMilli(), f.Label, f.N} })
	return s.inTx(ctx, func(tx *Store) error {
		_, err := tx.insertMany(ctx, `INSERT INTO figures (name, hour, label, n)`, ` ON CONFLICT (name, hour, label) DO UPDATE SET n = `+n, rows)
		return err
	})
}

type figureRow struct {
	Name  string `db:"name"`
	Hour  int64  `db:"hour"`
	Label string `db:"label"`
	N     int64  `db:"n"`
}

func figures(rows []figureRow, name string) []broker.Figure {
	out := make([]broker.Figure, 0, len(rows))
	for _, r := range rows {
		if name != "" {
			r.Name = name
		}
		out = append(out, broker.Figure{Name: r.Name, Hour: time.UnixMilli(r.Hour).UTC(), Label: r.Label, N: r.N})
	}
	return out
}

// figuresWhere writes a query as a statement.
func figuresWhere(q broker.FigureQuery) (string, []any) {
	args := append([]any{q.Step.Milliseconds()}, anyOf(q.Names)...)
	return `SELECT name, hour, label, CAST(SUM(n) AS BIGINT) AS n FROM (
		SELECT name, hour - hour % ? AS hour, label, n FROM figures WHERE name IN (` + placeholders(len(q.Names)) + `) AND hour >= ? AND hour < ?
		) f GROUP BY name, hour, label ORDER BY name, hour, label`, append(args, q.From.UnixMilli(), q.Until.UnixMilli())
}

// Figures implements broker.FigureStore.
func (s *Store) Figures(ctx context.Context, q broker.FigureQuery) ([]broker.Figure, error) {
	query, args := figuresWhere(q)
	var rows []figureRow
	err := s.list(ctx, &rows, query, args...)
	return figures(rows, ""), err
}

// The hour of a moment, in SQL.
func hourOf(column string) string {
	return column + ` - ` + column + ` % ` + strconv.FormatInt(time.Hour.Milliseconds(), 10)
}

// loginsBegun goes by the id, which holds the time: there is no index on created_at.
var loginsBegun = `SELECT ` + hourOf("created_at") + ` AS hour, provider_id AS label, COUNT(*) AS n FROM sessions
	WHERE id >= ? AND id < ? AND created_at >= ? AND created_at < ? GROUP BY ` + hourOf("created_at") + `, provider_id`

// CountLogins implements broker.FigureStore.
func (s *Store) CountLogins(ctx context.Context, from, until time.Time, fromID, untilID string) ([]broker.Figure, error) {
	var rows []figureRow
	err := s.list(ctx, &rows, loginsBegun, fromID, untilID, from.UnixMilli(), until.UnixMilli())
	return figures(rows, broker.FigureLogins), err
}

// sessionsOver reads the index sessions_ended and not the table.
var sessionsOver = `SELECT ` + hourOf("ended_at") + ` AS hour, end_cause AS label, COUNT(*) AS n FROM sessions
	WHERE ended_at >= ? AND ended_at < ? GROUP BY ` + hourOf("ended_at") + `, end_cause`

// CountEnds implements broker.FigureStore.
func (s *Store) CountEnds(ctx context.Context, from, until time.Time) ([]broker.Figure, error) {
	var rows []figureRow
	err := s.list(ctx, &rows, sessionsOver, from.UnixMilli(), until.UnixMilli())
	return figures(rows, broker.FigureEnds), err
}

// CountLive implements broker.FigureStore. On SQLite it reads beside the writer,
// on PostgreSQL it ends after the limit of every statement.
func (s *Store) CountLive(ctx context.Context, now time.Time) ([]broker.LiveCount, error) {
	var rows []struct {
		ClientID   string `db:"client_id"`
		ProviderID string `db:"provider_id"`
		N          int64  `db:"n"`
	}
	err := s.list(ctx, &rows, `SELECT client_id, provider_id, COUNT(*) AS n FROM sessions
		WHERE ended_at IS NULL AND `+idleEnd+` > ? AND abs_expires_at > ? GROUP BY client_id, provider_id`, s.served(now), now.UnixMilli())
	out := make([]broker.LiveCount, 0, len(rows))
	for _, r := range rows {
		out = append(out, broker.LiveCount{ClientID: r.ClientID, ProviderID: r.ProviderID, N: r.N})
	}
	return out, err
}

// sweepFigures deletes figures of a time. They are few of an hour, and their key
// begins with the name.
func (s *Store) sweepFigures(ctx context.Context, sw broker.Sweep) (int64, error) {
	args := append(anyOf(broker.FigureNames), sw.FiguresBefore.UnixMilli(), sw.Limit)
	return s.exec(ctx, `DELETE FROM figures WHERE (name, hour, label) IN (
		SELECT name, hour, label FROM figures WHERE name IN (`+placeholders(len(broker.FigureNames))+`) AND hour < ? LIMIT ?)`, args...)
}
