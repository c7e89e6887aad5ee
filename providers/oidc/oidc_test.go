package oidc_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
)

const returnTo = "https://id.example.org/auth/p/callback"

// rig is a provider and the IdP that it asks, by one clock.
type rig struct {
	t     testing.TB
	idp   *providertest.IdP
	clock *harness.Clock
	*oidc.Provider
}

func newRig(t testing.TB, change func(*oidc.Config)) *rig {
	t.Helper()
	r := &rig{t: t, clock: harness.NewClock()}
	r.idp = providertest.Start(t, providertest.Config{
		Now:     r.clock.Now,
		Users:   []providertest.User{{Subject: "s-anna", Username: "anna", Email: "anna@example.org", EmailVerified: true, Groups: []string{"a"}}},
		Clients: []providertest.Client{{ID: "latchkey", Secret: "secret", RedirectURIs: []string{returnTo}}},
	})
	r.Provider = r.provider(change)
	return r
}

func (r *rig) provider(change func(*oidc.Config)) *oidc.Provider {
	cfg := oidc.Config{Issuer: r.idp.Issuer(), ClientID: "latchkey", ClientSecret: "secret", Now: r.clock.Now, Logout: true}
	if change != nil {
		change(&cfg)
	}
	return oidc.New(cfg)
}

var request = broker.IdPRequest{
	State: strings.Repeat("s", 43), Nonce: strings.Repeat("n", 43), Verifier: strings.Repeat("v", 43), RedirectURI: returnTo,
}

// answer is the trip of a browser to the IdP and back.
func (r *rig) answer() (broker.IdPResponse, error) {
	r.t.Helper()
	to, err := r.AuthURL(context.Background(), request)
	if err != nil {
		return broker.IdPResponse{}, err
	}
	callback, err := r.idp.Authorize(context.Background(), to, "anna")
	if err != nil {
		r.t.Fatal(err)
	}
	u, err := url.Parse(callback)
	if err != nil {
		r.t.Fatal(err)
	}
	q := u.Query()
	return broker.IdPResponse{Code: q.Get("code"), State: q.Get("state"), Issuer: q.Get("iss")}, nil
}

func (r *rig) login() (broker.IdPClaims, error) {
	r.t.Helper()
	res, err := r.answer()
	if err != nil {
		return broker.IdPClaims{}, err
	}
	return r.Exchange(context.Background(), request, res)
}

func (r *rig) works() {
	r.t.Helper()
	if c, err := r.login(); err != nil || c.Subject != "s-anna" || c.Issuer != r.idp.Issuer() {
		r.t.Errorf("%+v, %v", c, err)
	}
}

func (r *rig) fails(code broker.Code) {
	r.t.Helper()
	if _, err := r.login(); broker.CodeOf(err) != code || err == nil {
		r.t.Errorf("%v, want %s", err, code)
	}
}

func (r *rig) respond(endpoint string, with providertest.Responder) {
	r.idp.Script(func(s *providertest.Script) {
		if s.Respond[endpoint] = with; with == nil {
			delete(s.Respond, endpoint)
		}
	})
}

