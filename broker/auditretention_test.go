package broker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// sweepWatch notes how many rows one sweep of the store may take.
type sweepWatch struct {
	broker.Store
	largest *int
}

func (w sweepWatch) Sweep(ctx context.Context, s broker.Sweep) (int, error) {
	n, err := w.Store.Sweep(ctx, s)
	*w.largest = max(*w.largest, n)
	return n, err
}

// Events are kept for as long as was configured, and then go in batches: one
// sweep takes more than one batch holds, and no statement more than it.
func TestAuditEventsAreKeptForTheirRetention(t *testing.T) { onBoth(t, keepsAuditEvents) }

func keepsAuditEvents(t *testing.T, database string) {
	largest := 0
	rig := harness.New(t, database, func(c *broker.Config) {
		c.AuditRetention = 10 * 24 * time.Hour
		c.Store = sweepWatch{c.Store, &largest}
	})
	ctx := t.Context()
	insert := func(n int, kind string) {
		t.Helper()
		if err := rig.Store.Tx(ctx, func(store broker.Store) error {
			for i := range n {
				e := broker.Event{ID: fmt.Sprintf("%s-%04d", kind, i), At: rig.Clock.Now(), Name: broker.EventUserUpdated}
				if err := store.InsertEvent(ctx, e); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	insert(2500, "old")
	rig.Clock.Advance(9 * 24 * time.Hour)
	insert(3, "young")
	left := func() int {
		t.Helper()
		list, err := rig.Broker.Events(ctx, broker.EventFilter{Limit: 5})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if err := rig.Broker.Sweep(ctx); err != nil || left() != 5 {
		t.Fatalf("events went before their time: %d, %v", left(), err)
	}
	rig.Clock.Advance(2 * 24 * time.Hour)
	if err := rig.Broker.Sweep(ctx); err != nil || left() != 3 {
		t.Errorf("%d events are left of 3, %v", left(), err)
	}
	if largest > 1000 {
		t.Errorf("%d rows went at once", largest)
	}
}
