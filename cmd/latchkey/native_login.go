package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/spf13/cobra"
	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
)

// loginLimit is how long a person may take in the browser.
const loginLimit = 5 * time.Minute

var loginScope = []string{broker.ScopeOpenID, broker.ScopeProfile, broker.ScopeEmail, broker.ScopeOfflineAccess, broker.ScopeAPI}

func (p *program) loginCommand() *cobra.Command {
	var device, noBrowser bool
	var scope []string
	c := &cobra.Command{
		Use: "login --issuer URL", Short: "Log in through the browser and keep the tokens", Args: cobra.NoArgs,
		Long: "Log in at a server through the system browser, as apps do (RFC 8252), and keep the tokens in a file that only\n" +
			"you can read. With --device on any other device, by a short code (RFC 8628).\n\n" +
			"`latchkey token` then prints a fresh access token, and `latchkey logout` ends the session.",
	}
	n := p.newNative(c)
	c.Flags().BoolVar(&device, "device", false, "log in on another device, by a code")
	c.Flags().BoolVar(&noBrowser, "no-browser", false, "only print the URL to open")
	c.Flags().StringArrayVar(&scope, "scope", nil, "scope to ask for; may be repeated (default \""+strings.Join(loginScope, " ")+"\")")
	c.Flags().BoolVar(&n.insecure, "insecure-http", false, "permit a plain http server that is not this machine")
	p.jsonFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		wanted := strings.Fields(strings.Join(scope, " "))
		if len(wanted) == 0 {
			wanted = loginScope
		}
		if !slices.Contains(wanted, broker.ScopeOpenID) {
			wanted = append([]string{broker.ScopeOpenID}, wanted...)
		}
		kept, err := n.login(cmd.Context(), wanted, device, noBrowser)
		if err != nil {
			return err
		}
		return n.printLogin(kept)
	}
	return c
}

func (n *native) printLogin(kept nativeSession) error {
	if n.p.json {
		return n.p.printJSON(map[string]any{
			"issuer": kept.Issuer, "client_id": kept.ClientID, "sub": kept.Subject, "username": kept.Username,
			"scope": kept.Scope, "expires_at": unixSeconds(kept.ExpiresAt),
		})
	}
	_, err := fmt.Fprintf(n.p.stdout, "Logged in at %s as %s.\n", kept.Issuer, plain(kept.Username))
	return err
}

// login goes to the server, by the one way or the other, and keeps what comes
// of it.
func (n *native) login(ctx context.Context, scope []string, device, noBrowser bool) (nativeSession, error) {
	store, err := n.store()
	if err != nil {
		return nativeSession{}, err
	}
	key, err := n.key(store)
	if err != nil {
		return nativeSession{}, err
	}
	if key.Issuer == "" {
		return nativeSession{}, usageError{errors.New("name the server: --issuer https://id.example.org")}
	}
	server, err := n.discover(ctx, key, n.insecure)
	if err != nil {
		return nativeSession{}, err
	}
	server.oauth.Scopes = scope
	l := &nativeLogin{native: n, server: server, store: store, key: key}
	if device {
		return l.byDevice(ctx)
	}
	return l.byBrowser(ctx, !noBrowser)
}

// nativeLogin is one login under way.
type nativeLogin struct {
	*native
	server *nativeServer
	store  *nativeStore
	key    nativeKey

	state, nonce, verifier string
}

// byBrowser is the authorization code flow with PKCE and a loopback redirect.
func (l *nativeLogin) byBrowser(ctx context.Context, open bool) (nativeSession, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, loginLimit, errors.New("nobody logged in within five minutes; begin again"))
	defer cancel()
	l.state, l.nonce, l.verifier = oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier() // 256 random bits each
	var made nativeSession
	back, err := newLoopback(l.state, func(answer url.Values) (err error) {
		made, err = l.finish(ctx, answer)
		return err
	})
	if err != nil {
		return nativeSession{}, err
	}
	defer back.close()
	l.server.oauth.RedirectURL = back.redirectURI
	target := l.server.oauth.AuthCodeURL(l.state, oidc.Nonce(l.nonce), oauth2.S256ChallengeOption(l.verifier))
	fmt.Fprintf(l.p.stderr, "Log in with your browser at\n\n  %s\n\n", target)
	if open {
		if err := openBrowser(target); err != nil {
			fmt.Fprintf(l.p.stderr, "No browser could be opened (%v); open the URL yourself, on this machine, or use --device.\n", err)
		}
	}
	if err := back.wait(ctx); err != nil {
		return nativeSession{}, err
	}
	return made, nil
}

