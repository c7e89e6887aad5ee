package storage

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type sessionRow struct {
	ID             string         `db:"id"`
	UserID         string         `db:"user_id"`
	ClientID       string         `db:"client_id"`
	ParentID       sql.NullString `db:"parent_id"`
	ProviderID     string         `db:"provider_id"`
	IdPSubject     string         `db:"idp_subject"`
	IdPSession     string         `db:"idp_session"`
	AMR            string         `db:"amr"`
	AuthTime       int64          `db:"auth_time"`
	Scope          string         `db:"scope"`
	Gen            int64          `db:"rt_gen"`
	Branch         int64          `db:"rt_branch"`
	ParentBranch   sql.NullInt64  `db:"rt_parent_branch"`
	AdvancedAt     int64          `db:"rt_advanced_at"`
	IssuedAt       int64          `db:"rt_issued_at"`
	IdleExpiresAt  int64          `db:"idle_expires_at"`
	AbsExpiresAt   int64          `db:"abs_expires_at"`
	DPoPThumbprint sql.NullString `db:"dpop_jkt"`
	CreatedAt      int64          `db:"created_at"`
	LastSeenAt     int64          `db:"last_seen_at"`
	CreatedIP      string         `db:"created_ip"`
	LastIP         string         `db:"last_ip"`
	UserAgent      string         `db:"user_agent"`
	EndedAt        sql.NullInt64  `db:"ended_at"`
	EndCause       sql.NullString `db:"end_cause"`
	Wipe           int64          `db:"wipe"`
	FollowsParent  int64          `db:"follows_parent"`
	UpstreamID     string         `db:"upstream_id"`
	VouchedAt      int64          `db:"vouched_at"`
	DeviceName     string         `db:"device_name"`
	CookieHash     string         `db:"cookie_hash"`
	IdleAway       int64          `db:"idle_away"`

	Request document[broker.SessionRequest] `db:"request"`
}

const sessionColumns = `id, user_id, client_id, parent_id, provider_id, idp_subject, idp_session, amr, auth_time, scope,
	rt_gen, rt_branch, rt_parent_branch, rt_advanced_at, rt_issued_at, idle_expires_at, abs_expires_at, dpop_jkt,
	created_at, last_seen_at, created_ip, last_ip, user_agent, ended_at, end_cause, wipe, follows_parent, request,
	upstream_id, vouched_at, device_name, cookie_hash, idle_away`

// idleEnd is when a session expires unused, in the service's own time: what
// idle_expires_at says was wall time when it was written, and idle_away is by how
// much that was ahead then. See [Options.Away].
const idleEnd = `idle_expires_at - idle_away`

// awayNow is by how much wall time is ahead of the service's own time, in ms.
func (s *Store) awayNow() int64 {
	if s.away == nil {
		return 0
	}
	return s.away().Milliseconds()
}

// served is a moment in the service's own time.
func (s *Store) served(at time.Time) int64 { return at.UnixMilli() - s.awayNow() }

// session is a row as the broker has it, its idle end in wall time as it is now.
func (s *Store) session(r sessionRow) broker.Session {
	out := r.session()
	if absent := s.awayNow() - r.IdleAway; absent != 0 && !r.EndedAt.Valid {
		out.Absent = time.Duration(absent) * time.Millisecond
		out.IdleExpiresAt = out.IdleExpiresAt.Add(out.Absent)
		if out.AbsExpiresAt.Before(out.IdleExpiresAt) {
			out.IdleExpiresAt = out.AbsExpiresAt
		}
	}
	return out
}

