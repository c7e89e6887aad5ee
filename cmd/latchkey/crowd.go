package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/latchkey-id/latchkey/broker"
)

// crowd is a listener that keeps at most so many connections. One more takes the
// place of one that the server waits for, because it rests, or its header, its body
// or its taking of the answer is slow: of the address that has most, the one on which
// nothing has begun or ended for longest. So whoever fills the server pushes out
// himself, and programs whose idle connection is closed make another. Only where the
// server works for all of them the next one waits until one is done.
type crowd struct {
	net.Listener
	most  int
	log   *slog.Logger
	mu    sync.Mutex
	room  *sync.Cond // somebody left, may go, or nobody comes any more
	here  []*guest
	of    map[string]*int // how many are here of an address
	turns uint64          // counts what begins and ends
	ended bool
}

// guest is one connection.
type guest struct {
	net.Conn
	crowd   *crowd
	place   int // in the crowd; -1: it has none
	address string
	alike   *int   // how many are here of its address
	turn    uint64 // when a request on it last began or ended
	known   bool   // to the server, so that it can close it
	working int    // handlers that do not wait for their body
	sending int    // writes under way
}

func newCrowd(l net.Listener, most int, log *slog.Logger) *crowd {
	c := &crowd{Listener: l, most: max(most, 1), log: log, of: map[string]*int{}}
	c.room = sync.NewCond(&c.mu)
	return c
}

// Accept implements net.Listener.
func (c *crowd) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		if !errors.Is(err, net.ErrClosed) {
			c.log.Warn("no connection can be taken", "event", "accept.failed", "error", err)
		}
		return nil, err
	}
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	g := &guest{Conn: conn, crowd: c, address: broker.AddressOf(host)}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.here) >= c.most && !c.pushOut() && !c.ended {
		c.room.Wait()
	}
	if g.alike = c.of[g.address]; g.alike == nil {
		g.alike = new(int)
		c.of[g.address] = g.alike
	}
	*g.alike++
	g.place, c.here = len(c.here), append(c.here, g)
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

// mayGo reports whether the server waits for the other side.
func (g *guest) mayGo() bool { return g.known && (g.working == 0 || g.sending > 0) }

// pushOut closes a connection that may go, if there is one.
func (c *crowd) pushOut() bool {
	var out *guest
	for _, g := range c.here {
		if !g.mayGo() {
			continue
		}
		if out == nil || *g.alike > *out.alike || *g.alike == *out.alike && g.turn < out.turn {
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
	if g.place < 0 {
		return
	}
	last := len(c.here) - 1
	c.here[last].place, c.here[g.place] = g.place, c.here[last]
	c.here[last], c.here = nil, c.here[:last]
	g.place = -1
	if *g.alike--; *g.alike == 0 {
		delete(c.of, g.address)
	}
	c.room.Broadcast()
}

// change changes what is known of a guest.
func (g *guest) change(do func(*guest)) {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	if do(g); g.mayGo() {
		g.crowd.room.Broadcast()
	}
}

// works counts a handler that begins to do something, or ends it.
func (g *guest) works(n int) { g.change(func(g *guest) { g.working += n }) }

// guestOf is the guest behind a connection of the server; nil: it is of another listener.
func guestOf(conn net.Conn) *guest {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	g, _ := conn.(*guest)
	return g
}

// changed is the ConnState of the server.
func (c *crowd) changed(conn net.Conn, _ http.ConnState) {
	if g := guestOf(conn); g != nil {
		g.change(func(g *guest) {
			c.turns++
			g.turn, g.known = c.turns, true
		})
	}
}

type guestKey struct{}

// introduced is the ConnContext of the server.
func introduced(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, guestKey{}, guestOf(conn))
}

// attended says of each request when the server works for it.
func attended(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g, _ := r.Context().Value(guestKey{}).(*guest); g != nil {
			g.works(1)
			defer g.works(-1)
			if r.Body != http.NoBody {
				r.Body = &awaited{r.Body, g}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// awaited is a body: whoever reads it waits for the other side.
type awaited struct {
	io.ReadCloser
	guest *guest
}

// Read implements io.Reader.
func (a *awaited) Read(p []byte) (int, error) {
	a.guest.works(-1)
	defer a.guest.works(1)
	return a.ReadCloser.Read(p)
}

// Write implements net.Conn.
func (g *guest) Write(p []byte) (int, error) {
	g.change(func(g *guest) { g.sending++ })
	defer g.change(func(g *guest) { g.sending-- })
	return g.Conn.Write(p)
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
