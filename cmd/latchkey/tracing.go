package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/cmd/latchkey/tracing"
)

// tracingConfig is where traces go. The names in the environment, and how the
// headers are written, are OpenTelemetry's.
type tracingConfig struct {
	Endpoint string `yaml:"endpoint"`
	Headers  string `yaml:"headers"` // name=value,name=value, each percent-encoded
}

// lastTraces bounds how long the end of the program waits for the collector.
const lastTraces = 3 * time.Second

func (c *config) checkTracing(p *problems) {
	if c.Tracing.Endpoint == "" {
		return
	}
	u, err := url.Parse(c.Tracing.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		p.add("tracing.endpoint", "(OTEL_EXPORTER_OTLP_ENDPOINT) must be the http(s) URL of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318")
	} else if u.User != nil {
		p.add("tracing.endpoint", "(OTEL_EXPORTER_OTLP_ENDPOINT) has a password in its URL; give it as tracing.headers: Authorization=Basic ...")
	}
	if _, ok := c.Tracing.headers(); !ok {
		p.add("tracing.headers", "(OTEL_EXPORTER_OTLP_HEADERS) must be name=value,name=value")
	}
}

func (t tracingConfig) headers() (map[string]string, bool) {
	out := map[string]string{}
	for _, one := range strings.Split(t.Headers, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		name, value, found := strings.Cut(one, "=")
		plain, err := url.PathUnescape(strings.TrimSpace(value))
		if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); !found || name == "" || err != nil || strings.ContainsAny(plain, "\r\n") {
			return nil, false
		}
		out[name] = plain
	}
	return out, true
}

// sendTraces begins to send traces, if they are wanted.
func (r *running) sendTraces(t tracingConfig) {
	if t.Endpoint == "" {
		return
	}
	headers, _ := t.headers() // checked with the configuration
	tracer := tracing.New(tracing.Options{
		Endpoint: t.Endpoint, Headers: headers, Version: version,
		Failed: func(err error) { r.log.Warn("traces are lost", "event", "tracing.failed", "error", err) },
	})
	r.tracer = tracer
	r.closers = append(r.closers, func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastTraces)
		defer cancel()
		_ = tracer.Shutdown(ctx) // a failure has been said
	})
}
