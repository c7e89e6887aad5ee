package broker

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// Names of tallies: what happened since this process began, in this process
// alone. [Figure]s are what all replicas counted, by the hour.
const (
	TallyLogins   = "login"   // by method, and what came of it: [TallyOK] or a code
	TallyRefresh  = "refresh" // by verdict, and the outcome or the code of the refusal
	TallyStarted  = "started" // sessions that began, by method
	TallyEnded    = "ended"   // sessions that ended, by cause
	TallyEvents   = "event"   // events of the audit log, by name
	TallyLimits   = "limit"   // decisions of the limiter, by what it counts and what it said
	TallyIdPCalls = "idp"     // calls of an IdP, by provider, and what came of it
	TallyMails    = "mail"    // tries to send a mail: [MailSent], [MailPostponed] or [MailUndelivered]
)

// What a tally of [TallyLogins], [TallyRefresh], [TallyLimits] and
// [TallyIdPCalls] says.
const (
	TallyOK      = "ok"
	TallyRefused = "refused"
	TallyFailed  = "failed"
)

// What a tally of [TallyMails] says.
const (
	MailSent        = "sent"
	MailPostponed   = "postponed"
	MailUndelivered = "undelivered" // given up
)

// Methods of a login that are no provider's id.
const (
	MethodPassword = "password"
	MethodPasskey  = "passkey"
	MethodExchange = "token_exchange"
	MethodUnknown  = "unknown"
)

// Tally is how often something happened since the process began. Labels are of
// closed lists, or ids of providers: never what a stranger chose.
type Tally struct {
	Name   string
	Labels [2]string
	N      uint64
}

// tallyKey is a tally without its number.
type tallyKey struct{ name, first, second string }

// tally counts one more.
func (m *meter) tally(name, first, second string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tallied(tallyKey{name, first, second})
}

// tallied is tally while the meter is held.
func (m *meter) tallied(key tallyKey) {
	if _, known := m.totals[key]; !known && len(m.totals) >= maxCounters {
		key = tallyKey{key.name, OtherLabels, OtherLabels}
	}
	m.totals[key]++
}

// Tallies are what was counted since the process began, in order.
func (b *Broker) Tallies() []Tally {
	b.meter.mu.Lock()
	out := make([]Tally, 0, len(b.meter.totals))
	for key, n := range b.meter.totals {
		out = append(out, Tally{Name: key.name, Labels: [2]string{key.first, key.second}, N: n})
	}
	b.meter.mu.Unlock()
	slices.SortFunc(out, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.Labels[:], b.Labels[:]))
	})
	return out
}

// loggedIn counts a login with its end.
func (b *Broker) loggedIn(method string, err error) {
	result := TallyOK
	if err != nil {
		result = string(CodeOf(err))
	}
	b.meter.tally(TallyLogins, method, result)
}

// happened counts an event, and what it says of sessions.
func (m *meter) happened(e Event) {
	m.tally(TallyEvents, e.Name, "")
	switch e.Name {
	case EventSessionStarted:
		m.tally(TallyStarted, e.Detail["method"], "")
	case EventSessionEnded:
		m.tally(TallyEnded, e.Detail["cause"], "")
	}
}

// countedLimiter counts what a limiter decides.
type countedLimiter struct {
	Limiter
	meter *meter
}

// Check implements Limiter.
func (l countedLimiter) Check(ctx context.Context, q Quota, key string) (LimitState, error) {
	state, err := l.Limiter.Check(ctx, q, key)
	l.tally(key, TallyOK, state.Exceeded, err)
	return state, err
}

// Count implements Limiter.
func (l countedLimiter) Count(ctx context.Context, q Quota, key string) (LimitState, error) {
	state, err := l.Limiter.Count(ctx, q, key)
	if slices.Contains(countedKinds, limitKind(key)) {
		l.tally(key, TallyOK, state.Refused, err)
	} else {
		l.tally(key, TallyFailed, false, err)
	}
	return state, err
}

func (l countedLimiter) tally(key, decision string, refused bool, err error) {
	switch {
	case err != nil:
		decision = string(TemporarilyUnavailable)
	case refused:
		decision = TallyRefused
	}
	l.meter.tally(TallyLimits, limitKind(key), decision)
}

// countedKinds are what counts whether it fails or not.
var countedKinds = []string{"starts", "codes", "exports", "trials", "registrations", "forgotten"}

// limitKind is what a key of the limiter is about, without who it is.
func limitKind(key string) string {
	for prefix, kind := range map[string]string{
		"address ": "address", "account ": "account", "session ": "session", "API key from ": "api_key", "client ": "client",
		"starts of ": "starts", "codes of ": "codes", "exports of ": "exports", "trials of ": "trials",
		"registrations of ": "registrations", "registration of ": "registration_token", "forgotten ": "forgotten",
	} {
		if strings.HasPrefix(key, prefix) {
			return kind
		}
	}
	return "other"
}

// Watcher is told what took how long; for those who watch over the program.
type Watcher interface {
	// IdPAnswered is told of each call of an IdP, with the id of its provider.
	// answered is false where it did not answer.
	IdPAnswered(provider string, took time.Duration, answered bool)
}

// watched takes down a call of an IdP.
func (b *Broker) watched(p *Provider, begun time.Time, answered bool) {
	result := TallyOK
	if !answered {
		result = TallyFailed
	}
	b.meter.tally(TallyIdPCalls, p.ID, result)
	if b.cfg.Watcher != nil {
		b.cfg.Watcher.IdPAnswered(p.ID, b.cfg.Now().Sub(begun), answered)
	}
}

// LiveSessions is how many sessions were live when they were last counted, and
// when that was. It reads figures, and no sessions. The zero time: nobody has
// counted yet.
func (b *Broker) LiveSessions(ctx context.Context) (n int64, at time.Time, err error) {
	c, err := b.lastCount(ctx)
	if at = momentOf(c.Census); err != nil || at.IsZero() {
		return 0, at, err
	}
	hour := at.Truncate(figureStep)
	list, err := b.cfg.Store.Figures(ctx, FigureQuery{Names: []string{FigureLive}, From: hour, Until: hour.Add(figureStep), Step: figureStep})
	for _, f := range list {
		n += f.N
	}
	return n, at, err
}

// Outbox is how many mails of all replicas wait to be sent, and for how long the
// oldest of them has.
func (b *Broker) Outbox(ctx context.Context) (waiting int64, oldest time.Duration, err error) {
	waiting, since, err := b.cfg.Store.Outbox(ctx)
	if err == nil && !since.IsZero() {
		oldest = max(b.now().Sub(since), 0)
	}
	return waiting, oldest, err
}
