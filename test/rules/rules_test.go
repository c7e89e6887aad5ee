package rules

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/document"
	"github.com/latchkey-id/latchkey/test/harness"
)

const day = 24 * time.Hour

// The traces of the table.
func everyday() Trace { return Record(1, 500, 90*day, Everyday) }

func restored() Trace {
	h := Everyday
	h.RestoredFrom = day
	return Record(1, 500, 90*day, h)
}

func stolen() Trace { return Record(2, 200, 90*day, Habits{Stolen: 1}) }

func inStep() Trace { return Record(2, 200, 90*day, Habits{Stolen: 1, InStep: true}) }

// The table of docs/proof.md: every rule against the same phones.
func TestRulesOnOneTrace(t *testing.T) {
	traces := []Trace{everyday(), restored(), stolen(), inStep()}
	var table strings.Builder
	lost := 0
	for _, e := range traces[0].Exchanges {
		if e.Stored == Never {
			lost++
		}
	}
	fmt.Fprintf(&table, "\n%d devices over 90 days: %d exchanges, of which %d got no answer. Of %d other devices, to which nothing else happens, the store is copied once.\n\n",
		traces[0].Devices, len(traces[0].Exchanges), lost, traces[2].Devices)
	table.WriteString("| rule | sessions lost | with a backup restored, a day old | thefts: the session ends | the thief is refused | both stay in | the thief stays, the owner is out | thief in step: the session ends |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range All {
		a, b, c, e := Play(traces[0], r), Play(traces[1], r), Play(traces[2], r), Play(traces[3], r)
		fmt.Fprintf(&table, "| %s | %s | %s | %d | %d | %d | %d | %d |\n", r.Name, share(a), share(b), c.Ended, c.Repelled, c.Shared, c.Swapped, e.Ended)
		if c.Stolen != traces[2].Devices || c.Dead > 0 {
			t.Errorf("%s: of %d thefts %d count, and %d have another end", r.Name, traces[2].Devices, c.Stolen, c.Dead)
		}
		if r.Name == All[0].Name && (a.Lost+b.Lost > 0 || c.Ended != c.Stolen || e.Ended != e.Stolen) {
			t.Errorf("Latchkey loses %d and %d sessions, and of %d thefts ends %d and %d", a.Lost, b.Lost, c.Stolen, c.Ended, e.Ended)
		}
	}
	document.Part(t, "../../docs/proof.md", "rules", table.String()+"\n")
}

func share(l Losses) string {
	return fmt.Sprintf("%d (%.3g %%)", l.Lost, 100*float64(l.Lost)/float64(l.Devices))
}

// served is a session of the real broker and store, on the clock of a trace.
type served struct {
	*testing.T
	rig   *harness.Rig
	start time.Time
	first string
	ended bool
}

func (s *served) First() Token { return Token{Raw: s.first} }

func (s *served) Ended() bool { return s.ended }

func (s *served) Copy() Session { return s }

func (s *served) Present(t Token, at time.Duration) (Token, bool) {
	s.rig.Clock.Advance(s.start.Add(at).Sub(s.rig.Clock.Now()))
	login, err := s.rig.Broker.Refresh(context.Background(), t.Raw, broker.AppClientID, broker.Device{IP: "192.0.2.1"})
	if err != nil {
		s.ended = true
		return Token{}, false
	}
	return Token{Raw: string(login.RefreshToken)}, true
}

// What the table says of Latchkey holds for the broker with its database.
func TestTheStoreKeepsTheRule(t *testing.T) {
	for name, trace := range map[string]Trace{
		"everyday": Record(3, 20, 30*day, Everyday), "stolen": Record(4, 10, 30*day, Habits{Stolen: 1}),
	} {
		t.Run(name, func(t *testing.T) {
			rig := harness.New(t, "", nil)
			rig.User(t, "anna", broker.RoleUser)
			start := rig.Clock.Now()
			real := Rule{"served", func() Session {
				return &served{T: t, rig: rig, start: start, first: string(rig.Login(t, "anna").RefreshToken)}
			}}
			if got, want := Play(trace, real), Play(trace, All[0]); got != want {
				t.Errorf("%+v, and the rule alone says %+v", got, want)
			}
		})
	}
}

// A trace is made of what it says: no exchange takes longer than Delta, and what
// can go wrong does.
func TestTraceHasEverything(t *testing.T) {
	trace := everyday()
	var lostRequests, lostAnswers, again, overtaken int
	last := map[int]time.Duration{}
	for _, e := range trace.Exchanges {
		switch {
		case e.Handled == Never:
			lostRequests++
		case e.Stored == Never:
			lostAnswers++
		case e.Stored-e.Sent > Delta || e.Stored < e.Handled || e.Handled < e.Sent:
			t.Fatalf("%+v", e)
		case e.Stored < last[e.Device]:
			overtaken++
		default:
			last[e.Device] = e.Stored
		}
		if e.Again != Never {
			again++
		}
	}
	if min(lostRequests, lostAnswers, again, overtaken) < 100 {
		t.Errorf("%d requests and %d answers lost, %d delivered again, %d overtaken", lostRequests, lostAnswers, again, overtaken)
	}
	if !slices.IsSortedFunc(trace.Exchanges, func(a, b Exchange) int { return int(a.Sent - b.Sent) }) {
		t.Error("not in order")
	}
}
