package storage

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type authRequestRow struct {
	ID          string        `db:"id"`
	ProviderID  string        `db:"provider_id"`
	RedirectURI string        `db:"redirect_uri"`
	State       string        `db:"state"`
	Challenge   string        `db:"challenge"`
	ExpiresAt   int64         `db:"expires_at"`
	RedeemedAt  sql.NullInt64 `db:"redeemed_at"`
}

const authRequestColumns = `id, provider_id, redirect_uri, state, challenge, expires_at, redeemed_at`

// InsertAuthRequest implements broker.LoginStore. One that has expired makes
// room for a new one of the same state and challenge.
func (s *Store) InsertAuthRequest(ctx context.Context, r broker.AuthRequest, now time.Time) (broker.AuthRequest, error) {
	_, err := s.exec(ctx, `INSERT INTO auth_requests (`+authRequestColumns+`) VALUES (?, ?, ?, ?, ?, ?, NULL)
		ON CONFLICT (id) DO UPDATE SET provider_id = excluded.provider_id, redirect_uri = excluded.redirect_uri,
		expires_at = excluded.expires_at, redeemed_at = NULL WHERE auth_requests.expires_at <= ?`,
		r.ID, r.ProviderID, r.RedirectURI, r.State, r.Challenge, r.ExpiresAt.UnixMilli(), now.UnixMilli())
	if err != nil {
		return broker.AuthRequest{}, err
	}
	return s.AuthRequestByID(ctx, r.ID, now)
}

// AuthRequestByID implements broker.LoginStore.
func (s *Store) AuthRequestByID(ctx context.Context, id string, now time.Time) (broker.AuthRequest, error) {
	var r authRequestRow
	err := s.get(ctx, &r, `SELECT `+authRequestColumns+` FROM auth_requests WHERE id = ? AND expires_at > ?`, id, now.UnixMilli())
	return broker.AuthRequest{
		ID: r.ID, ProviderID: r.ProviderID, RedirectURI: r.RedirectURI, State: r.State, Challenge: r.Challenge,
		ExpiresAt: time.UnixMilli(r.ExpiresAt).UTC(), RedeemedAt: fromMillis(r.RedeemedAt),
	}, err
}

const idpLoginColumns = `id, request_id, provider_id, return_to, expires_at, link_user_id, link_session_id`

// InsertIdPLogin implements broker.LoginStore.
func (s *Store) InsertIdPLogin(ctx context.Context, l broker.IdPLogin) error {
	_, err := s.exec(ctx, `INSERT INTO idp_logins (`+idpLoginColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)`+unlessThere,
		l.ID, l.RequestID, l.ProviderID, l.ReturnTo, l.ExpiresAt.UnixMilli(), l.LinkUserID, l.LinkSessionID)
	return err
}

// TakeIdPLogin implements broker.LoginStore: the DELETE is the single use.
func (s *Store) TakeIdPLogin(ctx context.Context, id, providerID string, now time.Time) (broker.IdPLogin, error) {
	var r struct {
		ID         string `db:"id"`
		RequestID  string `db:"request_id"`
		ProviderID string `db:"provider_id"`
		ReturnTo   string `db:"return_to"`
		ExpiresAt  int64  `db:"expires_at"`
		LinkUser   string `db:"link_user_id"`
		LinkIn     string `db:"link_session_id"`
	}
	err := s.writeRow(ctx, s.pools.writer, &r, `DELETE FROM idp_logins WHERE id = ? AND provider_id = ? AND expires_at > ?
		RETURNING `+idpLoginColumns, id, providerID, now.UnixMilli())
	return broker.IdPLogin{
		ID: r.ID, RequestID: r.RequestID, ProviderID: r.ProviderID, ReturnTo: r.ReturnTo, ExpiresAt: time.UnixMilli(r.ExpiresAt).UTC(),
		LinkUserID: r.LinkUser, LinkSessionID: r.LinkIn,
	}, err
}

type grantRow struct {
	ID         string         `db:"id"`
	RequestID  string         `db:"request_id"`
	ProviderID string         `db:"provider_id"`
	UserID     string         `db:"user_id"`
	State      string         `db:"state"`
	Challenge  string         `db:"challenge"`
	Claims     string         `db:"claims"`
	ExpiresAt  int64          `db:"expires_at"`
	RedeemedAt sql.NullInt64  `db:"redeemed_at"`
	SessionID  sql.NullString `db:"session_id"`
}

const grantColumns = `id, request_id, provider_id, user_id, state, challenge, claims, expires_at, redeemed_at, session_id`

// grantClaims is what of the IdP's word goes into the session later.
type grantClaims struct {
	Subject   string   `json:"sub"`
	SessionID string   `json:"sid,omitempty"`
	AMR       []string `json:"amr,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	Upstream  string   `json:"upstream_id,omitempty"`
}

