package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/web/metrics"
)

func nothing() metrics.Sources {
	return metrics.Sources{
		Version: "1.2.3", Broker: func() metrics.Broker { return nil }, Pools: func() []metrics.Pool { return nil }, Hashing: func() *metrics.Hashing { return nil },
		Expires: func() time.Time { return time.Time{} },
	}
}

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body.String())
	}
	return w.Body.String()
}

// A process that has no broker yet says so, and answers.
func TestBeforeTheStart(t *testing.T) {
	m := metrics.New(nothing())
	m.Configured(time.Unix(1000, 0), false, true)
	m.Configured(time.Unix(2000, 0), true, false)
	text := scrape(t, m)
	for _, want := range []string{
		"latchkey_ready 0", `version="1.2.3"`, "latchkey_config_last_reload_successful 0", "latchkey_config_last_reload_success_timestamp_seconds 1000",
		`latchkey_config_reloads_total{result="refused"} 1`, `latchkey_config_reloads_total{result="ok"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
}

// Requests that meet a status for the first time, all at once, are all counted.
func TestRoutesAreCountedBySeveralAtOnce(t *testing.T) {
	m := metrics.New(nothing())
	route := m.Route("GET", "/x")
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() { route.Answered(200+i%4, time.Millisecond) })
	}
	all.Wait()
	text := scrape(t, m)
	for _, status := range []string{"200", "201", "202", "203"} {
		if want := `latchkey_http_requests_total{method="GET",route="/x",status="` + status + `"} 10`; !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// What counting costs a request.
func BenchmarkAnswered(b *testing.B) {
	route := metrics.New(nothing()).Route("POST", "/auth/refresh")
	b.ReportAllocs()
	for b.Loop() {
		route.Answered(200, 300*time.Microsecond)
	}
}
