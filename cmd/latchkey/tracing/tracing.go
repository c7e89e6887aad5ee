// Package tracing sends traces to an OpenTelemetry collector, by OTLP over HTTP.
package tracing

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"regexp"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/latchkey-id/latchkey/broker"
)

// Tracer implements broker.Tracer.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	names    sync.Map // of statements, by their texts, which are few
}

// Options say where traces go.
type Options struct {
	// Endpoint is the base URL of a collector, such as http://127.0.0.1:4318.
	Endpoint string
	Headers  map[string]string // of each request to it
	Version  string
	// Failed is told why traces could not be sent; they are lost.
	Failed func(error)
}

// New begins to send traces, in batches, in the background. Which requests are
// traced, OTEL_TRACES_SAMPLER says; by default, all.
func New(o Options) *Tracer {
	instance := make([]byte, 8)
	_, _ = rand.Read(instance) // never fails
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(newExporter(o)),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "latchkey"), attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", hex.EncodeToString(instance)),
		)),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/latchkey-id/latchkey")}
}

// Shutdown sends what waits, and ends.
func (t *Tracer) Shutdown(ctx context.Context) error { return t.provider.Shutdown(ctx) }

const traceparent = "traceparent"

// Continue implements broker.Tracer. The tracestate and baggage of strangers are
// not taken along.
func (t *Tracer) Continue(ctx context.Context, parent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparent: parent})
}

var kinds = map[broker.SpanKind]trace.SpanKind{
	broker.SpanRequest: trace.SpanKindServer, broker.SpanWork: trace.SpanKindInternal,
	broker.SpanQuery: trace.SpanKindClient, broker.SpanOutgoing: trace.SpanKindClient,
}

// Begin implements broker.Tracer.
func (t *Tracer) Begin(ctx context.Context, kind broker.SpanKind, name string) (context.Context, broker.Span) {
	options := []trace.SpanStartOption{trace.WithSpanKind(kinds[kind])}
	if kind == broker.SpanQuery {
		text := strings.Join(strings.Fields(name), " ")
		options = append(options, trace.WithAttributes(attribute.String("db.query.text", text)))
		name = t.statementName(name, text)
	}
	ctx, begun := t.tracer.Start(ctx, name, options...)
	return ctx, span{ctx, begun}
}

var statement = regexp.MustCompile(`(?i)\b(?:FROM|INTO|UPDATE)\s+([a-z_]+)`)

// statementName is what a statement does, and to which table.
func (t *Tracer) statementName(key, text string) string {
	if name, ok := t.names.Load(key); ok {
		return name.(string)
	}
	name, _, _ := strings.Cut(text, " ")
	if table := statement.FindStringSubmatch(text); table != nil {
		name += " " + table[1]
	}
	t.names.Store(key, name)
	return name
}

type span struct {
	ctx  context.Context
	span trace.Span
}

// About implements broker.Span.
func (s span) About(key, value string) { s.span.SetAttributes(attribute.String(key, value)) }

// Count implements broker.Span.
func (s span) Count(key string, n int) { s.span.SetAttributes(attribute.Int(key, n)) }

// Traceparent implements broker.Span.
func (s span) Traceparent() string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(s.ctx, carrier)
	return carrier[traceparent]
}

// End implements broker.Span. A refusal is no error of the work.
func (s span) End(err error) {
	if err != nil {
		code := broker.CodeOf(err)
		s.span.SetAttributes(attribute.String("latchkey.code", string(code)))
		if code == broker.TemporarilyUnavailable {
			s.span.SetStatus(codes.Error, "")
		}
	}
	s.span.End()
}
