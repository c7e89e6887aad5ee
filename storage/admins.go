package storage

import (
	"context"

	"github.com/latchkey-id/latchkey/broker"
)

// Who is asked about by keepAnAdmin: whoever administrates now, or of those the
// ones whose role an IdP may take, or whose last way in an identity is.
const (
	anyAdmin    = `u.role IN ('root', 'admin') AND u.disabled_at IS NULL`
	mappedAdmin = `u.role = 'admin' AND u.disabled_at IS NULL`
	linkedAdmin = anyAdmin + ` AND EXISTS (SELECT 1 FROM identities i WHERE i.user_id = u.id AND i.issuer = ? AND i.subject = ?)
		AND (SELECT COUNT(*) FROM identities i WHERE i.user_id = u.id) = 1`
)

// keepAnAdmin fails with LastAdmin where a user who is about to lose the
// administration is the last who has it: nobody else is an enabled
// administrator with an identity or, where that logs somebody in, a password. It needs the transaction of the
// loss. The user's own row is locked first, so that the role which is read is the
// one that is lost. Then comes one row that all such losses share: on PostgreSQL
// the second of two waits there, and the statement after it sees what the first
// has committed.
func (s *Store) keepAnAdmin(ctx context.Context, id, asked string, args ...any) error {
	if err := s.LockUser(ctx, id); err != nil {
		return err
	}
	byPassword := `u.password_hash <> ''`
	if s.noPasswords {
		byPassword = `1 = 0`
	}
	if asked == linkedAdmin {
		asked += ` AND NOT (` + byPassword + `)`
	}
	loses, err := s.exec(ctx, `INSERT INTO facts (name, value) SELECT 'admin_lost', u.id FROM users u WHERE u.id = ? AND `+asked+`
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, append([]any{id}, args...)...)
	if err != nil || loses == 0 {
		return err
	}
	var others int
	err = s.get(ctx, &others, `SELECT COUNT(*) FROM (SELECT 1 FROM users u WHERE `+anyAdmin+` AND u.id <> ?
		AND (`+byPassword+` OR EXISTS (SELECT 1 FROM identities i WHERE i.user_id = u.id)) LIMIT 1) AS other`, id)
	if err == nil && others == 0 {
		return &broker.Error{Code: broker.LastAdmin, Message: "this is the last administrator who can log in; make another one first"}
	}
	return err
}
