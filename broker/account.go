package broker

import (
	"cmp"
	"context"
	"errors"
)

// PasswordChange is what changes the own password: the current one, and, for an
// account with a second factor, a code of that; nil: none was given.
type PasswordChange struct {
	Current, Code *string
	Fresh         string
}

// ChangePassword replaces a user's own password. Every session of the user
// ends with PasswordChanged, this one too, and a new one comes back.
func (b *Broker) ChangePassword(ctx context.Context, p Principal, in PasswordChange, device Device) (*Login, error) {
	if err := p.NeedSession(); err != nil {
		return nil, err
	}
	if p.User.Role == RoleGuest {
		return nil, refuse(Forbidden, "guests do not change passwords")
	}
	if !b.cfg.LocalLogin {
		return nil, refuse(LocalLoginDisabled, "logging in with a password is switched off")
	}
	standing, err := b.provePassword(ctx, p, in.Current, device)
	if err != nil {
		return nil, err
	}
	if err := b.checkPassword(ctx, in.Fresh, p.User); err != nil {
		return nil, err
	}
	proof, err := b.proveForPassword(ctx, p, in.Code, device)
	if err != nil {
		return nil, err
	}
	hash, err := b.cfg.Hasher.Hash(ctx, in.Fresh)
	if err != nil {
		return nil, err
	}
	c, err := b.sessionClient(ctx, p.Session)
	if err != nil {
		return nil, err
	}
	s := b.newSession(&c, p.User.ID, device, b.now())
	s.AMR, s.Scope, s.Request = proof.amr, p.Session.Scope, p.Session.Request
	s.Request.Silent = standing == "" && s.Request.Silent
	s.DPoPThumbprint = p.Session.DPoPThumbprint // what was bound stays bound
	s.DeviceName = cmp.Or(p.Session.DeviceName, s.DeviceName)
	if standing == "" {
		s.sameLogin(p.Session) // no password was asked for
	}
	l, err := b.loginWith(ctx, &c, p.User, s, newPassword{old: &standing, hash: hash, how: "own", ip: device.IP, first: proof.use})
	return l, asWrongCode(b.countUsed(ctx, p.User, device, err))
}

func (b *Broker) proveForPassword(ctx context.Context, p Principal, code *string, device Device) (*factorProof, error) {
	needed, err := b.CodeNeeded(ctx, p)
	if err != nil {
		return nil, err
	}
	if !needed {
		proof := &factorProof{amr: []string{"pwd"}}
		if p.User.SecondFactor {
			proof.amr = p.Session.AMR
		}
		return proof, nil
	}
	if code == nil || *code == "" {
		return nil, fault(WrongCode, "otp", "a code of your second factor is needed as well")
	}
	proof, err := b.checkCode(ctx, p.User, *code, device)
	return proof, asWrongCode(err)
}

// asWrongCode is a wrong code where somebody is logged in: no login is refused.
func asWrongCode(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Code == SecondFactorInvalid {
		return &Error{Code: WrongCode, Field: "otp", Message: e.Message}
	}
	return err
}

// loginWith replaces a password and starts a session, in one transaction.
func (b *Broker) loginWith(ctx context.Context, c *Client, u User, s Session, n newPassword) (*Login, error) {
	err := b.retryTx(ctx, func(store Store) error {
		if err := b.replacePassword(ctx, store, u.ID, n); err != nil {
			return err
		}
		made, err := b.insertSession(ctx, store, s, n.hash)
		if err == nil {
			err = enough(made, s)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return b.mint(c, u, s, 0, 0, s.CreatedAt)
}

// newPassword is a change of a password.
type newPassword struct {
	old       *PasswordHash // what must stand; nil: anything
	hash      PasswordHash
	temporary bool
	how       string // for the audit log: own, administrator, temporary, or the purpose of a link
	// first is done before it in the transaction; nil: nothing.
	first func(context.Context, Store) error
	ip    string
}

// replacePassword is the body of the transaction that changes a password: no
// session survives it, no legacy token, and no link with which another could be
// set.
func (b *Broker) replacePassword(ctx context.Context, store Store, userID string, n newPassword) error {
	if n.first != nil {
		if err := n.first(ctx, store); err != nil {
			return err
		}
	}
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
	if n.how != string(PurposeInvitation) { // by which there was none before
		if err := b.tell(ctx, store, userID, hash(string(n.hash)), Letter{Kind: MailPasswordChanged}); err != nil {
			return err
		}
	}
	return b.audit(ctx, store, Event{Name: EventPasswordChanged, UserID: userID, IP: n.ip, Detail: map[string]string{"how": n.how}})
}
