package broker

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
)

// ticketLife is how long a person has to choose a password after the temporary
// one was right.
const ticketLife = 10 * time.Minute

// LoginChoosingPassword is [Broker.LoginPassword] for a temporary password: it
// is replaced by the fresh one, and a session starts.
func (b *Broker) LoginChoosingPassword(ctx context.Context, username, password, fresh string, device Device) (*Login, error) {
	u, err := b.localLogin(ctx, username, password, device)
	if err != nil {
		return nil, err
	}
	if !u.PasswordTemporary {
		return nil, refuse(InvalidRequest, "newPassword is for temporary passwords alone; change others at /api/me/password")
	}
	return b.choosePassword(ctx, u, fresh, device)
}

// changeRequired refuses a temporary password that was right. The ticket stands
// for it, so that no page has to keep the password.
func (b *Broker) changeRequired(u User) error {
	end := strconv.FormatInt(b.now().Add(ticketLife).Unix(), 10)
	e := refuse(PasswordChangeRequired, "the password is temporary: choose another one")
	e.Ticket = u.ID + "." + end + "." + b.cfg.Secrets.Current().Tag(ticketPurpose, u.ID, end, string(u.PasswordHash))
	return e
}

const ticketPurpose = "temporary password"

// TicketUser finds whose temporary password a ticket stands for. It is good once,
// because it is bound to that password; InvalidState for any other.
func (b *Broker) TicketUser(ctx context.Context, ticket string) (User, error) {
	old := refuse(InvalidState, "this took too long, or the password was changed already; log in again")
	id, rest, _ := strings.Cut(ticket, ".")
	end, tag, _ := strings.Cut(rest, ".")
	at, err := strconv.ParseInt(end, 10, 64)
	if err != nil || b.now().Unix() >= at {
		return User{}, old
	}
	var u User
	err = b.retry(ctx, func() (err error) {
		u, err = b.cfg.Store.UserByID(ctx, id)
		return err
	})
	switch {
	case errors.Is(err, NotFound):
		return User{}, old
	case err != nil:
		return User{}, err
	case !b.cfg.Secrets.CheckTag(tag, ticketPurpose, id, end, string(u.PasswordHash)) || !u.PasswordTemporary || !u.DisabledAt.IsZero() || !b.cfg.LocalLogin:
		return User{}, old
	}
	return u, nil
}

// RedeemTicket replaces a temporary password and starts a session.
func (b *Broker) RedeemTicket(ctx context.Context, ticket, fresh string, device Device) (*Login, error) {
	u, err := b.TicketUser(ctx, ticket)
	if err != nil {
		return nil, err
	}
	return b.choosePassword(ctx, u, fresh, device)
}

// choosePassword replaces the temporary password of a user and starts a session.
func (b *Broker) choosePassword(ctx context.Context, u User, fresh string, device Device) (*Login, error) {
	if err := b.checkPassword(fresh, u); err != nil {
		return nil, err
	}
	same, _, err := b.cfg.Hasher.Verify(ctx, u.PasswordHash, fresh)
	if err != nil {
		return nil, err
	}
	if same {
		return nil, refuse(WeakPassword, "the new password must be another one")
	}
	chosen, err := b.cfg.Hasher.Hash(ctx, fresh)
	if err != nil {
		return nil, err
	}
	s := b.newSession(&appClient, u.ID, device, b.now())
	s.AMR, s.Scope = []string{"pwd"}, AppScope
	return b.loginWith(ctx, &appClient, u, s, newPassword{old: &u.PasswordHash, hash: chosen, how: "temporary", ip: device.IP})
}
