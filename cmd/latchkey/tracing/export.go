package tracing

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resources "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	traces "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// exporter sends spans by OTLP over HTTP. The usual one brings all of gRPC along,
// 8 MB for a feature that is off by default.
type exporter struct {
	Options
	url    string
	client *http.Client
}

// sendTime bounds one request to the collector, and pauseAfter is the wait before
// the only other try.
const (
	sendTime   = 5 * time.Second
	pauseAfter = time.Second
	tracesPath = "/v1/traces"
)

func newExporter(o Options) *exporter {
	url := strings.TrimSuffix(o.Endpoint, "/")
	if !strings.HasSuffix(url, tracesPath) {
		url += tracesPath
	}
	return &exporter{Options: o, url: url, client: &http.Client{
		Timeout: sendTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Shutdown implements sdk.SpanExporter.
func (x *exporter) Shutdown(context.Context) error {
	x.client.CloseIdleConnections()
	return nil
}

// ExportSpans implements sdk.SpanExporter.
func (x *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	body, err := proto.Marshal(requestOf(spans))
	if err == nil {
		var again bool
		if again, err = x.send(ctx, body); again {
			select {
			case <-ctx.Done():
			case <-time.After(pauseAfter):
				_, err = x.send(ctx, body)
			}
		}
	}
	if err != nil && x.Failed != nil {
		x.Failed(err)
	}
	return nil // it has been said
}

// send posts a batch. again: another try may help.
func (x *exporter) send(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	for name, value := range x.Headers {
		req.Header.Set(name, value)
	}
	res, err := x.client.Do(req)
	if err != nil {
		return ctx.Err() == nil, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode < 300 {
		return false, nil
	}
	again = res.StatusCode == http.StatusTooManyRequests || res.StatusCode > http.StatusInternalServerError
	return again, fmt.Errorf("the collector answers %d", res.StatusCode)
}

// requestOf are spans as OTLP writes them; all are of one resource and scope.
func requestOf(spans []sdk.ReadOnlySpan) *collector.ExportTraceServiceRequest {
	out := []*traces.Span{}
	for _, s := range spans {
		out = append(out, spanOf(s))
	}
	return &collector.ExportTraceServiceRequest{ResourceSpans: []*traces.ResourceSpans{{
		Resource:   &resources.Resource{Attributes: attributesOf(spans[0].Resource().Attributes())},
		ScopeSpans: []*traces.ScopeSpans{{Scope: &common.InstrumentationScope{Name: spans[0].InstrumentationScope().Name}, Spans: out}},
	}}}
}

func spanOf(s sdk.ReadOnlySpan) *traces.Span {
	trace, id := s.SpanContext().TraceID(), s.SpanContext().SpanID()
	out := &traces.Span{
		TraceId: trace[:], SpanId: id[:], Name: s.Name(),
		// #nosec G115 -- the same few numbers in both
		Kind:              traces.Span_SpanKind(s.SpanKind()), // the same numbers
		StartTimeUnixNano: uint64(s.StartTime().UnixNano()), EndTimeUnixNano: uint64(s.EndTime().UnixNano()),
		// #nosec G115 -- a count of attributes of one span
		Attributes: attributesOf(s.Attributes()), DroppedAttributesCount: uint32(s.DroppedAttributes()),
		Status: &traces.Status{},
	}
	if parent := s.Parent().SpanID(); parent.IsValid() {
		out.ParentSpanId = parent[:]
	}
	if s.Status().Code == codes.Error {
		out.Status.Code = traces.Status_STATUS_CODE_ERROR
	}
	return out
}

func attributesOf(list []attribute.KeyValue) (out []*common.KeyValue) {
	for _, a := range list {
		value := &common.AnyValue{}
		if a.Value.Type() == attribute.INT64 {
			value.Value = &common.AnyValue_IntValue{IntValue: a.Value.AsInt64()}
		} else {
			value.Value = &common.AnyValue_StringValue{StringValue: a.Value.AsString()}
		}
		out = append(out, &common.KeyValue{Key: string(a.Key), Value: value})
	}
	return out
}
