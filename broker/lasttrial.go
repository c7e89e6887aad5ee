package broker

import (
	"context"
	"sync"
	"time"
)

// How long a trial is not made again by somebody who only looks.
const (
	goodTrialLife = 5 * time.Minute
	badTrialLife  = 10 * time.Second // whoever mends something there wants to see it
)

// trials are what the last trial of each provider came to, as far as this process
// knows. A provider whose settings changed has another IdP, and was not tried.
type trials struct {
	mu    sync.Mutex
	last  map[string]lastTrial
	going map[IdP]*goingTrial
}

// goingTrial is a trial that everybody who looks waits for.
type goingTrial struct {
	ended chan struct{}
	Trial // once it has ended
}

type lastTrial struct {
	idp IdP
	at  time.Time
	Trial
}

func (x *trials) keep(p *Provider, now time.Time, came Trial) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.last == nil {
		x.last = map[string]lastTrial{}
	}
	x.last[p.ID] = lastTrial{p.IdP, now, came}
}

func (x *trials) of(p *Provider) (lastTrial, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	last, ok := x.last[p.ID]
	return last, ok && p.IdP != nil && last.idp == p.IdP
}

// LastTrial is what the last trial of a provider came to, if it says anything still;
// nothing is asked.
func (b *Broker) LastTrial(p Provider) (Trial, bool) {
	last, ok := b.trials.of(&p)
	return last.Trial, ok && b.now().Before(last.at.Add(healthLife))
}

// RecentTrial is the last trial of a provider, or, where that is some time ago, a
// new one, which everybody who looks meanwhile waits for. It goes on when they leave,
// so that it says how the IdP answers and not how long somebody waited; and it counts
// as nobody's. The error is that of ctx: the trial has not ended yet.
func (b *Broker) RecentTrial(ctx context.Context, p Provider) (Trial, error) {
	last, ok := b.trials.of(&p)
	life := badTrialLife
	if last.Result == CheckPassed {
		life = goodTrialLife
	}
	if ok && b.now().Before(last.at.Add(life)) {
		return last.Trial, nil
	}
	going := b.trials.join(p.IdP, func() Trial { return b.try(context.WithoutCancel(ctx), p) })
	select {
	case <-going.ended:
		return going.Trial, nil
	case <-ctx.Done():
		return Trial{}, ctx.Err()
	}
}

// join is the trial of an IdP that is under way, or one that begins now.
func (x *trials) join(idp IdP, try func() Trial) *goingTrial {
	x.mu.Lock()
	defer x.mu.Unlock()
	if there, ok := x.going[idp]; ok {
		return there
	}
	begun := &goingTrial{ended: make(chan struct{})}
	if x.going == nil {
		x.going = map[IdP]*goingTrial{}
	}
	x.going[idp] = begun
	go func() {
		begun.Trial = try()
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.going, idp)
		close(begun.ended)
	}()
	return begun
}

// Of is the step of a trial that looked at one thing; false: none did.
func (t Trial) Of(step string) (TrialStep, bool) {
	for _, one := range t.Steps {
		if one.Step == step {
			return one, true
		}
	}
	return TrialStep{}, false
}
