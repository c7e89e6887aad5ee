package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// german expects a page in German, and what it sets in the jar.
func (a *answer) german(jar []*http.Cookie) []*http.Cookie {
	a.t.Helper()
	a.contains(`<html lang="de">`)
	return append(jar, a.cookies...)
}

// A language that was asked for once stays: after a form, an error, a trip to an
// IdP, and on the pages behind.
func TestLanguageIsKept(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	jar := x.do(http.MethodGet, "/login?ui_locales=de").want(200).german(nil)
	in := cookies(jar)
	x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "wrong"), in).want(401).german(nil)
	x.do(http.MethodGet, "/nothing", in, htmlOnly).want(404).german(nil)
	x.do(http.MethodGet, "/device", in).want(303)
	x.do(http.MethodGet, "/login?next=/device", in).want(200).german(nil)
	begin := x.do(http.MethodGet, "/auth/openid?callback=/", in)
	state := begin.location().Query().Get("state")
	back := "/auth/openid/callback?error=access_denied&state=" + state
	x.do(http.MethodGet, back, cookies(append(jar, begin.cookies...)), htmlOnly).want(403).german(nil)
	logged := cookies(append(jar, x.pageLogin("alice")...))
	x.do(http.MethodGet, "/", logged).want(200).german(nil)
	x.do(http.MethodGet, "/device", logged).want(200).german(nil)
	x.do(http.MethodPost, "/device", logged, ownForm, form("user_code", "nothing")).want(400).german(nil)

	// The person's choice goes before the app's, and is what the next page says.
	changed := x.do(http.MethodGet, "/login?ui_locales=en", in).want(200)
	x.do(http.MethodGet, "/login", cookies(changed.cookies), inGerman).want(200).contains(`<html lang="en">`)
	x.do(http.MethodGet, "/login", cookie("__Host-latchkey_language", "<script>"), inGerman).want(200).german(nil)

	fresh := openSite(t, setup{})
	link := "/setup?ui_locales=de&token=" + url.QueryEscape(fresh.setupToken())
	jar = fresh.do(http.MethodGet, link).want(303).cookies // the token goes into a cookie
	jar = append(jar, fresh.do(http.MethodGet, "/setup?ui_locales=de", cookies(jar)).want(200).german(nil)...)
	fresh.do(http.MethodPost, "/setup", cookies(jar), form("token", fresh.setupToken(), "username", "x", "password", "x")).want(400).german(nil)
}

// The choice at the foot leads to the same page, and never to one that is used up
// or elsewhere.
func TestLanguageChoice(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	door := x.do(http.MethodGet, "/login?next=/account&switch=1").want(200)
	door.contains(`<a href="` + publicURL + `/login?next=%2Faccount&amp;switch=1&amp;ui_locales=de" hreflang="de" lang="de">Deutsch</a>`).
		contains(`hreflang="en" lang="en" aria-current="true">English</a>`)
	wrong := x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "x", "next", "/account")).want(401)
	wrong.contains(publicURL + `/login?next=%2Faccount&amp;ui_locales=de`)
	begin := x.do(http.MethodGet, "/auth/openid?callback=/account")
	state := begin.location().Query().Get("state")
	refused := x.do(http.MethodGet, "/auth/openid/callback?error=access_denied&state="+state, cookies(begin.cookies), htmlOnly).want(403)
	refused.contains(`ui_locales=de" hreflang="de"`).saysNot(state)
	used := x.do(http.MethodGet, "/auth/openid/callback?code=a-code&state=a-state").refused(400, broker.InvalidState, "")
	if strings.Contains(used.Body, "hreflang") || strings.Contains(used.Body, "a-code") {
		t.Errorf("it leads to what is used up: %s", used.Body)
	}
	for _, path := range []string{"//evil.test/", "/nothing?a=" + strings.Repeat("x", 5000), "/%5Cevil.test", "/nothing?%zz=%"} {
		for _, link := range x.do(http.MethodGet, path, htmlOnly).links() {
			if u, err := url.Parse(link); err != nil || u.Host != "" && u.Host != "id.example.org" || strings.HasPrefix(link, "//") || len(link) > 5000 {
				t.Errorf("%.40s: leads to %.80s", path, link)
			}
		}
	}
}

