package broker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

const strictAge = 2 * time.Hour

func strictWorld(t testing.TB, change func(*upstreamWorld)) *upstreamWorld {
	t.Helper()
	return newUpstreamWorld(t, "", func(w *upstreamWorld) {
		w.change = withStrict(strictAge)
		if change != nil {
			change(w)
		}
	})
}

// An IdP that is dark for a week: the strict client is refused at exactly its
// limit and until the IdP is back, its tokens end there too, and nothing ends.
// The tolerant one goes on.
func TestStrictClientWhileTheIdPIsDark(t *testing.T) {
	w := strictWorld(t, nil)
	browser := w.enter("anna")
	strict, web := w.authorized(t, browser, "strict"), w.authorized(t, browser, "web")
	w.checkIn(recheckEvery)
	w.is(browser, broker.UpstreamAlive)
	known := w.clock.Now()
	w.clientRefreshes(strict, "")
	w.respond(providertest.EndpointToken, providertest.Stall)
	w.checkIn(strictAge - time.Minute)
	w.clientRefreshes(strict, "")
	if end := w.clock.Now().Add(strict.ExpiresIn); !end.Equal(known.Add(strictAge)) {
		t.Errorf("its access token lives to %v, want %v", end, known.Add(strictAge))
	}
	w.clock.Advance(known.Add(strictAge).Sub(w.clock.Now()) - time.Millisecond)
	w.clientRefreshes(strict, "")
	w.clock.Advance(time.Millisecond)
	w.clientRefreshes(strict, broker.TemporarilyUnavailable)
	w.respond(providertest.EndpointToken, providertest.Body(503, "text/plain", ""))
	for range 7 {
		w.checkIn(24 * time.Hour)
		w.clientRefreshes(strict, broker.TemporarilyUnavailable)
		w.clientRefreshes(web, "")
		w.refreshes(browser, "")
	}
	if n := len(w.events(broker.EventSessionEnded)); n != 0 {
		t.Errorf("%d sessions ended", n)
	}
	w.respond(providertest.EndpointToken, nil)
	w.checkIn(6 * time.Minute)
	w.is(browser, broker.UpstreamAlive)
	w.clientRefreshes(strict, "")
}

// A limit that is shorter than the interval of the checks asks for one.
func TestStrictClientAsksForACheck(t *testing.T) {
	w := strictWorld(t, func(w *upstreamWorld) { w.every = 24 * time.Hour })
	strict := w.authorized(t, w.enter("anna"), "strict")
	for range 5 {
		if n := w.checkIn(strictAge); n != 0 {
			t.Fatalf("%d checks before anybody asked", n)
		}
		w.clientRefreshes(strict, broker.TemporarilyUnavailable)
		w.clientRefreshes(strict, broker.TemporarilyUnavailable)
		if n := w.check(); n != 1 {
			t.Fatalf("%d checks", n)
		}
		w.clientRefreshes(strict, "")
	}
	w.idp.Revoke("s-anna")
	w.clock.Advance(strictAge)
	w.clientRefreshes(strict, broker.TemporarilyUnavailable)
	w.check()
	w.clientRefreshes(strict, broker.IdPRevoked)
}

// Where nothing can be checked, waiting does not help: at its limit the client is
// told to log in again, the browser that it sends has to, and then all is well.
func TestStrictClientWhereNothingIsChecked(t *testing.T) {
	w := strictWorld(t, func(w *upstreamWorld) { w.every = 0 })
	browser := w.enter("anna")
	w.clock.Advance(strictAge / 2)
	strict := w.authorized(t, browser, "strict") // its limit counts from the browser's login
	w.clock.Advance(strictAge/2 - time.Millisecond)
	w.clientRefreshes(strict, "")
	w.clock.Advance(time.Millisecond)
	w.clientRefreshes(strict, broker.SessionMaxAge)
	if s := w.row(strict); s.EndCause != "" {
		t.Errorf("ended with %s", s.EndCause)
	}
	if step := w.ask(browser, "strict", ""); !step.Login {
		t.Errorf("%+v", step)
	}
	if step := w.ask(browser, "strict", "none"); step.Answer == nil || step.Answer.Code != broker.LoginRequired {
		t.Errorf("%+v", step)
	}
	if step := w.ask(browser, "web", "none"); step.Answer == nil || step.Answer.Code != "" {
		t.Errorf("%+v", step)
	}
	w.clientRefreshes(w.authorized(t, w.enter("anna"), "strict"), "")
}

