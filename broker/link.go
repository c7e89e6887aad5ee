package broker

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"
)

// How an identity came to an account that was there before it.
const (
	LinkedByHand   = "hand"   // in the account's own session, with proof of both sides
	LinkedByEmail  = "email"  // by an address that the IdP had verified, where that is the rule
	LinkedByImport = "import" // by an administrator, from another system
)

// undoLife is how long a link can be undone, and how long the owner is told.
const undoLife = 7 * 24 * time.Hour

// Link is how an identity came to an account that was there before, and what it
// changed there: what an undo goes back to, and by what it knows that nobody
// else has changed it since.
type Link struct {
	How    string  `json:"how"`
	Before Profile `json:"before"`
	After  Profile `json:"after"`
}

// Profile is what an IdP may say of a user.
type Profile struct {
	Name          string       `json:"name,omitempty"`
	Email         string       `json:"email,omitempty"`
	EmailVerified bool         `json:"emailVerified,omitempty"`
	Role          Role         `json:"role,omitempty"`
	Groups        []string     `json:"groups,omitempty"`
	Permissions   *Permissions `json:"permissions,omitempty"`
}

func (u *User) profile() Profile {
	return Profile{
		Name: u.Name, Email: u.Email, EmailVerified: u.EmailVerified, Role: u.Role, Groups: u.Groups, Permissions: u.Permissions,
	}
}

func (u *User) setProfile(p Profile) {
	u.Name, u.Email, u.EmailVerified, u.Role, u.Groups, u.Permissions = p.Name, p.Email, p.EmailVerified, p.Role, p.Groups, p.Permissions
}

func (p Profile) equal(q Profile) bool {
	return p.Name == q.Name && p.Email == q.Email && p.EmailVerified == q.EmailVerified && p.Role == q.Role &&
		slices.Equal(p.Groups, q.Groups) && reflect.DeepEqual(p.Permissions, q.Permissions)
}

// undo takes back from a profile what the link has put there. What somebody
// else has changed since stays.
func (l *Link) undo(p Profile) Profile {
	if p.Name == l.After.Name {
		p.Name = l.Before.Name
	}
	if p.Email == l.After.Email && p.EmailVerified == l.After.EmailVerified {
		p.Email, p.EmailVerified = l.Before.Email, l.Before.EmailVerified
	}
	// Nobody becomes an administrator by an undo: whoever took that role away since
	// may have found it taken already.
	if p.Role == l.After.Role && (p.Role.IsAdmin() || !l.Before.Role.IsAdmin()) {
		p.Role = l.Before.Role
	}
	if slices.Equal(p.Groups, l.After.Groups) {
		p.Groups = l.Before.Groups
	}
	if reflect.DeepEqual(p.Permissions, l.After.Permissions) {
		p.Permissions = l.Before.Permissions
	}
	return p
}

// note takes down that a login through the identity changed the profile.
func (l *Link) note(from, to Profile) { l.Before, l.After = l.undo(from), to }

// UndoUntil is when the identity can no longer be undone, or the zero time: the
// account was made for it, or an administrator linked it.
func (i Identity) UndoUntil() time.Time {
	if i.Link.How != LinkedByHand && i.Link.How != LinkedByEmail {
		return time.Time{}
	}
	return i.CreatedAt.Add(undoLife)
}

func (i Identity) undoable(now time.Time) bool { return now.Before(i.UndoUntil()) }

// link is the body of the transaction that links an identity to an account that
// was there before it. The owner is told on every device.
func (b *Broker) link(ctx context.Context, store Store, p *Provider, u User, i Identity, how string, device Device) (Identity, error) {
	if err := lockUnchanged(ctx, store, u); err != nil {
		return i, err
	}
	i.UserID, i.Link = u.ID, Link{How: how, Before: u.profile(), After: u.profile()}
	if err := store.InsertIdentity(ctx, i); err != nil {
		return i, orAgain(err, IdentityConflict)
	}
	err := b.audit(ctx, store, Event{
		Name: EventIdentityLinked, UserID: u.ID, IP: device.IP, Detail: map[string]string{"provider": p.ID, "subject": i.Subject, "how": how},
	})
	if err != nil {
		return i, err
	}
	if how == LinkedByEmail { // an invitation that is still open was for whoever has come now
		if err := store.DeletePasswordLinks(ctx, u.ID); err != nil {
			return i, err
		}
	}
	told := Letter{Kind: MailIdentityLinked, What: p.Name, Until: i.UndoUntil()}
	if err := b.tell(ctx, store, u.ID, i.ID()+" "+i.CreatedAt.String(), told); err != nil {
		return i, err
	}
	return i, store.SetNotice(ctx, u.ID, noticeOf(i, p.Name))
}

// lockUnchanged locks a user that was read before. One that somebody has changed
// in between has to be judged again, and the transaction starts anew.
func lockUnchanged(ctx context.Context, store Store, u User) error {
	if err := store.LockUser(ctx, u.ID); err != nil {
		return orAgain(err, NotFound)
	}
	now, err := store.UserByID(ctx, u.ID)
	if err == nil && !now.UpdatedAt.Equal(u.UpdatedAt) {
		err = Unavailable(errors.New("the user was changed while an identity was being linked"))
	}
	return err
}

// lockIdentity keeps an undo from running beside a login, which would write again
// what the undo has just taken back.
func lockIdentity(ctx context.Context, store Store, i Identity) (Identity, error) {
	if err := store.LockUser(ctx, i.UserID); err != nil {
		return i, orAgain(err, NotFound)
	}
	i, err := store.IdentityBySubject(ctx, i.Issuer, i.Subject)
	return i, orAgain(err, NotFound)
}

// noticeOf is what the owner is told of a link.
func noticeOf(i Identity, providerName string) Notice {
	return Notice{Code: EventIdentityLinked, At: i.CreatedAt, Until: i.UndoUntil(), Detail: providerName}
}
