package storage

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

type upstreamRow struct {
	ID          string `db:"id"`
	ProviderID  string `db:"provider_id"`
	IssuedBy    string `db:"issued_by"`
	UserID      string `db:"user_id"`
	Subject     string `db:"subject"`
	Token       string `db:"token"`
	State       string `db:"state"`
	Doubtful    int64  `db:"doubtful"`
	CreatedAt   int64  `db:"created_at"`
	AliveAt     int64  `db:"alive_at"`
	NextCheckAt int64  `db:"next_check_at"`
}

const upstreamColumns = `id, provider_id, issued_by, user_id, subject, token, state, doubtful, created_at, alive_at, next_check_at`

func (r upstreamRow) upstream() broker.Upstream {
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	return broker.Upstream{
		ID: r.ID, ProviderID: r.ProviderID, IssuedBy: r.IssuedBy, UserID: r.UserID, Subject: r.Subject, Sealed: r.Token, State: broker.UpstreamState(r.State),
		Doubtful: r.Doubtful, CreatedAt: at(r.CreatedAt), AliveAt: at(r.AliveAt), NextCheckAt: at(r.NextCheckAt),
	}
}

// InsertUpstream implements broker.UpstreamStore.
func (s *Store) InsertUpstream(ctx context.Context, u broker.Upstream) error {
	_, err := s.exec(ctx, `INSERT INTO upstreams (`+upstreamColumns+`) VALUES (`+placeholders(11)+`)`+unlessThere,
		u.ID, u.ProviderID, u.IssuedBy, u.UserID, u.Subject, u.Sealed, string(u.State), u.Doubtful, u.CreatedAt.UnixMilli(), u.AliveAt.UnixMilli(), u.NextCheckAt.UnixMilli())
	return err
}

// DueUpstreams implements broker.UpstreamStore. The condition stands outside the
// choice as well, as in DueLogoutNotices. Each half of the choice is a range of
// the index.
func (s *Store) DueUpstreams(ctx context.Context, d broker.DueUpstreams) ([]broker.Upstream, error) {
	const (
		due  = `token <> '' AND (next_check_at <= ? OR next_check_at > ?)`
		some = `SELECT id, next_check_at FROM (SELECT id, next_check_at FROM upstreams WHERE provider_id = ? AND issued_by = ? AND token <> '' AND EXISTS (
			SELECT 1 FROM sessions s WHERE s.upstream_id = upstreams.id AND s.upstream_id <> '' AND s.ended_at IS NULL) AND next_check_at `
		first = ` ORDER BY next_check_at LIMIT ?)`
	)
	var rows []upstreamRow
	at, late := d.Now.UnixMilli(), d.NotAfter.UnixMilli()
	err := s.inTx(ctx, func(tx *Store) error {
		rows = nil // it may run again
		return tx.list(ctx, &rows, `UPDATE upstreams SET doubtful = doubtful + ?, next_check_at = ? WHERE id IN (
			SELECT id FROM (`+some+`<= ?`+first+` AS due UNION ALL `+some+`> ?`+first+` AS late) AS planned ORDER BY next_check_at LIMIT ?)
			AND `+due+` RETURNING `+upstreamColumns,
			d.Doubt, d.LeaseUntil.UnixMilli(), d.ProviderID, d.IssuedBy, at, d.Limit, d.ProviderID, d.IssuedBy, late, d.Limit, d.Limit, at, late)
	})
	out := make([]broker.Upstream, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.upstream())
	}
	return out, err
}

// RecordUpstream implements broker.UpstreamStore: what was leased names the lease.
func (s *Store) RecordUpstream(ctx context.Context, leased, next broker.Upstream) (bool, error) {
	n, err := s.exec(ctx, `UPDATE upstreams SET token = ?, state = ?, doubtful = ?, alive_at = ?, next_check_at = ?
		WHERE id = ? AND token = ? AND doubtful = ? AND next_check_at = ?`,
		next.Sealed, string(next.State), next.Doubtful, next.AliveAt.UnixMilli(), next.NextCheckAt.UnixMilli(),
		leased.ID, leased.Sealed, leased.Doubtful, leased.NextCheckAt.UnixMilli())
	return n > 0, err
}

