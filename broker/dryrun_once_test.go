package broker_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
)

// txCounter counts the transactions that write.
type txCounter struct {
	broker.Store
	n atomic.Int64
}

func (s *txCounter) Tx(ctx context.Context, f func(broker.Store) error) error {
	s.n.Add(1)
	return s.Store.Tx(ctx, f)
}

// What takes a dry run back is no trouble that passes: it is made once, and
// nobody waits for it to be made again.
func TestDryRunIsMadeOnce(t *testing.T) {
	var counter *txCounter
	h := newHouse(t, "", func(p *broker.Provider) { p.IdP = newRawIdP("https://"+p.ID+".test", oidc.ClaimNames{}) }, func(c *broker.Config) {
		counter = &txCounter{Store: c.Store}
		c.Store = counter
		retrying(c)
	})
	before := counter.n.Load()
	out, err := h.Broker.DryRun(ctx, "p", broker.DryRunInput{Claims: []byte(`{"sub":"1","preferred_username":"anna"}`)})
	if err != nil || out.Outcome != broker.OutcomeLogin {
		t.Errorf("%+v, %v", out, err)
	}
	if n := counter.n.Load() - before; n != 1 {
		t.Errorf("%d transactions", n)
	}
}
