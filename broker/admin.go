package broker

import (
	"cmp"
	"context"
	"errors"
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
	Disabled      bool
	Permissions   PermissionsChange
}

// CreateUser makes a user.
func (b *Broker) CreateUser(ctx context.Context, n NewUser) (User, error) {
	return b.createUser(ctx, n, func(Store, User) error { return nil })
}

// createUser makes a user, and the way in that is handed out in the same transaction.
// Whoever asks steps up: by that, or by its address, an account is a way in that stays.
func (b *Broker) createUser(ctx context.Context, n NewUser, handOut func(Store, User) error) (u User, err error) {
	err = b.stepUpFor(ctx, func(given proof) error {
		if u, err = b.prepareUser(ctx, n); err != nil {
			return err
		}
		return b.cfg.Store.Tx(ctx, func(store Store) error {
			if err := given.take(ctx, store); err != nil {
				return err
			}
			if err := store.InsertUser(ctx, u); err != nil {
				return err
			}
			if err := b.audit(ctx, store, Event{Name: EventUserCreated, UserID: u.ID, Detail: map[string]string{"username": u.Username}}); err != nil {
				return err
			}
			return handOut(store, u)
		})
	})
	return u, err
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
	role := cmp.Or(n.Role, RoleUser)
	if !role.Valid() {
		return User{}, errRole()
	}
	if err := b.actor(ctx).mayGive(role); err != nil {
		return User{}, err
	}
	now := b.now()
	u := User{ID: b.newID(now), Username: name, Name: cleanText(n.Name, MaxName), Email: email,
		EmailVerified: n.EmailVerified && email != "", Role: role, CreatedAt: now, UpdatedAt: now}
	if n.Disabled {
		u.DisabledAt = now
	}
	b.vouch(ctx, &u)
	if err := n.Permissions.apply(&u); err != nil {
		return User{}, err
	}
	if n.Password != "" {
		if err := b.checkPassword(ctx, n.Password, u); err != nil {
			return User{}, err
		}
		if u.PasswordHash, err = b.cfg.Hasher.Hash(ctx, n.Password); err != nil {
			return User{}, err
		}
		u.PasswordTemporary = n.Temporary
	}
	return u, nil
}

func errRole() error {
	return fault(InvalidRequest, "role", "the role is one of root, admin, user, guest")
}

// ResetPassword sets a password for somebody else; all sessions end. With a
// temporary one the user has to choose another at the next login.
func (b *Broker) ResetPassword(ctx context.Context, id, password string, temporary bool) error {
	_, err := b.UpdateUser(ctx, id, UserChange{Password: &password, Temporary: temporary})
	return err
}

// SetDisabled disables a user, which ends all sessions, or enables again.
func (b *Broker) SetDisabled(ctx context.Context, id string, disabled bool) error {
	_, err := b.UpdateUser(ctx, id, UserChange{Disabled: &disabled})
	return err
}

// DeleteUser deletes a user and its identities. The sessions end and stay for
// their retention, so that their refusals can say why. The last administrator stays: LastAdmin.
func (b *Broker) DeleteUser(ctx context.Context, id string) error {
	return b.stepUpFor(ctx, func(given proof) error {
		return b.cfg.Store.Tx(ctx, func(store Store) error {
			u, err := store.UserByID(ctx, id)
			if err != nil {
				return err
			}
			if err := cmp.Or(b.actor(ctx).mayTouch(u), b.actor(ctx).mayLose(u, "delete yourself")); err != nil {
				return err
			}
			if err := given.take(ctx, store); err != nil {
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
	})
}

// UserByID finds a user; NotFound.
func (b *Broker) UserByID(ctx context.Context, id string) (User, error) {
	return b.cfg.Store.UserByID(ctx, id)
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
