package storage

import (
	"context"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type identityRow struct {
	Issuer     string `db:"issuer"`
	Subject    string `db:"subject"`
	ProviderID string `db:"provider_id"`
	UserID     string `db:"user_id"`
	Email      string `db:"email"`
	Username   string `db:"username"`
	CreatedAt  int64  `db:"created_at"`
	LastUsedAt int64  `db:"last_used_at"`

	Link document[broker.Link] `db:"link"`
}

const identityColumns = `issuer, subject, provider_id, user_id, email, username, created_at, last_used_at, link`

func (r identityRow) identity() broker.Identity {
	return broker.Identity{
		Issuer: r.Issuer, Subject: r.Subject, ProviderID: r.ProviderID, UserID: r.UserID, Email: r.Email, Username: r.Username,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), LastUsedAt: time.UnixMilli(r.LastUsedAt).UTC(), Link: r.Link.is,
	}
}

func identityValues(i broker.Identity) []any {
	return []any{
		i.Issuer, i.Subject, i.ProviderID, i.UserID, i.Email, i.Username, i.CreatedAt.UnixMilli(), i.LastUsedAt.UnixMilli(), document[broker.Link]{i.Link},
	}
}

const identityLinked = "this identity is linked already"

// IdentityBySubject implements broker.IdentityStore.
func (s *Store) IdentityBySubject(ctx context.Context, issuer, subject string) (broker.Identity, error) {
	var row identityRow
	err := s.get(ctx, &row, `SELECT `+identityColumns+` FROM identities WHERE issuer = ? AND subject = ?`, issuer, subject)
	return row.identity(), err
}

// InsertIdentity implements broker.IdentityStore.
func (s *Store) InsertIdentity(ctx context.Context, i broker.Identity) error {
	_, err := s.exec(ctx, `INSERT INTO identities (`+identityColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, identityValues(i)...)
	return s.unique(err, broker.IdentityConflict, identityLinked)
}

// TouchIdentity implements broker.IdentityStore.
func (s *Store) TouchIdentity(ctx context.Context, i broker.Identity) error {
	_, err := s.exec(ctx, `UPDATE identities SET last_used_at = ?, email = ?, username = ?, provider_id = ? WHERE issuer = ? AND subject = ?`,
		i.LastUsedAt.UnixMilli(), i.Email, i.Username, i.ProviderID, i.Issuer, i.Subject)
	return err
}

// IdentitiesOfUser implements broker.IdentityStore.
func (s *Store) IdentitiesOfUser(ctx context.Context, userID string) ([]broker.Identity, error) {
	return s.identitiesWhere(ctx, `user_id = ? ORDER BY created_at, issuer, subject`, userID)
}

func (s *Store) identitiesWhere(ctx context.Context, where string, args ...any) ([]broker.Identity, error) {
	var rows []identityRow
	err := s.list(ctx, &rows, `SELECT `+identityColumns+` FROM identities WHERE `+where, args...)
	out := make([]broker.Identity, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.identity())
	}
	return out, err
}

// SetLink implements broker.IdentityStore.
func (s *Store) SetLink(ctx context.Context, i broker.Identity) error {
	return found(s.exec(ctx, `UPDATE identities SET link = ? WHERE issuer = ? AND subject = ?`, document[broker.Link]{i.Link}, i.Issuer, i.Subject))
}

// DeleteIdentity implements broker.IdentityStore.
func (s *Store) DeleteIdentity(ctx context.Context, issuer, subject, userID string) error {
	return s.inTx(ctx, func(tx *Store) error {
		if err := tx.keepAnAdmin(ctx, userID, linkedAdmin, issuer, subject); err != nil {
			return err
		}
		return found(tx.exec(ctx, `DELETE FROM identities WHERE issuer = ? AND subject = ? AND user_id = ?`, issuer, subject, userID))
	})
}

// InsertUndoneLink implements broker.IdentityStore.
func (s *Store) InsertUndoneLink(ctx context.Context, issuer, subject, userID string, now time.Time) error {
	_, err := s.exec(ctx, `INSERT INTO undone_links (issuer, subject, user_id, undone_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (issuer, subject, user_id) DO UPDATE SET undone_at = excluded.undone_at`, issuer, subject, userID, now.UnixMilli())
	return err
}

// LinkUndone implements broker.IdentityStore.
func (s *Store) LinkUndone(ctx context.Context, issuer, subject, userID string) (bool, error) {
	var n int
	err := s.get(ctx, &n, `SELECT COUNT(*) FROM undone_links WHERE issuer = ? AND subject = ? AND user_id = ?`, issuer, subject, userID)
	return n > 0, err
}

// RootHasIdentityAt implements broker.IdentityStore. The roles are those of the
// index on administrators.
func (s *Store) RootHasIdentityAt(ctx context.Context, issuer string) (bool, error) {
	var n int
	err := s.get(ctx, &n, `SELECT COUNT(*) FROM (SELECT 1 FROM users u JOIN identities i ON i.user_id = u.id
		WHERE u.role IN ('root', 'admin') AND u.role = 'root' AND i.issuer = ? LIMIT 1) AS one`, issuer)
	return n > 0, err
}
