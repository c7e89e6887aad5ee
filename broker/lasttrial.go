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
	mu   sync.Mutex
	last map[string]lastTrial
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
// new one. Its errors are those of [Broker.TryProvider].
func (b *Broker) RecentTrial(ctx context.Context, p Provider) (Trial, error) {
	last, ok := b.trials.of(&p)
	life := badTrialLife
	if last.Result == CheckPassed {
		life = goodTrialLife
	}
	if ok && b.now().Before(last.at.Add(life)) {
		return last.Trial, nil
	}
	return b.try(ctx, p)
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
