package storage

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

const noticeColumns = `id, client_id, user_id, session_id, attempts, next_at, expires_at`

// InsertLogoutNotices implements broker.AuthorizationStore: all or none.
func (s *Store) InsertLogoutNotices(ctx context.Context, list []broker.LogoutNotice) error {
	return s.inTx(ctx, func(tx *Store) error {
		for some := range slices.Chunk(list, perStatement) {
			values, args := make([]string, 0, len(some)), []any{}
			for _, n := range some {
				values = append(values, `(?, ?, ?, ?, ?, ?, ?)`)
				args = append(args, n.ID, n.ClientID, n.UserID, n.SessionID, n.Attempts, n.NextAt.UnixMilli(), n.ExpiresAt.UnixMilli())
			}
			if _, err := tx.exec(ctx, `INSERT INTO logout_notices (`+noticeColumns+`) VALUES `+strings.Join(values, ", "), args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// DueLogoutNotices implements broker.AuthorizationStore. Of two replicas that
// choose the same rows, PostgreSQL lets the second wait for the first, and then
// asks again whether they are due: hence the condition outside the choice.
func (s *Store) DueLogoutNotices(ctx context.Context, now, leaseUntil time.Time, limit int) ([]broker.LogoutNotice, error) {
	var rows []struct {
		ID        string `db:"id"`
		ClientID  string `db:"client_id"`
		UserID    string `db:"user_id"`
		SessionID string `db:"session_id"`
		Attempts  int    `db:"attempts"`
		NextAt    int64  `db:"next_at"`
		ExpiresAt int64  `db:"expires_at"`
	}
	at := now.UnixMilli()
	err := s.inTx(ctx, func(tx *Store) error {
		rows = nil // it may run again
		return tx.list(ctx, &rows, `UPDATE logout_notices SET attempts = attempts + 1, next_at = ?
			WHERE id IN (SELECT id FROM logout_notices WHERE next_at <= ? AND expires_at > ? ORDER BY next_at, id LIMIT ?) AND next_at <= ?
			RETURNING `+noticeColumns, leaseUntil.UnixMilli(), at, at, limit, at)
	})
	notices := make([]broker.LogoutNotice, 0, len(rows))
	for _, r := range rows {
		notices = append(notices, broker.LogoutNotice{
			ID: r.ID, ClientID: r.ClientID, UserID: r.UserID, SessionID: r.SessionID, Attempts: r.Attempts,
			NextAt: time.UnixMilli(r.NextAt).UTC(), ExpiresAt: time.UnixMilli(r.ExpiresAt).UTC(),
		})
	}
	return notices, err
}

// PostponeLogoutNotice implements broker.AuthorizationStore. One that is gone
// needs nothing.
func (s *Store) PostponeLogoutNotice(ctx context.Context, id string, next time.Time) error {
	_, err := s.exec(ctx, `UPDATE logout_notices SET next_at = ? WHERE id = ?`, next.UnixMilli(), id)
	return err
}

// DeleteLogoutNotice implements broker.AuthorizationStore. One that is gone
// needs nothing.
func (s *Store) DeleteLogoutNotice(ctx context.Context, id string) error {
	_, err := s.exec(ctx, `DELETE FROM logout_notices WHERE id = ?`, id)
	return err
}
