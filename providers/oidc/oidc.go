// Package oidc asks OpenID providers who somebody is: authorization code with
// PKCE and nonce, over go-oidc and x/oauth2. Discovery is lazy, bounded and
// kept in the database, so that Latchkey starts, serves local logins and
// refreshes with every IdP dark, and heals without a restart.
package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
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

	HTTPClient *http.Client // nil: one that reaches the issuer's own host and public addresses
	Cache      Cache        // nil: nothing survives a restart
	Now        func() time.Time
}

// Provider implements broker.IdP.
type Provider struct {
	cfg       Config
	discovery *document[*Metadata]
	keys      *document[[]jose.JSONWebKey]
}

// New returns a provider. It asks nothing of the IdP yet.
func New(cfg Config) *Provider {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = newClientFor(cfg.Issuer)
	}
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{gooidc.ScopeOpenID, "profile", "email"}
	}
	cfg.Claims = cfg.Claims.withDefaults()
	return &Provider{
		cfg:       cfg,
		discovery: newDiscovery(cfg.Issuer, cfg.HTTPClient, cfg.Cache, cfg.Now),
		keys:      newKeys(cfg.Issuer, cfg.HTTPClient, cfg.Cache, cfg.Now),
	}
}

// AuthURL implements broker.IdP.
func (p *Provider) AuthURL(ctx context.Context, req broker.IdPRequest) (string, error) {
	m, err := p.metadata(ctx)
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
	m, err := p.recentMetadata(ctx)
	if err != nil {
		return broker.IdPClaims{}, err
	}
	// RFC 9207: before the code goes anywhere.
	if res.Issuer != "" && res.Issuer != p.cfg.Issuer || res.Issuer == "" && m.IssParameter {
		return broker.IdPClaims{}, &broker.Error{Code: broker.IssuerMismatch, Message: "the answer is not from the identity provider that was asked"}
	}
	token, err := p.oauth(m, req).Exchange(p.client(ctx), res.Code, oauth2.VerifierOption(req.Verifier))
	if err != nil {
		return broker.IdPClaims{}, p.exchangeError(err, res.Code, req.Verifier)
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

// exchangeError tells a refusal from an outage: a 4xx of the token endpoint, or
// an OAuth error, is about this code.
func (p *Provider) exchangeError(err error, sent ...string) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		status := refused.Response.StatusCode
		cause := fmt.Errorf("token endpoint: status %d, error %s", status, quote(refused.ErrorCode, append(sent, p.cfg.ClientSecret)))
		switch {
		case passing(status):
			return unavailable(cause)
		case status >= 400 || refused.ErrorCode != "":
			return &broker.Error{Code: broker.IdPRefused, Message: "the identity provider refused the login", Err: cause}
		}
		return badResponse("the identity provider's answer is not usable", cause)
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return unavailable(errors.New("token endpoint: cannot be reached"))
	}
	return badResponse("the identity provider's answer is not usable", errors.New("token endpoint: unusable answer"))
}

// quote is for a text of the IdP in the log: not if it is long, or repeats what
// was sent, or has a word that may be a secret in another form.
func quote(text string, sent []string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if len(text) > 200 || slices.ContainsFunc(words, func(w string) bool { return len(w) > 24 }) ||
		slices.ContainsFunc(sent, func(s string) bool { return s != "" && strings.Contains(text, s) }) {
		return "(withheld)"
	}
	return strconv.Quote(text)
}

// signingAlgs are the algorithms that an ID token may have; what the IdP
// advertises narrows them, none and the symmetric ones are never among them.
var signingAlgs = []string{"RS256", "ES256", "EdDSA", "PS256", "RS384", "RS512", "ES384", "ES512", "PS384", "PS512"}

// maxTokenAge is how old an ID token may be that comes for a code.
const maxTokenAge = 3 * time.Minute

