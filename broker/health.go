package broker

import (
	"context"
	"errors"
	"sync"
	"time"
)

// HealthState is how an IdP answered lately, as far as this process knows.
type HealthState string

// The states of an IdP.
const (
	HealthOK      HealthState = "ok"
	HealthSlow    HealthState = "slow"    // its last answer took longer than people like to wait
	HealthDark    HealthState = "dark"    // it does not answer
	HealthUnknown HealthState = "unknown" // nobody has asked it anything lately
)

const (
	slowAnswer = 2 * time.Second
	// healthLife is how long an answer, or the lack of one, says anything: twice as
	// long as a dark IdP of checked logins is left alone.
	healthLife = 2 * longestDarkness
)

// ProviderHealth is what is known of a provider without asking it. Times are
// Unix milliseconds, of this process: it forgets at a restart, and replicas know
// each their own.
type ProviderHealth struct {
	// InUse: people can be sent there. One of the database is not where its secret
	// cannot be opened, or before this process has read it.
	InUse         bool        `json:"in_use"`
	State         HealthState `json:"state"`
	Since         *int64      `json:"since"`           // of the state; null: unknown
	LastAnswerAt  *int64      `json:"last_answer_at"`  // null: none yet
	LastFailureAt *int64      `json:"last_failure_at"` // null: none
	LatencyMS     *int64      `json:"latency_ms"`      // of the last answer, in milliseconds
}

// ProviderHealth is what is known of a provider, by its own id; nothing is asked.
func (b *Broker) ProviderHealth(id string) ProviderHealth {
	for _, p := range b.Providers() {
		if p.ID == id {
			return b.healthOf(p)
		}
	}
	return ProviderHealth{State: HealthUnknown}
}

func (b *Broker) healthOf(p Provider) ProviderHealth {
	out := ProviderHealth{State: HealthUnknown, InUse: p.IdP != nil}
	if !out.InUse {
		return out
	}
	h := b.healths.of(&p)
	if h.knownAt(b.now()) {
		out.State, out.Since = h.state, unixMillis(h.since)
	}
	out.LastFailureAt = unixMillis(h.failed)
	if out.LastAnswerAt = unixMillis(h.answered); out.LastAnswerAt != nil {
		out.LatencyMS = new(h.took.Milliseconds())
	}
	// What others made us ask of it is an answer too, of which nobody took the time.
	if idp, ok := p.IdP.(Answering); ok && idp.LastAnswer().After(h.answered) {
		out.LastAnswerAt = unixMillis(idp.LastAnswer())
	}
	return out
}

// healths are what every call of an IdP came to. One that is at another issuer
// now is another one.
type healths struct {
	mu    sync.Mutex
	known map[string]health
}

type health struct {
	state            HealthState // empty: nothing is known
	since            time.Time
	answered, failed time.Time // the last time each
	took             time.Duration
	failures         int // in a row
}

func (h health) knownAt(now time.Time) bool {
	return h.state != "" && now.Before(later(h.answered, h.failed).Add(healthLife))
}

func healthKey(p *Provider) string { return p.ID + " " + p.IdP.Issuer() }

func (x *healths) of(p *Provider) health {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.known[healthKey(p)]
}

// note takes down a call: what it came to, and how many failures it counts for.
func (x *healths) note(p *Provider, now time.Time, took time.Duration, failures int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	h := x.known[healthKey(p)]
	if !h.knownAt(now) {
		h.state = ""
	}
	was := h.state
	if failures > 0 {
		h.failed, h.failures = now, h.failures+failures
		if h.failures >= circuitOpens {
			h.state = HealthDark
		}
	} else {
		h.answered, h.took, h.failures, h.state = now, took, 0, HealthOK
		if took >= slowAnswer {
			h.state = HealthSlow
		}
	}
	if h.state != was {
		h.since = now
	}
	if x.known == nil {
		x.known = map[string]health{}
	}
	x.known[healthKey(p)] = h
}

// heard takes down what a call of an IdP came to, which began at a moment of the
// broker's clock. That one call failed may be about the login, or made by whoever
// sent us there; several in a row are about the IdP.
func (b *Broker) heard(ctx context.Context, p *Provider, begun time.Time, err error) {
	if gone(ctx, err) {
		return
	}
	failures := 0
	if errors.Is(err, TemporarilyUnavailable) {
		failures = 1
	}
	b.healths.note(p, b.now(), b.cfg.Now().Sub(begun), failures)
	b.watched(p, begun, failures == 0)
}

// sent takes down what came of sending somebody to an IdP. What is asked then is
// about nobody, so that one failure is enough. Where nothing was asked, nothing
// was learned.
func (b *Broker) sent(ctx context.Context, p *Provider, begun time.Time, err error) {
	switch idp, ok := p.IdP.(Answering); {
	case gone(ctx, err):
	case err != nil:
		b.healths.note(p, b.now(), 0, circuitOpens)
		b.watched(p, begun, false)
	case ok && !idp.LastAnswer().Before(begun):
		b.healths.note(p, b.now(), b.cfg.Now().Sub(begun), 0)
		b.watched(p, begun, true)
	}
}

// gone reports whether a call failed because whoever made it went away.
func gone(ctx context.Context, err error) bool {
	return err != nil && errors.Is(ctx.Err(), context.Canceled)
}
