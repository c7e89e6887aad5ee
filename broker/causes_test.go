package broker_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

// ending is one way in which sessions come to an end, for the cause that it is
// there for. It may end others by other causes, and may find nothing to end.
type ending struct {
	cause broker.EndCause
	do    func(d *drama)
}

var endings = []ending{
	{broker.LoggedOut, func(d *drama) {
		l := d.login()
		_, err := d.Broker.LogoutSession(ctx, l.Session.ID, d.coin(), phone)
		d.ok(err)
	}},
	{broker.RevokedByUser, func(d *drama) {
		l := d.login()
		d.ok(d.Broker.EndOwnSession(ctx, broker.Principal{User: l.User, Session: l.Session}, l.Session.ID, d.coin(), phone))
	}},
	{broker.RevokedByAdmin, func(d *drama) {
		_, err := d.Broker.EndSessions(ctx, broker.SessionFilter{ID: d.login().Session.ID}, broker.RevokedByAdmin, d.coin(), "")
		d.ok(err)
	}},
	{broker.PasswordChanged, func(d *drama) {
		d.ok(d.Broker.ResetPassword(ctx, d.login().User.ID, harness.PasswordOf(d.name), false))
	}},
	{broker.UserDisabled, func(d *drama) {
		u := d.login().User
		d.ok(d.Broker.SetDisabled(ctx, u.ID, true))
		d.ok(d.Broker.SetDisabled(ctx, u.ID, false))
	}},
	{broker.UserDeleted, func(d *drama) {
		d.ok(d.Broker.DeleteUser(ctx, d.login().User.ID))
		d.people++
		d.newUser()
	}},
	{broker.ClientRemoved, func(d *drama) {
		id := fmt.Sprint("client-", d.steps)
		_, _, err := d.Broker.CreateClient(ctx, broker.Client{ID: id, RedirectURIs: []string{"https://app.test/cb"}})
		d.ok(err)
		d.follow(d.login(), id)
		d.ok(d.Broker.DeleteClient(ctx, id))
	}},
	{broker.IdPLogout, func(d *drama) {
		l, err := d.enter("p", says("visitor"))
		d.ok(err)
		d.idp.logout = broker.IdPLogoutToken{Subject: "visitor", ID: fmt.Sprint(d.steps), IssuedAt: d.Clock.Now(), ExpiresAt: d.Clock.Now().Add(time.Minute)}
		d.follow(l, "another")
		d.ok(d.Broker.IdPLogout(ctx, "p", "a logout token", phone))
	}},
	{broker.IdPRevoked, func(d *drama) {
		_, err := d.enter("p", says("visitor", func(c *broker.IdPClaims) { c.RefreshToken = "the IdP's own" }))
		d.ok(err)
		d.idp.recheck = broker.RecheckResult{State: broker.UpstreamEnded}
		d.Clock.Advance(2 * time.Hour)
		_, err = d.Broker.RecheckUpstreams(ctx)
		d.ok(err)
	}},
	{broker.LinkUndone, func(d *drama) {
		l, err := d.enter("p", says("visitor"))
		d.ok(err)
		_, err = d.Broker.UnlinkProvider(ctx, l.User.ID, "p")
		d.ok(err)
	}},
	{broker.SessionLimit, func(d *drama) {
		for range sessionLimit + 1 {
			d.login()
		}
	}},
	{broker.CodeReused, func(d *drama) {
		d.enters("p", says("visitor"))
		code := d.appCode(fmt.Sprint("S", d.steps), rightVerifier)
		for _, want := range []broker.Code{"", broker.CodeReused} {
			if _, err := d.Broker.RedeemGrant(ctx, "p", code, fmt.Sprint("S", d.steps), rightVerifier, phone); err == nil && want != "" || err != nil && broker.CodeOf(err) != want {
				d.t.Fatalf("redeemed: %v, want %q", err, want)
			}
		}
	}},
	{broker.TokenReused, func(d *drama) {
		l := d.login()
		d.follow(l, "another")
		first := d.refresh(d.refreshLater(l.RefreshToken))
		second := d.refreshLater(l.RefreshToken) // long after: another branch
		d.refreshLater(first)
		d.refreshLater(second)
	}},
	{broker.SessionExpired, func(d *drama) {
		d.login()
		d.Clock.Advance(31 * 24 * time.Hour)
		d.ok(d.Broker.Sweep(ctx))
	}},
	{broker.SessionMaxAge, func(d *drama) {
		l := d.login()
		for range 4 {
			d.Clock.Advance(20 * 24 * time.Hour)
			l.RefreshToken = d.refresh(l.RefreshToken)
		}
		d.Clock.Advance(22 * 24 * time.Hour)
		d.ok(d.Broker.Sweep(ctx))
	}},
}

// sessionLimit is for all but the ending by it out of reach of one ending.
const sessionLimit = 6

