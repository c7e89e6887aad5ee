package conformance

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// receiver is where a client takes back-channel logouts.
type receiver struct {
	url    string
	server *http.Server

	mu      sync.Mutex
	came    []delivery
	fetched int // what is no logout
}

type delivery struct {
	method, contentType string
	query, form         url.Values
	sid                 string
}

func newReceiver() (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{url: fmt.Sprintf("http://%s/test/a/backchannel/backchannel_logout", l.Addr())}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = r.server.Serve(l) }() // until it is closed
	return r, nil
}

func (r *receiver) close() { _ = r.server.Close() }

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if req.Method != http.MethodPost {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fetched++
		return
	}
	if err := req.ParseForm(); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	d := delivery{method: req.Method, contentType: req.Header.Get("Content-Type"), query: req.URL.Query(), form: req.PostForm}
	if token, err := jwt.ParseSigned(d.form.Get("logout_token"), signatures); err == nil {
		var claims struct {
			SessionID string `json:"sid"`
		}
		_ = token.UnsafeClaimsWithoutVerification(&claims) // whoever waits for it looks closer
		d.sid = claims.SessionID
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.came = append(r.came, d)
}

// fetches counts what came that is no logout.
func (r *receiver) fetches() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fetched
}

// wait returns what came for a session.
func (r *receiver) wait(m *run, sid string) delivery {
	m.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		r.mu.Lock()
		for _, d := range r.came {
			if d.sid == sid {
				r.mu.Unlock()
				return d
			}
		}
		r.mu.Unlock()
	}
	m.Fatalf("no logout token for the session %s came within 30 s", sid)
	return delivery{}
}