func (r grantRow) grant() broker.Grant {
	g := broker.Grant{
		ID: r.ID, RequestID: r.RequestID, ProviderID: r.ProviderID, UserID: r.UserID, State: r.State, Challenge: r.Challenge,
		ExpiresAt: time.UnixMilli(r.ExpiresAt).UTC(), RedeemedAt: fromMillis(r.RedeemedAt), SessionID: r.SessionID.String,
	}
	var c grantClaims
	if json.Unmarshal([]byte(r.Claims), &c) == nil {
		g.Claims = broker.IdPClaims{Subject: c.Subject, SessionID: c.SessionID, AMR: c.AMR}
		g.UpstreamID = c.Upstream
		if c.AuthTime > 0 {
			g.Claims.AuthTime = time.Unix(c.AuthTime, 0).UTC()
		}
	}
	return g
}

// InsertGrant implements broker.LoginStore.
func (s *Store) InsertGrant(ctx context.Context, g broker.Grant) error {
	c := grantClaims{Subject: g.Claims.Subject, SessionID: g.Claims.SessionID, AMR: g.Claims.AMR, Upstream: g.UpstreamID}
	if !g.Claims.AuthTime.IsZero() {
		c.AuthTime = g.Claims.AuthTime.Unix()
	}
	claims, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = s.exec(ctx, `INSERT INTO grants (`+grantColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)`+unlessThere,
		g.ID, g.RequestID, g.ProviderID, g.UserID, g.State, g.Challenge, string(claims), g.ExpiresAt.UnixMilli())
	return err
}

// RedeemGrant implements broker.LoginStore: one UPDATE is the single use. The
// request that it answers is finished with it.
func (s *Store) RedeemGrant(ctx context.Context, g broker.Grant, sessionID string, now time.Time) (broker.Grant, error) {
	if s.tx == nil {
		return broker.Grant{}, errors.New("storage: RedeemGrant needs the transaction that makes the session")
	}
	var r grantRow
	err := s.writeRow(ctx, s.pools.writer, &r, `UPDATE grants SET redeemed_at = ?, session_id = ?
		WHERE id = ? AND provider_id = ? AND state = ? AND challenge = ? AND redeemed_at IS NULL AND expires_at > ?
		RETURNING `+grantColumns, now.UnixMilli(), sessionID, g.ID, g.ProviderID, g.State, g.Challenge, now.UnixMilli())
	if err != nil {
		return broker.Grant{}, err
	}
	_, err = s.exec(ctx, `UPDATE auth_requests SET redeemed_at = ? WHERE id = ?`, now.UnixMilli(), r.RequestID)
	return r.grant(), err
}

// GrantByID implements broker.LoginStore.
func (s *Store) GrantByID(ctx context.Context, id string) (broker.Grant, error) {
	var r grantRow
	err := s.get(ctx, &r, `SELECT `+grantColumns+` FROM grants WHERE id = ?`, id)
	return r.grant(), err
}

// RenameGrant implements broker.LoginStore: one UPDATE is the single use.
func (s *Store) RenameGrant(ctx context.Context, id, to string, aliveAt time.Time) error {
	return found(s.exec(ctx, `UPDATE grants SET id = ? WHERE id = ? AND redeemed_at IS NULL AND expires_at > ?`, to, id, aliveAt.UnixMilli()))
}

// DropGrant implements broker.LoginStore.
func (s *Store) DropGrant(ctx context.Context, id string) error {
	return found(s.exec(ctx, `DELETE FROM grants WHERE id = ? AND redeemed_at IS NULL`, id))
}
