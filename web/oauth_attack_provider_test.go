package web_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

// bearerError expects a refusal of RFC 6750 section 3.
func (a *answer) bearerError(status int, said string) *answer {
	a.t.Helper()
	a.want(status)
	if got := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer error="`+said+`"`) {
		a.t.Errorf("%s: WWW-Authenticate %q, want Bearer error=%q", a.request, got, said)
	}
	return a
}

func (x *site) userinfo(access string, options ...option) *answer {
	x.t.Helper()
	return x.do(http.MethodGet, "/oauth2/userinfo", append([]option{bearer(access)}, options...)...)
}

// alive expects that tokens of a client work. They are refreshed, not used up.
func (x *site) alive(client string, g granted) {
	x.t.Helper()
	x.userinfo(g.access).want(200)
	x.refreshAt(client, g.refresh).granted()
}

const cb1 = "https://rp1.test/cb"

// O02: a code lives for a minute.
func TestO02ExpiredCode(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	late, good := x.codeFor(b, "web1", cb1), x.codeFor(b, "web1", cb1)
	x.Clock.Advance(59 * time.Second)
	x.redeem("web1", cb1, good).granted()
	x.Clock.Advance(time.Second)
	before := len(x.sessions("alice", false))
	x.redeem("web1", cb1, late).oauthError(400, "invalid_grant")
	x.Clock.Advance(24 * time.Hour)
	x.redeem("web1", cb1, late).oauthError(400, "invalid_grant")
	if after := len(x.sessions("alice", false)); after != before {
		t.Errorf("%d sessions, before %d", after, before)
	}
}

// O03: a code that is redeemed twice with everything right has two holders, and
// the session that it made ends. What was made of other codes stays.
func TestO03CodeReuseRevokes(t *testing.T) {
	for _, wait := range []time.Duration{0, 30 * time.Second, time.Hour} {
		x := newProvider(t, setup{})
		b := x.loggedIn("alice")
		code := x.codeFor(b, "web1", cb1)
		g := x.redeem("web1", cb1, code).granted()
		other := x.redeem("web1", cb1, x.codeFor(b, "web1", cb1)).granted()
		x.Clock.Advance(wait)
		x.redeem("web1", cb1, code).oauthError(400, "invalid_grant").refused(400, broker.CodeReused, "login")
		x.Clock.Advance(30 * time.Second)
		x.redeem("web1", cb1, code).oauthError(400, "invalid_grant")
		if wait < time.Hour { // else its own end comes first
			x.userinfo(g.access).bearerError(401, "invalid_token")
			x.alive("web1", other)
		}
		x.refreshAt("web1", g.refresh).oauthError(400, "invalid_grant").refused(400, broker.CodeReused, "login")
		if cause := x.endCause(g.session); cause != broker.CodeReused {
			t.Errorf("after %v: the cause is %s", wait, cause)
		}
	}
}

// O05: who has the code alone cannot end the session of who had the rest too.
func TestO05DestructiveReplayByAStranger(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	code, native := x.codeFor(b, "web1", cb1), x.codeFor(b, "nat1", "app.one:/oauth")
	g, app := x.redeem("web1", cb1, code).granted(), x.redeem("nat1", "app.one:/oauth", native).granted()
	x.callToken([]string{"grant_type", "authorization_code", "code", code, "redirect_uri", cb1, "code_verifier", verifier}).oauthError(401, "invalid_client")
	x.callToken([]string{"grant_type", "authorization_code", "code", code, "redirect_uri", cb1, "code_verifier", verifier, "client_id", "web1"}).oauthError(401, "invalid_client")
	x.redeem("web2", cb1, code).oauthError(400, "invalid_grant")
	x.redeem("spa", cb1, code).oauthError(400, "invalid_grant")
	x.redeem("nat1", cb1, code).oauthError(400, "invalid_grant")
	x.redeem("web1", cb1, code, "code_verifier", strings.Repeat("x", 43)).oauthError(400, "invalid_grant")
	x.redeem("web1", cb1, code, "code_verifier", "").oauthError(400, "invalid_grant")
	x.redeem("web1", "https://rp1.test/other", code).oauthError(400, "invalid_grant")
	x.redeem("web1", cb1, code, "redirect_uri", "").oauthError(400, "invalid_grant")
	x.redeem("nat1", "app.one:/oauth", native, "code_verifier", "").oauthError(400, "invalid_grant")
	x.redeem("nat1", "app.one:/oauth", native, "code_verifier", strings.Repeat("x", 43)).oauthError(400, "invalid_grant")
	x.alive("web1", g)
	x.alive("nat1", app)

	// The same before the redemption: the code is still its owner's.
	code = x.codeFor(b, "web1", cb1)
	x.redeem("web2", cb1, code).oauthError(400, "invalid_grant")
	x.redeem("web1", cb1, code, "code_verifier", strings.Repeat("x", 43)).oauthError(400, "invalid_grant")
	x.redeem("web1", cb1, code).granted()
}

// O06: the redirect URI at the token endpoint is the one of the request.
func TestO06RedirectURIAtTheTokenEndpoint(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	code := x.codeFor(b, "web2", "https://rp2.test/cb")
	for _, uri := range []string{"", "https://rp2.test/cb2", "https://rp2.test/CB", "https://RP2.test/cb", "https://rp2.test/cb/", "https://rp2.test/cb ", "https://rp2.test/cb?"} {
		x.redeem("web2", "https://rp2.test/cb", code, "redirect_uri", uri).oauthError(400, "invalid_grant")
	}
	x.redeem("web2", "https://rp2.test/cb", code).granted()
	// Not even the port of an app may change between the two.
	code = x.codeFor(b, "nat1", "http://127.0.0.1:4711/cb")
	x.redeem("nat1", "http://127.0.0.1:4712/cb", code).oauthError(400, "invalid_grant")
	x.redeem("nat1", "http://127.0.0.1/cb", code).oauthError(400, "invalid_grant")
	x.redeem("nat1", "http://127.0.0.1:4711/cb", code).granted()
}

// O08: a code without a challenge takes no verifier, and one with a challenge
// does not go without.
func TestO08PKCEDowngrade(t *testing.T) {
	x := newProvider(t, setup{})
	b := x.loggedIn("alice")
	bare := x.codeFor(b, "web1", cb1, "code_challenge", "", "code_challenge_method", "")
	x.redeem("web1", cb1, bare).oauthError(400, "invalid_grant")
	x.redeem("web1", cb1, bare, "code_verifier", "").granted()
	with := x.codeFor(b, "web1", cb1)
	x.redeem("web1", cb1, with, "code_verifier", "").oauthError(400, "invalid_grant")
	x.redeem("web1", cb1, with).granted()
	// An empty challenge is none; it must not fit an empty verifier of a public client.
	for _, client := range []string{"spa", "nat1"} {
		uri := map[string]string{"spa": "https://spa.test/cb", "nat1": "app.one:/oauth"}[client]
		q := request(client, uri)
		q.Set("code_challenge", "")
		if got := b.authorize(q).sentTo(uri); got.Get("error") != "invalid_request" {
			t.Errorf("%s: %v", client, got)
		}
	}
}

// O09: a client proves who it is in one way, and who fails learns nothing of
// which clients there are.
func TestO09ClientAuthenticationConfusion(t *testing.T) {
	x := newProvider(t, setup{broker: func(c *broker.Config) {
		for _, method := range []string{broker.AuthBasic, broker.AuthPost} {
			one, err := broker.CheckClient(broker.Client{ID: "only " + method, RedirectURIs: []string{"https://o.test/cb"}, TokenEndpointAuthMethod: method, SecretHash: broker.HashClientSecret("100%/+ of it")})
			if err == nil {
				t.Error("a client_id with a space")
			}
			one.ID = "only_" + method
			c.Clients = append(c.Clients, one)
		}
	}})
	post := func(path string, options ...option) *answer { return x.do(http.MethodPost, path, options...) }
	raw := func(text string) option {
		return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(text)))
	}
	for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/par", "/oauth2/device_authorization"} {
		var said []string
		for what, try := range map[string][]option{
			"wrong secret by Basic":    {form("token", "x"), basic("web1", "wrong")},
			"unknown client by Basic":  {form("token", "x"), basic("nobody", "wrong")},
			"wrong secret by post":     {form("token", "x", "client_id", "web1", "client_secret", "wrong")},
			"unknown client by post":   {form("token", "x", "client_id", "nobody", "client_secret", "wrong")},
			"the app's client by post": {form("token", "x", "client_id", broker.AppClientID, "client_secret", "wrong")},
			"no secret":                {form("token", "x", "client_id", "web1")},
			"no secret, unknown":       {form("token", "x", "client_id", "nobody")},
			"the app's client":         {form("token", "x", "client_id", broker.AppClientID)},
			"empty secret by post":     {form("token", "x", "client_id", "web1", "client_secret", "")},
			"empty secret by Basic":    {form("token", "x"), basic("web1", "")},
			"a public client's secret": {form("token", "x", "client_id", "spa", "client_secret", "any")},
			"its empty secret":         {form("token", "x", "client_id", "spa", "client_secret", "")},
			"its secret by Basic":      {form("token", "x"), basic("spa", "any")},
			"its empty one by Basic":   {form("token", "x"), basic("spa", "")},
			"the hash as the secret":   {form("token", "x"), basic("web1", broker.HashClientSecret(webSecret))},
			"another's secret":         {form("token", "x"), basic("web1", web2Secret)},
			"SQL":                      {form("token", "x"), basic("' OR '1'='1", "' OR '1'='1")},
		} {
			a := post(path, try...)
			a.oauthError(401, "invalid_client")
			if wants := strings.Contains(what, "Basic") || what == "the hash as the secret" || what == "another's secret" || what == "SQL"; (a.Header.Get("WWW-Authenticate") != "") != wants {
				t.Errorf("%s, %s: WWW-Authenticate %q", path, what, a.Header.Get("WWW-Authenticate"))
			}
			said = append(said, a.Body)
		}
		for _, text := range said {
			if text != said[0] {
				t.Errorf("%s: the answers differ: %s and %s", path, text, said[0])
			}
		}
		for what, try := range map[string][]option{
			"another client in the body":   {form("token", "x", "client_id", "web2"), basic("web1", webSecret)},
			"no colon":                     {form("token", "x"), raw("web1")},
			"not base64":                   {form("token", "x"), header("Authorization", "Basic !!!")},
			"another scheme":               {form("token", "x"), header("Authorization", "Bearer "+webSecret)},
			"no name":                      {form("token", "x"), raw(":" + webSecret)},
			"nobody says anything":         {form("token", "x")},
			"a % that encodes nothing":     {form("token", "x"), raw("only_client_secret_basic:100%/+ of it")},
			"post of who registered Basic": {form("token", "x", "client_id", "only_client_secret_basic", "client_secret", "100%/+ of it")},
			"Basic of who registered post": {form("token", "x"), basic("only_client_secret_post", "100%/+ of it")},
		} {
			a := post(path, try...)
			if a.oauthError(401, "invalid_client"); strings.Contains(a.Body, "web2") {
				t.Errorf("%s, %s: %s", path, what, a.Body)
			}
		}
		both := post(path, form("token", "x", "client_id", "web1", "client_secret", webSecret), basic("web1", webSecret))
		both.oauthError(400, "invalid_request")
		inQuery := post(path+"?"+url.Values{"client_id": {"web1"}, "client_secret": {webSecret}}.Encode(), form("token", "x"))
		if inQuery.Status != 400 && inQuery.Status != 401 {
			t.Errorf("%s: the secret in the query: %d", path, inQuery.Status)
		}
		post(path+"?x=y", form("token", "x"), basic("web1", webSecret)).oauthError(400, "invalid_request")
	}
	post("/oauth2/introspect", form("token", "x"), basic("only_client_secret_basic", "100%/+ of it")).want(200)
	post("/oauth2/introspect", form("token", "x", "client_id", "only_client_secret_post", "client_secret", "100%/+ of it")).want(200)
	post("/oauth2/introspect", form("token", "x", "client_id", "web1"), basic("web1", webSecret)).want(200)
}

// O10: whatever is no form that is posted is an error, and a short one.
func TestO10WrongMethodTypeShape(t *testing.T) {
	x := newProvider(t, setup{})
	const urlencoded = "application/x-www-form-urlencoded"
	for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/par", "/oauth2/device_authorization", "/auth/openid/backchannel-logout", "/oauth2/register"} {
		for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch} {
			x.do(method, path, basic("web1", webSecret)).oauthError(405, "invalid_request")
		}
		if a := x.do(http.MethodGet, path+"?grant_type=client_credentials", basic("web1", webSecret)); a.Status != 405 {
			t.Errorf("GET %s: %d %s", path, a.Status, a.Body)
		}
		large := x.do(http.MethodPost, path, body(urlencoded, "grant_type=refresh_token&refresh_token="+strings.Repeat("a", 1<<20)), basic("web1", webSecret))
		large.oauthError(413, "invalid_request")
	}
	text := "grant_type=refresh_token&refresh_token=x"
	for what, a := range map[string]*answer{
		"JSON":                  x.callToken(nil, jsonBody(`{"grant_type":"refresh_token","refresh_token":"x"}`), basic("web1", webSecret)),
		"JSON, said to be none": x.callToken(nil, body(urlencoded, `{"grant_type":"refresh_token","refresh_token":"x"}`), basic("web1", webSecret)),
		"no type":               x.callToken(nil, body("", text), basic("web1", webSecret), func(r *http.Request) { r.Header.Del("Content-Type") }),
		"text":                  x.callToken(nil, body("text/plain", text), basic("web1", webSecret)),
		"a malformed type":      x.callToken(nil, body("application/x-www-form-urlencoded; =", text), basic("web1", webSecret)),
		"multipart":             x.callToken(nil, body("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\nrefresh_token\r\n--b--"), basic("web1", webSecret)),
		"grant_type twice":      x.callToken(nil, body(urlencoded, text+"&grant_type=authorization_code"), basic("web1", webSecret)),
		"the same twice":        x.callToken(nil, body(urlencoded, text+"&grant_type=refresh_token"), basic("web1", webSecret)),
		"token twice":           x.callToken(nil, body(urlencoded, text+"&refresh_token=y"), basic("web1", webSecret)),
		"client_id twice":       x.callToken(nil, body(urlencoded, text+"&client_id=web1&client_id=web1"), basic("web1", webSecret)),
		"an unknown one twice":  x.callToken(nil, body(urlencoded, text+"&z=1&z=2"), basic("web1", webSecret)),
		"an array":              x.callToken(nil, body(urlencoded, "grant_type[]=refresh_token&refresh_token=x"), basic("web1", webSecret)),
		"an empty one":          x.callToken(nil, body(urlencoded, ""), basic("web1", webSecret)),
		"grant_type empty":      x.callToken([]string{"grant_type", ""}, basic("web1", webSecret)),
		"a broken escape":       x.callToken(nil, body(urlencoded, "grant_type=refresh_token&refresh_token=%zz"), basic("web1", webSecret)),
		"no UTF-8":              x.callToken(nil, body(urlencoded, "grant_type=refresh_token&refresh_token=%ff"), basic("web1", webSecret)),
		"NUL":                   x.callToken(nil, body(urlencoded, "grant_type=refresh_token&refresh_token=%00"), basic("web1", webSecret)),
		"20 KB":                 x.callToken([]string{"grant_type", "refresh_token", "refresh_token", strings.Repeat("a", 20_000)}, basic("web1", webSecret)),
		"no code":               x.callToken([]string{"grant_type", "authorization_code"}, basic("web1", webSecret)),
		"no refresh token":      x.callToken([]string{"grant_type", "refresh_token"}, basic("web1", webSecret)),
	} {
		a.oauthError(400, "invalid_request")
		if t.Failed() {
			t.Fatal(what)
		}
		if a.Header.Get("Pragma") != "no-cache" {
			t.Errorf("%s: Pragma %q", what, a.Header.Get("Pragma"))
		}
	}
	if strings.Contains(x.log.String(), "panic") {
		t.Error("a panic is in the log")
	}
}

// O11: a client uses the grants that it is registered for, and no others.
func TestO11GrantNotAllowed(t *testing.T) {
	x := newProvider(t, setup{})
	for grant, want := range map[string]string{
		"password": "unsupported_grant_type", "implicit": "unsupported_grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer": "unsupported_grant_type",
		"Refresh_Token": "unsupported_grant_type", "client_credentials": "unauthorized_client", broker.GrantTokenExchange: "unauthorized_client", broker.GrantDeviceCode: "unauthorized_client",
	} {
		x.callToken([]string{
			"grant_type", grant, "username", "alice", "password", "password of alice", "device_code", "x", "subject_token", "x", "subject_token_type", broker.TokenTypeID,
		}, basic("web1", webSecret)).oauthError(400, want)
	}
	for _, grant := range []string{"authorization_code", "refresh_token"} {
		x.callToken([]string{"grant_type", grant, "code", "x", "refresh_token", "x"}, basic("api", webSecret)).oauthError(400, "unauthorized_client")
	}
	x.do(http.MethodPost, "/oauth2/device_authorization", form("scope", "openid"), basic("web1", webSecret)).oauthError(400, "unauthorized_client")
	b := x.loggedIn("alice")
	for _, kind := range []string{"token", "id_token", "code token", "code id_token", "none", "Code", "code code", "id_token token"} {
		q := b.authorize(request("web1", cb1, "response_type", kind)).sentTo(cb1)
		if q.Get("error") != "unsupported_response_type" || q.Has("access_token") || q.Has("code") {
			t.Errorf("%s: %v", kind, q)
		}
	}
	if q := b.authorize(request("web1", cb1, "response_type", "")).sentTo(cb1); q.Get("error") != "invalid_request" {
		t.Errorf("no response_type: %v", q)
	}
	// A form of ours that goes on with a login carries no request that could be changed.
	page := x.newBrowser().open("/oauth2/authorize?" + request("web1", cb1).Encode()).want(200)
	if strings.Contains(page.Body, "response_type") || strings.Contains(page.Body, "rp1.test/cb") {
		t.Errorf("the request is on the page: %s", page.Body)
	}
}
