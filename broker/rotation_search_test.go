package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// An exhaustive search over the refresh rule, the Go form of
// rotation_model.py. One honest client with up to so many parallel requests;
// answers are lost, reordered and stored late (each message lives a bounded
// number of ticks); the app is killed at any point; the server crashes and
// loses a relaxed advance. Looked for is a path on which the client is refused.
// The rule under search is broker.Decide itself.

// searchPair is a refresh token: generation and branch.
type searchPair struct{ g, b int8 }

// searchRow is the session's row; the times are ages in ticks, capped at one
// more than the window, beyond which nothing changes.
type searchRow struct{ g, b, p, advanced, issued int8 }

// searchRule is a refresh rule for one window: row and token to outcome, row
// and the pair that is answered.
type searchRule func(searchRow, searchPair) (broker.Outcome, searchRow, searchPair)

const searchTick = time.Minute

// decideAt makes broker.Decide a rule with a window of so many ticks.
func decideAt(window int8) searchRule {
	now := decisionTime
	policy := broker.Policy{Grace: time.Duration(window) * searchTick, Idle: ruleIdle}
	s := broker.Session{ClientID: "app", IdleExpiresAt: now.Add(ruleIdle), AbsExpiresAt: now.Add(ruleIdle)}
	ago := func(ticks int8) time.Time { return now.Add(-time.Duration(ticks) * searchTick) }
	ticks := func(t time.Time) int8 { return int8(now.Sub(t) / searchTick) }
	return func(r searchRow, t searchPair) (broker.Outcome, searchRow, searchPair) {
		s.Rotation = broker.Rotation{
			Generation: int64(r.g), Branch: int64(r.b), ParentBranch: int64(r.p), AdvancedAt: ago(r.advanced), IssuedAt: ago(r.issued),
		}
		d := broker.Decide(&s, broker.Presented{Generation: int64(t.g), Branch: int64(t.b), IssuedAt: now, ClientID: "app"}, policy, now)
		n := d.Next
		return d.Outcome,
			searchRow{int8(n.Generation), int8(n.Branch), int8(n.ParentBranch), ticks(n.AdvancedAt), ticks(n.IssuedAt)},
			searchPair{int8(d.Generation), int8(d.Branch)}
	}
}

// Three rules that are in use elsewhere. The search must refute each of them,
// or it proves nothing of ours.

// strictRule rotates at every use and takes any older token for a theft.
func strictRule(r searchRow, t searchPair) (broker.Outcome, searchRow, searchPair) {
	if t.g == r.g {
		return broker.OutcomeAdvance, searchRow{g: r.g + 1, p: t.b}, searchPair{g: r.g + 1}
	}
	return broker.OutcomeReuse, r, searchPair{}
}

// fixedGraceRule is strict, but for a while after a rotation it answers the
// token before with the current one.
func fixedGraceRule(window int8) searchRule {
	return func(r searchRow, t searchPair) (broker.Outcome, searchRow, searchPair) {
		if t.g == r.g-1 && r.advanced <= window {
			return broker.OutcomeConverge, r, searchPair{g: r.g}
		}
		return strictRule(r, t)
	}
}

// counterRule is a plain counter: the token before is always answered.
func counterRule(r searchRow, t searchPair) (broker.Outcome, searchRow, searchPair) {
	if t.g == r.g-1 {
		return broker.OutcomeConverge, r, searchPair{g: r.g}
	}
	return strictRule(r, t)
}

// message is a request or an answer on its way, packed so that a state is a
// small comparable value: present, answered, alive, generation, branch, age.
type message uint32

const (
	messagePresent  message = 1 << 31
	messageAnswered message = 1 << 30
	messageAlive    message = 1 << 29 // somebody still waits for it
)

func newMessage(t searchPair) message { return messagePresent | messageAlive | pack(t) }

func pack(t searchPair) message { return message(uint8(t.g))<<16 | message(uint8(t.b))<<8 }