func store(t testing.TB) *storage.Store {
	t.Helper()
	s, err := storage.Open(context.Background(), storage.Options{URL: "sqlite::memory:"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// After a restart, with discovery and key set broken, logins go on by what the
// database keeps.
func TestRestartWithABrokenIdP(t *testing.T) {
	cache := store(t)
	withCache := func(c *oidc.Config) { c.Cache = cache }
	r := newRig(t, withCache)
	r.works()
	broken := providertest.Body(500, "text/html", "<html>oops</html>")
	r.respond(providertest.EndpointDiscovery, broken)
	r.respond(providertest.EndpointJWKS, broken)

	r.Provider = r.provider(nil) // nothing is kept: nothing works
	r.fails(broker.TemporarilyUnavailable)

	r.Provider = r.provider(withCache)
	r.works()
	r.clock.Advance(30 * 24 * time.Hour)
	r.works()
	if r.EndSessionURL(context.Background(), "https://id.example.org/login") == "" {
		t.Error("the end_session_endpoint is forgotten")
	}

	// A key that the database does not know is not believed for that.
	r.idp.RotateKey()
	r.fails(broker.IdPBadResponse)
	r.idp.Script(func(s *providertest.Script) { *s = providertest.Script{} })
	r.works() // heals at once, without a restart
}

// The database keeps a document once, not at each login.
func TestCacheIsWrittenWhenThereIsNews(t *testing.T) {
	cache := &countingCache{Store: store(t)}
	r := newRig(t, func(c *oidc.Config) { c.Cache = cache })
	for range 3 {
		r.works()
	}
	if n := cache.saves.Load(); n != 2 {
		t.Errorf("%d writes, want 2: discovery and keys", n)
	}
	r.idp.RotateKey()
	r.works()
	if n := cache.saves.Load(); n != 3 {
		t.Errorf("%d writes, want 3", n)
	}
}

type countingCache struct {
	*storage.Store
	saves atomic.Int32
	fail  atomic.Bool
}

func (c *countingCache) SaveIdPMetadata(ctx context.Context, issuer, kind string, document []byte, now time.Time) error {
	c.saves.Add(1)
	if c.fail.Load() {
		return errors.New("no disk")
	}
	return c.Store.SaveIdPMetadata(ctx, issuer, kind, document, now)
}

func (c *countingCache) IdPMetadata(ctx context.Context, issuer, kind string) ([]byte, time.Time, error) {
	if c.fail.Load() {
		return nil, time.Time{}, broker.Unavailable(errors.New("no disk"))
	}
	return c.Store.IdPMetadata(ctx, issuer, kind)
}

// A database in trouble does not stop a login at an IdP that is well, and is
// read again when it is back.
func TestCacheInTrouble(t *testing.T) {
	cache := &countingCache{Store: store(t)}
	r := newRig(t, func(c *oidc.Config) { c.Cache = cache })
	r.works()
	restarted := r.provider(func(c *oidc.Config) { c.Cache = cache })
	cache.fail.Store(true)
	r.works()
	r.Provider = restarted
	broken := providertest.Body(500, "", "")
	r.respond(providertest.EndpointDiscovery, broken)
	r.respond(providertest.EndpointJWKS, broken)
	r.fails(broker.TemporarilyUnavailable)
	cache.fail.Store(false)
	r.works()
}

// R20: an IdP that was dark is used as soon as it is back, and one that goes
// dark right after a good answer is not sent anybody.
func TestDarkIdPHealsAtOnce(t *testing.T) {
	r := newRig(t, nil)
	for range 3 {
		r.idp.SetDown(true)
		r.fails(broker.TemporarilyUnavailable)
		r.idp.SetDown(false)
		r.works()
	}
	for _, gateway := range []int{502, 503, 504} { // the IdP's proxy says that it is dark
		r.respond(providertest.EndpointDiscovery, providertest.Body(gateway, "", ""))
		r.fails(broker.TemporarilyUnavailable)
	}
	r.respond(providertest.EndpointDiscovery, nil)
	r.works()
}

func TestKeySetHealsAtOnce(t *testing.T) {
	r := newRig(t, nil)
	for _, fault := range []providertest.Responder{
		providertest.Body(500, "", ""), providertest.Body(200, "application/json", `{"keys":[]}`), providertest.CutOff(`{"keys":[`),
	} {
		r.respond(providertest.EndpointJWKS, fault)
		if _, err := r.login(); err == nil {
			t.Error("a login without keys")
		}
	}
	r.respond(providertest.EndpointJWKS, nil)
	r.works()
}

// IdP outage between authorize and callback.
func TestOutageInBetween(t *testing.T) {
	r := newRig(t, nil)
	res, err := r.answer()
	if err != nil {
		t.Fatal(err)
	}
	r.idp.SetDown(true)
	begun := time.Now()
	if _, err := r.Exchange(context.Background(), request, res); broker.CodeOf(err) != broker.TemporarilyUnavailable || time.Since(begun) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	r.idp.SetDown(false)
	if _, err := r.Exchange(context.Background(), request, res); err != nil {
		t.Error(err)
	}
}

// U24: forged tokens are not requests to the IdP, and a new key is found.
func TestU24JWKSFetches(t *testing.T) {
	r := newRig(t, nil)
	r.works()
	if n := r.idp.Count(providertest.EndpointJWKS); n != 1 {
		t.Fatalf("%d fetches for the first login", n)
	}
	r.idp.Script(func(s *providertest.Script) {
		s.SignWithUnknownKey = true
		s.IDTokenHeader = map[string]any{"kid": "random"}
	})
	for range 50 {
		r.fails(broker.IdPBadResponse)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { r.fails(broker.IdPBadResponse) })
	}
	all.Wait()
	if n := r.idp.Count(providertest.EndpointJWKS); n > 2 {
		t.Errorf("%d fetches within a minute", n)
	}
	r.clock.Advance(61 * time.Second)
	r.idp.Script(func(s *providertest.Script) { *s = providertest.Script{} })
	before := r.idp.Count(providertest.EndpointJWKS)
	r.works()
	if n := r.idp.Count(providertest.EndpointJWKS); n != before {
		t.Error("a fetch for a key that is known")
	}
	r.idp.RotateKey()
	r.works()
	r.works()
	if n := r.idp.Count(providertest.EndpointJWKS); n != before+1 {
		t.Errorf("%d fetches for a new key", n-before)
	}
}

// A rotation right after the first login, with and without a kid.
func TestKeyRotation(t *testing.T) {
	for name, omit := range map[string]bool{"kid": false, "no kid": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.idp.Script(func(s *providertest.Script) { s.OmitKid = omit })
			r.works()
			r.idp.RotateKey()
			r.works()
		})
	}
	t.Run("a withdrawn key is not believed for ever", func(t *testing.T) {
		r := newRig(t, nil)
		r.works()
		r.idp.Script(func(s *providertest.Script) {
			s.EditJWKS = func(m map[string]any) { m["keys"] = []any{r.idp.UnknownJWK()} }
		})
		r.clock.Advance(11 * time.Minute)
		r.fails(broker.IdPBadResponse)
	})
}

