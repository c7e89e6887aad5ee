package storage

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// nobody is a condition that no session meets.
const nobody = "1 = 0"

// where writes a filter as a condition.
func (s *Store) where(f broker.SessionFilter) (string, []any) {
	conditions, args := []string{}, []any{}
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	// What an index leaves out is excluded in its words: no parameter tells SQLite
	// that it may use the index.
	client := "client_id = ?"
	if f.ClientID != broker.AppClientID {
		client += " AND client_id <> '" + broker.AppClientID + "'"
	}
	provider := "provider_id = ?"
	if f.IdPSession+f.IdPSubject+f.UpstreamID == "" { // which name far fewer
		provider += " AND provider_id <> ''"
	}
	for _, c := range []struct{ condition, value string }{
		{"id = ?", f.ID}, {"user_id = ?", f.UserID}, {"id <> ?", f.ExceptID}, {"parent_id = ?", f.ParentID},
		{client, f.ClientID}, {provider, f.ProviderID}, {"created_ip = ? AND created_ip <> ''", f.IP}, {"last_ip = ?", f.LastIP},
		{"idp_session = ? AND idp_session <> ''", f.IdPSession}, {"idp_subject = ? AND idp_subject <> ''", f.IdPSubject},
		{"upstream_id = ? AND upstream_id <> ''", f.UpstreamID},
	} {
		if !possible(c.value) {
			return nobody, nil // an IdP may send anything
		}
		if c.value != "" {
			add(c.condition, c.value)
		}
	}
	if f.ExceptFollowers && f.ExceptID != "" {
		add("(follows_parent = 0 OR parent_id IS NULL OR parent_id <> ?)", f.ExceptID)
	}
	if !f.CreatedBefore.IsZero() {
		add("created_at < ?", f.CreatedBefore.UnixMilli())
	}
	if !f.LiveAt.IsZero() {
		add("ended_at IS NULL AND "+idleEnd+" > ? AND abs_expires_at > ?", s.served(f.LiveAt), f.LiveAt.UnixMilli())
	}
	if f.NotEnded {
		add("ended_at IS NULL")
	}
	if !f.OverAt.IsZero() {
		add("(ended_at IS NOT NULL OR "+idleEnd+" <= ? OR abs_expires_at <= ?)", s.served(f.OverAt), f.OverAt.UnixMilli())
	}
	if f.EndCause != "" {
		add("end_cause = ?", string(f.EndCause))
	}
	if f.ID+f.UserID+f.ParentID+f.ClientID+f.ProviderID+f.IdPSession+f.IdPSubject+f.UpstreamID+f.IP+f.LastIP == "" && !f.All {
		return nobody, nil // a filter that names nobody names nothing, never everything
	}
	return strings.Join(append(conditions, "1 = 1"), " AND "), args
}

// EndSessions implements broker.SessionStore.
func (s *Store) EndSessions(ctx context.Context, f broker.SessionFilter, e broker.End) ([]broker.Session, error) {
	condition, args := s.where(f)
	return s.endWhere(ctx, end, condition+` AND ended_at IS NULL`, append(endArgs(e), args...))
}

// EndBeyond implements broker.SessionStore. After InsertSession in the same
// transaction, which has locked the user, it counts every session that was made.
func (s *Store) EndBeyond(ctx context.Context, userID, keepID string, limit int, e broker.End) ([]broker.Session, error) {
	return s.endWhere(ctx, end, beyond(ofUser),
		append(endArgs(e), userID, keepID, s.served(e.At), e.At.UnixMilli(), math.MaxInt32, limit-1))
}

// EndFollowersBeyond implements broker.SessionStore. After InsertSession in the same
// transaction, which has locked the user and the parent, it counts every session that
// was made. Whom the new one follows its row says: InsertSession finds who has taken
// the place of the parent that it was given.
func (s *Store) EndFollowersBeyond(ctx context.Context, madeID string, most broker.FollowerLimits, e broker.End) (out []broker.Session, err error) {
	err = s.inTx(ctx, func(tx *Store) error {
		out = nil // it may run again
		// Nearly always there are few, which costs less to see than to end none.
		var live int
		err := tx.get(ctx, &live, `SELECT COUNT(*) FROM sessions WHERE `+sameParent+` AND ended_at IS NULL`, madeID)
		if err != nil || live <= min(most.OfClient, most.OfKind) {
			return err
		}
		for _, of := range []struct {
			condition string
			limit     int
		}{
			{sameClient, most.OfClient}, // first: they take no place of others then
			{sameKind, most.OfKind},
		} {
			ended, err := tx.endWhere(ctx, end, beyond(of.condition),
				append(endArgs(e), madeID, madeID, madeID, s.served(e.At), e.At.UnixMilli(), math.MaxInt32, of.limit-1))
			if err != nil {
				return err
			}
			out = append(out, ended...)
		}
		return nil
	})
	return out, err
}

// Sessions of which a limit lets so many live: those that count for a user, and those
// that follow the same session as another one, for the same client or of the same kind.
const (
	ofUser     = `user_id = ? AND follows_parent = 0`
	sameParent = `follows_parent = 1 AND parent_id = (SELECT parent_id FROM sessions WHERE id = ? AND follows_parent = 1)`
	sameClient = sameParent + ` AND client_id = (SELECT client_id FROM sessions WHERE id = ?)`
	sameKind   = sameParent + ` AND (cookie_hash = '') = (SELECT cookie_hash = '' FROM sessions WHERE id = ?)`
)

