package storage

import (
	"context"
	"database/sql"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type apiKeyRow struct {
	ID          string        `db:"id"`
	Name        string        `db:"name"`
	Description string        `db:"description"`
	UserID      string        `db:"user_id"`
	CreatedBy   string        `db:"created_by"`
	Scope       string        `db:"scope"`
	SecretHash  string        `db:"secret_hash"`
	CreatedAt   int64         `db:"created_at"`
	UpdatedAt   int64         `db:"updated_at"`
	ExpiresAt   sql.NullInt64 `db:"expires_at"`
	LastUsedAt  sql.NullInt64 `db:"last_used_at"`
	DisabledAt  sql.NullInt64 `db:"disabled_at"`

	userRow
	CreatorID   sql.NullString `db:"c_id"`
	CreatorName sql.NullString `db:"c_username"`
	CreatorRole sql.NullString `db:"c_role"`
}

// apiKeys reads keys with their owners, and who made them where that user is
// still there.
const apiKeys = `SELECT k.id AS id, k.name AS name, k.description AS description, k.user_id AS user_id, k.created_by AS created_by,
	k.scope AS scope, k.secret_hash AS secret_hash, k.created_at AS created_at, k.updated_at AS updated_at, k.expires_at AS expires_at,
	k.last_used_at AS last_used_at, k.disabled_at AS disabled_at, c.id AS c_id, c.username AS c_username, c.role AS c_role, ` + userColumns + `
	FROM api_keys k JOIN users u ON u.id = k.user_id LEFT JOIN users c ON c.id = k.created_by WHERE `

func (r apiKeyRow) key() broker.OwnedAPIKey {
	return broker.OwnedAPIKey{
		APIKey: broker.APIKey{
			ID: r.ID, Name: r.Name, Description: r.Description, UserID: r.UserID, CreatedBy: r.CreatedBy, Scope: r.Scope, SecretHash: r.SecretHash,
			CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC(),
			ExpiresAt: fromMillis(r.ExpiresAt), LastUsedAt: fromMillis(r.LastUsedAt), DisabledAt: fromMillis(r.DisabledAt),
		},
		Owner:   r.user(),
		Creator: broker.User{ID: r.CreatorID.String, Username: r.CreatorName.String, Role: broker.Role(r.CreatorRole.String)},
	}
}

// InsertAPIKey implements broker.APIKeyStore.
func (s *Store) InsertAPIKey(ctx context.Context, k broker.APIKey, most int) (bool, error) {
	n, err := s.exec(ctx, `INSERT INTO api_keys (id, name, description, user_id, created_by, scope, secret_hash, created_at, updated_at,
		expires_at, last_used_at, disabled_at) SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT),
		CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT)
		WHERE (SELECT COUNT(*) FROM api_keys WHERE user_id = ?) < ?`,
		k.ID, k.Name, k.Description, k.UserID, k.CreatedBy, k.Scope, k.SecretHash, k.CreatedAt.UnixMilli(), k.UpdatedAt.UnixMilli(),
		millis(k.ExpiresAt), millis(k.LastUsedAt), millis(k.DisabledAt), k.UserID, most)
	return n > 0, err
}

// APIKeyByID implements broker.APIKeyStore, in one statement.
func (s *Store) APIKeyByID(ctx context.Context, id string) (broker.OwnedAPIKey, error) {
	var row apiKeyRow
	err := s.get(ctx, &row, apiKeys+`k.id = ?`, id)
	if err != nil {
		return broker.OwnedAPIKey{}, err
	}
	return row.key(), nil
}

// ListAPIKeys implements broker.APIKeyStore.
func (s *Store) ListAPIKeys(ctx context.Context, userID, after string, limit int) ([]broker.OwnedAPIKey, error) {
	query, args := apiKeys+`k.id > ?`, []any{after}
	if userID != "" {
		query, args = query+` AND k.user_id = ?`, append(args, userID)
	}
	var rows []apiKeyRow
	err := s.list(ctx, &rows, query+` ORDER BY k.id LIMIT ?`, append(args, limit)...)
	keys := make([]broker.OwnedAPIKey, 0, len(rows))
	for _, r := range rows {
		keys = append(keys, r.key())
	}
	return keys, err
}

// UpdateAPIKey implements broker.APIKeyStore.
func (s *Store) UpdateAPIKey(ctx context.Context, k broker.APIKey, owner string, most int) (bool, error) {
	n, err := s.exec(ctx, `UPDATE api_keys SET name = ?, description = ?, user_id = ?, expires_at = ?, disabled_at = ?, updated_at = ?
		WHERE id = ? AND user_id = ?
		AND (user_id = ? OR (SELECT COUNT(*) FROM api_keys WHERE user_id = ?) < ?)`,
		k.Name, k.Description, k.UserID, millis(k.ExpiresAt), millis(k.DisabledAt), k.UpdatedAt.UnixMilli(), k.ID, owner, k.UserID, k.UserID, most)
	return n > 0, err
}

// TouchAPIKey implements broker.APIKeyStore.
func (s *Store) TouchAPIKey(ctx context.Context, id string, now, before time.Time) error {
	_, err := s.execIn(ctx, s.pools.relaxed, `UPDATE api_keys SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= ?)`,
		now.UnixMilli(), id, before.UnixMilli())
	return err
}

// DeleteAPIKey implements broker.APIKeyStore.
func (s *Store) DeleteAPIKey(ctx context.Context, id string) error {
	return found(s.exec(ctx, `DELETE FROM api_keys WHERE id = ?`, id))
}
