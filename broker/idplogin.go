package broker

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// AppRequest is what an app sends to begin a login (RFC 6749 section 4.1.1,
// RFC 7636 section 4.3).
type AppRequest struct {
	ProviderID          string
	ResponseType        string
	RedirectURI         string
	State               string
	CodeChallenge       string
	CodeChallengeMethod string
	Device              Device
}

// maxState bounds an app's state, in bytes.
const maxState = 512

// BeginApp notes the login that an app begins. The IdP is not asked yet. The
// same state and challenge again get the same answer.
func (b *Broker) BeginApp(ctx context.Context, r AppRequest) (AuthRequest, error) {
	p, err := b.provider(r.ProviderID)
	if err != nil {
		return AuthRequest{}, err
	}
	if err := b.checkAppRequest(r); err != nil {
		return AuthRequest{}, err
	}
	if err := b.begins(ctx, r.Device, nil); err != nil {
		return AuthRequest{}, err
	}
	if r.State == "" {
		r.State = b.newSecret(24)
	}
	now := b.now()
	want := AuthRequest{
		ID: authRequestID(r.State, r.CodeChallenge), ProviderID: p.ID, RedirectURI: r.RedirectURI,
		State: r.State, Challenge: r.CodeChallenge, ExpiresAt: now.Add(authRequestLife),
	}
	var stands AuthRequest
	err = b.retry(ctx, func() (err error) {
		stands, err = b.cfg.Store.InsertAuthRequest(ctx, want, now)
		return err
	})
	if err != nil {
		return AuthRequest{}, err
	}
	if stands.RedirectURI != want.RedirectURI || stands.ProviderID != want.ProviderID {
		return AuthRequest{}, refuse(InvalidRequest, "this state and code_challenge are in use by another login")
	}
	return stands, nil
}

func authRequestID(state, challenge string) string { return hash("auth request", state, challenge) }

// checkAppRequest keeps the order of checks and the texts of the JSON contract.
func (b *Broker) checkAppRequest(r AppRequest) error {
	switch {
	case r.ResponseType != "code":
		return refuse(InvalidRequest, "Invalid response_type, only code supported")
	case !b.redirectAllowed(r.RedirectURI):
		return refuse(InvalidRedirectURI, "Invalid redirect_uri")
	case r.CodeChallenge == "":
		return refuse(InvalidRequest, "code_challenge required for mobile flow (PKCE)")
	case r.CodeChallengeMethod != "" && r.CodeChallengeMethod != "S256":
		return refuse(InvalidRequest, "Only S256 code_challenge_method method supported")
	case len(r.CodeChallenge) != 43 || strings.ContainsFunc(r.CodeChallenge, notBase64URL):
		return refuse(InvalidRequest, "Invalid code_challenge, 43 base64url characters are needed")
	case len(r.State) > maxState || strings.ContainsFunc(r.State, unicode.IsControl):
		return refuse(InvalidRequest, "Invalid state")
	}
	return nil
}

