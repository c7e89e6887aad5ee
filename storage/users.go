package storage

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// userRow is users as read by userColumns; every column may be NULL where it is
// the missing side of a join.
type userRow struct {
	ID            sql.NullString `db:"u_id"`
	Username      sql.NullString `db:"u_username"`
	Name          sql.NullString `db:"u_name"`
	Email         sql.NullString `db:"u_email"`
	EmailVerified sql.NullInt64  `db:"u_email_verified"`
	Role          sql.NullString `db:"u_role"`
	Groups        sql.NullString `db:"u_groups"`
	PasswordHash  sql.NullString `db:"u_password_hash"`
	CreatedAt     sql.NullInt64  `db:"u_created_at"`
	UpdatedAt     sql.NullInt64  `db:"u_updated_at"`
	LastSeenAt    sql.NullInt64  `db:"u_last_seen_at"`
	DisabledAt    sql.NullInt64  `db:"u_disabled_at"`
	Temporary     sql.NullInt64  `db:"u_temporary"`
	SecondFactor  sql.NullInt64  `db:"u_second_factor"`
	HasIdentity   sql.NullInt64  `db:"u_has_identity"`
	Language      sql.NullString `db:"u_language"`
	EmailVouched  sql.NullString `db:"u_email_vouched"`

	Permissions document[*broker.Permissions] `db:"u_permissions"`
	Notice      document[broker.Notice]       `db:"u_notice"`
}

const userColumns = `u.id AS u_id, u.username AS u_username, u.display_name AS u_name, u.email AS u_email,
	u.email_verified AS u_email_verified, u.role AS u_role, u.idp_groups AS u_groups, u.password_hash AS u_password_hash,
	u.created_at AS u_created_at, u.updated_at AS u_updated_at, u.last_seen_at AS u_last_seen_at, u.disabled_at AS u_disabled_at,
	u.permissions AS u_permissions, u.notice AS u_notice, u.password_temporary AS u_temporary,
	u.language AS u_language, u.email_vouched AS u_email_vouched,
	u.second_factor AS u_second_factor,
	COALESCE((SELECT 1 FROM identities i WHERE i.user_id = u.id LIMIT 1), 0) AS u_has_identity` // for EXISTS, PostgreSQL reads all identities

// returnedUser is userColumns for a RETURNING, where SQLite knows no alias.
var returnedUser = strings.ReplaceAll(userColumns, "u.", "users.")

func (r userRow) user() broker.User {
	u := broker.User{
		ID: r.ID.String, Username: r.Username.String, Name: r.Name.String, Email: r.Email.String,
		EmailVerified: r.EmailVerified.Int64 != 0, Role: broker.Role(r.Role.String),
		PasswordHash: broker.PasswordHash(r.PasswordHash.String), HasIdentity: r.HasIdentity.Int64 != 0,
		CreatedAt: fromMillis(r.CreatedAt), UpdatedAt: fromMillis(r.UpdatedAt),
		LastSeenAt: fromMillis(r.LastSeenAt), DisabledAt: fromMillis(r.DisabledAt),
		Permissions: r.Permissions.is, Notice: r.Notice.is, PasswordTemporary: r.Temporary.Int64 != 0,
		Language: r.Language.String, EmailVouched: r.EmailVouched.String,
		SecondFactor: r.SecondFactor.Int64 != 0,
	}
	u.Groups = readList(r.Groups.String)
	return u
}

const insertUser = `INSERT INTO users (id, username, username_key, display_name, email, email_key, email_verified, role, idp_groups,
	password_hash, created_at, updated_at, last_seen_at, disabled_at, permissions, notice, password_temporary, name_key, language, email_vouched) `

func userValues(u broker.User) []any {
	return []any{
		u.ID, u.Username, broker.FoldUsername(u.Username), u.Name, u.Email, broker.FoldEmail(u.Email), flag(u.EmailVerified), string(u.Role),
		jsonList(u.Groups), string(u.PasswordHash), u.CreatedAt.UnixMilli(), u.UpdatedAt.UnixMilli(), millis(u.LastSeenAt), millis(u.DisabledAt),
		document[*broker.Permissions]{u.Permissions}, document[broker.Notice]{u.Notice}, flag(u.PasswordTemporary), broker.FoldName(u.Name),
		u.Language, u.EmailVouched,
	}
}

