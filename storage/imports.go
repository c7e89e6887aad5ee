package storage

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// insertMany inserts rows of values, some hundred in a statement, and returns
// how many were written. It belongs into a transaction.
func (s *Store) insertMany(ctx context.Context, into, behind string, rows [][]any) (written int, err error) {
	for some := range slices.Chunk(rows, perStatement) {
		one := "(" + placeholders(len(some[0])) + ")"
		query := into + ` VALUES ` + strings.TrimSuffix(strings.Repeat(one+", ", len(some)), ", ") + behind
		n, err := s.exec(ctx, query, slices.Concat(some...)...)
		if err != nil {
			return written, err
		}
		written += int(n)
	}
	return written, nil
}

// mapped makes the rows that insertMany takes.
func mapped[T any](list []T, values func(T) []any) [][]any {
	rows := make([][]any, len(list))
	for i, x := range list {
		rows[i] = values(x)
	}
	return rows
}

func anyOf(list []string) []any {
	out := make([]any, len(list))
	for i, x := range list {
		out[i] = x
	}
	return out
}

// UsersWith implements broker.ImportStore.
func (s *Store) UsersWith(ctx context.Context, ids, names []string) (out []broker.User, err error) {
	for column, list := range map[string][]string{"u.id": ids, "u.username_key": names} {
		for some := range slices.Chunk(slices.DeleteFunc(slices.Clone(list), func(x string) bool { return !possible(x) }), perStatement) {
			found, err := s.usersWhere(ctx, column+` IN (`+placeholders(len(some))+`)`, anyOf(some)...)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
	}
	return out, nil
}

// InsertUsers implements broker.ImportStore.
func (s *Store) InsertUsers(ctx context.Context, list []broker.User) error {
	_, err := s.insertMany(ctx, insertUser, "", mapped(list, userValues))
	return s.unique(err, broker.UsernameTaken, usernameTaken)
}

// IdentitiesLike implements broker.ImportStore.
func (s *Store) IdentitiesLike(ctx context.Context, list []broker.Identity) (out []broker.Identity, err error) {
	for some := range slices.Chunk(list, perStatement) {
		args := slices.Concat(mapped(some, func(i broker.Identity) []any { return []any{i.Issuer, i.Subject} })...)
		found, err := s.identitiesWhere(ctx, `(issuer, subject) IN (VALUES `+strings.TrimSuffix(strings.Repeat("(?, ?), ", len(some)), ", ")+`)`, args...)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// InsertIdentities implements broker.ImportStore.
func (s *Store) InsertIdentities(ctx context.Context, list []broker.Identity) error {
	_, err := s.insertMany(ctx, `INSERT INTO identities (`+identityColumns+`)`, "", mapped(list, identityValues))
	return s.unique(err, broker.IdentityConflict, identityLinked)
}

// ImportSession implements broker.ImportStore. As InsertSession it locks the
// user against a disabling or deletion that is under way.
func (s *Store) ImportSession(ctx context.Context, n broker.Session) error {
	return s.inTx(ctx, func(tx *Store) error {
		locked, err := tx.exec(ctx, `UPDATE users SET updated_at = updated_at WHERE id = ? AND disabled_at IS NULL`, n.UserID)
		if err != nil {
			return err
		}
		if locked == 0 {
			return &broker.Error{Code: broker.UserDisabled, Message: "the account is disabled or gone"}
		}
		return tx.insertSessionRow(ctx, n)
	})
}

// RenewImported implements broker.ImportStore.
func (s *Store) RenewImported(ctx context.Context, id string, until time.Time) (bool, error) {
	end := until.UnixMilli()
	away := s.awayNow()
	n, err := s.exec(ctx, `UPDATE sessions SET idle_expires_at = CASE WHEN abs_expires_at < ? THEN abs_expires_at ELSE ? END, idle_away = ?
		WHERE id = ? AND ended_at IS NULL AND rt_gen = 0 AND `+idleEnd+` < ? AND idle_expires_at < abs_expires_at`, end, end, away, id, end-away)
	return n > 0, err
}

const importedColumns = `id, kind, user_id, session_id, expires_at`

// InsertImportedTokens implements broker.ImportStore.
func (s *Store) InsertImportedTokens(ctx context.Context, list []broker.ImportedToken) (n int, err error) {
	err = s.inTx(ctx, func(tx *Store) error {
		n, err = tx.insertMany(ctx, `INSERT INTO imported_tokens (`+importedColumns+`)`, ` ON CONFLICT (id) DO NOTHING`,
			mapped(list, func(t broker.ImportedToken) []any {
				return []any{t.ID, string(t.Kind), t.UserID, t.SessionID, t.ExpiresAt.UnixMilli()}
			}))
		return err
	})
	return n, err
}

type importedRow struct {
	ID        string `db:"id"`
	Kind      string `db:"kind"`
	UserID    string `db:"user_id"`
	SessionID string `db:"session_id"`
	ExpiresAt int64  `db:"expires_at"`
}

// ImportedToken implements broker.ImportStore.
func (s *Store) ImportedToken(ctx context.Context, id string, now time.Time) (broker.ImportedToken, error) {
	var r importedRow
	err := s.get(ctx, &r, `SELECT `+importedColumns+` FROM imported_tokens WHERE id = ? AND expires_at > ?`, id, now.UnixMilli())
	return broker.ImportedToken{
		ID: r.ID, Kind: broker.ImportedTokenKind(r.Kind), UserID: r.UserID, SessionID: r.SessionID, ExpiresAt: time.UnixMilli(r.ExpiresAt).UTC(),
	}, err
}

// DeleteImportedTokens implements broker.ImportStore.
func (s *Store) DeleteImportedTokens(ctx context.Context, userID string, kind broker.ImportedTokenKind) (int, error) {
	n, err := s.exec(ctx, `DELETE FROM imported_tokens WHERE user_id = ? AND kind = ?`, userID, string(kind))
	return int(n), err
}

// ImportedTokensOf implements broker.ImportStore.
func (s *Store) ImportedTokensOf(ctx context.Context, userID string, kind broker.ImportedTokenKind, now time.Time) (n int, err error) {
	err = s.get(ctx, &n, `SELECT COUNT(*) FROM imported_tokens WHERE user_id = ? AND kind = ? AND expires_at > ?`, userID, string(kind), now.UnixMilli())
	return n, err
}

// LegacyUsers implements broker.ImportStore.
func (s *Store) LegacyUsers(ctx context.Context, now time.Time) ([]broker.User, error) {
	return s.usersWhere(ctx, `EXISTS (SELECT 1 FROM imported_tokens t WHERE t.user_id = u.id AND t.kind = ? AND t.expires_at > ?) ORDER BY u.username_key`,
		string(broker.ImportedLegacy), now.UnixMilli())
}

// InsertEvents implements broker.ImportStore.
func (s *Store) InsertEvents(ctx context.Context, list []broker.Event) error {
	rows := make([][]any, len(list))
	for i, e := range list {
		values, err := eventValues(e)
		if err != nil {
			return err
		}
		rows[i] = values
	}
	return s.inTx(ctx, func(tx *Store) error {
		_, err := tx.insertMany(ctx, insertEvent, "", rows)
		return err
	})
}
