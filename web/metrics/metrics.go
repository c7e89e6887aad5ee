// Package metrics says in the format of Prometheus how Latchkey is doing. What is
// counted elsewhere is read when somebody asks; what takes time is measured here.
//
// Labels are of closed lists, ids of providers, and patterns of routes: no user,
// and nothing that a stranger chose.
package metrics

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens"
)

// Broker is what metrics ask of the broker.
type Broker interface {
	Ready() error
	Now() time.Time
	Tallies() []broker.Tally
	Signer() *tokens.SigningKey
	KeyChangeOverdue() time.Duration
	Providers() []broker.Provider
	ProviderHealth(id string) broker.ProviderHealth
	LiveSessions(ctx context.Context) (n int64, at time.Time, err error)
	Outbox(ctx context.Context) (waiting int64, oldest time.Duration, err error)
}

// Pool is a pool of database connections.
type Pool struct {
	Name        string
	Max         int // 0: no limit
	InUse, Idle int
	Waits       int64         // how often somebody had to wait for one
	Waited      time.Duration // how long, altogether
}

// Hashing is how busy the hashing of passwords is.
type Hashing struct {
	Running, Parallel int // now, and at most
	Waiting, Room     int // now, and at most
	Done, Busy        uint64
	Took              time.Duration // of those done
}

// Sources are where the numbers come from. Each is asked anew at each scrape.
type Sources struct {
	Version string
	// Broker is nil until there is one.
	Broker func() Broker
	// Pools of the database; nil until it is open.
	Pools func() []Pool
	// LogBytes is how long SQLite's write-ahead log is; nil, or not there: there is none.
	LogBytes func() (n int64, there bool)
	// Hashing; nil until there is a hasher.
	Hashing func() *Hashing
	// Expires is when the certificate of the server expires; zero: there is none.
	Expires func() time.Time
	// LostLines is how many lines of the log were lost; nil: none is.
	LostLines func() int64
}

// Metrics are all numbers of a process. It implements broker.Watcher.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refusals *prometheus.CounterVec
	idp      *prometheus.HistogramVec
	reloads  *prometheus.CounterVec
	reloadOK prometheus.Gauge
	reloadAt prometheus.Gauge
}

// Of what requests and identity providers take.
var (
	requestBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}
	idpBuckets     = []float64{.05, .1, .25, .5, 1, 2, 5, 10}
)

// New makes the metrics of a process.
func New(s Sources) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "latchkey_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "latchkey_" + name, Help: help, Buckets: buckets}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "latchkey_" + name, Help: help})
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counter("http_requests_total", "Requests by method, pattern of the route and status.", "method", "route", "status"),
		seconds:  histogram("http_request_duration_seconds", "How long requests took, by method and pattern of the route.", requestBuckets, "method", "route"),
		refusals: counter("refusals_total", "Refusals by code and by what the client should do (verdict; empty where it is about no token).", "code", "verdict"),
		idp:      histogram("idp_request_duration_seconds", "How long calls of an identity provider took, by provider.", idpBuckets, "provider"),
		reloads:  counter("config_reloads_total", "Reloads of the configuration by result.", "result"),
		reloadOK: gauge("config_last_reload_successful", "1 where the configuration that runs is the one that was last asked for, 0 where a reload was refused."),
		reloadAt: gauge("config_last_reload_success_timestamp_seconds", "When the configuration that runs was read."),
	}
	for _, result := range []string{broker.TallyOK, broker.TallyRefused} {
		m.reloads.WithLabelValues(result)
	}
	m.registry.MustRegister(m.requests, m.seconds, m.refusals, m.idp, m.reloads, m.reloadOK, m.reloadAt,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newReader(s))
	return m
}

// Handler answers with all numbers.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// IdPAnswered implements broker.Watcher.
func (m *Metrics) IdPAnswered(provider string, took time.Duration, _ bool) {
	m.idp.WithLabelValues(provider).Observe(took.Seconds())
}

// Refused counts a refusal.
func (m *Metrics) Refused(code, verdict string) {
	m.refusals.WithLabelValues(code, verdict).Inc()
}

// Configured notes that a configuration was put into effect, or refused, at a
// moment. The first one is no reload.
func (m *Metrics) Configured(at time.Time, reload, ok bool) {
	result := broker.TallyOK
	if !ok {
		result = broker.TallyRefused
		m.reloadOK.Set(0)
	} else {
		m.reloadOK.Set(1)
		m.reloadAt.Set(float64(at.UnixMilli()) / 1000)
	}
	if reload {
		m.reloads.WithLabelValues(result).Inc()
	}
}

// Route is what is counted of one route.
type Route struct {
	method, pattern string
	m               *Metrics
	took            func() prometheus.Observer
	// byStatus is replaced as a whole: a route has few, and reads them often.
	byStatus atomic.Pointer[[]statusCounter]
	adding   sync.Mutex
}

type statusCounter struct {
	status int
	n      prometheus.Counter
}

// Route is the route of a method and pattern. It is kept by whoever asks, so
// that a request costs no search. Nothing is said of a route that nobody used.
func (m *Metrics) Route(method, pattern string) *Route {
	return &Route{method: method, pattern: pattern, m: m, took: sync.OnceValue(func() prometheus.Observer {
		return m.seconds.WithLabelValues(method, pattern)
	})}
}

// Answered counts a request.
func (r *Route) Answered(status int, took time.Duration) {
	r.took().Observe(took.Seconds())
	r.counter(status).Inc()
}

func (r *Route) counter(status int) prometheus.Counter {
	if c := find(r.byStatus.Load(), status); c != nil {
		return c
	}
	r.adding.Lock()
	defer r.adding.Unlock()
	known := r.byStatus.Load()
	if c := find(known, status); c != nil {
		return c
	}
	c := r.m.requests.WithLabelValues(r.method, r.pattern, strconv.Itoa(status))
	list := []statusCounter{{status, c}}
	if known != nil {
		list = append(list, *known...)
	}
	r.byStatus.Store(&list)
	return c
}

func find(list *[]statusCounter, status int) prometheus.Counter {
	if list == nil {
		return nil
	}
	for _, s := range *list {
		if s.status == status {
			return s.n
		}
	}
	return nil
}
