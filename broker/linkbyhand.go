package broker

import (
	"context"
	"errors"
	"time"
)

// BeginLink sends a browser to an IdP to link what the person is called there to
// the account that is logged in here. It asks for both sides in one flow: of this
// side what [Broker.ProofAsked] says; of the other the IdP's login, which the IdP is
// asked to do anew. The flow is good for this session alone. As in
// [Broker.BeginWeb], the state comes back to be kept in a cookie.
func (b *Broker) BeginLink(ctx context.Context, p Principal, providerID, returnTo, given string, device Device) (to, state string, err error) {
	if p.User.Role == RoleGuest {
		return "", "", errGuest
	}
	idp, err := b.provider(providerID)
	if err != nil {
		return "", "", err
	}
	if err := b.proveNow(ctx, Proving{p, given, device}); err != nil {
		return "", "", err
	}
	l := IdPLogin{ReturnTo: returnTo, LinkUserID: p.User.ID, LinkSessionID: p.Session.ID}
	return b.sendToIdP(ctx, idp, l, IdPAsk{Prompt: "login"}, device)
}

// reauthLeeway is how far an IdP's clock may be behind ours.
const reauthLeeway = time.Minute

// completeLink is the end of a link by hand. device.Replaces is the session that
// the browser has now.
func (b *Broker) completeLink(ctx context.Context, p *Provider, l IdPLogin, res IdPResponse, device Device) error {
	if device.Replaces != l.LinkSessionID {
		return refuse(StateMismatch, "this link was begun in a login that is over; log in and begin again")
	}
	if _, err := b.linkOwner(ctx, b.cfg.Store, l); err != nil {
		return err
	}
	claims, err := b.askIdP(ctx, p, res)
	if err != nil {
		return err
	}
	err = p.acceptsLink(claims, l.ExpiresAt.Add(-idpLoginLife))
	if err == nil {
		err = b.retryTx(ctx, func(store Store) error { return b.linkByHand(ctx, store, p, l, claims, device) })
	}
	if err != nil {
		b.cfg.Log.WarnContext(ctx, "link of an identity refused", "event", "identity.link.refused", "provider", p.ID, "user_id", l.LinkUserID,
			"code", string(CodeOf(err)), "error", err)
	}
	return err
}

// acceptsLink applies the provider's rules, and refuses the login of somebody who
// was logged in at the IdP before the link was begun: it may be anybody's. Many
// IdPs do not say; all are asked.
func (p *Provider) acceptsLink(c IdPClaims, begun time.Time) error {
	if !c.AuthTime.IsZero() && c.AuthTime.Before(begun.Add(-reauthLeeway)) {
		return refuse(LoginRequired, p.Name+" did not ask you to log in; log out there and begin again")
	}
	return p.accepts(c)
}

// linkOwner is the user whom a link was begun for, in the session that it was
// begun in. Both have to stand.
func (b *Broker) linkOwner(ctx context.Context, store Store, l IdPLogin) (User, error) {
	s, u, err := store.SessionByID(ctx, l.LinkSessionID)
	switch {
	case errors.Is(err, NotFound) || err == nil && (s.Ended(b.now()) != "" || u.ID != l.LinkUserID):
		return User{}, refuse(StateMismatch, "this link was begun in a login that is over; log in and begin again")
	case err != nil:
		return User{}, err
	case !u.DisabledAt.IsZero():
		return User{}, refuse(UserDisabled, "your account was disabled by an administrator")
	}
	return u, nil
}

// linkByHand is the body of the transaction. An identity that somebody has
// stays theirs; the user's own is linked already.
func (b *Broker) linkByHand(ctx context.Context, store Store, p *Provider, l IdPLogin, c IdPClaims, device Device) error {
	if err := store.LockUser(ctx, l.LinkUserID); err != nil {
		return err
	}
	u, err := b.linkOwner(ctx, store, l)
	if err != nil {
		return err
	}
	known, err := store.IdentityBySubject(ctx, c.Issuer, c.Subject)
	if err == nil && known.UserID != u.ID {
		return refuse(IdentityConflict, "this "+p.Name+" login belongs to another account here; nothing was changed")
	}
	if err == nil || !errors.Is(err, NotFound) {
		return err
	}
	i, err := b.link(ctx, store, p, u, p.identity(c, b.now()), LinkedByHand, device)
	if err == nil {
		var r resolution
		err = b.updateFromIdP(ctx, store, p, i, c, &r)
		b.logKeptRole(ctx, p, r, err)
	}
	return err
}
