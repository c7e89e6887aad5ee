package broker_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// appCode is an app's login up to its one-time code.
func (h *house) appCode(state, verifier string) (code string) {
	h.t.Helper()
	r, err := h.Broker.BeginApp(ctx, broker.AppRequest{
		ProviderID: "p", ResponseType: "code", RedirectURI: "audiobookshelf://oauth", State: state, CodeChallenge: challengeOf(verifier),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	to, known, err := h.Broker.OpenAuthRequest(ctx, "p", r.State, r.Challenge, broker.Device{})
	if err != nil || known == nil {
		h.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		h.t.Fatal(err)
	}
	done, err := h.Broker.CompleteIdPLogin(ctx, "p", broker.IdPResponse{Code: "0", State: u.Query().Get("state")}, noCookie, phone)
	if err != nil || done.Login != nil || done.Request == nil {
		h.t.Fatalf("%+v, %v", done, err)
	}
	return done.Code
}

// noCookie is the browser of an app's login, of which no cookie is asked.
func noCookie(string) bool { return false }

var rightVerifier = strings.Repeat("v", 64)

// Of twenty that redeem one code at once one gets a session, and what it got
// ends: two hold the code.
func TestParallelRedemptionsOfOneCode(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		people := []broker.IdPClaims{says("anna")}
		h := newHouse(t, database, func(p *broker.Provider) { p.IdP = &crowdIdP{people: people} }, retrying)
		code := h.appCode("S", rightVerifier)
		var mu sync.Mutex
		won, reused := 0, 0
		var all sync.WaitGroup
		for range crowd {
			all.Go(func() {
				_, err := h.Broker.RedeemGrant(ctx, "p", code, "S", rightVerifier, phone)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case errors.Is(err, broker.CodeReused):
					reused++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won != 1 || reused != crowd-1 {
			t.Errorf("%d won, %d were told of the reuse", won, reused)
		}
		list, n, err := h.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 10)
		if err != nil || n != 1 || list[0].EndCause != broker.CodeReused {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// A browser's state is used once, by twenty at once too.
func TestParallelCallbacksOfOneState(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		people := []broker.IdPClaims{says("anna")}
		h := newHouse(t, database, func(p *broker.Provider) { p.IdP = &crowdIdP{people: people} }, retrying)
		_, state, err := h.Broker.BeginWeb(ctx, "p", "/", broker.IdPAsk{}, broker.Device{})
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, crowd)
		for range crowd {
			go func() {
				_, err := h.Broker.CompleteIdPLogin(ctx, "p", broker.IdPResponse{Code: "0", State: state}, func(s string) bool { return s == state }, phone)
				results <- err
			}()
		}
		won := 0
		for range crowd {
			if err := <-results; err == nil {
				won++
			} else if !errors.Is(err, broker.InvalidState) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d logins by one state", won)
		}
	})
}

// What is sent to the IdP is new each time, and the database holds none of it.
func TestSecretsOfATrip(t *testing.T) {
	idp := &scriptedIdP{}
	h := newHouse(t, "", func(p *broker.Provider) { p.IdP = idp }, nil)
	seen := map[string]bool{}
	for range 50 {
		if _, _, err := h.Broker.BeginWeb(ctx, "p", "/", broker.IdPAsk{}, broker.Device{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range idp.asks {
		for _, secret := range []string{r.State, r.Nonce, r.Verifier} {
			if len(secret) < 43 || len(secret) > 128 || seen[secret] {
				t.Errorf("%q is short, long, or not new", secret)
			}
			seen[secret] = true
		}
		if r.RedirectURI != "http://localhost:8080/auth/p/callback" {
			t.Errorf("redirect_uri %s", r.RedirectURI)
		}
	}
}

// A refusal of the IdP, in its own words, becomes one of a few codes.
func TestErrorsOfTheIdP(t *testing.T) {
	h := newHouse(t, "", nil, nil)
	for said, code := range map[string]broker.Code{
		"access_denied": broker.AccessDenied, "login_required": broker.IdPRefused, "invalid_scope": broker.IdPRefused, "Benutzer gesperrt": broker.IdPRefused,
		"temporarily_unavailable": broker.TemporarilyUnavailable, "server_error": broker.TemporarilyUnavailable,
	} {
		_, state, err := h.Broker.BeginWeb(ctx, "p", "/", broker.IdPAsk{}, broker.Device{})
		if err != nil {
			t.Fatal(err)
		}
		res := broker.IdPResponse{State: state, Error: said, Code: "both", ErrorDescription: strings.Repeat("x", 10_000) + "\n\x1b[31m"}
		if _, err := h.Broker.CompleteIdPLogin(ctx, "p", res, func(string) bool { return true }, phone); broker.CodeOf(err) != code || err == nil {
			t.Errorf("%s: %v", said, fmt.Sprintf("%.200v", err))
		}
	}
	if log := h.Log.String(); len(log) > 10_000 || strings.Contains(log, "\x1b") {
		t.Errorf("%d bytes of log", len(log))
	}
}
