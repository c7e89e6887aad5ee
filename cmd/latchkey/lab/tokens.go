package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The cookie and the header in which refresh tokens travel.
const (
	refreshCookie = "refresh_token"
	refreshHeader = "X-Refresh-Token"
)

// hash stands for a token in what is kept of it.
func hash(token string) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:6])
}

// presented is the token of a request that its kind is about.
func presented(r *http.Request, kind Kind, form url.Values) string {
	switch kind {
	case KindRefresh:
		if token := r.Header.Get(refreshHeader); token != "" {
			return hash(token)
		}
		if token := form.Get("refresh_token"); token != "" {
			return hash(token)
		}
		if c, err := r.Cookie(refreshCookie); err == nil {
			return hash(c.Value)
		}
	case KindAPI:
		if _, token, found := strings.Cut(r.Header.Get("Authorization"), " "); found {
			return hash(strings.TrimSpace(token))
		}
		return hash(r.URL.Query().Get("token"))
	}
	return ""
}

// given reads the tokens out of an answer of either face.
func given(header http.Header, body []byte) (access, refresh string) {
	var answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		User    struct {
			Access  string `json:"accessToken"`
			Refresh string `json:"refreshToken"`
		} `json:"user"`
	}
	_ = json.Unmarshal(body, &answer) // what is no JSON has no tokens
	access, refresh = answer.Access+answer.User.Access, answer.Refresh+answer.User.Refresh
	if refresh == "" {
		for _, c := range (&http.Response{Header: header}).Cookies() {
			if c.Name == refreshCookie && c.MaxAge >= 0 {
				refresh = c.Value
			}
		}
	}
	return hash(access), hash(refresh)
}

// retryAfter reads the header (RFC 9110 section 10.2.3), which is in seconds here.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// stale knows which access tokens the lab lets expire. Latchkey forgives a minute
// between clocks, and a token that lives for seconds would be refreshed all the
// time: so the lab answers in Latchkey's place, as that does once a token has
// expired.
type stale struct {
	mu     sync.Mutex
	given  map[string]time.Time // access tokens by hash
	before time.Time
}

func newStale() *stale { return &stale{given: map[string]time.Time{}} }

// note remembers an access token that is new.
func (s *stale) note(access string, now time.Time) {
	if access == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given[access] = now
}

// expire lets all those expire that were given before now.
func (s *stale) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = now
}

func (s *stale) holds(access string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.given[access]
	return known && at.Before(s.before)
}

// expiredAnswer is Latchkey's answer to an access token that has expired.
var expiredAnswer = Answer{
	Status: http.StatusUnauthorized,
	Headers: map[string]string{
		"Cache-Control":    "no-store",
		"Content-Type":     "text/plain; charset=utf-8",
		"Latchkey-Code":    "token_expired",
		"Latchkey-Verdict": "refresh",
		"Www-Authenticate": `Bearer error="invalid_token", error_description="the access token has expired"`,
	},
	Body: "Unauthorized",
}
