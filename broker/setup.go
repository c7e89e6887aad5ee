package broker

import (
	"context"
	"crypto/subtle"
	"errors"
)

const factSetupNonce = "setup_nonce"

// NeedsSetup reports whether there is no administrator yet. Once there is one
// there always is, so that nobody asks again.
func (b *Broker) NeedsSetup(ctx context.Context) (bool, error) {
	if b.hasAdmin.Load() {
		return false, nil
	}
	has, err := b.cfg.Store.HasAdmin(ctx)
	if has {
		b.hasAdmin.Store(true)
	}
	return !has, err
}

// SetupToken is the secret of the one-time setup link. It is derived from the
// root secret and a nonce in the database, so that it is the same on every
// replica, survives a restart, and stands in no table.
func (b *Broker) SetupToken(ctx context.Context) (string, error) {
	nonce, err := b.cfg.Store.InitFact(ctx, factSetupNonce, b.newSecret(16))
	if err != nil {
		return "", err
	}
	return b.cfg.Secrets.Current().Tag("setup", nonce), nil
}

// CheckSetup says whether the setup page may be shown for a token: SetupDone
// once there is an administrator, Forbidden for a wrong token.
func (b *Broker) CheckSetup(ctx context.Context, token string, device Device) error {
	needed, err := b.NeedsSetup(ctx)
	if err != nil {
		return err
	}
	if !needed {
		return refuse(SetupDone, "this installation has an administrator already")
	}
	want, err := b.SetupToken(ctx)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(token), []byte(want)) != 1 {
		refusal := refuse(Forbidden, "this setup link is not valid; the current one is in the server's log")
		if token == "" {
			return refusal // whoever looks at the address has no link, and guesses none
		}
		return b.failed(ctx, guessedSetup, refusal, nil, device)
	}
	return nil
}

// Setup makes the first administrator and logs in. Of two at once, one wins.
func (b *Broker) Setup(ctx context.Context, token string, n NewUser, device Device) (*Login, error) {
	if err := b.CheckSetup(ctx, token, device); err != nil {
		return nil, err
	}
	u, err := b.createFirstAdmin(ctx, n)
	if err != nil {
		return nil, err
	}
	return b.startSession(ctx, u, []string{"pwd"}, device, func(*Session) {})
}

// EnsureAdmin makes the first administrator from the configuration, if there is
// none. It reports whether it did.
func (b *Broker) EnsureAdmin(ctx context.Context, username, password string) (bool, error) {
	needed, err := b.NeedsSetup(ctx)
	if err != nil || !needed {
		return false, err
	}
	_, err = b.createFirstAdmin(ctx, NewUser{Username: username, Password: password})
	if errors.Is(err, SetupDone) {
		return false, nil
	}
	return err == nil, err
}

func (b *Broker) createFirstAdmin(ctx context.Context, n NewUser) (User, error) {
	n.Role = RoleRoot
	if n.Password == "" {
		return User{}, refuse(WeakPassword, "a password is needed")
	}
	u, err := b.prepareUser(ctx, n)
	if err != nil {
		return User{}, err
	}
	return u, b.cfg.Store.Tx(ctx, func(store Store) error {
		if err := store.InsertFirstAdmin(ctx, u); err != nil {
			return err
		}
		// The link that was used, and any copy of it, is worth nothing from here on.
		if nonce, err := store.Fact(ctx, factSetupNonce); err == nil {
			if _, err := store.SwapFact(ctx, factSetupNonce, nonce, b.newSecret(16)); err != nil {
				return err
			}
		}
		return b.audit(ctx, store, Event{Name: EventUserCreated, UserID: u.ID, Detail: map[string]string{"username": u.Username, "first": "true"}})
	})
}
