package broker

import (
	"context"
	"errors"
	"slices"
	"time"
)

// This file is what Latchkey asks of somebody who is logged in before something
// that outlives a stolen session: a fresh proof of who is there.

// recentLogin is how long a login proves that its person is there.
const recentLogin = 5 * time.Minute

// Asked is what somebody who is logged in has to give as proof to be there.
type Asked string

// What is asked.
const (
	AskedNothing  Asked = ""         // the login was a moment ago
	AskedPassword Asked = "password" // the current one
	AskedCode     Asked = "code"     // of the second factor, or a recovery code; a login does instead
	AskedLogin    Asked = "login"    // the login anew, and nothing that could be typed
)

// Proving is somebody who may have to prove to be there, and what was given for it:
// the password or a code; empty: nothing.
type Proving struct {
	Principal Principal
	Given     string
	Device    Device
}

// ProofAsked is what the owner of a session has to give as proof to be there.
func (b *Broker) ProofAsked(ctx context.Context, p Principal) (Asked, error) {
	recent, err := b.RecentlyProven(ctx, p)
	switch {
	case err != nil || recent:
		return AskedNothing, err
	case p.User.PasswordHash == "" || !b.cfg.LocalLogin:
		return AskedLogin, nil
	case p.User.SecondFactor: // beside which the password alone opens nothing
		return AskedCode, nil
	}
	return AskedPassword, nil
}

// StepUpAsked is [Broker.ProofAsked] for what a stolen browser must not do. There a
// login a moment ago does, also where its IdP does not say when it asked: whoever
// has just logged in is not sent to log in again.
func (b *Broker) StepUpAsked(ctx context.Context, p Principal) (Asked, error) {
	if fresh, err := b.freshLogin(ctx, p); err != nil || fresh {
		return AskedNothing, err
	}
	return b.ProofAsked(ctx, p)
}

// proof is what was proven, or not.
type proof struct {
	// missing is why nothing was proven; nil: it was.
	missing error
	// use makes a code single use, in the transaction of what it is for.
	use func(context.Context, Store) error
	// counted is the error of that transaction, in which somebody may have used the
	// code before.
	counted func(context.Context, error) error
}

// take is the step of a transaction that needs the proof.
func (p proof) take(ctx context.Context, store Store) error {
	if p.missing != nil {
		return p.missing
	}
	return p.use(ctx, store)
}

func proven() proof {
	return proof{use: func(context.Context, Store) error { return nil }, counted: func(_ context.Context, err error) error { return err }}
}

// prove asks for proof that the owner of a session is there: a login in it a moment
// ago, or what [Broker.ProofAsked] says. Neither a stolen access token nor a client
// that was granted the API has either. What is wrong is an error; that nothing was
// given is known when it is needed.
func (b *Broker) prove(ctx context.Context, who Proving) (proof, error) {
	p := who.Principal
	if err := p.NeedSession(); err != nil {
		return proof{}, err
	}
	asked, err := b.ProofAsked(ctx, p)
	if err != nil || asked == AskedNothing {
		return proven(), err
	}
	out := proven()
	switch {
	case asked == AskedCode && looksLikeCode(who.Given):
		return b.proveCode(ctx, who)
	case asked == AskedPassword && who.Given != "":
		_, err := b.provePassword(ctx, p, &who.Given, who.Device)
		return out, err
	case asked == AskedCode:
		out.missing = refuse(LoginRequired, "give a code of your second factor, or log in again with it and do this within five minutes")
	case asked == AskedPassword:
		out.missing = refuse(LoginRequired, "give your password, or log in again and do this within five minutes")
	default:
		out.missing = refuse(LoginRequired, "log in again and do this within five minutes")
	}
	return out, nil
}

// proveNow is prove for what has no transaction of its own to take the proof in.
func (b *Broker) proveNow(ctx context.Context, who Proving) error {
	given, err := b.prove(ctx, who)
	if err != nil {
		return err
	}
	return given.counted(ctx, b.takeNow(ctx, given))
}

func (b *Broker) takeNow(ctx context.Context, given proof) error {
	return b.retryTx(ctx, func(store Store) error { return given.take(ctx, store) })
}

// stepUp is prove for what a stolen browser must not do. Programs that logged in
// themselves can type nothing, and are not asked; nil: nor is the command line.
func (b *Broker) stepUp(ctx context.Context, who *Proving) (proof, error) {
	if who == nil || !who.Principal.inBrowser() {
		return proven(), nil
	}
	if fresh, err := b.freshLogin(ctx, who.Principal); err != nil || fresh { // a client's too, whose own the account is not
		return proven(), err
	}
	return b.prove(ctx, *who)
}

// stepUpIf is stepUp where what was given is looked at only if it is needed: a
// password manager may have filled it in.
func (b *Broker) stepUpIf(ctx context.Context, needed bool, who *Proving) (proof, error) {
	if who != nil && !needed {
		unread := *who
		unread.Given, who = "", &unread
	}
	return b.stepUp(ctx, who)
}

// stepUpFor does what the administrator who acts has to step up for: f takes the
// proof in its transaction.
func (b *Broker) stepUpFor(ctx context.Context, f func(given proof) error) error {
	given, err := b.stepUp(ctx, b.actor(ctx).Proving)
	if err != nil {
		return err
	}
	return given.counted(ctx, f(given))
}

// stepUpNow is stepUpFor what has no transaction of its own to take the proof in.
func (b *Broker) stepUpNow(ctx context.Context) error {
	return b.stepUpFor(ctx, func(given proof) error { return b.takeNow(ctx, given) })
}

