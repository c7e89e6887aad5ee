package storage

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

const insertEvent = `INSERT INTO audit_events (` + eventColumns + `)`

func eventValues(e broker.Event) ([]any, error) {
	detail, err := json.Marshal(e.Detail)
	return []any{e.ID, e.At.UnixMilli(), e.Name, e.UserID, e.SessionID, e.ClientID, e.IP, e.Actor, string(detail)}, err
}

// InsertEvent implements broker.AuditStore.
func (s *Store) InsertEvent(ctx context.Context, e broker.Event) error {
	values, err := eventValues(e)
	if err != nil {
		return err
	}
	_, err = s.execIn(ctx, s.pools.relaxed, insertEvent+` VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, values...)
	return err
}

// eventsWhere writes a list as what stands behind WHERE.
func eventsWhere(f broker.EventFilter) (string, []any) {
	conditions, args := []string{"1 = 1"}, []any{}
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	// What an index leaves out is excluded in its words, as in [where].
	for _, c := range []struct{ condition, value string }{
		{"user_id = ?", f.UserID}, {"session_id = ?", f.SessionID}, {"client_id = ? AND client_id <> ''", f.ClientID},
		{"actor = ? AND actor <> ''", f.Actor}, {"ip = ? AND ip <> ''", f.IP}, {"name = ?", f.Name},
	} {
		if c.value != "" {
			add(c.condition, c.value)
		}
	}
	if f.NamePrefix != "" {
		add("name >= ? AND name < ?", f.NamePrefix, f.NamePrefix+afterEverything)
	}
	if len(f.Names) > 0 {
		add("name IN ("+placeholders(len(f.Names))+")", anyOf(f.Names)...)
	}
	if !f.From.IsZero() {
		add("at >= ?", f.From.UnixMilli())
	}
	if !f.Until.IsZero() {
		add("at < ?", f.Until.UnixMilli())
	}
	if f.BeforeID != "" {
		add("(at, id) < (?, ?)", f.BeforeAt.UnixMilli(), f.BeforeID)
	}
	return strings.Join(conditions, " AND ") + ` ORDER BY at DESC, id DESC LIMIT ?`, append(args, max(f.Limit, 1))
}

type eventRow struct {
	ID        string `db:"id"`
	At        int64  `db:"at"`
	Name      string `db:"name"`
	UserID    string `db:"user_id"`
	SessionID string `db:"session_id"`
	ClientID  string `db:"client_id"`
	IP        string `db:"ip"`
	Actor     string `db:"actor"`
	Detail    string `db:"detail"`
}

const eventColumns = `id, at, name, user_id, session_id, client_id, ip, actor, detail`

func events(rows []eventRow) []broker.Event {
	out := make([]broker.Event, 0, len(rows))
	for _, r := range rows {
		e := broker.Event{
			ID: r.ID, At: time.UnixMilli(r.At).UTC(), Name: r.Name, UserID: r.UserID, SessionID: r.SessionID, ClientID: r.ClientID, IP: r.IP, Actor: r.Actor,
		}
		_ = json.Unmarshal([]byte(r.Detail), &e.Detail)
		out = append(out, e)
	}
	return out
}

// ListEvents implements broker.AuditStore.
func (s *Store) ListEvents(ctx context.Context, f broker.EventFilter) ([]broker.Event, error) {
	condition, args := eventsWhere(f)
	var rows []eventRow
	err := s.list(ctx, &rows, `SELECT `+eventColumns+` FROM audit_events WHERE `+condition, args...)
	return events(rows), err
}

// KnownEvents implements broker.AuditStore.
func (s *Store) KnownEvents(ctx context.Context, ids []string) (known []string, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = s.list(ctx, &known, `SELECT id FROM audit_events WHERE id IN (`+placeholders(len(ids))+`)`, anyOf(ids)...)
	return known, err
}

// OldestEvent implements broker.AuditStore.
func (s *Store) OldestEvent(ctx context.Context) (time.Time, error) {
	var at sql.NullInt64
	err := s.get(ctx, &at, `SELECT MIN(at) FROM audit_events`)
	return fromMillis(at), err
}

// eventsOfSessions is the condition on the latest event of a name for each of n
// sessions.
func eventsOfSessions(n int) string {
	return `name = ? AND session_id IN (` + placeholders(n) + `) AND NOT EXISTS (SELECT 1 FROM audit_events later
		WHERE later.session_id = audit_events.session_id AND later.name = audit_events.name
		AND (later.at, later.id) > (audit_events.at, audit_events.id))`
}

// EventsOfSessions implements broker.AuditStore.
func (s *Store) EventsOfSessions(ctx context.Context, name string, sessionIDs []string) ([]broker.Event, error) {
	if len(sessionIDs) == 0 {
		return nil, nil
	}
	var rows []eventRow
	err := s.list(ctx, &rows, `SELECT `+eventColumns+` FROM audit_events WHERE `+eventsOfSessions(len(sessionIDs)), append([]any{name}, anyOf(sessionIDs)...)...)
	return events(rows), err
}
