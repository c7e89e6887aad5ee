package broker_test

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

// What a registration leaves out is the safe thing.
func TestCheckClientDefaults(t *testing.T) {
	for what, c := range map[string]struct {
		given broker.Client
		kind  string
	}{
		"a site": {broker.Client{RedirectURIs: []string{"https://rp.test/cb"}}, broker.ApplicationWeb}, "a machine at home": {broker.Client{RedirectURIs: []string{"http://nas.home.arpa/cb"}}, broker.ApplicationWeb},
		"an app": {broker.Client{RedirectURIs: []string{"app.one:/oauth"}}, broker.ApplicationNative}, "a command": {broker.Client{RedirectURIs: []string{"http://127.0.0.1/cb"}}, broker.ApplicationNative},
		"on v6": {broker.Client{RedirectURIs: []string{"http://[::1]/cb"}}, broker.ApplicationNative}, "by name": {broker.Client{RedirectURIs: []string{"http://localhost:1/cb"}}, broker.ApplicationNative},
		"both": {broker.Client{RedirectURIs: []string{"https://rp.test/cb", "app.one:/oauth"}}, broker.ApplicationNative}, "a look-alike": {broker.Client{RedirectURIs: []string{"http://127.0.0.1.rp.test/cb"}}, broker.ApplicationWeb},
		"said to be web": {broker.Client{RedirectURIs: []string{"http://127.0.0.1/cb"}, ApplicationType: broker.ApplicationWeb}, broker.ApplicationWeb},
	} {
		c.given.ID = "c"
		got, err := broker.CheckClient(c.given)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got.ApplicationType != c.kind || got.FirstParty || got.Public() || strings.Contains(got.Scope, "latchkey:") || !slices.Equal(got.ResponseTypes, []string{"code"}) ||
			!slices.Equal(got.GrantTypes, []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken}) {
			t.Errorf("%s: %+v", what, got)
		}
		if again, err := broker.CheckClient(got); err != nil || fmt.Sprint(again) != fmt.Sprint(got) {
			t.Errorf("%s: checked twice %+v %v", what, again, err)
		}
	}
}

