package broker

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"time"
)

// Quota is how often something may happen: Max times at once, and then as often
// as Max times a Window, evenly (GCRA).
type Quota struct {
	Max    int // 0: any number
	Window time.Duration
	// Own is counted by each process on its own, for what a count in a database
	// would cost more than.
	Own bool
}

// Limits are all quotas. A zero one is no limit.
type Limits struct {
	// Failures are those of an address, of an account from strange addresses, and
	// of a session that asks for its owner's password.
	Failures Quota
	// Starts are logins that an address begins, at an IdP, at a client or on a
	// device: each is a row that waits for a person.
	Starts Quota
	// Codes are authorization codes, and those for apps behind a proxy, that a browser
	// is given by one login: each makes a session, which is kept for long when it has
	// ended.
	Codes Quota
	// Exports are downloads of all that is stored of a user.
	Exports Quota
	// Trials are requests into the world that an administrator asks for.
	Trials Quota
	// Registrations are clients that register themselves from an address.
	Registrations Quota
}

// DefaultCodes is for a browser that opens whatever it has at once, and comes back to
// all of it.
var DefaultCodes = Quota{Max: 300, Window: 10 * time.Minute}

// DefaultExports is for whoever tries again: each reads up to twice [MaxOwnRows] rows.
var DefaultExports = Quota{Max: 10, Window: 10 * time.Minute}

// DefaultTrials is for whoever repairs a provider, trial by trial.
var DefaultTrials = Quota{Max: 30, Window: 10 * time.Minute}

// DefaultRegistrations is for a program that brings its clients along, one by one.
var DefaultRegistrations = Quota{Max: 60, Window: time.Hour}

// Limiter counts per quota and key. Trouble of where it counts is its own to deal
// with; an error is one that leaves nothing to go by.
type Limiter interface {
	// Check reads without counting.
	Check(ctx context.Context, q Quota, key string) (LimitState, error)
	// Count counts one more, unless the quota is used up.
	Count(ctx context.Context, q Quota, key string) (LimitState, error)
}

// LimitState is where a key stands.
type LimitState struct {
	Limit      int
	Remaining  int
	Window     time.Duration
	Reset      time.Duration // until everything is available again
	RetryAfter time.Duration // until one is available again
	Exceeded   bool          // none is available
	Refused    bool          // the one that was to be counted was beyond the quota
}

// AddressOf is what counts as one address: whoever has one of IPv6 has its /64.
func AddressOf(ip string) string {
	parsed, err := netip.ParseAddr(ip)
	if err != nil || !parsed.Unmap().Is6() {
		return parsed.Unmap().WithZone("").String()
	}
	network, _ := parsed.WithZone("").Prefix(64) // 64 is never too long
	return network.String()
}

type limitTeller struct{}

// WithLimitTeller has tell called with where whoever asks stands, each time that a
// limit is asked or counts in a context; the last call is what holds, but for a
// refusal that says it itself ([Error].Limit). No limit is asked for it.
func WithLimitTeller(ctx context.Context, tell func(LimitState)) context.Context {
	return context.WithValue(ctx, limitTeller{}, tell)
}

func tellLimit(ctx context.Context, state LimitState) {
	if tell, ok := ctx.Value(limitTeller{}).(func(LimitState)); ok {
		tell(state)
	}
}

// untold is for what others do too: how often strangers failed for an account is
// nobody's to know.
func untold(ctx context.Context) context.Context { return WithLimitTeller(ctx, func(LimitState) {}) }

func addressKey(device Device) string { return "address " + AddressOf(device.IP) }

// mayFail refuses a key that failed too often.
func (b *Broker) mayFail(ctx context.Context, key string) error {
	return b.mayFailBy(ctx, b.cfg.Limits.Failures, key)
}

func (b *Broker) mayFailBy(ctx context.Context, quota Quota, key string) error {
	if b.cfg.Limiter == nil || quota.Max == 0 {
		return nil
	}
	state, err := b.cfg.Limiter.Check(ctx, quota, key)
	if err != nil {
		return Unavailable(err)
	}
	tellLimit(ctx, state)
	if state.Exceeded {
		return tooMany("too many failed attempts", state)
	}
	return nil
}

func tooMany(message string, state LimitState) error {
	return &Error{Code: RateLimited, Message: message, RetryAfter: state.RetryAfter, Limit: &state}
}

// loginKeys are what a failed login counts against, beside its address: the
// account, and the session of whoever is logged in already.
func loginKeys(name string, device Device) (account, session string) {
	if device.Replaces != "" {
		session = "session " + device.Replaces
	}
	return "account " + name, session
}

