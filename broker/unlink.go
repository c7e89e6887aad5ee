package broker

import (
	"context"
	"errors"
	"slices"
	"time"
)

// ID names an identity in URLs and forms, which say neither issuer nor subject.
func (i Identity) ID() string { return hash("identity", i.Issuer, i.Subject) }

// Identities lists what is linked to a user, the oldest first.
func (b *Broker) Identities(ctx context.Context, userID string) ([]Identity, error) {
	return b.cfg.Store.IdentitiesOfUser(ctx, userID)
}

// Unlink takes an identity from its user, who has proven to be here; see
// [Broker.BeginLink]. Within seven days of a link to an account that was there
// before, it restores what the link has changed. Every session that was made
// through the identity ends with LinkUndone. The last way to log in stays.
func (b *Broker) Unlink(ctx context.Context, p Principal, identityID, given string, device Device) error {
	if err := b.proveNow(ctx, Proving{p, given, device}); err != nil {
		return err
	}
	now := b.now()
	_, err := b.unlink(ctx, p.User.ID, func(i Identity) bool { return i.ID() == identityID && mayUnlink(p.User, i, now) }, true, device.IP)
	if p.User.Role == RoleGuest && errors.Is(err, NotFound) {
		return errGuest
	}
	return err
}

// mayUnlink reports whether a user may take an identity away: guests only the
// one that made them guests.
func mayUnlink(u User, i Identity, now time.Time) bool {
	return u.Role != RoleGuest || i.undoable(now) && i.Link.Before.Role != RoleGuest
}

var errGuest = refuse(Forbidden, "guests do not change how they log in")

// UnlinkByAdmin is [Broker.Unlink] for an administrator: of one identity, or of
// all with an empty ID, the last way to log in too. It returns how many.
func (b *Broker) UnlinkByAdmin(ctx context.Context, by Principal, userID, identityID string, device Device) (int, error) {
	u, err := b.cfg.Store.UserByID(ctx, userID)
	if err != nil {
		return 0, err
	}
	if by.User.ID != u.ID && !mayAdminister(by.User, u) {
		return 0, refuse(Forbidden, "only root unlinks the identities of administrators")
	}
	if err := b.stepUpNow(ctx); err != nil {
		return 0, err
	}
	n, err := b.unlink(ctx, userID, func(i Identity) bool { return identityID == "" || i.ID() == identityID }, false, device.IP)
	if identityID == "" && errors.Is(err, NotFound) {
		return 0, nil // all of none
	}
	return n, err
}

// UnlinkProvider is [Broker.UnlinkByAdmin] for the command line: the user's
// identities of one provider, or all with an empty ID.
func (b *Broker) UnlinkProvider(ctx context.Context, userID, providerID string) (int, error) {
	return b.unlink(ctx, userID, func(i Identity) bool { return providerID == "" || i.ProviderID == providerID }, false, "")
}

// unlink takes away the identities that are picked; NotFound where there are none.
func (b *Broker) unlink(ctx context.Context, userID string, pick func(Identity) bool, keepLast bool, ip string) (n int, err error) {
	err = b.retryTx(ctx, func(store Store) (err error) {
		n, err = b.unlinkPicked(ctx, store, userID, pick, keepLast, ip)
		return err
	})
	return n, err
}

// unlinkPicked is the body of the transaction. With the user locked, whoever
// makes a session or takes another identity away comes before or after.
func (b *Broker) unlinkPicked(ctx context.Context, store Store, userID string, pick func(Identity) bool, keepLast bool, ip string) (int, error) {
	if err := store.LockUser(ctx, userID); err != nil {
		return 0, err
	}
	u, err := store.UserByID(ctx, userID)
	if err != nil {
		return 0, err
	}
	all, err := store.IdentitiesOfUser(ctx, userID)
	if err != nil {
		return 0, err
	}
	gone, kept := []Identity{}, []Identity{}
	for _, i := range all {
		if pick(i) {
			gone = append(gone, i)
		} else {
			kept = append(kept, i)
		}
	}
	switch {
	case len(gone) == 0:
		return 0, &Error{Code: NotFound, Message: "there is no such identity"}
	case keepLast && !b.hasWayIn(u, kept):
		return 0, refuse(LastLoginMethod, "this is the last way to log in to your account; set a password or link another one first")
	}
	before := u.profile()
	for _, i := range slices.Backward(gone) { // what came last goes back to what was before it
		if err := b.removeIdentity(ctx, store, &u, i, kept, ip); err != nil {
			return 0, err
		}
	}
	return len(gone), b.afterUnlink(ctx, store, before, u, kept)
}

