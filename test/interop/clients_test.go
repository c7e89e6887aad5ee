package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// client is one that is tried.
type client struct {
	name     string
	version  func(*testing.T) string
	how      string // what it is to Latchkey
	register func(base string) registration
	key      func(*testing.T) (private, public any) // in the place of a secret
	run      func(*testing.T, settings) application
}

// registration is what Latchkey knows of the client, under the names of RFC 7591.
type registration map[string]any

func (r registration) text(name string) string { return r[name].(string) }

// settings are what the client is told.
type settings struct {
	base, issuer string
	client       registration
	key          any
}

// web is the registration of an application with a server.
func web(authMethod string, more registration) func(string) registration {
	return func(base string) registration {
		r := registration{
			"client_id": "app", "client_secret": "a secret of the application", "client_name": "The App", "application_type": "web",
			"redirect_uris": []string{base + "/callback"}, "post_logout_redirect_uris": []string{base + "/bye"},
			"token_endpoint_auth_method": authMethod, "scope": "openid profile email",
		}
		for name, value := range more {
			if path, ok := value.(at); ok {
				value = base + string(path)
			}
			if paths, ok := value.([]at); ok {
				var urls []string
				for _, path := range paths {
					urls = append(urls, base+string(path))
				}
				value = urls
			}
			r[name] = value
		}
		return r
	}
}

// at is a path of the application.
type at string

const (
	basic = "client_secret_basic"
	post  = "client_secret_post"

	rpInitiated = "RP-initiated"
)

var (
	ownRefresh = &refresh{Path: "/refresh"}
	ownLogout  = &logout{Kind: rpInitiated, Path: "/logout", Ends: true, Says: true}
)

var clients = []client{
	{
		name: "npm openid-client", version: npm("openid-client"), how: "web application; PKCE, `client_secret_post`",
		register: web(post, nil),
		run:      inNode("openid-client", application{Refresh: ownRefresh, Logout: ownLogout}),
	},
	{
		name: "npm openid-client, at its strictest", version: npm("openid-client"), how: "web application; PKCE, PAR, `private_key_jwt`, DPoP",
		register: func(base string) registration {
			r := web("private_key_jwt", registration{"require_pushed_authorization_requests": true, "dpop_bound_access_tokens": true})(base)
			delete(r, "client_secret")
			return r
		},
		key: ecKey,
		run: inNode("openid-client", application{Refresh: ownRefresh, Logout: ownLogout}),
	},
	{
		name: "npm openid-client 5, as Audiobookshelf's server uses it", version: npm("openid-client-5"), how: "web application; PKCE, `client_secret_basic`",
		register: web(basic, nil),
		run:      inNode("openid-client-5", application{Refresh: ownRefresh, Logout: ownLogout}),
	},
	{
		name: "npm oauth4webapi", version: npm("oauth4webapi"), how: "web application; PKCE, `client_secret_basic`",
		register: web(basic, nil),
		run:      inNode("oauth4webapi", application{Refresh: ownRefresh, Logout: &logout{Kind: "revocation", Path: "/logout", Tells: true}}),
	},
	{
		name: "npm oidc-client-ts", version: npm("oidc-client-ts"), how: "single-page application in Chromium, public; PKCE, CORS",
		register: func(base string) registration {
			r := web("none", nil)(base)
			delete(r, "client_secret")
			return r
		},
		run: runSinglePage,
	},
	{
		name: "npm @openid/appauth", version: npm("@openid/appauth"), how: "native app, public; PKCE, loopback redirect to any port",
		register: func(string) registration {
			return registration{
				"client_id": "app", "client_name": "The App", "application_type": "native", "token_endpoint_auth_method": "none",
				"redirect_uris": []string{"http://127.0.0.1/callback"}, "scope": "openid profile email",
			}
		},
		run: inNode("appauth", application{
			Lands: `^http://127\.0\.0\.1:\d+/callback\?`, Refresh: ownRefresh, Logout: &logout{Kind: "revocation", Path: "/logout", Tells: true},
		}),
	},
	{
		name: "npm @auth/express with @auth/core (Auth.js)", version: npm("@auth/express", "@auth/core"), how: "web application; PKCE, `client_secret_basic`, `claims_in_id_token`",
		register: web(basic, registration{"redirect_uris": []at{"/auth/callback/latchkey"}, "claims_in_id_token": true}),
		run: inNode("auth", application{
			Login: "/auth/signin", Press: "text=Sign in with Latchkey",
			Logout: &logout{Kind: "its own session alone", Path: "/auth/signout", Press: "button"},
		}),
	},
	{
		name: "npm passport-openidconnect", version: npm("passport-openidconnect"), how: "web application; no PKCE, `client_secret_post`",
		register: web(post, nil),
		run:      inNode("passport-openidconnect", application{}),
	},
	{
		name: "npm express-openid-connect", version: npm("express-openid-connect"), how: "web application; PKCE, `client_secret_basic`",
		register: web(basic, registration{"post_logout_redirect_uris": []at{""}, "backchannel_logout_uri": at("/backchannel-logout")}),
		run: inNode("express-openid-connect", application{
			Refresh: ownRefresh, Logout: &logout{Kind: rpInitiated, Path: "/logout", Ends: true}, Backchannel: true,
		}),
	},
	{
		name: "oauth2-proxy", version: module("oauth2proxy", "github.com/oauth2-proxy/oauth2-proxy/v7"), how: "in front of a web application; PKCE, `client_secret_basic`",
		register: web(basic, registration{"redirect_uris": []at{"/oauth2/callback"}, "post_logout_redirect_uris": []at{"/ping"}, "first_party": true}),
		run:      runOAuth2Proxy,
	},
	{
		name: "Apache mod_auth_openidc", version: apacheVersion, how: "in front of a web application; PKCE, `client_secret_basic`, `form_post`",
		register: web(basic, registration{
			"redirect_uris": []at{"/oidc/callback"}, "post_logout_redirect_uris": []at{"/bye.txt"}, "backchannel_logout_uri": at("/oidc/callback?logout=backchannel"),
			"first_party": true,
		}),
		run: runApache,
	},
	{
		name: "Go golang.org/x/oauth2 with coreos/go-oidc", version: module(".", "golang.org/x/oauth2", "github.com/coreos/go-oidc/v3"), how: "web application; PKCE, `client_secret_basic`",
		register: web(basic, registration{"backchannel_logout_uri": at("/backchannel-logout")}),
		run:      runGo,
	},
}

