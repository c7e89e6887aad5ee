package providertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Paths of GitHub, as on a server of one's own, and of Discord.
const (
	GitHubAuthorize  = "/login/oauth/authorize"
	GitHubToken      = "/login/oauth/access_token"
	GitHubUser       = "/api/v3/user"
	GitHubEmails     = "/api/v3/user/emails"
	GitHubOrgs       = "/api/v3/user/orgs"
	GitHubTeams      = "/api/v3/user/teams"
	DiscordAuthorize = "/oauth2/authorize"
	DiscordToken     = "/api/v10/oauth2/token"
	DiscordUser      = "/api/v10/users/@me"
	DiscordGuilds    = "/api/v10/users/@me/guilds"
)

// socialScopes are the scopes that an access token needs there.
var socialScopes = map[string]string{
	GitHubEmails: "user:email", GitHubOrgs: "read:org", GitHubTeams: "read:org", DiscordUser: "identify", DiscordGuilds: "guilds",
}

// Social is a site that speaks OAuth 2 without OpenID, GitHub's and Discord's
// ways at once. It knows one client. What its API says of a person is what a
// test has given; whoever is not told of gets the honest 404.
type Social struct {
	ClientID, ClientSecret string
	// IgnorePKCE takes a code with any verifier, as sites do that know of none.
	IgnorePKCE bool

	server *server

	mu      sync.Mutex
	counts  map[string]int
	respond map[string]Responder
	people  map[string]map[string]any // by name, then by path
	codes   map[string]socialGrant
	tokens  map[string]socialGrant
}

type socialGrant struct{ person, scope, redirectURI, challenge string }

// StartSocial serves a site on a loopback port until the test ends.
func StartSocial(tb TB) *Social {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("providertest: %v", err)
	}
	s := &Social{
		ClientID: "latchkey", ClientSecret: "the site's client secret", counts: map[string]int{}, respond: map[string]Responder{},
		people: map[string]map[string]any{}, codes: map[string]socialGrant{}, tokens: map[string]socialGrant{},
	}
	s.server = &server{tb: tb, handler: s, address: listener.Addr().String()}
	s.server.serve(listener)
	tb.Cleanup(func() { s.SetDown(true) })
	return s
}

// URL is where the site is.
func (s *Social) URL() string { return "http://" + s.server.address }

// SetDown takes the site off the network, or puts it back where it was.
func (s *Social) SetDown(down bool) { s.server.setDown(down) }

// Say sets what the API says at a path of a person. A []any is a list that is
// read in pages.
func (s *Social) Say(person, path string, answer any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.people[person] == nil {
		s.people[person] = map[string]any{}
	}
	s.people[person][path] = answer
}

// Respond takes over a path; nil gives it back.
func (s *Social) Respond(path string, with Responder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.respond[path] = with
}

// Count says how many requests have reached a path.
func (s *Social) Count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[path]
}

// Authorize is the browser of a person who was sent to authURL and says yes. It
// returns where the site sends the browser then, without going there.
func (s *Social) Authorize(ctx context.Context, authURL, person string) (callback string, err error) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	browser := &http.Client{
		Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	status, body, location, err := visit(ctx, browser, http.MethodGet, authURL+"&person="+url.QueryEscape(person), nil)
	if err == nil && location == "" {
		err = fmt.Errorf("the site answered %d: %s", status, body)
	}
	return location, err
}

// ServeHTTP implements [http.Handler].
func (s *Social) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.counts[r.URL.Path]++
	respond := s.respond[r.URL.Path]
	s.mu.Unlock()
	if respond != nil && respond(w, r) {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	switch r.URL.Path {
	case GitHubAuthorize, DiscordAuthorize:
		s.authorize(w, r)
	case GitHubToken, DiscordToken:
		s.token(w, r)
	default:
		s.api(w, r)
	}
}

func (s *Social) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != s.ClientID || q.Get("response_type") != "code" {
		http.Error(w, "no such client", http.StatusNotFound)
		return
	}
	code := rand.Text()
	s.mu.Lock()
	s.codes[code] = socialGrant{q.Get("person"), q.Get("scope"), q.Get("redirect_uri"), q.Get("code_challenge")}
	s.mu.Unlock()
	addQuery(back, url.Values{"code": {code}, "state": {q.Get("state")}})
	w.Header().Set("Location", back.String())
	w.WriteHeader(http.StatusFound)
}

// token answers as GitHub does, in a form and with 200 whatever it says, or as
// Discord does, by the standard.
func (s *Social) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, basic := r.BasicAuth(); basic && r.URL.Path == DiscordToken {
		id, _ = url.QueryUnescape(user)
		secret, _ = url.QueryUnescape(password)
	}
	refusal := "incorrect_client_credentials"
	var token, scope string
	if id == s.ClientID && secret == s.ClientSecret {
		token, scope, refusal = s.redeem(r.PostForm)
	}
	switch {
	case r.URL.Path == DiscordToken && refusal != "":
		tokenError(w, http.StatusBadRequest, "invalid_grant")
	case r.URL.Path == DiscordToken:
		writeJSON(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "scope": scope, "expires_in": 604800})
	case refusal != "":
		writeForm(w, url.Values{"error": {refusal}, "error_description": {"it is of no use"}})
	default:
		writeForm(w, url.Values{"access_token": {token}, "token_type": {"bearer"}, "scope": {strings.ReplaceAll(scope, " ", ",")}})
	}
}

// redeem takes a code, which is spent then.
func (s *Social) redeem(form url.Values) (token, scope, refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, found := s.codes[form.Get("code")]
	delete(s.codes, form.Get("code"))
	if !found || g.redirectURI != form.Get("redirect_uri") || !s.IgnorePKCE && !verifies(g.challenge, form.Get("code_verifier")) {
		return "", "", "bad_verification_code"
	}
	token = rand.Text()
	s.tokens[token] = g
	return token, g.scope, ""
}

func writeForm(w http.ResponseWriter, form url.Values) {
	w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	_, _ = w.Write([]byte(form.Encode()))
}

func (s *Social) api(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	g, found := s.tokens[token]
	answer, known := s.people[g.person][r.URL.Path]
	s.mu.Unlock()
	need := socialScopes[r.URL.Path]
	switch {
	case !found:
		writeJSON(w, http.StatusUnauthorized, map[string]string{"message": "Bad credentials"})
	case need != "" && !slices.Contains(strings.Fields(g.scope), need):
		writeJSON(w, http.StatusForbidden, map[string]string{"message": "a scope is missing: " + need})
	case !known:
		writeJSON(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
	default:
		writeJSON(w, http.StatusOK, pageOf(w, r, answer))
	}
}

// pageOf is the part of a list that was asked for, with the link to the next one
// (RFC 8288).
func pageOf(w http.ResponseWriter, r *http.Request, answer any) any {
	list, ok := answer.([]any)
	size, err := strconv.Atoi(r.URL.Query().Get("per_page"))
	if !ok || err != nil || size < 1 {
		return answer
	}
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	from := min(len(list), max(number-1, 0)*size)
	to := min(len(list), from+size)
	if to < len(list) {
		w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?page=%d>; rel="next"`, r.Host, r.URL.Path, number+1))
	}
	return list[from:to]
}
