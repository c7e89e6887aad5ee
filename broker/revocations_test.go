package broker_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// endedStore says which sessions ended, and counts how often it is asked.
type endedStore struct {
	broker.Store
	reads atomic.Int64
	ended []string
	takes func() // its time
}

func (s *endedStore) EndedSince(ctx context.Context, _ time.Time) ([]string, error) {
	if s.reads.Add(1); s.takes != nil {
		s.takes()
	}
	return append([]string{}, s.ended...), ctx.Err()
}

// X06: the list of ended sessions, which everybody may ask for, is read and made once a
// second, and handed out as it is; that it cannot be made is known for as long.
func TestX06RevocationListForEveryRequest(t *testing.T) {
	few, many := []string{"a", "b"}, make([]string, 300_000) // too many for a list
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	store := &endedStore{ended: few}
	rig := harness.New(t, "", func(c *broker.Config) { store.Store, c.Store = c.Store, store })
	ask := func(want broker.Code) (last broker.SignedRevocations) {
		t.Helper()
		before := store.reads.Load()
		for range 50 {
			list, err := rig.Broker.Revocations(t.Context())
			if err == nil && want != "" || err != nil && broker.CodeOf(err) != want {
				t.Fatalf("%v, want %q", err, want)
			}
			if last.Text != nil && &list.Text[0] != &last.Text[0] {
				t.Fatal("it is copied")
			}
			last = list
		}
		if n := store.reads.Load() - before; n != 1 {
			t.Fatalf("the sessions were read %d times, want once", n)
		}
		rig.Clock.Advance(time.Second)
		return last
	}
	first := ask("")
	if again := ask(""); again.Tag != first.Tag || &again.Text[0] != &first.Text[0] {
		t.Error("it is made again, and nothing changed")
	}
	store.ended = many
	ask(broker.TemporarilyUnavailable)
	store.takes = func() { rig.Clock.Advance(5 * time.Second) } // a database that hangs
	ask(broker.TemporarilyUnavailable)
	store.ended, store.takes = few, nil
	if again := ask(""); again.Tag != first.Tag {
		t.Error("after the trouble it is another one")
	}

	// Whoever goes away while it is made leaves no trouble behind.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rig.Broker.Revocations(gone); err == nil {
		t.Error("a list for nobody")
	}
	ask("")
}
