package broker_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// resets cuts the connection without an answer.
func resets(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

const form = "application/json"

// upstreamFaults are what an IdP may answer to a check, and what the login is
// then. Only the IdP's own word ends it.
var upstreamFaults = []struct {
	name     string
	token    providertest.Responder // at the token endpoint
	script   func(*providertest.Script)
	cut      bool
	want     broker.UpstreamState
	doubtful int64 // afterwards, of a login that had no doubt
}{
	{name: "invalid_grant", token: providertest.Body(400, form, `{"error":"invalid_grant"}`), want: broker.UpstreamEnded, doubtful: 1},
	{name: "invalid_client", token: providertest.Body(401, form, `{"error":"invalid_client"}`), want: broker.UpstreamUnknown},
	{name: "unauthorized_client", token: providertest.Body(400, form, `{"error":"unauthorized_client"}`), want: broker.UpstreamUnknown},
	{name: "400 without JSON", token: providertest.Body(400, "text/html", "<h1>invalid_grant</h1>"), want: broker.UpstreamUnknown, doubtful: 1},
	{name: "401", token: providertest.Body(401, "text/plain", "Unauthorized"), want: broker.UpstreamUnknown, doubtful: 1},
	{name: "403", token: providertest.Body(403, "text/html", "<h1>Forbidden</h1>"), want: broker.UpstreamUnknown, doubtful: 1},
	{name: "429", token: providertest.Body(429, form, `{"error":"invalid_grant"}`), want: broker.UpstreamUnknown},
	{name: "500", token: providertest.Body(500, form, `{"error":"invalid_grant"}`), want: broker.UpstreamUnknown, doubtful: 1},
	{name: "503", token: providertest.Body(503, "text/html", "<h1>Down</h1>"), want: broker.UpstreamUnknown, doubtful: 1},
	{name: "time-out", token: providertest.Stall, want: broker.UpstreamUnknown, doubtful: 1},
	{name: "reset", token: resets, want: broker.UpstreamUnknown, doubtful: 1},
	{name: "cut off", token: providertest.CutOff(`{"access_token":"`), want: broker.UpstreamUnknown, doubtful: 1},
	{name: "dark", cut: true, want: broker.UpstreamUnknown},
	{name: "another subject", script: func(s *providertest.Script) {
		s.EditIDToken = func(c map[string]any) { c["sub"] = "s-mallory" }
	}, want: broker.UpstreamUnknown},
	{name: "an ID token of another issuer", script: func(s *providertest.Script) {
		s.EditIDToken = func(c map[string]any) { c["iss"] = "https://evil.test" }
	}, want: broker.UpstreamUnknown, doubtful: 1},
	{name: "a page with 200", token: providertest.Body(200, "text/html", "<h1>Log in to the WLAN</h1>"), want: broker.UpstreamUnknown, doubtful: 1},
	{name: "an error with 200", token: providertest.Body(200, form, `{"error":"invalid_grant"}`), want: broker.UpstreamUnknown, doubtful: 1},
	{name: "an empty object", token: providertest.Body(200, form, `{}`), want: broker.UpstreamUnknown, doubtful: 1},
}

// Each failure, for a session that is refreshed, one that lies idle, and one
// that is looked at after a restart.
func TestWhatAnIdPMayAnswer(t *testing.T) {
	for _, f := range upstreamFaults {
		t.Run(f.name, func(t *testing.T) {
			w := newUpstreamWorld(t, "", nil)
			used, idle := w.enter("anna"), w.enter("ben")
			if f.script != nil {
				w.idp.Script(f.script)
			}
			w.respond(providertest.EndpointToken, f.token)
			w.wire.cut.Store(f.cut)
			if n := w.checkIn(recheckEvery); n != 2 {
				t.Fatalf("%d were checked", n)
			}
			over := broker.Code("")
			if f.want == broker.UpstreamEnded {
				over = broker.IdPRevoked
			}
			w.refreshes(used, over)
			w.is(used, f.want)
			w.is(idle, f.want)
			if u := w.row(idle).Upstream; u.Doubtful != f.doubtful {
				t.Errorf("%d doubtful checks, want %d", u.Doubtful, f.doubtful)
			}
			w.start()
			w.is(used, f.want)
			w.is(idle, f.want)
			w.refreshes(used, over)
			w.refreshes(idle, over)
			if f.want == broker.UpstreamEnded {
				return
			}
			// What passes leaves nothing behind.
			w.idp.Script(func(s *providertest.Script) { *s = providertest.Script{} })
			w.wire.cut.Store(false)
			w.checkIn(recheckEvery)
			w.is(used, broker.UpstreamAlive)
			w.is(idle, broker.UpstreamAlive)
			if u := w.row(idle).Upstream; u.Doubtful != 0 || !u.AliveAt.Equal(w.clock.Now()) {
				t.Errorf("%+v", u)
			}
		})
	}
}

// The check by introspection: the token stays, and no answer is doubtful.
func TestWhatAnIntrospectionMayAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer providertest.Responder
		want   broker.UpstreamState
	}{
		{"honest", nil, broker.UpstreamAlive},
		{"inactive", providertest.Body(200, form, `{"active":false}`), broker.UpstreamEnded},
		{"another subject", providertest.Body(200, form, `{"active":true,"sub":"s-mallory"}`), broker.UpstreamUnknown},
		{"no subject", providertest.Body(200, form, `{"active":true}`), broker.UpstreamAlive},
		{"text for a boolean", providertest.Body(200, form, `{"active":"false"}`), broker.UpstreamUnknown},
		{"nothing", providertest.Body(200, form, `{}`), broker.UpstreamUnknown},
		{"a page", providertest.Body(200, "text/html", "<h1>active: false</h1>"), broker.UpstreamUnknown},
		{"400", providertest.Body(400, form, `{"error":"invalid_grant"}`), broker.UpstreamUnknown},
		{"401", providertest.Body(401, form, `{"active":false}`), broker.UpstreamUnknown},
		{"403", providertest.Body(403, form, `{"active":false}`), broker.UpstreamUnknown},
		{"429", providertest.Body(429, form, `{"active":false}`), broker.UpstreamUnknown},
		{"500", providertest.Body(500, form, `{"active":false}`), broker.UpstreamUnknown},
		{"reset", resets, broker.UpstreamUnknown},
		{"time-out", providertest.Stall, broker.UpstreamUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newUpstreamWorld(t, "", func(w *upstreamWorld) { w.by = broker.RecheckByIntrospection })
			login := w.enter("anna")
			w.respond(providertest.EndpointIntrospect, c.answer)
			tokens := w.idp.Count(providertest.EndpointToken)
			w.checkIn(recheckEvery)
			w.is(login, c.want)
			if u := w.row(login).Upstream; u.Doubtful != 0 || w.idp.Count(providertest.EndpointToken) != tokens {
				t.Errorf("%+v, %d calls of the token endpoint", u, w.idp.Count(providertest.EndpointToken)-tokens)
			}
		})
	}
}

