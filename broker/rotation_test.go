package broker_test

import (
	"flag"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-id/latchkey/broker"
)

// decisionTime is "now" in the tests of the pure rule.
var decisionTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

const ruleIdle = 30 * 24 * time.Hour

// age is a point in time seen from now, in relation to the window: each bound
// of the rule has a row on either side of it.
type age int

const (
	future    age = iota // a clock that was set back
	zero                 // this instant
	justBelow            // a nanosecond less than the window
	exactly              // the window
	justAbove            // a nanosecond more than the window
	ancient
)

func (a age) of(window time.Duration) time.Duration {
	return [...]time.Duration{-time.Hour, 0, window - 1, window, window + 1, 1000 * time.Hour}[a]
}

// ruleSession is alive, at generation 5, branch 2, whose parent was branch 1.
func ruleSession(advanced, issued age, grace time.Duration) broker.Session {
	return broker.Session{
		ID: "s", UserID: "u", ClientID: broker.AppClientID,
		Rotation: broker.Rotation{
			Generation: 5, Branch: 2, ParentBranch: 1,
			AdvancedAt: decisionTime.Add(-advanced.of(grace)), IssuedAt: decisionTime.Add(-issued.of(grace)),
		},
		IdleExpiresAt: decisionTime.Add(ruleIdle), AbsExpiresAt: decisionTime.Add(10 * ruleIdle),
	}
}

// after is what a row of the table expects of the session's row: old and now
// are what happens to the two times.
type after struct {
	g, b, p          int64
	advanced, issued when
}

type when bool

const (
	old  when = false
	asOf when = true // now
)

var unchanged = after{g: 5, b: 2, p: 1}

type decision struct {
	name             string
	g, b             int64
	advanced, issued age
	change           func(s *broker.Session, p *broker.Presented)
	outcome          broker.Outcome
	next             after
	pair             [2]int64 // of a 200
	refusal          broker.Code
}

func (a after) rotation(from broker.Rotation) broker.Rotation {
	r := broker.Rotation{Generation: a.g, Branch: a.b, ParentBranch: a.p, AdvancedAt: from.AdvancedAt, IssuedAt: from.IssuedAt}
	if a.advanced == asOf {
		r.AdvancedAt = decisionTime
	}
	if a.issued == asOf {
		r.IssuedAt = decisionTime
	}
	return r
}