func (r sessionRow) session() broker.Session {
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	s := broker.Session{
		ID: r.ID, UserID: r.UserID, ClientID: r.ClientID, ParentID: r.ParentID.String, ProviderID: r.ProviderID,
		IdPSubject: r.IdPSubject, IdPSession: r.IdPSession, AMR: readList(r.AMR), AuthTime: at(r.AuthTime), Scope: r.Scope,
		Rotation: broker.Rotation{
			Generation: r.Gen, Branch: r.Branch, ParentBranch: broker.AnyBranch, AdvancedAt: at(r.AdvancedAt), IssuedAt: at(r.IssuedAt),
		},
		IdleExpiresAt: at(r.IdleExpiresAt), AbsExpiresAt: at(r.AbsExpiresAt), DPoPThumbprint: r.DPoPThumbprint.String,
		CreatedAt: at(r.CreatedAt), LastSeenAt: at(r.LastSeenAt), CreatedIP: r.CreatedIP, LastIP: r.LastIP, UserAgent: r.UserAgent,
		EndedAt: fromMillis(r.EndedAt), EndCause: broker.EndCause(r.EndCause.String), Wipe: r.Wipe != 0,
		FollowsParent: r.FollowsParent != 0, Request: r.Request.is, UpstreamID: r.UpstreamID, VouchedAt: orZero(r.VouchedAt),
		DeviceName: r.DeviceName, CookieHash: r.CookieHash,
	}
	if r.ParentBranch.Valid {
		s.ParentBranch = r.ParentBranch.Int64
	}
	return s
}

func parentBranch(b int64) sql.NullInt64 {
	return sql.NullInt64{Int64: b, Valid: b != broker.AnyBranch}
}

// enabledUser is the check that no write to a session goes without. It is a value
// and not an EXISTS, which PostgreSQL turns into a join: the statement of a refresh
// took a tenth longer with that.
const enabledUser = `(SELECT u.disabled_at IS NULL FROM users u WHERE u.id = sessions.user_id)`

// InsertSession implements broker.SessionStore. It locks the rows of the user,
// of the parent and of the login at an IdP against a disabling, password change,
// deletion or end that is under way, so that whichever comes first, the other sees it.
func (s *Store) InsertSession(ctx context.Context, n broker.Session, hash broker.PasswordHash) (u broker.User, err error) {
	if s.tx == nil {
		err = s.Tx(ctx, func(tx broker.Store) error {
			u, err = tx.InsertSession(ctx, n, hash)
			return err
		})
		return u, err
	}
	var row userRow
	err = s.writeRow(ctx, s.pools.writer, &row, `UPDATE users SET last_seen_at = ? WHERE id = ? AND disabled_at IS NULL
		AND (CAST(? AS TEXT) = '' OR password_hash = ?) RETURNING `+returnedUser, n.CreatedAt.UnixMilli(), n.UserID, string(hash), string(hash))
	// Before the parent, in the order in which a check of the login ends sessions.
	if err == nil && n.UpstreamID != "" {
		err = s.lockUpstream(ctx, n.UpstreamID)
	}
	if err == nil && n.ParentID != "" {
		n.ParentID, err = s.lockParent(ctx, n.ParentID)
	}
	if errors.Is(err, broker.NotFound) {
		return u, &broker.Error{Code: broker.UserDisabled, Message: "the account was disabled or changed during the login"}
	}
	if err != nil {
		return u, err
	}
	return row.user(), s.insertSessionRow(ctx, n)
}

func (s *Store) insertSessionRow(ctx context.Context, n broker.Session) error {
	_, err := s.exec(ctx, `INSERT INTO sessions (`+sessionColumns+`, gc_after) VALUES (`+strings.Repeat("?, ", 33)+`?)`,
		n.ID, n.UserID, n.ClientID, orNull(n.ParentID), n.ProviderID, n.IdPSubject, n.IdPSession, jsonList(n.AMR), n.AuthTime.UnixMilli(), n.Scope,
		n.Generation, n.Branch, parentBranch(n.ParentBranch), n.AdvancedAt.UnixMilli(), n.IssuedAt.UnixMilli(),
		n.IdleExpiresAt.UnixMilli(), n.AbsExpiresAt.UnixMilli(), orNull(n.DPoPThumbprint),
		n.CreatedAt.UnixMilli(), n.LastSeenAt.UnixMilli(), n.CreatedIP, n.LastIP, n.UserAgent, nil, nil, flag(n.Wipe),
		flag(n.FollowsParent), document[broker.SessionRequest]{n.Request}, n.UpstreamID, zeroMillis(n.VouchedAt), n.DeviceName, n.CookieHash, s.awayNow(),
		n.IdleExpiresAt.UnixMilli())
	return err
}

type sessionUserRow struct {
	sessionRow
	User userColumn `db:"joined_user"`
}

