package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file is forward auth: a reverse proxy asks, for each request to an app that
// knows nothing of tokens, whether it may pass. A browser is known by a cookie on
// the app's own host. It gets that by a handover: it begins on the app's host,
// where it gets a secret, logs in at Latchkey, and comes back with a code that is
// good for this host, this browser and once.

// forwardClient begins the client ids of apps behind a proxy; the host follows. No
// other client has such an id.
const forwardClient = "forward-auth:"

// ForwardHost is the host of the app that a client id stands for; empty: it is
// no app behind a proxy.
func ForwardHost(clientID string) string {
	host, ok := strings.CutPrefix(clientID, forwardClient)
	if !ok {
		return ""
	}
	return host
}

// clientOfForward stands for an app behind a proxy where a client is asked for.
func clientOfForward(id string) (Client, bool) {
	host := ForwardHost(id)
	return Client{ID: id, Name: host, FirstParty: true, ReadOnly: true, TokenEndpointAuthMethod: AuthNone, ApplicationType: ApplicationWeb}, host != ""
}

// ForwardApp is an app behind a proxy, as a request names it.
type ForwardApp struct {
	Host   string // canonical, without a port
	Secure bool   // the browser speaks https to it
	Origin string // scheme, host, and the port where it is not the scheme's own
	port   string // of Origin; empty: the scheme's own
}

// ForwardAppOf reads how the browser calls an app: the scheme (ws and wss are
// http and https), and the value of its Host header.
func ForwardAppOf(proto, host string) (app ForwardApp, err error) {
	switch strings.ToLower(proto) {
	case "https", "wss":
		app.Secure = true
	case "http", "ws":
	default:
		return app, invalidRequest("X-Forwarded-Proto is neither http nor https")
	}
	if app.Host, app.port, err = canonicalHost(host); err != nil {
		return app, err
	}
	scheme, own := "http", "80"
	if app.Secure {
		scheme, own = "https", "443"
	}
	app.Origin = scheme + "://" + app.Host
	if app.port == own {
		app.port = ""
	}
	if app.port != "" {
		app.Origin += ":" + app.port
	}
	return app, nil
}

func (a *ForwardApp) clientID() string { return forwardClient + a.Host }

// callback is where the browser comes back to.
func (a *ForwardApp) callback() string { return a.Origin + ForwardPath + "callback" }

// JudgeForward finds what a request to an app has to meet; see [ForwardRules.Judge].
func (b *Broker) JudgeForward(app ForwardApp, uri string) (ForwardDemand, error) {
	return b.cfg.Forward.Judge(app.Host, uri)
}

func hashForwardCookie(cookie string) string { return hash("forward cookie", cookie) }

// AuthenticateForward finds out who comes with the cookie of an app, in one
// statement; once an hour a second one notes that it was used. What has ended is
// refused at once, and so is the cookie of another app.
func (b *Broker) AuthenticateForward(ctx context.Context, app ForwardApp, cookie string, device Device) (Principal, error) {
	if len(cookie) != base64.RawURLEncoding.EncodedLen(forwardSecretBytes) {
		return Principal{}, &Error{Code: NoToken}
	}
	p, err := b.authenticate(ctx, hashForwardCookie(cookie), func(ctx context.Context, id string) (Session, User, error) {
		return b.cfg.Store.SessionByCookie(ctx, app.clientID(), id)
	})
	if err != nil {
		return Principal{}, err
	}
	c, _ := clientOfForward(p.Session.ClientID)
	if err := b.slideCoarsely(ctx, &p.Session, presenter{client: &c, device: device}, b.now()); err != nil {
		b.cfg.Log.WarnContext(ctx, "idle end not moved", "error", err)
	}
	return p, nil
}

const (
	forwardSecretBytes  = 32
	forwardStatePurpose = "forward auth state"
)

// ForwardTrip is a login for an app that was just begun: State goes with the browser
// through Latchkey and back, Secret stays in its cookie at the app.
type ForwardTrip struct {
	State  string
	Secret string
	Life   time.Duration
}

// BeginForward begins a login for an app, and keeps nothing: the state says
// everything that Latchkey has to know again, under its own tag.
func (b *Broker) BeginForward(app ForwardApp) (ForwardTrip, error) {
	if err := b.mayReturn(app); err != nil {
		return ForwardTrip{}, err
	}
	h := ForwardTrip{Secret: b.newSecret(forwardSecretBytes), Life: pendingLife}
	parts := []string{
		base64.RawURLEncoding.EncodeToString([]byte(app.Origin)), challengeOf(h.Secret), itoa(b.now().Add(pendingLife).Unix()),
	}
	h.State = strings.Join(append(parts, b.cfg.Secrets.Current().Tag(forwardStatePurpose, parts...)), ".")
	return h, nil
}

