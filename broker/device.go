package broker

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
)

// userCodeAlphabet has no vowels, so that no words come out, and nothing that
// looks like another letter (RFC 8628 section 6.1).
const userCodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ"

// userCodeLength gives 20^8, about 34 bits; guesses are limited per address.
const userCodeLength = 8

const deviceInterval = 5 * time.Second

// DeviceAuthorization is the answer to a device that asks for codes (RFC 8628
// section 3.2).
type DeviceAuthorization struct {
	DeviceCode string
	UserCode   string // with a dash in the middle
	ExpiresIn  time.Duration
	Interval   time.Duration
}

// BeginDevice makes the codes of a device. The device's code is a secret, and
// stored as a hash; so is the other.
func (b *Broker) BeginDevice(ctx context.Context, by Caller, scope, resource string) (DeviceAuthorization, error) {
	if !by.Client.MayUse(GrantDeviceCode) {
		return DeviceAuthorization{}, refuse(UnauthorizedClient, "this client is not registered for the device grant")
	}
	if err := b.checkResource(&by.Client, resource); err != nil {
		return DeviceAuthorization{}, err
	}
	if err := b.begins(ctx, by.Device, nil); err != nil {
		return DeviceAuthorization{}, err
	}
	now := b.now()
	for {
		code, user := b.newSecret(32), b.newUserCode()
		err := b.retry(ctx, func() error {
			return b.cfg.Store.InsertDeviceCode(ctx, DeviceCode{
				ID: hash("device code", code), UserCode: hashUserCode(user), ClientID: by.Client.ID, Scope: by.Client.grantScope(scope),
				Request: SessionRequest{Resource: resource}, Interval: deviceInterval, NextPollAt: now, ExpiresAt: now.Add(deviceLife),
			})
		})
		if errors.Is(err, UserCodeTaken) {
			continue
		}
		return DeviceAuthorization{DeviceCode: code, UserCode: showUserCode(user), ExpiresIn: deviceLife, Interval: deviceInterval}, err
	}
}

func (b *Broker) newUserCode() string {
	const fair = 256 / len(userCodeAlphabet) * len(userCodeAlphabet) // beyond it some letters would be likelier
	out := make([]byte, 0, userCodeLength)
	for len(out) < userCodeLength {
		var one [1]byte
		if b.random(one[:]); int(one[0]) < fair {
			out = append(out, userCodeAlphabet[int(one[0])%len(userCodeAlphabet)])
		}
	}
	return string(out)
}

// readUserCode reads a code as people type it: any case, and dashes, spaces and
// what keyboards make of them anywhere.
func readUserCode(typed string) string {
	return strings.ToUpper(strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return r
	}, typed))
}

func hashUserCode(typed string) string { return hash("user code", readUserCode(typed)) }

// DeviceRequest is what the device page asks a person about.
type DeviceRequest struct {
	Client   Client
	Scope    string
	UserCode string // as the device shows it
}

// FindDevice finds the device that shows a code; UserCodeUnknown. Guesses are
// counted by address, as failed passwords are.
func (b *Broker) FindDevice(ctx context.Context, userCode string, device Device) (DeviceRequest, error) {
	d, c, err := b.deviceByUserCode(ctx, userCode, device)
	if err != nil {
		return DeviceRequest{}, err
	}
	return DeviceRequest{Client: c, Scope: d.Scope, UserCode: showUserCode(readUserCode(userCode))}, nil
}

func showUserCode(code string) string { return code[:4] + "-" + code[4:] }

func (b *Broker) deviceByUserCode(ctx context.Context, userCode string, device Device) (DeviceCode, Client, error) {
	unknown := refuse(UserCodeUnknown, "this code is not known, was used already, or is older than ten minutes; look at the device again")
	if len(userCode) > 64 {
		return DeviceCode{}, Client{}, unknown
	}
	if err := b.mayFail(ctx, addressKey(device)); err != nil {
		return DeviceCode{}, Client{}, err
	}
	var d DeviceCode
	err := b.retry(ctx, func() (err error) {
		d, err = b.cfg.Store.DeviceByUserCode(ctx, hashUserCode(userCode), b.now())
		return err
	})
	if errors.Is(err, NotFound) {
		return DeviceCode{}, Client{}, b.failed(ctx, guessedUserCode, unknown, []string{addressKey(device)}, device)
	}
	if err != nil {
		return DeviceCode{}, Client{}, err
	}
	c, err := b.Client(ctx, d.ClientID)
	return d, c, err
}

