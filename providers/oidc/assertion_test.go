package oidc_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/tokens"
)

// keyed is a rig whose client has keys of its own and no secret, and what was
// signed with them and sent.
type keyed struct {
	*rig
	ring   map[string]*tokens.SigningKey
	asked  []string // the algorithms
	forms  []url.Values
	basic  bool
	broken error
}

func newKeyed(t testing.TB, change func(*oidc.Config)) *keyed {
	t.Helper()
	k := &keyed{ring: map[string]*tokens.SigningKey{}}
	set := jose.JSONWebKeySet{}
	for _, algorithm := range tokens.Algorithms {
		key, err := tokens.GenerateSigningKey(algorithm, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k.ring[algorithm], set.Keys = key, append(set.Keys, key.Public())
	}
	jwks, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	k.rig = newRig(t, func(c *oidc.Config) {
		c.ClientSecret, c.TokenEndpointAuth, c.Assertion = "", "private_key_jwt", k.sign
		if change != nil {
			change(c)
		}
	})
	k.idp.SetClient(providertest.Client{
		ID: "latchkey", TokenAuth: "private_key_jwt", Keys: func() []byte { return jwks }, RedirectURIs: []string{returnTo},
	})
	spy := func(_ http.ResponseWriter, r *http.Request) bool {
		_ = r.ParseForm()
		_, _, basic := r.BasicAuth()
		k.basic, k.forms = k.basic || basic, append(k.forms, r.PostForm)
		return false
	}
	k.respond(providertest.EndpointToken, spy)
	k.respond(providertest.EndpointIntrospect, spy)
	return k
}

func (k *keyed) sign(_ context.Context, clientID, audience, algorithm string) (tokens.ClientAssertion, error) {
	if k.asked = append(k.asked, algorithm); k.broken != nil {
		return "", k.broken
	}
	now := k.clock.Now()
	return k.ring[algorithm].MintAssertion(tokens.AssertionClaims{
		ClientID: clientID, Audience: audience, ID: rand.Text(), IssuedAt: now.Unix(), ExpiresAt: now.Add(time.Minute).Unix(),
	})
}

// list has the IdP's metadata say what it takes; nil: nothing.
func (k *keyed) list(algs []string) {
	k.idp.Script(func(s *providertest.Script) {
		s.EditDiscovery = func(m map[string]any) {
			if m["token_endpoint_auth_signing_alg_values_supported"] = algs; algs == nil {
				delete(m, "token_endpoint_auth_signing_alg_values_supported")
			}
		}
	})
}

// The login, the refresh, and the introspection each bring an assertion of their
// own, and no secret. The IdP checks them, and takes none twice.
func TestPrivateKeyJWT(t *testing.T) {
	k := newKeyed(t, offline)
	token := k.loggedIn()
	for _, by := range []broker.RecheckBy{broker.RecheckByRefresh, broker.RecheckByIntrospection, broker.RecheckByRefresh} {
		if got, err := k.recheck(token, by); err != nil || got.State != broker.UpstreamAlive || got.Subject != "s-anna" || got.Token != "" {
			t.Errorf("%s: %+v, %v", by, got, err)
		}
	}
	seen := []string{}
	for _, form := range k.forms {
		assertion := form.Get("client_assertion")
		if form.Get("client_assertion_type") != broker.AssertionTypeJWT || form.Get("client_id") != "latchkey" || form.Has("client_secret") || form.Has("scope") ||
			assertion == "" || slices.Contains(seen, assertion) {
			t.Errorf("%v", form)
		}
		seen = append(seen, assertion)
	}
	if len(seen) != 4 || k.basic {
		t.Errorf("%d requests, HTTP Basic: %v", len(seen), k.basic)
	}
	if k.forms[1].Get("grant_type") != "refresh_token" || k.forms[1].Get("refresh_token") != token.Reveal() || k.forms[1].Has("code") {
		t.Errorf("%v", k.forms[1])
	}
	k.idp.Revoke("s-anna")
	for _, by := range []broker.RecheckBy{broker.RecheckByRefresh, broker.RecheckByIntrospection} {
		if got, err := k.recheck(token, by); err != nil || got.State != broker.UpstreamEnded {
			t.Errorf("%s: %+v, %v", by, got, err)
		}
	}
}

func TestAssertionAlgorithm(t *testing.T) {
	for _, c := range []struct {
		listed []string
		want   string
	}{
		{nil, "RS256"}, {[]string{}, "RS256"}, {[]string{"ES256", "PS256", "RS256"}, "RS256"}, {[]string{"HS256", "ES256"}, "ES256"}, {[]string{"EdDSA"}, "EdDSA"},
	} {
		k := newKeyed(t, nil)
		k.list(c.listed)
		if k.works(); !slices.Equal(k.asked, []string{c.want}) {
			t.Errorf("%v: %v", c.listed, k.asked)
		}
	}
}

// An IdP that takes nothing of what we can sign gets no code, and the log says
// why. Neither none nor a shared secret is something that we sign with.
func TestAssertionAlgorithmDowngrade(t *testing.T) {
	for _, listed := range [][]string{{"none"}, {"HS256", "none"}, {"RS512"}, {"rs256"}, {""}} {
		k := newKeyed(t, offline)
		token := k.loggedIn()
		k.list(listed)
		sent := len(k.forms)
		k.clock.Advance(time.Hour)
		k.fails(broker.IdPBadResponse)
		for _, by := range []broker.RecheckBy{broker.RecheckByRefresh, broker.RecheckByIntrospection} {
			if got, err := k.recheck(token, by); !errors.Is(err, broker.IdPBadResponse) || got != (broker.RecheckResult{Untouched: true}) || !strings.Contains(err.Error(), "RS256") {
				t.Errorf("%v: %+v, %v", listed, got, err)
			}
		}
		if len(k.forms) != sent || len(k.asked) != 1 {
			t.Errorf("%v: %d requests, signed for %v", listed, len(k.forms)-sent, k.asked)
		}
	}
}

// A malicious IdP names the token endpoint of an honest one as its own. What it
// thereby has us send there is made for the malicious one, and proves nothing.
func TestAssertionForAnotherIdP(t *testing.T) {
	honest, mallory := newKeyed(t, nil), newKeyed(t, nil)
	mallory.ring = honest.ring // by which both know us
	mallory.idp.Script(func(s *providertest.Script) {
		s.EditDiscovery = func(m map[string]any) { m["token_endpoint"] = honest.idp.Issuer() + "/token" }
	})
	res, err := honest.answer() // a code of the honest IdP, injected
	if err != nil {
		t.Fatal(err)
	}
	res.Issuer = mallory.idp.Issuer()
	if _, err := mallory.Exchange(t.Context(), request, res); !errors.Is(err, broker.IdPRefused) || !strings.Contains(err.Error(), "invalid_client") {
		t.Error(err)
	}
	honest.works()
}

// An IdP that repeats in its error what it was sent does not get it into ours.
func TestAssertionInAnError(t *testing.T) {
	k := newKeyed(t, offline)
	token := k.loggedIn()
	echo := func(w http.ResponseWriter, r *http.Request) bool {
		_ = r.ParseForm()
		k.forms = append(k.forms, r.PostForm)
		text, _ := json.Marshal(map[string]string{"error": r.PostForm.Get("client_assertion"), "error_description": r.PostForm.Get("client_assertion")})
		providertest.Body(http.StatusUnauthorized, "application/json", string(text))(w, r)
		return true
	}
	k.respond(providertest.EndpointToken, echo)
	k.respond(providertest.EndpointIntrospect, echo)
	_, login := k.login()
	_, refresh := k.recheck(token, broker.RecheckByRefresh)
	_, introspection := k.recheck(token, broker.RecheckByIntrospection)
	for i, err := range []error{login, refresh, introspection} {
		form := k.forms[len(k.forms)-3+i]
		assertion := form.Get("client_assertion")
		if _, signature, _ := strings.Cut(assertion, "."); err == nil || assertion == "" || strings.Contains(err.Error(), signature) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Trouble of ours is no verdict on anybody, and sends nothing.
func TestAssertionThatCannotBeMade(t *testing.T) {
	k := newKeyed(t, offline)
	token := k.loggedIn()
	k.broken = broker.Unavailable(errors.New("no key"))
	sent := len(k.forms)
	k.fails(broker.TemporarilyUnavailable)
	for _, by := range []broker.RecheckBy{broker.RecheckByRefresh, broker.RecheckByIntrospection} {
		if got, err := k.recheck(token, by); !errors.Is(err, broker.TemporarilyUnavailable) || got != (broker.RecheckResult{Untouched: true}) {
			t.Errorf("%s: %+v, %v", by, got, err)
		}
	}
	if len(k.forms) != sent {
		t.Error("a request was sent")
	}
	k.broken = nil
	k.works()
}
