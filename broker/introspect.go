package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// Introspection is what is said of a token (RFC 7662 section 2.2). Inactive
// ones have nothing else.
type Introspection struct {
	Active  bool
	Refresh bool                 // a refresh token
	Claims  tokens.AccessClaims  // of an access token
	Token   tokens.RefreshClaims // of a refresh token
	Key     *APIKey              // an API key
	User    User
	Session Session
}

// IntrospectAccess says whether a verified access token still stands: one
// statement reads its session and user. Only its client, the one that it is
// for, and clients with the scope latchkey:introspect learn anything.
func (b *Broker) IntrospectAccess(ctx context.Context, c Client, claims tokens.AccessClaims) (Introspection, error) {
	mine := claims.ClientID == c.ID || slices.Contains(c.Resources, claims.Audience) || hasScope(c.Scope, ScopeIntrospect)
	if !mine {
		return Introspection{}, nil
	}
	if claims.SessionID == "" {
		_, err := b.Client(ctx, claims.ClientID)
		if errors.Is(err, ClientUnknown) {
			return Introspection{}, nil
		}
		return Introspection{Active: err == nil, Claims: claims}, err
	}
	p, err := b.authenticate(ctx, claims.SessionID, b.cfg.Store.SessionState)
	if err != nil {
		return Introspection{}, onlyTrouble(err)
	}
	if p.User.ID != claims.Subject {
		return Introspection{}, nil
	}
	return Introspection{Active: true, Claims: claims, User: p.User, Session: p.Session}, nil
}

// IntrospectRefresh says whether a refresh token would be accepted from its
// client. It changes nothing.
func (b *Broker) IntrospectRefresh(ctx context.Context, c Client, raw string) (Introspection, error) {
	now := b.now()
	claims, err := b.cfg.Secrets.ParseRefresh(raw, now)
	if err != nil || claims.ClientID != c.ID && !hasScope(c.Scope, ScopeIntrospect) {
		return Introspection{}, nil
	}
	p, err := b.Authenticate(ctx, claims.SessionID)
	if err != nil {
		return Introspection{}, onlyTrouble(err)
	}
	d := Decide(&p.Session, Presented{
		Generation: claims.Generation, Branch: claims.Branch, IssuedAt: time.Unix(claims.IssuedAt, 0),
		ClientID: claims.ClientID, ProvenKey: p.Session.DPoPThumbprint,
	}, Policy{Grace: b.cfg.Lifetimes.Grace, Idle: b.lifetimes(&c).Refresh}, now)
	if d.Refusal != "" {
		return Introspection{}, nil
	}
	return Introspection{Active: true, Refresh: true, Token: claims, User: p.User, Session: p.Session}, nil
}

// onlyTrouble drops a refusal: for these questions it is an answer.
func onlyTrouble(err error) error {
	if errors.Is(err, TemporarilyUnavailable) {
		return err
	}
	return nil
}

// RevokeRefresh ends the session of a refresh token of the client, of any
// generation (RFC 7009). A token that is none, or another client's, ends
// nothing and is no error.
func (b *Broker) RevokeRefresh(ctx context.Context, by Caller, raw string) (known bool, err error) {
	claims, err := b.cfg.Secrets.ParseRefresh(raw, b.now())
	if err != nil && !errors.Is(err, tokens.ErrPastMaxAge) {
		return false, nil
	}
	if claims.ClientID != by.Client.ID {
		return true, nil
	}
	_, err = b.EndSessions(ctx, SessionFilter{ID: claims.SessionID, ClientID: by.Client.ID}, LoggedOut, false, by.Device.IP)
	return true, err
}

// RevokeAccess ends the session of a verified access token of the client: an
// access token cannot end alone, because everything of a session ends with it.
func (b *Broker) RevokeAccess(ctx context.Context, by Caller, claims tokens.AccessClaims) error {
	if claims.ClientID != by.Client.ID || claims.SessionID == "" {
		return nil
	}
	_, err := b.EndSessions(ctx, SessionFilter{ID: claims.SessionID, ClientID: by.Client.ID}, LoggedOut, false, by.Device.IP)
	return err
}
