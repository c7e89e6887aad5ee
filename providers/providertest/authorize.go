package providertest

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	codeLife  = time.Minute
	tokenLife = time.Hour
)

// grant is what a user's choice on the login page leads to: a code, then an
// access token.
type grant struct {
	clientID    string
	redirectURI string
	scope       string
	nonce       string
	challenge   string // PKCE; "" if none was asked for
	user        User
	offline     bool // a refresh token was asked for, and is given
	sid         string
	authTime    time.Time
	expires     time.Time // of the code or token that stands for it
}

// authorize shows the login page, and takes the choice that is posted from it.
// The page posts to its own URL, so the request travels in the query both
// times and nothing needs to be kept in between.
func (p *IdP) authorize(w http.ResponseWriter, r *http.Request, s Script) {
	query := r.URL.Query()
	client, known := p.client(query.Get("client_id"))
	if !known {
		showProblem(w, http.StatusBadRequest, "This provider does not know the site that sent you.")
		return
	}
	redirectURI := query.Get("redirect_uri")
	if !slices.Contains(client.RedirectURIs, redirectURI) {
		showProblem(w, http.StatusBadRequest, "The site that sent you asked to return to a place that it has not registered.")
		return
	}
	if refusal := authorizeError(query, s); refusal != "" {
		p.callback(w, query, s, url.Values{"error": {refusal}})
		return
	}
	if r.Method == http.MethodGet {
		showLogin(w, client, redirectURI, hinted(p.allUsers(), query.Get("login_hint")))
		return
	}
	p.choose(w, r, query, s)
}

// choose takes the button that was pressed; Cancel is the one without a name.
func (p *IdP) choose(w http.ResponseWriter, r *http.Request, query url.Values, s Script) {
	if err := r.ParseForm(); err != nil || !r.PostForm.Has("user") {
		showProblem(w, http.StatusBadRequest, "The request cannot be read.")
		return
	}
	username := r.PostForm.Get("user")
	if username == "" {
		p.callback(w, query, s, url.Values{"error": {"access_denied"}})
		return
	}
	user, known := p.user(username)
	if !known {
		showProblem(w, http.StatusBadRequest, "There is no such user.")
		return
	}
	p.callback(w, query, s, url.Values{"code": {p.newCode(query, user, s)}})
}

// authorizeError is the OAuth error of a request that is not to be granted.
func authorizeError(query url.Values, s Script) string {
	challenge := query.Get("code_challenge")
	switch {
	case query.Has("request"):
		return "request_not_supported"
	case query.Has("request_uri"):
		return "request_uri_not_supported"
	case query.Get("response_type") != "code":
		return "unsupported_response_type"
	case !slices.Contains([]string{"", "query"}, query.Get("response_mode")):
		return "invalid_request"
	case !slices.Contains(strings.Fields(query.Get("scope")), "openid"):
		return "invalid_scope"
	case !s.IgnorePKCE && (len(challenge) != 43 || query.Get("code_challenge_method") != "S256"):
		return "invalid_request"
	case !validMaxAge(query):
		return "invalid_request"
	case query.Get("prompt") == "none":
		return "login_required"
	}
	return ""
}

func validMaxAge(query url.Values) bool {
	seconds, err := strconv.ParseInt(query.Get("max_age"), 10, 32)
	return !query.Has("max_age") || err == nil && seconds >= 0
}

// hinted puts the user first whom the client expects (OIDC Core section
// 3.1.2.1).
func hinted(users []User, hint string) []User {
	if hint == "" {
		return users
	}
	slices.SortStableFunc(users, func(a, b User) int {
		return cmp.Compare(b.answersTo(hint), a.answersTo(hint))
	})
	return users
}

func (u User) answersTo(hint string) int {
	if hint == u.Username || hint == u.Email {
		return 1
	}
	return 0
}

// authTime is when the user has proven who they are: now, unless the script has
// a session that will do.
func (p *IdP) authTime(query url.Values, s Script) time.Time {
	now := p.now()
	seconds, err := strconv.ParseInt(query.Get("max_age"), 10, 32)
	again := slices.Contains(strings.Fields(query.Get("prompt")), "login") ||
		err == nil && s.SessionAge > time.Duration(seconds)*time.Second
	if again && !s.IgnoreReauth {
		return now
	}
	return now.Add(-s.SessionAge)
}

func (p *IdP) newCode(query url.Values, user User, s Script) string {
	now := p.now()
	code := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	store(p.codes, now, code, grant{
		clientID:    query.Get("client_id"),
		redirectURI: query.Get("redirect_uri"),
		scope:       query.Get("scope"),
		nonce:       query.Get("nonce"),
		challenge:   query.Get("code_challenge"),
		user:        user,
		offline:     offline(query, s),
		sid:         rand.Text(),
		authTime:    p.authTime(query, s),
		expires:     now.Add(codeLife),
	})
	return code
}

func offline(query url.Values, s Script) bool {
	consented := slices.Contains(strings.Fields(query.Get("prompt")), "consent")
	return slices.Contains(strings.Fields(query.Get("scope")), "offline_access") && (consented || !s.RefreshNeedsConsent)
}

// store adds a grant and forgets those that have expired.
func store(grants map[string]grant, now time.Time, key string, g grant) {
	for k, old := range grants {
		if !now.Before(old.expires) {
			delete(grants, k)
		}
	}
	grants[key] = g
}

// callback sends the browser back to the client, whose redirect_uri has been
// compared.
func (p *IdP) callback(w http.ResponseWriter, query url.Values, s Script, params url.Values) {
	target, err := url.Parse(query.Get("redirect_uri"))
	if err != nil {
		showProblem(w, http.StatusBadRequest, "The place to return to is not a URL.")
		return
	}
	params.Set("iss", p.issuer)
	if query.Has("state") {
		params.Set("state", query.Get("state"))
	}
	edit(s.EditCallback, params)
	addQuery(target, params)
	w.Header().Set("Location", target.String())
	w.WriteHeader(http.StatusSeeOther)
}
