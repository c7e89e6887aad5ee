package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// OverviewSpan is how far an overview looks back, and in which steps.
type OverviewSpan struct {
	Name  string // as it stands in a URL
	Whole time.Duration
	Step  time.Duration
}

// OverviewSpans are those that there are, the standard one first.
var OverviewSpans = []OverviewSpan{
	{"24h", 24 * time.Hour, time.Hour}, {"7d", 7 * 24 * time.Hour, 6 * time.Hour}, {"30d", 30 * 24 * time.Hour, 24 * time.Hour},
}

// Overview is what an installation did lately: sums of figures, which cost the
// same however many sessions there are.
type Overview struct {
	From, Until time.Time // the last step is not over yet
	// Figures are those of all names but live sessions, by step.
	Figures []Figure
	// Live are the live sessions, when they were last counted.
	Live []Figure
	// CountedAt is when sessions that began and ended were last counted, and LiveAt
	// when live ones were; zero: not yet.
	CountedAt, LiveAt time.Time
}

// Overview sums up the figures of a span.
func (b *Broker) Overview(ctx context.Context, span OverviewSpan) (o Overview, err error) {
	o.Until = b.now().Truncate(span.Step).Add(span.Step)
	o.From = o.Until.Add(-span.Whole)
	c, err := b.lastCount(ctx)
	if err != nil {
		return o, err
	}
	o.CountedAt, o.LiveAt = momentOf(c.Until), momentOf(c.Census)
	o.Figures, err = b.cfg.Store.Figures(ctx, FigureQuery{
		Names: []string{FigureLogins, FigureEnds, FigureRefreshes, FigureRefreshRefused, FigureLoginRefused}, From: o.From, Until: o.Until, Step: span.Step,
	})
	if err != nil || o.LiveAt.IsZero() {
		return o, err
	}
	hour := o.LiveAt.Truncate(figureStep)
	o.Live, err = b.cfg.Store.Figures(ctx, FigureQuery{
		Names: []string{FigureLive, FigureLiveClients, FigureLiveProviders}, From: hour, Until: hour.Add(figureStep), Step: figureStep,
	})
	return o, err
}

// lastCount is when sessions were last counted, and how far.
func (b *Broker) lastCount(ctx context.Context) (c counting, err error) {
	text, err := b.cfg.Store.Fact(ctx, factCounting)
	if errors.Is(err, NotFound) {
		return c, nil
	}
	_ = json.Unmarshal([]byte(text), &c) // nobody has counted yet
	return c, err
}

func momentOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Usernames are what users are called now, by id; one that is gone has none.
func (b *Broker) Usernames(ctx context.Context, ids []string) (map[string]string, error) {
	if ids = distinct(ids); len(ids) == 0 {
		return nil, nil
	}
	return b.cfg.Store.Usernames(ctx, ids)
}

// distinct is a list without what is empty or there twice.
func distinct(list []string) []string {
	list = slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" })
	slices.Sort(list)
	return slices.Compact(list)
}
