package oidc_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// What a client asks of a login is asked of the IdP, and nothing that was not.
func TestAuthURLAsks(t *testing.T) {
	r := newRig(t, nil)
	zero, hour := int64(0), int64(3600)
	for _, c := range []struct {
		prompt, hint string
		maxAge       *int64
		want         map[string]string
	}{
		{"", "", nil, nil},
		{"login", "", nil, map[string]string{"prompt": "login"}},
		{"login consent", "", &zero, map[string]string{"prompt": "login consent", "max_age": "0"}},
		{"", "anna+x@example.org&prompt=none", &hour, map[string]string{"login_hint": "anna+x@example.org&prompt=none", "max_age": "3600"}},
	} {
		req := request
		req.Prompt, req.LoginHint, req.MaxAge = c.prompt, c.hint, c.maxAge
		to, err := r.AuthURL(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"prompt", "max_age", "login_hint"} {
			if want, asked := c.want[name]; u.Query().Has(name) != asked || u.Query().Get(name) != want {
				t.Errorf("%+v: %s=%q in %s", c, name, u.Query()[name], to)
			}
		}
	}
}

// auth_time is the IdP's word on what it was asked.
func TestAuthTimeAfterMaxAge(t *testing.T) {
	r := newRig(t, nil)
	r.idp.Script(func(s *providertest.Script) { s.SessionAge = time.Hour })
	minute, day := int64(60), int64(86400)
	for _, c := range []struct {
		prompt string
		maxAge *int64
		age    time.Duration
	}{{"", nil, time.Hour}, {"", &day, time.Hour}, {"", &minute, 0}, {"login", nil, 0}} {
		req := request
		req.Prompt, req.MaxAge = c.prompt, c.maxAge
		to, err := r.AuthURL(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		callback, err := r.idp.Authorize(context.Background(), to, "anna")
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(callback)
		claims, err := r.Exchange(context.Background(), req, broker.IdPResponse{Code: u.Query().Get("code"), Issuer: u.Query().Get("iss")})
		if age := r.clock.Now().Sub(claims.AuthTime); err != nil || age != c.age {
			t.Errorf("%+v: logged in %v ago, %v", c, age, err)
		}
	}
}
