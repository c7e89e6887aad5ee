package web

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the geometry of plots: bars over time, in the units of their
// viewBox. The template "plot" writes them as SVG, with classes for the colours
// and letters large enough for the narrowest phone.

// The viewBox, and the place of the bars in it.
const (
	plotWidth  = 340.0
	plotLeft   = 40.0 // room for the figures of the axis
	plotTop    = 10.0
	plotBottom = 126.0
	labelRoom  = 22.0 // half a label of the time
)

// series is what one kind of bar shows.
type series struct {
	Name   *text
	Values []int64
	Second bool // hatched, and on top of the first
}

// Total is the sum of the values.
func (s series) Total() *text { return grouped(s.sum()) }

func (s series) sum() (total int64) {
	for _, n := range s.Values {
		total += n
	}
	return total
}

// plot is a plot of one series, or of two that are stacked.
type plot struct {
	ID     string
	Title  *text
	Series []series
	Note   *text
	Bars   []bar
	Ticks  []tick // of the figures, from 0 up
	Labels []tick // of the time
	Empty  bool
	// Said is the whole plot in a sentence, for whoever cannot see it.
	Said *text
}

type bar struct {
	X, Y, Width, Height float64
	Second              bool
	Said                *text // what points at it
}

// tick is a mark of an axis. Its words are digits (Name) or a date (Text).
type tick struct {
	At     float64
	Name   string
	Text   *text
	Anchor string // which end of the text stands at At
}

// Left and Right are the ends of the axis of time, and Margin that of the figures
// beside it.
func (plot) Left() float64   { return plotLeft }
func (plot) Right() float64  { return plotWidth }
func (plot) Margin() float64 { return plotLeft - 6 }

// Two reports whether the plot has two kinds of bars, which need a legend.
func (p plot) Two() bool { return len(p.Series) > 1 }

// Total is the sum of all series.
func (p plot) Total() *text {
	total := int64(0)
	for _, s := range p.Series {
		total += s.sum()
	}
	return grouped(total)
}

// newPlot lays out bars; every series has a value for every step.
func newPlot(id string, title *text, o broker.Overview, span broker.OverviewSpan, list ...series) plot {
	p := plot{ID: id, Title: title, Series: list}
	steps := int(span.Whole / span.Step)
	sums, most, at := make([]int64, steps), int64(0), 0
	for i := range sums {
		for _, s := range list {
			sums[i] += s.Values[i]
		}
		if sums[i] > most {
			most, at = sums[i], i
		}
	}
	if most == 0 {
		p.Empty = true
		return p
	}
	top := niceTop(most)
	y := func(n int64) float64 { return tenth(plotBottom - (plotBottom-plotTop)*float64(n)/float64(top)) }
	for _, n := range []int64{0, top / 2, top} {
		if n == 0 || n*2 >= top && n > 0 {
			p.Ticks = append(p.Ticks, tick{At: y(n), Name: short(n)})
		}
	}
	wide := (plotWidth - plotLeft) / float64(steps)
	for i := range steps {
		from := o.From.Add(time.Duration(i) * span.Step)
		x, base := plotLeft+wide*float64(i), int64(0)
		for _, s := range list {
			if n := s.Values[i]; n > 0 {
				p.Bars = append(p.Bars, bar{
					X: tenth(x + wide*.12), Y: y(base + n), Width: tenth(wide * .76), Height: tenth(y(base) - y(base+n)), Second: s.Second,
					Said: say("{when}: {n} {what}", when(from, span), grouped(n), s.Name),
				})
				base += n
			}
		}
		if label := labelOf(from, i, span); label != nil {
			one := tick{At: tenth(x + wide/2), Text: label, Anchor: "middle"}
			if one.At > plotWidth-labelRoom {
				one.At, one.Anchor = plotWidth, "end"
			}
			p.Labels = append(p.Labels, one)
		}
	}
	p.Said = say("{title}, over time. The most were {n}: {when}.", title, grouped(most), when(o.From.Add(time.Duration(at)*span.Step), span))
	return p
}

// niceTop is the end of an axis: not below the greatest value, with a half that is
// a whole number, but for 1.
func niceTop(most int64) int64 {
	if most <= 1 {
		return 1
	}
	for unit := int64(1); ; unit *= 10 {
		for _, n := range []int64{2, 4, 6, 8, 10, 12, 16} {
			if n*unit >= most || unit > math.MaxInt64/100 {
				return n * unit
			}
		}
	}
}

// short is a figure of the axis, which has round ones.
func short(n int64) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return strconv.FormatInt(n/1_000_000, 10) + "M"
	case n >= 1000 && n%1000 == 0:
		return strconv.FormatInt(n/1000, 10) + "k"
	}
	return strconv.FormatInt(n, 10)
}

// grouped is a number with its thousands apart, as all languages read it.
func grouped(n int64) *text {
	digits, out := strconv.FormatInt(n, 10), strings.Builder{}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out.WriteString("\u202f")
		}
		out.WriteRune(d)
	}
	return &text{key: out.String()}
}

func tenth(x float64) float64 { return math.Round(x*10) / 10 }

// labelOf says under some of the bars when they are.
func labelOf(at time.Time, i int, span broker.OverviewSpan) *text {
	switch {
	case span.Step < 6*time.Hour && at.Hour()%6 == 0:
		return &text{key: at.Format("15:04")}
	case span.Step == 6*time.Hour && at.Hour() == 6 && at.YearDay()%2 == 0: // the second of the day's four
		return dayOf(at)
	case span.Step > 6*time.Hour && i%7 == 3:
		return dayOf(at)
	}
	return nil
}

func dayOf(at time.Time) *text {
	return say("{day} {month}", at.Day(), shortMonths[at.Month()-1])
}

// when says which step it is.
func when(at time.Time, span broker.OverviewSpan) *text {
	if span.Step >= 24*time.Hour {
		return dayOf(at)
	}
	return say("{day}, {time}", dayOf(at), &text{key: at.Format("15:04") + "–" + at.Add(span.Step).Format("15:04")})
}

var shortMonths = []*text{
	say("Jan"), say("Feb"), say("Mar"), say("Apr"), say("May"), say("Jun"), say("Jul"), say("Aug"), say("Sep"), say("Oct"), say("Nov"), say("Dec"),
}
