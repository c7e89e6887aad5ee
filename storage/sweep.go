package storage

import (
	"context"

	"github.com/latchkey-id/latchkey/broker"
)

// Sweep implements broker.SessionStore. Each statement deletes at most
// sw.Limit rows, found by an index, so that the writer is free again soon.
func (s *Store) Sweep(ctx context.Context, sw broker.Sweep) (int, error) {
	most := int64(0)
	for _, d := range []struct {
		table, condition string
		before           int64
	}{
		{"sessions", "gc_after < ? AND ended_at IS NOT NULL", sw.SessionsBefore.UnixMilli()},
		{"idp_logins", "expires_at <= ?", sw.LoginsBefore.UnixMilli()},
		{"grants", "expires_at <= ?", sw.LoginsBefore.UnixMilli()},
		{"auth_requests", "expires_at <= ?", sw.LoginsBefore.UnixMilli()},
		{"authorizations", "expires_at <= ?", sw.LoginsBefore.UnixMilli()},
		{"authorization_codes", "expires_at <= ?", sw.LoginsBefore.UnixMilli()},
		{"device_codes", "expires_at <= ?", sw.LoginsBefore.UnixMilli()},
		// Later than they must: another replica's clock may be behind.
		{"used_tokens", "expires_at <= ?", sw.LoginsBefore.UnixMilli()},
		{"imported_tokens", "expires_at <= ?", sw.SessionsBefore.UnixMilli()},
		{"password_links", "expires_at <= ?", sw.LoginsBefore.UnixMilli()},
		{"pending_logins", "expires_at <= ?", sw.LoginsBefore.UnixMilli()},
		{"passkey_challenges", "expires_at <= ?", sw.LoginsBefore.UnixMilli()},
		{"logout_notices", "expires_at <= ?", sw.Now.UnixMilli()},
		{"limits", "expires_at <= ?", sw.LoginsBefore.UnixMilli()}, // another replica's clock may be behind
		{"mails", "expires_at <= ?", sw.MailsBefore.UnixMilli()},
		{"audit_events", "at <= ?", sw.EventsBefore.UnixMilli()},
	} {
		n, err := s.exec(ctx, `DELETE FROM `+d.table+` WHERE id IN (SELECT id FROM `+d.table+` WHERE `+d.condition+` LIMIT ?)`, d.before, sw.Limit)
		if err != nil {
			return 0, err
		}
		most = max(most, n)
	}
	figures, err := s.sweepFigures(ctx, sw)
	if err != nil {
		return 0, err
	}
	most = max(most, figures)
	before := sw.UpstreamsBefore.UnixMilli()
	n, err := s.exec(ctx, `DELETE FROM upstreams WHERE id IN (SELECT u.id FROM upstreams u WHERE u.created_at < ? AND NOT EXISTS (
		SELECT 1 FROM sessions s WHERE s.upstream_id = u.id AND s.upstream_id <> '' AND (s.ended_at IS NULL OR s.ended_at >= ?)) LIMIT ?)`,
		before, before, sw.Limit)
	return int(max(most, n)), err
}
