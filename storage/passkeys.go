package storage

import (
	"context"
	"database/sql"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type passkeyRow struct {
	ID           string        `db:"id"`
	CredentialID string        `db:"credential_id"`
	UserID       string        `db:"user_id"`
	Name         string        `db:"name"`
	PublicKey    string        `db:"public_key"`
	AAGUID       string        `db:"aaguid"`
	Transports   string        `db:"transports"`
	SignCount    int64         `db:"sign_count"`
	Synced       int64         `db:"synced"`
	BackedUp     int64         `db:"backed_up"`
	CreatedAt    int64         `db:"created_at"`
	LastUsedAt   sql.NullInt64 `db:"last_used_at"`
}

const passkeyColumns = `id, credential_id, user_id, name, public_key, aaguid, transports, sign_count, synced, backed_up, created_at, last_used_at`

func (r passkeyRow) passkey() broker.Passkey {
	return broker.Passkey{
		ID: r.ID, CredentialID: r.CredentialID, UserID: r.UserID, Name: r.Name, PublicKey: r.PublicKey, AAGUID: r.AAGUID,
		Transports: readList(r.Transports), SignCount: r.SignCount, Synced: r.Synced != 0, BackedUp: r.BackedUp != 0,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), LastUsedAt: fromMillis(r.LastUsedAt),
	}
}

// InsertPasskey implements broker.PasskeyStore.
func (s *Store) InsertPasskey(ctx context.Context, k broker.Passkey, most int) (bool, error) {
	n, err := s.exec(ctx, `INSERT INTO passkeys (`+passkeyColumns+`) SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT),
		CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT)
		WHERE (SELECT COUNT(*) FROM passkeys WHERE user_id = ?) < ?`,
		k.ID, k.CredentialID, k.UserID, k.Name, k.PublicKey, k.AAGUID, jsonList(k.Transports), k.SignCount, flag(k.Synced), flag(k.BackedUp),
		k.CreatedAt.UnixMilli(), millis(k.LastUsedAt), k.UserID, most)
	return n > 0, s.unique(err, broker.PasskeyInvalid, "this passkey is registered already")
}

// PasskeysOf implements broker.PasskeyStore.
func (s *Store) PasskeysOf(ctx context.Context, userID string) ([]broker.Passkey, error) {
	var rows []passkeyRow
	err := s.list(ctx, &rows, `SELECT `+passkeyColumns+` FROM passkeys WHERE user_id = ? ORDER BY id`, userID)
	list := make([]broker.Passkey, 0, len(rows))
	for _, r := range rows {
		list = append(list, r.passkey())
	}
	return list, err
}

// PasskeyByCredential implements broker.PasskeyStore.
func (s *Store) PasskeyByCredential(ctx context.Context, credentialID string) (broker.Passkey, error) {
	var row passkeyRow
	err := s.get(ctx, &row, `SELECT `+passkeyColumns+` FROM passkeys WHERE credential_id = ?`, credentialID)
	if err != nil {
		return broker.Passkey{}, err
	}
	return row.passkey(), nil
}

// RenamePasskey implements broker.PasskeyStore.
func (s *Store) RenamePasskey(ctx context.Context, id, userID, name string) error {
	return found(s.exec(ctx, `UPDATE passkeys SET name = ? WHERE id = ? AND user_id = ?`, name, id, userID))
}

// UsePasskey implements broker.PasskeyStore.
func (s *Store) UsePasskey(ctx context.Context, k broker.Passkey) (bool, error) {
	n, err := s.exec(ctx, `UPDATE passkeys SET sign_count = ?, backed_up = ?, last_used_at = ?
		WHERE id = ? AND user_id = ? AND (sign_count < ? OR sign_count = 0 AND CAST(? AS BIGINT) = 0)`,
		k.SignCount, flag(k.BackedUp), millis(k.LastUsedAt), k.ID, k.UserID, k.SignCount, k.SignCount)
	return n > 0, err
}

// DeletePasskey implements broker.PasskeyStore.
func (s *Store) DeletePasskey(ctx context.Context, id, userID string) error {
	return found(s.exec(ctx, `DELETE FROM passkeys WHERE id = ? AND user_id = ?`, id, userID))
}

// DeletePasskeys implements broker.PasskeyStore.
func (s *Store) DeletePasskeys(ctx context.Context, userID string) (int, error) {
	n, err := s.exec(ctx, `DELETE FROM passkeys WHERE user_id = ?`, userID)
	return int(n), err
}

// InsertChallenge implements broker.PasskeyStore.
func (s *Store) InsertChallenge(ctx context.Context, c broker.PasskeyChallenge) error {
	_, err := s.exec(ctx, `INSERT INTO passkey_challenges (id, kind, bound_to, expires_at) VALUES (?, ?, ?, ?)`+unlessThere,
		c.ID, c.Kind, c.BoundTo, c.ExpiresAt.UnixMilli())
	return err
}

// TakeChallenge implements broker.PasskeyStore: the DELETE is the single use.
func (s *Store) TakeChallenge(ctx context.Context, c broker.PasskeyChallenge, now time.Time) error {
	return found(s.exec(ctx, `DELETE FROM passkey_challenges WHERE id = ? AND kind = ? AND bound_to = ? AND expires_at > ?`,
		c.ID, c.Kind, c.BoundTo, now.UnixMilli()))
}
