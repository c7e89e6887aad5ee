package broker

import (
	"context"
	"errors"
	"strconv"
	"time"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// PasswordLogin is what somebody logs in with. Code is of the second factor, and
// Fresh the password that is to replace a temporary one; nil: none was given.
type PasswordLogin struct {
	Username, Password string
	Code, Fresh        *string
	// Wait: where a second factor is needed, the login waits for it; see
	// [Broker.CompleteLogin].
	Wait bool
}

// LoginPassword is [Broker.LoginWith] by name and password alone.
func (b *Broker) LoginPassword(ctx context.Context, username, password string, device Device) (*Login, error) {
	return b.LoginWith(ctx, PasswordLogin{Username: username, Password: password}, device)
}

// LoginWith checks a local password and starts a session. Whatever is wrong with
// name or password, the answer is the same InvalidCredentials after the same work:
// an unknown name pays for a hash too. Once they are right, an account with a
// second factor needs a code as well (SecondFactorRequired, SecondFactorInvalid),
// and a temporary password another one (PasswordChangeRequired).
func (b *Broker) LoginWith(ctx context.Context, in PasswordLogin, device Device) (*Login, error) {
	ctx, span := BeginSpan(ctx, SpanWork, "broker.LoginPassword")
	a := attemptBy(MethodPassword, device)
	l, err := b.loginWithPassword(ctx, in, a)
	span.End(err)
	b.loginEnded(a, err)
	return l, err
}

func (b *Broker) loginWithPassword(ctx context.Context, in PasswordLogin, a *attempt) (*Login, error) {
	device := a.device
	u, err := b.localLogin(ctx, in.Username, in.Password, a)
	if err != nil {
		return nil, err
	}
	proof := factorProof{amr: []string{"pwd"}, use: func(context.Context, Store) error { return nil }}
	if u.SecondFactor {
		if in.Code == nil || *in.Code == "" {
			return nil, b.secondRequired(ctx, u, in.Wait)
		}
		found, err := b.checkCode(ctx, u, *in.Code, device)
		if err != nil {
			return nil, err
		}
		proof = *found
	}
	switch {
	case in.Fresh != nil && !u.PasswordTemporary:
		return nil, refuse(InvalidRequest, "newPassword is for temporary passwords alone; change others at /api/me/password")
	case in.Fresh != nil:
		l, err := b.choosePassword(ctx, u, *in.Fresh, proof, device)
		return l, b.countUsed(ctx, u, device, err)
	case u.PasswordTemporary: // the code is not used: the next attempt needs it
		return nil, b.changeRequired(u, []string{"pwd"})
	}
	l, err := b.startSessionAfter(ctx, u, proof.amr, device, func(*Session) {}, func(store Store) error { return proof.use(ctx, store) })
	return l, b.countUsed(ctx, u, device, err)
}

// localLogin is checkLogin where logins with a password are on.
func (b *Broker) localLogin(ctx context.Context, username, password string, a *attempt) (User, error) {
	if !b.cfg.LocalLogin {
		return User{}, refuse(LocalLoginDisabled, "logging in with a password is switched off")
	}
	return b.checkLogin(ctx, username, password, a)
}

// checkLogin compares name and password within the limits on failures.
func (b *Broker) checkLogin(ctx context.Context, username, password string, a *attempt) (User, error) {
	if len(password) > MaxPasswordBytes || len(username) > 4*MaxUsername {
		return User{}, refuse(InvalidRequest, "username or password is too long")
	}
	name, device := FoldUsername(username), a.device
	var u User
	err := b.retry(ctx, func() (err error) {
		u, err = b.cfg.Store.UserByUsername(ctx, name)
		return err
	})
	if err != nil && !errors.Is(err, NotFound) {
		return User{}, err
	}
	a.userID = u.ID
	if err := b.withinLimits(ctx, name, u.ID, device); err != nil {
		return User{}, err
	}
	leave, ok := b.checking.enter(AddressOf(device.IP))
	if !ok {
		return User{}, &Error{Code: TemporarilyUnavailable, Err: errTooManyAtOnce, RetryAfter: time.Second}
	}
	defer leave()
	_, span := BeginSpan(ctx, SpanWork, "password.Verify")
	ok, rehash, err := b.cfg.Hasher.Verify(ctx, u.PasswordHash, password)
	span.End(err)
	if err != nil {
		return User{}, err
	}
	if !ok || !u.DisabledAt.IsZero() {
		if ok {
			a.why = UserDisabled
		}
		return User{}, b.failedLogin(ctx, name, device)
	}
	// Again: of many guesses at once, none beyond the limit may learn anything.
	if err := b.withinLimits(ctx, name, u.ID, device); err != nil {
		return User{}, err
	}
	if rehash {
		return b.rehash(ctx, u, name, password, device)
	}
	return u, nil
}

// rehash brings an imported or older hash up to date. Of two logins at once
// one does it; the other compares with what then stands.
func (b *Broker) rehash(ctx context.Context, u User, name, password string, device Device) (User, error) {
	fresh, err := b.cfg.Hasher.Hash(ctx, password)
	if err != nil {
		return u, nil // only a convenience: the stored hash is good
	}
	done, err := b.cfg.Store.SetPassword(ctx, u.ID, &u.PasswordHash, fresh, u.PasswordTemporary, b.now())
	if err != nil {
		return User{}, err
	}
	if done {
		u.PasswordHash = fresh
		return u, nil
	}
	if u, err = b.cfg.Store.UserByID(ctx, u.ID); err != nil {
		return User{}, err
	}
	ok, _, err := b.cfg.Hasher.Verify(ctx, u.PasswordHash, password)
	if err == nil && !ok {
		err = b.failedLogin(ctx, name, device)
	}
	return u, err
}

// startSession makes the row that every login ends in, and its tokens.
func (b *Broker) startSession(ctx context.Context, u User, amr []string, device Device, fill func(*Session)) (*Login, error) {
	return b.startSessionAfter(ctx, u, amr, device, fill, func(Store) error { return nil })
}

// startSessionAfter is startSession with what has to happen first in its
// transaction.
func (b *Broker) startSessionAfter(ctx context.Context, u User, amr []string, device Device, fill func(*Session), first func(Store) error) (*Login, error) {
	now := b.now()
	s := b.newSession(&appClient, u.ID, device, now)
	s.AMR, s.Scope = amr, AppScope
	fill(&s)
	var made User
	err := b.retryTx(ctx, func(store Store) (err error) {
		if err := first(store); err != nil {
			return err
		}
		if made, err = b.addSession(ctx, store, s, u.PasswordHash); err == nil {
			err = enough(made, s)
		}
		if err != nil {
			return err
		}
		if err := b.noteLanguage(ctx, store, made, device); err != nil {
			return err
		}
		if err := b.replaceBrowser(ctx, store, s, device); err != nil {
			return err
		}
		return b.capSessions(ctx, store, s)
	})
	if err != nil {
		return nil, err
	}
	return b.mint(&appClient, made, s, 0, 0, now)
}

// noteLanguage keeps the language that a person reads pages in, for mail.
func (b *Broker) noteLanguage(ctx context.Context, store Store, u User, device Device) error {
	if device.Language == "" || device.Language == u.Language || len(device.Language) > maxLanguage {
		return nil
	}
	return store.SetLanguage(ctx, u.ID, device.Language)
}

// maxLanguage bounds a language tag, in bytes.
const maxLanguage = 35

// replaceBrowser ends the session that this login replaces in its browser: one
// browser is one device, however often it logs in, and keeps its name. What
// followed that session follows this one. Another person's is left alone.
func (b *Broker) replaceBrowser(ctx context.Context, store Store, s Session, device Device) error {
	if device.Replaces == "" {
		return nil
	}
	old, _, err := store.SessionByID(ctx, device.Replaces)
	if errors.Is(err, NotFound) || err == nil && (old.UserID != s.UserID || old.ClientID != s.ClientID || old.Ended(b.now()) != "") {
		return nil
	}
	if err != nil {
		return err
	}
	if err := store.MoveFollowers(ctx, old.ID, s.ID); err != nil {
		return err
	}
	if old.DeviceName != "" && s.DeviceName == "" {
		if err := store.NameSession(ctx, s.ID, s.UserID, old.DeviceName); err != nil {
			return err
		}
	}
	_, err = b.endSessions(ctx, store, SessionFilter{ID: old.ID}, LoggedOut, false, device.IP)
	return err
}

// insertSession is the body of the transaction that makes a session, with the
// login at an IdP that it is the first to stand on, if any. A hash makes it
// depend on the password being unchanged since it was compared.
func (b *Broker) insertSession(ctx context.Context, store Store, s Session, hash PasswordHash) (User, error) {
	u, err := b.addSession(ctx, store, s, hash)
	if err != nil {
		return u, err
	}
	return u, b.capSessions(ctx, store, s)
}

// addSession is insertSession without a look at how many there are then.
func (b *Broker) addSession(ctx context.Context, store Store, s Session, hash PasswordHash) (User, error) {
	if s.Upstream != nil {
		if err := store.InsertUpstream(ctx, *s.Upstream); err != nil {
			return User{}, err
		}
	}
	u, err := store.InsertSession(ctx, s, hash)
	if err == nil {
		err = b.stillLinked(ctx, store, s)
	}
	if err != nil {
		return u, err
	}
	detail := map[string]string{"method": "password"}
	if s.ProviderID != "" {
		detail["method"] = s.ProviderID
	}
	return u, b.audit(ctx, store, Event{
		Name: EventSessionStarted, UserID: s.UserID, SessionID: s.ID, ClientID: s.ClientID, IP: s.CreatedIP, Detail: detail,
	})
}

// Authenticate reads the session of a verified access token or page cookie with
// its user, in one statement. A session that ended or a user that is disabled
// is refused at once, on every replica, whatever the token's exp says.
func (b *Broker) Authenticate(ctx context.Context, sessionID string) (Principal, error) {
	return b.authenticate(ctx, sessionID, b.cfg.Store.SessionByID)
}

func (b *Broker) authenticate(ctx context.Context, sessionID string, read func(context.Context, string) (Session, User, error)) (p Principal, err error) {
	ctx, span := BeginSpan(ctx, SpanWork, "broker.Authenticate")
	defer func() { span.End(err) }()
	err = b.retry(ctx, func() (err error) {
		p.Session, p.User, err = read(ctx, sessionID)
		return err
	})
	if err != nil {
		if errors.Is(err, NotFound) {
			err = &Error{Code: SessionUnknown}
		}
		return Principal{}, err
	}
	if cause := p.Session.Ended(b.now()); cause != "" {
		return Principal{}, &Error{Code: cause, Wipe: p.Session.Wipe}
	}
	switch {
	case p.User.ID == "":
		return Principal{}, &Error{Code: UserDeleted}
	case !p.User.DisabledAt.IsZero():
		return Principal{}, &Error{Code: UserDisabled}
	}
	return p, nil
}

const pageCookiePurpose = "page cookie"

// PageCookie is the opaque value of a browser's own cookie for a session.
func (b *Broker) PageCookie(sessionID string) string {
	return sessionID + "." + b.cfg.Secrets.Current().Tag(pageCookiePurpose, sessionID)
}

// AuthenticateCookie is [Broker.Authenticate] for a page cookie; using a page
// counts as using the session.
func (b *Broker) AuthenticateCookie(ctx context.Context, cookie string, device Device) (Principal, error) {
	const idLength = 36
	if len(cookie) <= idLength+1 || cookie[idLength] != '.' ||
		!b.cfg.Secrets.CheckTag(cookie[idLength+1:], pageCookiePurpose, cookie[:idLength]) {
		return Principal{}, &Error{Code: NoToken}
	}
	p, err := b.Authenticate(ctx, cookie[:idLength])
	if err != nil {
		return Principal{}, err
	}
	p.Cookie = true
	if err := b.slideCoarsely(ctx, &p.Session, presenter{client: &appClient, device: device}, b.now()); err != nil {
		b.cfg.Log.WarnContext(ctx, "idle end not moved", "error", err)
	}
	return p, nil
}
