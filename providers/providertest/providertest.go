// Package providertest is a small, real OpenID provider. Tests use it as an
// identity provider that can lie in every field and fail in every way; the
// command "latchkey demo" uses it as one that people can log in to.
//
// It knows the authorization code flow with PKCE, refresh tokens for the scope
// offline_access, their introspection, and nothing else, and keeps everything in
// memory. There are no passwords: whoever reaches its login page
// chooses who to be. What it says is honest until [IdP.Script] changes it.
package providertest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The endpoints, as [IdP.Count] and [Script].Respond name them.
const (
	EndpointDiscovery  = "discovery"
	EndpointJWKS       = "jwks"
	EndpointAuthorize  = "authorize"
	EndpointToken      = "token"
	EndpointUserinfo   = "userinfo"
	EndpointEndSession = "end_session"
	EndpointIntrospect = "introspection"
)

// Where the endpoints are, below the issuer.
const (
	pathDiscovery  = "/.well-known/openid-configuration"
	pathJWKS       = "/jwks"
	pathAuthorize  = "/authorize"
	pathToken      = "/token"
	pathUserinfo   = "/userinfo"
	pathEndSession = "/logout"
	pathIntrospect = "/introspect"
)

// maxForm is the most of a request's body that is read.
const maxForm = 64 << 10

// User is somebody who can log in, and what the provider says of them.
type User struct {
	Subject  string
	Username string // what the login page offers; unique
	Name     string // sent, with the username, for the scope profile
	Email    string // sent for the scope email
	// EmailVerified goes out as it is, so a string is one of the shapes that
	// real providers send. Nil: the claim is absent.
	EmailVerified any
	// Groups goes out as it is, whatever the scope. Nil: the claim is absent.
	Groups any
	// Extra are more claims, whatever the scope. They win over those above.
	Extra map[string]any
}

// Client is a relying party.
type Client struct {
	ID     string
	Secret string
	// RedirectURIs are compared as strings. After a logout, the browser may
	// return to any place on their origins.
	RedirectURIs []string
	// TokenAuth is "none" for a client without a secret, and "private_key_jwt"
	// for one that signs with its Keys. Otherwise the secret may come by HTTP
	// Basic or in the form.
	TokenAuth string
	// Keys gives the key set of the client (RFC 7517), as its jwks_uri would.
	Keys func() []byte
}

// Config is what a provider starts with.
type Config struct {
	// Issuer is the URL under which the provider is served. Its path, if any,
	// is a prefix of all paths.
	Issuer  string
	Users   []User
	Clients []Client
	Now     func() time.Time // nil: the real clock
}

// IdP is the provider. It is an [http.Handler] and safe for concurrent use.
type IdP struct {
	issuer string
	now    func() time.Time
	mux    *http.ServeMux
	newKey keySource
	server *server // nil unless started by Start
	down   atomic.Bool

	scriptMu sync.Mutex
	script   Script

	mu      sync.Mutex
	counts  map[string]int
	users   []User
	clients []Client
	keys    keyring
	codes   map[string]grant
	tokens  map[string]grant
	refresh map[string]grant

	assertions map[string]bool // by jti: those that were taken
}

// New returns a provider with keys of its own, to be served at cfg.Issuer.
func New(cfg Config) (*IdP, error) { return newIdP(cfg, generateKey) }

func newIdP(cfg Config, newKey keySource) (*IdP, error) {
	base, err := issuerPath(cfg.Issuer)
	if err != nil {
		return nil, err
	}
	p := &IdP{
		issuer: cfg.Issuer,
		now:    cfg.Now,
		mux:    http.NewServeMux(),
		newKey: newKey,
		counts: map[string]int{},
		codes:  map[string]grant{},
		tokens: map[string]grant{},

		refresh: map[string]grant{}, assertions: map[string]bool{},
	}
	if p.now == nil {
		p.now = time.Now
	}
	for _, u := range cfg.Users {
		if u.Subject == "" || u.Username == "" {
			return nil, errors.New("a user needs a subject and a username")
		}
		p.SetUser(u)
	}
	for _, c := range cfg.Clients {
		p.SetClient(c)
	}
	if p.keys, err = newKeyring(newKey); err != nil {
		return nil, err
	}
	p.routes(base)
	return p, nil
}