// A token that was lost is nothing to wait for either.
func TestStrictClientAfterALostToken(t *testing.T) {
	w := strictWorld(t, nil)
	w.rotating()
	strict := w.authorized(t, w.enter("anna"), "strict")
	w.respond(providertest.EndpointToken, providertest.Body(504, "text/plain", ""))
	w.checkIn(recheckEvery)
	w.clock.Advance(recheckEvery)
	w.clientRefreshes(strict, broker.TemporarilyUnavailable)
	w.respond(providertest.EndpointToken, nil)
	w.idp.Revoke("s-anna")
	w.check()
	w.clientRefreshes(strict, broker.SessionMaxAge)
}

// A password is Latchkey's own to know, however old.
func TestStrictClientAfterAPassword(t *testing.T) {
	w := strictWorld(t, nil)
	w.User(t, "paul", broker.RoleUser)
	strict := w.authorized(t, w.Login(t, "paul"), "strict")
	w.clock.Advance(10 * 24 * time.Hour)
	w.clientRefreshes(strict, "")
}

// A session that is over says why, also to a client that would else wait.
func TestStrictClientOfAnEndedSession(t *testing.T) {
	w := strictWorld(t, nil)
	strict := w.authorized(t, w.enter("anna"), "strict")
	w.clock.Advance(strictAge)
	w.clientRefreshes(strict, broker.TemporarilyUnavailable)
	if err := w.Broker.EndOwnSession(ctx, broker.Principal{User: strict.User, Session: strict.Session}, strict.Session.ID, false, phone); err != nil {
		t.Fatal(err)
	}
	w.clientRefreshes(strict, broker.RevokedByUser)
}

// A code that comes at the limit is not used up by the refusal.
func TestStrictClientRedeemsAtTheLimit(t *testing.T) {
	w := strictWorld(t, func(w *upstreamWorld) { w.every = 24 * time.Hour })
	browser := w.enter("anna")
	w.clock.Advance(strictAge - time.Second)
	code := w.code(browser, "strict")
	w.clock.Advance(time.Second)
	if _, err := w.redeem("strict", code); !errors.Is(err, broker.TemporarilyUnavailable) {
		t.Fatal(err)
	}
	w.check()
	login, err := w.redeem("strict", code)
	if err != nil || login.ExpiresIn > time.Hour {
		t.Fatal(login, err)
	}
}

// A device stands on the login of the browser that allowed it.
func TestStrictDevice(t *testing.T) {
	w := strictWorld(t, func(w *upstreamWorld) { w.every = 0 })
	browser := w.enter("anna")
	w.clock.Advance(strictAge - time.Minute)
	device := w.device(t, browser, "strict")
	if device.ExpiresIn != time.Minute {
		t.Errorf("its access token lives %v", device.ExpiresIn)
	}
	w.clock.Advance(time.Minute)
	w.clientRefreshes(device, broker.SessionMaxAge)
	d, err := w.Broker.BeginDevice(ctx, w.caller("strict"), "openid", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Broker.DecideDevice(ctx, w.proven(browser), d.UserCode, broker.Reply{Allow: true, Device: phone}); !errors.Is(err, broker.AccessDenied) {
		t.Error(err)
	}
}

// countingStore counts what only a limit may cost.
type countingStore struct {
	broker.Store
	asked atomic.Int64
}

func (s *countingStore) UpstreamOf(ctx context.Context, id string) (broker.Session, error) {
	s.asked.Add(1)
	return s.Store.UpstreamOf(ctx, id)
}

func TestClientWithoutALimitCostsNoStatement(t *testing.T) {
	counting := &countingStore{}
	w := newUpstreamWorld(t, "", func(w *upstreamWorld) {
		w.change = func(c *broker.Config) {
			withStrict(strictAge)(c)
			counting.Store = c.Store
			c.Store = counting
		}
	})
	browser := w.enter("anna")
	web := w.authorized(t, browser, "web")
	w.clientRefreshes(web, "")
	w.refreshes(browser, "")
	if n := counting.asked.Load(); n != 0 {
		t.Errorf("%d statements", n)
	}
	w.authorized(t, browser, "strict")
	if n := counting.asked.Load(); n == 0 {
		t.Error("the counter counts nothing")
	}
}

func TestMaxUpstreamAgeOfAClient(t *testing.T) {
	for seconds, good := range map[int64]bool{0: true, 60: true, 3650 * 24 * 3600: true, 59: false, -1: false, 3650*24*3600 + 1: false} {
		_, err := broker.CheckClient(broker.Client{ID: "c", RedirectURIs: []string{"https://c.test/"}, MaxUpstreamAge: seconds})
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "max_upstream_age: ") {
			t.Errorf("%d: %v", seconds, err)
		}
	}
}
