package broker

import (
	"context"
	"errors"
	"time"
)

// redeemMargin is what of a grant's life is left to the app when a person says
// yes at the last moment.
const redeemMargin = 30 * time.Second

// Confirmation is a finished login of an app that waits for the person's yes. Any
// program on the device may have begun it, and may hold the app's redirect URI
// (RFC 8252 section 8.6): there is no code before somebody presses. ID and Secret
// name it: the ID in URLs, the Secret in this browser's cookie. The database
// holds a hash of both.
type Confirmation struct {
	ID      string
	Secret  string // only when it was just made
	Request AuthRequest
	User    User
}

func confirmationID(id, secret string) string { return hash("confirmation", id, secret) }

// askFirst keeps the login, as a grant that no code leads to, until
// [Broker.DecideConfirmation].
func (b *Broker) askFirst(ctx context.Context, p *Provider, r AuthRequest, u User, c IdPClaims, up *Upstream) (*Confirmation, error) {
	x := &Confirmation{ID: b.newSecret(24), Secret: b.newSecret(32), Request: r, User: u}
	return x, b.keepGrant(ctx, confirmationID(x.ID, x.Secret), p, r, u, c, up)
}

// FindConfirmation describes a login that waits for its person, for the page that
// asks; InvalidState.
func (b *Broker) FindConfirmation(ctx context.Context, providerID, id, secret string) (Confirmation, error) {
	p, err := b.provider(providerID)
	if err != nil {
		return Confirmation{}, err
	}
	var g Grant
	err = b.retry(ctx, func() (err error) {
		g, err = b.cfg.Store.GrantByID(ctx, confirmationID(id, secret))
		return err
	})
	if err == nil && (g.ProviderID != p.ID || !b.now().Add(redeemMargin).Before(g.ExpiresAt)) {
		err = NotFound
	}
	if err != nil {
		return Confirmation{}, notWaiting(err)
	}
	return b.confirmationOf(ctx, id, g)
}

func (b *Broker) confirmationOf(ctx context.Context, id string, g Grant) (Confirmation, error) {
	x := Confirmation{ID: id}
	err := b.retry(ctx, func() (err error) {
		// It was alive when the browser left for the IdP.
		if x.Request, err = b.cfg.Store.AuthRequestByID(ctx, g.RequestID, g.ExpiresAt.Add(-grantLife-idpLoginLife)); err != nil {
			return err
		}
		x.User, err = b.cfg.Store.UserByID(ctx, g.UserID)
		return err
	})
	return x, notWaiting(err)
}

// DecideConfirmation carries out what the person said, once. The one-time code of
// the app is made by the yes; after a no there is AccessDenied to tell the app,
// with the request.
func (b *Broker) DecideConfirmation(ctx context.Context, providerID, id, secret string, allow bool) (code string, r AuthRequest, err error) {
	x, err := b.FindConfirmation(ctx, providerID, id, secret)
	if err != nil {
		return "", r, err
	}
	name, now := confirmationID(id, secret), b.now()
	if !allow {
		if err := b.retryTx(ctx, func(store Store) error { return store.DropGrant(ctx, name) }); err != nil {
			return "", r, notWaiting(err)
		}
		b.cfg.Log.WarnContext(ctx, "a person refused the login of an app", "event", "auth.app.refused", "user_id", x.User.ID, "redirect_uri", x.Request.RedirectURI)
		return "", x.Request, refuse(AccessDenied, "the person refused")
	}
	code = b.newSecret(32)
	err = b.retryTx(ctx, func(store Store) error {
		return store.RenameGrant(ctx, name, hash("code", code), now.Add(redeemMargin))
	})
	return code, x.Request, notWaiting(err)
}

func notWaiting(err error) error {
	if errors.Is(err, NotFound) {
		return refuse(InvalidState, "this login is not known in this browser, is finished, or waited too long; begin again in the app")
	}
	return err
}
