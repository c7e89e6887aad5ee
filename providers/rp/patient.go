package rp

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// pause is how long an address that failed is left alone.
const pause = 10 * time.Second

var errPause = errors.New("it failed a moment ago")

// patient asks one address, and not again right after a failure. Everybody who
// waits for a key set that stalls waits for the first one's turn, not each for
// one of their own.
type patient struct {
	next http.RoundTripper
	now  func() time.Time

	mu     sync.Mutex
	failed time.Time // zero: the last answer was good
}

// RoundTrip implements http.RoundTripper. It reads the answer, because one that
// stalls half way has failed too.
func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	if p.pausing() {
		return nil, errPause
	}
	res, err := p.next.RoundTrip(req)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(res.Body) // as far as the client's limits let it
		_ = res.Body.Close()
	}
	p.note(err == nil && res.StatusCode == http.StatusOK)
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

func (p *patient) pausing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.now().Sub(p.failed)
	return !p.failed.IsZero() && since >= 0 && since < pause
}

func (p *patient) note(good bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed = p.now(); good {
		p.failed = time.Time{}
	}
}
