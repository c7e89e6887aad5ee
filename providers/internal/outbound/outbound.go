// Package outbound makes the HTTP clients for everything that Latchkey asks of
// others: bounded in time and size, and they follow no redirect, so that a
// secret reaches nobody but the address that it was meant for.
package outbound

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"code.dny.dev/ssrf"

	"github.com/latchkey-id/latchkey/broker"
)

// Limits bound one request.
type Limits struct {
	Time   time.Duration // from the dial to the last byte of the answer
	Answer int           // bytes of its body, unpacked
}

// ErrTooLarge is the error of reading on behind [Limits].Answer.
var ErrTooLarge = errors.New("the answer is too large")

// Anywhere is a client for addresses that an administrator has chosen.
func Anywhere(l Limits) *http.Client {
	return newClient(l, transportFor(l, false))
}

// Public is a client for addresses that strangers have chosen: it keeps to
// public ones, so that nobody sends requests into our own network (SSRF). The
// address is judged when it is dialed, after the DNS.
func Public(l Limits) *http.Client { return For(l, "") }

// For is [Public] for all hosts but the one of that URL. Whoever configured it
// has permitted its host, wherever that is; what it names on other hosts must
// be public.
func For(l Limits, trusted string) *http.Client {
	own := ""
	if u, err := url.Parse(trusted); err == nil {
		own = u.Hostname()
	}
	return newClient(l, byHost{
		own: own, anywhere: transportFor(l, false), public: transportFor(l, true),
	})
}

type byHost struct {
	own              string // empty: none
	anywhere, public *http.Transport
}

// RoundTrip implements http.RoundTripper. Behind a proxy it is the proxy that
// dials, and that decides.
func (b byHost) RoundTrip(req *http.Request) (*http.Response, error) {
	proxy, err := b.anywhere.Proxy(req)
	if b.own != "" && req.URL.Hostname() == b.own || err == nil && proxy != nil {
		return b.anywhere.RoundTrip(req)
	}
	return b.public.RoundTrip(req)
}

// transports are shared by all clients of one kind: whoever makes clients anew,
// as a reload of the configuration does, leaves no idle connections behind.
var (
	transports   = map[kind]*http.Transport{}
	transportsMu sync.Mutex
)

type kind struct {
	Limits
	public bool
}

func transportFor(l Limits, public bool) *http.Transport {
	transportsMu.Lock()
	defer transportsMu.Unlock()
	key := kind{l, public}
	if transports[key] == nil {
		dialer := &net.Dialer{Timeout: l.Time}
		if public {
			dialer.Control = ssrf.New(ssrf.WithAnyPort()).Safe
		}
		transports[key] = newTransport(l, dialer)
	}
	return transports[key]
}

func newTransport(l Limits, dialer *net.Dialer) *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = dialer.DialContext
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.ResponseHeaderTimeout = l.Time
	transport.TLSHandshakeTimeout = l.Time
	transport.MaxConnsPerHost = 32
	return transport
}

func newClient(l Limits, transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     bounded{transport, l.Answer},
		Timeout:       l.Time,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded cuts answers off: libraries read what they get, and an answer that
// unpacks (gzip) may be larger than it looks.
type bounded struct {
	next   http.RoundTripper
	answer int
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, span := broker.BeginSpan(req.Context(), broker.SpanOutgoing, req.Method)
	if parent := span.Traceparent(); parent != "" {
		req = req.Clone(ctx)
		req.Header.Set("Traceparent", parent)
		span.About("server.address", req.URL.Hostname())
	}
	res, err := b.next.RoundTrip(req)
	if err == nil {
		span.Count("http.response.status_code", res.StatusCode)
	}
	span.End(err)
	if err == nil {
		res.Body = &limitedBody{ReadCloser: res.Body, left: b.answer}
	}
	return res, err
}

type limitedBody struct {
	io.ReadCloser
	left int
}

func (l *limitedBody) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