// sessionUser is the user of a session as one column: SQLite's RETURNING sees
// the target table alone, a scalar subquery gives one value, and a subquery
// for each of a user's columns costs as much as the rest of the statement.
const sessionUser = `(SELECT ` + jsonArray + `(u.id, u.username, u.display_name, u.email, u.email_verified, u.role, u.idp_groups,
	u.password_hash, u.created_at, u.updated_at, u.last_seen_at, u.disabled_at, u.permissions, u.notice, u.password_temporary, u.second_factor,
	CASE WHEN EXISTS (SELECT 1 FROM identities i WHERE i.user_id = u.id) THEN 1 ELSE 0 END)
	FROM users u WHERE u.id = sessions.user_id) AS joined_user`

// userColumn reads sessionUser, in its order. Without a user it stays empty.
type userColumn struct{ userRow }

// Scan implements sql.Scanner.
func (r *userColumn) Scan(value any) error {
	return scanArray(value,
		&r.ID, &r.Username, &r.Name, &r.Email, &r.EmailVerified, &r.Role, &r.Groups, &r.PasswordHash, &r.CreatedAt, &r.UpdatedAt,
		&r.LastSeenAt, &r.DisabledAt, &r.Permissions, &r.Notice, &r.Temporary, &r.SecondFactor, &r.HasIdentity)
}

// wholeSession is a session as one column: 33 of them take SQLite's driver longer than
// the search for the row.
const wholeSession = jsonArray + `(` + sessionColumns + `) AS whole_session`

// sessionColumn reads wholeSession, in the order of sessionColumns.
type sessionColumn struct{ sessionRow }

// Scan implements sql.Scanner.
func (r *sessionColumn) Scan(value any) error {
	return scanArray(value,
		&r.ID, &r.UserID, &r.ClientID, &r.ParentID, &r.ProviderID, &r.IdPSubject, &r.IdPSession, &r.AMR, &r.AuthTime, &r.Scope,
		&r.Gen, &r.Branch, &r.ParentBranch, &r.AdvancedAt, &r.IssuedAt, &r.IdleExpiresAt, &r.AbsExpiresAt, &r.DPoPThumbprint,
		&r.CreatedAt, &r.LastSeenAt, &r.CreatedIP, &r.LastIP, &r.UserAgent, &r.EndedAt, &r.EndCause, &r.Wipe, &r.FollowsParent, &r.Request,
		&r.UpstreamID, &r.VouchedAt, &r.DeviceName, &r.CookieHash, &r.IdleAway)
}

type wholeSessionRow struct {
	Session sessionColumn `db:"whole_session"`
	User    userColumn    `db:"joined_user"`
}

const sessionByID = `SELECT ` + wholeSession + `, ` + sessionUser + ` FROM sessions WHERE id = ?`

// SessionByID implements broker.SessionStore, in one statement.
func (s *Store) SessionByID(ctx context.Context, id string) (broker.Session, broker.User, error) {
	var row wholeSessionRow
	err := s.get(ctx, &row, sessionByID, id)
	return s.session(row.Session.sessionRow), row.User.user(), err
}

// The last words are those of the index, or SQLite would not use it.
const sessionByCookie = `SELECT ` + wholeSession + `, ` + sessionUser + ` FROM sessions WHERE cookie_hash = ? AND client_id = ? AND cookie_hash <> ''`

// SessionByCookie implements broker.SessionStore, in one statement.
func (s *Store) SessionByCookie(ctx context.Context, clientID, cookieHash string) (broker.Session, broker.User, error) {
	var row wholeSessionRow
	err := s.get(ctx, &row, sessionByCookie, cookieHash, clientID)
	return s.session(row.Session.sessionRow), row.User.user(), err
}

const sessionState = `SELECT s.user_id AS user_id, s.ended_at AS ended_at, s.end_cause AS end_cause, s.idle_expires_at AS idle_expires_at,
	s.idle_away AS idle_away, s.abs_expires_at AS abs_expires_at, s.wipe AS wipe, u.id AS u_id, u.username AS u_username, u.disabled_at AS u_disabled_at
	FROM sessions s LEFT JOIN users u ON u.id = s.user_id WHERE s.id = ?`