func notBase64URL(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

// OpenAuthRequest sends the browser on to the IdP. State and challenge decide
// which login it is; it may be opened again until its code has been redeemed,
// and each opening has a state of its own. A failure after the request is known
// comes with the request, so that it can be carried to the app.
func (b *Broker) OpenAuthRequest(ctx context.Context, providerID, state, challenge string, device Device) (to string, known *AuthRequest, err error) {
	p, err := b.provider(providerID)
	if err != nil {
		return "", nil, err
	}
	var r AuthRequest
	err = b.retry(ctx, func() (err error) {
		r, err = b.cfg.Store.AuthRequestByID(ctx, authRequestID(state, challenge), b.now())
		return err
	})
	if errors.Is(err, NotFound) || err == nil && r.ProviderID != p.ID {
		return "", nil, refuse(InvalidState, "this login is not known or took longer than ten minutes; begin again in the app")
	}
	if err != nil {
		return "", nil, err
	}
	if !r.RedeemedAt.IsZero() {
		return "", nil, refuse(InvalidState, "this login is finished; begin again in the app")
	}
	to, _, err = b.sendToIdP(ctx, p, IdPLogin{RequestID: r.ID}, IdPAsk{}, device)
	return to, &r, err
}

// BeginWeb sends a browser to the IdP for its own login. The state comes back
// to be kept in a cookie: the callback must bring both.
func (b *Broker) BeginWeb(ctx context.Context, providerID, returnTo string, ask IdPAsk, device Device) (to, state string, err error) {
	p, err := b.provider(providerID)
	if err != nil {
		return "", "", err
	}
	if AsksAnew(returnTo) {
		ask.Prompt, ask.MaxAge = "login", new(int64(0))
	}
	return b.sendToIdP(ctx, p, IdPLogin{ReturnTo: returnTo}, ask, device)
}

// LoginAnew is where a login leads on to that is to prove that somebody is here:
// the IdP is asked for a login of that moment, whatever session it has.
func LoginAnew(returnTo string) string {
	if strings.Contains(returnTo, "?") {
		return returnTo + "&again=1"
	}
	return returnTo + "?again=1"
}

// AsksAnew reports whether a login leads on to what [LoginAnew] made.
func AsksAnew(returnTo string) bool {
	u, err := url.Parse(returnTo)
	return err == nil && u.Query().Get("again") == "1"
}

// IdPAsk is what an IdP is asked to heed at a login (OIDC Core section 3.1.2.1).
type IdPAsk struct {
	Prompt    string
	MaxAge    *int64 // seconds; nil: not asked
	LoginHint string
}

// sendToIdP asks where to send the browser before anything is stored: an IdP
// that is dark leaves no rows behind.
func (b *Broker) sendToIdP(ctx context.Context, p *Provider, l IdPLogin, ask IdPAsk, device Device) (to, state string, err error) {
	if err := b.begins(ctx, device, l); err != nil {
		return "", "", err
	}
	ctx, span := BeginSpan(ctx, SpanWork, "broker.sendToIdP")
	defer func() { span.End(err) }()
	state = b.newSecret(32)
	req := b.idpRequest(p, state)
	req.IdPAsk = ask
	begun := b.cfg.Now()
	to, err = p.IdP.AuthURL(ctx, req)
	b.sent(ctx, p, begun, err)
	if err != nil {
		b.cfg.Log.WarnContext(ctx, "IdP cannot be used", "event", "idp.failed", "provider", p.ID, "error", err)
		return "", "", err
	}
	l.ID, l.ProviderID, l.ExpiresAt = hash("state", state), p.ID, b.now().Add(idpLoginLife)
	return to, state, b.retry(ctx, func() error { return b.cfg.Store.InsertIdPLogin(ctx, l) })
}

// idpRequest derives nonce and PKCE verifier from the state, of which only a
// hash is stored: the database never holds what completes a login.
func (b *Broker) idpRequest(p *Provider, state string) IdPRequest {
	return IdPRequest{
		State: state, Nonce: hash("nonce", state), Verifier: b.cfg.Secrets.Current().Tag("idp verifier", state),
		RedirectURI: b.CallbackURL(p.ID),
	}
}

// CallbackURL is the one URI to register at an IdP.
func (b *Broker) CallbackURL(providerID string) string {
	return b.cfg.PublicURL + "/auth/" + url.PathEscape(providerID) + "/callback"
}

// Completed is where a browser goes when it is back from the IdP: to an app
// with a code, or, with a session of its own or a link in the one that it has,
// to ReturnTo.
type Completed struct {
	Request  *AuthRequest // an app's login; nil: the browser's own
	Code     string
	Confirm  *Confirmation // in place of the code: the person is asked first
	Login    *Login
	ReturnTo string
	Link     bool // it is not for a login, but for a link by hand
}

// CompleteIdPLogin takes the browser back from the IdP. The state is used up,
// whatever comes of it. A browser's own login must bring the state in its
// cookie as well, or somebody else began it (login CSRF, RFC 9700 section
// 4.7). As in [Broker.OpenAuthRequest], a failure of a known request comes
// with the request.
func (b *Broker) CompleteIdPLogin(ctx context.Context, providerID string, res IdPResponse, cookieState func(state string) bool, device Device) (done Completed, err error) {
	ctx, span := BeginSpan(ctx, SpanWork, "broker.CompleteIdPLogin")
	a := attemptBy(MethodUnknown, device)
	defer func() {
		span.End(err)
		if !done.Link {
			b.loginEnded(a, err)
		}
	}()
	p, err := b.provider(providerID)
	if err != nil {
		return Completed{}, err
	}
	a.at(p)
	l, request, err := b.takeIdPLogin(ctx, p, res.State, cookieState)
	done = Completed{Request: request, ReturnTo: l.ReturnTo, Link: l.LinkUserID != ""}
	if err != nil {
		return done, err
	}
	if done.Link {
		return done, b.completeLink(ctx, p, l, res, device)
	}
	claims, err := b.askIdP(ctx, p, res)
	if err != nil {
		return done, err
	}
	u, err := b.resolve(ctx, p, claims, device)
	a.userID = u.ID
	if err != nil {
		b.cfg.Log.WarnContext(ctx, "login through an IdP refused", "event", "auth.idp.refused", "provider", p.ID, "code", string(CodeOf(err)), "error", err)
		return done, err
	}
	up := b.newUpstream(ctx, p, u, claims)
	if request == nil {
		done.Login, err = b.startSession(ctx, withoutPassword(u), claims.AMR, device, func(s *Session) {
			fromIdP(s, p.ID, claims, AsksAnew(l.ReturnTo))
			s.standOn(up)
		})
		return done, err
	}
	if b.cfg.MobileConfirm {
		done.Confirm, err = b.askFirst(ctx, p, *request, u, claims, up)
		return done, err
	}
	done.Code = b.newSecret(32)
	return done, b.keepGrant(ctx, hash("code", done.Code), p, *request, u, claims, up)
}

func (b *Broker) takeIdPLogin(ctx context.Context, p *Provider, state string, cookieState func(string) bool) (l IdPLogin, request *AuthRequest, err error) {
	invalid := refuse(InvalidState, "this login is not known, was used already, or took longer than ten minutes; begin again")
	if state == "" {
		return l, nil, invalid
	}
	now := b.now()
	err = b.retryTx(ctx, func(store Store) (err error) {
		l, err = store.TakeIdPLogin(ctx, hash("state", state), p.ID, now)
		return err
	})
	if errors.Is(err, NotFound) {
		return l, nil, invalid
	}
	if err != nil {
		return l, nil, err
	}
	if l.RequestID == "" {
		if !cookieState(state) {
			return IdPLogin{}, nil, refuse(StateMismatch, "this login was begun in another browser; begin again in this one")
		}
		return l, nil, nil
	}
	// It was alive when it was opened, which is what counts: the person may take
	// ten minutes from then.
	opened := l.ExpiresAt.Add(-idpLoginLife)
	var r AuthRequest
	err = b.retry(ctx, func() (err error) {
		r, err = b.cfg.Store.AuthRequestByID(ctx, l.RequestID, opened)
		return err
	})
	if errors.Is(err, NotFound) || err == nil && !r.RedeemedAt.IsZero() {
		return l, nil, invalid
	}
	if err != nil {
		return l, nil, err
	}
	return l, &r, nil
}

// askIdP redeems the IdP's answer.
func (b *Broker) askIdP(ctx context.Context, p *Provider, res IdPResponse) (IdPClaims, error) {
	claims, err := func() (IdPClaims, error) {
		if res.Error != "" {
			code := IdPRefused
			if res.Error == string(AccessDenied) {
				code = AccessDenied
			}
			if res.Error == string(TemporarilyUnavailable) || res.Error == "server_error" {
				code = TemporarilyUnavailable
			}
			return IdPClaims{}, &Error{Code: code, Message: p.Name + " refused the login", Err: errors.New(cleanText(res.Error+": "+res.ErrorDescription, 300))}
		}
		if res.Code == "" || len(res.Code) > 4096 {
			return IdPClaims{}, refuse(InvalidRequest, "the answer of "+p.Name+" has no code")
		}
		begun := b.cfg.Now()
		claims, err := p.IdP.Exchange(ctx, b.idpRequest(p, res.State), res)
		b.heard(ctx, p, begun, err)
		return claims, err
	}()
	if err != nil {
		b.cfg.Log.WarnContext(ctx, "login at the IdP failed", "event", "idp.failed", "provider", p.ID, "code", string(CodeOf(err)), "error", err)
	}
	return claims, err
}

// withoutPassword makes a login through an IdP independent of the password.
func withoutPassword(u User) User {
	u.PasswordHash = ""
	return u
}

// fromIdP makes a session one through an IdP; anew: the IdP was asked to have the
// person log in for it.
func fromIdP(s *Session, providerID string, c IdPClaims, anew bool) {
	s.Request.Silent = c.AuthTime.IsZero() && !anew
	s.ProviderID, s.IdPSubject, s.IdPSession, s.AMR, s.VouchedAt = providerID, c.Subject, c.SessionID, c.AMR, s.CreatedAt
	if !c.AuthTime.IsZero() {
		s.AuthTime = earlier(c.AuthTime, s.CreatedAt)
	}
}

// keepGrant keeps a finished login until the app redeems it, by the hash of its
// one-time code.
func (b *Broker) keepGrant(ctx context.Context, id string, p *Provider, r AuthRequest, u User, c IdPClaims, up *Upstream) error {
	g := Grant{
		ID: id, RequestID: r.ID, ProviderID: p.ID, UserID: u.ID, State: r.State, Challenge: r.Challenge,
		Claims: c, ExpiresAt: b.now().Add(grantLife),
	}
	if up == nil {
		return b.retry(ctx, func() error { return b.cfg.Store.InsertGrant(ctx, g) })
	}
	g.UpstreamID = up.ID
	return b.retryTx(ctx, func(store Store) error {
		if err := store.InsertUpstream(ctx, *up); err != nil {
			return err
		}
		return store.InsertGrant(ctx, g)
	})
}

// RedeemGrant exchanges an app's one-time code for a session. A wrong verifier,
// state or provider changes nothing; a second redemption with the right ones
// means that two hold the code, and ends the session that the first one made
// (RFC 6749 section 4.1.2).
func (b *Broker) RedeemGrant(ctx context.Context, providerID, code, state, verifier string, device Device) (l *Login, err error) {
	a := attemptBy(MethodUnknown, device)
	defer func() {
		if err != nil { // that it went well at the provider is counted already
			b.loginEnded(a, err)
		}
	}()
	p, err := b.provider(providerID)
	if err != nil {
		return nil, err
	}
	a.at(p)
	challenge, err := checkVerifier(verifier)
	if err != nil {
		return nil, err
	}
	want := Grant{ID: hash("code", code), ProviderID: p.ID, State: state, Challenge: challenge}
	now := b.now()
	device.Program = true
	s := b.newSession(&appClient, "", device, now)
	var u User
	err = b.retryTx(ctx, func(store Store) (err error) {
		u, err = b.redeem(ctx, store, p, want, &s, now)
		return err
	})
	a.userID = s.UserID
	if errors.Is(err, NotFound) {
		return nil, b.refuseCode(ctx, want, a)
	}
	if err != nil {
		return nil, err
	}
	return b.mint(&appClient, u, s, 0, 0, now)
}

// redeem is the body of the transaction.
func (b *Broker) redeem(ctx context.Context, store Store, p *Provider, want Grant, s *Session, now time.Time) (User, error) {
	g, err := store.RedeemGrant(ctx, want, s.ID, now)
	if err != nil {
		return User{}, err
	}
	s.UserID, s.Scope = g.UserID, AppScope
	fromIdP(s, p.ID, g.Claims, false)
	s.UpstreamID, s.VouchedAt = g.UpstreamID, g.ExpiresAt.Add(-grantLife)
	s.AuthTime = earlier(s.AuthTime, s.VouchedAt) // the login was over when the code was made
	return b.insertSession(ctx, store, *s, "")
}

// refuseCode says why a code was not taken, and ends what a replay proves stolen.
func (b *Broker) refuseCode(ctx context.Context, want Grant, a *attempt) error {
	invalid := refuse(CodeInvalid, "the code is not known, has expired, or does not belong to this request")
	g, err := b.cfg.Store.GrantByID(ctx, want.ID)
	a.userID = g.UserID
	switch {
	case errors.Is(err, NotFound):
		return invalid
	case err != nil:
		return err
	case g.ProviderID != want.ProviderID:
		return refuse(InvalidState, "the code belongs to a login through another identity provider")
	case g.State != want.State || g.Challenge != want.Challenge || g.RedeemedAt.IsZero():
		return invalid
	}
	if _, err := b.EndSessions(ctx, SessionFilter{ID: g.SessionID}, CodeReused, false, a.device.IP); err != nil {
		return err
	}
	return refuse(CodeReused, "the code was redeemed already; the session that it made has been ended")
}

// EndSessionURL is where a browser ends the IdP's own session after a logout
// here, or "".
func (b *Broker) EndSessionURL(ctx context.Context, s Session, returnTo string) string {
	if s.ProviderID == "" {
		return ""
	}
	p, err := b.provider(s.ProviderID)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return p.IdP.EndSessionURL(ctx, returnTo)
}
