package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/latchkey-id/latchkey/providers/providertest"
)

// sink is a collector: it takes OTLP over HTTP.
type sink struct {
	t    *testing.T
	url  string
	mu   sync.Mutex
	list []*traces.Span
	text strings.Builder
	auth []string
}

func newSink(t *testing.T) *sink { return newSinkAt(t, "127.0.0.1:0") }

// newSinkAt waits for its address, which other tests on this machine may have.
func newSinkAt(t *testing.T, address string) *sink {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); listener, err = net.Listen("tcp", address) {
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("the test needs %s, where another program listens: end it, a collector perhaps: %v", address, err)
	}
	s := &sink{t: t, url: "http://" + listener.Addr().String()}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}}
	server.Start()
	t.Cleanup(server.Close)
	return s
}

// ServeHTTP implements http.Handler.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var req collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &req)
	}
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		s.t.Errorf("%s %v", r.URL.Path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.WriteString(prototext.Format(&req))
	s.auth = append(s.auth, r.Header.Get("Authorization"))
	for _, resource := range req.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			s.list = append(s.list, scope.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (s *sink) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *sink) spans() []*traces.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// await waits for the span of a request, which ends last of its trace.
func (s *sink) await(traceID string, name string) []*traces.Span {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var of []*traces.Span
		there := false
		for _, span := range s.spans() {
			if hex.EncodeToString(span.TraceId) == traceID {
				of = append(of, span)
				there = there || span.Name == name
			}
		}
		if there {
			return of
		}
	}
	s.t.Fatalf("no span %s in the trace %s", name, traceID)
	return nil
}

// tree writes a trace as lines, children below their parents, in the order in
// which they began.
func tree(spans []*traces.Span, parent []byte, indent string) (out string) {
	slices.SortStableFunc(spans, func(a, b *traces.Span) int { return int(int64(a.StartTimeUnixNano) - int64(b.StartTimeUnixNano)) })
	for _, s := range spans {
		if string(s.ParentSpanId) == string(parent) {
			out += indent + s.Name + "\n" + tree(spans, s.SpanId, indent+"  ")
		}
	}
	return out
}

func attribute(s *traces.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			if a.Value.GetStringValue() != "" {
				return a.Value.GetStringValue()
			}
			return fmt.Sprint(a.Value.GetIntValue())
		}
	}
	return ""
}

// The spans of a login and of a refresh, as parts of the trace of the caller, and
// the trace that goes on at the identity provider.
func TestTraces(t *testing.T) {
	sink := newSink(t)
	x := newWatchedWorld(t, "tokens: {refresh_grace: 1s}\n", map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20abc", "OTEL_BSP_SCHEDULE_DELAY": "100",
	})
	traceparents := x.traceparents()
	const caller = "00f067aa0ba902b7"
	parent, _ := hex.DecodeString(caller)
	as := func(traceID string, app *demoApp) *demoApp {
		app.client = &http.Client{Transport: sentAs{"00-" + traceID + "-" + caller + "-01"}}
		return app
	}
	login := "4bf92f3577b34da6a3ce929d0e0e4736"
	app := as(login, newDemoApp(x.base))
	if err := app.password(t.Context(), "root", x.admin); err != nil {
		t.Fatal(err)
	}
	got := tree(sink.await(login, "POST /login"), parent, "")
	want := "POST /login\n  broker.LoginPassword\n    SELECT "
	if !strings.HasPrefix(got, want) || !strings.Contains(got, "    password.Verify\n") || !strings.Contains(got, "    INSERT sessions\n") || !strings.Contains(got, "    INSERT audit_events\n") {
		t.Errorf("a login:\n%s", got)
	}

	time.Sleep(1100 * time.Millisecond) // the shortest grace: within it, the same pair is answered
	refresh := "4bf92f3577b34da6a3ce929d0e0e4737"
	if err := as(refresh, app).refreshTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := sink.await(refresh, "POST /auth/refresh")
	if got := tree(spans, parent, ""); got != "POST /auth/refresh\n  broker.Refresh\n    UPDATE sessions\n" {
		t.Errorf("a refresh:\n%s", got)
	}
	for _, s := range spans {
		switch s.Name {
		case "UPDATE sessions":
			if text := attribute(s, "db.query.text"); !strings.HasPrefix(text, "UPDATE sessions SET") || !strings.Contains(text, "?") {
				t.Errorf("the statement is %q", text)
			}
		case "POST /auth/refresh":
			if s.Kind != traces.Span_SPAN_KIND_SERVER || attribute(s, "http.response.status_code") != "200" || attribute(s, "http.route") != "/auth/refresh" {
				t.Error(s)
			}
		}
	}

	x.mobileLogin()
	outgoing := traceparents()
	if len(outgoing) != 1 || len(outgoing[0]) != 55 {
		t.Fatalf("the IdP got %q", outgoing)
	}
	id := strings.Split(outgoing[0], "-")
	found := false
	for _, s := range sink.await(id[1], "GET /auth/:provider/callback") {
		if hex.EncodeToString(s.SpanId) == id[2] {
			found = s.Name == "POST" && attribute(s, "server.address") == "127.0.0.1" && attribute(s, "http.response.status_code") == "200"
		}
	}
	if !found {
		t.Error("the IdP's part hangs on no request of ours")
	}
	if sink.auth[0] != "Bearer abc" {
		t.Errorf("the collector got %q", sink.auth)
	}
	if text := sink.all(); strings.Contains(text, "anna") || strings.Contains(text, `"root"`) || strings.Contains(text, "127.0.0.1:") {
		t.Error("a trace says who somebody is, or where from")
	}
}

// traceparents are what the token endpoint of the identity provider is sent from now
// on, one of each request.
func (x *watchedWorld) traceparents() func() []string {
	var mu sync.Mutex
	sent := []string{}
	x.idp.Script(func(s *providertest.Script) {
		s.Respond = map[string]providertest.Responder{providertest.EndpointToken: func(_ http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, r.Header.Get("traceparent"))
			return false
		}}
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(sent)
	}
}

// Who does not ask for traces sends none: not to a collector at the usual address
// either, and identity providers get no traceparent.
func TestTracesAreOffByDefault(t *testing.T) {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "OTEL_") {
			continue
		}
		t.Setenv(name, "") // and again as it was, after the test
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	sink := newSinkAt(t, "127.0.0.1:4318")
	x := newWatchedWorld(t, "", map[string]string{"OTEL_BSP_SCHEDULE_DELAY": "100"})
	traceparents := x.traceparents()
	x.mobileLogin()
	x.stop() // what waits is sent now, at the latest
	if sent := traceparents(); len(sent) != 1 || sent[0] != "" {
		t.Errorf("the IdP got %q", sent)
	}
	if text := sink.all(); text != "" {
		t.Errorf("the collector got %s", text)
	}
}

// sentAs sends a traceparent with each request.
type sentAs struct{ traceparent string }

func (s sentAs) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Traceparent", s.traceparent)
	return http.DefaultTransport.RoundTrip(r)
}

// A collector that is gone costs nobody an answer, and the program ends in time.
func TestNoCollector(t *testing.T) {
	x := newWatchedWorld(t, "", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + freeAddress(t), "OTEL_BSP_SCHEDULE_DELAY": "100"})
	if err := x.passwordLogin().refreshTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.log.find(t, `"event":"(tracing.failed)"`)
}