// withinLimits refuses an address or account that failed too often. An account
// that strangers attack stays open to its own devices and to the addresses that
// it was used from, so that the limit is no weapon against its owner; those have
// the limit of every address, and of their session.
func (b *Broker) withinLimits(ctx context.Context, name, userID string, device Device) error {
	if err := b.mayFail(ctx, addressKey(device)); err != nil {
		return err
	}
	account, session := loginKeys(name, device)
	ctx = untold(ctx)
	err := b.mayFail(ctx, account)
	if !errors.Is(err, RateLimited) || userID == "" {
		return err
	}
	if session != "" {
		if s, u, readErr := b.cfg.Store.SessionByID(ctx, device.Replaces); readErr == nil && u.ID == userID && s.Ended(b.now()) == "" {
			return b.mayFail(ctx, session)
		}
	}
	addresses, readErr := b.cfg.Store.AddressesOfUser(ctx, userID)
	if readErr != nil {
		return readErr
	}
	for _, one := range addresses {
		if AddressOf(one) == AddressOf(device.IP) {
			return nil
		}
	}
	return err
}

// failure is a kind of failed attempt. Its message is stable and is followed by
// the address: what bans addresses looks for these lines and for no others, and
// nothing else in the program begins so.
type failure struct{ message, event string }

var (
	failedPassword  = failure{"Failed login attempt from ", "auth.login.failed"}
	guessedAPIKey   = failure{"Wrong API key from ", "auth.apikey.failed"}
	guessedUserCode = failure{"Wrong device code from ", "auth.device.failed"}
	guessedSetup    = failure{"Wrong setup link from ", "auth.setup.failed"}
	guessedSecret   = failure{"Wrong client secret from ", "auth.client.failed"}
	// guessedRegistration is a guess at the initial access token.
	guessedRegistration = failure{"Wrong registration token from ", "auth.registration.failed"}
	// deadAPIKey is one that was refused today already: no guess.
	deadAPIKey = failure{"", ""}
)

// failed logs one failure, counts it against each key and returns the refusal.
func (b *Broker) failed(ctx context.Context, kind failure, refusal *Error, keys []string, device Device, details ...any) error {
	return b.failedBy(ctx, b.cfg.Limits.Failures, kind, refusal, keys, device, details...)
}

func (b *Broker) failedBy(ctx context.Context, quota Quota, kind failure, refusal *Error, keys []string, device Device, details ...any) error {
	if kind.message != "" {
		about := append([]any{"event", kind.event, "remote_ip", device.IP}, details...)
		b.cfg.Log.WarnContext(ctx, kind.message+device.IP, about...)
	}
	if b.cfg.Limiter == nil || quota.Max == 0 {
		return refusal
	}
	for i, key := range keys {
		state, err := b.cfg.Limiter.Count(ctx, quota, key)
		if err != nil {
			return Unavailable(err)
		}
		if i == 0 {
			tellLimit(ctx, state)
		}
	}
	return refusal
}

// failedLogin counts and logs a wrong password.
func (b *Broker) failedLogin(ctx context.Context, name string, device Device) error {
	account, session := loginKeys(name, device)
	keys := []string{addressKey(device), account}
	if session != "" {
		keys = append(keys, session)
	}
	refusal := refuse(InvalidCredentials, "the username or the password is wrong")
	return b.failed(ctx, failedPassword, refusal, keys, device, "username", cleanText(name, MaxUsername))
}

// startBytes is what a login that is begun may leave behind for one of its quota.
const startBytes = 4 << 10

// begins counts a login that is begun and leaves a row behind, with what it keeps
// of the request; nil: little. A long request counts for several, so that the quota
// bounds the bytes that an address can fill as well. It bounds rows, not people: a
// household never comes near.
func (b *Broker) begins(ctx context.Context, device Device, kept any) error {
	text, err := json.Marshal(kept)
	if err != nil {
		return Unavailable(err)
	}
	quota := b.cfg.Limits.Starts
	for range min(1+len(text)/startBytes, quota.Max) {
		err := b.within(ctx, quota, "starts of "+AddressOf(device.IP), "too many logins were begun from this address and not finished")
		if err != nil {
			return err
		}
	}
	return nil
}

// mayHaveCode counts a code that whoever is logged in is given.
func (b *Broker) mayHaveCode(ctx context.Context, who *Principal) error {
	return b.within(ctx, b.cfg.Limits.Codes, "codes of "+who.Session.ID, "this browser was logged in at apps too often in a short time")
}

// MayAskTheWorld counts a request into the world that whoever acts asks for.
func (b *Broker) MayAskTheWorld(ctx context.Context) error {
	who := b.actor(ctx)
	if who.unbound() {
		return nil
	}
	return b.within(ctx, b.cfg.Limits.Trials, "trials of "+who.ID, "too many trials in a short time")
}

// within counts one of a quota, or refuses it.
func (b *Broker) within(ctx context.Context, quota Quota, key, message string) error {
	if b.cfg.Limiter == nil || quota.Max == 0 {
		return nil
	}
	state, err := b.cfg.Limiter.Count(ctx, quota, key)
	if err != nil {
		return Unavailable(err)
	}
	tellLimit(ctx, state)
	if state.Refused {
		return tooMany(message, state)
	}
	return nil
}
