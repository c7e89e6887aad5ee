package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/web"
)

// front stands before the real handler: until that is there, and from when the
// process is told to end.
type front struct {
	next     atomic.Pointer[http.Handler]
	draining atomic.Bool
	prefix   string // the path of the public URL, which stands before every route, or does not
}

func newFront() *front { return &front{} }

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	next, draining := f.next.Load(), f.draining.Load()
	if draining {
		// Whoever keeps the connection would find it closed with the next request.
		w.Header().Set("Connection", "close")
	}
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, f.prefix); ok && strings.HasPrefix(rest, "/") {
		path = rest
	}
	switch {
	case path == "/readyz" && draining:
		unavailable(w, "Ending")
	case next != nil:
		(*next).ServeHTTP(w, r)
	case path == "/healthz":
		fmt.Fprintln(w, "ok")
	default:
		unavailable(w, "Starting")
	}
}

// unavailable says nothing about whatever the request had with it.
func unavailable(w http.ResponseWriter, why string) {
	h := w.Header()
	h.Set("Retry-After", "2")
	h.Set("Cache-Control", "no-store")
	h.Set("Latchkey-Code", string(broker.TemporarilyUnavailable))
	h.Set("Latchkey-Verdict", string(web.VerdictRetry))
	h.Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(w).Encode(map[string]string{
		"error": why, "code": string(broker.TemporarilyUnavailable), "verdict": string(web.VerdictRetry),
	})
}
