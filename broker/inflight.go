package broker

import (
	"errors"
	"sync"
)

// maxInFlight is how many passwords of one address are checked or wait at once,
// half of the places that there are: one address must not take them all.
const maxInFlight = 64

var errTooManyAtOnce = errors.New("too many passwords of one address at once")

// inFlight counts what is under way per key.
type inFlight struct {
	mu sync.Mutex
	n  map[string]int
}

func (f *inFlight) enter(key string) (leave func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == nil {
		f.n = map[string]int{}
	}
	if f.n[key] >= maxInFlight {
		return nil, false
	}
	f.n[key]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.n[key]--; f.n[key] == 0 {
			delete(f.n, key)
		}
	}, true
}
