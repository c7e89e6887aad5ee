package web_test

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// W: nothing that an app, an IdP or a cookie says becomes markup at the door, is
// said in anybody's name, or goes on in a Referer.
func TestDoorEscapesHintsLanguagesAndAnswers(t *testing.T) {
	idp := startIdP(t)
	x := newProvider(t, setup{idp: idp})
	for _, payload := range payloads {
		q := url.QueryEscape(payload)
		if len(payload) < 300 && !strings.ContainsAny(payload, "\r\n") {
			door := x.newBrowser().open("/oauth2/authorize?" + request("asking", "https://asking.test/cb", "login_hint", payload, "ui_locales", payload).Encode()).want(200)
			door.inert()
			if hint := html.UnescapeString(between(t, door.Body, `name="username" value="`, `"`)); hint != strings.TrimPrefix(payload, "\u202e") {
				t.Errorf("the hint is %q, and stands there as %q", payload, hint)
			}
		}
		for _, path := range []string{"/login?ui_locales=" + q, "/login?autoLaunch=" + q, "/login?password=" + q + "&ui_locales=" + q, "/nothing?ui_locales=" + q} {
			a := x.do(http.MethodGet, path, htmlOnly)
			a.inert()
			if got := a.Header.Get("Referrer-Policy"); got != "same-origin" {
				t.Errorf("%s: Referrer-Policy %q", a.request, got)
			}
			for _, c := range a.cookies {
				if c.Name == "__Host-latchkey_language" && c.Value != "en" && c.Value != "de" {
					t.Errorf("%s: the cookie keeps %q", a.request, c.Value)
				}
			}
		}
		begin := x.do(http.MethodGet, "/auth/openid?callback=/")
		back := url.Values{"error": {"access_denied"}, "error_description": {payload}, "state": {begin.location().Query().Get("state")}, "iss": {idp.Issuer()}}
		said := x.do(http.MethodGet, "/auth/openid/callback?"+back.Encode(), cookies(begin.cookies), htmlOnly).want(403)
		said.inert()
		if len(payload) > 8 && strings.Contains(said.Body, payload) {
			t.Errorf("the page says %q", payload)
		}
		if strings.Contains(said.Body, back.Get("state")) {
			t.Error("the state stands on the page")
		}
	}
	for _, name := range []string{"language", "stay", "launch"} {
		x.do(http.MethodGet, "/login", cookie("__Host-latchkey_"+name, "><script>"), htmlOnly).want(200).inert()
	}
}
