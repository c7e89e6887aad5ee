package storage

import (
	"context"
	"time"
)

// sweepMargin keeps what a clock that jumped ahead and back must not lose.
const sweepMargin = 24 * time.Hour

// Sweep implements broker.SessionStore. Each statement touches at most limit
// rows, found by an index, so that the writer is free again soon.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) (int, error) {
	past := now.Add(-sweepMargin).UnixMilli()
	// A session that expired unnoticed gets its cause, and is kept from then on
	// as long as one that was ended.
	_, err := s.exec(ctx, `UPDATE sessions SET
		end_cause = CASE WHEN abs_expires_at <= ? THEN 'session_max_age' ELSE 'session_expired' END,
		ended_at = CASE WHEN abs_expires_at < idle_expires_at THEN abs_expires_at ELSE idle_expires_at END
		WHERE id IN (SELECT id FROM sessions WHERE gc_after <= ? AND ended_at IS NULL AND (idle_expires_at <= ? OR abs_expires_at <= ?) LIMIT ?)`,
		past, now.UnixMilli(), past, past, limit)
	if err != nil {
		return 0, err
	}
	most := int64(0)
	for _, query := range []string{
		`DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE gc_after <= ? AND ended_at IS NOT NULL LIMIT ?)`,
		`DELETE FROM idp_logins WHERE id IN (SELECT id FROM idp_logins WHERE expires_at <= ? LIMIT ?)`,
		`DELETE FROM grants WHERE id IN (SELECT id FROM grants WHERE expires_at <= ? LIMIT ?)`,
		`DELETE FROM auth_requests WHERE id IN (SELECT id FROM auth_requests WHERE expires_at <= ? LIMIT ?)`,
	} {
		n, err := s.exec(ctx, query, past, limit)
		if err != nil {
			return 0, err
		}
		most = max(most, n)
	}
	return int(most), nil
}
