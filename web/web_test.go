package web_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/web"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const (
	publicURL = "https://id.example.org"
	grace     = 10 * time.Minute // the default W and R of the refresh rule
)

// setup says how a site differs from the plain one.
type setup struct {
	database  string // empty: in memory
	publicURL string // empty: publicURL
	failures  int    // failed logins per window; 0: no limit
	logJSON   bool
	idp       *providertest.IdP // nil: no provider
	broker    func(*broker.Config)
	web       func(*web.Config)
}

// site is a whole Latchkey behind a real HTTP server, reached by its loopback
// address, whatever its public URL is.
type site struct {
	*harness.Rig
	t      testing.TB
	log    *harness.Log
	public string
	server *httptest.Server
	client *http.Client
}

// peerHeader tells the test server which address a request comes from.
const peerHeader = "Test-Peer"

// newSite serves a site with the administrator root and the user alice.
func newSite(t testing.TB, s setup) *site {
	t.Helper()
	x := openSite(t, s)
	x.User(t, "root", broker.RoleRoot)
	x.User(t, "alice", broker.RoleUser)
	return x
}

// openSite serves a site as its database has it.
func openSite(t testing.TB, s setup) *site {
	t.Helper()
	x := &site{t: t, log: &harness.Log{}, public: cmp.Or(s.publicURL, publicURL)}
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	log := slog.New(slog.NewTextHandler(x.log, options))
	if s.logJSON {
		log = slog.New(slog.NewJSONHandler(x.log, options))
	}
	localLogin := true
	x.Rig = harness.New(t, s.database, func(c *broker.Config) {
		c.PublicURL, c.Log = x.public, log
		if s.failures > 0 {
			limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
			if err != nil {
				t.Fatal(err)
			}
			c.Limiter, c.Limits.Failures = limiter, broker.Quota{Max: s.failures, Window: 10 * time.Minute}
		}
		if s.idp != nil {
			c.Providers = []broker.Provider{x.provider(s.idp, c)}
		}
		if s.broker != nil {
			s.broker(c)
		}
		localLogin = c.LocalLogin
	})
	x.serve(s, localLogin, log)
	return x
}

func (x *site) serve(s setup, localLogin bool, log *slog.Logger) {
	x.t.Helper()
	config := web.Config{Broker: x.Broker, Version: "test", LocalLogin: localLogin, Log: log}
	if s.web != nil {
		s.web(&config)
	}
	handler, err := web.New(config)
	if err != nil {
		x.t.Fatal(err)
	}
	x.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peer := r.Header.Get(peerHeader); peer != "" {
			r.RemoteAddr = peer
			r.Header.Del(peerHeader)
		}
		handler.ServeHTTP(w, r)
	}))
	x.t.Cleanup(x.server.Close)
	x.client = &http.Client{
		Transport:     &http.Transport{},
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	x.t.Cleanup(x.client.CloseIdleConnections)
}

// provider knows one client at the IdP; both run by the rig's clock.
func (x *site) provider(idp *providertest.IdP, c *broker.Config) broker.Provider {
	idp.SetClient(providertest.Client{ID: "latchkey", Secret: "the IdP's client secret", RedirectURIs: []string{x.public + "/auth/openid/callback"}})
	return broker.Provider{
		ProviderSettings: broker.ProviderSettings{
			ID: "openid", Name: "Test IdP", Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailIfPresent,
		},
		IdP: oidc.New(oidc.Config{
			Issuer: idp.Issuer(), ClientID: "latchkey", ClientSecret: "the IdP's client secret",
			Cache: c.Store.(*storage.Store), Now: c.Now, Logout: true,
		}),
	}
}

// in is the same site for a subtest.
func (x *site) in(t testing.TB) *site {
	other := *x
	other.t = t
	return &other
}

// stop takes a site off the network and closes its database.
func (x *site) stop() {
	x.t.Helper()
	x.server.Close()
	if err := x.Store.Close(); err != nil {
		x.t.Fatal(err)
	}
}

// startIdP runs an IdP whose clock stands where every rig's clock begins.
func startIdP(t testing.TB) *providertest.IdP {
	t.Helper()
	return providertest.Start(t, providertest.Config{
		Now: harness.NewClock().Now,
		Users: []providertest.User{
			{Subject: "s-anna", Username: "anna", Name: "Anna", Email: "anna@example.org", EmailVerified: true, Groups: []string{}},
		},
	})
}

// answer is a response that was read whole.
type answer struct {
	t       testing.TB
	request string
	Status  int
	Header  http.Header
	Body    string
	cookies []*http.Cookie
}

type option func(*http.Request)