// issuerPath is the prefix of all paths, without a slash at the end.
func issuerPath(issuer string) (string, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return "", fmt.Errorf("the issuer: %w", err)
	}
	if u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("the issuer %q is not the URL of a site", issuer)
	}
	return strings.TrimSuffix(u.Path, "/"), nil
}

func (p *IdP) routes(base string) {
	p.handle(base+pathDiscovery, EndpointDiscovery, p.discovery, http.MethodGet)
	p.handle(base+pathJWKS, EndpointJWKS, p.jwks, http.MethodGet)
	p.handle(base+pathAuthorize, EndpointAuthorize, p.authorize, http.MethodGet, http.MethodPost)
	p.handle(base+pathToken, EndpointToken, p.token, http.MethodPost)
	p.handle(base+pathUserinfo, EndpointUserinfo, p.userinfo, http.MethodGet, http.MethodPost)
	p.handle(base+pathIntrospect, EndpointIntrospect, p.introspect, http.MethodPost)
	p.handle(base+pathEndSession, EndpointEndSession, p.endSession, http.MethodGet, http.MethodPost)
}

// handler answers a request by the script as it was when the request came.
type handler func(w http.ResponseWriter, r *http.Request, s Script)

func (p *IdP) handle(path, name string, answer handler, methods ...string) {
	p.counts[name] = 0
	p.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.counts[name]++
		p.mu.Unlock()
		s := p.currentScript()
		w.Header().Set("Date", p.now().UTC().Format(http.TimeFormat))
		if respond := s.Respond[name]; respond != nil && respond(w, r) {
			return
		}
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		w.Header().Set("Cache-Control", "no-store")
		answer(w, r, s)
	})
}

// ServeHTTP implements [http.Handler].
func (p *IdP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.down.Load() {
		panic(http.ErrAbortHandler) // the server cuts the connection
	}
	p.mux.ServeHTTP(w, r)
}

// Issuer is the true issuer, whatever the script says.
func (p *IdP) Issuer() string { return p.issuer }

// url is where an endpoint is.
func (p *IdP) url(path string) string { return strings.TrimSuffix(p.issuer, "/") + path }

// Count says how many requests have reached an endpoint, scripted faults and
// wrong methods included. It panics on a name that is no endpoint, lest a
// misspelt one pass for "never asked".
func (p *IdP) Count(endpoint string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, known := p.counts[endpoint]
	if !known {
		panic("providertest: there is no endpoint " + endpoint)
	}
	return n
}

// SetUser adds a user, or replaces the one of the same subject. Logins that
// were already made keep what they said.
func (p *IdP) SetUser(u User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.users, func(old User) bool { return old.Subject == u.Subject })
	p.users = put(p.users, i, u)
}

// SetClient adds a client, or replaces the one of the same ID. A relying party
// that needs the issuer before it knows its own address registers this way.
func (p *IdP) SetClient(c Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.clients, func(old Client) bool { return old.ID == c.ID })
	p.clients = put(p.clients, i, c)
}

// put returns list with v in place of its i-th element, or at the end.
func put[T any](list []T, i int, v T) []T {
	if i < 0 {
		return append(list, v)
	}
	list[i] = v
	return list
}

func (p *IdP) client(id string) (Client, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.clients, func(c Client) bool { return c.ID == id })
	if i < 0 {
		return Client{}, false
	}
	return p.clients[i], true
}

func (p *IdP) user(username string) (User, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.users, func(u User) bool { return u.Username == username })
	if i < 0 {
		return User{}, false
	}
	return p.users[i], true
}

func (p *IdP) allUsers() []User {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.users)
}

// claims is what the scope lets the provider say of a user.
func (u User) claims(scope string) map[string]any {
	claims := map[string]any{"sub": u.Subject}
	scopes := strings.Fields(scope)
	if slices.Contains(scopes, "profile") {
		claims["preferred_username"] = u.Username
		claims["name"] = cmp.Or(u.Name, u.Username)
	}
	if slices.Contains(scopes, "email") && u.Email != "" {
		claims["email"] = u.Email
		if u.EmailVerified != nil {
			claims["email_verified"] = u.EmailVerified
		}
	}
	if u.Groups != nil {
		claims["groups"] = u.Groups
	}
	maps.Copy(claims, u.Extra)
	return claims
}
