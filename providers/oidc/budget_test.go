package oidc_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// fetches is how often the IdP was asked for keys and for its discovery document.
func (r *rig) fetches() (keys, discovery int) {
	return r.idp.Count(providertest.EndpointJWKS), r.idp.Count(providertest.EndpointDiscovery)
}

// flood sends 1000 tokens of each kind: half with a kid that is nobody's, half
// with a bad signature.
func (r *rig) flood(code func(error) bool) {
	r.t.Helper()
	native, logout := r.native(nil), r.logout(nil)
	badSignature := func(raw string, i int) string {
		cut := strings.LastIndex(raw, ".") + 1
		return raw[:cut] + fmt.Sprintf("%04d", i) + strings.Repeat("A", len(raw)-cut-4)
	}
	randomKid := func(raw string, i int) string {
		_, rest, _ := strings.Cut(raw, ".")
		return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","kid":"kid-%d"}`, i)) + "." + rest
	}
	var all sync.WaitGroup
	for worker := range 10 {
		all.Go(func() {
			for i := 50 * worker; i < 50*(worker+1); i++ {
				for _, err := range []error{
					r.verifyLogout(randomKid(logout, i)), r.verifyLogout(badSignature(logout, i)),
					r.verifyNative(randomKid(native, i)), r.verifyNative(badSignature(native, i)),
				} {
					if !code(err) {
						r.t.Errorf("%v", err)
					}
				}
			}
		})
	}
	all.Wait()
}

func refused(err error) bool {
	return err != nil && (broker.CodeOf(err) == broker.CodeInvalid || broker.CodeOf(err) == broker.InvalidRequest)
}

// cannotTell is said where no keys could be had: nothing is proven.
func cannotTell(err error) bool {
	return err != nil && broker.CodeOf(err) == broker.TemporarilyUnavailable
}

// U24: strangers' tokens are at most two fetches a minute. The discovery document
// lasts longer: the second fetch is of one who looked before the first was answered.
func TestU24StrangersTokens(t *testing.T) {
	r := newNative(t, nil)
	for minute := range 3 {
		r.flood(refused)
		if keys, discovery := r.fetches(); keys > 2*(minute+1) || discovery > 2 {
			t.Errorf("after %d minutes: %d fetches of keys, %d of the discovery document", minute, keys, discovery)
		}
		if err := r.verifyNative(r.native(nil)); err != nil {
			t.Errorf("an honest token in between: %v", err)
		}
		r.clock.Advance(61 * time.Second)
	}
}

