package storage

import (
	"context"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type passwordLinkRow struct {
	ID        string `db:"id"`
	UserID    string `db:"user_id"`
	Purpose   string `db:"purpose"`
	Password  string `db:"password"`
	CreatedBy string `db:"created_by"`
	CreatedAt int64  `db:"created_at"`
	ExpiresAt int64  `db:"expires_at"`
}

const passwordLinkColumns = `id, user_id, purpose, password, created_by, created_at, expires_at`

func (r passwordLinkRow) link() broker.PasswordLink {
	return broker.PasswordLink{
		ID: r.ID, UserID: r.UserID, Purpose: broker.PasswordPurpose(r.Purpose), Password: broker.PasswordHash(r.Password), CreatedBy: r.CreatedBy,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), ExpiresAt: time.UnixMilli(r.ExpiresAt).UTC(),
	}
}

// InsertPasswordLink implements broker.PasswordLinkStore.
func (s *Store) InsertPasswordLink(ctx context.Context, l broker.PasswordLink) error {
	_, err := s.exec(ctx, `INSERT INTO password_links (`+passwordLinkColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		l.ID, l.UserID, string(l.Purpose), string(l.Password), l.CreatedBy, l.CreatedAt.UnixMilli(), l.ExpiresAt.UnixMilli())
	return err
}

// PasswordLinkByID implements broker.PasswordLinkStore.
func (s *Store) PasswordLinkByID(ctx context.Context, id string, now time.Time) (broker.PasswordLink, error) {
	var row passwordLinkRow
	err := s.get(ctx, &row, `SELECT `+passwordLinkColumns+` FROM password_links WHERE id = ? AND expires_at > ?`, id, now.UnixMilli())
	return row.link(), err
}

// TakePasswordLink implements broker.PasswordLinkStore: the DELETE is the single use.
func (s *Store) TakePasswordLink(ctx context.Context, id string, now time.Time) (broker.PasswordLink, error) {
	var row passwordLinkRow
	err := s.writeRow(ctx, s.pools.writer, &row, `DELETE FROM password_links WHERE id = ? AND expires_at > ? RETURNING `+passwordLinkColumns,
		id, now.UnixMilli())
	return row.link(), err
}

// DeletePasswordLinks implements broker.PasswordLinkStore.
func (s *Store) DeletePasswordLinks(ctx context.Context, userID string) error {
	_, err := s.exec(ctx, `DELETE FROM password_links WHERE user_id = ?`, userID)
	return err
}