// HastenUpstream implements broker.UpstreamStore.
func (s *Store) HastenUpstream(ctx context.Context, id string, at, notBefore time.Time) error {
	_, err := s.exec(ctx, `UPDATE upstreams SET next_check_at = ? WHERE id = ? AND state = '`+string(broker.UpstreamAlive)+`' AND next_check_at > ?`,
		at.UnixMilli(), id, notBefore.UnixMilli())
	return err
}

// DoubtUpstreams implements broker.UpstreamStore.
func (s *Store) DoubtUpstreams(ctx context.Context, providerID string) (int, error) {
	n, err := s.exec(ctx, `UPDATE upstreams SET doubtful = CASE WHEN doubtful = 0 THEN 1 ELSE doubtful END WHERE provider_id = ? AND token <> ''`, providerID)
	return int(n), err
}

// lockUpstream locks the login that a session is being made on against its end.
func (s *Store) lockUpstream(ctx context.Context, id string) error {
	err := found(s.exec(ctx, `UPDATE upstreams SET state = state WHERE id = ? AND state <> '`+string(broker.UpstreamEnded)+`'`, id))
	if errors.Is(err, broker.NotFound) {
		return &broker.Error{Code: broker.IdPRevoked, Message: "the login at the identity provider is over"}
	}
	return err
}

// UpstreamOf implements broker.UpstreamStore.
func (s *Store) UpstreamOf(ctx context.Context, sessionID string) (broker.Session, error) {
	var r struct {
		ClientID   string         `db:"client_id"`
		ProviderID string         `db:"provider_id"`
		CreatedAt  int64          `db:"created_at"`
		VouchedAt  int64          `db:"vouched_at"`
		ID         sql.NullString `db:"id"`
		IssuedBy   sql.NullString `db:"issued_by"`
		Token      sql.NullString `db:"token"`
		State      sql.NullString `db:"state"`
		AliveAt    sql.NullInt64  `db:"alive_at"`
		NextAt     sql.NullInt64  `db:"next_check_at"`
	}
	err := s.get(ctx, &r, `SELECT s.client_id AS client_id, s.provider_id AS provider_id, s.created_at AS created_at, s.vouched_at AS vouched_at,
		u.id AS id, u.issued_by AS issued_by, u.token AS token, u.state AS state, u.alive_at AS alive_at, u.next_check_at AS next_check_at
		FROM sessions s LEFT JOIN upstreams u ON u.id = s.upstream_id WHERE s.id = ?`, sessionID)
	if err != nil {
		return broker.Session{}, err
	}
	out := broker.Session{
		ID: sessionID, ClientID: r.ClientID, ProviderID: r.ProviderID, UpstreamID: r.ID.String,
		CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), VouchedAt: orZero(r.VouchedAt),
	}
	if r.ID.Valid {
		out.Upstream = &broker.Upstream{
			ID: r.ID.String, ProviderID: r.ProviderID, IssuedBy: r.IssuedBy.String, Sealed: r.Token.String, State: broker.UpstreamState(r.State.String),
			AliveAt: fromMillis(r.AliveAt), NextCheckAt: fromMillis(r.NextAt),
		}
	}
	return out, nil
}

func pointers(list []broker.Session) []*broker.Session {
	out := make([]*broker.Session, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// addUpstreams reads what the sessions of a page stand on.
func (s *Store) addUpstreams(ctx context.Context, page []*broker.Session) error {
	on := map[string][]*broker.Session{}
	for _, n := range page {
		if n.UpstreamID != "" {
			on[n.UpstreamID] = append(on[n.UpstreamID], n)
		}
	}
	for ids := range slices.Chunk(slices.Collect(maps.Keys(on)), perStatement) {
		args := []any{}
		for _, id := range ids {
			args = append(args, id)
		}
		var rows []upstreamRow
		if err := s.list(ctx, &rows, `SELECT `+upstreamColumns+` FROM upstreams WHERE id IN (`+placeholders(len(ids))+`)`, args...); err != nil {
			return err
		}
		for _, r := range rows {
			for _, n := range on[r.ID] {
				n.Upstream = new(r.upstream())
			}
		}
	}
	return nil
}
