package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
)

func (w *upstreamWorld) try() broker.Trial {
	w.t.Helper()
	out, err := w.Broker.TryProvider(ctx, "p")
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func step(t broker.Trial, name string) broker.TrialStep {
	for _, s := range t.Steps {
		if s.Step == name {
			return s
		}
	}
	return broker.TrialStep{}
}

func TestTrialOfAProvider(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	w.idp.Script(func(s *providertest.Script) {
		s.EditDiscovery = func(m map[string]any) {
			m["scopes_supported"] = []string{"openid", "profile", "email", "offline_access"}
		}
	})
	out := w.try()
	if out.Provider != "p" || out.Result != broker.CheckPassed || step(out, broker.TrialRedirect).Detail != "It knows the client id and the redirect URI: it led back to it." {
		t.Errorf("%+v", out)
	}
	for i, s := range out.Steps { // in the order in which a login needs them
		if i > 0 && strings.Index(strings.Join(broker.TrialSteps, " "), s.Step) < strings.Index(strings.Join(broker.TrialSteps, " "), out.Steps[i-1].Step) {
			t.Errorf("%s stands behind %s", s.Step, out.Steps[i-1].Step)
		}
		if s.Detail == "" || strings.Contains(s.Detail, "{") {
			t.Errorf("%+v", s)
		}
	}
	w.health(broker.HealthOK)
	w.idp.SetClient(providertest.Client{ID: w.clientID, Secret: "another secret", RedirectURIs: []string{"https://elsewhere.test/"}})
	out = w.try()
	if redirect, secret := step(out, broker.TrialRedirect), step(out, broker.TrialSecret); out.Result != broker.CheckFailed ||
		!strings.Contains(redirect.Detail, "Probably the redirect URI "+w.Broker.CallbackURL("p")) || secret.Detail != "It refused the client id or the secret: invalid_client." {
		t.Errorf("%+v", out)
	}
	w.wire.cut.Store(true)
	if out = w.try(); out.Result != broker.CheckFailed || len(out.Steps) != 1 || out.Steps[0].Finding != broker.FindingUnreachable {
		t.Errorf("%+v", out)
	}
	w.health(broker.HealthDark)
	if _, err := w.Broker.TryProvider(ctx, "nobody"); broker.CodeOf(err) != broker.ProviderUnknown {
		t.Error(err)
	}
}

// trying is an IdP whose trial says what it likes.
type trying struct {
	sayingIdP
	steps []broker.TrialStep
	until time.Duration
}

func (i *trying) Try(ctx context.Context, _ broker.IdPRequest) []broker.TrialStep {
	end, _ := ctx.Deadline()
	i.until = time.Until(end)
	return i.steps
}

// What an IdP says of itself is bounded, and is one line, whatever it is; and a
// trial has an end.
func TestTrialOfAHostileIdP(t *testing.T) {
	idp := &trying{sayingIdP: sayingIdP{issuer: "https://p.test"}, steps: []broker.TrialStep{
		broker.Found(broker.TrialIssuer, broker.CheckFailed, broker.FindingOtherIssuer, strings.Repeat("x", 1<<20)+"\n{issuer}", "\u202e{named}\x00\x1b[31m"),
	}}
	h := harness.New(t, "", func(c *broker.Config) {
		c.Providers = []broker.Provider{{ProviderSettings: broker.ProviderSettings{ID: "p"}, IdP: idp}, {ProviderSettings: broker.ProviderSettings{ID: "dead"}}}
	})
	out, err := h.Broker.TryProvider(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	detail := out.Steps[0].Detail
	if len(detail) > 1000 || strings.ContainsAny(detail, "\n\x00\x1b\u202e") || !strings.Contains(detail, "the settings have {named}") {
		t.Errorf("%q", detail)
	}
	if idp.until <= 0 || idp.until > 10*time.Second {
		t.Errorf("it may take %s", idp.until)
	}
	out, err = h.Broker.TryProvider(ctx, "dead")
	if err != nil || fmt.Sprint(out.Result, out.Steps[0].Finding) != "failednot_usable" {
		t.Errorf("%+v %v", out, err)
	}
}

// patientIdP is an IdP whose trial ends when the test says so, or with nothing when its
// time is over.
type patientIdP struct {
	sayingIdP
	began chan struct{}
	ready chan struct{}
}

func (i *patientIdP) Try(ctx context.Context, _ broker.IdPRequest) []broker.TrialStep {
	i.began <- struct{}{}
	select {
	case <-i.ready:
		return []broker.TrialStep{broker.Found(broker.TrialDiscovery, broker.CheckPassed, broker.FindingDiscovery, "5")}
	case <-ctx.Done():
		return []broker.TrialStep{broker.Found(broker.TrialDiscovery, broker.CheckFailed, broker.FindingTimedOut)}
	}
}

func slowWorld(t *testing.T) (*harness.Rig, *patientIdP, broker.Provider) {
	idp := &patientIdP{sayingIdP: sayingIdP{issuer: "https://p.test"}, began: make(chan struct{}, 10), ready: make(chan struct{})}
	p := broker.Provider{ProviderSettings: broker.ProviderSettings{ID: "p"}, IdP: idp}
	h := harness.New(t, "", func(c *broker.Config) { c.Providers = []broker.Provider{p} })
	return h, idp, p
}

// Whoever has no time for the answer learns nothing of the IdP.
func TestTrialThatWasCutSaysNothingOfTheIdP(t *testing.T) {
	h, _, p := slowWorld(t)
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	out, err := h.Broker.TryProvider(short, "p")
	if err != nil || out.Result != broker.CheckFailed {
		t.Fatalf("%+v %v", out, err)
	}
	if out, known := h.Broker.LastTrial(p); known {
		t.Errorf("it is remembered: %+v", out)
	}
	if health := h.Broker.ProviderHealth("p"); health.State != broker.HealthUnknown || health.LastFailureAt != nil {
		t.Errorf("it is noted: %+v", health)
	}
}

// All who look wait for one trial, which goes on when they leave.
func TestLooksShareATrial(t *testing.T) {
	h, idp, p := slowWorld(t)
	first, leave := context.WithCancel(ctx)
	left, stayed := make(chan error), make(chan broker.Trial)
	go func() {
		_, err := h.Broker.RecentTrial(first, p)
		left <- err
	}()
	<-idp.began
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for range 5 {
		go func() {
			trial, _ := h.Broker.RecentTrial(ctx, p)
			stayed <- trial
		}()
	}
	close(idp.ready)
	for range 5 {
		if trial := <-stayed; trial.Result != broker.CheckPassed {
			t.Errorf("%+v", trial)
		}
	}
	if len(idp.began) > 0 {
		t.Errorf("%d trials more", len(idp.began))
	}
	if trial, known := h.Broker.LastTrial(p); !known || trial.Result != broker.CheckPassed || h.Broker.ProviderHealth("p").State != broker.HealthOK {
		t.Errorf("%+v %v", trial, known)
	}
}