func (m message) token() searchPair { return searchPair{g: int8(m >> 16), b: int8(m >> 8)} }

func (m message) age() int8 { return int8(m) }

// with is the message with another token.
func (m message) with(t searchPair) message { return m&^0xffff00 | pack(t) }

// maxMessages is one more than the workers: a worker may start again while the
// answer of its killed predecessor is still under way.
const maxMessages = 4

// searchState is everything: what the server knows, what its disk knows, what
// the client has stored, what is on its way. Generations are counted from the
// row's, which is always 2, so that the space is finite.
type searchState struct {
	row, disk searchRow
	unflushed int8 // for so many ticks disk has been behind row
	stored    searchPair
	messages  [maxMessages]message // sorted: their order says nothing
}

type search struct {
	rule    searchRule
	delay   int8 // ticks that a message lives
	window  int8
	workers int
	lag     int8 // ticks by which a relaxed advance may be lost; negative: no crashes
	seen    map[searchState]struct{}
	queue   []searchState
	refuted *searchState // where the client is refused
}

// maxBranches bounds the space: each branch more costs a lost answer of its own.
const maxBranches = 3

// run visits the whole state space, or stops where the client is refused.
func (s *search) run() (safe bool) {
	limit := s.window + 1
	fresh := searchRow{g: 2, advanced: limit, issued: limit}
	start := searchState{row: fresh, disk: fresh, stored: searchPair{g: 2}}
	s.seen, s.queue = map[searchState]struct{}{start: {}}, []searchState{start}
	for len(s.queue) > 0 && s.refuted == nil {
		last := len(s.queue) - 1
		state := s.queue[last]
		s.queue = s.queue[:last]
		s.expand(state)
	}
	return s.refuted == nil
}

func (s *search) visit(n searchState) {
	shift := n.row.g - 2
	n.row.g = 2
	n.disk.g -= shift
	n.stored.g -= shift
	if n.row == n.disk {
		n.unflushed = 0
	}
	for i, m := range n.messages {
		if m != 0 {
			t := m.token()
			t.g -= shift
			n.messages[i] = m.with(t)
		}
	}
	slices.Sort(n.messages[:])
	if _, known := s.seen[n]; !known {
		s.seen[n] = struct{}{}
		s.queue = append(s.queue, n)
	}
}

func (s *search) expand(state searchState) {
	s.send(state)
	for i, m := range state.messages {
		if m == 0 {
			continue
		}
		lost := state
		lost.messages[i] = 0
		s.visit(lost)
		if m&messageAnswered == 0 {
			s.serve(state, i)
		} else if m&messageAlive != 0 {
			lost.stored = m.token() // arrives, in any order
			s.visit(lost)
		}
	}
	s.kill(state)
	if state.row != state.disk {
		crashed, flushed := state, state
		crashed.row = state.disk
		flushed.disk = state.row
		s.visit(crashed)
		s.visit(flushed)
	}
	s.tick(state)
}

// send lets a free worker present what is stored.
func (s *search) send(state searchState) {
	alive, all, free := 0, 0, -1
	for i, m := range state.messages {
		switch {
		case m == 0:
			free = i
		case m&messageAlive != 0:
			alive, all = alive+1, all+1
		default:
			all++
		}
	}
	if alive < s.workers && all <= s.workers {
		state.messages[free] = newMessage(state.stored)
		s.visit(state)
	}
}

// serve lets the server answer a request.
func (s *search) serve(state searchState, i int) {
	m := state.messages[i]
	outcome, next, reply := s.rule(state.row, m.token())
	if outcome == broker.OutcomeReuse {
		s.refuted = &state
		return
	}
	if next.b > maxBranches {
		return
	}
	switch {
	case s.lag < 0 || outcome != broker.OutcomeAdvance && outcome != broker.OutcomeSame:
		state.disk, state.unflushed = next, 0 // durable before it is answered
	case outcome == broker.OutcomeAdvance && state.disk == state.row:
		state.unflushed = 0
	}
	state.row = next
	state.messages[i] = m.with(reply) | messageAnswered
	s.visit(state)
}