func TestJWKSIsAskedOnceAtATime(t *testing.T) {
	r := newRig(t, nil)
	answers := make([]broker.IdPResponse, 10)
	for i := range answers {
		var err error
		if answers[i], err = r.answer(); err != nil {
			t.Fatal(err)
		}
	}
	r.respond(providertest.EndpointJWKS, func(http.ResponseWriter, *http.Request) bool {
		time.Sleep(200 * time.Millisecond)
		return false
	})
	var all sync.WaitGroup
	for _, a := range answers {
		all.Go(func() {
			if _, err := r.Exchange(context.Background(), request, a); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := r.idp.Count(providertest.EndpointJWKS); n > 2 {
		t.Errorf("%d fetches for 10 logins at once", n)
	}
}

// A stalled key set delays everybody once, not one after the other.
func TestStallIsSharedAndLeaksNothing(t *testing.T) {
	r := newRig(t, nil)
	r.works()
	before := runtime.NumGoroutine()
	r.respond(providertest.EndpointDiscovery, providertest.Stall)
	begun := time.Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { r.fails(broker.TemporarilyUnavailable) })
	}
	all.Wait()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("20 logins at once took %v", took)
	}
	for deadline := time.Now().Add(3 * time.Second); runtime.NumGoroutine() > before+2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

// The one who asks first may go away; the others get the answer.
func TestCallerWhoLeaves(t *testing.T) {
	r := newRig(t, nil)
	asked := make(chan struct{})
	var once sync.Once
	r.respond(providertest.EndpointDiscovery, func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() { close(asked) })
		time.Sleep(200 * time.Millisecond)
		return false
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _, _ = r.AuthURL(ctx, request) }()
	<-asked
	cancel()
	if _, err := r.AuthURL(context.Background(), request); err != nil {
		t.Error(err)
	}
}

func TestU13MetadataOfAnother(t *testing.T) {
	for name, edit := range map[string]func(m map[string]any){
		"issuer":                func(m map[string]any) { m["issuer"] = "https://idp2.test" },
		"slash":                 func(m map[string]any) { m["issuer"] = m["issuer"].(string) + "/" },
		"no issuer":             func(m map[string]any) { delete(m, "issuer") },
		"no token endpoint":     func(m map[string]any) { delete(m, "token_endpoint") },
		"no keys":               func(m map[string]any) { m["jwks_uri"] = "" },
		"a file of keys":        func(m map[string]any) { m["jwks_uri"] = "file:///etc/passwd" },
		"gopher":                func(m map[string]any) { m["userinfo_endpoint"] = "gopher://127.0.0.1:6379/_FLUSHALL" },
		"script":                func(m map[string]any) { m["authorization_endpoint"] = "javascript:alert(1)//x" },
		"relative":              func(m map[string]any) { m["token_endpoint"] = "/token" },
		"password in an URL":    func(m map[string]any) { m["token_endpoint"] = "http://user:secret@127.0.0.1/token" },
		"endpoint is no string": func(m map[string]any) { m["token_endpoint"] = []string{"x"} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.idp.Script(func(s *providertest.Script) { s.EditDiscovery = edit })
			r.fails(broker.IdPBadResponse)
			if n := r.idp.Count(providertest.EndpointToken) + r.idp.Count(providertest.EndpointJWKS) + r.idp.Count(providertest.EndpointAuthorize); n != 0 {
				t.Errorf("%d requests", n)
			}
			_, err := oidc.FetchMetadata(context.Background(), oidc.NewHTTPClient(), r.idp.Issuer())
			if broker.CodeOf(err) != broker.IdPBadResponse || strings.Contains(err.Error(), "etc/passwd") {
				t.Errorf("for an administrator: %v", err)
			}
			r.idp.Script(func(s *providertest.Script) { *s = providertest.Script{} })
			r.works()
			// Once good, nonsense does not unseat it.
			r.idp.Script(func(s *providertest.Script) { s.EditDiscovery = edit })
			r.works()
		})
	}
}

// listen serves on another loopback address than the IdP's.
func listen(t *testing.T, address string) (at string, calls *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	calls = &atomic.Int32{}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) })}}
	s.Start()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port, calls
}

