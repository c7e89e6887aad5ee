package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/test/upgrade/stored"
)

const (
	idpClient   = "latchkey"
	idpSecret   = "the test secret of the stored databases at their provider"
	appRedirect = "audiobookshelf://oauth"
	appClient   = "latchkey-app"
	webClient   = "stored-app"
	webRedirect = "https://app.example.org/callback"
	verifier    = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

// scene is a program that people use.
type scene struct {
	*server
	idp *providertest.IdP
	d   *stored.Database
}

// play does what is to be found in the stored database.
func (s *scene) play(ctx context.Context) error {
	for _, name := range []string{"anna", "ben", "carl", "tom", "pia"} {
		if _, err := s.run(ctx, passwordOf(name)+"\n", "user", "create", name, "--password-stdin"); err != nil {
			return err
		}
	}
	s.d.Users = []stored.User{{Name: "root", Password: passwordOf("root")}, {Name: "anna", Password: passwordOf("anna")},
		{Name: "ben", Password: passwordOf("ben"), Disabled: true}, {Name: "carl", Password: "another " + passwordOf("carl")},
		{Name: "tom", Password: passwordOf("tom")}, {Name: "pia", Password: passwordOf("pia")}}
	steps := []func(context.Context) error{s.livingSessions, s.endedSessions, s.idpSession}
	if s.d.Schema >= 2 {
		steps = append(steps, s.clientSession, s.boundSession)
	}
	if s.d.Schema >= 3 {
		steps = append(steps, s.apiKey, s.imports)
	}
	if s.d.Schema >= 5 {
		steps = append(steps, s.authenticatorApp, s.passkey)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// livingSessions are chains of refresh tokens that are at different places.
func (s *scene) livingSessions(context.Context) error {
	if err := s.login("new", "anna", nil); err != nil {
		return err
	}
	if err := s.login("rotated", "anna", func(x *stored.Session) error { return repeat(3, x, rotate) }); err != nil {
		return err
	}
	return s.login("branched", "anna", func(x *stored.Session) error {
		if err := repeat(2, x, rotate); err != nil {
			return err
		}
		// The answer with the newest token is lost, and the app comes with the one before.
		before := x.Previous
		x.Refresh = before
		if err := rotate(x); err != nil {
			return err
		}
		x.Previous = before
		return nil
	})
}

// endedSessions ended, each for a reason of its own.
func (s *scene) endedSessions(ctx context.Context) error {
	if err := s.login("logged out", "anna", func(x *stored.Session) error {
		x.Cause = "logged_out"
		_, _, err := ask(http.DefaultClient, "POST", "/logout", http.StatusOK, nil, "X-Refresh-Token", x.Refresh)
		return err
	}); err != nil {
		return err
	}
	if err := s.login("lost device", "anna", func(x *stored.Session) error {
		x.Cause, x.Wipe = "revoked_by_admin", true
		_, err := s.run(ctx, "", "session", "revoke", x.ID, "--wipe")
		return err
	}); err != nil {
		return err
	}
	if err := s.login("stolen", "anna", func(x *stored.Session) error {
		x.Cause = "token_reused"
		stolen := x.Refresh
		if err := repeat(2, x, rotate); err != nil {
			return err
		}
		time.Sleep(grace + grace/5)
		_, _, err := ask(http.DefaultClient, "POST", "/auth/refresh", http.StatusUnauthorized, nil, "X-Refresh-Token", stolen)
		return err
	}); err != nil {
		return err
	}
	if err := s.login("of a disabled user", "ben", func(x *stored.Session) error {
		x.Cause = "user_disabled"
		_, err := s.run(ctx, "", "user", "disable", "ben")
		return err
	}); err != nil {
		return err
	}
	return s.login("with another password", "carl", func(x *stored.Session) error {
		x.Cause = "password_changed"
		_, err := s.run(ctx, "another "+passwordOf("carl")+"\n", "user", "set-password", "carl", "--password-stdin")
		return err
	})
}

// login adds a session, and what happens to it then.
func (s *scene) login(kind, user string, then func(*stored.Session) error) error {
	x := stored.Session{Kind: kind, User: user, ClientID: appClient, UserAgent: "Stored/1 (" + kind + ")"}
	_, raw, err := ask(http.DefaultClient, "POST", "/login", http.StatusOK, asJSON(map[string]string{"username": user, "password": passwordOf(user)}),
		"Content-Type", "application/json", "X-Return-Tokens", "true", "User-Agent", x.UserAgent)
	if err == nil {
		err = read(raw, &x)
	}
	if err == nil && then != nil {
		err = then(&x)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	s.d.Sessions = append(s.d.Sessions, x)
	return nil
}

// read takes the tokens out of an answer of the JSON API.
func read(raw []byte, x *stored.Session) error {
	var body struct {
		SessionID string `json:"session_id"`
		User      struct {
			AccessToken  string `json:"accessToken"`
			RefreshToken string `json:"refreshToken"`
		} `json:"user"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return err
	}
	if body.User.RefreshToken == "" || body.SessionID == "" {
		return fmt.Errorf("no tokens in %s", raw)
	}
	x.ID, x.Refresh, x.Access = body.SessionID, body.User.RefreshToken, body.User.AccessToken
	return nil
}

func repeat(n int, x *stored.Session, step func(*stored.Session) error) error {
	for range n {
		if err := step(x); err != nil {
			return err
		}
	}
	return nil
}

// rotate refreshes once the token may be followed by another.
func rotate(x *stored.Session) error {
	time.Sleep(grace + grace/5)
	before := x.Refresh
	_, raw, err := ask(http.DefaultClient, "POST", "/auth/refresh", http.StatusOK, nil, "X-Refresh-Token", before, "User-Agent", x.UserAgent)
	if err == nil {
		err = read(raw, x)
	}
	if err == nil && x.Refresh == before {
		err = fmt.Errorf("session %s was not rotated", x.ID)
	}
	x.Previous = before
	return err
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// idpSession is the login of an app through an identity provider.
func (s *scene) idpSession(ctx context.Context) error {
	x := stored.Session{Kind: "by a provider", User: "ida", ClientID: appClient, Provider: "openid", UserAgent: "Stored/1 (by a provider)"}
	const state = "the-state-of-the-app"
	begin := url.Values{"response_type": {"code"}, "redirect_uri": {appRedirect}, "code_challenge": {challenge()}, "code_challenge_method": {"S256"}, "state": {state}}
	next := publicURL + "/auth/openid?" + begin.Encode()
	for range 2 { // to the page that leads to the provider, and there
		res, _, err := ask(noRedirects, "GET", strings.TrimPrefix(next, publicURL), http.StatusFound, nil)
		if err != nil {
			return err
		}
		next = res.Header.Get("Location")
	}
	back, err := s.idp.Authorize(ctx, next, "ida")
	if err != nil {
		return err
	}
	res, _, err := ask(noRedirects, "GET", strings.TrimPrefix(back, publicURL), http.StatusFound, nil)
	if err != nil {
		return err
	}
	app, err := url.Parse(res.Header.Get("Location"))
	if err != nil {
		return err
	}
	redeem := url.Values{"state": {state}, "code": {app.Query().Get("code")}, "code_verifier": {verifier}}
	_, raw, err := ask(http.DefaultClient, "GET", "/auth/openid/callback?"+redeem.Encode(), http.StatusOK, nil, "User-Agent", x.UserAgent)
	if err == nil {
		err = read(raw, &x)
	}
	if err == nil {
		err = rotate(&x)
	}
	s.d.Sessions = append(s.d.Sessions, x)
	return err
}

// apiKey is a key that acts for anna.
func (s *scene) apiKey(ctx context.Context) error {
	raw, err := s.run(ctx, "", "apikey", "create", "anna", "--name", "stored", "--json")
	if err != nil {
		return err
	}
	var made map[string]any
	if err := json.Unmarshal(raw, &made); err != nil {
		return err
	}
	for _, value := range made {
		if text, ok := value.(string); ok && strings.HasPrefix(text, "lk_") {
			s.d.APIKey = text
		}
	}
	if s.d.APIKey == "" {
		return fmt.Errorf("no key in %s", raw)
	}
	_, _, err = ask(http.DefaultClient, "GET", "/api/me", http.StatusOK, nil, "Authorization", "Bearer "+s.d.APIKey)
	return err
}
