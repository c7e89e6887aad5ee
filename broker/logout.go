package broker

import (
	"context"
	"errors"

	"github.com/latchkey-id/latchkey/tokens"
)

// Logout ends the session that a refresh token of any generation names, or
// with allDevices every session of its user. A token that is none of ours ends
// nothing and is no error: whoever asks is logged out. The session comes back,
// for those who want to log out at the IdP as well.
func (b *Broker) Logout(ctx context.Context, raw string, allDevices bool, device Device) (Session, error) {
	id, err := b.SessionIDOf(ctx, raw)
	if err != nil || id == "" {
		return Session{}, err
	}
	return b.LogoutSession(ctx, id, allDevices, device)
}

// LogoutSession is [Broker.Logout] by session.
func (b *Broker) LogoutSession(ctx context.Context, id string, allDevices bool, device Device) (Session, error) {
	var s Session
	err := b.retry(ctx, func() (err error) {
		if s, _, err = b.cfg.Store.SessionByID(ctx, id); err != nil {
			return err
		}
		filter := SessionFilter{ID: s.ID}
		// A token of a session that has ended proves nothing about the others, and
		// a client that was not granted the API has no say in them.
		mayAll := s.ClientID == AppClientID || hasScope(s.Scope, ScopeAPI)
		if allDevices && mayAll && s.Ended(b.now()) == "" {
			filter = SessionFilter{UserID: s.UserID}
		}
		return b.cfg.Store.Tx(ctx, func(store Store) error {
			_, err := b.endSessions(ctx, store, filter, LoggedOut, false, device.IP)
			return err
		})
	})
	if errors.Is(err, NotFound) {
		return Session{}, nil
	}
	return s, err
}

// EndSessions ends what the filter names, durably, with an event for each. Only for
// all that there are an administrator has to prove to be there: to throw out a thief
// of somebody nobody does.
func (b *Broker) EndSessions(ctx context.Context, f SessionFilter, cause EndCause, wipe bool, ip string) (n int, err error) {
	end := func(given proof) error {
		return b.retryTx(ctx, func(store Store) error {
			if err := given.take(ctx, store); err != nil {
				return err
			}
			n, err = b.endSessions(ctx, store, f, cause, wipe, ip)
			return err
		})
	}
	if f.All {
		err = b.stepUpFor(ctx, end)
	} else {
		err = end(proven())
	}
	return n, err
}

// Sessions lists live sessions of a user, newest activity first.
func (b *Broker) Sessions(ctx context.Context, userID string, offset, limit int) ([]Session, int, error) {
	return b.cfg.Store.ListSessions(ctx, SessionFilter{UserID: userID, LiveAt: b.now()}, offset, limit)
}

// SessionsBy lists sessions, ended ones too, for administrators.
func (b *Broker) SessionsBy(ctx context.Context, f SessionFilter, offset, limit int) ([]Session, int, error) {
	return b.cfg.Store.ListSessions(ctx, f, offset, limit)
}

// SessionIDOf reads which session a refresh token names, of any generation and
// age, or "". Only for an imported token does it ask the database; an error is
// trouble of that.
func (b *Broker) SessionIDOf(ctx context.Context, raw string) (string, error) {
	claims, err := b.cfg.Secrets.ParseRefresh(raw, b.now())
	switch {
	case err == nil || errors.Is(err, tokens.ErrPastMaxAge):
		return claims.SessionID, nil
	case errors.Is(err, tokens.ErrMalformed) && b.cfg.Imported != nil:
		claims, err = b.importedRefresh(ctx, raw)
		if CodeOf(err) == TemporarilyUnavailable && err != nil {
			return "", err
		}
		return claims.SessionID, nil
	}
	return "", nil
}
