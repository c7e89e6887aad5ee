package storm

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The guarantee of the refresh rule holds while the grace is at least three
// times the longest exchange of an honest client. The grace is the shortest
// that the configuration allows, so that a storm has many generations; in a long
// storm, which has ten thousand clients, both are longer: else those who gave up
// would be most of the load.
var grace, clientLimit = patience()

func patience() (grace, clientLimit time.Duration) {
	if os.Getenv(stormVariable) == "long" {
		return 12 * time.Second, 4 * time.Second
	}
	return time.Second, 300 * time.Millisecond
}

// reply is an answer as far as tests look at it.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) code() string { return r.header.Get("Latchkey-Code") }

func (r reply) String() string {
	if r.status == http.StatusOK {
		return "200" // the body has tokens
	}
	return fmt.Sprintf("%d %s %s", r.status, r.code(), tail(strings.TrimSpace(string(r.body)), 500))
}

// tokens of a login or refresh.
func (r reply) tokens() (sessionID, refreshToken string) {
	var body struct {
		SessionID string `json:"session_id"`
		User      struct {
			RefreshToken string `json:"refreshToken"`
		} `json:"user"`
	}
	_ = json.Unmarshal(r.body, &body) // what is missing is empty
	return body.SessionID, body.User.RefreshToken
}

// pair reads generation and branch out of a refresh token.
func pair(token string) (generation, branch int) {
	var claims struct{ G, B int }
	if parts := strings.Split(token, "."); len(parts) == 3 {
		raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(raw, &claims)
	}
	return claims.G, claims.B
}

// post sends a refresh token. The apps send no body or {}.
func post(ctx context.Context, client *http.Client, url, token, body string) (reply, error) {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, content)
	if err != nil {
		return reply{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("X-Refresh-Token", token)
	return do(client, req)
}

func do(client *http.Client, req *http.Request) (reply, error) {
	res, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, raw}, err
}

// login logs the one user in: every login is a session of its own.
func login(p *process) (sessionID, refreshToken string) {
	p.tb.Helper()
	body, _ := json.Marshal(map[string]string{"username": username, "password": password})
	req, err := http.NewRequest(http.MethodPost, p.url("/login"), bytes.NewReader(body))
	if err != nil {
		p.tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Return-Tokens", "true")
	r, err := do(&http.Client{Timeout: 20 * time.Second}, req)
	if sessionID, refreshToken = r.tokens(); err != nil || refreshToken == "" {
		p.tb.Fatalf("logging in: %v %v", r, err)
	}
	return sessionID, refreshToken
}

// counts is what happened to all clients of a storm.
type counts struct {
	refreshes, lost, parallel, unavailable, network, logouts atomic.Int64
	back                                                     atomic.Int64 // ended sessions that gave a token
}

// honest is an app that keeps the client's side: it stores what it was given
// and presents what it has stored, and whatever is no clear refusal means
// "later". Its answers are lost now and then.
type honest struct {
	nodes  []*process
	counts *counts
	fail   func(s *honest, what string) // a false logout, or an answer that must not be
	client *http.Client
	id     string
	body   string
	pause  time.Duration // between two exchanges, about
	leave  time.Duration // logs out so long after the start; 0: stays

	mu    sync.Mutex
	token string   // the store
	old   []string // what it has presented before
	ended bool     // its logout was answered 200
}

func (s *honest) stored() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

func (s *honest) store(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old, s.token = append(s.old, s.token), token
}

func (s *honest) node() *process { return s.nodes[rand.IntN(len(s.nodes))] }

// live is the app's life until ctx ends.
func (s *honest) live(ctx context.Context) {
	began := time.Now()
	for ctx.Err() == nil {
		pause := between(s.pause/4, s.pause*7/4)
		switch dice := rand.Float64(); {
		case s.ended:
			s.refuse()
		case s.leave > 0 && time.Since(began) > s.leave:
			s.logout()
			pause = between(0, grace/5)
		case dice < 0.2:
			s.lose()
			// It comes again at once, or its phone sleeps for a while.
			if pause = between(0, grace/10); rand.IntN(2) == 0 {
				pause = between(0, 4*grace)
			}
		case dice < 0.3: // two tabs with one store
			s.counts.parallel.Add(1)
			var tabs sync.WaitGroup
			for range 2 {
				tabs.Go(s.refresh)
			}
			tabs.Wait()
		default:
			s.refresh()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// refresh is one exchange, within the client's limit.
func (s *honest) refresh() {
	ctx, cancel := context.WithTimeout(context.Background(), clientLimit)
	defer cancel()
	token, err := s.present(ctx)
	if err != nil {
		s.counts.network.Add(1)
	}
	if token != "" {
		s.store(token)
	}
}

// lose is an exchange whose answer never reaches the store: the connection is
// cut at some moment, or the app is killed with the answer in its hands.
func (s *honest) lose() {
	limit := clientLimit
	if rand.IntN(2) == 0 {
		limit = between(0, 12*time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s.counts.lost.Add(1)
	_, _ = s.present(ctx)
}

// present sends the stored token and judges the answer. It returns the new
// token, or none, which means "later".
func (s *honest) present(ctx context.Context) (token string, err error) {
	r, err := post(ctx, s.client, s.node().url("/auth/refresh"), s.stored(), s.body)
	switch {
	case err != nil:
		return "", err
	case r.status != http.StatusOK:
		s.later(r)
		return "", nil
	}
	id, token := r.tokens()
	if id != s.id || token == "" {
		s.fail(s, "a refresh answers for another session: "+r.String())
	}
	s.counts.refreshes.Add(1)
	return token, nil
}

// later accepts the one answer beside 200 that an honest client may meet.
func (s *honest) later(r reply) {
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || r.code() != "temporarily_unavailable" {
		s.fail(s, "an honest client was answered "+r.String())
	}
	s.counts.unavailable.Add(1)
}

// logout goes on until it is answered.
func (s *honest) logout() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := post(ctx, s.client, s.node().url("/logout"), s.stored(), s.body)
	switch {
	case err != nil:
		s.counts.network.Add(1)
	case r.status == http.StatusOK:
		s.counts.logouts.Add(1)
		s.ended = true
	default:
		s.later(r)
	}
}

// refuse presents any token of the ended session, which must never work again.
func (s *honest) refuse() {
	s.mu.Lock()
	tokens := append(slices.Clone(s.old), s.token)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := post(ctx, s.client, s.node().url("/auth/refresh"), tokens[rand.IntN(len(tokens))], s.body)
	switch {
	case err != nil:
		s.counts.network.Add(1)
	case r.status == http.StatusUnauthorized && r.code() == "logged_out":
	case r.status == http.StatusUnauthorized || r.status == http.StatusOK:
		if r.status == http.StatusOK {
			s.counts.back.Add(1)
		}
		s.fail(s, "a session whose logout was answered says "+r.String())
	default:
		s.later(r)
	}
}

func between(least, most time.Duration) time.Duration {
	return least + rand.N(most-least+1)
}
