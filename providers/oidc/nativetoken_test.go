package oidc_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

func TestVerifyIDToken(t *testing.T) {
	r := newNative(t, func(c *oidc.Config) { c.Claims.Username = "nested.login" })
	token, err := r.VerifyIDToken(context.Background(), r.native(func(_, c map[string]any) {
		c["nested"], c["sid"] = map[string]any{"login": "annika"}, "sid-1"
	}))
	c := token.Claims
	if err != nil || c.Issuer != r.idp.Issuer() || c.Issuer != r.Issuer() || c.Subject != "s-anna" || c.Username != "annika" || c.SessionID != "sid-1" ||
		c.Email != "anna@example.org" || c.EmailVerified == nil || !*c.EmailVerified || !slices.Equal(c.Groups, []string{"a"}) || !c.AuthTime.Equal(r.clock.Now()) {
		t.Errorf("%+v, %v", c, err)
	}
	if token.Nonce != nonce {
		t.Errorf("nonce %q", token.Nonce)
	}
	// After that it is too old, whatever exp says.
	if want := r.clock.Now().Add(10 * time.Minute); !token.ExpiresAt.Equal(want) {
		t.Errorf("accepted until %v, want %v", token.ExpiresAt, want)
	}
	short, err := r.VerifyIDToken(context.Background(), r.native(at("exp", 2*time.Minute)(r)))
	if want := r.clock.Now().Add(3 * time.Minute); err != nil || !short.ExpiresAt.Equal(want) {
		t.Errorf("accepted until %v, %v", short.ExpiresAt, err)
	}
	without, err := r.VerifyIDToken(context.Background(), r.minted(r.idp.MintIDToken("native-app", "anna", "", nil)))
	if err != nil || without.Nonce != "" {
		t.Errorf("%+v, %v", without, err)
	}
	if n := r.idp.Count(providertest.EndpointUserinfo) + r.idp.Count(providertest.EndpointToken); n != 0 {
		t.Errorf("%d requests with a token", n)
	}
}

func TestExchangeIsOffWithoutAudiences(t *testing.T) {
	r := newRig(t, nil)
	for _, raw := range []string{r.native(nil), r.native(claim("aud", "latchkey")(r)), r.native(claim("aud", "")(r)), "x"} {
		err := r.verifyNative(raw)
		if broker.CodeOf(err) != broker.CodeInvalid || err == nil || !strings.Contains(err.Error(), "not accepted for exchange") {
			t.Errorf("%v", err)
		}
	}
	if n := r.idp.Count(providertest.EndpointDiscovery) + r.idp.Count(providertest.EndpointJWKS); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func native(r *rig, bend providertest.Bend) string { return r.native(bend) }

func TestU07NativeIssuerAndAudience(t *testing.T) {
	tell(t, broker.CodeInvalid, native, (*rig).verifyNative, issuerLies, []lie{
		{"the audience of our own logins", claim("aud", "latchkey"), false},
		{"an array of one", claim("aud", []string{"native-app"}), true},
		{"two of ours, azp one of ours", claim("aud", []string{"native-app", "native-app.web"}, "azp", "native-app"), true},
		{"two of ours without azp", claim("aud", []string{"native-app", "native-app.web"}), false},
		{"one of ours and a stranger", claim("aud", []string{"native-app", "another"}, "azp", "native-app"), false},
		{"one of ours and no text", claim("aud", []any{"native-app", 1}, "azp", "native-app"), false},
		{"azp of a stranger", claim("azp", "another"), false},
		{"azp empty", claim("azp", ""), false},
		{"azp no text", claim("azp", []string{"native-app"}), false},
		{"azp another of ours, as Google has it", claim("aud", "native-app.web", "azp", "native-app"), true},
		{"a prefix of ours", claim("aud", "native"), false},
		{"ours in capitals", claim("aud", "Native-App"), false},
	})
}

func TestU10NativeAlgorithms(t *testing.T) {
	tell(t, broker.CodeInvalid, native, (*rig).verifyNative, algorithmLies)
}

func TestO22NativeTokens(t *testing.T) {
	tell(t, broker.CodeInvalid, native, (*rig).verifyNative, timeLies, subjectLies, []lie{
		{"no sub", claim("sub", nil), false},
		{"sub under SUB only", claim("sub", nil, "SUB", "s-anna"), false},
		{"nonce no text", claim("nonce", 42), false},
		{"nonce with a NUL", claim("nonce", "\x00"), false},
		{"nonce empty", claim("nonce", ""), false},
		{"a logout token by its typ", header("typ", "logout+jwt"), false},
		{"a logout token by its event", claim("nonce", nil, "events", map[string]any{providertest.LogoutEvent: map[string]any{}}), false},
		{"an access token of Keycloak", claim("typ", "Bearer"), false},
		{"an ID token of Keycloak", claim("typ", "ID"), true},
		{"an access token of Cognito", claim("token_use", "access"), false},
		{"claims of a source that is nowhere", claim("_claim_names", map[string]any{"groups": "x"}), false},
	})
}

// A browser's login at this very IdP is not an app's.
func TestO22TokenOfALogin(t *testing.T) {
	r := newNative(t, nil)
	var raw string
	r.idp.Script(func(s *providertest.Script) {
		s.EditTokenAnswer = func(a map[string]any) { raw, _ = a["id_token"].(string) }
	})
	r.works()
	if err := r.verifyNative(raw); broker.CodeOf(err) != broker.CodeInvalid || raw == "" {
		t.Errorf("%v", err)
	}
}

// A logout token is no proof that somebody is there.
func TestO22LogoutTokenAsIDToken(t *testing.T) {
	for _, typ := range []any{nil, "JWT", "logout+jwt"} {
		r := newNative(t, nil)
		raw := r.minted(r.idp.MintLogoutToken("native-app", "s-anna", "", header("typ", typ)(r)))
		if err := r.verifyNative(raw); broker.CodeOf(err) != broker.CodeInvalid || err == nil {
			t.Errorf("%v: %v", typ, err)
		}
	}
}