// Everything that stands on a login ends with it: the browser, clients of every
// kind, devices, apps; and nobody else's.
func TestRevocationReachesEverySession(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		w := newUpstreamWorld(t, database, func(w *upstreamWorld) { w.change = withStrict(0) })
		browser, other := w.enter("anna"), w.enter("ben")
		web, native := w.authorized(t, browser, "web"), w.authorized(t, browser, "native")
		device := w.device(t, browser, "native")
		app, err := w.Broker.RedeemGrant(ctx, "p", w.mobile("anna"), "S", rightVerifier, phone)
		if err != nil {
			t.Fatal(err)
		}
		w.idp.Revoke("s-anna")
		w.checkIn(recheckEvery)
		for name, l := range map[string]*broker.Login{"browser": browser, "web": web, "native": native, "device": device, "app": app} {
			if s := w.row(l); s.EndCause != broker.IdPRevoked {
				t.Errorf("%s: ended with %q", name, s.EndCause)
			}
		}
		w.is(other, broker.UpstreamAlive)
		if n := len(w.events(broker.EventSessionEnded)); n != 5 {
			t.Errorf("%d events", n)
		}
		if n := w.checkIn(10 * recheckEvery); n != 1 {
			t.Errorf("%d are still checked", n)
		}
	})
}

