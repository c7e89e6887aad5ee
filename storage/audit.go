package storage

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

const insertEvent = `INSERT INTO audit_events (id, at, name, user_id, session_id, client_id, ip, actor, detail)`

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
	_, err = s.exec(ctx, insertEvent+` VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, values...)
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

// ListEvents implements broker.AuditStore.
func (s *Store) ListEvents(ctx context.Context, f broker.EventFilter) ([]broker.Event, error) {
	condition, args := eventsWhere(f)
	var rows []struct {
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
	err := s.list(ctx, &rows, `SELECT id, at, name, user_id, session_id, client_id, ip, actor, detail FROM audit_events
		WHERE `+condition, args...)
	events := make([]broker.Event, 0, len(rows))
	for _, r := range rows {
		e := broker.Event{
			ID: r.ID, At: time.UnixMilli(r.At).UTC(), Name: r.Name, UserID: r.UserID, SessionID: r.SessionID, ClientID: r.ClientID, IP: r.IP, Actor: r.Actor,
		}
		_ = json.Unmarshal([]byte(r.Detail), &e.Detail)
		events = append(events, e)
	}
	return events, err
}
