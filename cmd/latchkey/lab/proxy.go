package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The most that is read of a request and of an answer. Latchkey takes less.
const (
	maxRequest = 2 << 20
	maxAnswer  = 16 << 20
)

// proxy stands before Latchkey: it writes down what passes, and does to it what
// the scenario says.
type proxy struct {
	clock   *Clock
	stale   *stale
	forward *httputil.ReverseProxy

	mu     sync.Mutex
	record *record
	faults *faults // nil: nothing goes wrong
}

func newProxy(upstream *url.URL, clock *Clock) *proxy {
	p := &proxy{clock: clock, stale: newStale(), record: newRecord()}
	p.forward = &httputil.ReverseProxy{
		Transport:    &trip{next: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100}},
		ErrorHandler: p.failed,
		// What is cut in the middle has to arrive as far as the middle.
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // the report says what was cut
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = upstream.Scheme, upstream.Host
			r.Out.Header.Del("Accept-Encoding") // the lab reads answers
			r.SetXForwarded()
		},
		ModifyResponse: func(res *http.Response) error {
			p.date(res.Header)
			return nil
		},
	}
	return p
}

// date says what Latchkey's clock shows: the HTTP server has another one.
func (p *proxy) date(h http.Header) { h.Set("Date", p.clock.Now().UTC().Format(http.TimeFormat)) }

// begin starts a new record, with nothing going wrong.
func (p *proxy) begin() *record {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.record, p.faults = newRecord(), nil
	return p.record
}

// arm lets things go wrong from now.
func (p *proxy) arm(f *faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
}

func (p *proxy) current() (*record, *faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.record, p.faults
}

// passage is one request on its way through the proxy.
type passage struct {
	record *record
	x      *Exchange
	fault  *armed // nil: nothing is done to it
	body   []byte // of the request
	whole  bool   // nothing cut the answer
}

type passageKey struct{}

// ServeHTTP implements [http.Handler].
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, "the request cannot be read", http.StatusRequestEntityTooLarge)
		return
	}
	record, faults := p.current()
	x := describe(r, body)
	way := &passage{record: record, body: body, fault: faults.pick(x)}
	way.x = record.begin(x)
	defer p.end(way)
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case way.fault != nil && way.fault.Do == answerItself:
		way.hit()
		p.answer(w, way, way.fault.Answer)
	case x.Kind == KindAPI && p.stale.holds(x.Token):
		p.answer(w, way, expiredAnswer)
	default:
		p.forward.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), passageKey{}, way)))
	}
	way.whole = true // what does not arrive is a panic
}

// describe is a request as the record has it.
func describe(r *http.Request, body []byte) Exchange {
	form := url.Values{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		form, _ = url.ParseQuery(string(body)) // what cannot be read is missing
	}
	x := Exchange{Method: r.Method, Path: r.URL.Path, Begun: time.Now(), Kind: kindOf(r, form)}
	x.Token = presented(r, x.Kind, form)
	return x
}

// end also runs when the connection is cut, which is a panic.
func (p *proxy) end(way *passage) {
	way.record.change(way.x, func(x *Exchange) {
		x.Ended, x.Delivered = time.Now(), way.whole && x.Status != 0
		p.stale.note(x.GaveAccess, x.Ended)
	})
}

// hit notes that the fault befell the request.
func (way *passage) hit() {
	way.record.change(way.x, func(x *Exchange) { x.Fault = way.fault.Do })
}

// answered notes what Latchkey, or the lab in its place, says.
func (way *passage) answered(status int, header http.Header, body []byte) {
	access, refresh := given(header, body)
	way.record.change(way.x, func(x *Exchange) {
		x.Status, x.Code, x.RetryAfter = status, header.Get("Latchkey-Code"), retryAfter(header)
		x.GaveAccess, x.GaveRefresh = access, refresh
	})
}

// answer says something without Latchkey.
func (p *proxy) answer(w http.ResponseWriter, way *passage, a Answer) {
	for name, value := range a.Headers {
		w.Header().Set(name, value)
	}
	p.date(w.Header())
	way.answered(a.Status, w.Header(), nil)
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body)
}

// How a passage may end without an answer.
var (
	errCut    = errors.New("the connection is cut")
	errClosed = errors.New("the stream is closed")
)

// failed is told what became of a request that got no answer.
func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errClosed):
		closeHalf(w)
		panic(http.ErrAbortHandler)
	case errors.Is(err, errCut), r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // which makes the server cut the connection
	default: // Latchkey is not there
		w.WriteHeader(http.StatusBadGateway)
	}
}

// closeHalf ends our direction of the connection, and reads on for as long as the
// app has something to say.
func closeHalf(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.Copy(io.Discard, conn)
}