// kill ends the app: what it waited for is waited for no longer, but requests
// on their way still arrive at the server.
func (s *search) kill(state searchState) {
	for i := range state.messages {
		state.messages[i] &^= messageAlive
	}
	s.visit(state)
}

// tick lets time pass.
func (s *search) tick(state searchState) {
	older := func(r searchRow) searchRow {
		r.advanced, r.issued = min(r.advanced+1, s.window+1), min(r.issued+1, s.window+1)
		return r
	}
	if state.row == state.disk || state.unflushed+1 > s.lag {
		state.disk, state.unflushed = older(state.row), 0
	} else {
		state.disk, state.unflushed = older(state.disk), state.unflushed+1
	}
	state.row = older(state.row)
	for i, m := range state.messages {
		switch {
		case m == 0:
		case m.age() >= s.delay:
			state.messages[i] = 0
		default:
			state.messages[i] = m + 1
		}
	}
	s.visit(state)
}

const noCrashes int8 = -1

// The first seven are the configurations of rotation_model.py. The numbers of
// states are the model's own, so that the two searches are known to be one.
var honestSearches = []struct {
	name          string
	delay, window int8
	workers       int
	lag           int8
	states        int
	size          int
}{
	{"delay 1, W=R=3, 1 worker", 1, 3, 1, noCrashes, 5_610, small},
	{"delay 1, W=R=3, 2 workers", 1, 3, 2, noCrashes, 32_590, small},
	{"delay 1, W=R=3, 3 workers", 1, 3, 3, noCrashes, 140_864, medium},
	{"delay 2, W=R=6, 2 workers", 2, 6, 2, noCrashes, 148_699, medium},
	{"crashes, delay 1, W=R=3, 1 worker", 1, 3, 1, 1, 25_388, small},
	{"crashes, delay 1, W=R=3, 2 workers", 1, 3, 2, 1, 239_999, medium},
	{"crashes, delay 2, W=R=6, 1 worker", 2, 6, 1, 2, 89_499, medium},

	{"delay 1, W=R=5, 3 workers", 1, 5, 3, noCrashes, 170_296, medium}, // wider than it must be
	{"delay 2, W=R=6, 3 workers", 2, 6, 3, noCrashes, 773_978, large},
	{"delay 3, W=R=9, 2 workers", 3, 9, 2, noCrashes, 473_846, large},
	{"crashes, delay 1, W=R=3, 3 workers", 1, 3, 3, 1, 1_096_158, large},
	{"crashes, delay 2, W=R=6, 2 workers", 2, 6, 2, 2, 1_086_455, large},
	{"crashes, delay 3, W=R=9, 1 worker", 3, 9, 1, 3, 228_546, large},
}

// Sizes of a search: small ones run with -short too, large ones not under the
// race detector.
const (
	small = iota
	medium
	large
)

// skipSearch says which searches this run leaves out.
func skipSearch(t *testing.T, size int) {
	t.Helper()
	if testing.Short() && size > small || raceDetector && size == large {
		t.Skip("too large for -short or -race")
	}
}

func TestNoFalseLogoutInTheWholeStateSpace(t *testing.T) {
	total := 0
	for _, c := range honestSearches {
		t.Run(c.name, func(t *testing.T) {
			skipSearch(t, c.size)
			s := search{rule: decideAt(c.window), delay: c.delay, window: c.window, workers: c.workers, lag: c.lag}
			if !s.run() {
				t.Fatalf("false logout at %+v after %d states", *s.refuted, len(s.seen))
			}
			total += len(s.seen)
			t.Logf("%d states, all safe", len(s.seen))
			if len(s.seen) != c.states {
				t.Errorf("%d states, the model in Python has %d", len(s.seen), c.states)
			}
		})
	}
	t.Logf("%d states in all", total)
}

