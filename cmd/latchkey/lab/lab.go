package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/latchkey-id/latchkey/providers/providertest"
)

// Config is what a lab stands on. All of it is required, but for Tell and Seed.
type Config struct {
	// Upstream is the Latchkey that the lab stands before. It believes
	// X-Forwarded-For of the lab, and has run by Clock from its start, as the IdP has.
	Upstream *url.URL
	Clock    *Clock
	IdP      *providertest.IdP
	// AccessLife is how long its access tokens live.
	AccessLife time.Duration
	// EndSessions ends every session there, as an administrator does.
	EndSessions func(context.Context) error
	// Patience is how long a check waits for the app to do anything of it.
	Patience time.Duration
	// Tell is told what to do with the app; nil: nobody is.
	Tell func(line string)
	// Seed of what scenarios leave to chance.
	Seed uint64
}

// Lab is the place where an app is tried. It is the [http.Handler] that the app
// has for its server.
type Lab struct {
	cfg   Config
	proxy *proxy
}

// New returns a lab in which nothing goes wrong until [Lab.Run].
func New(cfg Config) *Lab {
	if cfg.Tell == nil {
		cfg.Tell = func(string) {}
	}
	return &Lab{cfg: cfg, proxy: newProxy(cfg.Upstream, cfg.Clock)}
}

// ServeHTTP implements [http.Handler].
func (l *Lab) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.proxy.ServeHTTP(w, r) }

// Run tries the app with one scenario after the other. Of those that ctx ends,
// there is no verdict. It fails if the lab itself cannot do what a scenario says.
func (l *Lab) Run(ctx context.Context, scenarios []Scenario) (Report, error) {
	report := Report{}
	for _, s := range inOrder(scenarios) {
		c, err := l.check(ctx, s)
		if err != nil {
			return report, fmt.Errorf("%s: %w", s.Name, err)
		}
		report.add(c)
		l.cfg.Tell(c.line())
	}
	return report, nil
}

// trial is one check under way.
type trial struct {
	lab      *Lab
	scenario Scenario
	record   *record
	faults   *faults
	trigger  time.Time // when the first thing went wrong; zero: nothing has yet
	marked   time.Time // when the access tokens expired last
	expired  int       // how often
	asked    int       // how often the provider had been asked for what it lies in, before it did
}

// look is how often a check looks again when nothing happens.
const look = 100 * time.Millisecond

func (l *Lab) check(ctx context.Context, s Scenario) (Check, error) {
	t := &trial{lab: l, scenario: s, record: l.proxy.begin(), faults: armFaults(s.Faults, l.cfg.Seed)}
	l.cfg.Clock.set(max(s.Clock.span(), l.cfg.Clock.Ahead()))
	s.IdP.tell(l.cfg.IdP, l.cfg.Clock)
	t.asked = s.IdP.asked(l.cfg.IdP)
	defer Lies{}.tell(l.cfg.IdP, l.cfg.Clock)
	defer l.proxy.arm(nil)
	for _, line := range []string{"", s.Title, "  " + s.Tell} {
		l.cfg.Tell(line)
	}
	if !t.await(ctx, l.cfg.Patience, t.isIn) {
		return t.untried(ctx, "the app was not used with a session"), nil
	}
	if err := t.act(ctx); err != nil {
		return Check{}, err
	}
	patience := l.cfg.Patience
	if s.Patience > 0 {
		patience = min(patience, s.Patience.span())
	}
	if !t.await(ctx, patience, t.begun) {
		return t.untried(ctx, s.Untried), nil
	}
	return t.watch(ctx), nil
}

