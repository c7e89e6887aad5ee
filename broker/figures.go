package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// Names of figures, each by a label. What happens at every refresh and every
// refusal is counted in memory; sessions are counted where they are written down.
const (
	FigureLogins         = "login"           // sessions that began, by provider; "" is a password
	FigureEnds           = "end"             // sessions that ended, by cause
	FigureRefreshes      = "refresh"         // by outcome
	FigureRefreshRefused = "refresh.refused" // by code
	FigureLoginRefused   = "login.refused"   // by code
	FigureLive           = "live"            // live sessions, when they were last counted
	FigureLiveClients    = "live.client"     // by client
	FigureLiveProviders  = "live.provider"   // by provider; "" is a password
)

// FigureNames is the closed list.
var FigureNames = []string{
	FigureLogins, FigureEnds, FigureRefreshes, FigureRefreshRefused, FigureLoginRefused, FigureLive, FigureLiveClients, FigureLiveProviders,
}

// OtherLabels stands for the labels beyond the [MaxLabels] with the greatest
// figures. No client and no provider can be called so.
const OtherLabels = "…"

// MaxLabels is how many labels a figure has in one hour at most.
const MaxLabels = 200

// Figure is how many times something happened in the hour that begins at Hour.
type Figure struct {
	Name  string
	Hour  time.Time
	Label string
	N     int64
}

// key is a figure without its number.
func (f Figure) key() Figure {
	f.N = 0
	return f
}

// figuresOf are figures by their keys, as a list.
func figuresOf(numbers map[Figure]int64) []Figure {
	out := make([]Figure, 0, len(numbers))
	for f, n := range numbers {
		f.N = n
		out = append(out, f)
	}
	return out
}

// LiveCount is how many live sessions a client has through a provider.
type LiveCount struct {
	ClientID   string
	ProviderID string
	N          int64
}

// FigureQuery asks for the figures of some names, summed up by Step, a multiple
// of an hour (Figure.Hour is its beginning, from midnight UTC on), where the hour
// is not before From and before Until.
type FigureQuery struct {
	Names       []string
	From, Until time.Time
	Step        time.Duration
}

// FigureStore keeps the figures, and counts what they are made of.
type FigureStore interface {
	// AddFigures adds to what stands, all or nothing.
	AddFigures(ctx context.Context, list []Figure) error
	// SetFigures replaces what stands, all or nothing.
	SetFigures(ctx context.Context, list []Figure) error
	Figures(ctx context.Context, q FigureQuery) ([]Figure, error)
	// CountLogins counts the sessions that began, by hour and provider. Their ids
	// are not before fromID and before untilID.
	CountLogins(ctx context.Context, from, until time.Time, fromID, untilID string) ([]Figure, error)
	// CountEnds counts the sessions that ended, by hour and cause.
	CountEnds(ctx context.Context, from, until time.Time) ([]Figure, error)
	// CountLive counts the live sessions. It reads the whole table.
	CountLive(ctx context.Context, now time.Time) ([]LiveCount, error)
}

// How sessions are counted.
const (
	countEvery   = 5 * time.Minute
	countRest    = 20              // times as long as a count took, nobody counts
	countLease   = 2 * time.Minute // longer than a count takes
	countAgain   = 2 * time.Hour   // what is younger is counted once more: others commit late, clocks differ
	countAtOnce  = 24 * time.Hour  // in one statement
	countBack    = 30 * 24 * time.Hour
	idMargin     = 15 * time.Minute // between the id of a session and its row
	factCounting = "figures"
)

// counting is the fact by which replicas agree on who counts: nobody before
// Next. Until is when the figures of sessions were last brought up to date, and
// Census when live ones were last counted. All are Unix ms.
type counting struct {
	Next   int64 `json:"next"`
	Until  int64 `json:"until"`
	Census int64 `json:"census"`
}

func (c counting) text() string {
	text, _ := json.Marshal(c) // numbers always marshal
	return string(text)
}

// KeepFigures writes down what was counted in memory, and, where that is due and
// no other replica does it, counts sessions. It is for the background, once a
// minute; nothing is ever left to be done at once.
func (b *Broker) KeepFigures(ctx context.Context) (left int, err error) {
	return 0, errors.Join(b.WriteFigures(ctx), b.countSessions(ctx))
}

// WriteFigures writes down what was counted in memory: figures, and the events of
// refused logins. What cannot be written is kept for the next time.
func (b *Broker) WriteFigures(ctx context.Context) error {
	// What another call has taken, and cannot write, is this one's.
	b.writing.Lock()
	defer b.writing.Unlock()
	return errors.Join(b.writeFigures(ctx), b.writeRefusals(ctx))
}

func (b *Broker) writeFigures(ctx context.Context) error {
	list := b.meter.take()
	if len(list) == 0 {
		return nil
	}
	err := b.cfg.Store.AddFigures(ctx, list)
	if err != nil {
		b.meter.putBack(list)
	}
	return err
}

// countedRefresh counts a refresh with its end.
func (b *Broker) countedRefresh(login *Login, err error) {
	name, verdict, label := FigureRefreshes, TallyOK, ""
	if err != nil {
		name, verdict, label = FigureRefreshRefused, TallyRefused, string(CodeOf(err))
	} else {
		label = string(login.Outcome)
	}
	hour := b.now().Truncate(figureStep)
	b.meter.mu.Lock()
	defer b.meter.mu.Unlock()
	b.meter.add(Figure{Name: name, Hour: hour, Label: label}, 1)
	b.meter.tallied(tallyKey{TallyRefresh, verdict, label})
}

