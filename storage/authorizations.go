package storage

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type pendingRow struct {
	ID        string                   `db:"id"`
	ClientID  string                   `db:"client_id"`
	Browser   string                   `db:"browser"`
	Request   document[pendingRequest] `db:"request"`
	CreatedAt int64                    `db:"created_at"`
	ExpiresAt int64                    `db:"expires_at"`
}

type pendingRequest struct {
	broker.AuthorizationRequest
	Logout *broker.AskedLogout `json:"logout,omitempty"`
}

const pendingColumns = `id, client_id, browser, request, created_at, expires_at`

func (r pendingRow) pending(err error) (broker.PendingAuthorization, error) {
	if err != nil {
		return broker.PendingAuthorization{}, err
	}
	return broker.PendingAuthorization{
		ID: r.ID, ClientID: r.ClientID, Browser: r.Browser, Request: r.Request.is.AuthorizationRequest, Logout: r.Request.is.Logout,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), ExpiresAt: time.UnixMilli(r.ExpiresAt).UTC(),
	}, nil
}

// InsertPending implements broker.AuthorizationStore.
func (s *Store) InsertPending(ctx context.Context, p broker.PendingAuthorization) error {
	_, err := s.exec(ctx, `INSERT INTO authorizations (`+pendingColumns+`) VALUES (?, ?, ?, ?, ?, ?)`+unlessThere,
		p.ID, p.ClientID, p.Browser, document[pendingRequest]{pendingRequest{p.Request, p.Logout}}, p.CreatedAt.UnixMilli(), p.ExpiresAt.UnixMilli())
	return err
}

// Pending implements broker.AuthorizationStore.
func (s *Store) Pending(ctx context.Context, id, browser string, now time.Time) (broker.PendingAuthorization, error) {
	var r pendingRow
	err := s.get(ctx, &r, `SELECT `+pendingColumns+` FROM authorizations WHERE id = ? AND browser = ? AND expires_at > ?`, id, browser, now.UnixMilli())
	return r.pending(err)
}

// TakePending implements broker.AuthorizationStore: the DELETE is the single use.
func (s *Store) TakePending(ctx context.Context, id, browser, clientID string, now time.Time) (broker.PendingAuthorization, error) {
	var r pendingRow
	err := s.writeRow(ctx, s.pools.writer, &r, `DELETE FROM authorizations WHERE id = ? AND browser = ? AND client_id = ? AND expires_at > ?
		RETURNING `+pendingColumns, id, browser, clientID, now.UnixMilli())
	return r.pending(err)
}

type codeRow struct {
	ID          string                         `db:"id"`
	ClientID    string                         `db:"client_id"`
	RedirectURI string                         `db:"redirect_uri"`
	Challenge   string                         `db:"challenge"`
	Granted     document[broker.Authorization] `db:"granted"`
	ExpiresAt   int64                          `db:"expires_at"`
	RedeemedAt  sql.NullInt64                  `db:"redeemed_at"`
	SessionID   sql.NullString                 `db:"session_id"`
}

const codeColumns = `id, client_id, redirect_uri, challenge, granted, expires_at, redeemed_at, session_id`

func (r codeRow) code(err error) (broker.AuthorizationCode, error) {
	if err != nil {
		return broker.AuthorizationCode{}, err
	}
	return broker.AuthorizationCode{
		ID: r.ID, ClientID: r.ClientID, RedirectURI: r.RedirectURI, Challenge: r.Challenge, Authorization: r.Granted.is,
		ExpiresAt: time.UnixMilli(r.ExpiresAt).UTC(), RedeemedAt: fromMillis(r.RedeemedAt), SessionID: r.SessionID.String,
	}, nil
}

// InsertCode implements broker.AuthorizationStore.
func (s *Store) InsertCode(ctx context.Context, c broker.AuthorizationCode) error {
	_, err := s.exec(ctx, `INSERT INTO authorization_codes (`+codeColumns+`, dpop_jkt) VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, ?)`+unlessThere,
		c.ID, c.ClientID, c.RedirectURI, c.Challenge, document[broker.Authorization]{c.Authorization}, c.ExpiresAt.UnixMilli(),
		c.Authorization.DPoPThumbprint)
	return err
}

