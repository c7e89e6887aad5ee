package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// crowd is a listener that keeps at most so many connections. One more takes the
// place of one that the server waits for, because it rests, or its header, its body
// or its taking of the answer is slow: of the address that has most, the one on which
// nothing has begun or ended for longest. So whoever fills the server pushes out
// himself, and programs whose idle connection is closed make another. Those who come on
// few connections, or through a trusted proxy, keep their place for a moment: when
// everybody comes at once it is the server that is slow. It is no longer one: whoever
// has many addresses could hold others up by it. Where nobody may go the next one waits
// until somebody is done, and whoever is, leaves.
type crowd struct {
	net.Listener
	bounds
	log    *slog.Logger
	mu     sync.Mutex
	room   *sync.Cond // somebody left, may go, or nobody comes any more
	here   []*guest
	of     map[string]*int // how many are here of an address
	waited time.Time       // when the next one last had to wait, for nobody might go
	tried  time.Time       // when too many had sent what was not read yet
	ended  bool
}

// guest is one connection.
type guest struct {
	net.Conn
	crowd   *crowd
	place   int // in the crowd; -1: it has none
	address string
	proxy   bool      // it is trusted
	alike   *int      // how many are here of its address
	turn    time.Time // when a request on it last began or ended
	unread  time.Time // when it was seen that it has sent what was not read yet
	known   bool      // to the server, so that it can close it
	working int       // handlers that do not wait for their body
	sending int       // writes under way
}

func newCrowd(l net.Listener, b bounds, log *slog.Logger) *crowd {
	c := &crowd{Listener: l, bounds: b, log: log, of: map[string]*int{}}
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
	ip, _ := netip.ParseAddr(host)
	g := &guest{Conn: conn, crowd: c, address: broker.AddressOf(host), turn: time.Now()}
	if c.proxies != nil {
		g.proxy = slices.ContainsFunc(c.proxies(), func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.makeRoom()
	if g.alike = c.of[g.address]; g.alike == nil {
		g.alike = new(int)
		c.of[g.address] = g.alike
	}
	*g.alike++
	g.place, c.here = len(c.here), append(c.here, g)
	return g, nil
}

// makeRoom waits until there is room for one.
func (c *crowd) makeRoom() {
	for len(c.here) >= c.connections && !c.pushOut() && !c.ended {
		c.waited = time.Now()
		age := time.AfterFunc(c.patience/64, c.lookAgain) // somebody's moment may be over by then
		c.room.Wait()
		age.Stop()
	}
}

// lookAgain wakes whoever waits for room.
func (c *crowd) lookAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room.Broadcast()
}

// Close implements net.Listener.
func (c *crowd) Close() error {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.lookAgain()
	return c.Listener.Close()
}

// mayGo reports whether the server has waited for the other side long enough.
func (g *guest) mayGo() bool {
	modest, patience := g.proxy || *g.alike <= max(1, g.crowd.connections/64), g.crowd.patience
	return g.known && (g.working == 0 || g.sending > 0) && (!modest || time.Since(g.turn) >= patience) && time.Since(g.unread) >= patience/16
}

// pushOut closes a connection that may go, if there is one.
func (c *crowd) pushOut() bool {
	if time.Since(c.tried) < c.patience/64 {
		return false
	}
	for range 16 {
		out := c.next()
		if out == nil {
			return false
		}
		if out.working == 0 && out.sending == 0 && unread(out.Conn) {
			out.unread = time.Now()
			continue
		}
		c.forget(out)
		_ = out.Conn.Close()
		return true
	}
	c.tried = time.Now() // it is the server that is slow, and this takes time too
	return false
}

// next is the first one of those who may go; nil: nobody may.
func (c *crowd) next() (out *guest) {
	for _, g := range c.here {
		if !g.mayGo() {
			continue
		}
		if out == nil || *g.alike > *out.alike || *g.alike == *out.alike && g.turn.Before(out.turn) {
			out = g
		}
	}
	return out
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

// works counts a handler that begins to do something, or ends it, and reports whether
// others wait for places at this time.
func (g *guest) works(n int) (wanted bool) {
	g.change(func(g *guest) {
		g.working += n
		wanted = time.Since(g.crowd.waited) < g.crowd.patience
	})
	return wanted
}

// done ends a handler; its answer may have to be sent yet.
func (g *guest) done() {
	g.change(func(g *guest) {
		g.working--
		g.turn = time.Now()
	})
}

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
			g.turn, g.known = time.Now(), true
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
			if g.works(1) {
				w.Header().Set("Connection", "close") // else it would rest where another could be served
			}
			defer g.done()
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
