package web_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
)

// The clients of the tests of the OpenID provider.
const (
	webSecret  = "the secret of web1, which is long"
	web2Secret = "the secret of web2, which is long"
	verifier   = "a-verifier-of-forty-three-characters-or-more"
)

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// testClients are web1 and web2, confidential; spa, public on the web; nat1, an
// app; all first-party but asking, which asks for consent.
func testClients(t testing.TB) []broker.Client {
	list := []broker.Client{
		{ID: "web1", RedirectURIs: []string{"https://rp1.test/cb"}, PostLogoutRedirectURIs: []string{"https://rp1.test/out"}, FirstParty: true, SecretHash: broker.HashClientSecret(webSecret)},
		{ID: "web2", RedirectURIs: []string{"https://rp2.test/cb", "https://rp2.test/cb2"}, FirstParty: true, SecretHash: broker.HashClientSecret(web2Secret)},
		{ID: "spa", RedirectURIs: []string{"https://spa.test/cb"}, FirstParty: true, TokenEndpointAuthMethod: broker.AuthNone},
		{ID: "nat1", RedirectURIs: []string{"app.one:/oauth", "http://127.0.0.1/cb"}, FirstParty: true, TokenEndpointAuthMethod: broker.AuthNone,
			GrantTypes: []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantDeviceCode, broker.GrantTokenExchange}},
		{ID: "asking", Name: "Asking App", RedirectURIs: []string{"https://asking.test/cb"}, SecretHash: broker.HashClientSecret(webSecret)},
		{ID: "api", GrantTypes: []string{broker.GrantClientCredentials, broker.GrantTokenExchange}, Scope: "openid things:read things:write latchkey:introspect",
			Resources: []string{"https://api.test"}, SecretHash: broker.HashClientSecret(webSecret)},
	}
	for i := range list {
		checked, err := broker.CheckClient(list[i])
		if err != nil {
			t.Fatal(list[i].ID, err)
		}
		list[i] = checked
		list[i].ReadOnly = true
	}
	return list
}

// newProvider is a site with those clients.
func newProvider(t testing.TB, s setup) *site {
	t.Helper()
	change := s.broker
	s.broker = func(c *broker.Config) {
		c.Clients = testClients(t)
		if change != nil {
			change(c)
		}
	}
	return newSite(t, s)
}

// browser is a browser at a site: it keeps cookies and follows redirects to
// the site.
type browser struct {
	*site
	jar map[string]string
}

func (x *site) newBrowser() *browser { return &browser{site: x, jar: map[string]string{}} }

func (b *browser) send(method, target string, options ...option) *answer {
	b.t.Helper()
	for name, value := range b.jar {
		options = append(options, cookie(name, value))
	}
	a := b.do(method, target, options...)
	for _, c := range a.cookies {
		if c.MaxAge < 0 {
			delete(b.jar, c.Name)
		} else {
			b.jar[c.Name] = c.Value
		}
	}
	return a
}

// open follows redirects within the site; it ends at a page, or at a redirect
// that leads away.
func (b *browser) open(target string) *answer {
	b.t.Helper()
	return b.follow(b.send(http.MethodGet, target))
}

func (b *browser) follow(a *answer) *answer {
	b.t.Helper()
	for range 10 {
		to := a.Header.Get("Location")
		if !strings.HasPrefix(to, b.public+"/") {
			return a
		}
		a = b.send(http.MethodGet, to)
	}
	b.t.Fatal("redirects without end")
	return nil
}

func (b *browser) post(path string, pairs ...string) *answer {
	b.t.Helper()
	return b.send(http.MethodPost, path, form(pairs...))
}

// logIn fills in the login page that an answer shows.
func (b *browser) logIn(page *answer, name string) *answer {
	b.t.Helper()
	page.want(200)
	return b.follow(b.post("/login/password", "username", name, "password", harness.PasswordOf(name), "next", hidden(page, "next")))
}

var inputs = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// hidden is the value of a hidden field of a page.
func hidden(a *answer, name string) string {
	for _, found := range inputs.FindAllStringSubmatch(a.Body, -1) {
		if found[1] == name {
			return html.UnescapeString(found[2])
		}
	}
	return ""
}

// request is an authorization request of a client, with what differs; an empty
// value leaves a parameter out.
func request(client, uri string, differ ...string) url.Values {
	q := url.Values{
		"client_id": {client}, "redirect_uri": {uri}, "response_type": {"code"}, "scope": {"openid profile email offline_access"},
		"state": {"a state"}, "nonce": {"a nonce"}, "code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(differ); i += 2 {
		if q.Set(differ[i], differ[i+1]); differ[i+1] == "" {
			q.Del(differ[i])
		}
	}
	return q
}

