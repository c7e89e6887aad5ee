package broker

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// AuthenticateImported finds out whom a token of the imported system stands
// for, where it is no token of ours. known is false where it is none of that
// system's either. Its access tokens are refused with TokenExpired, so that an
// app refreshes; its API keys and the tokens that never expire count while the
// configuration says so, the latter only those that were imported.
func (b *Broker) AuthenticateImported(ctx context.Context, raw string, device Device) (p Principal, known bool, err error) {
	if b.cfg.Imported == nil {
		return Principal{}, false, nil
	}
	claims, err := b.cfg.Imported.Parse(raw, b.now())
	if errors.Is(err, tokens.ErrMalformed) {
		return Principal{}, false, nil
	}
	switch {
	case claims.Kind == tokens.ImportedRefresh:
		err = &Error{Code: WrongTokenType, Err: tokens.ErrWrongType}
	case claims.Kind == tokens.ImportedAccess || err != nil:
		err = refuse(TokenExpired, "the token is of the system that was here before, and counts no more")
	case !b.now().Before(b.cfg.AcceptLegacyUntil):
		err = refuse(InvalidToken, "tokens that never expire are not accepted any more: log in again")
	case claims.Kind == tokens.ImportedAPIKey:
		p, err = b.authenticateImportedKey(ctx, claims.KeyID)
	default:
		p, err = b.authenticateLegacy(ctx, raw, device)
	}
	return p, true, err
}

// authenticateImportedKey is for a key whose signature is good: what it may and
// whether it still counts is in the database.
func (b *Broker) authenticateImportedKey(ctx context.Context, id string) (Principal, error) {
	var k OwnedAPIKey
	err := b.retry(ctx, func() (err error) {
		k, err = b.cfg.Store.APIKeyByID(ctx, id)
		return err
	})
	if errors.Is(err, NotFound) || err == nil && k.SecretHash != "" {
		return Principal{}, refuse(InvalidToken, "there is no such API key")
	}
	if err != nil {
		return Principal{}, err
	}
	return b.admitKey(ctx, k)
}

// authenticateLegacy is for a token that never expires: only the one that its
// user had when it was imported, until an administrator ends it.
func (b *Broker) authenticateLegacy(ctx context.Context, raw string, device Device) (Principal, error) {
	token, err := b.importedToken(ctx, raw, ImportedLegacy)
	if errors.Is(err, NotFound) {
		return Principal{}, refuse(InvalidToken, "this token counts no more: log in again")
	}
	if err != nil {
		return Principal{}, err
	}
	var u User
	err = b.retry(ctx, func() (err error) {
		u, err = b.cfg.Store.UserByID(ctx, token.UserID)
		return err
	})
	switch {
	case errors.Is(err, NotFound):
		return Principal{}, &Error{Code: UserDeleted}
	case err != nil:
		return Principal{}, err
	case !u.DisabledAt.IsZero():
		return Principal{}, &Error{Code: UserDisabled}
	}
	b.noteLegacy(ctx, u, device)
	return Principal{User: u, OldToken: true}, nil
}

// noteLegacy writes once a day that somebody still uses a legacy token.
func (b *Broker) noteLegacy(ctx context.Context, u User, device Device) {
	if !b.refused.first("legacy "+u.ID, b.now()) {
		return
	}
	b.cfg.Log.WarnContext(ctx, "a token that never expires was used", "event", EventLegacyUsed, "user_id", u.ID, "remote_ip", device.IP)
	err := b.audit(ctx, b.cfg.Store, Event{
		Name: EventLegacyUsed, UserID: u.ID, IP: device.IP, Detail: map[string]string{"user_agent": cleanText(device.UserAgent, maxUserAgent)},
	})
	if err != nil {
		b.cfg.Log.WarnContext(ctx, "audit event not written", "error", err)
	}
}

// EndLegacyTokens ends the tokens of a user that never expire, and returns how
// many there were. No import brings them back.
func (b *Broker) EndLegacyTokens(ctx context.Context, userID string, device Device) (n int, err error) {
	err = b.cfg.Store.Tx(ctx, func(store Store) error {
		if _, err := store.UserByID(ctx, userID); err != nil {
			return err
		}
		n, err = b.endLegacy(ctx, store, userID, device.IP)
		return err
	})
	return n, err
}

// LegacyTokens is how many tokens of a user never expire and can still be used.
func (b *Broker) LegacyTokens(ctx context.Context, userID string) (int, error) {
	if b.cfg.Imported == nil {
		return 0, nil
	}
	return b.cfg.Store.ImportedTokensOf(ctx, userID, ImportedLegacy, b.now())
}

func (b *Broker) endLegacy(ctx context.Context, store Store, userID, ip string) (int, error) {
	n, err := store.DeleteImportedTokens(ctx, userID, ImportedLegacy)
	if err != nil || n == 0 {
		return n, err
	}
	return n, b.audit(ctx, store, Event{Name: EventLegacyEnded, UserID: userID, IP: ip})
}

// LegacyUse is a user whose token that never expires can still be used.
type LegacyUse struct {
	User       User
	LastUsedAt time.Time // to the day; zero: not here
}

// LegacyUses lists who can still use a token that never expires, by name.
func (b *Broker) LegacyUses(ctx context.Context) ([]LegacyUse, error) {
	users, err := b.cfg.Store.LegacyUsers(ctx, b.now())
	if err != nil {
		return nil, err
	}
	uses := []LegacyUse{}
	for _, u := range users {
		use := LegacyUse{User: u}
		events, err := b.cfg.Store.ListEvents(ctx, EventFilter{UserID: u.ID, Name: EventLegacyUsed, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(events) > 0 {
			use.LastUsedAt = events[0].At
		}
		uses = append(uses, use)
	}
	return uses, nil
}
