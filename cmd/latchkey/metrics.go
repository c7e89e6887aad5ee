package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/latchkey-id/latchkey/web/metrics"
)

// checkMetrics is for addresses that are never the one that everybody reaches.
func (c *config) checkMetrics(p *problems) {
	if c.Metrics.Listen == "" {
		return
	}
	if _, port, err := net.SplitHostPort(c.Metrics.Listen); err != nil || port == "" {
		p.add("metrics.listen", "must be [address]:port, such as 127.0.0.1:9464, or empty: off")
	} else if c.Metrics.Listen == c.Listen {
		p.add("metrics.listen", "is where everybody is served (listen); give metrics an address that strangers do not reach, such as 127.0.0.1:9464")
	}
}

// serveMetrics answers /metrics at an address of its own, from the first moment
// on and until everything else has ended. An empty address: off.
func (r *running) serveMetrics(listen string) error {
	if listen == "" {
		return nil
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	r.metrics = metrics.New(metrics.Sources{
		Version: version, Broker: r.metricsBroker, Pools: r.pools, LogBytes: r.logBytes, Hashing: r.hashing, Expires: r.certificates.expires, LostLines: r.lostLines,
	})
	r.metrics.Configured(time.Now(), false, true)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.metrics.Handler())
	server, listener := ordinary.server(mux, listener, r.log)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			r.log.Error("metrics are no longer served", "event", "metrics.failed", "error", err)
		}
	}()
	r.closers = append(r.closers, func() { _ = server.Close() })
	r.log.Info("metrics", "event", "metrics.listening", "listen", listener.Addr().String())
	return nil
}

func (r *running) metricsBroker() metrics.Broker {
	if b := r.broker.Load(); b != nil {
		return b
	}
	return nil
}

func (r *running) pools() (out []metrics.Pool) {
	store := r.store.Load()
	if store == nil {
		return nil
	}
	for _, p := range store.PoolStats() {
		out = append(out, metrics.Pool(p))
	}
	return out
}

func (r *running) logBytes() (int64, bool) {
	store := r.store.Load()
	if store == nil {
		return 0, false
	}
	return store.LogBytes()
}

func (r *running) hashing() *metrics.Hashing {
	h := r.hasher.Load()
	if h == nil {
		return nil
	}
	return new(metrics.Hashing(h.Load()))
}
