package main

import (
	"context"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// revokingIdP lets everybody in, and takes every login back.
type revokingIdP struct{ broker.IdP }

func (revokingIdP) AuthURL(_ context.Context, r broker.IdPRequest) (string, error) {
	return "https://idp.test/?state=" + url.QueryEscape(r.State), nil
}

func (revokingIdP) Issuer() string { return "https://idp.test" }

func (revokingIdP) Exchange(context.Context, broker.IdPRequest, broker.IdPResponse) (broker.IdPClaims, error) {
	return broker.IdPClaims{Issuer: "https://idp.test", Subject: "s", Username: "anna", RefreshToken: "token"}, nil
}

func (revokingIdP) Recheck(context.Context, broker.UpstreamToken, broker.RecheckBy) (broker.RecheckResult, error) {
	return broker.RecheckResult{State: broker.UpstreamEnded}, nil
}

// The background of serve checks what is due, and ends with the program.
func TestBackgroundChecksLogins(t *testing.T) {
	r := harness.New(t, "", func(c *broker.Config) {
		c.Providers = []broker.Provider{{IdP: revokingIdP{}, ProviderSettings: broker.ProviderSettings{
			ID: "p", Name: "P", Provision: broker.ProvisionCreate, RequireVerifiedEmail: broker.EmailNever, Recheck: broker.Interval(time.Hour),
		}}}
	})
	ctx, stop := context.WithCancel(t.Context())
	_, state, err := r.Broker.BeginWeb(ctx, "p", "/", broker.IdPAsk{}, broker.Device{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := r.Broker.CompleteIdPLogin(ctx, "p", broker.IdPResponse{Code: "c", State: state}, func(string) bool { return true }, broker.Device{})
	if err != nil {
		t.Fatal(err)
	}
	var background sync.WaitGroup
	background.Go(func() {
		every(ctx, recheckEvery, trouble(slog.New(slog.DiscardHandler), "", ""), r.Broker.RecheckUpstreams)
	})
	r.Clock.Advance(time.Hour)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s, _, err := r.Store.SessionByID(ctx, done.Login.Session.ID)
		if err != nil {
			t.Fatal(err)
		}
		if s.EndCause == broker.IdPRevoked {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("ended with %q", s.EndCause)
		}
	}
	stop()
	background.Wait()
}
