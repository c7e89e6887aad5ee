package providertest

import (
	"crypto/rsa"
	"net"
	"net/http"
	"sync"
	"time"
)

// TB is what [Start] needs of a testing.TB. That it is not testing.TB itself
// keeps the package testing out of the programs that import this one.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// Start serves a provider on a loopback port until the test ends. The issuer
// is its URL, whatever the configuration says.
func Start(tb TB, cfg Config) *IdP {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("providertest: %v", err)
	}
	cfg.Issuer = "http://" + listener.Addr().String()
	borrowed := &borrowedKeys{}
	p, err := newIdP(cfg, borrowed.take)
	if err != nil {
		_ = listener.Close()
		tb.Fatalf("providertest: %v", err)
	}
	p.server = &server{tb: tb, handler: p, address: listener.Addr().String()}
	p.server.serve(listener)
	tb.Cleanup(func() {
		p.SetDown(true)
		borrowed.giveBack()
	})
	return p
}

// SetDown takes the provider off the network, or puts it back where it was.
// After [Start] nothing listens on the port while it is down; otherwise it
// cuts the connections that reach it.
func (p *IdP) SetDown(down bool) {
	if p.server == nil {
		p.down.Store(down)
		return
	}
	p.server.setDown(down)
}

// server can stop and come back on the same port.
type server struct {
	tb      TB
	handler http.Handler
	address string

	mu      sync.Mutex
	running *http.Server // nil: down
	stopped chan struct{}
}

func (s *server) serve(listener net.Listener) {
	srv := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan struct{})
	s.running, s.stopped = srv, stopped
	go func() {
		defer close(stopped)
		_ = srv.Serve(listener)
	}()
}

func (s *server) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case down && s.running != nil:
		_ = s.running.Close()
		<-s.stopped
		s.running = nil
	case !down && s.running == nil:
		listener, err := listenAgain(s.address)
		if err != nil {
			s.tb.Fatalf("providertest: cannot come back: %v", err)
			return
		}
		s.serve(listener)
	}
}

// listenAgain waits for a while if some outgoing connection has been given the
// port in the meantime.
func listenAgain(address string) (net.Listener, error) {
	for deadline := time.Now().Add(5 * time.Second); ; {
		listener, err := net.Listen("tcp", address)
		if err == nil || time.Now().After(deadline) {
			return listener, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// keyPool saves tests the making of RSA keys. Providers that are up at the
// same time never share one.
var keyPool struct {
	sync.Mutex
	free []*rsa.PrivateKey
}

// borrowedKeys are the keys that one provider has from the pool.
type borrowedKeys struct {
	mu   sync.Mutex
	keys []*rsa.PrivateKey
}

func (b *borrowedKeys) take() (*rsa.PrivateKey, error) {
	keyPool.Lock()
	var key *rsa.PrivateKey
	if last := len(keyPool.free) - 1; last >= 0 {
		key, keyPool.free = keyPool.free[last], keyPool.free[:last]
	}
	keyPool.Unlock()
	if key == nil {
		var err error
		if key, err = generateKey(); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys = append(b.keys, key)
	return key, nil
}

func (b *borrowedKeys) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	keyPool.Lock()
	defer keyPool.Unlock()
	keyPool.free = append(keyPool.free, b.keys...)
	b.keys = nil
}
