package broker

import (
	"context"
	"errors"
	"time"
)

// recentLogin is how fresh a login must be to set a password where none was.
const recentLogin = 5 * time.Minute

// ChangePassword replaces a user's own password. Every session of the user
// ends with PasswordChanged, this one too, and a new one comes back.
func (b *Broker) ChangePassword(ctx context.Context, p Principal, current *string, fresh string, device Device) (*Login, error) {
	if err := p.NeedSession(); err != nil {
		return nil, err
	}
	if p.User.Role == RoleGuest {
		return nil, refuse(Forbidden, "guests do not change passwords")
	}
	if !b.cfg.LocalLogin {
		return nil, refuse(LocalLoginDisabled, "logging in with a password is switched off")
	}
	standing, err := b.proveOwner(ctx, p, current, device)
	if err != nil {
		return nil, err
	}
	if err := b.checkPassword(fresh, p.User); err != nil {
		return nil, err
	}
	hash, err := b.cfg.Hasher.Hash(ctx, fresh)
	if err != nil {
		return nil, err
	}
	c, err := b.sessionClient(ctx, p.Session)
	if err != nil {
		return nil, err
	}
	s := b.newSession(&c, p.User.ID, device, b.now())
	s.AMR, s.Scope, s.Request = []string{"pwd"}, p.Session.Scope, p.Session.Request
	s.DPoPThumbprint = p.Session.DPoPThumbprint // what was bound stays bound
	if standing == "" {
		s.sameLogin(p.Session) // no password was asked for
	}
	return b.loginWith(ctx, &c, p.User, s, newPassword{old: &standing, hash: hash, how: "own", ip: device.IP})
}

// loginWith replaces a password and starts a session, in one transaction.
func (b *Broker) loginWith(ctx context.Context, c *Client, u User, s Session, n newPassword) (*Login, error) {
	err := b.retry(ctx, func() error {
		if b.exists(ctx, s) {
			return nil // an earlier try committed, and only its answer was lost
		}
		return b.cfg.Store.Tx(ctx, func(store Store) error {
			if err := b.replacePassword(ctx, store, u.ID, n); err != nil {
				return err
			}
			_, err := b.insertSession(ctx, store, s, n.hash)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return b.mint(c, u, s, 0, 0, s.CreatedAt)
}

// proveOwner asks for the current password and returns its hash; where there
// is none, for a login here a moment ago, so that neither a stolen access token
// nor a client that was granted the API can make itself at home.
func (b *Broker) proveOwner(ctx context.Context, p Principal, current *string, device Device) (PasswordHash, error) {
	if p.User.PasswordHash == "" {
		recent, err := b.RecentlyProven(ctx, p)
		if err == nil && !recent {
			err = refuse(WrongPassword, "log in again to set a first password")
		}
		return "", err
	}
	wrong := refuse(WrongPassword, "the current password is wrong")
	if current == nil {
		return "", wrong
	}
	u, err := b.checkLogin(ctx, p.User.Username, *current, device)
	if errors.Is(err, InvalidCredentials) {
		return "", wrong
	}
	return u.PasswordHash, err
}

// newPassword is a change of a password.
type newPassword struct {
	old       *PasswordHash // what must stand; nil: anything
	hash      PasswordHash
	temporary bool
	how       string // for the audit log: own, administrator, temporary, or the purpose of a link
	ip        string
}

// replacePassword is the body of the transaction that changes a password: no
// session survives it, no legacy token, and no link with which another could be
// set.
func (b *Broker) replacePassword(ctx context.Context, store Store, userID string, n newPassword) error {
	done, err := store.SetPassword(ctx, userID, n.old, n.hash, n.temporary, b.now())
	if err != nil {
		return err
	}
	if !done {
		return refuse(WrongPassword, "the password was changed in the meantime")
	}
	if err := store.DeletePasswordLinks(ctx, userID); err != nil {
		return err
	}
	if _, err := b.endSessions(ctx, store, SessionFilter{UserID: userID}, PasswordChanged, false, n.ip); err != nil {
		return err
	}
	if _, err := b.endLegacy(ctx, store, userID, n.ip); err != nil {
		return err
	}
	return b.audit(ctx, store, Event{Name: EventPasswordChanged, UserID: userID, IP: n.ip, Detail: map[string]string{"how": n.how}})
}