// N03, and whatever else a client must not be.
func TestCheckClientRefuses(t *testing.T) {
	good := broker.Client{ID: "c", RedirectURIs: []string{"https://rp.test/cb"}}
	if _, err := broker.CheckClient(good); err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{
		"", "*", "/cb", "cb", "//rp.test/cb", "rp.test/cb", "https:", "https:/cb", "https:cb", "https://", "https:///cb", "https://:443/cb", "https://rp.test/cb#", "https://rp.test/cb#x", "https://*.rp.test/cb", "https://rp.test/cb*",
		"HTTPS://rp.test/cb", "Https://rp.test/cb", "https://user@rp.test/cb", "https://u:p@rp.test/cb", "https://@rp.test/cb", "https://rp.test@evil.test/", "https://rp.test\\@evil.test/", "https://rp.test/cb\\x", "https://rp.test/ cb",
		"https://rp.test/cb\t", "https://rp.test/cb\n", "\x01https://rp.test/cb", "https://rp.test/cb\x00", "https://rp.test/\x7f", "https://rp.tést/cb", "https://rp.test/é", "https://rp.test/<x>", "https://rp.test/\"x", "https://rp.test/../cb",
		"https://rp.test/a/./cb", "https://rp.test/%2e%2e/cb", "https://rp.test/a/..", "https://rp.test:x/cb", "https://rp.test:0/cb", "https://rp.test:65536/cb", "https://rp.test:/cb", "http://127.0.0.1:0/cb", "http://[::1]:/cb", "http://[::1]:70000/cb", "https://rp.test/%zz", "https://[::1/cb", "javascript:alert(1)", "JAVASCRIPT:alert(1)", "jAvascript:alert(1)", "java\tscript:x", "javascript://rp.test/%0aalert(1)",
		"data:text/html,x", "vbscript:x", "file:///etc/passwd", "file://rp.test/x", "about:blank", "blob:https://rp.test/x", "filesystem:https://rp.test/x", "view-source:https://rp.test", "ws://rp.test/", "wss://rp.test/", "ftp://rp.test/",
		"mailto:a@b.test", "tel:1", "intent://x", "app.one:", "app.one:/", "app.one://", "app.one:///", ":cb", "1app:/cb", "https://rp.test/" + strings.Repeat("a", 1024),
	} {
		for what, list := range map[string][]string{"alone": {uri}, "second": {"https://rp.test/cb", uri}} {
			c := good
			c.RedirectURIs = list
			if _, err := broker.CheckClient(c); broker.CodeOf(err) != broker.InvalidRedirectURI || err == nil {
				t.Errorf("%s %q: %v", what, uri, err)
			}
			c = good
			c.PostLogoutRedirectURIs = list
			if _, err := broker.CheckClient(c); broker.CodeOf(err) != broker.InvalidRedirectURI || err == nil {
				t.Errorf("after a logout, %s %q: %v", what, uri, err)
			}
		}
	}
	for what, change := range map[string]func(*broker.Client){
		"no id": func(c *broker.Client) { c.ID = "" }, "a long id": func(c *broker.Client) { c.ID = strings.Repeat("a", 129) }, "a space in the id": func(c *broker.Client) { c.ID = "a b" }, "a line in the id": func(c *broker.Client) { c.ID = "a\nb" },
		"umlaut in the id": func(c *broker.Client) { c.ID = "ä" }, "password": func(c *broker.Client) { c.GrantTypes = []string{"password"} }, "implicit": func(c *broker.Client) { c.GrantTypes = []string{"authorization_code", "implicit"} },
		"token": func(c *broker.Client) { c.ResponseTypes = []string{"token"} }, "a hybrid": func(c *broker.Client) { c.ResponseTypes = []string{"code id_token"} },
		"public for itself": func(c *broker.Client) {
			c.TokenEndpointAuthMethod, c.GrantTypes = broker.AuthNone, []string{"authorization_code", "client_credentials"}
		},
		"another type": func(c *broker.Client) { c.ApplicationType = "desktop" }, "a quote in the scope": func(c *broker.Client) { c.Scope = `openid "x"` }, "a line in the scope": func(c *broker.Client) { c.Scope = "openid\nlatchkey:admin" },
		"a tab in the scope": func(c *broker.Client) { c.Scope = "openid\tlatchkey:admin" }, "a long scope": func(c *broker.Client) { c.Scope = strings.Repeat("a ", 600) }, "a secret by JWT": func(c *broker.Client) { c.TokenEndpointAuthMethod = "client_secret_jwt" },
		"keys without keys": func(c *broker.Client) { c.TokenEndpointAuthMethod = broker.AuthPrivateKeyJWT }, "a secret as key": func(c *broker.Client) { c.JWKS = broker.RawJSON(`{"keys":[{"kty":"oct","k":"AAAA"}]}`) },
		"a private key": func(c *broker.Client) {
			c.JWKS = broker.RawJSON(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}`)
		},
		"no key set": func(c *broker.Client) { c.JWKS = broker.RawJSON(`[]`) }, "keys twice": func(c *broker.Client) {
			c.JWKSURI, c.JWKS = "https://rp.test/k", broker.RawJSON(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`)
		},
		"keys of a file": func(c *broker.Client) { c.JWKSURI = "file:///etc/passwd" }, "keys by gopher": func(c *broker.Client) { c.JWKSURI = "gopher://rp.test" }, "a page to run": func(c *broker.Client) { c.URI = "javascript:alert(1)" }, "a logo inside": func(c *broker.Client) { c.LogoURI = "data:image/svg+xml,x" },
		"terms": func(c *broker.Client) { c.TermsURI = "//rp.test" }, "policy": func(c *broker.Client) { c.PolicyURI = "https://u@rp.test" }, "a call with a fragment": func(c *broker.Client) { c.BackchannelLogoutURI = "https://rp.test/#x" },
		"HS256": func(c *broker.Client) { c.IDTokenAlg = "HS256" }, "none": func(c *broker.Client) { c.IDTokenAlg = "none" }, "any origin": func(c *broker.Client) { c.AllowedOrigins = []string{"*"} }, "the null origin": func(c *broker.Client) { c.AllowedOrigins = []string{"null"} },
		"an origin with a path": func(c *broker.Client) { c.AllowedOrigins = []string{"https://rp.test/"} }, "a resource with a fragment": func(c *broker.Client) { c.Resources = []string{"https://rp.test/#x"} }, "a relative resource": func(c *broker.Client) { c.Resources = []string{"/api"} },
		"a day and a second": func(c *broker.Client) { c.AccessTTL = 86401 }, "before now": func(c *broker.Client) { c.AccessTTL = -1 }, "for ever": func(c *broker.Client) { c.RefreshTTL = 1 << 40 }, "older than now": func(c *broker.Client) { c.SessionMaxAge = -1 },
		"no redirect URI": func(c *broker.Client) { c.RedirectURIs = nil }, "51 of them": func(c *broker.Client) { c.RedirectURIs = slices.Repeat([]string{"https://rp.test/cb"}, 51) }, "51 after logouts": func(c *broker.Client) { c.PostLogoutRedirectURIs = slices.Repeat([]string{"https://rp.test/cb"}, 51) },
		"51 contacts": func(c *broker.Client) { c.Contacts = slices.Repeat([]string{"a"}, 51) }, "a long software_id": func(c *broker.Client) { c.SoftwareID = strings.Repeat("a", 201) }, "a contact of control characters": func(c *broker.Client) { c.Contacts = []string{"a\x1b[2J"} },
	} {
		c := good
		change(&c)
		if _, err := broker.CheckClient(c); err == nil || broker.CodeOf(err) != broker.InvalidClientMetadata && broker.CodeOf(err) != broker.InvalidRedirectURI {
			t.Errorf("%s: %v", what, err)
		} else if text := err.Error(); strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("%s: the refusal repeats control characters: %q", what, text)
		}
	}
}