func header(name, value string) option { return func(r *http.Request) { r.Header.Set(name, value) } }

func bearer(token string) option { return header("Authorization", "Bearer "+token) }

func refreshHeader(token string) option { return header("X-Refresh-Token", token) }

func cookie(name, value string) option {
	return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: name, Value: value}) }
}

func cookies(list []*http.Cookie) option {
	return func(r *http.Request) {
		for _, c := range list {
			if c.MaxAge >= 0 {
				r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
			}
		}
	}
}

// from is the TCP peer of a request.
func from(ip string) option { return header(peerHeader, ip+":4711") }

func body(contentType, text string) option {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
	}
}

func jsonBody(text string) option { return body("application/json", text) }

func toJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// do sends a request to a path, or to an absolute URL below the public one.
func (x *site) do(method, target string, options ...option) *answer {
	x.t.Helper()
	a, err := x.try(method, target, options...)
	if err != nil {
		x.t.Fatal(err)
	}
	return a
}

func (x *site) try(method, target string, options ...option) (*answer, error) {
	req, err := http.NewRequest(method, x.server.URL+strings.TrimPrefix(target, x.public), nil)
	if err != nil {
		return nil, err
	}
	for _, o := range options {
		o(req)
	}
	res, err := x.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	a := &answer{
		t: x.t, request: method + " " + req.URL.Path, Status: res.StatusCode, Header: res.Header, Body: string(text), cookies: res.Cookies(),
	}
	x.checkDocumented(a, req)
	return a, nil
}

func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.Status != status {
		a.t.Fatalf("%s: status %d, want %d; code %q, body %s", a.request, a.Status, status, a.Header.Get("Latchkey-Code"), a.Body)
	}
	return a
}

// refused expects a status, a code and a verdict; in the body too where that
// is JSON.
func (a *answer) refused(status int, code broker.Code, verdict web.Verdict) *answer {
	a.t.Helper()
	a.want(status)
	if got := a.Header.Get("Latchkey-Code"); got != string(code) {
		a.t.Errorf("%s: Latchkey-Code %q, want %q", a.request, got, code)
	}
	if got := a.Header.Get("Latchkey-Verdict"); got != string(verdict) {
		a.t.Errorf("%s: Latchkey-Verdict %q, want %q", a.request, got, verdict)
	}
	if strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		body := a.json()
		if body["code"] != string(code) || verdict != "" && body["verdict"] != string(verdict) {
			a.t.Errorf("%s: the body %s does not agree with code %s, verdict %s", a.request, a.Body, code, verdict)
		}
	}
	return a
}

func (a *answer) errorText(want string) {
	a.t.Helper()
	if got := a.json()["error"]; got != want {
		a.t.Errorf("%s: error %q, want %q", a.request, got, want)
	}
}

func (a *answer) json() map[string]any {
	a.t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		a.t.Fatalf("%s: the body is not a JSON object: %v: %s", a.request, err, a.Body)
	}
	return v
}

// at reads a value below dots, and whether it is there.
func (a *answer) at(path string) (value any, ok bool) {
	a.t.Helper()
	value = a.json()
	for name := range strings.SplitSeq(path, ".") {
		object, isObject := value.(map[string]any)
		if !isObject {
			return nil, false
		}
		if value, ok = object[name]; !ok {
			return nil, false
		}
	}
	return value, true
}

func (a *answer) text(path string) string {
	a.t.Helper()
	v, _ := a.at(path)
	s, ok := v.(string)
	if !ok || s == "" {
		a.t.Fatalf("%s: %s is %v, want a string, in %s", a.request, path, v, a.Body)
	}
	return s
}

