package broker

import (
	"context"
	"errors"
	"net/url"
)

// Factors is what an account has beside its password.
type Factors struct {
	TOTP          *TOTP // the authenticator app that counts; nil: none
	Passkeys      []Passkey
	RecoveryCodes int // that are left
}

// Any reports whether the password alone lets nobody in.
func (f Factors) Any() bool { return f.TOTP != nil || len(f.Passkeys) > 0 }

// FactorCount says which second factors a user has.
type FactorCount struct {
	App           bool // an authenticator app that counts
	Passkeys      int
	RecoveryCodes int // that are left
}

// CountFactors reads in one statement which factors a user has.
func (b *Broker) CountFactors(ctx context.Context, userID string) (n FactorCount, err error) {
	return n, b.retry(ctx, func() (err error) {
		n, err = b.cfg.Store.CountFactors(ctx, userID)
		return err
	})
}

// Factors reads what a user has.
func (b *Broker) Factors(ctx context.Context, userID string) (f Factors, err error) {
	err = b.retry(ctx, func() error {
		t, err := b.cfg.Store.TOTPOf(ctx, userID)
		if f.TOTP = nil; err == nil && !t.ConfirmedAt.IsZero() {
			f.TOTP = &t
		}
		if err != nil && !errors.Is(err, NotFound) {
			return err
		}
		if f.Passkeys, err = b.cfg.Store.PasskeysOf(ctx, userID); err != nil {
			return err
		}
		f.RecoveryCodes, err = b.cfg.Store.CountRecoveryCodes(ctx, userID)
		return err
	})
	return f, err
}

// MayHaveFactors says why an account cannot have second factors, or nil: they
// stand beside a password of its own.
func (b *Broker) MayHaveFactors(u User) error {
	switch {
	case u.Role == RoleGuest:
		return errGuest
	case !b.cfg.LocalLogin:
		return refuse(LocalLoginDisabled, "logging in with a password is switched off")
	case u.PasswordHash == "":
		return refuse(NotFound, "the account has no password yet; set one first")
	}
	return nil
}

// change runs a change of an own factor in one transaction: with the user locked,
// the proof used up, and [User.SecondFactor] as it is then. The last factor that
// goes takes the recovery codes with it.
func (b *Broker) change(ctx context.Context, p Principal, given proof, f func(Store) error) error {
	err := b.retryTx(ctx, func(store Store) error {
		if err := store.LockUser(ctx, p.User.ID); err != nil {
			return err
		}
		if err := given.take(ctx, store); err != nil {
			return err
		}
		if err := f(store); err != nil {
			return err
		}
		return b.settleFactors(ctx, store, p.User.ID)
	})
	return given.counted(ctx, err)
}

func (b *Broker) settleFactors(ctx context.Context, store Store, userID string) error {
	any, err := store.SetSecondFactor(ctx, userID)
	if err == nil && !any {
		err = store.SetRecoveryCodes(ctx, userID, nil)
	}
	return err
}

// BeginTOTP makes the secret of an authenticator app, for whoever gives the
// password. It counts for nothing until [Broker.ConfirmTOTP].
func (b *Broker) BeginTOTP(ctx context.Context, p Principal, typed string, device Device) (Enrolment, error) {
	if b.cfg.OneTimeCodes == nil {
		return Enrolment{}, refuse(NotFound, "authenticator apps are not offered here")
	}
	given, err := b.proveForFactors(ctx, Proving{p, typed, device})
	if err != nil {
		return Enrolment{}, err
	}
	secret := make([]byte, totpSecret)
	b.random(secret)
	t := TOTP{UserID: p.User.ID, Sealed: b.sealer().Seal(totpPlace(p.User.ID), secret), SessionID: p.Session.ID, CreatedAt: b.now()}
	if err := b.change(ctx, p, given, func(store Store) error { return store.BeginTOTP(ctx, t) }); err != nil {
		return Enrolment{}, err
	}
	return b.enrolment(p.User, secret)
}

