package lab

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// faults are those of a scenario, while they are armed.
type faults struct {
	mu     sync.Mutex
	random *rand.Rand
	list   []*armed
}

// armed is a fault, and what became of it.
type armed struct {
	Fault
	matched, struck int
	pair            *pair
}

// armFaults prepares the faults of a scenario. The same seed picks the same requests.
func armFaults(list []Fault, seed uint64) *faults {
	// #nosec G404 -- the faults of a lab, the same again for the same seed
	f := &faults{random: rand.New(rand.NewPCG(seed, uint64(len(list))))}
	for _, each := range list {
		f.list = append(f.list, &armed{Fault: each, pair: &pair{}})
	}
	return f
}

// pick is the first fault that a request meets; nil: none.
func (f *faults) pick(x Exchange) *armed {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.list {
		if a.meets(x, f.random) {
			return a
		}
	}
	return nil
}

func (a *armed) meets(x Exchange, random *rand.Rand) bool {
	m := a.On
	if m.Kind != "" && m.Kind != x.Kind || m.Method != "" && m.Method != x.Method || m.Path != "" && m.Path != x.Path {
		return false
	}
	a.matched++
	if m.Nth != 0 && m.Nth != a.matched || m.Times != 0 && a.struck >= m.Times || m.Chance != 0 && random.Float64() >= m.Chance {
		return false
	}
	a.struck++
	return true
}

// trip takes requests to Latchkey and does to them what their fault says.
type trip struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t *trip) RoundTrip(r *http.Request) (*http.Response, error) {
	way, ok := r.Context().Value(passageKey{}).(*passage)
	if !ok || way.fault == nil {
		return t.ask(r, way)
	}
	switch way.fault.Do {
	case cutRequest:
		way.hit()
		return nil, errCut
	case delayRequest:
		way.hit()
		if err := hold(r.Context(), way.fault.For.span()); err != nil {
			return nil, err
		}
	case duplicate:
		way.hit()
		if _, err := t.ask(again(r, way), way); err != nil {
			return nil, err
		}
	case reorder:
		return t.crossing(r, way)
	}
	res, err := t.ask(r, way)
	if err != nil {
		return nil, err
	}
	return way.spoil(r.Context(), res)
}

// again is the same request once more.
func again(r *http.Request, way *passage) *http.Request {
	twin := r.Clone(r.Context())
	twin.Body = io.NopCloser(bytes.NewReader(way.body))
	return twin
}

// ask gets the whole answer, so that what comes after it comes after Latchkey's
// commit.
func (t *trip) ask(r *http.Request, way *passage) (*http.Response, error) {
	res, err := t.next.RoundTrip(r)
	if err != nil || way == nil {
		return res, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	way.answered(res.StatusCode, res.Header, body)
	return res, nil
}

// spoil does what is to be done to an answer.
func (way *passage) spoil(ctx context.Context, res *http.Response) (*http.Response, error) {
	switch way.fault.Do {
	case loseAnswer:
		way.hit()
		return nil, errCut
	case halfClose:
		way.hit()
		return nil, errClosed
	case delayAnswer:
		way.hit()
		if err := hold(ctx, way.fault.For.span()); err != nil {
			return nil, err
		}
	case cutAnswer:
		way.hit()
		body, _ := io.ReadAll(res.Body) // from memory
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body[:len(body)/2]), broken{}))
	}
	return res, nil
}

// broken is the end of a connection that was cut.
type broken struct{}

// Read implements [io.Reader].
func (broken) Read([]byte) (int, error) { return 0, errCut }

func hold(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pair brings two requests together.
type pair struct {
	mu    sync.Mutex
	first *crossing // waits for a second one; nil: nobody does
}

// crossing are two requests that go on at once and come back the other way round.
type crossing struct {
	met  chan struct{} // closed when the second has come
	back chan struct{} // closed when the second is answered
}

// meet waits for the other one. late is for the one that came second; nil: nobody
// came within the time.
func (p *pair) meet(ctx context.Context, d time.Duration) (c *crossing, late bool) {
	p.mu.Lock()
	if c = p.first; c != nil {
		p.first = nil
		p.mu.Unlock()
		close(c.met)
		return c, true
	}
	c = &crossing{met: make(chan struct{}), back: make(chan struct{})}
	p.first = c
	p.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.met:
		return c, false
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == c {
		p.first = nil
		return nil, false
	}
	return c, false
}

// crossing goes on with another request; a lone one goes on as if nothing were.
func (t *trip) crossing(r *http.Request, way *passage) (*http.Response, error) {
	c, late := way.fault.pair.meet(r.Context(), way.fault.For.span())
	if c == nil {
		return t.ask(r, way)
	}
	way.hit()
	res, err := t.ask(r, way)
	if late {
		// The answer leaves when this returns; a moment makes the order sure.
		time.AfterFunc(20*time.Millisecond, func() { close(c.back) })
		return res, err
	}
	select {
	case <-c.back:
	case <-r.Context().Done():
	}
	return res, err
}
