// Package oidc asks OpenID providers who somebody is: authorization code with
// PKCE and nonce, over go-oidc and x/oauth2. Discovery is lazy, bounded and
// kept in the database, so that Latchkey starts, serves local logins and
// refreshes with every IdP dark, and heals without a restart.
package oidc

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// Config describes one OpenID provider.
type Config struct {
	Issuer       string
	ClientID     string
	ClientSecret string
	Scopes       []string // empty: openid profile email
	// TokenEndpointAuth is auto, client_secret_basic, client_secret_post or none.
	TokenEndpointAuth string
	Claims            ClaimNames
	Logout            bool // end the IdP's session too

	HTTPClient *http.Client // nil: [NewHTTPClient]
	Cache      Cache        // nil: nothing survives a restart
	Now        func() time.Time
}

// Provider implements broker.IdP.
type Provider struct {
	cfg  Config
	disc *discovery

	mu      sync.Mutex
	keys    *keySet
	keysURI string
}

// New returns a provider. It asks nothing of the IdP yet.
func New(cfg Config) *Provider {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = NewHTTPClient()
	}
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{gooidc.ScopeOpenID, "profile", "email"}
	}
	cfg.Claims = cfg.Claims.withDefaults()
	return &Provider{cfg: cfg, disc: &discovery{issuer: cfg.Issuer, client: cfg.HTTPClient, cache: cfg.Cache, now: cfg.Now}}
}

// AuthURL implements broker.IdP.
func (p *Provider) AuthURL(ctx context.Context, req broker.IdPRequest) (string, error) {
	m, err := p.disc.current(ctx)
	if err != nil {
		return "", err
	}
	return p.oauth(m, req).AuthCodeURL(req.State, gooidc.Nonce(req.Nonce), oauth2.S256ChallengeOption(req.Verifier)), nil
}

func (p *Provider) oauth(m *Metadata, req broker.IdPRequest) *oauth2.Config {
	style := oauth2.AuthStyleInHeader
	method := p.cfg.TokenEndpointAuth
	if method == "" || method == "auto" {
		method = "client_secret_basic"
		if len(m.TokenAuthMethods) > 0 && !slices.Contains(m.TokenAuthMethods, method) {
			method = "client_secret_post"
		}
	}
	if method != "client_secret_basic" || p.cfg.ClientSecret == "" {
		style = oauth2.AuthStyleInParams
	}
	secret := p.cfg.ClientSecret
	if method == "none" {
		secret = ""
	}
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: secret, RedirectURL: req.RedirectURI, Scopes: p.cfg.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: m.AuthorizationEndpoint, TokenURL: m.TokenEndpoint, AuthStyle: style},
	}
}

// Exchange implements broker.IdP.
func (p *Provider) Exchange(ctx context.Context, req broker.IdPRequest, res broker.IdPResponse) (broker.IdPClaims, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	m := p.disc.known(ctx)
	if m == nil {
		var err error
		if m, err = p.disc.current(ctx); err != nil {
			return broker.IdPClaims{}, err
		}
	}
	// RFC 9207: before the code goes anywhere.
	if res.Issuer != "" && res.Issuer != p.cfg.Issuer || res.Issuer == "" && m.IssParameter {
		return broker.IdPClaims{}, &broker.Error{Code: broker.IssuerMismatch, Message: "the answer is not from the identity provider that was asked"}
	}
	token, err := p.oauth(m, req).Exchange(p.client(ctx), res.Code, oauth2.VerifierOption(req.Verifier))
	if err != nil {
		return broker.IdPClaims{}, exchangeError(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok || raw == "" || len(raw) > maxAnswer {
		return broker.IdPClaims{}, badResponse("the identity provider sent no ID token", nil)
	}
	claims, err := p.verify(ctx, m, raw, req.Nonce)
	if err != nil {
		return broker.IdPClaims{}, err
	}
	if err := p.addUserinfo(ctx, m, token, claims); err != nil {
		return broker.IdPClaims{}, err
	}
	return p.cfg.Claims.read(p.cfg.Issuer, claims), nil
}

func (p *Provider) client(ctx context.Context) context.Context {
	return gooidc.ClientContext(ctx, p.cfg.HTTPClient)
}

// exchangeError tells a refusal from an outage: a 4xx of the token endpoint is
// about this code, everything else is trouble.
func exchangeError(err error) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		cause := fmt.Errorf("token endpoint: status %d, error %q", refused.Response.StatusCode, refused.ErrorCode)
		if status := refused.Response.StatusCode; status >= 400 && status < 500 && status != http.StatusTooManyRequests {
			return &broker.Error{Code: broker.IdPRefused, Message: "the identity provider refused the login", Err: cause}
		}
		return unavailable(cause)
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return unavailable(errors.New("token endpoint: cannot be reached"))
	}
	return badResponse("the identity provider's answer is not usable", errors.New("token endpoint: unusable answer"))
}

