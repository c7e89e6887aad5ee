package web

import (
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

func TestPlotsStandOnZeroAndStayInside(t *testing.T) {
	for _, span := range broker.OverviewSpans {
		steps := int(span.Whole / span.Step)
		for _, most := range []int64{1, 2, 3, 7, 11, 99, 1001, 987_654_321, 1 << 50} {
			values, second := make([]int64, steps), make([]int64, steps)
			values[0], values[steps-1], second[steps-1] = most, most/2+1, 1
			p := newPlot("x", say("Logins"), broker.Overview{From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, span, series{Name: say("Logins"), Values: values}, series{Name: say("Logins"), Values: second, Second: true})
			if p.Ticks[0].At != plotBottom || p.Ticks[0].Name != "0" {
				t.Errorf("the axis begins at %+v", p.Ticks[0])
			}
			for i, b := range p.Bars {
				if b.Y < plotTop || b.Height < 0 || b.Y+b.Height > plotBottom+.11 || b.X < plotLeft || b.X+b.Width > plotWidth {
					t.Errorf("%s, %d: bar %d is outside: %+v", span.Name, most, i, b)
				}
			}
			for _, l := range p.Labels {
				if l.At < plotLeft || l.At > plotWidth {
					t.Errorf("label at %v", l.At)
				}
			}
			if len(p.Labels) < 3 || len(p.Labels) > 5 {
				t.Errorf("%s: %d labels", span.Name, len(p.Labels))
			}
		}
	}
}

func TestEveryCauseHasWords(t *testing.T) {
	for _, cause := range broker.EndCauses {
		if causeWords[cause] == nil {
			t.Errorf("no words for %s", cause)
		}
	}
}

func TestThousandsAreApart(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1\u202f000", 1234567: "1\u202f234\u202f567"} {
		if got := english.plain(grouped(n)); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}
