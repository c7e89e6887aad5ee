package oidc_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

func TestVerifyLogoutToken(t *testing.T) {
	r := newNative(t, nil)
	for _, c := range []struct{ subject, sid string }{{"s-anna", "sid-1"}, {"s-anna", ""}, {"", "sid-1"}} {
		raw := r.minted(r.idp.MintLogoutToken("latchkey", c.subject, c.sid, func(_, claims map[string]any) { claims["jti"] = "jti-1" }))
		token, err := r.VerifyLogoutToken(context.Background(), raw)
		if err != nil || token.Subject != c.subject || token.SessionID != c.sid || token.ID != "jti-1" || !token.ExpiresAt.Equal(r.clock.Now().Add(3*time.Minute)) {
			t.Errorf("%+v: %+v, %v", c, token, err)
		}
	}
	// As at a login, a sid that is too long to be kept is none.
	long := claim("sid", strings.Repeat("x", 256))(r)
	if token, err := r.VerifyLogoutToken(context.Background(), r.logout(long)); err != nil || token.SessionID != "" || token.Subject != "s-anna" {
		t.Errorf("%+v, %v", token, err)
	}
	if err := r.verifyLogout(r.minted(r.idp.MintLogoutToken("latchkey", "", "x", long))); broker.CodeOf(err) != broker.InvalidRequest || err == nil {
		t.Errorf("for nobody: %v", err)
	}
}

func logout(r *rig, bend providertest.Bend) string { return r.logout(bend) }

func TestU07LogoutIssuerAndAudience(t *testing.T) {
	tell(t, broker.InvalidRequest, logout, (*rig).verifyLogout, issuerLies, []lie{
		{"an app that may exchange tokens", claim("aud", "native-app"), false},
		{"us among others", claim("aud", []string{"another", "latchkey"}), true},
		{"us and no text", claim("aud", []any{"latchkey", 1}), false},
	})
}

func TestU10LogoutAlgorithms(t *testing.T) {
	tell(t, broker.InvalidRequest, logout, (*rig).verifyLogout, algorithmLies)
}

func TestU23LogoutTokens(t *testing.T) {
	event := func(value any) func(*rig) providertest.Bend {
		return claim("events", map[string]any{providertest.LogoutEvent: value})
	}
	tell(t, broker.InvalidRequest, logout, (*rig).verifyLogout, timeLies, subjectLies, []lie{
		{"sub and sid missing", claim("sub", nil, "sid", nil), false},
		{"sub missing", claim("sub", nil), true},
		{"sid missing", claim("sid", nil), true},
		{"sub and sid under other names", claim("sub", nil, "sid", nil, "SUB", "s-anna", "Sid", "sid-1"), false},
		{"sid empty", claim("sid", ""), false},
		{"sid a number", claim("sid", 1), false},
		{"sid with a NUL", claim("sid", "s\x00"), false},
		{"jti missing", claim("jti", nil), false},
		{"jti empty", claim("jti", ""), false},
		{"jti a number", claim("jti", 1), false},
		{"jti too long", claim("jti", strings.Repeat("j", 256)), false},
		{"jti under JTI only", claim("jti", nil, "JTI", "x"), false},
		{"events missing", claim("events", nil), false},
		{"events empty", claim("events", map[string]any{}), false},
		{"events null", claim("events", json.RawMessage("null")), false},
		{"events a text", claim("events", providertest.LogoutEvent), false},
		{"events an array", claim("events", []string{providertest.LogoutEvent}), false},
		{"events under Events only", claim("events", nil, "Events", map[string]any{providertest.LogoutEvent: map[string]any{}}), false},
		{"another event", claim("events", map[string]any{"http://schemas.openid.net/event/token-claims-change": map[string]any{}}), false},
		{"the event in capitals", claim("events", map[string]any{strings.ToUpper(providertest.LogoutEvent): map[string]any{}}), false},
		{"the event with a slash", claim("events", map[string]any{providertest.LogoutEvent + "/": map[string]any{}}), false},
		{"the event over https", claim("events", map[string]any{strings.Replace(providertest.LogoutEvent, "http:", "https:", 1): map[string]any{}}), false},
		{"the event null", event(nil), false},
		{"the event true", event(true), false},
		{"the event with members", event(map[string]any{"x": 1}), true},
		{"the event among others", claim("events", map[string]any{"x": map[string]any{}, providertest.LogoutEvent: map[string]any{}}), true},
		{"a nonce", claim("nonce", nonce), false},
		{"an empty nonce", claim("nonce", ""), false},
		{"nonce null", claim("nonce", json.RawMessage("null")), false},
		{"a nonce under NONCE", claim("NONCE", "x"), false},
		{"typ logout+jwt", header("typ", "logout+jwt"), true},
		{"typ in full and in capitals", header("typ", "application/LOGOUT+JWT"), true},
		{"typ empty", header("typ", ""), false},
		{"typ of an unknown kind", header("typ", "JOSE"), false},
	})
}

// An ordinary ID token, as it is and with all that it may lose, ends nothing.
func TestU23IDTokenAsLogoutToken(t *testing.T) {
	for name, bend := range map[string]providertest.Bend{
		"as it is":        nil,
		"without a nonce": func(_, c map[string]any) { delete(c, "nonce") },
		"with a jti":      func(_, c map[string]any) { delete(c, "nonce"); c["jti"] = "x" },
		"typ logout+jwt":  func(h, c map[string]any) { delete(c, "nonce"); c["jti"], h["typ"] = "x", "logout+jwt" },
		"nonce and events": func(_, c map[string]any) {
			c["jti"], c["events"] = "x", map[string]any{providertest.LogoutEvent: map[string]any{}}
		},
	} {
		r := newNative(t, nil)
		if err := r.verifyLogout(r.minted(r.idp.MintIDToken("latchkey", "anna", nonce, bend))); broker.CodeOf(err) != broker.InvalidRequest || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
