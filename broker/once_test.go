package broker_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
)

// What is refused has written nothing: the name of its transaction neither, which what
// is done leaves behind.
func TestRefusedTransactionHasNoName(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	traced, err := storage.Open(t.Context(), storage.Options{URL: "sqlite::memory:", Trace: func(query string) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, query)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer traced.Close()
	rig := harness.New(t, "", func(c *broker.Config) { c.Store = traced })
	u := rig.User(t, "alice", broker.RoleUser)
	names := func(id string, want error) (n int) {
		t.Helper()
		mu.Lock()
		asked = nil
		mu.Unlock()
		_, err := rig.Broker.ResetFactors(t.Context(), id)
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.ContainsFunc(asked, func(query string) bool { return strings.Contains(query, "users") }) {
			t.Errorf("no transaction looked for the user: %q", asked)
		}
		for _, query := range asked {
			n += strings.Count(query, "INSERT INTO used_tokens")
		}
		return n
	}
	if n := names("nobody", broker.NotFound); n != 0 {
		t.Errorf("what was refused wrote %d names", n)
	}
	if n := names(u.ID, nil); n != 1 {
		t.Errorf("what was done wrote %d names, want 1", n)
	}
}