// A search that finds nothing is worth something only where it can find: it
// must refute what is known to be wrong.
func TestSearchRefutesWorseRules(t *testing.T) {
	for _, c := range []struct {
		name          string
		rule          searchRule
		delay, window int8
		workers       int
	}{
		{"strict rotation, 1 worker", strictRule, 1, 3, 1},
		{"strict rotation, 2 workers", strictRule, 1, 3, 2},
		{"fixed grace, 1 worker", fixedGraceRule(3), 1, 3, 1},
		{"fixed grace, 2 workers", fixedGraceRule(3), 1, 3, 2},
		{"plain counter, 1 worker", counterRule, 1, 3, 1},
		{"plain counter, 2 workers", counterRule, 1, 3, 2},
		{"our rule with W=R < 3 delays", decideAt(2), 1, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := search{rule: c.rule, delay: c.delay, window: c.window, workers: c.workers, lag: noCrashes}
			if s.run() {
				t.Fatalf("the search finds no false logout in %d states", len(s.seen))
			}
			t.Logf("refuted after %d states", len(s.seen))
		})
	}
}

// A theft: owner and thief hold the same token. Every presentation of either is
// more than W after the one before, no answer is lost.

type theftState struct {
	row           searchRow
	owner, thief  searchPair
	byOwner       int8 // how often each has presented since the split
	byThief       int8
	advanceLost   bool // a crash has lost one advance since the split
	advancedLast  bool // the last presentation advanced, so a crash may lose it
	beforeAdvance searchRow
}

type theftSearch struct {
	rule    searchRule
	window  int8
	times   int8 // by when both have presented so often, the session must have ended
	crashes bool
	seen    map[theftState]struct{}
	queue   []theftState
	alive   *theftState // a session that outlived the bound
	ends    int
}

// run follows every path from every split.
func (s *theftSearch) run(splits []theftState) (caught bool) {
	s.seen = map[theftState]struct{}{}
	for _, split := range splits {
		s.visit(split)
	}
	for len(s.queue) > 0 && s.alive == nil {
		last := len(s.queue) - 1
		state := s.queue[last]
		s.queue = s.queue[:last]
		s.present(state, state.owner, func(n *theftState, answer searchPair) { n.owner, n.byOwner = answer, min(n.byOwner+1, s.times) })
		s.present(state, state.thief, func(n *theftState, answer searchPair) { n.thief, n.byThief = answer, min(n.byThief+1, s.times) })
		if s.crashes && state.advancedLast && !state.advanceLost {
			state.row, state.advanceLost, state.advancedLast = state.beforeAdvance, true, false
			s.visit(state)
		}
	}
	return s.alive == nil
}

func (s *theftSearch) present(state theftState, token searchPair, store func(*theftState, searchPair)) {
	outcome, next, answer := s.rule(state.row, token)
	if outcome == broker.OutcomeReuse {
		s.ends++
		return
	}
	before := state.row
	state.row = next
	state.advancedLast, state.beforeAdvance = outcome == broker.OutcomeAdvance && s.crashes, searchRow{}
	if state.advancedLast {
		state.beforeAdvance = before
	}
	store(&state, answer)
	if state.byOwner == s.times && state.byThief == s.times {
		s.alive = &state
		return
	}
	s.visit(state)
}

// longAgo stands for all generations that are too old to matter, even after a
// crash: a holder who never comes back would leave the space infinite.
const longAgo int8 = -5

// visit lets more than W pass.
func (s *theftSearch) visit(n theftState) {
	shift := n.row.g - 2
	n.row.g = 2
	n.owner.g, n.thief.g = max(n.owner.g-shift, longAgo), max(n.thief.g-shift, longAgo)
	n.row.advanced, n.row.issued = s.window+1, s.window+1
	if n.advancedLast {
		n.beforeAdvance.g -= shift
		n.beforeAdvance.advanced, n.beforeAdvance.issued = s.window+1, s.window+1
	}
	if _, known := s.seen[n]; !known {
		s.seen[n] = struct{}{}
		s.queue = append(s.queue, n)
	}
}

