package oidc_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// inspected is a token's checks as one text.
func (r *rig) inspected(raw string) string {
	r.t.Helper()
	_, checks, err := r.InspectIDToken(context.Background(), raw)
	if err != nil {
		r.t.Fatal(err)
	}
	out := []string{}
	for _, c := range checks {
		out = append(out, c.Check+" "+c.Result)
	}
	return strings.Join(out, ", ")
}

func TestInspectIDTokenSaysWhatIsWrong(t *testing.T) {
	r := newRig(t, nil)
	const good = "signature passed, iss passed, aud passed, exp passed, iat passed"
	mint := func(client string, bend providertest.Bend) string {
		return r.minted(r.idp.MintIDToken(client, "anna", "", bend))
	}
	set := func(name string, value any) string {
		return mint("latchkey", func(_, c map[string]any) { c[name] = value })
	}
	whole := mint("latchkey", nil)
	for what, one := range map[string][2]string{
		"nothing":           {whole, good},
		"another client":    {mint("native-app", nil), strings.Replace(good, "aud passed", "aud failed", 1)},
		"two audiences":     {set("aud", []string{"latchkey", "other"}), strings.Replace(good, "aud passed", "aud failed", 1)},
		"expired":           {set("exp", float64(r.clock.Now().Add(-time.Hour).Unix())), strings.Replace(good, "exp passed", "exp failed", 1)},
		"exp as text":       {set("exp", "1"), strings.Replace(good, "exp passed", "exp failed", 1)},
		"from the future":   {set("iat", float64(r.clock.Now().Add(time.Hour).Unix())), strings.Replace(good, "iat passed", "iat failed", 1)},
		"another issuer":    {set("iss", "https://evil.test"), strings.Replace(good, "iss passed", "iss failed", 1)},
		"another signature": {whole[:strings.LastIndex(whole, ".")] + ".c2ln", strings.Replace(good, "signature passed", "signature failed", 1)},
		"no algorithm":      {"eyJhbGciOiJub25lIn0" + whole[strings.Index(whole, "."):strings.LastIndex(whole, ".")] + ".", strings.Replace(good, "signature passed", "signature failed", 1)},
	} {
		if got := r.inspected(one[0]); got != one[1] {
			t.Errorf("%s: %s, want %s", what, got, one[1])
		}
	}
	for _, raw := range []string{"", "x", "a.b", "a.b.c", "..", "a.bnVsbA.c", "a.W10.c", strings.Repeat("x", 70<<10)} {
		if _, _, err := r.InspectIDToken(context.Background(), raw); broker.CodeOf(err) != broker.InvalidRequest || err == nil {
			t.Errorf("%.20q: %v", raw, err)
		}
	}
}

func TestInspectIDTokenWhileTheProviderIsDark(t *testing.T) {
	r := newRig(t, nil)
	raw := r.minted(r.idp.MintIDToken("latchkey", "anna", "", nil))
	r.idp.SetDown(true)
	if got := r.inspected(raw); got != "signature unknown, iss passed, aud passed, exp passed, iat passed" {
		t.Error(got)
	}
}

func TestReadClaimsIsWhatALoginReads(t *testing.T) {
	r := newRig(t, nil)
	c, err := r.ReadClaims([]byte(`{"sub":"1","email":"a@x.test","email_verified":"true","groups":"a b","iss":"https://evil.test"}`))
	if err != nil || c.Issuer != r.Issuer() || c.Subject != "1" || c.EmailVerified != nil || len(c.Groups) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, text := range []string{"", "null", "[]", "{", "{}x"} {
		if _, err := r.ReadClaims([]byte(text)); broker.CodeOf(err) != broker.InvalidRequest || err == nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}
