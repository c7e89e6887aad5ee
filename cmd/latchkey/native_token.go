package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2"
)

func (p *program) tokenCommand() *cobra.Command {
	var now bool
	c := &cobra.Command{
		Use: "token", Short: "Print a fresh access token", Args: cobra.NoArgs,
		Long: "Print a fresh access token, and nothing else, on the standard output. It is refreshed when it has\n" +
			"less than a minute to live. Any number of these commands may run at once; one of them refreshes.\n\n" +
			"Exit 1 means that there is no token now. The login is only given up when the server says that the\n" +
			"session is over; after anything else, try again later.",
	}
	n := p.newNative(c)
	c.Flags().BoolVar(&now, "refresh", false, "refresh even if the access token is still good (after an API answered 401)")
	p.jsonFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		kept, err := n.fresh(cmd.Context(), now)
		if err != nil {
			return err
		}
		if !p.json {
			_, err = fmt.Fprintln(p.stdout, kept.AccessToken)
			return err
		}
		return p.printJSON(viewToken(kept))
	}
	return c
}

// tokenView names things as a token response does (RFC 6749 section 5.1);
// times are Unix seconds.
type tokenView struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresAt   *int64 `json:"expires_at"`
	Scope       string `json:"scope"`
	Issuer      string `json:"issuer"`
	ClientID    string `json:"client_id"`
	Subject     string `json:"sub"`
}

func viewToken(kept nativeSession) tokenView {
	return tokenView{
		AccessToken: kept.AccessToken, TokenType: kept.TokenType, ExpiresAt: unixSeconds(kept.ExpiresAt), Scope: kept.Scope,
		Issuer: kept.Issuer, ClientID: kept.ClientID, Subject: kept.Subject,
	}
}

// refreshBefore is how much life an access token has left at least.
const refreshBefore = time.Minute

// due reports whether an access token is to be refreshed: with less than a
// minute left, or a tenth of its life if that is shorter. A clock that went
// back makes it due too.
func (kept nativeSession) due(now time.Time) bool {
	margin := min(refreshBefore, kept.ExpiresAt.Sub(kept.ObtainedAt)/10)
	return kept.ExpiresAt.IsZero() || now.Before(kept.ObtainedAt.Add(-refreshBefore)) || !now.Add(margin).Before(kept.ExpiresAt)
}

// fresh is the login with an access token that lives on for a while. Whoever
// has to refresh holds the lock; who waited for it takes what it finds then.
func (n *native) fresh(ctx context.Context, now bool) (nativeSession, error) {
	store, key, seen, err := n.opened()
	if err != nil || !now && !seen.due(n.now()) {
		return seen, err
	}
	unlock, err := store.lock(ctx, key)
	if err != nil {
		return seen, err
	}
	defer unlock()
	_, _, kept, err := n.opened()
	changed := kept.AccessToken != seen.AccessToken
	if err != nil || !kept.due(n.now()) && (changed || !now) {
		return kept, err
	}
	return n.refresh(ctx, store, kept)
}

// refresh gets new tokens and stores them before anybody sees them.
func (n *native) refresh(ctx context.Context, store *nativeStore, kept nativeSession) (nativeSession, error) {
	if kept.RefreshToken == "" {
		return kept, fmt.Errorf("the server gave no refresh token, and the access token has expired; log in again with: %s", n.again(kept.nativeKey))
	}
	next, err := n.exchange(ctx, kept)
	over, ok := errors.AsType[*sessionOver](err)
	if ok {
		// Somebody else may have refreshed in the meantime, past the lock.
		if now, loadErr := store.load(kept.nativeKey); loadErr == nil && now.RefreshToken != kept.RefreshToken {
			kept = now
			next, err = n.exchange(ctx, kept)
			over, ok = errors.AsType[*sessionOver](err)
		}
	}
	if ok {
		err = fmt.Errorf("the session at %s is over: %w; log in again with: %s", kept.Issuer, over, n.again(kept.nativeKey))
		return kept, errors.Join(err, store.remove(kept.nativeKey))
	}
	if err != nil {
		return kept, err
	}
	return next, store.save(next)
}

// exchange sends the refresh token. Sending it again after an answer that was
// lost is safe: the server answers an older token for as long as its successor
// was not used, and that was never stored.
func (n *native) exchange(ctx context.Context, kept nativeSession) (nativeSession, error) {
	var next nativeSession
	err := n.repeat(ctx, func(ctx context.Context) error {
		server, err := n.discover(ctx, kept.nativeKey, kept.InsecureHTTP)
		if err != nil {
			return err
		}
		token, err := server.oauth.TokenSource(server.context(ctx), &oauth2.Token{RefreshToken: kept.RefreshToken}).Token()
		if err != nil {
			return n.judge(ctx, err)
		}
		next = n.keep(kept, token)
		return nil
	})
	return next, err
}

// keep takes over what a token response says.
func (n *native) keep(kept nativeSession, token *oauth2.Token) nativeSession {
	kept.AccessToken, kept.TokenType, kept.ObtainedAt, kept.ExpiresAt = token.AccessToken, token.Type(), n.now().UTC(), token.Expiry.UTC()
	if token.RefreshToken != "" {
		kept.RefreshToken = token.RefreshToken
	}
	if scope, ok := token.Extra("scope").(string); ok {
		kept.Scope = scope
	}
	if token.Expiry.IsZero() {
		kept.ExpiresAt = time.Time{}
	}
	return kept
}