func (b *Broker) enrolment(u User, secret []byte) (Enrolment, error) {
	issuer := serviceName
	if public, err := url.Parse(b.cfg.PublicURL); err == nil {
		issuer = public.Hostname()
	}
	e, err := b.cfg.OneTimeCodes.Enrol(secret, issuer, u.Username)
	if err != nil {
		return Enrolment{}, Unavailable(err)
	}
	return e, nil
}

// errNoEnrolment is about an authenticator app that was begun elsewhere, or too
// long ago.
var errNoEnrolment = refuse(InvalidState, "this took too long, was finished already, or was begun in another login; begin again")

// waitingTOTP is the app that waits for its first code, in the session that began it.
func (b *Broker) waitingTOTP(ctx context.Context, p Principal) (t TOTP, err error) {
	err = b.retry(ctx, func() error {
		t, err = b.cfg.Store.TOTPOf(ctx, p.User.ID)
		return err
	})
	if errors.Is(err, NotFound) || err == nil && (!t.ConfirmedAt.IsZero() || t.SessionID != p.Session.ID || !b.now().Before(t.CreatedAt.Add(enrolmentLife))) {
		return t, errNoEnrolment
	}
	return t, err
}

// WaitingEnrolment shows once more what an app is set up with, while it waits for
// its first code.
func (b *Broker) WaitingEnrolment(ctx context.Context, p Principal) (Enrolment, error) {
	t, err := b.waitingTOTP(ctx, p)
	if err != nil {
		return Enrolment{}, err
	}
	secret, err := b.cfg.Secrets.Open(totpPlace(t.UserID), t.Sealed)
	if err != nil {
		return Enrolment{}, Unavailable(err)
	}
	return b.enrolment(p.User, secret)
}

// ConfirmTOTP makes an authenticator app count whose code is right. Where there
// are no recovery codes yet, it makes them: they are shown once. Wrong codes count as
// those of a factor that counts do: the picture is drawn again for each.
func (b *Broker) ConfirmTOTP(ctx context.Context, p Principal, code string, device Device) (codes []string, err error) {
	t, err := b.waitingTOTP(ctx, p)
	if err != nil {
		return nil, err
	}
	step, err := b.firstStep(ctx, p, t, code, device)
	if err != nil {
		return nil, err
	}
	t.LastStep, t.ConfirmedAt = step, b.now()
	err = b.change(ctx, p, proven(), func(store Store) (err error) {
		done, err := store.ConfirmTOTP(ctx, t, t.ConfirmedAt.Add(-enrolmentLife))
		if err == nil && !done {
			err = errNoEnrolment
		}
		if err != nil {
			return err
		}
		codes, err = b.factorAdded(ctx, store, p.User.ID, map[string]string{"factor": FactorTOTP}, device)
		return err
	})
	return codes, err
}

// firstStep is the time step of the first code of an app.
func (b *Broker) firstStep(ctx context.Context, p Principal, t TOTP, code string, device Device) (int64, error) {
	device.Replaces = p.Session.ID // who is logged in is not locked out by strangers
	if err := b.withinLimits(ctx, FoldUsername(p.User.Username), p.User.ID, device); err != nil {
		return 0, err
	}
	step, ok, err := b.stepOf(t, plainCode(code))
	if err != nil || ok {
		return step, err
	}
	if err := b.failedCode(ctx, p.User, device); !errors.Is(err, SecondFactorInvalid) {
		return 0, err
	}
	return 0, fault(WrongCode, "code", "the code is not the one that the app shows; its clock may be wrong")
}