// The decision table of the refresh rule, row by row.
var decisions = []decision{
	// g > G: the row forgot. The age of its times says nothing.
	{name: "ahead by one generation", g: 6, b: 0, advanced: ancient, issued: ancient, outcome: broker.OutcomeAhead, next: after{6, 0, broker.AnyBranch, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "ahead by one generation at once", g: 6, b: 0, advanced: zero, issued: zero, outcome: broker.OutcomeAhead, next: after{6, 0, broker.AnyBranch, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "ahead by two generations and a branch", g: 7, b: 4, advanced: exactly, issued: exactly, outcome: broker.OutcomeAhead, next: after{7, 4, broker.AnyBranch, asOf, asOf}, pair: [2]int64{7, 4}},
	{name: "ahead by a thousand generations", g: 1005, b: 1, advanced: future, issued: future, outcome: broker.OutcomeAhead, next: after{1005, 1, broker.AnyBranch, asOf, asOf}, pair: [2]int64{1005, 1}},
	{name: "ahead by a generation with a lower branch", g: 6, b: 1, advanced: ancient, issued: ancient, outcome: broker.OutcomeAhead, next: after{6, 1, broker.AnyBranch, asOf, asOf}, pair: [2]int64{6, 1}},

	// g = G, b > B: likewise. The generation did not begin anew.
	{name: "ahead by one branch", g: 5, b: 3, advanced: ancient, issued: ancient, outcome: broker.OutcomeAhead, next: after{5, 3, 1, old, asOf}, pair: [2]int64{5, 3}},
	{name: "ahead by many branches at once", g: 5, b: 9, advanced: zero, issued: zero, outcome: broker.OutcomeAhead, next: after{5, 9, 1, old, asOf}, pair: [2]int64{5, 9}},

	// g = G, b <= B, A < R: the same pair that was presented.
	{name: "same, clock set back", g: 5, b: 2, advanced: future, outcome: broker.OutcomeSame, next: unchanged, pair: [2]int64{5, 2}},
	{name: "same, at once", g: 5, b: 2, advanced: zero, outcome: broker.OutcomeSame, next: unchanged, pair: [2]int64{5, 2}},
	{name: "same, just below R", g: 5, b: 2, advanced: justBelow, outcome: broker.OutcomeSame, next: unchanged, pair: [2]int64{5, 2}},
	{name: "same, a lower branch keeps its own pair", g: 5, b: 0, advanced: justBelow, outcome: broker.OutcomeSame, next: unchanged, pair: [2]int64{5, 0}},
	{name: "same, however long ago it was handed out again", g: 5, b: 1, advanced: justBelow, issued: ancient, outcome: broker.OutcomeSame, next: unchanged, pair: [2]int64{5, 1}},

	// g = G, b <= B, A >= R: the first branch that is presented wins.
	{name: "advance at R", g: 5, b: 2, advanced: exactly, outcome: broker.OutcomeAdvance, next: after{6, 0, 2, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "advance above R", g: 5, b: 2, advanced: justAbove, outcome: broker.OutcomeAdvance, next: after{6, 0, 2, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "advance much later", g: 5, b: 2, advanced: ancient, issued: ancient, outcome: broker.OutcomeAdvance, next: after{6, 0, 2, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "advance from a lower branch", g: 5, b: 0, advanced: exactly, outcome: broker.OutcomeAdvance, next: after{6, 0, 0, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "advance just after a reissue", g: 5, b: 1, advanced: ancient, issued: zero, outcome: broker.OutcomeAdvance, next: after{6, 0, 1, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "advance after an ahead", g: 5, b: 2, advanced: exactly, change: anyParent, outcome: broker.OutcomeAdvance, next: after{6, 0, 2, asOf, asOf}, pair: [2]int64{6, 0}},

	// g = G-1, b = P: a lost answer, within W of the last one ...
	{name: "converge, clock set back", g: 4, b: 1, advanced: ancient, issued: future, outcome: broker.OutcomeConverge, next: after{5, 2, 1, old, asOf}, pair: [2]int64{5, 2}},
	{name: "converge at once", g: 4, b: 1, advanced: zero, issued: zero, outcome: broker.OutcomeConverge, next: after{5, 2, 1, old, asOf}, pair: [2]int64{5, 2}},
	{name: "converge just below W", g: 4, b: 1, advanced: ancient, issued: justBelow, outcome: broker.OutcomeConverge, next: after{5, 2, 1, old, asOf}, pair: [2]int64{5, 2}},
	{name: "converge at W", g: 4, b: 1, advanced: ancient, issued: exactly, outcome: broker.OutcomeConverge, next: after{5, 2, 1, old, asOf}, pair: [2]int64{5, 2}},
	{name: "converge, any parent after an ahead, b = 0", g: 4, b: 0, issued: exactly, change: anyParent, outcome: broker.OutcomeConverge, next: after{5, 2, broker.AnyBranch, old, asOf}, pair: [2]int64{5, 2}},
	{name: "converge, any parent after an ahead, b = 7", g: 4, b: 7, issued: zero, change: anyParent, outcome: broker.OutcomeConverge, next: after{5, 2, broker.AnyBranch, old, asOf}, pair: [2]int64{5, 2}},
	// ... and beyond it.
	{name: "reissue just above W", g: 4, b: 1, advanced: justAbove, issued: justAbove, outcome: broker.OutcomeReissue, next: after{5, 3, 1, old, asOf}, pair: [2]int64{5, 3}},
	{name: "reissue after a night", g: 4, b: 1, advanced: ancient, issued: ancient, outcome: broker.OutcomeReissue, next: after{5, 3, 1, old, asOf}, pair: [2]int64{5, 3}},
	{name: "reissue, any parent after an ahead", g: 4, b: 7, advanced: ancient, issued: justAbove, change: anyParent, outcome: broker.OutcomeReissue, next: after{5, 3, broker.AnyBranch, old, asOf}, pair: [2]int64{5, 3}},

	// g = G-1, b != P: a branch that lost. The time does not matter.
	{name: "reuse of a lower losing branch, at once", g: 4, b: 0, advanced: zero, issued: zero, outcome: broker.OutcomeReuse, next: unchanged, refusal: broker.TokenReused},
	{name: "reuse of a higher losing branch, at once", g: 4, b: 2, advanced: future, issued: future, outcome: broker.OutcomeReuse, next: unchanged, refusal: broker.TokenReused},
	{name: "reuse of a losing branch, late", g: 4, b: 0, advanced: ancient, issued: ancient, outcome: broker.OutcomeReuse, next: unchanged, refusal: broker.TokenReused},

	// g = G-2: a slow second process of the same app, for W and no longer.
	{name: "two behind, clock set back", g: 3, b: 0, advanced: future, issued: future, outcome: broker.OutcomeConverge, next: after{5, 2, 1, old, asOf}, pair: [2]int64{5, 2}},
	{name: "two behind, at once", g: 3, b: 0, advanced: zero, issued: zero, outcome: broker.OutcomeConverge, next: after{5, 2, 1, old, asOf}, pair: [2]int64{5, 2}},
	{name: "two behind, at W, any branch", g: 3, b: 9, advanced: exactly, issued: zero, outcome: broker.OutcomeConverge, next: after{5, 2, 1, old, asOf}, pair: [2]int64{5, 2}},
	{name: "two behind, above W", g: 3, b: 0, advanced: justAbove, issued: zero, outcome: broker.OutcomeReuse, next: unchanged, refusal: broker.TokenReused},
	{name: "two behind, above W, any parent", g: 3, b: 0, advanced: justAbove, issued: zero, change: anyParent, outcome: broker.OutcomeReuse, next: after{g: 5, b: 2, p: broker.AnyBranch}, refusal: broker.TokenReused},
	{name: "three behind, at once", g: 2, b: 0, advanced: zero, issued: zero, outcome: broker.OutcomeReuse, next: unchanged, refusal: broker.TokenReused},
	{name: "the login's token, late", g: 0, b: 0, advanced: ancient, issued: ancient, outcome: broker.OutcomeReuse, next: unchanged, refusal: broker.TokenReused},

	// The ends of a life, and the order in which they are told.
	{name: "at the absolute end", g: 5, b: 2, advanced: exactly, change: absEnd(0), outcome: broker.OutcomeExpired, next: unchanged, refusal: broker.SessionMaxAge},
	{name: "a nanosecond before the absolute end", g: 5, b: 2, advanced: exactly, change: absEnd(1), outcome: broker.OutcomeAdvance, next: after{6, 0, 2, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "at the idle end", g: 5, b: 2, advanced: exactly, change: idleEnd(0), outcome: broker.OutcomeExpired, next: unchanged, refusal: broker.SessionExpired},
	{name: "a nanosecond before the idle end", g: 5, b: 2, advanced: exactly, change: idleEnd(1), outcome: broker.OutcomeAdvance, next: after{6, 0, 2, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "past both ends", g: 5, b: 2, change: both(absEnd(-1), idleEnd(-1)), outcome: broker.OutcomeExpired, next: unchanged, refusal: broker.SessionMaxAge},
	{name: "expired: a reused token ends nothing more", g: 1, b: 0, advanced: ancient, change: idleEnd(-1), outcome: broker.OutcomeExpired, next: unchanged, refusal: broker.SessionExpired},

	// A token that is ahead of the row: idle counts from its iat.
	{name: "ahead of an idle row, iat just within", g: 6, b: 0, change: both(idleEnd(-ruleIdle), issuedAt(ruleIdle-1)), outcome: broker.OutcomeAhead, next: after{6, 0, broker.AnyBranch, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "ahead of an idle row, iat just too old", g: 6, b: 0, change: both(idleEnd(-ruleIdle), issuedAt(ruleIdle)), outcome: broker.OutcomeExpired, next: unchanged, refusal: broker.SessionExpired},
	{name: "ahead by a branch of an idle row", g: 5, b: 3, change: both(idleEnd(0), issuedAt(time.Hour)), outcome: broker.OutcomeAhead, next: after{5, 3, 1, old, asOf}, pair: [2]int64{5, 3}},
	{name: "ahead with an old iat, but the row is not idle", g: 6, b: 0, change: issuedAt(2 * ruleIdle), outcome: broker.OutcomeAhead, next: after{6, 0, broker.AnyBranch, asOf, asOf}, pair: [2]int64{6, 0}},
	{name: "not ahead: a young iat does not wake an idle row", g: 5, b: 2, change: both(idleEnd(0), issuedAt(time.Minute)), outcome: broker.OutcomeExpired, next: unchanged, refusal: broker.SessionExpired},
	{name: "a parent is not ahead either", g: 4, b: 1, change: both(idleEnd(0), issuedAt(time.Minute)), outcome: broker.OutcomeExpired, next: unchanged, refusal: broker.SessionExpired},
	{name: "ahead of a row past its absolute end", g: 6, b: 0, change: both(absEnd(0), issuedAt(time.Minute)), outcome: broker.OutcomeExpired, next: unchanged, refusal: broker.SessionMaxAge},
	{name: "ahead of an ended row: ended stays ended", g: 6, b: 0, change: endedBy(broker.LoggedOut), outcome: broker.OutcomeEnded, next: unchanged, refusal: broker.LoggedOut},

	// Another client, another key: nothing ends.
	{name: "another client with the current token", g: 5, b: 2, change: otherClient, outcome: broker.OutcomeClientMismatch, next: unchanged, refusal: broker.ClientMismatch},
	{name: "another client with a reused token", g: 1, b: 0, advanced: ancient, change: otherClient, outcome: broker.OutcomeClientMismatch, next: unchanged, refusal: broker.ClientMismatch},
	{name: "another client with a token ahead", g: 9, b: 0, change: otherClient, outcome: broker.OutcomeClientMismatch, next: unchanged, refusal: broker.ClientMismatch},
	{name: "another client is told the end first", g: 5, b: 2, change: both(otherClient, endedBy(broker.RevokedByUser)), outcome: broker.OutcomeEnded, next: unchanged, refusal: broker.RevokedByUser},
	{name: "bound, no key", g: 5, b: 2, change: keys("K", ""), outcome: broker.OutcomeKeyMismatch, next: unchanged, refusal: broker.KeyMismatch},
	{name: "bound, another key", g: 5, b: 2, change: keys("K", "L"), outcome: broker.OutcomeKeyMismatch, next: unchanged, refusal: broker.KeyMismatch},
	{name: "bound, no key, with a reused token", g: 0, b: 0, advanced: ancient, change: keys("K", ""), outcome: broker.OutcomeKeyMismatch, next: unchanged, refusal: broker.KeyMismatch},
	{name: "bound, another client and another key", g: 5, b: 2, change: both(otherClient, keys("K", "L")), outcome: broker.OutcomeClientMismatch, next: unchanged, refusal: broker.ClientMismatch},
	{name: "bound, key proven", g: 5, b: 2, advanced: ancient, change: keys("K", "K"), outcome: broker.OutcomeBound, next: unchanged, pair: [2]int64{5, 2}},
	{name: "bound, key proven, an old generation", g: 0, b: 0, advanced: ancient, change: keys("K", "K"), outcome: broker.OutcomeBound, next: unchanged, pair: [2]int64{5, 2}},
	{name: "bound, key proven, ahead of the row", g: 8, b: 1, change: keys("K", "K"), outcome: broker.OutcomeBound, next: unchanged, pair: [2]int64{5, 2}},
	{name: "not bound, a key is proven all the same", g: 5, b: 2, advanced: exactly, change: keys("", "K"), outcome: broker.OutcomeAdvance, next: after{6, 0, 2, asOf, asOf}, pair: [2]int64{6, 0}},
}

type adjust = func(*broker.Session, *broker.Presented)

func anyParent(s *broker.Session, _ *broker.Presented)   { s.ParentBranch = broker.AnyBranch }
func otherClient(_ *broker.Session, p *broker.Presented) { p.ClientID = "another" }

func absEnd(in time.Duration) adjust {
	return func(s *broker.Session, _ *broker.Presented) { s.AbsExpiresAt = decisionTime.Add(in) }
}

func idleEnd(in time.Duration) adjust {
	return func(s *broker.Session, _ *broker.Presented) { s.IdleExpiresAt = decisionTime.Add(in) }
}

func issuedAt(ago time.Duration) adjust {
	return func(_ *broker.Session, p *broker.Presented) { p.IssuedAt = decisionTime.Add(-ago) }
}

func endedBy(cause broker.EndCause) adjust {
	return func(s *broker.Session, _ *broker.Presented) {
		s.EndedAt, s.EndCause = decisionTime.Add(-time.Minute), cause
	}
}

func keys(bound, proven string) adjust {
	return func(s *broker.Session, p *broker.Presented) { s.DPoPThumbprint, p.ProvenKey = bound, proven }
}

func both(a, b adjust) adjust {
	return func(s *broker.Session, p *broker.Presented) { a(s, p); b(s, p) }
}

func TestDecisionTable(t *testing.T) {
	// Two windows: a rule with a constant in place of the policy would pass one.
	for _, grace := range []time.Duration{10 * time.Minute, time.Second} {
		for _, c := range decisions {
			t.Run(grace.String()+"/"+c.name, func(t *testing.T) { c.check(t, grace) })
		}
	}
}

func (c decision) check(t *testing.T, grace time.Duration) {
	s := ruleSession(c.advanced, c.issued, grace)
	p := broker.Presented{Generation: c.g, Branch: c.b, IssuedAt: decisionTime.Add(-time.Hour), ClientID: broker.AppClientID}
	if c.change != nil {
		c.change(&s, &p)
	}
	before := s.Rotation
	got := broker.Decide(&s, p, broker.Policy{Grace: grace, Idle: ruleIdle}, decisionTime)
	want := broker.Decision{
		Outcome: c.outcome, Refusal: c.refusal, Next: c.next.rotation(before), Generation: c.pair[0], Branch: c.pair[1],
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if s.Rotation != before {
		t.Errorf("Decide wrote into its argument: %+v, was %+v", s.Rotation, before)
	}
}

func TestDecideNoSuchSession(t *testing.T) {
	got := broker.Decide(nil, broker.Presented{Generation: 1}, broker.Policy{Grace: time.Minute, Idle: ruleIdle}, decisionTime)
	if want := (broker.Decision{Outcome: broker.OutcomeUnknown, Refusal: broker.SessionUnknown}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Every cause comes back as the refusal, for every token and past every end.
func TestDecideTellsTheCauseOfEveryEnd(t *testing.T) {
	causes := []broker.EndCause{
		broker.SessionExpired, broker.SessionMaxAge, broker.SessionLimit, broker.LoggedOut, broker.RevokedByUser, broker.RevokedByAdmin,
		broker.PasswordChanged, broker.UserDisabled, broker.UserDeleted, broker.ClientRemoved, broker.IdPLogout, broker.IdPRevoked,
		broker.LinkUndone, broker.TokenReused, broker.CodeReused,
	}
	for _, cause := range causes {
		for _, g := range []int64{0, 3, 4, 5, 6} {
			for name, more := range map[string]adjust{
				"alive": func(*broker.Session, *broker.Presented) {}, "idle": idleEnd(-1), "past its end": absEnd(-1),
				"other client": otherClient, "other key": keys("K", "L"), "bound": keys("K", "K"),
			} {
				s := ruleSession(ancient, ancient, time.Minute)
				p := broker.Presented{Generation: g, ClientID: broker.AppClientID, IssuedAt: decisionTime}
				both(endedBy(cause), more)(&s, &p)
				got := broker.Decide(&s, p, broker.Policy{Grace: time.Minute, Idle: ruleIdle}, decisionTime)
				if want := (broker.Decision{Outcome: broker.OutcomeEnded, Refusal: cause, Next: s.Rotation}); got != want {
					t.Errorf("%s, %s, generation %d: got %+v, want %+v", cause, name, g, got, want)
				}
			}
		}
	}
}

// ruleCase is an arbitrary moment: any row, any token, near the bounds more
// often than chance would have it.
type ruleCase struct {
	session   broker.Session
	presented broker.Presented
	policy    broker.Policy
	now       time.Time
}

func drawCase(t *rapid.T) ruleCase {
	c := ruleCase{now: decisionTime, policy: broker.Policy{Idle: ruleIdle}}
	c.policy.Grace = rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Minute, time.Hour}).Draw(t, "grace")
	ago := func(name string) time.Time {
		near := []time.Duration{-time.Hour, -1, 0, 1, c.policy.Grace - 1, c.policy.Grace, c.policy.Grace + 1, 26 * time.Hour}
		d := rapid.OneOf(rapid.SampledFrom(near), rapid.Map(rapid.Int64Range(0, int64(48*time.Hour)), func(n int64) time.Duration { return time.Duration(n) }))
		return c.now.Add(-d.Draw(t, name))
	}
	g := rapid.Int64Range(2, 8).Draw(t, "G")
	b := rapid.Int64Range(0, 3).Draw(t, "B")
	c.session = broker.Session{
		ID: "s", ClientID: "app",
		Rotation: broker.Rotation{
			Generation: g, Branch: b, ParentBranch: rapid.Int64Range(broker.AnyBranch, 3).Draw(t, "P"), AdvancedAt: ago("advanced"), IssuedAt: ago("issued"),
		},
		IdleExpiresAt: c.now.Add(rapid.SampledFrom(mostly(ruleIdle, -ruleIdle, 0, 1)).Draw(t, "idle end")),
		AbsExpiresAt:  c.now.Add(rapid.SampledFrom(mostly(10*ruleIdle, 0, 1, ruleIdle)).Draw(t, "absolute end")),
	}
	if rapid.IntRange(0, 9).Draw(t, "ended") == 0 {
		c.session.EndedAt, c.session.EndCause = c.now, broker.LoggedOut
	}
	c.session.DPoPThumbprint = rapid.SampledFrom(mostly("", "K")).Draw(t, "bound to")
	c.presented = broker.Presented{
		Generation: max(0, g+rapid.Int64Range(-4, 3).Draw(t, "g-G")), Branch: rapid.Int64Range(0, 4).Draw(t, "b"), IssuedAt: ago("iat"),
		ClientID:  rapid.SampledFrom(mostly("app", "another")).Draw(t, "client"),
		ProvenKey: rapid.SampledFrom([]string{"", "K", "K", "L"}).Draw(t, "proven"),
	}
	return c
}

// mostly makes the first choice likely enough for the rest of the rule to be
// reached.
func mostly[T any](usual T, rare ...T) []T {
	out := rare
	for range 10 * len(rare) {
		out = append(out, usual)
	}
	return out
}

// checkRule is rapid.Check with more cases than its default of 100: one costs
// microseconds.
func checkRule(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := flag.Set(f.Name, "20000"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(f.Name, f.DefValue) })
	}
	rapid.Check(t, property)
}

func (c ruleCase) decide() broker.Decision {
	s := c.session
	return broker.Decide(&s, c.presented, c.policy, c.now)
}

// then is the case of the row after the decision, with another token.
func (c ruleCase) then(d broker.Decision, p broker.Presented, later time.Duration) ruleCase {
	c.session.Rotation = d.Next
	c.session.IdleExpiresAt = c.now.Add(ruleIdle)
	c.session.AbsExpiresAt = c.now.Add(100 * ruleIdle)
	if d.Outcome == broker.OutcomeReuse {
		c.session.EndedAt, c.session.EndCause = c.now, broker.TokenReused
	}
	c.presented, c.now = p, c.now.Add(later)
	return c
}

func TestRuleProperties(t *testing.T) {
	answers := map[broker.Outcome]bool{
		broker.OutcomeBound: true, broker.OutcomeAhead: true, broker.OutcomeSame: true,
		broker.OutcomeAdvance: true, broker.OutcomeConverge: true, broker.OutcomeReissue: true,
	}
	seen := map[broker.Outcome]int{}
	checkRule(t, func(t *rapid.T) {
		c := drawCase(t)
		row := c.session.Rotation
		d := c.decide()
		seen[d.Outcome]++

		if again := c.decide(); again != d {
			t.Fatalf("not deterministic: %+v, then %+v", d, again)
		}
		if answers[d.Outcome] != (d.Refusal == "") {
			t.Fatalf("outcome %s with refusal %q", d.Outcome, d.Refusal)
		}
		if d.Refusal != "" {
			// Reuse ends the session; beside that no refusal writes anything.
			if d.Next != row || d.Generation != 0 || d.Branch != 0 {
				t.Fatalf("refusal %s changes the row or names a pair: %+v", d.Refusal, d)
			}
			return
		}
		if d.Next.Generation < row.Generation || d.Next.Generation == row.Generation && d.Next.Branch < row.Branch {
			t.Fatalf("%s lowers (%d, %d) to (%d, %d)", d.Outcome, row.Generation, row.Branch, d.Next.Generation, d.Next.Branch)
		}
		current := d.Generation == d.Next.Generation && d.Branch == d.Next.Branch
		presented := d.Outcome == broker.OutcomeSame && d.Generation == c.presented.Generation && d.Branch == c.presented.Branch
		if !current && !presented {
			t.Fatalf("%s answers (%d, %d), which is neither the row's pair nor the presented one", d.Outcome, d.Generation, d.Branch)
		}
		for _, at := range [][2]time.Time{{d.Next.AdvancedAt, row.AdvancedAt}, {d.Next.IssuedAt, row.IssuedAt}} {
			if !at[0].Equal(at[1]) && !at[0].Equal(c.now) {
				t.Fatalf("%s invents a time: %v, was %v, now %v", d.Outcome, at[0], at[1], c.now)
			}
		}
	})
	// Without these the properties above would hold for want of cases.
	for _, o := range []broker.Outcome{
		broker.OutcomeEnded, broker.OutcomeExpired, broker.OutcomeClientMismatch, broker.OutcomeKeyMismatch, broker.OutcomeBound,
		broker.OutcomeAhead, broker.OutcomeSame, broker.OutcomeAdvance, broker.OutcomeConverge, broker.OutcomeReissue, broker.OutcomeReuse,
	} {
		if seen[o] == 0 {
			t.Errorf("outcome %s never came up", o)
		}
	}
	t.Logf("outcomes: %v", seen)
}

// The answer, presented next, at whatever time, is never taken for a theft.
func TestAnswerIsAlwaysGood(t *testing.T) {
	checkRule(t, func(t *rapid.T) {
		c := drawCase(t)
		d := c.decide()
		if d.Refusal != "" {
			t.Skip("refused")
		}
		p := c.presented
		p.Generation, p.Branch, p.IssuedAt = d.Generation, d.Branch, c.now
		later := time.Duration(rapid.Int64Range(-int64(time.Hour), int64(ruleIdle)-1).Draw(t, "later"))
		next := c.then(d, p, later).decide()
		if next.Refusal != "" || next.Outcome == broker.OutcomeAhead {
			t.Fatalf("%s answered (%d, %d); presented after %v it is %s", d.Outcome, d.Generation, d.Branch, later, next.Outcome)
		}
	})
}

// A lost answer is answered again, at whatever time and however often it is
// lost. The one exception is documented: a token two generations old is good
// for W only.
func TestRetryAlwaysWorks(t *testing.T) {
	checkRule(t, func(t *rapid.T) {
		c := drawCase(t)
		if c.presented.Generation == c.session.Generation-2 {
			t.Skip("two behind")
		}
		d := c.decide()
		if d.Refusal != "" {
			t.Skip("refused")
		}
		for range rapid.IntRange(1, 4).Draw(t, "losses") {
			later := time.Duration(rapid.Int64Range(0, int64(ruleIdle)-1).Draw(t, "later"))
			c = c.then(d, c.presented, later)
			if d = c.decide(); d.Refusal != "" {
				t.Fatalf("the retry after %v is refused: %s", later, d.Refusal)
			}
		}
	})
}

// After a reuse nothing of the session is answered any more.
func TestReuseIsFinal(t *testing.T) {
	checkRule(t, func(t *rapid.T) {
		c := drawCase(t)
		d := c.decide()
		if d.Outcome != broker.OutcomeReuse {
			t.Skip("no reuse")
		}
		p := c.presented
		p.Generation, p.Branch = rapid.Int64Range(0, 20).Draw(t, "g"), rapid.Int64Range(0, 5).Draw(t, "b")
		if next := c.then(d, p, time.Minute).decide(); next.Refusal != broker.TokenReused {
			t.Fatalf("after a reuse: %+v", next)
		}
	})
}
