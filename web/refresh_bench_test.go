package web_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/web"
	"github.com/latchkey-id/latchkey/web/metrics"
)

// BenchmarkRefresh is the hot path: every refresh moves the session on. Metrics
// must cost it nothing that can be felt.
func BenchmarkRefresh(b *testing.B) {
	for name, m := range map[string]*metrics.Metrics{"plain": nil, "metrics": metrics.New(metrics.Sources{})} {
		b.Run(name, func(b *testing.B) {
			rig := harness.New(b, "", nil)
			handler, err := web.New(web.Config{Broker: rig.Broker, LocalLogin: true, Metrics: m})
			if err != nil {
				b.Fatal(err)
			}
			benchRefresh(b, rig, handler)
		})
	}
}

func benchRefresh(b *testing.B, rig *harness.Rig, handler http.Handler) {
	rig.User(b, "anna", broker.RoleUser)
	token := rig.Login(b, "anna").RefreshToken.Reveal()
	b.ReportAllocs()
	for b.Loop() {
		rig.Clock.Advance(11 * time.Minute)
		r := httptest.NewRequest(http.MethodPost, "/auth/refresh", nil)
		r.Header.Set("X-Refresh-Token", token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		var said struct {
			User struct{ RefreshToken string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body.String(), err)
		}
		if said.User.RefreshToken != "" {
			token = said.User.RefreshToken
		}
	}
}