func (a *answer) cookie(name string) *http.Cookie {
	for _, c := range a.cookies {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func (a *answer) noCookies() *answer {
	a.t.Helper()
	if len(a.cookies) > 0 {
		a.t.Errorf("%s: sets cookies: %v", a.request, a.Header.Values("Set-Cookie"))
	}
	return a
}

func (a *answer) location() *url.URL {
	a.t.Helper()
	if a.Status != http.StatusFound && a.Status != http.StatusSeeOther {
		a.t.Fatalf("%s: status %d, want a redirect; %s", a.request, a.Status, a.Body)
	}
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil {
		a.t.Fatal(err)
	}
	return u
}

// pair is what an app keeps of a login.
type pair struct{ access, refresh, session string }

func (a *answer) pair() pair {
	a.t.Helper()
	a.want(http.StatusOK)
	return pair{access: a.text("user.accessToken"), refresh: a.text("user.refreshToken"), session: a.text("session_id")}
}

// sendLogin posts name and password as an app does.
func (x *site) sendLogin(name, password string, options ...option) *answer {
	x.t.Helper()
	text := toJSON(map[string]string{"username": name, "password": password})
	return x.do(http.MethodPost, "/login", append([]option{jsonBody(text)}, options...)...)
}

var returnTokens = header("X-Return-Tokens", "true")

func (x *site) login(name string, options ...option) pair {
	x.t.Helper()
	return x.sendLogin(name, harness.PasswordOf(name), append(options, returnTokens)...).pair()
}

func (x *site) refresh(token string, options ...option) *answer {
	x.t.Helper()
	return x.do(http.MethodPost, "/auth/refresh", append([]option{refreshHeader(token)}, options...)...)
}

func (x *site) me(access string) *answer {
	x.t.Helper()
	return x.do(http.MethodGet, "/api/me", bearer(access))
}

func (x *site) sessions(name string, live bool) []broker.Session {
	x.t.Helper()
	u, err := x.Broker.FindUser(context.Background(), name)
	if err != nil {
		x.t.Fatal(err)
	}
	f := broker.SessionFilter{UserID: u.ID}
	if live {
		f.LiveAt = x.Broker.Now()
	}
	list, _, err := x.Broker.SessionsBy(context.Background(), f, 0, 1000)
	if err != nil {
		x.t.Fatal(err)
	}
	return list
}

// generation reads which pair a refresh token stands for.
func generation(t testing.TB, token string) (sid string, g, b float64) {
	t.Helper()
	c := claimsOf(t, token)
	return c["sid"].(string), c["g"].(float64), c["b"].(float64)
}

func claimsOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// within polls until done says so.
func within(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func trust(prefixes ...string) func(*web.Config) {
	return func(c *web.Config) {
		for _, p := range prefixes {
			c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(p))
		}
	}
}

// app is the official app: it rebuilds the URL that it is given, follows no
// redirect and shares no cookie with the browser.
type app struct {
	*site
	verifier, challenge, state string
	provider                   string // empty: openid
}

func (p *app) path() string { return "/auth/" + cmp.Or(p.provider, "openid") }

func newApp(x *site) *app {
	verifier := strings.Repeat("0123456789abcdef", 4)
	sum := sha256.Sum256([]byte(verifier))
	return &app{site: x, verifier: verifier, challenge: base64.RawURLEncoding.EncodeToString(sum[:])}
}

func (p *app) start(extra url.Values) *answer {
	p.t.Helper()
	q := url.Values{
		"code_challenge": {p.challenge}, "code_challenge_method": {"S256"}, "redirect_uri": {"audiobookshelf://oauth"},
		"client_id": {"Audiobookshelf-App"}, "response_type": {"code"},
	}
	for name, values := range extra {
		if q[name] = values; values == nil {
			delete(q, name)
		}
	}
	return p.do(http.MethodGet, p.path()+"?"+q.Encode())
}

// open rebuilds the given URL from the seven parameters.
func (p *app) open(given *url.URL) string {
	q, keep := given.Query(), url.Values{"code_challenge": {p.challenge}, "code_challenge_method": {"S256"}}
	p.state = q.Get("state")
	for _, name := range []string{"response_type", "client_id", "scope", "state", "redirect_uri"} {
		keep.Set(name, q.Get(name))
	}
	return given.Scheme + "://" + given.Host + given.Path + "?" + keep.Encode()
}

// toIdP is the app up to the system browser at the IdP.
func (p *app) toIdP() string {
	p.t.Helper()
	return p.do(http.MethodGet, p.open(p.start(nil).location())).noCookies().location().String()
}

// atIdP presses a button of the IdP's page; "" is Cancel.
func (p *app) atIdP(idp *providertest.IdP, atIdP, username string) (callback string) {
	p.t.Helper()
	callback, err := idp.Authorize(context.Background(), atIdP, username)
	if err != nil {
		p.t.Fatal(err)
	}
	return callback
}

func (p *app) redeem(code string, options ...option) *answer {
	p.t.Helper()
	q := url.Values{"state": {p.state}, "code": {code}, "code_verifier": {p.verifier}}
	return p.do(http.MethodGet, p.path()+"/callback?"+q.Encode(), options...)
}

// loginThrough is the whole login.
func (p *app) loginThrough(idp *providertest.IdP, username string) pair {
	p.t.Helper()
	back := p.do(http.MethodGet, p.atIdP(idp, p.toIdP(), username)).location()
	return p.redeem(back.Query().Get("code")).pair()
}

func headerOf(t testing.TB, token string) map[string]any {
	t.Helper()
	first, _, _ := strings.Cut(token, ".")
	return claimsOf(t, "."+first+".")
}
