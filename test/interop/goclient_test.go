package interop

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// goClient is a web application with x/oauth2 and go-oidc. One person uses it
// at a time.
type goClient struct {
	config   oauth2.Config
	provider *oidc.Provider
	verifier *oidc.IDTokenVerifier

	mu    sync.Mutex
	asked struct{ state, nonce, verifier string }
	token *oauth2.Token
	sid   string
	user  *oidc.UserInfo
}

func runGo(t *testing.T, s settings) application {
	provider, err := oidc.NewProvider(t.Context(), s.issuer)
	if err != nil {
		t.Fatal(err)
	}
	c := &goClient{
		provider: provider,
		verifier: provider.Verifier(&oidc.Config{ClientID: s.client.text("client_id")}),
		config: oauth2.Config{
			ClientID: s.client.text("client_id"), ClientSecret: s.client.text("client_secret"), Endpoint: provider.Endpoint(),
			RedirectURL: s.base + "/callback", Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
		},
	}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /login": c.login, "GET /callback": c.callback, "GET /me": c.me, "GET /refresh": c.refresh, "POST /backchannel-logout": c.backchannel,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if err := handle(w, r); err != nil {
				answer(w, http.StatusInternalServerError, map[string]any{"error": err.Error()})
			}
		})
	}
	listen(t, s.base, mux)
	return application{Refresh: ownRefresh, Backchannel: true}.standard()
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who has gone needs no answer
}

func (c *goClient) login(w http.ResponseWriter, r *http.Request) error {
	c.asked.state, c.asked.nonce, c.asked.verifier = rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	http.Redirect(w, r, c.config.AuthCodeURL(c.asked.state, oidc.Nonce(c.asked.nonce), oauth2.S256ChallengeOption(c.asked.verifier)), http.StatusFound)
	return nil
}

func (c *goClient) callback(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if q.Get("state") != c.asked.state || q.Get("code") == "" {
		return errors.New("the callback came with " + r.URL.RawQuery)
	}
	token, err := c.config.Exchange(r.Context(), q.Get("code"), oauth2.VerifierOption(c.asked.verifier))
	if err != nil {
		return err
	}
	if err := c.keep(r, token, c.asked.nonce); err != nil {
		return err
	}
	http.Redirect(w, r, "/me", http.StatusFound)
	return nil
}

// keep checks a token with its ID token, and uses it.
func (c *goClient) keep(r *http.Request, token *oauth2.Token, nonce string) error {
	raw, _ := token.Extra("id_token").(string)
	id, err := c.verifier.Verify(r.Context(), raw)
	if err != nil {
		return err
	}
	var claims struct{ SID string }
	if err := id.Claims(&claims); err != nil {
		return err
	}
	if nonce != "" && id.Nonce != nonce {
		return errors.New("the ID token is for another login")
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return err
		}
	}
	user, err := c.provider.UserInfo(r.Context(), oauth2.StaticTokenSource(token))
	if err != nil {
		return err
	}
	if user.Subject != id.Subject {
		return errors.New("the ID token and userinfo speak of different people")
	}
	c.token, c.user, c.sid = token, user, cmp.Or(claims.SID, c.sid)
	return nil
}

func (c *goClient) me(w http.ResponseWriter, _ *http.Request) error {
	if c.user == nil {
		answer(w, http.StatusUnauthorized, map[string]any{"error": "not logged in"})
		return nil
	}
	var claims struct {
		Username string `json:"preferred_username"`
	}
	if err := c.user.Claims(&claims); err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]any{"sub": c.user.Subject, "username": claims.Username, "email": c.user.Email})
	return nil
}

func (c *goClient) refresh(w http.ResponseWriter, r *http.Request) error {
	old := *c.token
	old.Expiry = time.Unix(1, 0) // long ago
	token, err := c.config.TokenSource(r.Context(), &old).Token()
	if err != nil {
		return err
	}
	if err := c.keep(r, token, ""); err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]any{"renewed": token.AccessToken != old.AccessToken})
	return nil
}

// backchannel is told of a logout (OIDC Back-Channel Logout section 2.5).
func (c *goClient) backchannel(w http.ResponseWriter, r *http.Request) error {
	token, err := c.verifier.VerifyLogout(r.Context(), r.PostFormValue("logout_token"))
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_request", "error_description": err.Error()})
		return nil
	}
	if c.user != nil && (token.SessionID == "" || token.SessionID == c.sid) && (token.Subject == "" || token.Subject == c.user.Subject) {
		c.token, c.user = nil, nil
	}
	w.Header().Set("Cache-Control", "no-store")
	answer(w, http.StatusOK, map[string]any{})
	return nil
}