const usernameTaken = "this username is taken"

// InsertUser implements broker.UserStore. On PostgreSQL it waits for a
// transaction that is about to take the same name, and the caller's own goes on
// after a refusal.
func (s *Store) InsertUser(ctx context.Context, u broker.User) error {
	n, err := s.exec(ctx, insertUser+`VALUES (`+placeholders(20)+`) ON CONFLICT (username_key) DO NOTHING`, userValues(u)...)
	if err == nil && n == 0 {
		return &broker.Error{Code: broker.UsernameTaken, Message: usernameTaken}
	}
	return err
}

// InsertFirstAdmin implements broker.UserStore. Both statements run in the
// caller's transaction: the first takes a row lock, so that on PostgreSQL the
// second sees what an earlier winner has committed.
func (s *Store) InsertFirstAdmin(ctx context.Context, u broker.User) error {
	_, err := s.exec(ctx, `INSERT INTO facts (name, value) VALUES ('first_admin', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, u.ID)
	if err != nil {
		return err
	}
	n, err := s.exec(ctx, insertUser+`SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT),
		CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT),
		CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT)
		WHERE NOT EXISTS (SELECT 1 FROM users WHERE role IN ('root', 'admin'))`, userValues(u)...)
	if err == nil && n == 0 {
		return &broker.Error{Code: broker.SetupDone, Message: "this installation has an administrator already"}
	}
	return s.unique(err, broker.UsernameTaken, usernameTaken)
}

func (s *Store) userWhere(ctx context.Context, where string, args ...any) (broker.User, error) {
	var row userRow
	err := s.get(ctx, &row, `SELECT `+userColumns+` FROM users u WHERE `+where, args...)
	return row.user(), err
}

// UserByID implements broker.UserStore.
func (s *Store) UserByID(ctx context.Context, id string) (broker.User, error) {
	return s.userWhere(ctx, `u.id = ?`, id)
}

// UserByUsername implements broker.UserStore; the name is folded.
func (s *Store) UserByUsername(ctx context.Context, folded string) (broker.User, error) {
	return s.userWhere(ctx, `u.username_key = ?`, folded)
}

// UsersByEmail implements broker.UserStore.
func (s *Store) UsersByEmail(ctx context.Context, email string) ([]broker.User, error) {
	return s.usersWhere(ctx, `u.email_key = ? ORDER BY u.username_key LIMIT 10`, broker.FoldEmail(email))
}

func (s *Store) usersWhere(ctx context.Context, where string, args ...any) ([]broker.User, error) {
	var rows []userRow
	err := s.list(ctx, &rows, `SELECT `+userColumns+` FROM users u WHERE `+where, args...)
	users := make([]broker.User, 0, len(rows))
	for _, r := range rows {
		users = append(users, r.user())
	}
	return users, err
}

// Usernames implements broker.UserStore.
func (s *Store) Usernames(ctx context.Context, ids []string) (map[string]string, error) {
	out := map[string]string{}
	for some := range slices.Chunk(onlyPossible(ids), perStatement) {
		var rows []struct {
			ID       string `db:"id"`
			Username string `db:"username"`
		}
		if err := s.list(ctx, &rows, `SELECT id, username FROM users WHERE id IN (`+placeholders(len(some))+`)`, anyOf(some)...); err != nil {
			return nil, err
		}
		for _, r := range rows {
			out[r.ID] = r.Username
		}
	}
	return out, nil
}

// LockUser implements broker.UserStore. An UPDATE locks on both databases.
func (s *Store) LockUser(ctx context.Context, id string) error {
	return found(s.exec(ctx, `UPDATE users SET updated_at = updated_at WHERE id = ?`, id))
}

// UpdateUser implements broker.UserStore.
func (s *Store) UpdateUser(ctx context.Context, u broker.User) error {
	return s.inTx(ctx, func(tx *Store) error {
		if !u.Role.IsAdmin() || !u.DisabledAt.IsZero() {
			if err := tx.keepAnAdmin(ctx, u.ID, anyAdmin); err != nil {
				return err
			}
		}
		n, err := tx.exec(ctx, `UPDATE users SET username = ?, username_key = ?, display_name = ?, name_key = ?, email = ?, email_key = ?,
			email_verified = ?, role = ?, idp_groups = ?, updated_at = ?, disabled_at = ?, permissions = ?, email_vouched = ? WHERE id = ?`,
			u.Username, broker.FoldUsername(u.Username), u.Name, broker.FoldName(u.Name), u.Email, broker.FoldEmail(u.Email),
			flag(u.EmailVerified), string(u.Role), jsonList(u.Groups), u.UpdatedAt.UnixMilli(), millis(u.DisabledAt),
			document[*broker.Permissions]{u.Permissions}, u.EmailVouched, u.ID)
		return tx.unique(found(n, err), broker.UsernameTaken, usernameTaken)
	})
}

// UpdateProfile implements broker.UserStore.
func (s *Store) UpdateProfile(ctx context.Context, u broker.User, role broker.Role) error {
	return s.inTx(ctx, func(tx *Store) error {
		if role != "" && !role.IsAdmin() {
			if err := tx.keepAnAdmin(ctx, u.ID, mappedAdmin); err != nil {
				return err
			}
		}
		return found(tx.exec(ctx, `UPDATE users SET display_name = ?, name_key = ?, email = ?, email_key = ?, email_verified = ?, idp_groups = ?,
			role = CASE WHEN role = 'root' OR CAST(? AS TEXT) = '' THEN role ELSE CAST(? AS TEXT) END, updated_at = ? WHERE id = ?`,
			u.Name, broker.FoldName(u.Name), u.Email, broker.FoldEmail(u.Email), flag(u.EmailVerified), jsonList(u.Groups),
			string(role), string(role), u.UpdatedAt.UnixMilli(), u.ID))
	})
}

// SetPassword implements broker.UserStore.
func (s *Store) SetPassword(ctx context.Context, id string, old *broker.PasswordHash, hash broker.PasswordHash, temporary bool, now time.Time) (bool, error) {
	query, args := `UPDATE users SET password_hash = ?, password_temporary = ?, updated_at = ? WHERE id = ?`,
		[]any{string(hash), flag(temporary), now.UnixMilli(), id}
	if old != nil {
		query, args = query+` AND password_hash = ?`, append(args, string(*old))
	}
	n, err := s.exec(ctx, query, args...)
	return n > 0, err
}

// SetPermissions implements broker.UserStore.
func (s *Store) SetPermissions(ctx context.Context, id string, p *broker.Permissions) error {
	return found(s.exec(ctx, `UPDATE users SET permissions = ? WHERE id = ?`, document[*broker.Permissions]{p}, id))
}

// SetLanguage implements broker.UserStore.
func (s *Store) SetLanguage(ctx context.Context, id, language string) error {
	return found(s.exec(ctx, `UPDATE users SET language = ? WHERE id = ?`, language, id))
}

// SetNotice implements broker.UserStore.
func (s *Store) SetNotice(ctx context.Context, id string, n broker.Notice) error {
	return found(s.exec(ctx, `UPDATE users SET notice = ? WHERE id = ?`, document[broker.Notice]{n}, id))
}

// DeleteUser implements broker.UserStore.
func (s *Store) DeleteUser(ctx context.Context, id string) error {
	return s.inTx(ctx, func(tx *Store) error {
		if err := tx.keepAnAdmin(ctx, id, anyAdmin); err != nil {
			return err
		}
		return found(tx.exec(ctx, `DELETE FROM users WHERE id = ?`, id))
	})
}

// HasAdmin implements broker.UserStore.
func (s *Store) HasAdmin(ctx context.Context) (bool, error) {
	var n int
	err := s.get(ctx, &n, `SELECT COUNT(*) FROM (SELECT 1 FROM users WHERE role IN ('root', 'admin') LIMIT 1) AS one`)
	return n > 0, err
}
