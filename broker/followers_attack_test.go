package broker_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// What may follow one browser.
const (
	mostOfClient = 20
	mostOfKind   = 100
)

// sites is a house whose people use clients of the web and apps behind a proxy.
type sites struct {
	*harness.Rig
	t testing.TB
}

const manyClients = 6

func newSites(t testing.TB, database string, change ...func(*broker.Config)) *sites {
	s := &sites{t: t}
	s.Rig = harness.New(t, database, func(c *broker.Config) {
		for i := range manyClients {
			id := fmt.Sprint("web", i)
			checked, err := broker.CheckClient(broker.Client{
				ID: id, RedirectURIs: []string{"https://" + id + ".test/cb"}, BackchannelLogoutURI: "https://" + id + ".test/out",
				FirstParty: true, TokenEndpointAuthMethod: broker.AuthNone,
			})
			if err != nil {
				t.Fatal(err)
			}
			c.Clients = append(c.Clients, checked)
		}
		c.Forward = forwardRules(t, broker.ForwardRule{Hosts: []string{"*.apps.test"}, Policy: broker.ForwardLogin})
		for _, f := range change {
			f(c)
		}
	})
	for _, name := range []string{"alice", "bob"} {
		s.User(t, name, broker.RoleUser)
	}
	return s
}

func (s *sites) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sites) who(browser *broker.Login) broker.Principal {
	s.t.Helper()
	p, err := s.Broker.Authenticate(ctx, browser.Session.ID)
	s.ok(err)
	return p
}

// at is one more session of a client in a browser, by a code.
func (s *sites) at(browser *broker.Login, client string) *broker.Login {
	s.t.Helper()
	s.Clock.Advance(time.Second)
	c, err := s.Broker.Client(ctx, client)
	s.ok(err)
	who := s.who(browser)
	step, err := s.Broker.Authorize(ctx, broker.AuthorizationRequest{
		ClientID: client, ResponseType: "code", RedirectURI: c.RedirectURIs[0], Scope: "openid", State: "s",
		CodeChallenge: challengeOf(rightVerifier), CodeChallengeMethod: "S256",
	}, &who)
	if err != nil || step.Answer == nil {
		s.t.Fatal(step, err)
	}
	login, err := s.Broker.RedeemCode(ctx, broker.Caller{Client: c, Device: phone}, broker.CodeExchange{
		Code: step.Answer.Params.Get("code"), RedirectURI: c.RedirectURIs[0], Verifier: rightVerifier,
	})
	s.ok(err)
	return login
}

// opens lets a browser log in at an app behind a proxy, and returns its cookie there.
func (s *sites) opens(browser *broker.Login, host string) (broker.ForwardApp, string) {
	s.t.Helper()
	s.Clock.Advance(time.Second)
	app, err := broker.ForwardAppOf("https", host)
	s.ok(err)
	trip, err := s.Broker.BeginForward(app)
	s.ok(err)
	to, err := s.Broker.ContinueForward(ctx, trip.State, s.who(browser))
	s.ok(err)
	u, err := url.Parse(to)
	s.ok(err)
	given, err := s.Broker.RedeemForward(ctx, app, u.Query().Get("code"), trip.Secret, phone)
	s.ok(err)
	return app, given.Value
}

