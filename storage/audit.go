package storage

import (
	"context"
	"encoding/json"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

const insertEvent = `INSERT INTO audit_events (id, at, name, user_id, session_id, client_id, ip, detail)`

func eventValues(e broker.Event) ([]any, error) {
	detail, err := json.Marshal(e.Detail)
	return []any{e.ID, e.At.UnixMilli(), e.Name, e.UserID, e.SessionID, e.ClientID, e.IP, string(detail)}, err
}

// InsertEvent implements broker.AuditStore.
func (s *Store) InsertEvent(ctx context.Context, e broker.Event) error {
	values, err := eventValues(e)
	if err != nil {
		return err
	}
	_, err = s.exec(ctx, insertEvent+` VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, values...)
	return err
}

// ListEvents implements broker.AuditStore.
func (s *Store) ListEvents(ctx context.Context, f broker.EventFilter) ([]broker.Event, error) {
	condition, args := "1 = 1", []any{}
	for _, c := range []struct{ column, value string }{{"user_id", f.UserID}, {"session_id", f.SessionID}, {"name", f.Name}} {
		if c.value != "" {
			condition, args = condition+" AND "+c.column+" = ?", append(args, c.value)
		}
	}
	var rows []struct {
		ID        string `db:"id"`
		At        int64  `db:"at"`
		Name      string `db:"name"`
		UserID    string `db:"user_id"`
		SessionID string `db:"session_id"`
		ClientID  string `db:"client_id"`
		IP        string `db:"ip"`
		Detail    string `db:"detail"`
	}
	err := s.list(ctx, &rows, `SELECT id, at, name, user_id, session_id, client_id, ip, detail FROM audit_events
		WHERE `+condition+` ORDER BY at DESC, id DESC LIMIT ?`, append(args, max(f.Limit, 1))...)
	events := make([]broker.Event, 0, len(rows))
	for _, r := range rows {
		e := broker.Event{
			ID: r.ID, At: time.UnixMilli(r.At).UTC(), Name: r.Name, UserID: r.UserID, SessionID: r.SessionID, ClientID: r.ClientID, IP: r.IP,
		}
		_ = json.Unmarshal([]byte(r.Detail), &e.Detail)
		events = append(events, e)
	}
	return events, err
}
