package web_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/harness"
)

// loginAt logs anna in through the IdP, which says how and how long ago.
func (x *site) loginAt(idp *providertest.IdP, amr []string, ago time.Duration) *browser {
	x.t.Helper()
	idp.Script(func(s *providertest.Script) {
		s.EditIDToken = func(claims map[string]any) {
			claims["amr"], claims["auth_time"] = amr, x.Clock.Now().Add(-ago).Unix()
			if amr == nil {
				delete(claims, "amr")
				delete(claims, "auth_time")
			}
		}
	})
	b := x.newBrowser()
	begun := b.send(http.MethodGet, "/auth/openid?callback=/")
	callback, err := idp.Authorize(context.Background(), begun.location().String(), "anna")
	if err != nil {
		x.t.Fatal(err)
	}
	b.send(http.MethodGet, callback).location()
	return b
}

// says checks what a token says of the login behind it. An access token has no acr.
func (x *site) tokenSays(what, token, amr, acr string, at time.Time) {
	x.t.Helper()
	c := claimsOf(x.t, token)
	gotACR, _ := c["acr"].(string)
	if got := fmt.Sprint(toJSON(c["amr"]), " ", gotACR, " ", c["auth_time"]); got != fmt.Sprint(amr, " ", acr, " ", float64(at.Unix())) {
		x.t.Errorf("%s: %s, want %s %s %v", what, got, amr, acr, float64(at.Unix()))
	}
}

func TestWhatTokensSayOfALoginWithAPassword(t *testing.T) {
	x := newProvider(t, setup{})
	began := x.Clock.Now()
	p := x.login("alice")
	x.tokenSays("login", p.access, `["pwd"]`, "", began)
	g, b := x.clientLogin("nat1", "app.one:/oauth", "scope", "openid offline_access")
	x.Clock.Advance(time.Hour)
	x.tokenSays("refresh", x.refresh(p.refresh).pair().access, `["pwd"]`, "", began)
	x.tokenSays("a client's refresh", x.refreshAt("nat1", g.refresh).granted().access, `["pwd"]`, "", began)
	later := x.redeem("web1", "https://rp1.test/cb", x.codeFor(b, "web1", "https://rp1.test/cb")).granted()
	x.tokenSays("a client in the same browser later", later.id, `["pwd"]`, "1", began)
	d := x.do(http.MethodPost, "/oauth2/device_authorization", form("client_id", "nat1", "scope", "openid")).want(200)
	page := b.open(d.text("verification_uri_complete")).want(200)
	b.follow(b.post("/device", "user_code", hidden(page, "user_code"), "decision", "allow", "proof", harness.PasswordOf("alice"))).want(200)
	x.Clock.Advance(time.Minute)
	device := x.callToken([]string{"grant_type", broker.GrantDeviceCode, "device_code", d.text("device_code"), "client_id", "nat1"}).granted()
	x.tokenSays("a device", device.id, `["pwd"]`, "1", began)
	changed := x.do(http.MethodPatch, "/api/me/password", bearer(x.login("alice").access), refreshHeader("x"),
		jsonBody(toJSON(map[string]string{"password": harness.PasswordOf("alice"), "newPassword": "another password"}))).want(200)
	x.tokenSays("a change of the password", changed.text("user.accessToken"), `["pwd"]`, "", x.Clock.Now())
}

func TestWhatTokensSayOfALoginThroughAnIdP(t *testing.T) {
	idp := startIdP(t)
	for _, c := range []struct {
		amr       []string
		want, acr string
		ago       time.Duration
	}{
		{[]string{"pwd", "otp"}, `["pwd","otp"]`, "2", 0},
		{[]string{"pwd", "otp"}, `["pwd","otp"]`, "2", time.Hour},
		{[]string{"pwd", "pin"}, `["pwd","pin"]`, "1", time.Minute},
		{[]string{"pwd", "pwd"}, `["pwd","pwd"]`, "1", time.Minute},
		{[]string{"hwk"}, `["hwk"]`, "2", time.Minute},
		{nil, "null", "1", 0}, // it does not say
	} {
		x := newProvider(t, setup{idp: idp})
		b, at := x.loginAt(idp, c.amr, c.ago), x.Clock.Now().Add(-c.ago)
		x.Clock.Advance(time.Minute)
		g := x.redeem("nat1", "app.one:/oauth", x.codeFor(b, "nat1", "app.one:/oauth")).granted()
		x.tokenSays("a client", g.id, c.want, c.acr, at)
		x.Clock.Advance(time.Hour)
		again := x.refreshAt("nat1", g.refresh).granted()
		x.tokenSays("its refresh", again.access, c.want, "", at)
	}
}

// A first password is set without a login: what comes back stands on the old one.
func TestFirstPasswordIsNoLogin(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	b, at := x.loginAt(idp, []string{"hwk"}, 2*time.Minute), x.Clock.Now().Add(-2*time.Minute)
	access := b.send(http.MethodPost, "/auth/refresh").want(200).text("user.accessToken")
	set := x.do(http.MethodPatch, "/api/me/password", bearer(access), refreshHeader("x"), jsonBody(`{"password":null,"newPassword":"a first password"}`)).want(200)
	x.tokenSays("the new session", set.text("user.accessToken"), `["hwk"]`, "", at)
	if s := x.sessions("anna", true); len(s) != 1 || s[0].ProviderID != "openid" || s[0].IdPSubject != "s-anna" {
		t.Errorf("%+v", s)
	}
}

// max_age is measured from when the person logged in at the IdP.
func TestMaxAgeCountsFromTheLoginAtTheIdP(t *testing.T) {
	idp := startIdP(t)
	x := newProvider(t, setup{idp: idp})
	b := x.loginAt(idp, []string{"pwd"}, time.Hour)
	if q := b.open("/oauth2/authorize?" + request("web1", "https://rp1.test/cb", "prompt", "none", "max_age", "3599").Encode()).sentTo("https://rp1.test/cb"); q.Get("error") != "login_required" {
		t.Errorf("an hour after the login at the IdP: %v", q)
	}
	if q := b.open("/oauth2/authorize?" + request("web1", "https://rp1.test/cb", "prompt", "none", "max_age", "3601").Encode()).sentTo("https://rp1.test/cb"); q.Get("code") == "" {
		t.Errorf("within max_age: %v", q)
	}
}
