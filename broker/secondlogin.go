package broker

import (
	"context"
	"errors"
	"slices"
	"time"
)

// pendingLoginLife is how long the second step of a login may take.
const pendingLoginLife = 5 * time.Minute

// PendingLogin is a login whose password was right, and that waits for the second
// factor in the browser that has its secret. ID is the hash of that secret.
type PendingLogin struct {
	ID        string
	UserID    string
	Password  PasswordHash // that was compared with; another one ends it
	ExpiresAt time.Time
}

// SecondStep is a login that waits, for the page that asks.
type SecondStep struct {
	User     User
	App      bool // it takes codes of an authenticator app
	Passkeys bool

	pending PendingLogin
}

func pendingLoginID(secret string) string { return hash("pending login", secret) }

// secondRequired refuses a password that was right and is not enough. It is no
// failed login. On a page the login waits: the ticket is its secret, which belongs
// into a cookie of that browser alone, and which nobody can choose for it.
func (b *Broker) secondRequired(ctx context.Context, u User, wait bool) error {
	e := refuse(SecondFactorRequired, "a code of your second factor is needed as well")
	if !wait {
		return e
	}
	e.Ticket = b.newSecret(32)
	p := PendingLogin{ID: pendingLoginID(e.Ticket), UserID: u.ID, Password: u.PasswordHash, ExpiresAt: b.now().Add(pendingLoginLife)}
	if err := b.retry(ctx, func() error { return b.cfg.Store.InsertPendingLogin(ctx, p) }); err != nil {
		return err
	}
	return e
}

// FindSecondStep finds a login that waits for its second factor; InvalidState for
// one that is over, finished or another browser's.
func (b *Broker) FindSecondStep(ctx context.Context, secret string) (s SecondStep, err error) {
	if secret == "" {
		return s, errNoSecondStep
	}
	err = b.retry(ctx, func() (err error) {
		if s.pending, err = b.cfg.Store.PendingLoginByID(ctx, pendingLoginID(secret), b.now()); err == nil {
			s.User, err = b.cfg.Store.UserByID(ctx, s.pending.UserID)
		}
		return err
	})
	if err == nil && (!s.User.DisabledAt.IsZero() || s.User.PasswordHash != s.pending.Password || !b.cfg.LocalLogin) || errors.Is(err, NotFound) {
		return SecondStep{}, errNoSecondStep
	}
	if err != nil {
		return SecondStep{}, err
	}
	f, err := b.Factors(ctx, s.User.ID)
	s.App, s.Passkeys = f.TOTP != nil, len(f.Passkeys) > 0 && b.cfg.Passkeys != nil
	return s, err
}

var errNoSecondStep = refuse(InvalidState, "this login is not known in this browser, is finished, or took longer than five minutes; log in again")

// CompleteLogin finishes a login that waits with a code of the authenticator app
// or a recovery code. Wrong codes count as failed logins do, for the address and
// for the account.
func (b *Broker) CompleteLogin(ctx context.Context, secret, code string, device Device) (l *Login, err error) {
	a := attemptBy(MethodPassword, device)
	defer func() { b.loginEnded(a, err) }()
	s, err := b.FindSecondStep(ctx, secret)
	if err != nil {
		return nil, err
	}
	a.userID = s.User.ID
	proof, err := b.checkCode(ctx, s.User, code, device)
	if err != nil {
		return nil, err
	}
	return b.finishSecondStep(ctx, s, *proof, device)
}

// checkCode compares a code within the limits on failures. It is used where it is
// to have its effect, once.
func (b *Broker) checkCode(ctx context.Context, u User, code string, device Device) (*factorProof, error) {
	name := FoldUsername(u.Username)
	if err := b.withinLimits(ctx, name, u.ID, device); err != nil {
		return nil, err
	}
	leave, ok := b.checking.enter(AddressOf(device.IP))
	if !ok {
		return nil, &Error{Code: TemporarilyUnavailable, Err: errTooManyAtOnce, RetryAfter: time.Second}
	}
	defer leave()
	proof, err := b.readCode(ctx, u, code, device)
	if err != nil {
		return nil, err
	}
	if proof == nil {
		return nil, b.failedCode(ctx, u, device)
	}
	// Again: of many guesses at once, none beyond the limit may learn anything.
	if err := b.withinLimits(ctx, name, u.ID, device); err != nil {
		return nil, err
	}
	use := proof.use
	proof.use = func(ctx context.Context, store Store) error {
		if err := use(ctx, store); !errors.Is(err, errUsedCode) {
			return err
		}
		return refuse(SecondFactorInvalid, "the code is wrong or was used already")
	}
	return proof, nil
}

// failedCode counts and logs a wrong code as a failed login.
func (b *Broker) failedCode(ctx context.Context, u User, device Device) error {
	err := b.failedLogin(ctx, FoldUsername(u.Username), device)
	var e *Error
	if errors.As(err, &e) && e.Code == InvalidCredentials {
		return &Error{Code: SecondFactorInvalid, Message: "the code is wrong or was used already"}
	}
	return err
}

// countUsed counts a code that was used before as a wrong one: until its
// transaction it is not known to be one.
func (b *Broker) countUsed(ctx context.Context, u User, device Device, err error) error {
	if errors.Is(err, SecondFactorInvalid) {
		return b.failedCode(ctx, u, device)
	}
	return err
}

// finishSecondStep uses the proof and the waiting login up and starts the session,
// in one transaction. With a temporary password it is the choice of another one
// that starts it.
func (b *Broker) finishSecondStep(ctx context.Context, s SecondStep, proof factorProof, device Device) (*Login, error) {
	take := func(store Store) error {
		err := store.TakePendingLogin(ctx, s.pending.ID, b.now())
		if errors.Is(err, NotFound) {
			return errNoSecondStep
		}
		if err != nil {
			return err
		}
		return proof.use(ctx, store)
	}
	if s.User.PasswordTemporary {
		if err := b.retryTx(ctx, take); err != nil {
			return nil, b.countUsed(ctx, s.User, device, err)
		}
		return nil, b.changeRequired(s.User, proof.amr)
	}
	l, err := b.startSessionAfter(ctx, s.User, proof.amr, device, func(*Session) {}, take)
	return l, b.countUsed(ctx, s.User, device, err)
}

// enough refuses a session by password alone for an account that has a second
// factor: it was set up while the login was under way.
func enough(u User, s Session) error {
	if s.ProviderID == "" && u.SecondFactor && !slices.Contains(s.AMR, "mfa") {
		return refuse(SecondFactorRequired, "a second factor was set up in the meantime; log in again")
	}
	return nil
}
