package lab

import (
	"sync"
	"testing"
)

// A record has an end, and has the newest of an app that loops.
func TestRecordKeepsTheNewest(t *testing.T) {
	r := newRecord()
	for n := range mostExchanges + 10 {
		r.begin(Exchange{Status: n})
	}
	if seen := r.seen(); len(seen) != mostExchanges || seen[0].Status != 10 || seen[mostExchanges-1].Status != mostExchanges+9 {
		t.Errorf("%d, from %d to %d", len(seen), seen[0].Status, seen[len(seen)-1].Status)
	}
}

// An answer that has arrived has a time at which it did, whenever somebody looks:
// without it a check takes its tokens for older than all others.
func TestWhatIsDeliveredHasEnded(t *testing.T) {
	x := newBare(t, 1)
	record, _ := x.proxy.current()
	over, wrong := make(chan struct{}), 0
	var looks sync.WaitGroup
	looks.Go(func() {
		for {
			for _, e := range record.seen() {
				if e.Delivered && e.Ended.IsZero() {
					wrong++
				}
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	for range 200 {
		if _, err := x.post("/auth/refresh"); err != nil {
			t.Error(err)
		}
	}
	close(over)
	looks.Wait()
	if wrong > 0 {
		t.Errorf("%d times", wrong)
	}
}
