package broker_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

func (w *upstreamWorld) health(state broker.HealthState) broker.ProviderHealth {
	w.t.Helper()
	h := w.Broker.ProviderHealth("p")
	if h.State != state || !h.InUse || (h.Since == nil) != (state == broker.HealthUnknown) {
		w.t.Errorf("the IdP is %+v, want %s", h, state)
	}
	return h
}

// send begins a login, for which the IdP is asked.
func (w *upstreamWorld) send(ctx context.Context) (to string, err error) {
	to, _, err = w.Broker.BeginWeb(ctx, "p", "/", broker.IdPAsk{}, broker.Device{})
	return to, err
}

func TestHealthFollowsEveryTrip(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	if h := w.health(broker.HealthUnknown); h.LastAnswerAt != nil || h.LastFailureAt != nil || h.LatencyMS != nil {
		t.Errorf("nothing was asked, and it is %+v", h)
	}
	w.enter("anna")
	began := w.clock.Now()
	if h := w.health(broker.HealthOK); *h.LastAnswerAt != began.UnixMilli() || *h.LatencyMS != 0 || *h.Since != began.UnixMilli() {
		t.Errorf("it answered, and is %+v", h)
	}

	w.wire.cut.Store(true)
	w.clock.Advance(time.Minute)
	dark := w.clock.Now()
	for range 2 {
		if _, err := w.send(ctx); broker.CodeOf(err) != broker.TemporarilyUnavailable {
			t.Fatal(err)
		}
		w.clock.Advance(time.Minute)
	}
	h := w.health(broker.HealthDark)
	if *h.Since != dark.UnixMilli() || *h.LastFailureAt != dark.Add(time.Minute).UnixMilli() || *h.LastAnswerAt != began.UnixMilli() {
		t.Errorf("dark since %s, and it is %+v", dark, h)
	}

	w.wire.cut.Store(false)
	w.idp.Script(func(s *providertest.Script) {
		s.Respond[providertest.EndpointDiscovery] = func(http.ResponseWriter, *http.Request) bool {
			w.clock.Advance(3 * time.Second)
			return false
		}
	})
	if _, err := w.send(ctx); err != nil {
		t.Fatal(err)
	}
	if h := w.health(broker.HealthSlow); *h.LatencyMS != 3000 {
		t.Errorf("it took three seconds, and is %+v", h)
	}
	w.clock.Advance(10 * time.Minute)
	if h := w.health(broker.HealthUnknown); *h.LatencyMS != 3000 || h.LastAnswerAt == nil {
		t.Errorf("%+v", h)
	}
	if h := w.Broker.ProviderHealth("openid"); h.State != broker.HealthUnknown || h.InUse {
		t.Errorf("there is no such provider, and it is %+v", h)
	}
}

// The checks of logins are heard too, and one that fails may be about the login.
func TestHealthFollowsRechecks(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	w.enter("anna")
	w.wire.cut.Store(true)
	w.clock.Advance(recheckEvery + time.Minute)
	for i := range 3 {
		if n, err := w.Broker.RecheckUpstreams(ctx); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if i < 2 {
			w.health(broker.HealthUnknown)
			w.clock.Advance(3 * time.Minute)
		}
	}
	w.health(broker.HealthDark)
	w.wire.cut.Store(false)
	w.clock.Advance(6 * time.Minute)
	if n, err := w.Broker.RecheckUpstreams(ctx); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	w.health(broker.HealthOK)
}

// Whoever comes back with a code of their own making, which an IdP answers with
// 500, or goes away while it is asked, does not darken it for the others.
func TestStrangersDoNotDarkenAnIdP(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	to, err := w.send(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.idp.Script(func(s *providertest.Script) {
		s.Respond[providertest.EndpointToken] = providertest.Body(500, "text/plain", "no such code")
	})
	back := w.callback(to, "anna")
	back.Code = "made-up"
	if _, err := w.Broker.CompleteIdPLogin(ctx, "p", back, func(string) bool { return true }, phone); broker.CodeOf(err) != broker.TemporarilyUnavailable {
		t.Fatal(err)
	}
	if h := w.health(broker.HealthOK); h.LastFailureAt == nil {
		t.Errorf("%+v", h)
	}
	// What the IdP is said to have said, through the browser, is no word of it.
	for range 4 {
		to, err := w.send(ctx)
		if err != nil {
			t.Fatal(err)
		}
		back := w.callback(to, "anna")
		back.Error = "temporarily_unavailable"
		_, _ = w.Broker.CompleteIdPLogin(ctx, "p", back, func(string) bool { return true }, phone)
	}
	leaving, cancel := context.WithCancel(ctx)
	w.idp.Script(func(s *providertest.Script) {
		s.Respond[providertest.EndpointDiscovery] = func(w http.ResponseWriter, r *http.Request) bool {
			cancel()
			return providertest.Stall(w, r)
		}
	})
	if _, err := w.send(leaving); err == nil {
		t.Fatal("it was not asked")
	}
	w.health(broker.HealthOK)
}