// SessionState implements broker.SessionStore.
func (s *Store) SessionState(ctx context.Context, id string) (broker.Session, broker.User, error) {
	var r struct {
		UserID        string         `db:"user_id"`
		EndedAt       sql.NullInt64  `db:"ended_at"`
		EndCause      sql.NullString `db:"end_cause"`
		IdleExpiresAt int64          `db:"idle_expires_at"`
		IdleAway      int64          `db:"idle_away"`
		AbsExpiresAt  int64          `db:"abs_expires_at"`
		Wipe          int64          `db:"wipe"`
		ID            sql.NullString `db:"u_id"`
		Username      sql.NullString `db:"u_username"`
		DisabledAt    sql.NullInt64  `db:"u_disabled_at"`
	}
	if err := s.get(ctx, &r, sessionState, id); err != nil {
		return broker.Session{}, broker.User{}, err
	}
	if absent := s.awayNow() - r.IdleAway; absent != 0 && !r.EndedAt.Valid {
		r.IdleExpiresAt = min(r.IdleExpiresAt+absent, r.AbsExpiresAt)
	}
	return broker.Session{
		ID: id, UserID: r.UserID, EndedAt: fromMillis(r.EndedAt), EndCause: broker.EndCause(r.EndCause.String),
		IdleExpiresAt: time.UnixMilli(r.IdleExpiresAt).UTC(), AbsExpiresAt: time.UnixMilli(r.AbsExpiresAt).UTC(), Wipe: r.Wipe != 0,
	}, broker.User{ID: r.ID.String, Username: r.Username.String, DisabledAt: fromMillis(r.DisabledAt)}, nil
}

// slide moves what every use of a session moves. It leaves gc_after alone: no
// indexed column moves, so that PostgreSQL updates the row in place and SQLite
// writes one page.
const slide = `last_seen_at = ?, last_ip = ?, idle_expires_at = CASE WHEN abs_expires_at < ? THEN abs_expires_at ELSE ? END, idle_away = ?`

func slideArgs(t broker.Touch, away int64) []any {
	idle := t.IdleExpiresAt.UnixMilli()
	return []any{t.Now.UnixMilli(), t.IP, idle, idle, away}
}

// advanceQuery returns what an answer needs and it does not itself say of the row: every
// column is paid for.
const advanceQuery = `UPDATE sessions SET rt_parent_branch = ?, rt_gen = rt_gen + 1, rt_branch = 0, rt_advanced_at = ?, rt_issued_at = ?, ` + slide + `
	WHERE id = ? AND rt_gen = ? AND rt_branch >= ? AND rt_advanced_at <= ? AND ended_at IS NULL
	AND ` + idleEnd + ` > ? AND abs_expires_at > ? AND client_id = ? AND dpop_jkt IS NULL AND ` + enabledUser + `
	RETURNING user_id, provider_id, amr, auth_time, scope, idle_expires_at, abs_expires_at, request, ` + sessionUser

// AdvanceSession implements broker.SessionStore: the hot path, one statement,
// its commit relaxed.
func (s *Store) AdvanceSession(ctx context.Context, a broker.Advance) (broker.Session, broker.User, bool, error) {
	now, away := a.Now.UnixMilli(), s.awayNow()
	args := append([]any{a.Branch, now, now}, slideArgs(a.Touch, away)...)
	args = append(args, a.ID, a.Generation, a.Branch, a.AdvancedBefore.UnixMilli(), now-away, now, a.ClientID)
	one := &advancing{ctx: ctx, args: args}
	one.row.sessionRow = sessionRow{
		ID: a.ID, ClientID: a.ClientID, Gen: a.Generation + 1, ParentBranch: sql.NullInt64{Int64: a.Branch, Valid: true},
		AdvancedAt: now, IssuedAt: now, LastSeenAt: now, LastIP: a.IP, IdleAway: away,
	}
	switch err := s.advance(one); {
	case errors.Is(err, broker.NotFound):
		return broker.Session{}, broker.User{}, false, nil
	case err != nil:
		return broker.Session{}, broker.User{}, false, err
	}
	return s.session(one.row.sessionRow), one.row.User.user(), true, nil
}

