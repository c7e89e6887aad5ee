package pgtest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// shared is the cluster of the whole test process.
var shared struct {
	sync.Mutex
	cluster *Cluster
	err     error // of the one attempt to start it, so that not every test waits for another
}

// Shared returns the test process's common cluster, started at first use; take
// a NewDatabase each. A test that stops its server takes MustStart instead,
// since others are using this one. The package's TestMain closes it: see Main.
func Shared(tb testing.TB) *Cluster {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil && shared.err == nil {
		shared.cluster, shared.err = Start()
	}
	if shared.err != nil {
		tb.Fatalf("starting PostgreSQL: %v", shared.err)
	}
	return shared.cluster
}

// Main runs a package's tests, closes the shared cluster and returns the exit
// code:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
// A test that panics ends the process at once, past any deferred call; the
// kernel stops the server then, and the next Start removes its files.
func Main(m *testing.M) int { return runAndClose(m.Run) }

func runAndClose(tests func() int) (code int) {
	defer func() {
		if err := closeShared(); err != nil {
			fmt.Fprintf(os.Stderr, "closing the shared PostgreSQL: %v\n", err)
			code = max(code, 1)
		}
	}()
	return tests()
}

func closeShared() error {
	shared.Lock()
	defer shared.Unlock()
	c := shared.cluster
	shared.cluster, shared.err = nil, nil
	if c == nil {
		return nil
	}
	return c.Close()
}