// mayReturn refuses to send a browser to where no rule names the app: the host,
// its port, and https wherever Latchkey itself has it, because a code in the clear
// is a login for whoever is on the way.
func (b *Broker) mayReturn(app ForwardApp) error {
	rules := b.cfg.Forward.of(app.Host)
	login := func(r *ForwardRule) bool { return r.Policy == ForwardLogin }
	port := func(r *ForwardRule) bool {
		return slices.ContainsFunc(r.Hosts, func(pattern string) bool {
			_, own, _ := cutPort(pattern)
			return own == app.port && namesHost(pattern, app.Host)
		})
	}
	switch {
	case !slices.ContainsFunc(rules, login):
		return refuse(Forbidden, "no rule of forward_auth.rules lets anybody log in to "+app.Host)
	case !app.Secure && strings.HasPrefix(b.cfg.PublicURL, "https:"):
		return refuse(Forbidden, "the app is called over http, and logins are given over https alone; serve it over https")
	case app.port != "" && !slices.ContainsFunc(rules, port):
		return refuse(Forbidden, "no rule of forward_auth.rules names the port of the app; write it as "+app.Host+":"+app.port+" there")
	}
	return nil
}

// forwardState is a state that was read and is ours.
type forwardState struct {
	app       ForwardApp
	challenge string
}

var errForwardOver = refuse(InvalidState, "this login is not known in this browser, is finished, or took longer than 15 minutes; open the app again")

func (b *Broker) readForwardState(state string) (out forwardState, err error) {
	parts := strings.Split(state, ".")
	if len(state) > 1024 || len(parts) != 4 || !b.cfg.Secrets.CheckTag(parts[3], forwardStatePurpose, parts[:3]...) {
		return out, errForwardOver
	}
	origin, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return out, errForwardOver
	}
	until, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || b.now().Unix() >= until {
		return out, errForwardOver
	}
	u, err := url.Parse(string(origin))
	if err != nil {
		return out, errForwardOver
	}
	out.challenge = parts[1]
	out.app, err = ForwardAppOf(u.Scheme, u.Host)
	return out, err
}

// ForwardAppOfState is the app that a login is under way for.
func (b *Broker) ForwardAppOfState(state string) (ForwardApp, error) {
	s, err := b.readForwardState(state)
	return s.app, err
}

// ContinueForward gives a person who is logged in a code for the app, and returns
// where the browser goes with it. Whom no rule of the app lets in gets none.
func (b *Broker) ContinueForward(ctx context.Context, state string, who Principal) (to string, err error) {
	s, err := b.readForwardState(state)
	if err != nil {
		return "", err
	}
	if err := b.mayReturn(s.app); err != nil {
		return "", err
	}
	mine := func(r *ForwardRule) bool { return r.Policy == ForwardLogin && r.takes(who.User) }
	if !slices.ContainsFunc(b.cfg.Forward.of(s.app.Host), mine) {
		return "", refuse(GroupNotAllowed, "you are logged in, and "+s.app.Host+" is not for you; an administrator can change that")
	}
	if err := b.mayHaveCode(ctx, &who); err != nil {
		return "", err
	}
	code, given := b.newSecret(forwardSecretBytes), who.authorization()
	given.FollowsParent = true
	row := AuthorizationCode{
		ID: hash("forward code", code), ClientID: s.app.clientID(), RedirectURI: s.app.callback(), Challenge: s.challenge,
		Authorization: given, ExpiresAt: b.now().Add(codeLife),
	}
	if err := b.retry(ctx, func() error { return b.cfg.Store.InsertCode(ctx, row) }); err != nil {
		return "", err
	}
	return row.RedirectURI + "?" + url.Values{"code": {code}, "state": {state}}.Encode(), nil
}

// ForwardCookie is the cookie of a session at an app that was just made.
type ForwardCookie struct {
	Value string
	Life  time.Duration
}

// RedeemForward exchanges a code for a session at the app, a child of the
// browser's own that ends with it. The code, the app's origin and the secret of the
// browser all have to fit in one statement; what does not fit changes nothing.
func (b *Broker) RedeemForward(ctx context.Context, app ForwardApp, code, secret string, device Device) (ForwardCookie, error) {
	if code == "" || secret == "" {
		return ForwardCookie{}, errForwardOver
	}
	want := AuthorizationCode{
		ID: hash("forward code", code), ClientID: app.clientID(), RedirectURI: app.callback(), Challenge: challengeOf(secret),
	}
	c, _ := clientOfForward(want.ClientID)
	now, cookie := b.now(), b.newSecret(forwardSecretBytes)
	s := b.newSession(&c, "", device, now)
	s.CookieHash = hashForwardCookie(cookie)
	err := b.retryTx(ctx, func(store Store) error { return b.redeemForward(ctx, store, want, s, now) })
	if errors.Is(err, NotFound) || errors.Is(err, UserDisabled) { // the person logged out meanwhile
		return ForwardCookie{}, errForwardOver
	}
	return ForwardCookie{Value: cookie, Life: s.AbsExpiresAt.Sub(now)}, err
}

// redeemForward is the body of the transaction. A browser has one cookie for an
// app, so that the session of an earlier one is over.
func (b *Broker) redeemForward(ctx context.Context, store Store, want AuthorizationCode, s Session, now time.Time) error {
	found, err := store.RedeemCode(ctx, want, "", s.ID, now)
	if err != nil {
		return err
	}
	s.from(found.Authorization, "")
	if _, err := b.addSession(ctx, store, s, ""); err != nil {
		return err
	}
	before := SessionFilter{ParentID: s.ParentID, ClientID: s.ClientID, ExceptID: s.ID}
	if _, err := b.endSessions(ctx, store, before, LoggedOut, false, s.CreatedIP); err != nil {
		return err
	}
	return b.capSessions(ctx, store, s)
}