// countSessions counts sessions that began, ended, or live, for all replicas.
func (b *Broker) countSessions(ctx context.Context) error {
	start := b.now()
	text, err := b.cfg.Store.InitFact(ctx, factCounting, counting{}.text())
	if err != nil {
		return err
	}
	var was counting
	_ = json.Unmarshal([]byte(text), &was) // what nobody can read begins anew
	if next := time.UnixMilli(was.Next); start.Before(next) && next.Sub(start) <= countBack {
		return nil
	}
	leased := was
	leased.Next = start.Add(countLease).UnixMilli()
	if mine, err := b.cfg.Store.SwapFact(ctx, factCounting, text, leased.text()); err != nil || !mine {
		return err
	}
	done := leased
	err = b.countBegunAndEnded(ctx, time.UnixMilli(was.Until), start)
	if err == nil {
		done.Until = start.UnixMilli()
	}
	failed := b.census(ctx, start)
	if failed == nil {
		done.Census = start.UnixMilli()
	}
	end := b.now()
	done.Next = end.Add(max(countEvery, countRest*end.Sub(start))).UnixMilli()
	_, swapErr := b.cfg.Store.SwapFact(ctx, factCounting, leased.text(), done.text())
	return errors.Join(err, failed, swapErr)
}

// countBegunAndEnded brings the figures of sessions up to date: those of the
// last hours, and what was missed since until. In the first count of an hour it
// looks further back for ends, because an expiry is written down a day late, or
// when the program runs again.
func (b *Broker) countBegunAndEnded(ctx context.Context, until, now time.Time) error {
	// Ended sessions are gone after their retention.
	horizon := now.Add(-min(countBack, b.cfg.Lifetimes.Retention)).Truncate(figureStep).Add(figureStep)
	from := later(earlier(until, now).Add(-countAgain).Truncate(figureStep), horizon)
	fromEnds := from
	if until.Truncate(figureStep).Before(now.Truncate(figureStep)) {
		fromEnds = horizon
	}
	return errors.Join(
		b.recount(ctx, FigureLogins, from, now, func(from, until time.Time) ([]Figure, error) {
			return b.cfg.Store.CountLogins(ctx, from, until, firstID(from.Add(-idMargin)), firstID(until.Add(idMargin)))
		}),
		b.recount(ctx, FigureEnds, fromEnds, now, func(from, until time.Time) ([]Figure, error) {
			return b.cfg.Store.CountEnds(ctx, from, until)
		}),
	)
}

// recount replaces the figures of a name from an hour on, a day at a time, so
// that no statement takes long.
func (b *Broker) recount(ctx context.Context, name string, from, now time.Time, count func(from, until time.Time) ([]Figure, error)) error {
	end := now.Truncate(figureStep).Add(figureStep)
	for from.Before(end) {
		until := earlier(from.Add(countAtOnce), end)
		list, err := count(from, until)
		if err == nil {
			err = b.replaceFigures(ctx, []string{name}, from, until, bounded(list))
		}
		if err != nil {
			return err
		}
		from = until
	}
	return nil
}

// replaceFigures writes where another figure stands, and 0 where one stands that
// is no more.
func (b *Broker) replaceFigures(ctx context.Context, names []string, from, until time.Time, list []Figure) error {
	stand, err := b.cfg.Store.Figures(ctx, FigureQuery{Names: names, From: from, Until: until, Step: figureStep})
	if err != nil {
		return err
	}
	differ := map[Figure]int64{}
	for _, f := range stand {
		differ[f.key()] = 0
	}
	for _, f := range list {
		differ[f.key()] = f.N
	}
	for _, f := range stand {
		if differ[f.key()] == f.N {
			delete(differ, f.key())
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return b.cfg.Store.SetFigures(ctx, figuresOf(differ))
}

// census counts the live sessions and keeps them as figures of the hour.
func (b *Broker) census(ctx context.Context, now time.Time) error {
	counts, err := b.cfg.Store.CountLive(ctx, now)
	if err != nil {
		return err
	}
	hour := now.Truncate(figureStep)
	sums := map[Figure]int64{{Name: FigureLive, Hour: hour}: 0}
	for _, c := range counts {
		sums[Figure{Name: FigureLive, Hour: hour}] += c.N
		sums[Figure{Name: FigureLiveClients, Hour: hour, Label: c.ClientID}] += c.N
		sums[Figure{Name: FigureLiveProviders, Hour: hour, Label: c.ProviderID}] += c.N
	}
	return b.replaceFigures(ctx, []string{FigureLive, FigureLiveClients, FigureLiveProviders}, hour, hour.Add(figureStep), bounded(figuresOf(sums)))
}

// bounded keeps the greatest figures of each name and hour, and sums up the rest
// as [OtherLabels].
func bounded(list []Figure) (out []Figure) {
	slices.SortFunc(list, func(a, b Figure) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Hour.Compare(b.Hour), cmp.Compare(b.N, a.N), cmp.Compare(a.Label, b.Label))
	})
	labels := 0
	for _, f := range list {
		last := len(out) - 1
		if last < 0 || out[last].Name != f.Name || !out[last].Hour.Equal(f.Hour) {
			labels = 0
		}
		if labels++; labels < MaxLabels {
			out = append(out, f)
		} else if labels == MaxLabels {
			out = append(out, Figure{Name: f.Name, Hour: f.Hour, Label: OtherLabels, N: f.N})
		} else {
			out[last].N += f.N
		}
	}
	return out
}
