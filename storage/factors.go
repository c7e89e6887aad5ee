package storage

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type totpRow struct {
	UserID      string        `db:"user_id"`
	Secret      string        `db:"secret"`
	SessionID   string        `db:"session_id"`
	LastStep    int64         `db:"last_step"`
	CreatedAt   int64         `db:"created_at"`
	ConfirmedAt sql.NullInt64 `db:"confirmed_at"`
}

const totpColumns = `user_id, secret, session_id, last_step, created_at, confirmed_at`

func (r totpRow) totp() broker.TOTP {
	return broker.TOTP{
		UserID: r.UserID, Sealed: r.Secret, SessionID: r.SessionID, LastStep: r.LastStep,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), ConfirmedAt: fromMillis(r.ConfirmedAt),
	}
}

// BeginTOTP implements broker.FactorStore.
func (s *Store) BeginTOTP(ctx context.Context, t broker.TOTP) error {
	n, err := s.exec(ctx, `INSERT INTO totps (`+totpColumns+`) VALUES (?, ?, ?, ?, ?, NULL)
		ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, session_id = excluded.session_id, last_step = excluded.last_step,
		created_at = excluded.created_at WHERE totps.confirmed_at IS NULL`,
		t.UserID, t.Sealed, t.SessionID, t.LastStep, t.CreatedAt.UnixMilli())
	if err == nil && n == 0 {
		return &broker.Error{Code: broker.FactorExists}
	}
	return err
}

// TOTPOf implements broker.FactorStore.
func (s *Store) TOTPOf(ctx context.Context, userID string) (broker.TOTP, error) {
	var row totpRow
	err := s.get(ctx, &row, `SELECT `+totpColumns+` FROM totps WHERE user_id = ?`, userID)
	if err != nil {
		return broker.TOTP{}, err
	}
	return row.totp(), nil
}

// ConfirmTOTP implements broker.FactorStore.
func (s *Store) ConfirmTOTP(ctx context.Context, t broker.TOTP, begunAfter time.Time) (bool, error) {
	n, err := s.exec(ctx, `UPDATE totps SET confirmed_at = ?, last_step = ?
		WHERE user_id = ? AND confirmed_at IS NULL AND secret = ? AND session_id = ? AND created_at > ?`,
		millis(t.ConfirmedAt), t.LastStep, t.UserID, t.Sealed, t.SessionID, begunAfter.UnixMilli())
	return n > 0, err
}

// UseTOTP implements broker.FactorStore: the condition is the single use.
func (s *Store) UseTOTP(ctx context.Context, userID string, step int64) (bool, error) {
	n, err := s.exec(ctx, `UPDATE totps SET last_step = ? WHERE user_id = ? AND confirmed_at IS NOT NULL AND last_step < ?`, step, userID, step)
	return n > 0, err
}

// ResealTOTP implements broker.FactorStore.
func (s *Store) ResealTOTP(ctx context.Context, userID, old, sealed string) error {
	_, err := s.exec(ctx, `UPDATE totps SET secret = ? WHERE user_id = ? AND secret = ?`, sealed, userID, old)
	return err
}

// ListTOTPs implements broker.FactorStore.
func (s *Store) ListTOTPs(ctx context.Context, afterUserID string, limit int) ([]broker.TOTP, error) {
	var rows []totpRow
	err := s.list(ctx, &rows, `SELECT `+totpColumns+` FROM totps WHERE user_id > ? ORDER BY user_id LIMIT ?`, afterUserID, limit)
	list := make([]broker.TOTP, 0, len(rows))
	for _, r := range rows {
		list = append(list, r.totp())
	}
	return list, err
}

// DeleteTOTP implements broker.FactorStore. Its second statement finds what has
// never counted.
func (s *Store) DeleteTOTP(ctx context.Context, userID string) (counted bool, err error) {
	n, err := s.exec(ctx, `DELETE FROM totps WHERE user_id = ? AND confirmed_at IS NOT NULL`, userID)
	if err != nil || n > 0 {
		return n > 0, err
	}
	_, err = s.exec(ctx, `DELETE FROM totps WHERE user_id = ? AND confirmed_at IS NULL`, userID)
	return false, err
}

