package harness

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Wire is a TCP proxy before a server, which does to connections what networks do.
type Wire struct {
	listener net.Listener
	server   string
	passing  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	held    bool
	cut     bool
	delay   time.Duration
	lose    []string // empty: nothing is lost
	losing  int      // how often it was said what to lose
	lost    int
	open    map[net.Conn]bool
	over    bool
}

// NewWire leads to a server at host:port, until the test ends.
func NewWire(tb testing.TB, server string) *Wire {
	tb.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w := &Wire{listener: l, server: server, open: map[net.Conn]bool{}}
	w.changed = sync.NewCond(&w.mu)
	w.passing.Go(w.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		w.change(func() { w.over = true; w.closeAll() })
		w.passing.Wait()
	})
	return w
}

// WireTo leads to the server of a database URL, and returns the URL through it.
func WireTo(tb testing.TB, databaseURL string) (w *Wire, through string) {
	tb.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	w = NewWire(tb, u.Host)
	u.Host = w.listener.Addr().String()
	return w, u.String()
}

// Hold keeps back whatever is said on either side, and lets it go on later: a
// network that is parted, and heals.
func (w *Wire) Hold(held bool) { w.change(func() { w.held = held }) }

// Delay lets each piece of an answer come later by so much; 0 lets those come at once
// that are late.
func (w *Wire) Delay(d time.Duration) { w.change(func() { w.delay = d }) }

// Cut ends all connections and, until it is taken back, those that come.
func (w *Wire) Cut(cut bool) {
	w.change(func() {
		if w.cut = cut; cut {
			w.closeAll()
		}
	})
}

// Lose cuts the first connection on which these words were said from now, one after
// the other: the last of them reach the server, and its answer is lost.
func (w *Wire) Lose(words ...string) {
	w.change(func() {
		w.lose = words
		w.losing++
	})
}

// Lost is how many answers were lost.
func (w *Wire) Lost() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

func (w *Wire) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
	w.changed.Broadcast()
}

func (w *Wire) closeAll() {
	for conn := range w.open {
		_ = conn.Close()
	}
}

func (w *Wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp4", w.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		w.change(func() { w.open[client], w.open[server] = true, true })
		x := &crossing{wire: w, client: client, server: server}
		w.passing.Go(func() { x.pass(server, client, x.said) })
		w.passing.Go(func() { x.pass(client, server, x.answered) })
	}
}

// crossing is one connection.
type crossing struct {
	wire           *Wire
	client, server net.Conn
	heard, losing  int  // so many words of what is to be lost; see [Wire.Lose]
	doomed         bool // its next answer is lost
}

// pass carries what one side says to the other, if may lets it.
func (x *crossing) pass(to, from net.Conn, may func([]byte) bool) {
	defer x.wire.change(func() {
		for _, conn := range []net.Conn{x.client, x.server} {
			_ = conn.Close()
			delete(x.wire.open, conn)
		}
	})
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !may(buf[:n]) {
			return
		}
		if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
			return
		}
	}
}

// freely waits while the wire is held, and reports whether it still leads there.
func (w *Wire) freely() bool {
	for w.held && !w.over && !w.cut {
		w.changed.Wait()
	}
	return !w.over && !w.cut
}

// late waits as long as answers are late, until the wire is cut.
func (w *Wire) late() {
	if w.delay == 0 {
		return
	}
	due := time.Now().Add(w.delay)
	wake := time.AfterFunc(w.delay, func() { w.change(func() {}) })
	defer wake.Stop()
	for w.delay > 0 && time.Now().Before(due) && !w.over && !w.cut {
		w.changed.Wait()
	}
}

func (x *crossing) said(words []byte) bool {
	w := x.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.losing != w.losing {
		x.heard, x.losing = 0, w.losing
	}
	for x.heard < len(w.lose) && bytes.Contains(words, []byte(w.lose[x.heard])) {
		x.heard++
	}
	if len(w.lose) > 0 && x.heard == len(w.lose) {
		w.lose, x.doomed = nil, true
	}
	return w.freely()
}

func (x *crossing) answered([]byte) bool {
	w := x.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late()
	if x.doomed {
		w.lost++
		return false
	}
	return w.freely()
}
