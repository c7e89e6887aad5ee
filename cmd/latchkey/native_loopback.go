package main

import (
	"context"
	"errors"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// loopbackServer waits on this machine for the browser to come back (RFC 8252
// section 7.3).
type loopbackServer struct {
	redirectURI string
	state       string
	finish      func(url.Values) error
	server      *http.Server
	taken       atomic.Bool
	done        chan error
}

// newLoopback listens on a port that the system chooses. finish gets the
// answer; what it returns is shown in the browser and is the outcome.
func newLoopback(state string, finish func(url.Values) error) (*loopbackServer, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		var err6 error
		if listener, err6 = net.Listen("tcp6", "[::1]:0"); err6 != nil {
			return nil, errors.Join(err, err6)
		}
	}
	l := &loopbackServer{redirectURI: "http://" + listener.Addr().String() + "/callback", state: state, finish: finish, done: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", l.callback)
	l.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10}
	go func() { _ = l.server.Serve(listener) }()
	return l, nil
}

// callback takes one answer. Whatever does not know the state is not it, and
// does not end the waiting.
func (l *loopbackServer) callback(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	answer, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || answer.Get("state") != l.state || !once(answer) {
		show(w, http.StatusBadRequest, "This is not the answer to the login that is under way.")
		return
	}
	if !l.taken.CompareAndSwap(false, true) {
		show(w, http.StatusOK, "This login is done. You may close this window.")
		return
	}
	err = l.finish(answer)
	if err != nil {
		show(w, http.StatusOK, "The login failed: "+err.Error()+". You may close this window.")
	} else {
		show(w, http.StatusOK, "You are logged in. You may close this window.")
	}
	l.done <- err
}

// once reports whether no parameter is there twice (RFC 6749 section 3.1).
func once(answer url.Values) bool {
	for _, values := range answer {
		if len(values) > 1 {
			return false
		}
	}
	return true
}

var loopbackPage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Latchkey</title>
<style>:root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem}</style>
</head><body><main><h1>Latchkey</h1><p>{{.}}</p></main></body></html>
`))

func show(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	_ = loopbackPage.Execute(w, text)
}

// wait returns when the answer was dealt with, or the context ends.
func (l *loopbackServer) wait(ctx context.Context) error {
	select {
	case err := <-l.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close lets a page that is being sent arrive.
func (l *loopbackServer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = l.server.Shutdown(ctx)
	_ = l.server.Close()
}