// U24: the same while the IdP answers nonsense, or not at all.
func TestU24StrangersTokensInAnOutage(t *testing.T) {
	for name, broken := range map[string][]string{
		"keys": {providertest.EndpointJWKS}, "discovery": {providertest.EndpointDiscovery},
		"both": {providertest.EndpointJWKS, providertest.EndpointDiscovery},
	} {
		for kind, fault := range map[string]providertest.Responder{
			"500": providertest.Body(500, "", ""), "404": providertest.Body(404, "", ""),
			"nonsense": providertest.Body(200, "application/json", "{}"), "large": providertest.Flood(1 << 20),
			"cut off": providertest.CutOff(`{"keys":[`),
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				r := newNative(t, nil)
				for _, endpoint := range broken {
					r.respond(endpoint, fault)
				}
				r.flood(cannotTell)
				if keys, discovery := r.fetches(); keys > 2 || discovery > 2 {
					t.Errorf("%d fetches of keys, %d of the discovery document", keys, discovery)
				}
				// The flood has spent nothing of a login.
				for _, endpoint := range broken {
					r.respond(endpoint, nil)
				}
				r.works()
				// Which has fetched what is needed for the others, too.
				if err := r.verifyLogout(r.logout(nil)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// U24: strangers do not stand between a login and a new key.
func TestU24RotationInAFlood(t *testing.T) {
	r := newNative(t, nil)
	r.works()
	r.flood(refused)
	r.idp.RotateKey()
	r.flood(refused)
	r.works() // at once
	if err := r.verifyNative(r.native(nil)); err != nil {
		t.Errorf("after a login has found the key: %v", err)
	}
	if keys, _ := r.fetches(); keys > 4 { // two of logins, two of strangers
		t.Errorf("%d fetches", keys)
	}
}

// U24: a new key is found without any login.
func TestU24RotationWithoutALogin(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		r := newNative(t, nil)
		for range 2 {
			if err := r.verifyLogout(r.logout(nil)); err != nil {
				t.Error(err)
			}
			r.idp.RotateKey()
			r.clock.Advance(31 * time.Second)
		}
	})
	t.Run("after a flood, within a minute", func(t *testing.T) {
		r := newNative(t, nil)
		r.flood(refused)
		r.idp.RotateKey()
		r.clock.Advance(61 * time.Second)
		if err := r.verifyNative(r.native(nil)); err != nil {
			t.Error(err)
		}
		if err := r.verifyLogout(r.logout(nil)); err != nil {
			t.Error(err)
		}
	})
	t.Run("a key withdrawn", func(t *testing.T) {
		r := newNative(t, nil)
		old := r.native(at("iat", 11*time.Minute, "exp", time.Hour)(r))
		_ = r.verifyNative(r.native(nil))
		r.idp.RotateKey()
		r.clock.Advance(11 * time.Minute)
		if err := r.verifyNative(old); !refused(err) {
			t.Errorf("%v", err)
		}
	})
}

// A token that comes while the IdP is dark is checked by the keys that are
// known, for a while; of another key nothing is known.
func TestSentWhileTheIdPIsDark(t *testing.T) {
	r := newNative(t, nil)
	if err := r.verifyNative(r.native(nil)); err != nil {
		t.Fatal(err)
	}
	r.idp.SetDown(true)
	r.clock.Advance(59 * time.Minute)
	if err := r.verifyNative(r.native(nil)); err != nil {
		t.Errorf("by keys of an hour ago: %v", err)
	}
	later := r.native(at("iat", 2*time.Minute)(r))
	r.idp.RotateKey()
	for range 5 { // asked or not
		if err := r.verifyLogout(r.logout(nil)); !cannotTell(err) {
			t.Errorf("by a new key: %v", err)
		}
	}
	r.clock.Advance(2 * time.Minute)
	if err := r.verifyNative(later); !cannotTell(err) {
		t.Errorf("by keys of more than an hour ago: %v", err)
	}
	r.idp.SetDown(false)
	r.clock.Advance(61 * time.Second)
	if err := r.verifyNative(r.native(nil)); err != nil {
		t.Errorf("it is back: %v", err)
	}
}

// After a restart the database's keys alone vouch for nobody: nobody knows how
// old they are.
func TestSentAfterARestartInTheDark(t *testing.T) {
	cache := store(t)
	withCache := func(c *oidc.Config) { c.Cache, c.ExchangeAudiences = cache, []string{"native-app"} }
	r := newRig(t, withCache)
	r.works()
	r.Provider = r.provider(withCache)
	r.idp.SetDown(true)
	for range 5 {
		if err := r.verifyNative(r.native(nil)); !cannotTell(err) {
			t.Errorf("%v", err)
		}
	}
	r.idp.SetDown(false)
	r.works()
	if err := r.verifyNative(r.native(nil)); err != nil {
		t.Error(err)
	}
}

// A stranger's request that stalls is not shared with a login.
func TestLoginDoesNotWaitForAStranger(t *testing.T) {
	r := newNative(t, nil)
	r.works()
	r.idp.RotateKey()
	res, err := r.answer()
	if err != nil {
		t.Fatal(err)
	}
	r.respond(providertest.EndpointJWKS, providertest.Stall)
	done := make(chan error)
	before, _ := r.fetches()
	go func() { done <- r.verifyNative(r.native(nil)) }()
	for n := before; n == before; n, _ = r.fetches() {
		time.Sleep(time.Millisecond)
	}
	r.respond(providertest.EndpointJWKS, nil)
	begun := time.Now()
	if _, err := r.Exchange(t.Context(), request, res); err != nil || time.Since(begun) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	r.idp.SetDown(true) // which ends the stall
	<-done
}