// SetRecoveryCodes implements broker.FactorStore.
func (s *Store) SetRecoveryCodes(ctx context.Context, userID string, hashes []string) error {
	return s.inTx(ctx, func(tx *Store) error {
		if _, err := tx.exec(ctx, `DELETE FROM recovery_codes WHERE user_id = ?`, userID); err != nil || len(hashes) == 0 {
			return err
		}
		values, args := make([]string, 0, len(hashes)), []any{}
		for _, hash := range hashes {
			values, args = append(values, `(?, ?)`), append(args, hash, userID)
		}
		_, err := tx.exec(ctx, `INSERT INTO recovery_codes (id, user_id) VALUES `+strings.Join(values, ", "), args...)
		return err
	})
}

// UseRecoveryCode implements broker.FactorStore: the DELETE is the single use.
func (s *Store) UseRecoveryCode(ctx context.Context, userID, hash string) (bool, error) {
	n, err := s.exec(ctx, `DELETE FROM recovery_codes WHERE id = ? AND user_id = ?`, hash, userID)
	return n > 0, err
}

// CountRecoveryCodes implements broker.FactorStore.
func (s *Store) CountRecoveryCodes(ctx context.Context, userID string) (n int, err error) {
	err = s.get(ctx, &n, `SELECT COUNT(*) FROM recovery_codes WHERE user_id = ?`, userID)
	return n, err
}

// CountFactors implements broker.FactorStore.
func (s *Store) CountFactors(ctx context.Context, userID string) (broker.FactorCount, error) {
	var row struct {
		Apps     int `db:"apps"`
		Passkeys int `db:"passkeys"`
		Codes    int `db:"codes"`
	}
	err := s.get(ctx, &row, `SELECT (SELECT COUNT(*) FROM totps WHERE user_id = ? AND confirmed_at IS NOT NULL) AS apps,
		(SELECT COUNT(*) FROM passkeys WHERE user_id = ?) AS passkeys, (SELECT COUNT(*) FROM recovery_codes WHERE user_id = ?) AS codes`,
		userID, userID, userID)
	return broker.FactorCount{App: row.Apps > 0, Passkeys: row.Passkeys, RecoveryCodes: row.Codes}, err
}

// SetSecondFactor implements broker.FactorStore.
func (s *Store) SetSecondFactor(ctx context.Context, userID string) (bool, error) {
	var is int64
	err := s.writeRow(ctx, s.pools.writer, &is, `UPDATE users SET second_factor = CASE
		WHEN EXISTS (SELECT 1 FROM totps t WHERE t.user_id = users.id AND t.confirmed_at IS NOT NULL) THEN 1
		WHEN EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = users.id) THEN 1 ELSE 0 END
		WHERE id = ? RETURNING second_factor`, userID)
	return is != 0, err
}

// InsertPendingLogin implements broker.FactorStore.
func (s *Store) InsertPendingLogin(ctx context.Context, p broker.PendingLogin) error {
	_, err := s.exec(ctx, `INSERT INTO pending_logins (id, user_id, password, expires_at) VALUES (?, ?, ?, ?)`+unlessThere,
		p.ID, p.UserID, string(p.Password), p.ExpiresAt.UnixMilli())
	return err
}

// PendingLoginByID implements broker.FactorStore.
func (s *Store) PendingLoginByID(ctx context.Context, id string, now time.Time) (broker.PendingLogin, error) {
	var row struct {
		ID        string `db:"id"`
		UserID    string `db:"user_id"`
		Password  string `db:"password"`
		ExpiresAt int64  `db:"expires_at"`
	}
	err := s.get(ctx, &row, `SELECT id, user_id, password, expires_at FROM pending_logins WHERE id = ? AND expires_at > ?`, id, now.UnixMilli())
	if err != nil {
		return broker.PendingLogin{}, err
	}
	return broker.PendingLogin{
		ID: row.ID, UserID: row.UserID, Password: broker.PasswordHash(row.Password), ExpiresAt: time.UnixMilli(row.ExpiresAt).UTC(),
	}, nil
}

// TakePendingLogin implements broker.FactorStore: the DELETE is the single use.
func (s *Store) TakePendingLogin(ctx context.Context, id string, now time.Time) error {
	return found(s.exec(ctx, `DELETE FROM pending_logins WHERE id = ? AND expires_at > ?`, id, now.UnixMilli()))
}