// A revocation is seen within one interval, whenever the login was.
func TestRevocationIsSeenWithinOneInterval(t *testing.T) {
	w := newUpstreamWorld(t, "", func(w *upstreamWorld) { w.every = 10 * time.Minute })
	for i := range 12 {
		login := w.enter("anna")
		for range i {
			w.checkIn(97 * time.Second)
		}
		w.idp.Revoke("s-anna")
		revoked := w.clock.Now()
		for w.row(login).EndCause == "" {
			w.checkIn(5 * time.Second)
			if w.clock.Now().Sub(revoked) > 10*time.Minute {
				t.Fatalf("not seen after %v", w.clock.Now().Sub(revoked))
			}
		}
		w.refreshes(login, broker.IdPRevoked)
	}
}

// A login waits for its app without being checked, and is checked once there is a
// session.
func TestLoginOfAnAppThatRedeemsLater(t *testing.T) {
	w := newUpstreamWorld(t, "", func(w *upstreamWorld) { w.every = time.Minute })
	code := w.mobile("anna")
	if n := w.checkIn(time.Minute); n != 0 {
		t.Fatal("checked without a session")
	}
	login, err := w.Broker.RedeemGrant(ctx, "p", code, "S", rightVerifier, phone)
	if err != nil {
		t.Fatal(err)
	}
	if s := w.row(login); s.Upstream == nil || s.UpstreamID == "" || !s.VouchedAt.Equal(w.clock.Now().Add(-time.Minute)) {
		t.Errorf("%+v", s)
	}
}

// The IdP is dark for a week: nobody is logged out, the IdP is asked a few
// times an hour in place of thousands, and the operator is told once.
func TestIdPDarkForAWeek(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	logins := []*broker.Login{}
	for i := range 30 {
		logins = append(logins, w.enter([]string{"anna", "ben", "cleo"}[i%3]))
	}
	w.respond(providertest.EndpointToken, providertest.Body(502, "text/html", "<h1>Bad Gateway</h1>"))
	before := w.idp.Count(providertest.EndpointToken)
	const step, week = 5 * time.Minute, 7 * 24 * time.Hour
	for at := time.Duration(0); at < week; at += step {
		w.checkIn(step)
		if at%(24*time.Hour) == 0 {
			for _, l := range logins {
				w.refreshes(l, "")
			}
		}
	}
	if n, most := w.idp.Count(providertest.EndpointToken)-before, int(week/step)+3*8; n > most {
		t.Errorf("the IdP was asked %d times, want at most %d", n, most)
	}
	for _, l := range logins {
		w.is(l, broker.UpstreamUnknown)
		w.refreshes(l, "")
	}
	if n := len(w.events(broker.EventSessionEnded)); n != 0 {
		t.Errorf("%d logouts", n)
	}
	if told, logged := len(w.events(broker.EventIdPUnknown)), strings.Count(w.Log.String(), "event=idp.unknown"); told != 1 || logged != 1 {
		t.Errorf("told %d times, logged %d times", told, logged)
	}
	w.respond(providertest.EndpointToken, nil)
	w.idp.Revoke("s-ben")
	for range 20 {
		w.checkIn(time.Minute)
	}
	for i, l := range logins {
		switch {
		case i%3 != 1:
			w.is(l, broker.UpstreamAlive)
		case w.row(l).Upstream.State == broker.UpstreamAlive:
			t.Error("a revoked login is alive")
		}
	}
	if told, logged := len(w.events(broker.EventIdPAnswers)), strings.Count(w.Log.String(), "event=idp.answers"); told != 1 || logged != 1 {
		t.Errorf("told %d times, logged %d times", told, logged)
	}
}