// Secrets of an address in the links of an error page: whoever sends the page on,
// or a program that follows its links, would have them.
func TestAttackErrorPageRepeatsSecrets(t *testing.T) {
	x := newProvider(t, setup{})
	const secret = "s3cr3t-of-an-address"
	check := func(a *answer) {
		t.Helper()
		for _, link := range a.links() {
			if strings.Contains(link, secret) {
				t.Errorf("%s leads to %s", a.request, link)
			}
		}
	}
	names := []string{"token", "code", "state", "nonce", "id_token_hint", "access_token", "code_verifier", "client_secret", "password", "client_assertion", "TOKEN", "user_code", "api_key", "ticket"}
	for _, path := range []string{"/nothing", "/setup", "/password", "/oauth2/authorize", "/oauth2/logout", "/oauth2/continue", "/auth/confirm", "/auth/nobody/callback", "/login?error=invalid_state"} {
		for _, name := range names {
			joint := map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")]
			check(x.do(http.MethodGet, path+joint+name+"="+secret, htmlOnly))
		}
	}
	refused := x.do(http.MethodGet, "/oauth2/authorize?client_id=nobody&state="+secret+"&ui_locales=en", htmlOnly).want(400)
	refused.contains("/oauth2/authorize?client_id=nobody&amp;ui_locales=de")
}

// Support finds the code of a page in the log, with the route.
func TestErrorsOfPagesStandInTheLog(t *testing.T) {
	idp := startIdP(t)
	x := newSite(t, setup{idp: idp})
	browser := cookies(x.pageLogin("alice"))
	for _, c := range []struct {
		a    *answer
		code broker.Code
		at   string
	}{
		{x.do(http.MethodPost, "/login/password", form("username", "alice", "password", "secret words")), broker.InvalidCredentials, "/login/password"},
		{x.do(http.MethodGet, "/auth/openid/callback?code=a-code&state=a-state", htmlOnly), broker.InvalidState, "/auth/:provider/callback"},
		{x.do(http.MethodGet, "/oauth2/authorize?client_id=nobody", htmlOnly), broker.ClientUnknown, "/oauth2/authorize"},
		{x.do(http.MethodGet, "/setup?token=a-token", htmlOnly), broker.SetupDone, "/setup"},
		{x.do(http.MethodPost, "/device", form("user_code", "BCDF-GHJK"), ownForm, browser), broker.UserCodeUnknown, "/device"},
		{x.do(http.MethodPost, "/password", form("token", "a-token", "password", "a long enough password"), htmlOnly, ownForm), broker.PasswordLinkInvalid, "/password"},
		{x.do(http.MethodPost, "/session/end", htmlOnly, header("Sec-Fetch-Site", "cross-site")), broker.CrossSite, "/session/end"},
		{x.do(http.MethodGet, "/admin/providers", htmlOnly, browser), broker.Forbidden, "/admin/providers"},
		{x.do(http.MethodGet, "/nothing", htmlOnly), broker.NotFound, `""`},
	} {
		c.a.contains(string(c.code))
		found := false
		for line := range strings.Lines(x.log.String()) {
			found = found || strings.Contains(line, "event=page.refused") && strings.Contains(line, "code="+string(c.code)) && strings.Contains(line, "route="+c.at+" ")
		}
		if !found {
			t.Errorf("%s at %s is not in the log", c.code, c.at)
		}
	}
	idp.SetDown(true)
	x.do(http.MethodGet, "/auth/openid?callback=/", htmlOnly).want(503)
	if !strings.Contains(x.log.String(), "event=request.failed route=/auth/:provider code=temporarily_unavailable") {
		t.Error("the outage is not in the log")
	}
	for _, secret := range []string{"secret words", "a-code", "a-state", "a-token", "BCDF"} {
		if strings.Contains(x.log.String(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}