// factorAdded is what follows in the transaction that adds a factor: recovery
// codes, unless there are some, the event and the notice.
func (b *Broker) factorAdded(ctx context.Context, store Store, userID string, detail map[string]string, device Device) (codes []string, err error) {
	left, err := store.CountRecoveryCodes(ctx, userID)
	if err != nil {
		return nil, err
	}
	if left == 0 {
		var hashes []string
		codes, hashes = b.newRecoveryCodes(userID)
		if err := store.SetRecoveryCodes(ctx, userID, hashes); err != nil {
			return nil, err
		}
	}
	if err := b.tellNewFactor(ctx, store, userID, b.newID(b.now()), detail["name"]); err != nil {
		return nil, err
	}
	return codes, b.tellFactor(ctx, store, Event{Name: EventFactorAdded, UserID: userID, IP: device.IP, Detail: detail})
}

// RemoveTOTP takes the authenticator app away, for whoever gives a code. No session ends.
func (b *Broker) RemoveTOTP(ctx context.Context, p Principal, typed string, device Device) error {
	given, err := b.proveForFactors(ctx, Proving{p, typed, device})
	if err != nil {
		return err
	}
	return b.change(ctx, p, given, func(store Store) error {
		counted, err := store.DeleteTOTP(ctx, p.User.ID)
		if err == nil && !counted {
			err = refuse(NotFound, "there is no authenticator app")
		}
		if err != nil {
			return err
		}
		return b.tellFactor(ctx, store, Event{Name: EventFactorRemoved, UserID: p.User.ID, IP: device.IP, Detail: map[string]string{"factor": FactorTOTP}})
	})
}

// MakeRecoveryCodes makes recovery codes in the place of those that there are.
// They are shown once; the form's ticket makes a reload ask in vain.
func (b *Broker) MakeRecoveryCodes(ctx context.Context, p Principal, typed, ticket string, device Device) ([]string, error) {
	given, err := b.proveForFactors(ctx, Proving{p, typed, device})
	if err != nil {
		return nil, err
	}
	if !p.User.SecondFactor {
		return nil, refuse(NotFound, "recovery codes stand in for a second factor, and there is none")
	}
	codes, hashes := b.newRecoveryCodes(p.User.ID)
	err = b.change(ctx, p, given, func(store Store) error {
		if err := b.takeTicket(ctx, store, p.User.ID, ticket); err != nil {
			return err
		}
		if err := store.SetRecoveryCodes(ctx, p.User.ID, hashes); err != nil {
			return err
		}
		return b.tellFactor(ctx, store, Event{Name: EventRecoveryMade, UserID: p.User.ID, IP: device.IP})
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// ResetFactors removes every second factor of a user who has lost them, so that
// the password alone lets in again. Whoever administrates does it for others, and
// only root for administrators; the own ones need proof, on the account's page.
// No session ends. It reports whether there were any.
func (b *Broker) ResetFactors(ctx context.Context, userID string) (had bool, err error) {
	err = b.stepUpFor(ctx, func(given proof) error {
		return b.retryTx(ctx, func(store Store) (err error) {
			had, err = b.resetFactors(ctx, store, userID, given)
			return err
		})
	})
	return had, err
}

func (b *Broker) resetFactors(ctx context.Context, store Store, userID string, given proof) (had bool, err error) {
	if err := store.LockUser(ctx, userID); err != nil {
		return false, err
	}
	u, err := store.UserByID(ctx, userID)
	if err != nil {
		return false, err
	}
	actor := b.actor(ctx)
	switch {
	case actor.unbound():
	case actor.ID == u.ID:
		return false, refuse(Forbidden, "remove your own second factors on the page of your account")
	case !mayAdminister(User{Role: actor.Role}, u):
		return false, refuse(Forbidden, "only root resets the second factors of administrators")
	}
	if err := given.take(ctx, store); err != nil {
		return false, err
	}
	counted, err := store.DeleteTOTP(ctx, userID)
	if err != nil {
		return false, err
	}
	passkeys, err := store.DeletePasskeys(ctx, userID)
	if err != nil {
		return false, err
	}
	if had = counted || passkeys > 0; !had {
		return false, nil
	}
	if err := b.settleFactors(ctx, store, userID); err != nil {
		return false, err
	}
	return true, b.tellFactor(ctx, store, Event{Name: EventFactorsReset, UserID: userID})
}
