package broker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ticketLife is how long a person has to choose a password after the temporary
// one was right.
const ticketLife = 10 * time.Minute

// What [Broker.NewTemporaryPassword] makes, without its hyphens.
const (
	readableLetters = "abcdefghijkmnpqrstuvwxyz23456789" // 32 of them
	readableLength  = 16
)

// NewTemporaryPassword makes up a password that is easy to read out: 80 bits, in
// letters and digits that nobody confuses.
func (b *Broker) NewTemporaryPassword() string {
	var random [readableLength]byte
	b.random(random[:])
	groups := []string{}
	for chunk := range slices.Chunk(random[:], 4) {
		group := ""
		for _, one := range chunk {
			group += string(readableLetters[one%32])
		}
		groups = append(groups, group)
	}
	return strings.Join(groups, "-")
}

// LoginChoosingPassword is [Broker.LoginPassword] for a temporary password: it
// is replaced by the fresh one, and a session starts.
func (b *Broker) LoginChoosingPassword(ctx context.Context, username, password, fresh string, device Device) (*Login, error) {
	return b.LoginWith(ctx, PasswordLogin{Username: username, Password: password, Fresh: &fresh}, device)
}

// changeRequired refuses a temporary password that was right. The ticket stands
// for it and for the second factor that was given with it (amr), so that no page
// has to keep either.
func (b *Broker) changeRequired(u User, amr []string) error {
	end, how := strconv.FormatInt(b.now().Add(ticketLife).Unix(), 10), strings.Join(amr, "+")
	e := refuse(PasswordChangeRequired, "the password is temporary: choose another one")
	e.Ticket = u.ID + "." + end + "." + how + "." + b.cfg.Secrets.Current().Tag(ticketPurpose, u.ID, end, how, string(u.PasswordHash))
	return e
}

const ticketPurpose = "temporary password"

// TicketUser finds whose temporary password a ticket stands for. It is good once,
// because it is bound to that password; InvalidState for any other.
func (b *Broker) TicketUser(ctx context.Context, ticket string) (User, error) {
	u, _, err := b.readTicket(ctx, ticket)
	return u, err
}

// readTicket is TicketUser with how the person logged in.
func (b *Broker) readTicket(ctx context.Context, ticket string) (u User, amr []string, err error) {
	old := refuse(InvalidState, "this took too long, or the password was changed already; log in again")
	parts := strings.Split(ticket, ".")
	if len(parts) != 4 {
		return User{}, nil, old
	}
	id, end, how, tag := parts[0], parts[1], parts[2], parts[3]
	at, err := strconv.ParseInt(end, 10, 64)
	if err != nil || b.now().Unix() >= at {
		return User{}, nil, old
	}
	err = b.retry(ctx, func() (err error) {
		u, err = b.cfg.Store.UserByID(ctx, id)
		return err
	})
	switch {
	case errors.Is(err, NotFound):
		return User{}, nil, old
	case err != nil:
		return User{}, nil, err
	case !b.cfg.Secrets.CheckTag(tag, ticketPurpose, id, end, how, string(u.PasswordHash)) || !u.PasswordTemporary || !u.DisabledAt.IsZero() || !b.cfg.LocalLogin:
		return User{}, nil, old
	}
	return u, strings.Split(how, "+"), nil
}

// RedeemTicket replaces a temporary password and starts a session.
func (b *Broker) RedeemTicket(ctx context.Context, ticket, fresh string, device Device) (l *Login, err error) {
	a := attemptBy(MethodPassword, device)
	defer func() { b.loginEnded(a, err) }()
	u, amr, err := b.readTicket(ctx, ticket)
	a.userID = u.ID
	if err != nil {
		return nil, err
	}
	proof := factorProof{amr: amr, use: func(context.Context, Store) error { return nil }} // it was used for the ticket
	return b.choosePassword(ctx, u, fresh, proof, device)
}

// choosePassword replaces the temporary password of a user and starts a session.
func (b *Broker) choosePassword(ctx context.Context, u User, fresh string, proof factorProof, device Device) (*Login, error) {
	if err := b.checkPassword(ctx, fresh, u); err != nil {
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
	s.AMR, s.Scope = proof.amr, AppScope
	return b.loginWith(ctx, &appClient, u, s, newPassword{old: &u.PasswordHash, hash: chosen, how: "temporary", ip: device.IP, first: proof.use})
}