// await looks until something is so. It gives up after d, and with ctx.
func (t *trial) await(ctx context.Context, d time.Duration, so func() bool) bool {
	limit := time.NewTimer(d)
	defer limit.Stop()
	again := time.NewTicker(look)
	defer again.Stop()
	for !so() {
		select {
		case <-t.record.changed:
		case <-again.C:
		case <-limit.C:
			return so()
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// isIn: the app has a session.
func (t *trial) isIn() bool {
	for _, x := range t.record.seen() {
		if x.renewed() || x.ok() && x.Kind == KindAPI {
			return true
		}
	}
	return false
}

// act does what the scenario does at once, and lets its faults loose.
func (t *trial) act(ctx context.Context) error {
	s, l := t.scenario, t.lab
	if s.act() {
		t.trigger = time.Now()
	}
	l.proxy.arm(t.faults)
	if s.Advance > 0 {
		l.cfg.Clock.set(l.cfg.Clock.Ahead() + s.Advance.span())
	}
	if s.Expire > 0 {
		t.expired = 1
		t.mark()
	}
	if s.End {
		return l.cfg.EndSessions(ctx)
	}
	return nil
}

// mark lets all access tokens of before expire.
func (t *trial) mark() {
	t.marked = time.Now()
	t.lab.proxy.stale.expire(t.marked)
}

// begun: something of the scenario has happened to the app. With faults that is the
// first that struck; without, the first request after the lab did something. Of lies
// alone nothing has happened until the provider told one.
func (t *trial) begun() bool {
	t.renew()
	if s := t.scenario; s.IdP.any() && len(s.Faults) == 0 && !s.act() {
		return t.lied()
	}
	if len(t.scenario.Faults) > 0 {
		return t.struck()
	}
	for _, x := range t.record.seen() {
		after := t.trigger.IsZero() || !x.Begun.Before(t.trigger)
		if after && (x.Kind == KindAPI || x.Kind == KindRefresh) {
			if t.trigger.IsZero() {
				t.trigger = x.Begun
			}
			return true
		}
	}
	return false
}

// struck: a fault has struck, first in the exchange that began first; of that it may be
// known later than of the next.
func (t *trial) struck() bool {
	first := time.Time{}
	for _, x := range t.record.seen() {
		if x.Fault != "" && (first.IsZero() || x.Begun.Before(first)) {
			first = x.Begun
		}
	}
	if !first.IsZero() {
		t.trigger = first
	}
	return !first.IsZero()
}

// lied: the provider was asked for what it lies in. Of one that is down nothing is counted:
// then it is a login there, once that is answered.
func (t *trial) lied() bool {
	lies := t.scenario.IdP
	vain := func(x Exchange) bool { return x.toProvider() && !x.Ended.IsZero() }
	if lies.asked(t.lab.cfg.IdP) == t.asked && !(lies.Down && slices.ContainsFunc(t.record.seen(), vain)) {
		return false
	}
	t.trigger = time.Now() // that login is not what the app does about it
	return true
}

// watch makes the verdict: at once when the app did what it must not, after a while
// when it did all that it must, and at last anyway.
func (t *trial) watch(ctx context.Context) Check {
	began := time.Now()
	complete := time.Time{}
	broken, open := "", ""
	decided := func() bool {
		t.renew()
		t.struck()
		v := view{all: t.record.seen(), trigger: t.trigger, fresh: t.lab.cfg.AccessLife / 2}
		broken, open = t.scenario.Expect.judge(v)
		if open != "" || t.expired < t.scenario.Expire {
			complete = time.Time{}
		} else if complete.IsZero() {
			complete = time.Now()
		}
		return broken != "" || !complete.IsZero() && time.Since(complete) >= t.scenario.Settle.span()
	}
	decidedInTime := t.await(ctx, t.scenario.Watch.span()-time.Since(began), decided)
	switch {
	case broken != "":
		return t.verdict(Failed, broken)
	case decidedInTime, open == "" && ctx.Err() == nil:
		return t.verdict(Passed, "")
	case ctx.Err() != nil:
		return t.untried(ctx, "")
	}
	return t.verdict(Failed, open)
}

// renew lets the access token expire once more, when the app has got a new one and
// used it. It also expires again, and that counts for nothing, if the app has one
// that was on its way to it when the others expired.
func (t *trial) renew() {
	if t.expired == 0 {
		return
	}
	refused, renewed := false, false
	for _, x := range since(t.record.seen(), t.marked) {
		switch {
		case x.Kind == KindAPI && x.Status == http.StatusUnauthorized:
			refused = true
		case x.Kind == KindRefresh && x.renewed():
			renewed = true
		case x.Kind != KindAPI || !x.ok():
		case !refused && !renewed:
			t.mark()
			return
		case renewed && t.expired < t.scenario.Expire:
			t.expired++
			t.mark()
			return
		}
	}
}

func (t *trial) untried(ctx context.Context, reason string) Check {
	if ctx.Err() != nil {
		reason = "the lab was ended"
	}
	return t.verdict(NotTried, reason)
}