// Whatever is accepted as a redirect URI leads to the place that it names, in
// whoever's reading.
func FuzzCheckRedirectURI(f *testing.F) {
	for _, seed := range []string{"https://rp.test/cb", "app.one:/oauth", "http://127.0.0.1:1/cb", "javascript:alert(1)", "https://rp.test@evil.test/", "https://rp.test/%2e%2e/", "app.one:", "HTTPS://x/", "https://rp.test\\@x/", "a:b:c", "https://a%2fb/", "x://[::1]/", "https://rp.test:/cb", "https://rp.test:0/cb", "http://[::1]:65536/cb", "https://rp.test:65535"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		c, err := broker.CheckClient(broker.Client{ID: "c", RedirectURIs: []string{uri}})
		if err != nil {
			if code := broker.CodeOf(err); code != broker.InvalidRedirectURI {
				t.Errorf("%q: %s", uri, code)
			}
			return
		}
		u, err := url.Parse(uri)
		scheme, rest, _ := strings.Cut(uri, ":")
		switch {
		case err != nil || scheme != strings.ToLower(scheme) || strings.ContainsAny(uri, "#*\\\"<> \t\r\n") || strings.ContainsFunc(uri, func(r rune) bool { return r < '!' || r > '~' }) || u.User != nil || len(uri) > 1024:
			t.Errorf("%q is accepted", uri)
		case slices.Contains([]string{"javascript", "data", "vbscript", "file", "about", "blob", "filesystem", "view-source"}, scheme):
			t.Errorf("%q is accepted", uri)
		case scheme == "https" || scheme == "http":
			authority, _, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
			authority, _, _ = strings.Cut(authority, "?")
			if _, port, ok := strings.Cut(authority[strings.LastIndex(authority, "]")+1:], ":"); ok {
				if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
					t.Errorf("%q is accepted with the port %q", uri, port)
				}
			}
			if !strings.HasPrefix(rest, "//") || authority == "" || authority != u.Host || strings.ContainsAny(authority, "@%") {
				t.Errorf("%q is accepted with the host %q", uri, u.Host)
			}
		case strings.Trim(rest, "/") == "":
			t.Errorf("%q is accepted", uri)
		}
		if !c.RedirectAllowed(uri) {
			t.Errorf("%q is registered and not allowed", uri)
		}
	})
}