// verify checks an ID token (OIDC Core section 3.1.3.7): what go-oidc checks,
// and what it leaves to its caller.
func (p *Provider) verify(ctx context.Context, m *Metadata, raw, nonce string) (map[string]any, error) {
	const invalid = "the identity provider's ID token is not valid"
	keys := &keySet{document: p.keys, uri: m.JWKSURI}
	algs := []string{}
	for _, alg := range signingAlgs {
		if len(m.SigningAlgs) == 0 || slices.Contains(m.SigningAlgs, alg) {
			algs, keys.algs = append(algs, alg), append(keys.algs, jose.SignatureAlgorithm(alg))
		}
	}
	verifier := gooidc.NewVerifier(p.cfg.Issuer, keys, &gooidc.Config{
		ClientID: p.cfg.ClientID, SupportedSigningAlgs: algs,
		// go-oidc has no leeway for exp; a minute, as everywhere.
		Now: func() time.Time { return p.cfg.Now().Add(-verify.Leeway) },
	})
	token, err := verifier.Verify(ctx, raw)
	switch {
	case keys.trouble != nil:
		return nil, trouble("the identity provider's key set", keys.trouble)
	case err != nil:
		return nil, badResponse(invalid, errors.New(shorten(err.Error())))
	case subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1:
		return nil, &broker.Error{Code: broker.NonceMismatch, Message: "the identity provider's answer belongs to another login"}
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return nil, badResponse(invalid, errors.New("the claims are no JSON object"))
	}
	if err := checkTimes(claims, p.cfg.Now()); err != nil {
		return nil, badResponse("the identity provider's ID token was not issued just now; compare the clocks of both machines", err)
	}
	switch azp := claims["azp"]; {
	case text(claims["sub"]) == "":
		return nil, badResponse("the identity provider's ID token names nobody", nil)
	case azp != nil && text(azp) != p.cfg.ClientID, azp == nil && len(token.Audience) > 1:
		return nil, badResponse("the identity provider's ID token is for another client", nil)
	}
	return claims, nil
}

// checkTimes is strict on the types too: go-oidc reads exp from a string, and
// from a number that fits into no time.
func checkTimes(claims map[string]any, now time.Time) error {
	expires, hasExpires := moment(claims["exp"])
	issued, hasIssued := moment(claims["iat"])
	before, hasBefore := moment(claims["nbf"])
	switch {
	case !hasExpires || !hasIssued || !hasBefore && claims["nbf"] != nil:
		return errors.New("exp, iat or nbf is missing or not a number of seconds")
	case issued.After(now.Add(verify.Leeway)), issued.Before(now.Add(-maxTokenAge)), before.After(now.Add(verify.Leeway)),
		!expires.After(now.Add(-verify.Leeway)):
		return fmt.Errorf("issued at %s, which is %s from now", issued.Format(time.RFC3339), issued.Sub(now).Round(time.Second))
	}
	return nil
}

// shorten bounds what a library says of a token: it quotes from it.
func shorten(text string) string { return text[:min(len(text), 200)] }

// addUserinfo asks for what the ID token lacks. What cannot be had may be what
// somebody's role hangs on, so that a failure is one of the login.
func (p *Provider) addUserinfo(ctx context.Context, m *Metadata, token *oauth2.Token, claims map[string]any) error {
	names := p.cfg.Claims
	lacks := func(name string) bool { return lookup(claims, name) == nil }
	if m.UserinfoEndpoint == "" || !lacks(names.Username) && !lacks(names.Email) && !lacks(names.Groups) {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.UserinfoEndpoint, nil)
	if err != nil {
		return trouble("the identity provider's userinfo", err)
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	body, err := send(p.cfg.HTTPClient, req)
	if err == nil {
		err = merge(claims, body)
	}
	if err != nil {
		return trouble("the identity provider's userinfo", err)
	}
	return nil
}

// EndSessionURL implements broker.IdP (OIDC RP-Initiated Logout section 2). No
// token goes into the URL: the IdP knows its browser.
func (p *Provider) EndSessionURL(ctx context.Context, returnTo string) string {
	m, known := p.discovery.last(ctx)
	if !p.cfg.Logout || !known || m.EndSessionEndpoint == "" {
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
