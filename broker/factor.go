package broker

import (
	"context"
	"errors"
	"strings"
	"time"
)

// OneTimeCodes is the mathematics of an authenticator app (RFC 6238: SHA-1, six
// digits, steps of 30 seconds), and what such an app is set up with.
type OneTimeCodes interface {
	// Code is the code of a secret in a time step.
	Code(secret []byte, step int64) (string, error)
	// Enrol describes a secret for an app; issuer and account are what it shows.
	Enrol(secret []byte, issuer, account string) (Enrolment, error)
}

// Enrolment is what an authenticator app is set up with. All of it is secret.
type Enrolment struct {
	Secret  string // in base32, to be typed
	URI     string // otpauth:
	Picture []byte // the URI as a QR code, a PNG
}

// TOTP is the authenticator app of a user. It counts once it was confirmed.
type TOTP struct {
	UserID      string
	Sealed      string
	SessionID   string // that began it
	LastStep    int64  // of the last code that was taken
	CreatedAt   time.Time
	ConfirmedAt time.Time // zero: it waits for its first code
}

const (
	totpStep      = 30 // seconds
	totpDigits    = 6
	totpSecret    = 20               // bytes, as RFC 4226 section 4 recommends
	enrolmentLife = 15 * time.Minute // from the picture to the first code
	recoveryCodes = 10
)

// The factors, as the audit log names them.
const (
	FactorTOTP     = "totp"
	FactorPasskey  = "passkey"
	FactorRecovery = "recovery_code"
)

func totpPlace(userID string) string { return "totps.secret." + userID }

// factorProof is a code or a passkey that fits. What makes it single use happens
// in the transaction of what it is for.
type factorProof struct {
	amr []string // RFC 8176
	use func(ctx context.Context, store Store) error
}

var amrOfCode = []string{"pwd", "otp", "mfa"}

// errUsedCode is how a proof says that it was used before.
var errUsedCode = errors.New("the code was used before")

// readCode finds what a code of a user stands for, without using it. nil: it is
// none that counts.
func (b *Broker) readCode(ctx context.Context, u User, typed string, device Device) (*factorProof, error) {
	code := plainCode(typed)
	if len(code) == readableLength {
		return &factorProof{amr: amrOfCode, use: func(ctx context.Context, store Store) error { return b.useRecoveryCode(ctx, store, u, code, device) }}, nil
	}
	if !isTOTP(code) || b.cfg.OneTimeCodes == nil {
		return nil, nil
	}
	t, err := b.cfg.Store.TOTPOf(ctx, u.ID)
	if errors.Is(err, NotFound) || err == nil && t.ConfirmedAt.IsZero() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	step, ok, err := b.stepOf(t, code)
	if err != nil || !ok {
		return nil, err
	}
	return &factorProof{amr: amrOfCode, use: func(ctx context.Context, store Store) error {
		fresh, err := store.UseTOTP(ctx, u.ID, step)
		if err == nil && !fresh {
			err = errUsedCode
		}
		return err
	}}, nil
}

// stepOf finds the time step that a code belongs to: the one of the moment, or
// the one before or after it (RFC 6238 section 5.2). Every one of the three is
// compared, so that the time says nothing.
func (b *Broker) stepOf(t TOTP, code string) (step int64, ok bool, err error) {
	secret, err := b.cfg.Secrets.Open(totpPlace(t.UserID), t.Sealed)
	if err != nil {
		return 0, false, Unavailable(err)
	}
	now := b.now().Unix() / totpStep
	for at := now - 1; at <= now+1; at++ {
		want, err := b.cfg.OneTimeCodes.Code(secret, at)
		if err != nil {
			return 0, false, Unavailable(err)
		}
		if constantEqual(want, code) {
			step, ok = at, true
		}
	}
	return step, ok, nil
}

// plainCode is a code as it is compared: people type spaces and hyphens.
func plainCode(typed string) string {
	if len(typed) > 64 {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, strings.ToLower(typed))
}

func isTOTP(code string) bool {
	return len(code) == totpDigits && strings.Trim(code, "0123456789") == ""
}

// looksLikeCode reports whether something typed can be a code rather than a
// password.
func looksLikeCode(typed string) bool {
	code := plainCode(typed)
	return isTOTP(code) || len(code) == readableLength && strings.Trim(code, readableLetters) == ""
}

func recoveryHash(userID, code string) string { return hash("recovery code", userID, code) }

// useRecoveryCode takes one, and tells the owner: somebody had to do without the
// factor.
func (b *Broker) useRecoveryCode(ctx context.Context, store Store, u User, code string, device Device) error {
	used, err := store.UseRecoveryCode(ctx, u.ID, recoveryHash(u.ID, code))
	if err == nil && !used {
		err = errUsedCode
	}
	if err != nil {
		return err
	}
	left, err := store.CountRecoveryCodes(ctx, u.ID)
	if err != nil {
		return err
	}
	return b.tellFactor(ctx, store, Event{Name: EventRecoveryUsed, UserID: u.ID, IP: device.IP, Detail: map[string]string{"left": itoa(int64(left))}})
}

// newRecoveryCodes makes recovery codes in the place of those that there are. The
// database has their hashes.
func (b *Broker) newRecoveryCodes(userID string) (codes, hashes []string) {
	for range recoveryCodes {
		code := b.NewTemporaryPassword()
		codes, hashes = append(codes, code), append(hashes, recoveryHash(userID, plainCode(code)))
	}
	return codes, hashes
}

// tellFactor writes the event of a change of factors, and tells the owner on
// every device. A link that can still be undone stays what they are told: its
// notice is where it is undone, and a factor must not hide it.
func (b *Broker) tellFactor(ctx context.Context, store Store, e Event) error {
	if err := b.audit(ctx, store, e); err != nil {
		return err
	}
	if err := store.LockUser(ctx, e.UserID); err != nil {
		return err
	}
	u, err := store.UserByID(ctx, e.UserID)
	now := b.now()
	if err != nil || u.Notice.Code == EventIdentityLinked && now.Before(u.Notice.Until) {
		return err
	}
	return store.SetNotice(ctx, e.UserID, Notice{Code: e.Name, At: now, Until: now.Add(undoLife), Detail: e.Detail["factor"]})
}

// resealFactors seals anew what is sealed under an earlier root secret, once in
// the life of a process that knows one.
func (b *Broker) resealFactors(ctx context.Context) error {
	if len(b.cfg.Secrets) < 2 || b.resealed.Load() {
		return nil
	}
	for after := ""; ; {
		list, err := b.cfg.Store.ListTOTPs(ctx, after, MaxPage)
		if err != nil {
			return err
		}
		for _, t := range list {
			after = t.UserID
			plain, err := b.cfg.Secrets.Open(totpPlace(t.UserID), t.Sealed)
			if err != nil { // one that is lost must not keep everybody else out
				b.cfg.Log.WarnContext(ctx, "the secret of an authenticator app cannot be opened", "event", "factor.unreadable", "user_id", t.UserID)
				continue
			}
			if sealed, again := b.reseal(totpPlace(t.UserID), t.Sealed, plain); again {
				if err := b.cfg.Store.ResealTOTP(ctx, t.UserID, t.Sealed, sealed); err != nil {
					return err
				}
			}
		}
		if len(list) < MaxPage {
			b.resealed.Store(true)
			return nil
		}
	}
}