// live are the sessions that follow a browser, of the clients whose id begins so.
func (s *sites) live(browser *broker.Login, client string) (ids []string) {
	s.t.Helper()
	list, _, err := s.Broker.SessionsBy(ctx, broker.SessionFilter{ParentID: browser.Session.ID, LiveAt: s.Clock.Now()}, 0, 1000)
	s.ok(err)
	for _, x := range list { // the one that was used last first
		if strings.HasPrefix(x.ClientID, client) {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// ends are the sessions that ended by the limit, by row, by event and by what clients
// are told, which must be the same.
func (s *sites) ends() []string {
	s.t.Helper()
	list, _, err := s.Broker.SessionsBy(ctx, broker.SessionFilter{All: true, EndCause: broker.SessionLimit}, 0, 1000)
	s.ok(err)
	rows, told := []string{}, []string{}
	for _, x := range list {
		rows = append(rows, x.ID)
		if broker.ForwardHost(x.ClientID) == "" {
			told = append(told, x.ID)
		}
	}
	events, err := s.Broker.Events(ctx, broker.EventFilter{Name: broker.EventSessionEnded, Limit: 1000})
	s.ok(err)
	audited := []string{}
	for _, e := range events {
		if e.Detail["cause"] != string(broker.SessionLimit) || e.UserID == "" || e.ClientID == "" || e.IP != phone.IP {
			s.t.Errorf("event %+v", e)
		}
		audited = append(audited, e.SessionID)
	}
	due, err := s.Store.DueLogoutNotices(ctx, s.Clock.Now(), s.Clock.Now(), 1000)
	s.ok(err)
	notices := []string{}
	for _, n := range due {
		notices = append(notices, n.SessionID)
	}
	for _, l := range [][]string{rows, told, audited, notices} {
		slices.Sort(l)
	}
	if !slices.Equal(rows, audited) || !slices.Equal(told, notices) {
		s.t.Errorf("%d ended, %d events, %d of %d notices", len(rows), len(audited), len(notices), len(told))
	}
	return rows
}

// Whoever is logged in redeems code after code of one client, to have more sessions
// than one transaction can end.
func TestAttackEndlessCodesOfOneLogin(t *testing.T) { onBoth(t, endlessCodes) }

func endlessCodes(t *testing.T, database string) {
	s := newSites(t, database, limited(2)) // of devices: what follows them is none
	browser, other, bob := s.Login(t, "alice"), s.Login(t, "alice"), s.Login(t, "bob")
	spared := []*broker.Login{s.at(browser, "web1"), s.at(other, "web0"), s.at(bob, "web0")}
	made := []*broker.Login{}
	for n := range 3 * mostOfClient {
		made = append(made, s.at(browser, "web0"))
		if live := s.live(browser, "web0"); len(live) != min(n+1, mostOfClient) || live[0] != made[n].Session.ID {
			t.Fatalf("after %d: %d live", n+1, len(live))
		}
	}
	ended := s.ends()
	if len(ended) != 2*mostOfClient {
		t.Errorf("%d were ended", len(ended))
	}
	for i, l := range made {
		c, err := s.Broker.Client(ctx, "web0")
		s.ok(err)
		want := broker.Code("")
		if i < 2*mostOfClient {
			want = broker.SessionLimit
		}
		if _, err := s.Broker.RefreshClient(ctx, broker.Caller{Client: c, Device: phone}, l.RefreshToken.Reveal(), "", ""); broker.CodeOf(err) != want && (err != nil || want != "") {
			t.Errorf("refresh of %d: %v, want %q", i, err, want)
		}
	}
	for _, l := range append(spared, browser, other, bob) {
		if _, err := s.Broker.Authenticate(ctx, l.Session.ID); err != nil {
			t.Errorf("%s of %s: %v", l.Session.ClientID, l.User.Username, err)
		}
	}
}

// What is used stays, however old it is.
func TestSessionOfAClientThatIsUsedStays(t *testing.T) {
	s := newSites(t, "")
	browser := s.Login(t, "alice")
	used, forgotten := s.at(browser, "web0"), s.at(browser, "web0")
	c, err := s.Broker.Client(ctx, "web0")
	s.ok(err)
	for range mostOfClient - 1 {
		s.at(browser, "web0")
		s.Clock.Advance(standardGrace + time.Second)
		used, err = s.Broker.RefreshClient(ctx, broker.Caller{Client: c, Device: phone}, used.RefreshToken.Reveal(), "", "")
		s.ok(err)
	}
	if ended := s.ends(); !slices.Equal(ended, []string{forgotten.Session.ID}) {
		t.Errorf("%d were ended", len(ended))
	}
}

// The same by many clients, and by hosts that a rule with a wildcard makes apps.
func TestAttackEndlessClientsAndHostsOfOneLogin(t *testing.T) { onBoth(t, endlessHosts) }

func endlessHosts(t *testing.T, database string) {
	s := newSites(t, database)
	browser, other := s.Login(t, "alice"), s.Login(t, "alice")
	s.at(other, "web0")
	elsewhere, _ := s.opens(other, "a.apps.test")
	for n := range manyClients * mostOfClient {
		s.at(browser, fmt.Sprint("web", n%manyClients))
	}
	clients := s.live(browser, "web")
	if len(clients) != mostOfKind || len(s.ends()) != manyClients*mostOfClient-mostOfKind {
		t.Errorf("%d of clients live", len(clients))
	}
	const hosts = mostOfKind + 30
	last, cookie := broker.ForwardApp{}, ""
	for n := range hosts {
		last, cookie = s.opens(browser, fmt.Sprint("x", n, ".apps.test"))
	}
	if live := s.live(browser, "forward-auth:"); len(live) != mostOfKind {
		t.Errorf("%d of hosts live", len(live))
	}
	if _, err := s.Broker.AuthenticateForward(ctx, last, cookie, phone); err != nil {
		t.Error("the newest host:", err)
	}
	if now := s.live(browser, "web"); !slices.Equal(now, clients) {
		t.Error("hosts pushed clients out")
	}
	if len(s.live(other, "web")) != 1 || len(s.live(other, "forward-auth:"+elsewhere.Host)) != 1 {
		t.Error("the other browser's were ended")
	}
	s.ends()
}

// A browser that comes again to an app behind a proxy replaces its own session there,
// and no other, however many there are.
func TestForwardSessionThatIsReplacedTakesNoPlace(t *testing.T) {
	s := newSites(t, "")
	browser := s.Login(t, "alice")
	for n := range mostOfKind {
		s.opens(browser, fmt.Sprint("x", n, ".apps.test"))
	}
	s.opens(browser, fmt.Sprint("x", mostOfKind-1, ".apps.test"))
	list, _, err := s.Broker.SessionsBy(ctx, broker.SessionFilter{All: true, EndCause: broker.SessionLimit}, 0, 1)
	if live := s.live(browser, "forward-auth:"); err != nil || len(list) > 0 || len(live) != mostOfKind {
		t.Errorf("%d live, another app's was ended: %v %v", len(live), list, err)
	}
}

// Everything that somebody has ends in one transaction, which others wait for: it asks
// for few statements, and writes the same event for each.
func TestEndOfManySessionsIsFewStatements(t *testing.T) { onBoth(t, endsMany) }

func endsMany(t *testing.T, database string) {
	s := newSites(t, database)
	browser := s.Login(t, "alice")
	const many = 1200
	s.ok(s.Store.Tx(ctx, func(store broker.Store) error {
		for i := range many {
			x := browser.Session
			x.ID, x.ParentID, x.FollowsParent, x.ClientID = fmt.Sprintf("follower %04d", i), browser.Session.ID, true, "gone"
			if _, err := store.InsertSession(ctx, x, ""); err != nil {
				return err
			}
		}
		return nil
	}))
	before := s.Statements.Load()
	_, err := s.Broker.LogoutSession(ctx, browser.Session.ID, false, broker.Device{IP: "192.0.2.77"})
	s.ok(err)
	if n := s.Statements.Load() - before; n > 12 {
		t.Errorf("%d statements", n)
	}
	events, err := s.Broker.Events(ctx, broker.EventFilter{Name: broker.EventSessionEnded, Limit: 2 * many})
	s.ok(err)
	ids, own := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		client := "gone"
		if e.SessionID == browser.Session.ID {
			client = broker.AppClientID
		}
		if e.UserID != browser.User.ID || e.ClientID != client || e.IP != "192.0.2.77" || e.Actor != "" || !e.At.Equal(s.Broker.Now()) ||
			len(e.Detail) != 1 || e.Detail["cause"] != string(broker.LoggedOut) {
			t.Fatalf("event %+v", e)
		}
		ids[e.SessionID], own[e.ID] = true, true
	}
	if len(events) != many+1 || len(ids) != many+1 || len(own) != many+1 {
		t.Errorf("%d events of %d sessions", len(events), len(ids))
	}
	if n := strings.Count(s.Log.String(), `"session ended"`); n != many+1 {
		t.Errorf("%d lines of the log", n)
	}
}