// signingAlgs are the algorithms that an ID token may have; what the IdP
// advertises narrows them, none and the symmetric ones are never among them.
var signingAlgs = []string{"RS256", "ES256", "EdDSA", "PS256", "RS384", "RS512", "ES384", "ES512", "PS384", "PS512"}

// verify checks an ID token (OIDC Core section 3.1.3.7): what go-oidc checks,
// and what it leaves to its caller.
func (p *Provider) verify(ctx context.Context, m *Metadata, raw, nonce string) (map[string]any, error) {
	algs := slices.DeleteFunc(slices.Clone(signingAlgs), func(alg string) bool {
		return len(m.SigningAlgs) > 0 && !slices.Contains(m.SigningAlgs, alg)
	})
	keys := p.keySet(ctx, m, algs)
	verifier := gooidc.NewVerifier(p.cfg.Issuer, keys, &gooidc.Config{
		ClientID: p.cfg.ClientID, SupportedSigningAlgs: algs,
		// go-oidc has no leeway for exp; a minute, as everywhere.
		Now: func() time.Time { return p.cfg.Now().Add(-verify.Leeway) },
	})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		if keys.trouble() != nil {
			return nil, unavailable(keys.trouble())
		}
		return nil, badResponse("the identity provider's ID token is not valid", err)
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1 {
		return nil, &broker.Error{Code: broker.NonceMismatch, Message: "the identity provider's answer belongs to another login"}
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return nil, badResponse("the identity provider's ID token is not valid", err)
	}
	now := p.cfg.Now()
	azp, hasAzp := claims["azp"]
	switch {
	case text(claims["sub"]) == "":
		return nil, badResponse("the identity provider's ID token names nobody", nil)
	case claims["iat"] == nil, token.IssuedAt.After(now.Add(verify.Leeway)), token.IssuedAt.Before(now.Add(-10 * time.Minute)):
		return nil, badResponse("the identity provider's ID token was not issued just now; compare the clocks of both machines", nil)
	case hasAzp && text(azp) != p.cfg.ClientID, !hasAzp && len(token.Audience) > 1:
		return nil, badResponse("the identity provider's ID token is for another client", nil)
	}
	return claims, nil
}

// addUserinfo asks for what the ID token lacks. A userinfo endpoint that fails
// does not fail a login that has what it needs.
func (p *Provider) addUserinfo(ctx context.Context, m *Metadata, token *oauth2.Token, claims map[string]any) error {
	names := p.cfg.Claims
	_, hasName := claims[names.Username]
	_, hasEmail := claims[names.Email]
	_, hasGroups := claims[names.Groups]
	if m.UserinfoEndpoint == "" || token.AccessToken == "" || hasName && hasEmail && hasGroups {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.UserinfoEndpoint, nil)
	if err != nil {
		return nil
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	req.Header.Set("Accept", "application/json")
	body, err := send(p.cfg.HTTPClient, req)
	if err != nil {
		if hasName || hasEmail {
			return nil
		}
		return unavailable(errors.New("userinfo: cannot be read"))
	}
	if err := merge(claims, body); err != nil {
		return badResponse("the identity provider's userinfo is not valid", err)
	}
	return nil
}

// EndSessionURL implements broker.IdP (OIDC RP-Initiated Logout section 2). No
// token goes into the URL: the IdP knows its browser.
func (p *Provider) EndSessionURL(ctx context.Context, returnTo string) string {
	m := p.disc.known(ctx)
	if !p.cfg.Logout || m == nil || m.EndSessionEndpoint == "" {
		return ""
	}
	u, err := url.Parse(m.EndSessionEndpoint)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.cfg.ClientID)
	q.Set("post_logout_redirect_uri", returnTo)
	u.RawQuery = q.Encode()
	return u.String()
}

// FetchMetadata reads the discovery document of any issuer once, for an
// administrator who sets one up.
func FetchMetadata(ctx context.Context, client *http.Client, issuer string) (json.RawMessage, error) {
	d := &discovery{issuer: issuer, client: client, now: time.Now}
	m, err := d.refresh(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}