// DecideDevice carries out what a person who is logged in said of a device.
func (b *Broker) DecideDevice(ctx context.Context, who Principal, userCode string, said Reply) error {
	d, c, err := b.deviceByUserCode(ctx, userCode, said.Device)
	if err != nil {
		return err
	}
	decision, given := DeviceDenied, proven()
	if said.Allow {
		decision = DeviceAllowed
		if !c.TakesWay(who.Session.ProviderID) {
			return refuse(AccessDenied, c.DisplayName()+" takes another way of logging in; log out here and log in with that one, then type the code again")
		}
		if err := b.readUpstream(ctx, &c, &who); err != nil {
			return err
		}
		if c.distrusts(&who.Session, b.now()) {
			return refuse(AccessDenied, c.DisplayName()+" takes only a login that is known to stand; log out here and log in again, then type the code again")
		}
		if given, err = b.letIn(ctx, who, nil, said); err != nil {
			return err
		}
	}
	// The device is not this browser: it outlives the browser's session.
	granted := who.authorization()
	granted.Scope, granted.Request = d.Scope, d.Request
	return given.counted(ctx, b.retryTx(ctx, func(store Store) error {
		if err := given.take(ctx, store); err != nil {
			return err
		}
		decided, err := store.DecideDevice(ctx, d.ID, decision, granted, b.now())
		if err == nil && !decided {
			err = refuse(UserCodeUnknown, "this code was answered or ran out in the meantime")
		}
		return err
	}))
}

// PollDevice is a device that asks whether the person has decided (RFC 8628
// section 3.4). It makes the session, once.
func (b *Broker) PollDevice(ctx context.Context, by Caller, deviceCode string) (*Login, error) {
	if err := by.mayUse(GrantDeviceCode); err != nil {
		return nil, err
	}
	if deviceCode == "" {
		return nil, invalidRequest("device_code is missing")
	}
	id, now := hash("device code", deviceCode), b.now()
	d, slow, err := b.cfg.Store.PollDevice(ctx, id, by.Client.ID, now)
	switch {
	case errors.Is(err, NotFound):
		return nil, refuse(CodeInvalid, "the device_code is not known")
	case err != nil:
		return nil, err
	case !d.RedeemedAt.IsZero():
		return b.deviceAgain(ctx, d, by, now)
	case !now.Before(d.ExpiresAt):
		return nil, refuse(DeviceCodeExpired, "nobody answered in time; begin again")
	case d.Decision == DeviceDenied:
		return nil, refuse(AccessDenied, "the person refused")
	case slow:
		return nil, refuse(SlowDown, "poll more slowly")
	case d.Decision == "":
		return nil, refuse(AuthorizationPending, "the person has not decided yet")
	}
	if _, err := b.trustedUntil(ctx, &by.Client, d.Authorization.ParentID); err != nil {
		return nil, err
	}
	return b.redeemDevice(ctx, by, id, now)
}

func (b *Broker) redeemDevice(ctx context.Context, by Caller, id string, now time.Time) (*Login, error) {
	s := b.newSession(&by.Client, "", by.Device, now)
	var u User
	err := b.retryTx(ctx, func(store Store) error {
		d, err := store.RedeemDevice(ctx, id, by.Client.ID, s.ID, now)
		if err != nil {
			return err
		}
		s.from(d.Authorization, by.ProvenKey)
		u, err = b.insertSession(ctx, store, s, "")
		return err
	})
	switch {
	case errors.Is(err, NotFound):
		return nil, refuse(CodeInvalid, "the device_code was used already")
	case errors.Is(err, UserDisabled):
		return nil, refuse(AccessDenied, "the person was logged out before the device asked")
	case err != nil:
		return nil, err
	}
	return b.mintNew(ctx, by, u, s, "", now)
}

// deviceAgain answers a device that asks again after its tokens were made: the
// answer may have been lost, and polling again is what devices do. It is the
// same session, and only for as long as a lost refresh is answered alike.
func (b *Broker) deviceAgain(ctx context.Context, d DeviceCode, by Caller, now time.Time) (*Login, error) {
	used := refuse(CodeInvalid, "the device_code was used already")
	if now.Sub(d.RedeemedAt) > b.cfg.Lifetimes.Grace {
		return nil, used
	}
	s, u, err := b.cfg.Store.SessionByID(ctx, d.SessionID)
	switch {
	case errors.Is(err, NotFound):
		return nil, used
	case err != nil:
		return nil, err
	case s.Ended(now) != "" || u.ID == "" || !u.DisabledAt.IsZero() || s.DPoPThumbprint != by.ProvenKey:
		return nil, used
	}
	if s.trustedUntil, err = b.trustedUntil(ctx, &by.Client, s.ID); err != nil {
		return nil, err
	}
	login, err := b.mint(&by.Client, u, s, s.Generation, s.Branch, now)
	if err != nil {
		return nil, err
	}
	return b.withIDToken(ctx, &by.Client, login, "", now)
}
