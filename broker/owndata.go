package broker

import (
	"context"
	"errors"
	"maps"
)

// AppConsent is a consent with its client; one that is gone has no ID.
type AppConsent struct {
	Consent
	Client Client
}

// Apps lists the clients that a user has let in, by id; next is empty at the end.
func (b *Broker) Apps(ctx context.Context, userID string, p Page) (apps []AppConsent, next string, err error) {
	const list = "apps"
	limit := p.bound(MaxPage)
	at, err := b.placeOf(list, p.Next)
	if err != nil {
		return nil, "", err
	}
	apps, err = b.cfg.Store.ListConsents(ctx, userID, at.ID, limit+1)
	if err == nil && len(apps) > limit {
		apps = apps[:limit]
		next = b.nextOf(list, place{ID: apps[limit-1].ClientID})
	}
	for i := range apps {
		if c, ok := b.fixedClient(apps[i].ClientID); ok {
			apps[i].Client = c
		}
	}
	return apps, next, err
}

// WithdrawConsent takes back what a user has permitted a client: the client has
// to ask again, its codes are worth nothing, and its sessions with this user end
// with RevokedByUser.
// NotFound where there is no such consent.
func (b *Broker) WithdrawConsent(ctx context.Context, p Principal, clientID string, device Device) error {
	if err := p.NeedSession(); err != nil {
		return err
	}
	if p.User.Role == RoleGuest {
		return refuse(Forbidden, "guests do not decide which apps they use")
	}
	return b.retryTx(ctx, func(store Store) error {
		if err := store.LockUser(ctx, p.User.ID); err != nil { // codes wait for it: see stillPermitted
			return err
		}
		if err := store.DeleteConsent(ctx, p.User.ID, clientID); err != nil {
			return err
		}
		if _, err := b.endSessions(ctx, store, SessionFilter{UserID: p.User.ID, ClientID: clientID}, RevokedByUser, false, device.IP); err != nil {
			return err
		}
		return b.audit(ctx, store, Event{Name: EventConsentWithdrawn, UserID: p.User.ID, ClientID: clientID, IP: device.IP})
	})
}

// stillPermitted refuses a code whose client was taken back while the code was on
// its way. The lock decides which of the two was first.
func stillPermitted(ctx context.Context, store Store, c *Client, a Authorization) error {
	if c.FirstParty || forgettable(c) { // of whom no consent is kept
		return nil
	}
	if err := store.LockUser(ctx, a.UserID); err != nil {
		return err
	}
	given, err := store.ConsentOf(ctx, a.UserID, c.ID)
	if errors.Is(err, NotFound) || err == nil && !subset(a.Scope, given.Scope) {
		return refuse(CodeInvalid, "the person took back what this client was permitted")
	}
	return err
}

// MayExport counts a download of what is stored of a user.
func (b *Broker) MayExport(ctx context.Context, who Principal) error {
	return b.within(ctx, b.cfg.Limits.Exports, "exports of "+who.User.ID, "your data were downloaded too often in a short time")
}

// MaxOwnRows bounds how many of a user's sessions and events are handed out.
const MaxOwnRows = 10_000

// OwnSessions calls f with the sessions of a user, ended ones too, the newest
// first, until it fails. cut says that there are more than MaxOwnRows. A guest's
// account may be several people's: it gets the session that asks.
func (b *Broker) OwnSessions(ctx context.Context, who Principal, f func(UserSession) error) (cut bool, err error) {
	own := SessionFilter{UserID: who.User.ID}
	if who.User.Role == RoleGuest {
		own.ID = who.Session.ID
	}
	return eachOwn(func(p Page) ([]UserSession, string, error) { return b.PageSessions(ctx, own, p) }, f)
}

// OwnEvents is [Broker.OwnSessions] for what the audit log says of a user,
// without what it says of the administrators who did it: who they are, and where
// they were.
func (b *Broker) OwnEvents(ctx context.Context, who Principal, f func(Event) error) (cut bool, err error) {
	own := EventFilter{UserID: who.User.ID}
	if who.User.Role == RoleGuest {
		own.SessionID = who.Session.ID
	}
	page := func(p Page) ([]Event, string, error) { return b.PageEvents(ctx, own, p) }
	return eachOwn(page, func(e Event) error { return f(e.withoutOthers()) })
}

// actorAdministrator stands for whichever administrator it was.
const actorAdministrator = "administrator"

func (e Event) withoutOthers() Event {
	by, named := e.Detail["by"]
	if named && by != e.UserID {
		e.Detail = maps.Clone(e.Detail)
		delete(e.Detail, "by")
		e.Actor = actorAdministrator
	}
	if e.Actor != "" && e.Actor != e.UserID && e.Actor != ActorCommand {
		e.Actor, e.IP = actorAdministrator, ""
	}
	return e
}

// eachOwn calls f with what pages have, up to MaxOwnRows.
func eachOwn[T any](page func(Page) ([]T, string, error), f func(T) error) (cut bool, err error) {
	p := Page{Limit: MaxPage}
	for n := 0; n < MaxOwnRows; n += MaxPage {
		list, next, err := page(p)
		if err != nil {
			return false, err
		}
		for _, one := range list {
			if err := f(one); err != nil {
				return false, err
			}
		}
		if p.Next = next; next == "" {
			return false, nil
		}
	}
	return true, nil
}