// U13: what metadata names on other hosts must be at public addresses, by name
// or number; the issuer's own host is permitted wherever it is.
func TestU13NoRequestIntoOurNetwork(t *testing.T) {
	port, calls := listen(t, "127.0.0.2")
	local, localCalls := listen(t, "127.0.0.1")
	for _, target := range []string{
		"http://127.0.0.2:" + port, "http://[::ffff:127.0.0.2]:" + port, "http://localhost:" + local, "http://0.0.0.0:" + local, "http://2130706434:" + port,
	} {
		for _, field := range []string{"token_endpoint", "jwks_uri", "userinfo_endpoint"} {
			r := newRig(t, nil)
			r.idp.Script(func(s *providertest.Script) {
				s.EditDiscovery = func(m map[string]any) { m[field] = target + "/x" }
				s.EditIDToken = func(claims map[string]any) { delete(claims, "email") }
			})
			begun := time.Now()
			if _, err := r.login(); err == nil || time.Since(begun) > 9*time.Second {
				t.Errorf("%s at %s: %v after %v", field, target, err, time.Since(begun))
			}
		}
	}
	if calls.Load()+localCalls.Load() != 0 {
		t.Errorf("%d requests reached other hosts", calls.Load()+localCalls.Load())
	}
	r := newRig(t, nil)
	other, otherCalls := listen(t, "127.0.0.1")
	r.idp.Script(func(s *providertest.Script) {
		s.EditDiscovery = func(m map[string]any) { m["jwks_uri"] = "http://127.0.0.1:" + other + "/x" }
	})
	if _, err := r.login(); err == nil || otherCalls.Load() == 0 {
		t.Errorf("the issuer's own host was not asked: %v", err)
	}
}

// An issuer behind TLS has all its endpoints behind TLS.
func TestPlainEndpointsOfATLSIssuer(t *testing.T) {
	var field, value string
	var calls atomic.Int32
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		m := map[string]string{
			"issuer": server.URL, "authorization_endpoint": server.URL + "/a", "token_endpoint": server.URL + "/t", "jwks_uri": server.URL + "/j",
			"userinfo_endpoint": server.URL + "/u", "end_session_endpoint": server.URL + "/e",
		}
		if field != "" {
			m[field] = value
		}
		pairs := []string{}
		for k, v := range m {
			pairs = append(pairs, `"`+k+`":"`+v+`"`)
		}
		_, _ = w.Write([]byte("{" + strings.Join(pairs, ",") + "}"))
	}))
	t.Cleanup(server.Close)
	ask := func() error {
		p := oidc.New(oidc.Config{Issuer: server.URL, ClientID: "x", HTTPClient: server.Client()})
		_, err := p.AuthURL(context.Background(), request)
		return err
	}
	if err := ask(); err != nil {
		t.Error(err)
	}
	for _, field = range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"} {
		value = strings.Replace(server.URL, "https:", "http:", 1) + "/x"
		if err := ask(); broker.CodeOf(err) != broker.IdPBadResponse || err == nil {
			t.Errorf("%s: %v", field, err)
		}
	}
	field, value = "token_endpoint", "https://oauth2.example.net/token" // as Google does
	if err := ask(); err != nil {
		t.Error(err)
	}
}

// The client authenticates as the metadata or the configuration says.
func TestTokenEndpointAuth(t *testing.T) {
	for _, c := range []struct {
		configured string
		advertised any
		basic      bool
	}{
		{"", nil, true}, {"auto", []string{"client_secret_basic", "client_secret_post"}, true},
		{"auto", []string{"client_secret_post"}, false}, {"client_secret_basic", []string{"client_secret_post"}, true},
		{"client_secret_post", nil, false}, {"none", nil, false},
	} {
		r := newRig(t, func(cfg *oidc.Config) { cfg.TokenEndpointAuth = c.configured })
		if c.configured == "none" {
			r.idp.SetClient(providertest.Client{ID: "latchkey", TokenAuth: "none", RedirectURIs: []string{returnTo}})
		}
		var basic, secret bool
		r.idp.Script(func(s *providertest.Script) {
			s.EditDiscovery = func(m map[string]any) {
				if m["token_endpoint_auth_methods_supported"] = c.advertised; c.advertised == nil {
					delete(m, "token_endpoint_auth_methods_supported")
				}
			}
			s.Respond[providertest.EndpointToken] = func(_ http.ResponseWriter, r *http.Request) bool {
				_ = r.ParseForm()
				_, _, basic = r.BasicAuth()
				secret = r.PostForm.Has("client_secret")
				return false
			}
		})
		r.works()
		if basic != c.basic || secret != (!c.basic && c.configured != "none") {
			t.Errorf("%+v: basic %v, secret in the form %v", c, basic, secret)
		}
	}
}
