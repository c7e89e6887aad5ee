package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"github.com/latchkey-id/latchkey/broker"
)

// crowd is a listener that keeps at most so many connections. One more takes the
// place of one on which nothing goes on: of the address that has most, the one that
// rests longest. So whoever fills the server with idle connections pushes out
// himself, and programs whose idle connection is closed make another. Where
// something goes on everywhere, the next one waits until somebody leaves.
type crowd struct {
	net.Listener
	most  int
	mu    sync.Mutex
	room  *sync.Cond // somebody left, rests, or nobody comes any more
	here  map[*guest]struct{}
	of    map[string]int // how many are here of an address
	turns uint64         // counts who began to rest
	ended bool
}

// guest is one connection.
type guest struct {
	net.Conn
	crowd   *crowd
	address string
	rests   uint64 // since which turn; 0: it does not
}

func newCrowd(l net.Listener, most int) *crowd {
	c := &crowd{Listener: l, most: max(most, 1), here: map[*guest]struct{}{}, of: map[string]int{}}
	c.room = sync.NewCond(&c.mu)
	return c
}

// Accept implements net.Listener.
func (c *crowd) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	g := &guest{Conn: conn, crowd: c, address: broker.AddressOf(host)}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.here) >= c.most && !c.pushOut() && !c.ended {
		c.room.Wait()
	}
	c.here[g] = struct{}{}
	c.of[g.address]++
	return g, nil
}

// Close implements net.Listener.
func (c *crowd) Close() error {
	c.mu.Lock()
	c.ended = true
	c.room.Broadcast()
	c.mu.Unlock()
	return c.Listener.Close()
}

// pushOut closes a connection that rests, if there is one.
func (c *crowd) pushOut() bool {
	var out *guest
	for g := range c.here {
		if g.rests == 0 {
			continue
		}
		if out == nil || c.of[g.address] > c.of[out.address] || g.address == out.address && g.rests < out.rests {
			out = g
		}
	}
	if out == nil {
		return false
	}
	c.forget(out)
	_ = out.Conn.Close()
	return true
}

func (c *crowd) forget(g *guest) {
	if _, ok := c.here[g]; !ok {
		return
	}
	delete(c.here, g)
	if c.of[g.address]--; c.of[g.address] == 0 {
		delete(c.of, g.address)
	}
	c.room.Broadcast()
}

// changed is the ConnState of the server. Who has not said anything yet rests too.
func (c *crowd) changed(conn net.Conn, state http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	g, ok := conn.(*guest)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew, http.StateIdle:
		c.turns++
		g.rests = c.turns
		c.room.Broadcast()
	default:
		g.rests = 0
	}
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.crowd.mu.Lock()
	g.crowd.forget(g)
	g.crowd.mu.Unlock()
	return g.Conn.Close()
}

// CloseWrite lets the server end its half first, so that a refusal is read before
// the connection is gone.
func (g *guest) CloseWrite() error {
	if half, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