// drama is a house in which sessions end, and what was seen of their ends.
type drama struct {
	*house
	idp    *sayingIdP
	name   string
	people int
	steps  int
	coin   func() bool
	seen   map[string]broker.EndCause // by session
	said   map[string]broker.Event    // by its own ID
}

func newDrama(t testing.TB, coin func() bool) *drama {
	d := &drama{idp: &sayingIdP{issuer: "https://p.test"}, coin: coin, seen: map[string]broker.EndCause{}, said: map[string]broker.Event{}}
	d.house = newHouse(t, "", func(p *broker.Provider) {
		if p.ID == "p" {
			p.IdP, p.Recheck = d.idp, broker.Interval(time.Hour)
		}
	}, func(c *broker.Config) {
		c.SessionLimit = sessionLimit
		c.Lifetimes = broker.Lifetimes{MaxAge: 100 * 24 * time.Hour, Retention: 10 * 365 * 24 * time.Hour}
	})
	d.newUser()
	return d
}

func (d *drama) newUser() {
	d.name = fmt.Sprint("anna", d.people)
	d.User(d.t, d.name, broker.RoleUser)
}

func (d *drama) ok(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("step %d: %v", d.steps, err)
	}
}

func (d *drama) login() *broker.Login {
	d.t.Helper()
	return d.Login(d.t, d.name)
}

// follow authorizes a client in the session of a browser.
func (d *drama) follow(l *broker.Login, client string) {
	d.t.Helper()
	s := l.Session
	s.ID, s.ParentID, s.ClientID, s.FollowsParent = fmt.Sprint("follower ", d.steps), l.Session.ID, client, true
	_, err := d.Store.InsertSession(ctx, s, "")
	d.ok(err)
}

// refresh returns the new token, or the old one where it was refused.
func (d *drama) refresh(token tokens.RefreshToken) tokens.RefreshToken {
	if l, err := d.Broker.Refresh(ctx, token.Reveal(), broker.AppClientID, phone); err == nil {
		return l.RefreshToken
	}
	return token
}

func (d *drama) refreshLater(token tokens.RefreshToken) tokens.RefreshToken {
	d.Clock.Advance(standardGrace + time.Second)
	return d.refresh(token)
}

// look compares every row with what was seen of it before, and with the audit
// log: one cause, of the list, said once, for ever.
func (d *drama) look() {
	d.t.Helper()
	rows, _, err := d.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 100_000)
	d.ok(err)
	ends := 0
	for _, s := range rows {
		was, ended := d.seen[s.ID]
		switch {
		case s.EndedAt.IsZero() && (s.EndCause != "" || ended):
			d.t.Fatalf("step %d: %s is alive with the cause %q, and had %q", d.steps, s.ID, s.EndCause, was)
		case s.EndedAt.IsZero():
			continue
		case !slices.Contains(broker.EndCauses, s.EndCause):
			d.t.Fatalf("step %d: %s ended with %q, which is no cause", d.steps, s.ID, s.EndCause)
		case ended && was != s.EndCause:
			d.t.Fatalf("step %d: %s ended with %s, and now with %s", d.steps, s.ID, was, s.EndCause)
		}
		d.seen[s.ID] = s.EndCause
		ends++
	}
	events, err := d.Broker.Events(ctx, broker.EventFilter{Name: broker.EventSessionEnded, Limit: 100_000})
	d.ok(err)
	for _, e := range events { // which are kept for shorter than the rows are here
		d.said[e.ID] = e
	}
	said := map[string]broker.EndCause{}
	for _, e := range d.said {
		said[e.SessionID] = broker.EndCause(e.Detail["cause"])
	}
	if len(d.said) != ends || !maps.Equal(said, d.seen) {
		d.t.Fatalf("step %d: %d sessions ended, %d events\nrows   %v\nevents %v", d.steps, ends, len(d.said), d.seen, said)
	}
}

// A test for each cause of the closed list.
func TestEveryEndHasACause(t *testing.T) {
	for _, cause := range broker.EndCauses {
		t.Run(string(cause), func(t *testing.T) {
			i := slices.IndexFunc(endings, func(e ending) bool { return e.cause == cause })
			if i < 0 {
				t.Fatal("nothing here ends a session so")
			}
			d := newDrama(t, func() bool { return false })
			endings[i].do(d)
			d.look()
			if !slices.Contains(slices.Collect(maps.Values(d.seen)), cause) {
				t.Errorf("no session ended so: %v", d.seen)
			}
		})
	}
}

// However sessions come to their ends, and in whatever order: the ended rows of
// each cause are as many as the events that say so.
func TestCausesSumToEndedSessions(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := newDrama(t, func() bool { return rapid.Bool().Draw(r, "coin") })
		for _, e := range rapid.SliceOfN(rapid.SampledFrom(endings), 1, 25).Draw(r, "endings") {
			d.steps++
			e.do(d)
			d.look()
		}
	})
}
