package broker

import "context"

// SpanKind is what a piece of work is, in a trace.
type SpanKind int

// The kinds of work that traces tell apart.
const (
	SpanRequest  SpanKind = iota // of somebody, to us; the name is method and route
	SpanWork                     // of the broker
	SpanQuery                    // a statement; the name is its text, without values
	SpanOutgoing                 // a request of ours, to somebody else; the name is its method
)

// Tracer notes what takes how long, and what is part of what. It travels in the
// context of a request, so that every room can use it without knowing it.
type Tracer interface {
	// Continue makes what follows a part of the trace of whoever sent a request
	// (W3C Trace Context); an empty or wrong traceparent begins a new one.
	Continue(ctx context.Context, traceparent string) context.Context
	// Begin begins a piece of work, as a part of the one in ctx.
	Begin(ctx context.Context, kind SpanKind, name string) (context.Context, Span)
}

// Span is a piece of work that has begun. What is said about it goes to another
// program: nothing secret, and nothing about a person.
type Span interface {
	About(key, value string)
	Count(key string, n int)
	// Traceparent is the header for a request that is part of this work; empty: none.
	Traceparent() string
	// End ends it. Of an error the code is noted, and never the text.
	End(err error)
}

type tracerKey struct{}

// WithTracer gives a context a tracer.
func WithTracer(ctx context.Context, t Tracer) context.Context {
	return context.WithValue(ctx, tracerKey{}, t)
}

// Traced reports whether anybody notes what happens in ctx.
func Traced(ctx context.Context) bool { return ctx.Value(tracerKey{}) != nil }

// BeginSpan begins a piece of work with the tracer of ctx. Without one it costs
// next to nothing.
func BeginSpan(ctx context.Context, kind SpanKind, name string) (context.Context, Span) {
	if t, ok := ctx.Value(tracerKey{}).(Tracer); ok {
		return t.Begin(ctx, kind, name)
	}
	return ctx, noSpan{}
}

type noSpan struct{}

func (noSpan) About(string, string) {}
func (noSpan) Count(string, int)    {}
func (noSpan) Traceparent() string  { return "" }
func (noSpan) End(error)            {}