// authorize opens an authorization request; where it meets the login page,
// alice logs in. It returns the last answer.
func (b *browser) authorize(q url.Values) *answer {
	b.t.Helper()
	a := b.open("/oauth2/authorize?" + q.Encode())
	if a.Status == http.StatusOK && strings.Contains(a.Body, `action="/login/password"`) {
		a = b.logIn(a, "alice")
	}
	return a
}

// sentTo reads the parameters with which the browser is sent to a redirect URI.
func (a *answer) sentTo(uri string) url.Values {
	a.t.Helper()
	a.want(http.StatusSeeOther)
	to := a.Header.Get("Location")
	rest, ok := strings.CutPrefix(to, uri+"?")
	if !ok {
		a.t.Fatalf("%s: sent to %s, want %s", a.request, to, uri)
	}
	q, err := url.ParseQuery(rest)
	if err != nil {
		a.t.Fatal(err)
	}
	if q.Get("iss") != publicURL {
		a.t.Errorf("iss %q", q.Get("iss"))
	}
	return q
}

// codeFor logs alice in at a client and returns the code.
func (x *site) codeFor(b *browser, client, uri string, differ ...string) string {
	x.t.Helper()
	q := b.authorize(request(client, uri, differ...)).sentTo(uri)
	if q.Get("code") == "" || q.Get("state") != "a state" {
		x.t.Fatalf("answer %v", q)
	}
	return q.Get("code")
}

func basic(id, secret string) option {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

// callToken posts to the token endpoint.
func (x *site) callToken(pairs []string, options ...option) *answer {
	x.t.Helper()
	return x.do(http.MethodPost, "/oauth2/token", append([]option{form(pairs...)}, options...)...)
}

// redeem exchanges a code of web1, web2 or asking by Basic, of others by name.
func (x *site) redeem(client, uri, code string, differ ...string) *answer {
	x.t.Helper()
	values := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {uri}, "code_verifier": {verifier}}
	options := []option{}
	if secret := map[string]string{"web1": webSecret, "web2": web2Secret, "asking": webSecret, "api": webSecret}[client]; secret != "" {
		options = append(options, basic(client, secret))
	} else {
		values.Set("client_id", client)
	}
	for i := 0; i+1 < len(differ); i += 2 {
		if values.Set(differ[i], differ[i+1]); differ[i+1] == "" {
			values.Del(differ[i])
		}
	}
	pairs := []string{}
	for name := range maps.Keys(values) {
		pairs = append(pairs, name, values.Get(name))
	}
	return x.callToken(pairs, options...)
}

// granted is the answer of the token endpoint.
type granted struct {
	access, refresh, id, session string
	answer                       *answer
}

func (a *answer) granted() granted {
	a.t.Helper()
	a.want(200)
	read := func(name string) string {
		v, _ := a.at(name)
		s, _ := v.(string)
		return s
	}
	return granted{read("access_token"), read("refresh_token"), read("id_token"), read("session_id"), a}
}

// clientLogin logs alice in at a client, from a browser of its own, to the end.
func (x *site) clientLogin(client, uri string, differ ...string) (granted, *browser) {
	x.t.Helper()
	b := x.newBrowser()
	return x.redeem(client, uri, x.codeFor(b, client, uri, differ...)).granted(), b
}

// refreshAt refreshes at the token endpoint.
func (x *site) refreshAt(client, token string) *answer {
	x.t.Helper()
	if secret := map[string]string{"web1": webSecret, "web2": web2Secret, "asking": webSecret}[client]; secret != "" {
		return x.callToken([]string{"grant_type", "refresh_token", "refresh_token", token}, basic(client, secret))
	}
	return x.callToken([]string{"grant_type", "refresh_token", "refresh_token", token, "client_id", client})
}

// oauthError expects an error of RFC 6749 section 5.2, never to be stored.
func (a *answer) oauthError(status int, code string) *answer {
	a.t.Helper()
	a.want(status)
	if got, _ := a.at("error"); got != code {
		a.t.Errorf("%s: error %v, want %q: %s", a.request, got, code, a.Body)
	}
	if a.Header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		a.t.Errorf("%s: headers %v", a.request, a.Header)
	}
	return a
}
