package broker_test

import (
	"errors"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
)

const recheckEvery = time.Hour

// upstreamWorld is a broker in front of a real OpenID provider that checks its
// logins again, all by one clock.
type upstreamWorld struct {
	*harness.Rig
	t      testing.TB
	idp    *providertest.IdP
	wire   wire
	change func(*broker.Config)
	by     broker.RecheckBy
	every  time.Duration // 0: never
	clock  *harness.Clock
	url    string
	oidc   *oidc.Provider

	clientID string
}

// wire is the way to the IdP, which a test may cut, and counts what goes over it.
type wire struct {
	cut  atomic.Bool
	sent atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.cut.Load() {
		return nil, errors.New("dial tcp: lookup idp.test: no such host")
	}
	w.sent.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

func newUpstreamWorld(t testing.TB, database string, change func(*upstreamWorld)) *upstreamWorld {
	t.Helper()
	w := &upstreamWorld{t: t, clock: harness.NewClock(), by: broker.RecheckByRefresh, every: recheckEvery, url: database, clientID: "latchkey"}
	users := []providertest.User{}
	for _, name := range []string{"anna", "ben", "cleo"} {
		users = append(users, providertest.User{Subject: "s-" + name, Username: name, Email: name + "@x.test", EmailVerified: true})
	}
	w.idp = providertest.Start(t, providertest.Config{
		Now: w.clock.Now, Users: users,
		Clients: []providertest.Client{{ID: "latchkey", Secret: "secret of latchkey at the IdP", RedirectURIs: []string{"http://localhost:8080/auth/p/callback"}}},
	})
	if change != nil {
		change(w)
	}
	w.start()
	return w
}

// start is a broker over the database, with nothing in its memory.
func (w *upstreamWorld) start() {
	w.t.Helper()
	store := w.Rig
	w.oidc = oidc.New(oidc.Config{
		Issuer: w.idp.Issuer(), ClientID: w.clientID, ClientSecret: "secret of latchkey at the IdP", Now: w.clock.Now, Offline: true,
		HTTPClient: &http.Client{Transport: &w.wire, Timeout: 300 * time.Millisecond},
	})
	w.Rig = harness.New(w.t, w.url, func(c *broker.Config) {
		c.Now = w.clock.Now
		if w.url == "" && store != nil {
			c.Store = store.Store // a database in memory belongs to one process
		}
		c.Providers = []broker.Provider{{IdP: w.oidc, ProviderSettings: broker.ProviderSettings{
			ID: "p", Name: "P", Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailNever,
			Issuer: w.idp.Issuer(), ClientID: w.clientID, Recheck: broker.Interval(w.every), RecheckBy: w.by,
		}}}
		if w.change != nil {
			w.change(c)
		}
	})
	if w.url == "" && store != nil {
		w.Store = store.Store
	}
	w.Clock = w.clock
}

// callback is a browser's trip to the IdP, up to what it brings back.
func (w *upstreamWorld) callback(to, name string) broker.IdPResponse {
	w.t.Helper()
	back, err := w.idp.Authorize(ctx, to, name)
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil {
		w.t.Fatal(err)
	}
	q := u.Query()
	return broker.IdPResponse{Code: q.Get("code"), State: q.Get("state"), Issuer: q.Get("iss")}
}

func (w *upstreamWorld) enter(name string) *broker.Login {
	w.t.Helper()
	to, _, err := w.Broker.BeginWeb(ctx, "p", "/", broker.IdPAsk{}, broker.Device{})
	if err != nil {
		w.t.Fatal(err)
	}
	done, err := w.Broker.CompleteIdPLogin(ctx, "p", w.callback(to, name), func(string) bool { return true }, phone)
	if err != nil {
		w.t.Fatal(err)
	}
	return done.Login
}

// mobile is an app's login, up to its one-time code.
func (w *upstreamWorld) mobile(name string) (code string) {
	w.t.Helper()
	r, err := w.Broker.BeginApp(ctx, broker.AppRequest{
		ProviderID: "p", ResponseType: "code", RedirectURI: "audiobookshelf://oauth", State: "S", CodeChallenge: challengeOf(rightVerifier),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	to, _, err := w.Broker.OpenAuthRequest(ctx, "p", r.State, r.Challenge, broker.Device{})
	if err != nil {
		w.t.Fatal(err)
	}
	done, err := w.Broker.CompleteIdPLogin(ctx, "p", w.callback(to, name), noCookie, phone)
	if err != nil {
		w.t.Fatal(err)
	}
	return done.Code
}

// check runs the checks that are due.
func (w *upstreamWorld) check() int {
	w.t.Helper()
	n, err := w.Broker.RecheckUpstreams(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// checkIn lets time pass and then runs the checks that are due.
func (w *upstreamWorld) checkIn(d time.Duration) int {
	w.t.Helper()
	w.clock.Advance(d)
	return w.check()
}

func (w *upstreamWorld) row(l *broker.Login) broker.Session {
	w.t.Helper()
	list, _, err := w.Store.ListSessions(ctx, broker.SessionFilter{ID: l.Session.ID}, 0, 1)
	if err != nil || len(list) != 1 {
		w.t.Fatal(list, err)
	}
	return list[0]
}

// is wants a login in a state, and its session alive unless that is ended.
func (w *upstreamWorld) is(l *broker.Login, state broker.UpstreamState) {
	w.t.Helper()
	s := w.row(l)
	if s.Upstream == nil || s.Upstream.StateAt(w.clock.Now()) != state {
		w.t.Fatalf("%+v, want %s", s.Upstream, state)
	}
	cause := broker.EndCause("")
	if state == broker.UpstreamEnded {
		cause = broker.IdPRevoked
	}
	if s.Ended(w.clock.Now()) != cause {
		w.t.Fatalf("the session ended with %q, want %q", s.Ended(w.clock.Now()), cause)
	}
}

// refreshes wants the refresh of a session to come to a code; empty: a success.
func (w *upstreamWorld) refreshes(l *broker.Login, code broker.Code) {
	w.t.Helper()
	fresh, err := w.Broker.Refresh(ctx, l.RefreshToken.Reveal(), broker.AppClientID, phone)
	if code == "" && err != nil || code != "" && broker.CodeOf(err) != code {
		w.t.Fatalf("refresh: %v, want %q", err, code)
	}
	if err == nil {
		l.RefreshToken = fresh.RefreshToken
	}
}

func (w *upstreamWorld) events(name string) []broker.Event {
	w.t.Helper()
	list, err := w.Broker.Events(ctx, broker.EventFilter{Name: name, Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *upstreamWorld) respond(endpoint string, with providertest.Responder) {
	w.idp.Script(func(s *providertest.Script) {
		if s.Respond[endpoint] = with; with == nil {
			delete(s.Respond, endpoint)
		}
	})
}

// rotating has the IdP replace its refresh tokens.
func (w *upstreamWorld) rotating() {
	w.idp.Script(func(s *providertest.Script) { s.RotateRefreshTokens = true })
}

// withStrict configures the clients web and native, and strict, which wants logins
// to be known alive at most so long ago.
func withStrict(maxAge time.Duration) func(*broker.Config) {
	return func(c *broker.Config) {
		for _, x := range []broker.Client{
			{ID: "web", RedirectURIs: []string{"https://web.test/cb"}},
			{ID: "strict", RedirectURIs: []string{"https://strict.test/cb"}, MaxUpstreamAge: int64(maxAge / time.Second), GrantTypes: []string{
				broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantDeviceCode,
			}},
			{ID: "native", RedirectURIs: []string{"app.native:/cb"}, GrantTypes: []string{
				broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantDeviceCode,
			}},
		} {
			x.FirstParty, x.TokenEndpointAuthMethod = true, broker.AuthNone
			checked, err := broker.CheckClient(x)
			if err != nil {
				panic(err)
			}
			c.Clients = append(c.Clients, checked)
		}
	}
}

func (w *upstreamWorld) caller(id string) broker.Caller {
	w.t.Helper()
	c, err := w.Broker.Client(ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return broker.Caller{Client: c, Device: phone}
}

func (w *upstreamWorld) principal(browser *broker.Login) broker.Principal {
	w.t.Helper()
	p, err := w.Broker.Authenticate(ctx, browser.Session.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// proven is principal, as if its session had been made a moment ago.
func (w *upstreamWorld) proven(browser *broker.Login) broker.Principal {
	p := w.principal(browser)
	p.Session.CreatedAt = w.clock.Now()
	return p
}

// ask is a client's authorization request in a browser.
func (w *upstreamWorld) ask(browser *broker.Login, client, prompt string) broker.Step {
	w.t.Helper()
	r := broker.AuthorizationRequest{
		ClientID: client, ResponseType: "code", RedirectURI: w.caller(client).Client.RedirectURIs[0], Scope: "openid", State: "s",
		CodeChallenge: challengeOf(rightVerifier), CodeChallengeMethod: "S256", Prompt: prompt,
	}
	who := w.principal(browser)
	step, err := w.Broker.Authorize(ctx, r, &who)
	if err != nil {
		w.t.Fatal(err)
	}
	return step
}

func (w *upstreamWorld) code(browser *broker.Login, client string) string {
	w.t.Helper()
	step := w.ask(browser, client, "")
	if step.Answer == nil || step.Answer.Params.Get("code") == "" {
		w.t.Fatalf("%+v", step)
	}
	return step.Answer.Params.Get("code")
}

func (w *upstreamWorld) redeem(client, code string) (*broker.Login, error) {
	by := w.caller(client)
	return w.Broker.RedeemCode(ctx, by, broker.CodeExchange{Code: code, RedirectURI: by.Client.RedirectURIs[0], Verifier: rightVerifier})
}

// authorized is a client's session, given in a browser.
func (w *upstreamWorld) authorized(t testing.TB, browser *broker.Login, client string) *broker.Login {
	t.Helper()
	login, err := w.redeem(client, w.code(browser, client))
	if err != nil {
		t.Fatal(err)
	}
	return login
}

// clientRefreshes is refreshes for a client of the OpenID provider.
func (w *upstreamWorld) clientRefreshes(l *broker.Login, code broker.Code) {
	w.t.Helper()
	fresh, err := w.Broker.RefreshClient(ctx, w.caller(l.Session.ClientID), l.RefreshToken.Reveal(), "", "")
	if code == "" && err != nil || code != "" && broker.CodeOf(err) != code {
		w.t.Fatalf("refresh: %v, want %q", err, code)
	}
	if e, ok := errors.AsType[*broker.Error](err); ok && code == broker.TemporarilyUnavailable && (e.RetryAfter <= 0 || e.Message == "") {
		w.t.Fatalf("%+v says neither why nor when", e)
	}
	if err == nil {
		l.RefreshToken, l.ExpiresIn = fresh.RefreshToken, fresh.ExpiresIn
	}
}

// device is a device's session, allowed in a browser.
func (w *upstreamWorld) device(t testing.TB, browser *broker.Login, client string) *broker.Login {
	t.Helper()
	by := w.caller(client)
	d, err := w.Broker.BeginDevice(ctx, by, "openid", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Broker.DecideDevice(ctx, w.proven(browser), d.UserCode, broker.Reply{Allow: true, Device: phone}); err != nil {
		t.Fatal(err)
	}
	login, err := w.Broker.PollDevice(ctx, by, d.DeviceCode)
	if err != nil {
		t.Fatal(err)
	}
	return login
}
