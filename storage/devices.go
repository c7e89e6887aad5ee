package storage

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type deviceRow struct {
	ID          string                          `db:"id"`
	UserCode    string                          `db:"user_code"`
	ClientID    string                          `db:"client_id"`
	Scope       string                          `db:"scope"`
	Request     document[broker.SessionRequest] `db:"request"`
	Decision    string                          `db:"decision"`
	Granted     document[broker.Authorization]  `db:"granted"`
	Interval    int64                           `db:"poll_interval"`
	NextPollAt  int64                           `db:"next_poll_at"`
	PolledEarly int64                           `db:"polled_early"`
	ExpiresAt   int64                           `db:"expires_at"`
	RedeemedAt  sql.NullInt64                   `db:"redeemed_at"`
	SessionID   sql.NullString                  `db:"session_id"`
}

const deviceColumns = `id, user_code, client_id, scope, request, decision, granted, poll_interval, next_poll_at, polled_early,
	expires_at, redeemed_at, session_id`

func (r deviceRow) device(err error) (broker.DeviceCode, error) {
	if err != nil {
		return broker.DeviceCode{}, err
	}
	return broker.DeviceCode{
		ID: r.ID, UserCode: r.UserCode, ClientID: r.ClientID, Scope: r.Scope, Request: r.Request.is,
		Decision: broker.DeviceDecision(r.Decision), Authorization: r.Granted.is,
		Interval: time.Duration(r.Interval) * time.Millisecond, NextPollAt: time.UnixMilli(r.NextPollAt).UTC(),
		ExpiresAt: time.UnixMilli(r.ExpiresAt).UTC(), RedeemedAt: fromMillis(r.RedeemedAt), SessionID: r.SessionID.String,
	}, nil
}

// InsertDeviceCode implements broker.AuthorizationStore.
func (s *Store) InsertDeviceCode(ctx context.Context, d broker.DeviceCode) error {
	_, err := s.exec(ctx, `INSERT INTO device_codes (`+deviceColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, NULL, NULL)`+unlessThere,
		d.ID, d.UserCode, d.ClientID, d.Scope, document[broker.SessionRequest]{d.Request}, string(d.Decision),
		document[broker.Authorization]{d.Authorization}, d.Interval.Milliseconds(), d.NextPollAt.UnixMilli(), d.ExpiresAt.UnixMilli())
	return s.unique(err, broker.UserCodeTaken, "this user code is taken")
}

// DeviceByUserCode implements broker.AuthorizationStore.
func (s *Store) DeviceByUserCode(ctx context.Context, userCode string, now time.Time) (broker.DeviceCode, error) {
	var r deviceRow
	err := s.get(ctx, &r, `SELECT `+deviceColumns+` FROM device_codes WHERE user_code = ? AND decision = '' AND expires_at > ?`, userCode, now.UnixMilli())
	return r.device(err)
}

// DecideDevice implements broker.AuthorizationStore.
func (s *Store) DecideDevice(ctx context.Context, id string, decision broker.DeviceDecision, a broker.Authorization, now time.Time) (bool, error) {
	n, err := s.exec(ctx, `UPDATE device_codes SET decision = ?, granted = ? WHERE id = ? AND decision = '' AND expires_at > ?`,
		string(decision), document[broker.Authorization]{a}, id, now.UnixMilli())
	return n > 0, err
}

// PollDevice implements broker.AuthorizationStore. RETURNING knows only what
// was written, so the statement writes down how it found the poll.
func (s *Store) PollDevice(ctx context.Context, id, clientID string, now time.Time) (broker.DeviceCode, bool, error) {
	var r deviceRow
	at := now.UnixMilli()
	err := s.writeRow(ctx, s.pools.writer, &r, `UPDATE device_codes SET
		polled_early = CASE WHEN next_poll_at > ? THEN 1 ELSE 0 END,
		poll_interval = CASE WHEN next_poll_at > ? THEN poll_interval + 5000 ELSE poll_interval END,
		next_poll_at = CASE WHEN next_poll_at > ? THEN poll_interval + 5000 ELSE poll_interval END + ?
		WHERE id = ? AND client_id = ? RETURNING `+deviceColumns, at, at, at, at, id, clientID)
	d, err := r.device(err)
	return d, err == nil && r.PolledEarly != 0, err
}

// RedeemDevice implements broker.AuthorizationStore: one UPDATE is the single use.
func (s *Store) RedeemDevice(ctx context.Context, id, clientID, sessionID string, now time.Time) (broker.DeviceCode, error) {
	if s.tx == nil {
		return broker.DeviceCode{}, errors.New("storage: RedeemDevice needs the transaction that makes the session")
	}
	var r deviceRow
	err := s.writeRow(ctx, s.pools.writer, &r, `UPDATE device_codes SET redeemed_at = ?, session_id = ?
		WHERE id = ? AND client_id = ? AND decision = '`+string(broker.DeviceAllowed)+`' AND redeemed_at IS NULL AND expires_at > ?
		RETURNING `+deviceColumns, now.UnixMilli(), sessionID, id, clientID, now.UnixMilli())
	return r.device(err)
}
