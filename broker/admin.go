package broker

import (
	"context"
	"errors"
	"time"
)

// NewUser is what is needed to make a user.
type NewUser struct {
	Username string
	Name     string
	Email    string
	// EmailVerified: the address is known to be the user's own.
	EmailVerified bool
	Role          Role   // empty: RoleUser
	Password      string // empty: none, the user logs in through an IdP
	Temporary     bool   // the user has to choose another password at the first login
}

// CreateUser makes a user.
func (b *Broker) CreateUser(ctx context.Context, n NewUser) (User, error) {
	u, err := b.prepareUser(ctx, n)
	if err != nil {
		return User{}, err
	}
	return u, b.cfg.Store.Tx(ctx, func(store Store) error { return b.insertUser(ctx, store, u) })
}

// insertUser is the body of the transaction that makes a user.
func (b *Broker) insertUser(ctx context.Context, store Store, u User) error {
	if err := store.InsertUser(ctx, u); err != nil {
		return err
	}
	return b.audit(ctx, store, Event{Name: EventUserCreated, UserID: u.ID, Detail: map[string]string{"username": u.Username}})
}

// prepareUser checks and hashes, outside any transaction.
func (b *Broker) prepareUser(ctx context.Context, n NewUser) (User, error) {
	name, err := checkUsername(n.Username)
	if err != nil {
		return User{}, err
	}
	email, err := checkEmail(n.Email)
	if err != nil {
		return User{}, err
	}
	if n.Role == "" {
		n.Role = RoleUser
	}
	if !n.Role.Valid() {
		return User{}, refuse(InvalidRequest, "the role is one of root, admin, user, guest")
	}
	now := b.now()
	u := User{ID: b.newID(now), Username: name, Name: cleanText(n.Name, MaxName), Email: email,
		EmailVerified: n.EmailVerified && email != "", Role: n.Role, CreatedAt: now, UpdatedAt: now}
	if n.Password != "" {
		if err := b.checkPassword(n.Password, u); err != nil {
			return User{}, err
		}
		if u.PasswordHash, err = b.cfg.Hasher.Hash(ctx, n.Password); err != nil {
			return User{}, err
		}
		u.PasswordTemporary = n.Temporary
	}
	return u, nil
}

// UserChange is what an administrator changes; nil leaves a field alone.
type UserChange struct {
	Username *string
	Name     *string
	Email    *string
	Role     *Role
}

// UpdateUser changes a user. A rename logs nobody out: the ID stays.
func (b *Broker) UpdateUser(ctx context.Context, id string, c UserChange) (User, error) {
	var u User
	err := b.cfg.Store.Tx(ctx, func(store Store) (err error) {
		if err := store.LockUser(ctx, id); err != nil {
			return err
		}
		if u, err = store.UserByID(ctx, id); err != nil {
			return err
		}
		if err := c.apply(&u); err != nil {
			return err
		}
		u.UpdatedAt = b.now()
		if err := store.UpdateUser(ctx, u); err != nil {
			return err
		}
		return b.audit(ctx, store, Event{Name: EventUserUpdated, UserID: id, Detail: map[string]string{"username": u.Username}})
	})
	return u, err
}

func (c UserChange) apply(u *User) (err error) {
	if c.Username != nil {
		if u.Username, err = checkUsername(*c.Username); err != nil {
			return err
		}
	}
	if c.Name != nil {
		u.Name = cleanText(*c.Name, MaxName)
	}
	if c.Email != nil {
		if u.Email, err = checkEmail(*c.Email); err != nil {
			return err
		}
		u.EmailVerified = false
	}
	if c.Role != nil {
		if !c.Role.Valid() {
			return refuse(InvalidRequest, "the role is one of root, admin, user, guest")
		}
		u.Role = *c.Role
	}
	return nil
}

// ResetPassword sets a password for somebody else; all sessions end. With a
// temporary one the user has to choose another at the next login.
func (b *Broker) ResetPassword(ctx context.Context, id, password string, temporary bool) error {
	u, err := b.cfg.Store.UserByID(ctx, id)
	if err != nil {
		return err
	}
	if err := b.checkPassword(password, u); err != nil {
		return err
	}
	hash, err := b.cfg.Hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	return b.cfg.Store.Tx(ctx, func(store Store) error {
		return b.replacePassword(ctx, store, id, newPassword{hash: hash, temporary: temporary, how: "administrator"})
	})
}

// SetDisabled disables a user, which ends all sessions, or enables again.
func (b *Broker) SetDisabled(ctx context.Context, id string, disabled bool) error {
	return b.cfg.Store.Tx(ctx, func(store Store) error {
		now, at, event := b.now(), time.Time{}, EventUserEnabled
		if disabled {
			at, event = now, EventUserDisabled
		}
		if err := store.SetDisabled(ctx, id, at, now); err != nil {
			return err
		}
		if disabled {
			if _, err := b.endSessions(ctx, store, SessionFilter{UserID: id}, UserDisabled, false, ""); err != nil {
				return err
			}
		}
		return b.audit(ctx, store, Event{Name: event, UserID: id})
	})
}

// DeleteUser deletes a user and its identities. The sessions end and stay for
// their retention, so that their refusals can say why.
func (b *Broker) DeleteUser(ctx context.Context, id string) error {
	return b.cfg.Store.Tx(ctx, func(store Store) error {
		u, err := store.UserByID(ctx, id)
		if err != nil {
			return err
		}
		// The user goes first: a session that is being made sees either the user
		// or nothing.
		if err := store.DeleteUser(ctx, id); err != nil {
			return err
		}
		if _, err := b.endSessions(ctx, store, SessionFilter{UserID: id}, UserDeleted, false, ""); err != nil {
			return err
		}
		return b.audit(ctx, store, Event{Name: EventUserDeleted, UserID: id, Detail: map[string]string{"username": u.Username}})
	})
}

// FindUser finds a user by ID, or by name: a name that looks like somebody
// else's ID must not catch what is meant for that ID.
func (b *Broker) FindUser(ctx context.Context, nameOrID string) (User, error) {
	u, err := b.cfg.Store.UserByID(ctx, nameOrID)
	if errors.Is(err, NotFound) {
		u, err = b.cfg.Store.UserByUsername(ctx, FoldUsername(nameOrID))
	}
	return u, err
}

// Users lists users by name, after a name.
func (b *Broker) Users(ctx context.Context, after string, limit int) ([]User, error) {
	return b.cfg.Store.ListUsers(ctx, FoldUsername(after), limit)
}

// Events lists the audit log, newest first.
func (b *Broker) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	return b.cfg.Store.ListEvents(ctx, f)
}