// beyond is the condition on those that live, meet a condition and were unused for
// longest, but for one, and for as many as may stay. What has ended it leaves out in the
// words of the indexes of what lives: anybody may have any number of that.
func beyond(condition string) string {
	return `ended_at IS NULL AND id IN (SELECT id FROM sessions WHERE ` + condition + `
		AND id <> ? AND ended_at IS NULL AND ` + idleEnd + ` > ? AND abs_expires_at > ?
		ORDER BY last_seen_at DESC, id DESC LIMIT ? OFFSET ?)`
}

const end = `ended_at = ?, end_cause = ?, wipe = ?, gc_after = ?`

func endArgs(e broker.End) []any {
	return []any{e.At.UnixMilli(), string(e.Cause), flag(e.Wipe), e.KeepUntil.UnixMilli()}
}

// EndExpired implements broker.SessionStore, by the index on gc_after: the
// moment at which a row is looked at. A session that was used since then is
// looked at again when it would expire now.
func (s *Store) EndExpired(ctx context.Context, before time.Time, e broker.End, limit int) ([]broker.Session, error) {
	away, now := s.awayNow(), e.At.UnixMilli()
	const (
		used  = `ended_at IS NULL AND ` + idleEnd + ` > ? AND abs_expires_at > ?`
		idle  = idleEnd + ` + CAST(? AS BIGINT)` // in wall time
		first = `CASE WHEN abs_expires_at <= ` + idle + ` THEN abs_expires_at ELSE ` + idle + ` END`
	)
	_, err := s.exec(ctx, `UPDATE sessions SET gc_after = `+first+` WHERE `+used+` AND id IN (SELECT id FROM sessions WHERE gc_after <= ? AND `+used+` LIMIT ?)`,
		away, away, now-away, now, now, now-away, now, 10*limit)
	if err != nil {
		return nil, err
	}
	return s.endWhere(ctx, `end_cause = CASE WHEN abs_expires_at <= `+idle+` THEN '`+string(broker.SessionMaxAge)+`' ELSE '`+string(broker.SessionExpired)+`' END,
		ended_at = `+first+`, gc_after = ?`,
		`id IN (SELECT id FROM sessions WHERE gc_after <= ? AND ended_at IS NULL AND (`+idleEnd+` <= ? OR abs_expires_at <= ?) LIMIT ?) AND ended_at IS NULL`,
		[]any{away, away, away, e.KeepUntil.UnixMilli(), now, before.UnixMilli() - away, before.UnixMilli(), limit})
}

// EndFollowers implements broker.SessionStore. A session that is being made
// meanwhile has locked its parent, and so comes before the parent's end or not
// at all.
func (s *Store) EndFollowers(ctx context.Context, parentIDs []string, e broker.End) (out []broker.Session, err error) {
	err = s.inTx(ctx, func(tx *Store) error {
		out = nil // it may run again
		for ids := range slices.Chunk(parentIDs, perStatement) {
			args := endArgs(e)
			for _, id := range ids {
				args = append(args, id)
			}
			ended, err := tx.endWhere(ctx, end, followersOf(len(ids))+` AND ended_at IS NULL`, args)
			if err != nil {
				return err
			}
			out = append(out, ended...)
		}
		return nil
	})
	return out, err
}

// MoveFollowers implements broker.SessionStore.
func (s *Store) MoveFollowers(ctx context.Context, from, to string) error {
	return s.inTx(ctx, func(tx *Store) error {
		_, err := tx.exec(ctx, `UPDATE sessions SET replaced_by = ? WHERE id = ?`, to, from)
		if err == nil {
			_, err = tx.exec(ctx, `UPDATE sessions SET parent_id = ? WHERE `+followersOf(1)+` AND ended_at IS NULL`, to, from)
		}
		return err
	})
}

// lockParent locks the live session that a new one is made from against its end,
// and returns it: the parent, or what has taken its place in its browser.
func (s *Store) lockParent(ctx context.Context, id string) (string, error) {
	const most = 10 // logins of one browser while a code waits
	for range most {
		err := found(s.exec(ctx, `UPDATE sessions SET wipe = wipe WHERE id = ? AND ended_at IS NULL`, id))
		if !errors.Is(err, broker.NotFound) {
			return id, err
		}
		if err := s.get(ctx, &id, `SELECT replaced_by FROM sessions WHERE id = ? AND replaced_by <> ''`, id); err != nil {
			return id, err
		}
	}
	return id, &broker.Error{Code: broker.NotFound}
}

// followersOf is the condition on those who follow n sessions.
func followersOf(n int) string {
	return `follows_parent = 1 AND parent_id IN (` + placeholders(n) + `)`
}

const endedSince = `ended_at > ? AND end_cause NOT IN ('` + string(broker.SessionExpired) + `', '` + string(broker.SessionMaxAge) + `')`

// EndedSince implements broker.SessionStore.
func (s *Store) EndedSince(ctx context.Context, since time.Time) (ids []string, err error) {
	err = s.list(ctx, &ids, `SELECT id FROM sessions WHERE `+endedSince, since.UnixMilli())
	return ids, err
}

// endWhere runs an UPDATE that ends sessions; it needs a transaction, because
// it reads what it wrote.
func (s *Store) endWhere(ctx context.Context, set, condition string, args []any) (out []broker.Session, err error) {
	var rows []sessionRow
	err = s.inTx(ctx, func(tx *Store) error {
		rows = nil // it may run again
		return tx.list(ctx, &rows, `UPDATE sessions SET `+set+` WHERE `+condition+` RETURNING `+sessionColumns, args...)
	})
	return s.sessions(rows), err
}