// RedeemCode implements broker.AuthorizationStore: one UPDATE is the single use.
func (s *Store) RedeemCode(ctx context.Context, c broker.AuthorizationCode, provenKey, sessionID string, now time.Time) (broker.AuthorizationCode, error) {
	if s.tx == nil {
		return broker.AuthorizationCode{}, errors.New("storage: RedeemCode needs the transaction that makes the session")
	}
	var r codeRow
	err := s.writeRow(ctx, s.pools.writer, &r, `UPDATE authorization_codes SET redeemed_at = ?, session_id = ?
		WHERE id = ? AND client_id = ? AND redirect_uri = ? AND challenge = ? AND (dpop_jkt = '' OR dpop_jkt = ?)
		AND redeemed_at IS NULL AND expires_at > ? RETURNING `+codeColumns,
		now.UnixMilli(), sessionID, c.ID, c.ClientID, c.RedirectURI, c.Challenge, provenKey, now.UnixMilli())
	return r.code(err)
}

// CodeByID implements broker.AuthorizationStore.
func (s *Store) CodeByID(ctx context.Context, id string) (broker.AuthorizationCode, error) {
	var r codeRow
	err := s.get(ctx, &r, `SELECT `+codeColumns+` FROM authorization_codes WHERE id = ?`, id)
	return r.code(err)
}

// SaveConsent implements broker.AuthorizationStore.
func (s *Store) SaveConsent(ctx context.Context, c broker.Consent) error {
	_, err := s.exec(ctx, `INSERT INTO consents (user_id, client_id, scope, granted_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (user_id, client_id) DO UPDATE SET scope = excluded.scope, granted_at = excluded.granted_at`,
		c.UserID, c.ClientID, c.Scope, c.GrantedAt.UnixMilli())
	return err
}

// ConsentOf implements broker.AuthorizationStore.
func (s *Store) ConsentOf(ctx context.Context, userID, clientID string) (broker.Consent, error) {
	var r struct {
		Scope     string `db:"scope"`
		GrantedAt int64  `db:"granted_at"`
	}
	err := s.get(ctx, &r, `SELECT scope, granted_at FROM consents WHERE user_id = ? AND client_id = ?`, userID, clientID)
	if err != nil {
		return broker.Consent{}, err
	}
	return broker.Consent{UserID: userID, ClientID: clientID, Scope: r.Scope, GrantedAt: time.UnixMilli(r.GrantedAt).UTC()}, nil
}

// ListConsents implements broker.AuthorizationStore.
func (s *Store) ListConsents(ctx context.Context, userID, afterClientID string, limit int) ([]broker.AppConsent, error) {
	var rows []struct {
		ClientID  string                  `db:"client_id"`
		Scope     string                  `db:"scope"`
		GrantedAt int64                   `db:"granted_at"`
		ID        sql.NullString          `db:"id"`
		Document  document[broker.Client] `db:"document"`
	}
	err := s.list(ctx, &rows, `SELECT g.client_id, g.scope, g.granted_at, c.id, c.document FROM consents g LEFT JOIN clients c ON c.id = g.client_id
		WHERE g.user_id = ? AND g.client_id > ? ORDER BY g.client_id LIMIT ?`, userID, afterClientID, limit)
	out := make([]broker.AppConsent, 0, len(rows))
	for _, r := range rows {
		one := broker.AppConsent{Consent: broker.Consent{UserID: userID, ClientID: r.ClientID, Scope: r.Scope, GrantedAt: time.UnixMilli(r.GrantedAt).UTC()}}
		if r.ID.Valid {
			one.Client, one.Client.ID = r.Document.is, r.ID.String
		}
		out = append(out, one)
	}
	return out, err
}

// DeleteConsent implements broker.AuthorizationStore.
func (s *Store) DeleteConsent(ctx context.Context, userID, clientID string) error {
	return found(s.exec(ctx, `DELETE FROM consents WHERE user_id = ? AND client_id = ?`, userID, clientID))
}

// UseOnce implements broker.AuthorizationStore: who inserts is the first. A row
// that has expired still counts until it is swept; so has what it stands for.
func (s *Store) UseOnce(ctx context.Context, id string, expiresAt time.Time) (bool, error) {
	return s.useOnceIn(ctx, s.pools.writer, id, expiresAt)
}

// UseOnceRelaxed implements broker.AuthorizationStore.
func (s *Store) UseOnceRelaxed(ctx context.Context, id string, expiresAt time.Time) (bool, error) {
	return s.useOnceIn(ctx, s.pools.relaxed, id, expiresAt)
}

func (s *Store) useOnceIn(ctx context.Context, p *pool, id string, expiresAt time.Time) (bool, error) {
	n, err := s.execIn(ctx, p, `INSERT INTO used_tokens (id, expires_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`, id, expiresAt.UnixMilli())
	return n > 0, err
}