// hasWayIn reports whether a user can log in by a password or one of the
// identities.
func (b *Broker) hasWayIn(u User, identities []Identity) bool {
	if u.PasswordHash != "" && b.cfg.LocalLogin {
		return true
	}
	return slices.ContainsFunc(identities, func(i Identity) bool {
		return slices.ContainsFunc(b.Providers(), func(p Provider) bool { return p.IdP.Issuer() == i.Issuer })
	})
}

// removeIdentity takes one identity away, with what it changed and what was
// made through it. The profiles that kept links would go back to lose it too.
func (b *Broker) removeIdentity(ctx context.Context, store Store, u *User, i Identity, kept []Identity, ip string) error {
	now := b.now()
	if err := store.DeleteIdentity(ctx, i.Issuer, i.Subject, u.ID); err != nil {
		return err
	}
	if err := store.InsertUndoneLink(ctx, i.Issuer, i.Subject, u.ID, now); err != nil {
		return err
	}
	detail := map[string]string{"provider": i.ProviderID, "subject": i.Subject, "undone": "no"}
	if i.undoable(now) {
		detail["undone"] = "yes"
		u.setProfile(i.Link.undo(u.profile()))
		for n := range kept {
			if !kept[n].undoable(now) {
				continue
			}
			kept[n].Link.Before = i.Link.undo(kept[n].Link.Before)
			if err := store.SetLink(ctx, kept[n]); err != nil {
				return err
			}
		}
	}
	for _, made := range b.madeThrough(i, kept) {
		if _, err := b.endSessions(ctx, store, made, LinkUndone, false, ip); err != nil {
			return err
		}
	}
	return b.audit(ctx, store, Event{Name: EventIdentityUnlinked, UserID: u.ID, IP: ip, Detail: detail})
}

// madeThrough names the sessions of an identity. A provider may have had another
// id when they were made, so that the subject decides, unless another identity of
// the user has the same.
func (b *Broker) madeThrough(i Identity, kept []Identity) (out []SessionFilter) {
	f := SessionFilter{UserID: i.UserID, IdPSubject: i.Subject}
	if !slices.ContainsFunc(kept, func(k Identity) bool { return k.Subject == i.Subject }) {
		return []SessionFilter{f}
	}
	for _, f.ProviderID = range b.providersOf(i) {
		out = append(out, f)
	}
	return out
}

// providersOf are the ids under which an identity's issuer is known: it may be
// set up more than once.
func (b *Broker) providersOf(i Identity) []string {
	ids := []string{i.ProviderID}
	for _, p := range b.Providers() {
		if p.IdP.Issuer() == i.Issuer && p.ID != i.ProviderID {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// afterUnlink writes the profile, and tells of the newest link that can still be
// undone, so that no unlinking hides another link.
func (b *Broker) afterUnlink(ctx context.Context, store Store, before Profile, u User, kept []Identity) error {
	now := b.now()
	if !u.profile().equal(before) {
		u.UpdatedAt = now
		if err := b.saveProfile(ctx, store, Identity{}, before, &u, u.Role, &resolution{}); err != nil {
			return err
		}
	}
	if err := store.SetPermissions(ctx, u.ID, u.Permissions); err != nil {
		return err
	}
	if u.Notice.Code != EventIdentityLinked {
		return nil
	}
	told := Notice{}
	for _, i := range kept {
		if i.undoable(now) && !i.CreatedAt.Before(told.At) {
			told = noticeOf(i, b.providerName(i.ProviderID))
		}
	}
	return store.SetNotice(ctx, u.ID, told)
}

func (b *Broker) providerName(id string) string {
	for _, p := range b.Providers() {
		if p.ID == id {
			return p.Name
		}
	}
	return id
}

// stillLinked is asked once the user is locked by the insert of a session: a link
// that was undone during the login makes no session any more. What is made in a
// browser's session depends on that one instead.
func (b *Broker) stillLinked(ctx context.Context, store Store, s Session) error {
	if s.ProviderID == "" || s.ParentID != "" {
		return nil
	}
	p, err := b.provider(s.ProviderID)
	if err != nil {
		return err
	}
	i, err := store.IdentityBySubject(ctx, p.IdP.Issuer(), s.IdPSubject)
	if errors.Is(err, NotFound) || err == nil && i.UserID != s.UserID {
		return refuse(LinkUndone, "the link to the account that you logged in with was removed during the login")
	}
	return err
}
