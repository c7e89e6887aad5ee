package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// What strangers can make the program say as often as they like is said once
// per quietFor and kind, with how often it was left out. Failed logins are not
// among it: other programs count those lines.
var seldom = map[string]bool{
	"request.failed": true, "idp.failed": true, "auth.idp.refused": true, "auth.redirect_uri.refused": true, "not_ready": true,
	"idp.discovery.failed": true, "logout.failed": true, "tracing.failed": true, "accept.failed": true,
}

const quietFor = 10 * time.Second

// quiet is a slog.Handler that keeps the log from being filled by strangers.
type quiet struct {
	slog.Handler
	said *said
}

type said struct {
	mu   sync.Mutex
	last map[string]time.Time
	left map[string]int
}

func newQuiet(next slog.Handler) quiet {
	return quiet{next, &said{last: map[string]time.Time{}, left: map[string]int{}}}
}

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	kind := kindOf(r)
	if kind == "" {
		return q.Handler.Handle(ctx, r)
	}
	q.said.mu.Lock()
	if last, ok := q.said.last[kind]; ok && r.Time.Sub(last) < quietFor {
		q.said.left[kind]++
		q.said.mu.Unlock()
		return nil
	}
	q.said.last[kind] = r.Time
	left := q.said.left[kind]
	delete(q.said.left, kind)
	q.said.mu.Unlock()
	if left > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("left_out", left))
	}
	return q.Handler.Handle(ctx, r)
}

// kindOf is empty for what is always said. Its parts are few: events, routes,
// providers and codes are all ours.
func kindOf(r slog.Record) (kind string) {
	often := false
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "event":
			often = seldom[a.Value.String()]
			kind += " " + a.Value.String()
		case "route", "provider", "code":
			kind += " " + a.Value.String()
		}
		return true
	})
	if !often {
		return ""
	}
	return kind
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attrs), q.said}
}

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name), q.said} }