func ecKey(t *testing.T) (private, public any) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk := jose.JSONWebKey{Key: key, KeyID: "1", Algorithm: string(jose.ES256), Use: "sig"}
	return jwk, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk.Public()}}
}

// npm is the version of installed packages.
func npm(names ...string) func(*testing.T) string {
	return func(t *testing.T) string {
		var versions []string
		for _, name := range names {
			raw, err := os.ReadFile(filepath.Join("node_modules", name, "package.json"))
			if err != nil {
				t.Fatal(err)
			}
			var pkg struct{ Version string }
			if err := json.Unmarshal(raw, &pkg); err != nil {
				t.Fatal(err)
			}
			versions = append(versions, pkg.Version)
		}
		return strings.Join(versions, ", ")
	}
}

// module is the version of Go modules.
func module(dir string, paths ...string) func(*testing.T) string {
	return func(t *testing.T) string {
		out, err := exec.Command("go", append([]string{"-C", dir, "list", "-m", "-f", "{{.Version}}"}, paths...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(string(out)), ", ")
	}
}

// inNode runs one of the bundled applications.
func inNode(script string, app application) func(*testing.T, settings) application {
	return func(t *testing.T, s settings) application {
		start(t, s.base+"/ready", exec.Command("node", filepath.Join(bundles, script+".mjs"),
			asJSON(t, map[string]any{"base": s.base, "issuer": s.issuer, "client": s.client, "key": s.key})))
		return app.standard()
	}
}

// standard fills in what most applications of these tests have.
func (a application) standard() application {
	if a.Login == "" {
		a.Login = "/login"
	}
	a.Me, a.Username = "/me", "username"
	return a
}

// listen serves a part of the test at the application's address.
func listen(t *testing.T, base string, handler http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	served := make(chan struct{})
	go func() {
		_ = server.Serve(l) // until it is closed
		close(served)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
}

func runSinglePage(t *testing.T, s settings) application {
	listen(t, s.base, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/app.mjs" {
			http.ServeFile(w, r, filepath.Join(bundles, "oidc-client-ts.mjs"))
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><title>The App</title><link rel="icon" href="data:,">`+
			`<script type="application/json" id="settings">%s</script><script type="module" src="/app.mjs"></script><body>`,
			asJSON(t, map[string]any{"issuer": s.issuer, "client": s.client}))
	}))
	return application{InPage: true, Lands: "/me$", Refresh: ownRefresh, Logout: ownLogout}.standard()
}

// endSession is the provider's own logout, as its metadata names it.
func endSession(t *testing.T, issuer string) string {
	t.Helper()
	res, err := http.Get(issuer + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var metadata struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := json.NewDecoder(res.Body).Decode(&metadata); err != nil {
		t.Fatal(err)
	}
	return metadata.EndSession
}

func runOAuth2Proxy(t *testing.T, s settings) application {
	host := strings.TrimPrefix(s.base, "http://")
	start(t, s.base+"/ping", exec.Command(oauth2Proxy, "--http-address="+host, "--reverse-proxy=false", "--upstream=static://202",
		"--provider=oidc", "--oidc-issuer-url="+s.issuer, "--client-id="+s.client.text("client_id"), "--client-secret="+s.client.text("client_secret"),
		"--redirect-url="+s.base+"/oauth2/callback", "--scope=openid profile email", "--code-challenge-method=S256", "--skip-provider-button=true",
		"--cookie-secret=sixteen bytes ok", "--cookie-secure=false", "--cookie-refresh=1s", "--email-domain=*",
		"--set-xauthrequest=true", "--pass-access-token=true", "--whitelist-domain="+strings.TrimPrefix(s.issuer, "http://")))
	return application{
		Login: "/oauth2/start?rd=/", Me: "/oauth2/userinfo", Username: "preferredUsername",
		Refresh: &refresh{Watch: "/oauth2/auth", Header: "x-auth-request-access-token"},
		Logout: &logout{Kind: rpInitiated, Ends: true, Path: "/oauth2/sign_out?rd=" + url.QueryEscape(endSession(t, s.issuer)+
			"?id_token_hint={id_token}&post_logout_redirect_uri="+url.QueryEscape(s.base+"/ping"))},
	}
}

// Where Debian has them.
const (
	apache        = "/usr/sbin/apache2"
	apacheModules = "/usr/lib/apache2/modules/"
	openidcModule = apacheModules + "mod_auth_openidc.so"
)

// apacheVersion is as much of the module's version as Debian's releases share.
func apacheVersion(t *testing.T) string {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", "libapache2-mod-auth-openidc").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.SplitN(string(out), ".", 3)[:2], ".")
}

func runApache(t *testing.T, s settings) application {
	dir, err := os.MkdirTemp("", "latchkey-apache-") // which its unprivileged user can look into
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"bye.txt": "logged out\n", "app/index.txt": "the application\n"} {
		file := filepath.Join(dir, "www", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var config strings.Builder
	for _, name := range []string{"mpm_event", "authn_core", "authz_core", "authz_user", "headers", "mime", "auth_openidc"} {
		fmt.Fprintf(&config, "LoadModule %s_module %smod_%s.so\n", name, apacheModules, name)
	}
	fmt.Fprintf(&config, `ServerRoot %[1]s
DefaultRuntimeDir %[1]s
PidFile %[1]s/pid
ErrorLog /dev/stderr
LogLevel warn auth_openidc:info
ServerName 127.0.0.1
Listen %[2]s
TypesConfig /dev/null
DocumentRoot %[1]s/www
<Directory />
	AllowOverride None
</Directory>
OIDCProviderMetadataURL %[3]s/.well-known/openid-configuration
OIDCClientID %[4]q
OIDCClientSecret %[5]q
OIDCProviderTokenEndpointAuth client_secret_basic
OIDCRedirectURI %[6]s/oidc/callback
OIDCScope "openid profile email"
OIDCPKCEMethod S256
OIDCResponseMode form_post
OIDCRemoteUserClaim preferred_username
OIDCCryptoPassphrase "a secret of a test"
OIDCInfoHook access_token userinfo session
OIDCProviderBackChannelLogoutSupported On
OIDCCacheType shm
Header set Cache-Control no-store
<Location /app>
	AuthType openid-connect
	Require valid-user
</Location>
<Location /oidc>
	AuthType openid-connect
	Require valid-user
</Location>
`, dir, strings.TrimPrefix(s.base, "http://"), s.issuer, s.client.text("client_id"), s.client.text("client_secret"), s.base)
	if os.Geteuid() == 0 {
		config.WriteString("User nobody\nGroup nogroup\n")
	}
	file := filepath.Join(dir, "apache.conf")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	// One process, in the foreground.
	start(t, s.base+"/bye.txt", exec.Command(apache, "-X", "-d", dir, "-f", file))
	return application{
		Login: "/app/index.txt", Me: "/oidc/callback?info=json", Username: "userinfo.preferred_username",
		Refresh:     &refresh{Watch: "/oidc/callback?info=json&access_token_refresh_interval=0", Field: "access_token"},
		Logout:      &logout{Kind: rpInitiated, Ends: true, Path: "/oidc/callback?logout=" + url.QueryEscape(s.base+"/bye.txt")},
		Backchannel: true,
	}
}
