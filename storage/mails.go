package storage

import (
	"context"
	"database/sql"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// InsertMail implements broker.MailStore. The quota and the fact are conditions
// of the one statement.
func (s *Store) InsertMail(ctx context.Context, m broker.Mail, q broker.MailQuota) (bool, error) {
	n, err := s.exec(ctx, `INSERT INTO mails (id, fact, kind, user_id, body, attempts, error, created_at, next_at, expires_at)
		SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), 0, '', CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT)
		WHERE CAST(? AS TEXT) IS NULL OR (SELECT COUNT(*) FROM mails WHERE user_id = ? AND kind = ? AND created_at > ?) < ?
		ON CONFLICT (fact) DO NOTHING`,
		m.ID, m.Fact, string(m.Kind), orNull(m.UserID), m.Sealed, m.CreatedAt.UnixMilli(), m.NextAt.UnixMilli(), m.ExpiresAt.UnixMilli(),
		orNull(m.UserID), m.UserID, string(m.Kind), q.Since.UnixMilli(), q.Most)
	return n > 0, err
}

// DueMails implements broker.MailStore, as DueLogoutNotices.
func (s *Store) DueMails(ctx context.Context, now, leaseUntil time.Time, limit int) ([]broker.Mail, error) {
	var rows []struct {
		ID        string         `db:"id"`
		Fact      string         `db:"fact"`
		Kind      string         `db:"kind"`
		UserID    sql.NullString `db:"user_id"`
		Body      string         `db:"body"`
		Attempts  int            `db:"attempts"`
		CreatedAt int64          `db:"created_at"`
		NextAt    int64          `db:"next_at"`
		ExpiresAt int64          `db:"expires_at"`
	}
	at := now.UnixMilli()
	err := s.inTx(ctx, func(tx *Store) error {
		rows = nil // it may run again
		return tx.list(ctx, &rows, `UPDATE mails SET attempts = attempts + 1, next_at = ?
			WHERE id IN (SELECT id FROM mails WHERE done_at IS NULL AND next_at <= ? ORDER BY next_at LIMIT ?) AND done_at IS NULL AND next_at <= ?
			RETURNING id, fact, kind, user_id, body, attempts, created_at, next_at, expires_at`, leaseUntil.UnixMilli(), at, limit, at)
	})
	mails := make([]broker.Mail, 0, len(rows))
	for _, r := range rows {
		mails = append(mails, broker.Mail{
			ID: r.ID, Fact: r.Fact, Kind: broker.MailKind(r.Kind), UserID: r.UserID.String, Sealed: r.Body, Attempts: r.Attempts,
			CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), NextAt: time.UnixMilli(r.NextAt).UTC(), ExpiresAt: time.UnixMilli(r.ExpiresAt).UTC(),
		})
	}
	return mails, err
}

// Outbox implements broker.MailStore.
func (s *Store) Outbox(ctx context.Context) (waiting int64, oldest time.Time, err error) {
	var row struct {
		Waiting int64         `db:"waiting"`
		Oldest  sql.NullInt64 `db:"oldest"`
	}
	err = s.get(ctx, &row, `SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM mails WHERE done_at IS NULL`)
	if err == nil && row.Oldest.Valid {
		oldest = time.UnixMilli(row.Oldest.Int64).UTC()
	}
	return row.Waiting, oldest, err
}

// TakeMail implements broker.MailStore: the DELETE is the single use.
func (s *Store) TakeMail(ctx context.Context, id string) error {
	return found(s.exec(ctx, `DELETE FROM mails WHERE id = ? AND done_at IS NULL`, id))
}

// PostponeMail implements broker.MailStore. One that is done or gone needs nothing.
func (s *Store) PostponeMail(ctx context.Context, id, problem string, now, next time.Time) error {
	_, err := s.exec(ctx, `UPDATE mails SET error = ?, tried_at = ?, next_at = ? WHERE id = ? AND done_at IS NULL`,
		problem, now.UnixMilli(), next.UnixMilli(), id)
	return err
}

// FinishMail implements broker.MailStore. One that is gone needs nothing.
func (s *Store) FinishMail(ctx context.Context, id, problem string, now time.Time) error {
	_, err := s.exec(ctx, `UPDATE mails SET body = '', error = ?, tried_at = ?, done_at = ? WHERE id = ? AND done_at IS NULL`,
		problem, now.UnixMilli(), now.UnixMilli(), id)
	return err
}

// MailTrouble implements broker.MailStore.
func (s *Store) MailTrouble(ctx context.Context) (broker.MailTrouble, error) {
	var row struct {
		Waiting int            `db:"waiting"`
		Failed  int            `db:"failed"`
		Since   sql.NullInt64  `db:"since"`
		LastAt  sql.NullInt64  `db:"last_at"`
		Error   sql.NullString `db:"error"`
	}
	err := s.get(ctx, &row, `SELECT COUNT(*) - COUNT(done_at) AS waiting, COUNT(done_at) AS failed,
		MIN(CASE WHEN done_at IS NULL THEN created_at END) AS since, MAX(tried_at) AS last_at,
		(SELECT m.error FROM mails m WHERE m.error <> '' ORDER BY m.tried_at DESC LIMIT 1) AS error
		FROM mails WHERE error <> ''`)
	return broker.MailTrouble{
		Waiting: row.Waiting, Failed: row.Failed, Since: fromMillis(row.Since), LastError: row.Error.String, LastAt: fromMillis(row.LastAt),
	}, err
}
