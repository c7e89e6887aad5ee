package broker

import (
	"context"
	"errors"
	"net/url"
	"time"
)

// PasswordPurpose is what a password link is for.
type PasswordPurpose string

// The purposes.
const (
	PurposeInvitation PasswordPurpose = "invitation" // a user without a password chooses one
	PurposeReset      PasswordPurpose = "reset"      // another one takes the place of what was forgotten
	PurposeForgotten  PasswordPurpose = "forgotten"  // the same, by a mail that the user asked for
)

const (
	// resetLife: whoever asked for the link waits for it.
	resetLife = 30 * time.Minute
	// invitationLife: nobody waits for an invitation, and there is no account yet
	// that it could open to a stranger who finds it.
	invitationLife = 3 * 24 * time.Hour
)

// PasswordLink is a one-time link with which a person sets a password.
type PasswordLink struct {
	ID        string // hash of the secret in the link
	UserID    string
	Purpose   PasswordPurpose
	Password  PasswordHash // the user's when the link was made: no other is replaced
	CreatedBy string       // the administrator's ID; empty: the command line
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Handover is how a password link gets to its user.
type Handover struct {
	ByMail   bool   // to the user's address; else the link is handed out
	Language string // of the mail, where the user's is not known
}

// MadeLink is a password link as it is handed out. The URL is a secret.
type MadeLink struct {
	URL       string // empty: it was mailed
	MailedTo  string // the address; empty: it was not mailed
	Purpose   PasswordPurpose
	ExpiresAt time.Time
}

// mayAdminister reports whether an administrator may change an account: those of
// other administrators are root's.
func mayAdminister(by User, u User) bool {
	return by.Role == RoleRoot || by.Role == RoleAdmin && !u.Role.IsAdmin()
}

// MakePasswordLink is [Broker.SendPasswordLink] for a link that is handed out.
func (b *Broker) MakePasswordLink(ctx context.Context, by *User, userID string, purpose PasswordPurpose) (MadeLink, error) {
	return b.SendPasswordLink(ctx, by, userID, purpose, Handover{})
}

// SendPasswordLink makes a one-time link for a user; an earlier one is void. by
// is the administrator, nil on the command line. An empty purpose is the one
// that fits: Invitation for a user without a password, else Reset. The refusals:
// NotFound, Forbidden, LocalLoginDisabled, InvalidRequest.
func (b *Broker) SendPasswordLink(ctx context.Context, by *User, userID string, purpose PasswordPurpose, how Handover) (made MadeLink, err error) {
	if !b.cfg.LocalLogin {
		return made, refuse(LocalLoginDisabled, "logging in with a password is switched off")
	}
	if _, err := b.cfg.Store.UserByID(ctx, userID); err != nil {
		return made, err
	}
	secret := b.newSecret(32)
	err = b.stepUpFor(ctx, func(given proof) error {
		return b.retryTx(ctx, func(store Store) error {
			if err := store.LockUser(ctx, userID); err != nil {
				return err
			}
			if err := given.take(ctx, store); err != nil {
				return err
			}
			u, err := store.UserByID(ctx, userID)
			if err != nil {
				return err
			}
			made, err = b.insertPasswordLink(ctx, store, by, u, purpose, secret, how)
			return err
		})
	})
	return made, err
}

// InviteUser is [Broker.SendInvitation] for a link that is handed out.
func (b *Broker) InviteUser(ctx context.Context, n NewUser) (User, MadeLink, error) {
	return b.SendInvitation(ctx, n, Handover{})
}

// SendInvitation makes a user without a password, and the link with which the user
// chooses one; for administrators only root does.
func (b *Broker) SendInvitation(ctx context.Context, n NewUser, how Handover) (u User, made MadeLink, err error) {
	if !b.cfg.LocalLogin {
		return u, made, refuse(LocalLoginDisabled, "logging in with a password is switched off")
	}
	n.Password = ""
	secret := b.newSecret(32)
	u, err = b.createUser(ctx, n, func(store Store, u User) (err error) {
		made, err = b.insertPasswordLink(ctx, store, b.actor(ctx).user(), u, PurposeInvitation, secret, how)
		return err
	})
	return u, made, err
}

// insertPasswordLink is the body of the transaction that makes a link for a user
// who is locked.
func (b *Broker) insertPasswordLink(
	ctx context.Context, store Store, by *User, u User, purpose PasswordPurpose, secret string, how Handover,
) (made MadeLink, err error) {
	fits, life := PurposeReset, resetLife
	if u.PasswordHash == "" {
		fits, life = PurposeInvitation, invitationLife
	}
	switch {
	case by != nil && !mayAdminister(*by, u):
		return MadeLink{}, refuse(Forbidden, "only root makes password links for administrators")
	case !u.DisabledAt.IsZero():
		return MadeLink{}, refuse(InvalidRequest, "the user is disabled")
	case how.ByMail && !b.MailsSent():
		return MadeLink{}, refuse(InvalidRequest, "no mail is sent here: smtp.host is not set")
	case how.ByMail && u.linkAddress() == "":
		return MadeLink{}, fault(InvalidRequest, "email", "links go only to an address that is verified or that an administrator has set, for administrators root")
	case purpose != "" && purpose != PurposeInvitation && purpose != PurposeReset:
		return MadeLink{}, refuse(InvalidRequest, "purpose is one of invitation, reset")
	case purpose == PurposeReset && fits != purpose:
		return MadeLink{}, refuse(InvalidRequest, "purpose: the user has no password yet; it must be invitation")
	case purpose == PurposeInvitation && fits != purpose:
		return MadeLink{}, refuse(InvalidRequest, "purpose: the user has a password; it must be reset")
	}
	now := b.now()
	l := PasswordLink{
		ID: passwordLinkID(secret), UserID: u.ID, Purpose: fits, Password: u.PasswordHash, CreatedAt: now, ExpiresAt: now.Add(life),
	}
	if by != nil {
		l.CreatedBy = by.ID
	}
	if err := store.DeletePasswordLinks(ctx, u.ID); err != nil {
		return MadeLink{}, err
	}
	if err := store.InsertPasswordLink(ctx, l); err != nil {
		return MadeLink{}, err
	}
	event := Event{Name: EventPasswordLinkMade, UserID: u.ID, Detail: map[string]string{"purpose": string(fits), "by": l.CreatedBy}}
	made = MadeLink{Purpose: fits, ExpiresAt: l.ExpiresAt}
	if !how.ByMail {
		made.URL = b.cfg.PublicURL + "/password?token=" + url.QueryEscape(secret)
		return made, b.audit(ctx, store, event)
	}
	made.MailedTo = u.linkAddress()
	if err := b.mailMadeLink(ctx, store, u, l, secret, how); err != nil {
		return MadeLink{}, err
	}
	return made, b.audit(ctx, store, event)
}

// mailMadeLink queues the mail with a link that an administrator has made.
func (b *Broker) mailMadeLink(ctx context.Context, store Store, u User, l PasswordLink, secret string, how Handover) error {
	kind := MailReset
	if l.Purpose == PurposeInvitation {
		kind = MailInvitation
	}
	quota := MailQuota{Most: mailedLinks, Since: l.CreatedAt.Add(-24 * time.Hour)}
	queued, err := b.mailLink(ctx, store, u, l, secret, Letter{Kind: kind, Language: how.Language}, quota)
	if err == nil && !queued {
		err = refuse(InvalidRequest, "this user got ten such mails within a day; hand the link over in another way")
	}
	return err
}

func passwordLinkID(secret string) string { return hash("password link", secret) }

// PasswordLinkUser finds whom a link is for, without using it. Whatever is wrong
// with the link, the answer is the same PasswordLinkInvalid.
func (b *Broker) PasswordLinkUser(ctx context.Context, secret string) (User, error) {
	if !b.cfg.LocalLogin {
		return User{}, refuse(LocalLoginDisabled, "logging in with a password is switched off")
	}
	var u User
	err := b.retry(ctx, func() error {
		l, err := b.cfg.Store.PasswordLinkByID(ctx, passwordLinkID(secret), b.now())
		if err == nil {
			u, err = linkedUser(ctx, b.cfg.Store, l)
		}
		return err
	})
	return u, noSuchLink(err)
}

// linkedUser is the user of a link that may still be used. An administrator
// knows the links that he made, so that they are worth no more than he may today:
// the user may have become more than he is, or he less.
func linkedUser(ctx context.Context, store Store, l PasswordLink) (User, error) {
	u, err := store.UserByID(ctx, l.UserID)
	if err == nil && (!u.DisabledAt.IsZero() || u.PasswordHash != l.Password) {
		err = NotFound
	}
	if err == nil && l.Purpose == PurposeForgotten && !u.mayForget() { // who could get no such link today
		err = NotFound
	}
	if err != nil || l.CreatedBy == "" {
		return u, err
	}
	by, err := store.UserByID(ctx, l.CreatedBy)
	if err == nil && (!by.DisabledAt.IsZero() || !mayAdminister(by, u)) {
		err = NotFound
	}
	return u, err
}

func noSuchLink(err error) error {
	if errors.Is(err, NotFound) {
		return refuse(PasswordLinkInvalid, "")
	}
	return err
}

// UsePasswordLink sets the password of whom a link is for. All sessions of the
// user end, and no link stays. A password that is refused leaves the link as it
// was.
func (b *Broker) UsePasswordLink(ctx context.Context, secret, fresh string, device Device) (User, error) {
	u, err := b.PasswordLinkUser(ctx, secret)
	if err != nil {
		return User{}, err
	}
	if err := b.checkPassword(ctx, fresh, u); err != nil {
		return u, err
	}
	chosen, err := b.cfg.Hasher.Hash(ctx, fresh)
	if err != nil {
		return u, err
	}
	err = b.retryTx(ctx, func(store Store) error { return b.takePasswordLink(ctx, store, u.ID, secret, chosen, device) })
	return u, noSuchLink(err)
}

func (b *Broker) takePasswordLink(ctx context.Context, store Store, userID, secret string, chosen PasswordHash, device Device) error {
	if err := store.LockUser(ctx, userID); err != nil {
		return err
	}
	l, err := store.TakePasswordLink(ctx, passwordLinkID(secret), b.now())
	if err != nil {
		return err
	}
	u, err := linkedUser(ctx, store, l)
	if err != nil {
		return err
	}
	return b.replacePassword(ctx, store, u.ID, newPassword{old: &l.Password, hash: chosen, how: string(l.Purpose), ip: device.IP})
}