// WriteRotation implements broker.SessionStore.
func (s *Store) WriteRotation(ctx context.Context, w broker.RotationWrite) (bool, error) {
	const where = ` WHERE id = ? AND rt_gen = ? AND rt_branch = ? AND rt_issued_at < ? AND ended_at IS NULL`
	issuedBefore, keepAfter := int64(math.MaxInt64), int64(math.MaxInt64)
	if !w.IssuedBefore.IsZero() {
		issuedBefore = w.IssuedBefore.UnixMilli()
	}
	if w.KeepLaterIssue {
		keepAfter = w.Next.IssuedAt.UnixMilli()
	}
	at := []any{w.ID, w.From.Generation, w.From.Branch, issuedBefore}
	if w.End.Cause != "" {
		n, err := s.exec(ctx, `UPDATE sessions SET `+end+where, append(endArgs(w.End), at...)...)
		return n > 0, err
	}
	args := []any{
		w.Next.Generation, w.Next.Branch, parentBranch(w.Next.ParentBranch), w.Next.AdvancedAt.UnixMilli(),
		keepAfter, w.Next.IssuedAt.UnixMilli(),
	}
	args = append(append(args, slideArgs(w.Touch, s.awayNow())...), at...)
	n, err := s.exec(ctx, `UPDATE sessions SET rt_gen = ?, rt_branch = ?, rt_parent_branch = ?, rt_advanced_at = ?,
		rt_issued_at = CASE WHEN rt_issued_at > ? THEN rt_issued_at ELSE ? END, `+slide+where+` AND `+enabledUser, args...)
	return n > 0, err
}

// TouchSession implements broker.SessionStore.
func (s *Store) TouchSession(ctx context.Context, t broker.Touch) error {
	_, err := s.execIn(ctx, s.pools.relaxed, `UPDATE sessions SET `+slide+` WHERE id = ? AND ended_at IS NULL`, append(slideArgs(t, s.awayNow()), t.ID)...)
	return err
}

// NameSession implements broker.SessionStore.
func (s *Store) NameSession(ctx context.Context, id, userID, name string) error {
	if !possible(id) {
		return &broker.Error{Code: broker.NotFound}
	}
	return found(s.exec(ctx, `UPDATE sessions SET device_name = ? WHERE id = ? AND user_id = ? AND ended_at IS NULL`, name, id, userID))
}

// ListSessions implements broker.SessionStore.
func (s *Store) ListSessions(ctx context.Context, f broker.SessionFilter, offset, limit int) ([]broker.Session, int, error) {
	condition, args := s.where(f)
	var total int
	if err := s.get(ctx, &total, `SELECT COUNT(*) FROM sessions WHERE `+condition, args...); err != nil {
		return nil, 0, err
	}
	var rows []sessionRow
	err := s.list(ctx, &rows, `SELECT `+sessionColumns+` FROM sessions WHERE `+condition+` ORDER BY last_seen_at DESC, id DESC LIMIT ? OFFSET ?`,
		append(args, limit, offset)...)
	if err != nil {
		return nil, 0, err
	}
	out := s.sessions(rows)
	return out, total, s.addUpstreams(ctx, pointers(out))
}

// pageOfEnded is a page of a user's sessions by their end, as what stands behind
// WHERE. The index has those that have one.
const pageOfEnded = `user_id = ? AND ended_at IS NOT NULL AND (ended_at, id) < (?, ?) ORDER BY ended_at DESC, id DESC LIMIT ?`

// PageEnded implements broker.SessionStore.
func (s *Store) PageEnded(ctx context.Context, userID string, afterEnd time.Time, afterID string, limit int) ([]broker.Session, error) {
	after := int64(math.MaxInt64)
	if !afterEnd.IsZero() {
		after = afterEnd.UnixMilli()
	}
	var rows []sessionRow
	err := s.list(ctx, &rows, `SELECT `+sessionColumns+` FROM sessions WHERE `+pageOfEnded, userID, after, afterID, limit)
	return s.sessions(rows), err
}

func (s *Store) sessions(rows []sessionRow) []broker.Session {
	out := make([]broker.Session, 0, len(rows))
	for _, r := range rows {
		out = append(out, s.session(r))
	}
	return out
}