// splits is every row and stored token that an honest client can have: at each
// of them a thief may take a copy. What is on its way then is dropped.
func splits(t *testing.T, lag int8) []theftState {
	t.Helper()
	honest := search{rule: decideAt(3), delay: 1, window: 3, workers: 2, lag: lag}
	if !honest.run() {
		t.Fatal("an honest client is refused")
	}
	found := map[theftState]struct{}{}
	for s := range honest.seen {
		n := theftState{row: s.row, owner: s.stored, thief: s.stored}
		n.row.advanced, n.row.issued = honest.window+1, honest.window+1
		found[n] = struct{}{}
	}
	out := make([]theftState, 0, len(found))
	for n := range found {
		out = append(out, n)
	}
	return out
}

// A thief and the owner share a generation: it ends, on every path and not on one.
func TestThiefWithACopyIsFoundOnEveryPath(t *testing.T) {
	honest := map[bool][]theftState{false: splits(t, noCrashes), true: splits(t, 1)}
	for _, c := range []struct {
		name   string
		before bool // an advance may have been lost before the split
		times  int8
		after  bool // one may be lost after it
		caught bool
	}{
		{"both have presented twice", false, 2, false, true},
		{"three times each, where an advance was lost in a crash before the split", true, 3, false, true},
		// A crash can throw the two together again just before the end: owner
		// advances, thief's retry gets a branch, owner advances, that is lost, thief
		// advances to the very pair that owner holds. From there it takes two each.
		{"four times each, where an advance was lost in a crash after the split", false, 4, true, true},
		{"five times each, where one was lost before and one after", true, 5, true, true},
		// Each bound is tight, so the search is able to find a survivor.
		{"once each is not enough", false, 1, false, false},
		{"twice each is not enough where one was lost before", true, 2, false, false},
		{"three times each is not enough where one was lost after", false, 3, true, false},
		{"four times each is not enough where two were lost", true, 4, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := honest[c.before]
			s := theftSearch{rule: decideAt(3), window: 3, times: c.times, crashes: c.after}
			if s.run(from) != c.caught {
				t.Fatalf("caught on every path: %v, want %v; alive at %+v", !c.caught, c.caught, s.alive)
			}
			t.Logf("%d splits, %d states, %d ends of a session", len(from), len(s.seen), s.ends)
		})
	}
}

// The rules of others let owner and thief alternate for ever; the search sees it.
func TestThiefSurvivesThePlainCounter(t *testing.T) {
	s := theftSearch{rule: counterRule, window: 3, times: 100}
	if s.run(splits(t, noCrashes)) {
		t.Fatal("the plain counter is said to end every theft")
	}
	t.Logf("alive after a hundred presentations of each: %+v", *s.alive)
}

// Four hundred alternating presentations (T10): ours ends after the fourth at
// the latest, the counter never.
func TestThiefAndOwnerAlternate(t *testing.T) {
	alternate := func(rule searchRule) int {
		row, holders := searchRow{g: 2, advanced: 4, issued: 4}, [2]searchPair{{g: 2}, {g: 2}}
		for n := range 400 {
			outcome, next, answer := rule(row, holders[n%2])
			if outcome == broker.OutcomeReuse {
				return n + 1
			}
			holders[n%2], row = answer, next
			// More than W passes. Generations are relative, or they would overflow.
			shift := row.g - 2
			row = searchRow{g: 2, b: row.b, p: row.p, advanced: 4, issued: 4}
			holders[0].g, holders[1].g = holders[0].g-shift, holders[1].g-shift
		}
		return 0
	}
	if n := alternate(decideAt(3)); n != 4 {
		t.Errorf("our rule ends the session at presentation %d, want 4", n)
	}
	if n := alternate(counterRule); n != 0 {
		t.Errorf("the plain counter ends the session at presentation %d", n)
	}
}
