package lab

import (
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// logIn is a browser's whole login through the provider. It returns why Latchkey
// refuses it; "": anna is logged in.
func (x *place) logIn() broker.Code {
	x.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		x.t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer browser.CloseIdleConnections()
	open := func(target string) *http.Response {
		res, err := browser.Get(target)
		if err != nil {
			x.t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	begun := open(x.url + "/auth/openid?callback=/")
	if code := begun.Header.Get("Latchkey-Code"); code != "" {
		return broker.Code(code)
	}
	callback, err := x.idp.Authorize(x.t.Context(), begun.Header.Get("Location"), "anna")
	if err != nil {
		x.t.Fatal(err)
	}
	done := open(callback)
	code := broker.Code(done.Header.Get("Latchkey-Code"))
	if loggedIn := done.StatusCode < 400 && len(done.Cookies()) > 0; loggedIn != (code == "") {
		x.t.Fatalf("%s with the code %q", done.Status, code)
	}
	return code
}

// TestLatchkeyHearsLies: lies on which a login would rest are refused, and those that
// it does not need are borne.
func TestLatchkeyHearsLies(t *testing.T) {
	t.Parallel()
	const otherIssuer, noKeys = `{discovery: {issuer: "https://evil.example"}}`, `{jwks: {keys: []}}`
	for _, c := range []struct {
		name   string
		before bool // somebody has logged in while the provider was honest
		lies   string
		want   broker.Code
	}{
		{"discovery is of another issuer", false, otherIssuer, broker.IdPBadResponse},
		{"discovery is of another issuer, and was right", true, otherIssuer, ""},
		{"the key is not published", false, noKeys, broker.IdPBadResponse},
		{"the key is published no more, and is known", true, noKeys, ""},
		{"the new key is not published", true, `{rotate_keys: true, jwks: {keys: []}}`, broker.IdPBadResponse},
		{"the key has another kid", false, `{jwks: {keys: {kid: another}}}`, broker.IdPBadResponse},
		{"the key has no kid, and neither has the token", false, `{jwks: {keys: {kid: null}}, header: {kid: null}}`, ""},
		{"there is no ID token", false, `{token: {id_token: null}}`, broker.IdPBadResponse},
		{"userinfo is of another, and is needed", false, `{claims: {groups: null}, userinfo: {sub: another}}`, broker.IdPBadResponse},
		{"the access token is of a kind of its own, and is needed", false, `{claims: {groups: null}, token: {token_type: mac}}`, broker.IdPBadResponse},
		{"the access token is of a kind of its own, and is not needed", false, `{token: {token_type: mac}}`, ""},
		{"userinfo is of another, and is not needed", false, `{userinfo: {sub: another}}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := newPlace(t, 0, nil)
			if c.before {
				if code := x.logIn(); code != "" {
					t.Fatalf("the honest login: %s", code)
				}
			}
			lying(t, c.lies).tell(x.idp, x.lab.cfg.Clock)
			if code := x.logIn(); code != c.want {
				t.Errorf("%q, want %q", code, c.want)
			}
			if n := x.idp.Count(providertest.EndpointUserinfo); n != 0 && strings.Contains(c.lies, "token_type: mac") {
				t.Error("userinfo got a token of that kind")
			}
			Lies{}.tell(x.idp, x.lab.cfg.Clock)
			if code := x.logIn(); code != "" {
				t.Errorf("afterwards: %s", code)
			}
		})
	}
}

// TestLatchkeySparesTheKeys: two logins with an unknown key leave none for a new one in
// that minute, as docs/lab.md warns.
func TestLatchkeySparesTheKeys(t *testing.T) {
	t.Parallel()
	x := newPlace(t, 0, nil)
	unknown := lying(t, `{unknown_key: true}`)
	for i, c := range []struct {
		lies  Lies
		ahead time.Duration
		want  broker.Code
	}{
		{unknown, 0, broker.IdPBadResponse}, {unknown, 0, broker.IdPBadResponse}, {Lies{}, 0, ""},
		{Lies{RotateKeys: true}, 0, broker.IdPBadResponse}, {Lies{}, time.Minute, ""},
	} {
		x.lab.cfg.Clock.set(c.ahead)
		c.lies.tell(x.idp, x.lab.cfg.Clock)
		if code := x.logIn(); code != c.want {
			t.Errorf("login %d: %q, want %q", i+1, code, c.want)
		}
	}
}
