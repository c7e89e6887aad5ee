package broker

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// beforeFirst is the generation that an imported refresh token stands for: the
// parent of the first one here, good until a child of it has been presented.
const beforeFirst int64 = -1

// importedRefresh reads which session a refresh token of the imported system
// stands for, so that the rule can decide as for one of ours. Whether it has
// expired is judged by the session: a device that came over and lost the answer
// may come again after the end that stands in its old token.
func (b *Broker) importedRefresh(ctx context.Context, raw string) (tokens.RefreshClaims, error) {
	imported, err := b.cfg.Imported.Parse(raw, b.now())
	expired := errors.Is(err, tokens.ErrImportedExpired)
	if err != nil && !expired || imported.Kind != tokens.ImportedRefresh {
		return tokens.RefreshClaims{}, &Error{Code: InvalidToken, Err: tokens.ErrMalformed}
	}
	token, err := b.importedToken(ctx, raw, ImportedRefresh)
	switch {
	case err == nil:
		return tokens.RefreshClaims{
			Subject: token.UserID, ClientID: AppClientID, SessionID: token.SessionID, Generation: beforeFirst,
			IssuedAt: imported.IssuedAt, ExpiresAt: imported.ExpiresAt, Type: "refresh",
		}, nil
	case !errors.Is(err, NotFound):
		return tokens.RefreshClaims{}, err
	case expired:
		return tokens.RefreshClaims{}, &Error{Code: SessionExpired}
	}
	// Signed there and not imported: ended there before, or made there since.
	if b.refused.first("imported "+hashImported(raw), b.now()) {
		b.cfg.Log.InfoContext(ctx, "refresh refused: this token of the imported system was not imported", "event", EventOfRefresh(OutcomeUnknown),
			"user_id", imported.UserID, "code", string(SessionUnknown), "issued_at", time.Unix(imported.IssuedAt, 0).UTC())
	}
	return tokens.RefreshClaims{}, &Error{Code: SessionUnknown}
}

// importedToken finds a token of the imported system by its hash.
func (b *Broker) importedToken(ctx context.Context, raw string, kind ImportedTokenKind) (t ImportedToken, err error) {
	err = b.retry(ctx, func() error {
		t, err = b.cfg.Store.ImportedToken(ctx, hashImported(raw), b.now())
		return err
	})
	if err == nil && t.Kind != kind {
		err = &Error{Code: NotFound}
	}
	return t, err
}