// One login at which the IdP stumbles takes nobody else's check away.
func TestOneLoginThatTheIdPStumblesAt(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	anna, ben := w.enter("anna"), w.enter("ben")
	sick := ""
	if tokens := w.idp.RefreshTokens(); len(tokens) == 2 {
		sick = tokens[0]
	}
	w.respond(providertest.EndpointToken, func(rw http.ResponseWriter, r *http.Request) bool {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), sick) {
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			return false
		}
		return providertest.Body(500, form, "{}")(rw, r)
	})
	for range 300 {
		w.checkIn(time.Minute)
	}
	states := []broker.UpstreamState{w.row(anna).Upstream.State, w.row(ben).Upstream.State}
	slices.Sort(states)
	if fmt.Sprint(states) != "[alive unknown]" {
		t.Errorf("%v", states)
	}
	if len(w.events(broker.EventIdPUnknown)) > 0 && len(w.events(broker.EventIdPAnswers)) == 0 {
		t.Error("the whole IdP is said to be in trouble")
	}
}

// A check that was put off for longer than the interval is made all the same: the
// interval was made shorter, or the clock was wrong when the check was planned.
func TestRevocationIsSeenAfterAClockThatJumpedAhead(t *testing.T) {
	const day = 24 * time.Hour
	for name, then := range map[string]func(w *upstreamWorld){
		"the clock was a year ahead for one check": func(w *upstreamWorld) {
			w.clock.Advance(365 * day)
			w.check()
			w.clock.Advance(-365 * day)
		},
		"recheck was a month": func(w *upstreamWorld) {
			w.every = time.Hour
			w.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newUpstreamWorld(t, "", func(w *upstreamWorld) { w.every = 30 * day })
			login := w.enter("anna")
			then(w)
			w.clock.Advance(time.Hour)
			w.respond(providertest.EndpointToken, providertest.Body(400, form, `{"error":"invalid_grant"}`))
			w.check()
			if _, err := w.Broker.Authenticate(ctx, login.Session.ID); broker.CodeOf(err) != broker.IdPRevoked || err == nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// The worker stops when it is told to, and finishes what it began.
func TestRecheckStops(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	w.rotating()
	logins := []*broker.Login{}
	for range 20 {
		logins = append(logins, w.enter("anna"))
	}
	w.clock.Advance(recheckEvery)
	stopping, stop := context.WithCancel(ctx)
	w.respond(providertest.EndpointToken, func(http.ResponseWriter, *http.Request) bool { stop(); return false })
	n, err := w.Broker.RecheckUpstreams(stopping)
	if err != nil || n == 0 || n == len(logins) {
		t.Errorf("%d checked, %v", n, err)
	}
	alive := 0
	for _, l := range logins {
		u := w.row(l).Upstream
		if u.AliveAt.Equal(w.clock.Now()) {
			alive++
		} else if u.Doubtful != 0 {
			t.Errorf("%+v", u)
		}
	}
	if alive != n {
		t.Errorf("%d of %d answers were written", alive, n)
	}
}

// A login without a refresh token of the IdP goes on, and is not checked.
func TestIdPGivesNoRefreshToken(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	w.idp.Script(func(s *providertest.Script) {
		s.EditTokenAnswer = func(a map[string]any) { delete(a, "refresh_token") }
	})
	login := w.enter("anna")
	if s := w.row(login); s.UpstreamID != "" {
		t.Errorf("%+v", s)
	}
	w.enter("anna")
	if n := strings.Count(w.Log.String(), "idp.no_refresh_token"); n != 1 {
		t.Errorf("said %d times", n)
	}
}
