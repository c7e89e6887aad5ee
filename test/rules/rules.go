package rules

import (
	"maps"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// Token is a refresh token: the generation and branch that Latchkey and counters
// go by, and a number of its own for rules whose tokens are opaque.
type Token struct {
	Generation, Branch int64
	Serial             int64
	Issued             time.Duration
	Raw                string // what a server made of it
}

// Session is the server's side of one session under a rule.
type Session interface {
	// First is the token of the login.
	First() Token
	// Present answers a token with the next one, or refuses it.
	Present(t Token, at time.Duration) (Token, bool)
	// Ended reports whether nobody gets in any more.
	Ended() bool
	// Copy is the session as a backup has it.
	Copy() Session
}

// Rule is a published rule.
type Rule struct {
	Name string
	New  func() Session
}

// All are the rules that are compared, as their makers ship or recommend them.
// What a rule does beside its own store (locks, clean-up) is left out, in its
// favour.
var All = []Rule{
	{"Latchkey, grace 10 min (its standard)", func() Session { return newLatchkey(10 * time.Minute) }},
	{"Audiobookshelf, previous token for 10 min (its standard)", func() Session { return &previous{window: 10 * time.Minute} }},
	{"GoTrue, counter, reuse interval 0 (its standard)", func() Session { return &counter{} }},
	{"GoTrue, counter, reuse interval 10 s", func() Session { return &counter{interval: 10 * time.Second} }},
	{"Dex, reuse interval 0 (its standard)", func() Session { return &obsolete{} }},
	{"Dex, reuse interval 3 s", func() Session { return &obsolete{interval: 3 * time.Second} }},
	{"Hydra, strict (its standard)", func() Session { return newFamily(0) }},
	{"Hydra, graceful, 5 min (the longest without a count)", func() Session { return newFamily(5 * time.Minute) }},
	{"Pocket-ID, strict (no other)", func() Session { return newFamily(0) }},
	{"Keycloak, no rotation (its standard)", func() Session { return still{} }},
	{"Keycloak, rotation on, max reuse 0", func() Session { return newFamily(0) }},
}

// latchkey is broker.Decide with a row in memory.
type latchkey struct {
	row    broker.Session
	policy broker.Policy
	ended  bool
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newLatchkey(grace time.Duration) *latchkey {
	l := &latchkey{policy: broker.Policy{Grace: grace, Idle: 10 * 365 * 24 * time.Hour}}
	l.row = broker.Session{ClientID: "app", AbsExpiresAt: epoch.Add(l.policy.Idle), IdleExpiresAt: epoch.Add(l.policy.Idle)}
	l.row.AdvancedAt, l.row.IssuedAt = epoch.Add(-time.Hour), epoch.Add(-time.Hour)
	return l
}

func (l *latchkey) First() Token { return Token{} }

func (l *latchkey) Ended() bool { return l.ended }

func (l *latchkey) Copy() Session {
	c := *l
	return &c
}

func (l *latchkey) Present(t Token, at time.Duration) (Token, bool) {
	if l.ended {
		return Token{}, false
	}
	p := broker.Presented{Generation: t.Generation, Branch: t.Branch, IssuedAt: epoch.Add(t.Issued), ClientID: "app"}
	d := broker.Decide(&l.row, p, l.policy, epoch.Add(at))
	l.ended = d.Outcome == broker.OutcomeReuse
	l.row.Rotation = d.Next
	return Token{Generation: d.Generation, Branch: d.Branch, Issued: at}, d.Refusal == ""
}

// previous keeps the current and the previous token: the previous one is answered
// with the current one for a while after the rotation, and then refused; nothing
// ends.
type previous struct {
	window, rotated time.Duration
	current         int64 // the one before has the number before
}

func (p *previous) First() Token { return Token{} }

func (p *previous) Ended() bool { return false }

func (p *previous) Copy() Session {
	c := *p
	return &c
}

func (p *previous) Present(t Token, at time.Duration) (Token, bool) {
	switch {
	case t.Serial == p.current:
		p.current, p.rotated = p.current+1, at
	case t.Serial != p.current-1 || at-p.rotated > p.window:
		return Token{}, false
	}
	return Token{Serial: p.current}, true
}

// counter: one behind is always answered with the current token, more than that
// within the interval only, else the session is deleted. Ahead is refused.
type counter struct {
	interval, last time.Duration
	n              int64
	ended          bool
}

func (c *counter) First() Token { return Token{} }

func (c *counter) Ended() bool { return c.ended }

func (c *counter) Copy() Session {
	d := *c
	return &d
}

func (c *counter) Present(t Token, at time.Duration) (Token, bool) {
	behind := c.n - t.Generation
	switch {
	case c.ended || behind < 0:
		return Token{}, false
	case behind == 0:
		c.n++
	case behind > 1 && (c.interval == 0 || at-c.last > c.interval):
		c.ended = true
		return Token{}, false
	}
	c.last = at
	return Token{Generation: c.n}, true
}

// obsolete keeps the current token and the one before. Within the interval after
// the last use either is answered with the current one; outside of it the
// current one rotates, and all else is refused while nothing ends.
type obsolete struct {
	interval, used time.Duration
	n              int64
}

func (o *obsolete) First() Token { return Token{} }

func (o *obsolete) Ended() bool { return false }

func (o *obsolete) Copy() Session {
	c := *o
	return &c
}

func (o *obsolete) Present(t Token, at time.Duration) (Token, bool) {
	within := o.n > 0 && o.interval > 0 && at-o.used <= o.interval
	switch {
	case within && (t.Serial == o.n || t.Serial == o.n-1):
	case !within && t.Serial == o.n:
		o.n, o.used = o.n+1, at
	default:
		return Token{}, false
	}
	return Token{Serial: o.n}, true
}

// family: each use makes a new token. A used one stays good for the grace from its
// first use, and each use of it makes a branch; after that it ends all of them.
type family struct {
	grace  time.Duration
	serial int64
	used   map[int64]time.Duration
	ended  bool
}

func newFamily(grace time.Duration) *family {
	return &family{grace: grace, used: map[int64]time.Duration{}}
}

func (f *family) First() Token { return Token{} }

func (f *family) Ended() bool { return f.ended }

func (f *family) Copy() Session {
	c := *f
	c.used = maps.Clone(f.used)
	return &c
}

func (f *family) Present(t Token, at time.Duration) (Token, bool) {
	if f.ended || t.Serial > f.serial { // what a restored database never issued
		return Token{}, false
	}
	if first, used := f.used[t.Serial]; !used {
		f.used[t.Serial] = at
	} else if f.grace == 0 || at-first > f.grace {
		f.ended = true
		return Token{}, false
	}
	f.serial++
	return Token{Serial: f.serial}, true
}

// still never rotates.
type still struct{}

func (still) First() Token { return Token{} }

func (still) Ended() bool { return false }

func (s still) Copy() Session { return s }

func (still) Present(t Token, _ time.Duration) (Token, bool) { return t, true }
