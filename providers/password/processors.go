package password

import (
	"os"
	"runtime"
	"sync"
)

// lent is what Go runs on more while passwords are hashed: a hash keeps one of its
// processors (GOMAXPROCS) for all of its time, on a thread of low priority, and with
// one core there would be none left for anybody else. With another, the system shares
// out the cores, and goes by priority. It is the process's, as GOMAXPROCS is.
var lent processors

type processors struct {
	mu     sync.Mutex
	hashes int // those under way and those that wait, of all Hashers
	before int
}

// own is how many there are without those that are lent.
func (p *processors) own() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hashes > 0 {
		return p.before
	}
	return runtime.GOMAXPROCS(0)
}

// lend is called before a hash, with how many its Hasher computes at once.
func (p *processors) lend(more int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hashes++; p.hashes == 1 {
		p.before = runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(p.before + more)
	}
}

// takeBack is called after it. The last one leaves what there was, or what the
// machine and its limits give by now, where nobody said otherwise: whoever calls
// [runtime.GOMAXPROCS] ends Go's own looking after them.
func (p *processors) takeBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hashes--; p.hashes > 0 {
		return
	}
	if os.Getenv("GOMAXPROCS") != "" {
		runtime.GOMAXPROCS(p.before)
		return
	}
	runtime.SetDefaultGOMAXPROCS()
}