// stepUpOf is stepUp of a principal; nil: the command line.
func (b *Broker) stepUpOf(ctx context.Context, p *Principal, given string, device Device) (proof, error) {
	if p == nil {
		return proven(), nil
	}
	return b.stepUp(ctx, &Proving{Principal: *p, Given: given, Device: device})
}

// inBrowser reports whether whoever has the browser of a person could be this
// principal: by its cookies, or as a client that was let in there. Nothing but the
// mark of a program says otherwise.
func (p Principal) inBrowser() bool { return p.Cookie || !p.Session.Request.Program }

// provePassword asks for the current password and returns its hash; where there
// is none, for a login here a moment ago.
func (b *Broker) provePassword(ctx context.Context, p Principal, current *string, device Device) (PasswordHash, error) {
	if p.User.PasswordHash == "" {
		recent, err := b.RecentlyProven(ctx, p)
		if err == nil && !recent {
			err = refuse(WrongPassword, "log in again to set a first password")
		}
		return "", err
	}
	wrong := refuse(WrongPassword, "the current password is wrong")
	if current == nil {
		return "", wrong
	}
	device.Replaces = p.Session.ID // who is logged in is not locked out by strangers
	u, err := b.checkLogin(ctx, p.User.Username, *current, &attempt{device: device})
	if errors.Is(err, InvalidCredentials) {
		return "", wrong
	}
	return u.PasswordHash, err
}

// proveCode asks for a code of the second factor.
func (b *Broker) proveCode(ctx context.Context, who Proving) (proof, error) {
	u, device := who.Principal.User, who.Device
	found, err := b.checkCode(ctx, u, who.Given, device)
	if err != nil {
		return proof{}, asWrongProof(err)
	}
	return proof{use: found.use, counted: func(ctx context.Context, err error) error {
		return asWrongProof(b.countUsed(ctx, u, device, err))
	}}, nil
}

func asWrongProof(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Code == SecondFactorInvalid {
		return &Error{Code: WrongPassword, Message: e.Message}
	}
	return err
}

// proveForFactors is prove for a change of the own second factors, for which no
// login through an IdP does: the password, however fresh the login, or, beside a
// second factor, one of its codes or a login with it a moment ago.
func (b *Broker) proveForFactors(ctx context.Context, who Proving) (proof, error) {
	p := who.Principal
	if err := p.NeedSession(); err != nil {
		return proof{}, err
	}
	if err := b.MayHaveFactors(p.User); err != nil {
		return proof{}, err
	}
	if !p.User.SecondFactor {
		_, err := b.provePassword(ctx, p, &who.Given, who.Device)
		return proven(), err
	}
	if needed, err := b.CodeNeeded(ctx, p); err != nil || !needed {
		return proven(), err
	}
	if !looksLikeCode(who.Given) {
		return proof{}, refuse(WrongPassword, "give a code of your second factor, or log in again with it and do this within five minutes")
	}
	return b.proveCode(ctx, who)
}

// CodeNeeded reports whether a change of the password or of a factor needs a code of
// the second factor: what comes of it would else be what only the password stood
// for. A login with that factor a moment ago does instead.
func (b *Broker) CodeNeeded(ctx context.Context, p Principal) (bool, error) {
	if !p.User.SecondFactor {
		return false, nil
	}
	recent, err := b.RecentlyProven(ctx, p)
	return !recent || p.Session.ProviderID != "" || !slices.Contains(p.Session.AMR, "mfa"), err
}

// RecentlyProven reports whether the login of a session of the pages or of the JSON
// API was a moment ago. A client that was granted the API is not the owner, and
// whoever an IdP let in without saying since when may not be.
func (b *Broker) RecentlyProven(ctx context.Context, p Principal) (bool, error) {
	if p.Session.ClientID != AppClientID || p.Session.Request.Silent {
		return false, nil
	}
	return b.freshLogin(ctx, p)
}

// freshLogin reports whether the login that a session stands on was a moment ago.
// One through a link that can still be undone does not count: what it could make
// here would outlive the undo.
func (b *Broker) freshLogin(ctx context.Context, p Principal) (bool, error) {
	s := p.Session
	if b.now().Sub(s.AuthTime) > recentLogin {
		return false, nil
	}
	linked, undoable, err := b.throughLink(ctx, p)
	return linked && !undoable, err
}

// NotAskedAnew reports whether a session was made a moment ago through an IdP that
// let the person in by an earlier login there.
func (b *Broker) NotAskedAnew(s Session) bool {
	now := b.now()
	return s.ProviderID != "" && now.Sub(s.CreatedAt) <= recentLogin && now.Sub(s.AuthTime) > recentLogin
}

// throughLink reports whether what a session was made through still leads to its
// user, and whether it is a link that can be undone: then the owner of the
// account may be somebody else. The only way in cannot be undone.
func (b *Broker) throughLink(ctx context.Context, p Principal) (linked, undoable bool, err error) {
	s := p.Session
	if s.ProviderID == "" {
		return true, false, nil
	}
	all, err := b.cfg.Store.IdentitiesOfUser(ctx, p.User.ID)
	if err != nil {
		return false, false, err
	}
	at := slices.IndexFunc(all, func(i Identity) bool {
		return i.Subject == s.IdPSubject && slices.Contains(b.providersOf(i), s.ProviderID)
	})
	if at < 0 { // the provider may have had another id then
		at = slices.IndexFunc(all, func(i Identity) bool { return i.Subject == s.IdPSubject })
	}
	if at < 0 || !all[at].undoable(b.now()) {
		return at >= 0, false, nil
	}
	return true, b.hasWayIn(p.User, slices.Delete(slices.Clone(all), at, at+1)), nil
}
