package broker

import (
	"context"
	"errors"
	"time"
)

// upstreamEnd is when a client's max_upstream_age is reached by a session that
// was read with its Upstream: so long after its login at the IdP was last known
// to be alive. It is zero where there is no limit, and for a password, which is
// Latchkey's own to know.
func (c *Client) upstreamEnd(s *Session) time.Time {
	if c.MaxUpstreamAge <= 0 || s.ProviderID == "" {
		return time.Time{}
	}
	alive := s.VouchedAt
	if alive.IsZero() { // it was made before this was kept
		alive = s.CreatedAt
	}
	if s.Upstream != nil {
		alive = later(alive, s.Upstream.AliveAt)
	}
	return alive.Add(time.Duration(c.MaxUpstreamAge) * time.Second)
}

// distrusts reports whether the limit is reached.
func (c *Client) distrusts(s *Session, now time.Time) bool {
	end := c.upstreamEnd(s)
	return !end.IsZero() && !now.Before(end)
}

// readUpstream adds to somebody's session what it stands on, for a client that
// has a limit.
func (b *Broker) readUpstream(ctx context.Context, c *Client, who *Principal) error {
	if c.MaxUpstreamAge <= 0 || who == nil || who.Session.ProviderID == "" {
		return nil
	}
	return b.retry(ctx, func() error {
		s, err := b.cfg.Store.UpstreamOf(ctx, who.Session.ID)
		who.Session.Upstream = s.Upstream
		return err
	})
}

// trustedUntil is when the limit of a client is reached by a session, or by the
// one that it is made in; zero: never. At the limit it refuses. Where a check can
// still prove the login, that is trouble that passes, and a check is asked for;
// where none can, waiting does not help, and only another login does. Nothing
// ends. Clients without a limit cost no statement.
func (b *Broker) trustedUntil(ctx context.Context, c *Client, sessionID string) (time.Time, error) {
	if c.MaxUpstreamAge <= 0 {
		return time.Time{}, nil
	}
	var s Session
	err := b.retry(ctx, func() (err error) {
		s, err = b.cfg.Store.UpstreamOf(ctx, sessionID)
		return err
	})
	if errors.Is(err, NotFound) {
		return time.Time{}, nil // others say so
	}
	now := b.now()
	if err != nil || !c.distrusts(&s, now) {
		return c.upstreamEnd(&s), err
	}
	u := s.Upstream
	if !b.canCheck(u) {
		return time.Time{}, refuse(SessionMaxAge, "the login at the identity provider is older than "+c.DisplayName()+" takes, and cannot be checked again; log in again")
	}
	wait := min(max(u.NextCheckAt.Sub(now), retrySoon), longestDarkness)
	if now.After(u.NextCheckAt.Add(recheckLease)) {
		return time.Time{}, waitForIdP(longestDarkness) // the IdP is dark, and probed that often
	}
	if u.State == UpstreamAlive && wait > retrySoon {
		if err := b.cfg.Store.HastenUpstream(ctx, u.ID, now, now.Add(recheckLease)); err != nil {
			return time.Time{}, err
		}
		wait = retrySoon
	}
	return time.Time{}, waitForIdP(wait)
}

func waitForIdP(wait time.Duration) error {
	return &Error{
		Code: TemporarilyUnavailable, RetryAfter: wait,
		Message: "the identity provider has not said for too long that this login still stands; try again later, or log in again",
	}
}

const retrySoon = 5 * time.Second

// canCheck reports whether a login can still be checked: its token is there, and
// so is the provider that it is of.
func (b *Broker) canCheck(u *Upstream) bool {
	if u == nil || u.Sealed == "" {
		return false
	}
	p, err := b.provider(u.ProviderID)
	return err == nil && p.ID == u.ProviderID && p.Recheck > 0 && p.issuedBy() == u.IssuedBy
}

// codeTrusted judges a code before it is redeemed, so that a refusal that passes
// does not use it up.
func (b *Broker) codeTrusted(ctx context.Context, c *Client, want AuthorizationCode) error {
	if c.MaxUpstreamAge <= 0 {
		return nil
	}
	code, err := b.cfg.Store.CodeByID(ctx, want.ID)
	if errors.Is(err, NotFound) || err == nil && code.ClientID != want.ClientID {
		return nil // the redemption says so
	}
	if err == nil {
		_, err = b.trustedUntil(ctx, c, code.Authorization.ParentID)
	}
	return err
}

// truerCause is why a session is over, where it is, in place of a refusal that
// would let its client wait.
func (b *Broker) truerCause(ctx context.Context, sessionID string, refusal error) error {
	if _, err := b.Authenticate(ctx, sessionID); err != nil {
		return err
	}
	return refusal
}