// finish checks what the browser brought, and redeems the code. The state was
// compared already.
func (l *nativeLogin) finish(ctx context.Context, answer url.Values) (nativeSession, error) {
	// An answer of another server is not passed on to this one (RFC 9207).
	if iss := answer.Get("iss"); iss != l.key.Issuer && (iss != "" || l.server.namesIss) {
		return nativeSession{}, fmt.Errorf("the answer comes from %q, not from %s; nothing was kept", plain(iss), l.key.Issuer)
	}
	if answer.Has("error") {
		return nativeSession{}, fmt.Errorf("the login was refused: %s", plain(strings.TrimSuffix(answer.Get("error")+", "+answer.Get("error_description"), ", ")))
	}
	if answer.Get("code") == "" {
		return nativeSession{}, errors.New("the answer has no code")
	}
	var token *oauth2.Token
	err := l.repeatAnswered(ctx, func(ctx context.Context) (err error) {
		token, err = l.server.oauth.Exchange(l.server.context(ctx), answer.Get("code"), oauth2.VerifierOption(l.verifier))
		return err
	})
	if err != nil {
		return nativeSession{}, err
	}
	return l.accept(ctx, token)
}

// repeatAnswered redeems a code. It is tried again only where the server says
// that it did nothing: a code that is redeemed twice ends the session.
func (l *nativeLogin) repeatAnswered(ctx context.Context, redeem func(context.Context) error) error {
	var lost error
	err := l.repeat(ctx, func(ctx context.Context) error {
		err := redeem(ctx)
		if _, answered := errors.AsType[*oauth2.RetrieveError](err); err != nil && !answered {
			lost = l.network(ctx, err)
			return nil
		}
		if err != nil {
			return l.judge(ctx, err)
		}
		return nil
	})
	if err = errors.Join(err, lost); err == nil {
		return nil
	}
	if over, ok := errors.AsType[*sessionOver](err); ok {
		return fmt.Errorf("the server did not take the code: %w; begin again", over)
	}
	return fmt.Errorf("the login could not be completed: %w", err)
}

// accept verifies the ID token and keeps the login, before anybody is told.
func (l *nativeLogin) accept(ctx context.Context, token *oauth2.Token) (nativeSession, error) {
	kept := nativeSession{nativeKey: l.key, Scope: strings.Join(l.server.oauth.Scopes, " "), InsecureHTTP: l.insecure}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return kept, errors.New("the server gave no ID token")
	}
	id, err := l.server.provider.VerifierContext(l.server.context(ctx), &oidc.Config{ClientID: l.key.ClientID, Now: l.now}).Verify(ctx, raw)
	if err != nil {
		return kept, fmt.Errorf("the ID token is not good: %w", err)
	}
	if id.Nonce != l.nonce {
		return kept, errors.New("the ID token is not good: it has another nonce, so it belongs to another login")
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return kept, fmt.Errorf("the ID token is not good: %w", err)
		}
	}
	kept.Subject = id.Subject
	kept.Username = l.username(ctx, id, token)
	kept = l.keep(kept, token)
	return kept, l.replaceLogin(ctx, kept)
}

// username is how the person is called, as far as the server tells; for show
// only. It stands in the ID token or at the userinfo endpoint (OIDC Core
// section 5.4).
func (l *nativeLogin) username(ctx context.Context, id *oidc.IDToken, token *oauth2.Token) string {
	var claims struct {
		Username string `json:"preferred_username"`
		Email    string `json:"email"`
	}
	if err := id.Claims(&claims); err == nil && claims.Username == "" {
		ctx, cancel := context.WithTimeout(l.server.context(ctx), 5*time.Second)
		defer cancel()
		if info, err := l.server.provider.UserInfo(ctx, oauth2.StaticTokenSource(token)); err == nil && info.Subject == id.Subject {
			_ = info.Claims(&claims) // what it lacks, it lacks
		}
	}
	return cmp.Or(claims.Username, claims.Email, id.Subject)
}

// replaceLogin stores the new login and ends the one that stood there: its
// tokens are gone with this, and its session would wait for its end for weeks.
func (l *nativeLogin) replaceLogin(ctx context.Context, kept nativeSession) error {
	unlock, err := l.store.lock(ctx, l.key)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := l.store.load(l.key)
	if err := l.store.begin(kept); err != nil {
		return fmt.Errorf("the tokens cannot be stored: %w", err)
	}
	if err == nil && old.RefreshToken != "" {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_ = l.revoke(ctx, old) // if not, it expires
	}
	return nil
}
