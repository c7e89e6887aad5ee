package lab

import "testing"

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
