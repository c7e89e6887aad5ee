// Package oidc asks OpenID providers who somebody is: authorization code with
// PKCE and nonce, over go-oidc and x/oauth2. Discovery is lazy, bounded and
// kept in the database, so that Latchkey starts, serves local logins and
// refreshes with every IdP dark, and heals without a restart.
package oidc

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
	"github.com/latchkey-id/latchkey/providers/internal/outbound"
)

// Config describes one OpenID provider.
type Config struct {
	Issuer       string
	ClientID     string
	ClientSecret string
	Scopes       []string // empty: openid profile email
	// TokenEndpointAuth is auto, client_secret_basic, client_secret_post,
	// private_key_jwt or none.
	TokenEndpointAuth string
	Assertion         Signer // needed for private_key_jwt
	Claims            ClaimNames
	Logout            bool // end the IdP's session too
	// Offline asks the IdP for refresh tokens, with which its logins are checked
	// again.
	Offline bool
	// ExchangeAudiences are the client ids of apps that log in at the IdP by
	// themselves (a native SDK) and whose ID tokens are accepted for it.
	// Empty: none are.
	ExchangeAudiences []string

	HTTPClient *http.Client // nil: one that reaches the issuer's own host and public addresses
	Cache      Cache        // nil: nothing survives a restart
	Now        func() time.Time
}

// Provider implements broker.IdP.
type Provider struct {
	cfg       Config
	discovery *document[*Metadata]
	keys      *document[[]jose.JSONWebKey]
	consent   atomic.Int32 // whether prompt=consent is what gives refresh tokens

	consentAsked atomic.Pointer[string] // the state of the latest login that asked for it
}

// New returns a provider. It asks nothing of the IdP yet.
func New(cfg Config) *Provider {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = outbound.For(idp.Limits, cfg.Issuer)
	}
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{gooidc.ScopeOpenID, "profile", "email"}
	}
	cfg.Claims = cfg.Claims.WithDefaults()
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
	options := []oauth2.AuthCodeOption{gooidc.Nonce(req.Nonce), oauth2.S256ChallengeOption(req.Verifier)}
	prompt, offline := p.askOffline(p.prompt(req.Prompt), req.State)
	options = append(options, offline...)
	if prompt != "" {
		options = append(options, oauth2.SetAuthURLParam("prompt", prompt))
	}
	if req.MaxAge != nil {
		options = append(options, oauth2.SetAuthURLParam("max_age", strconv.FormatInt(*req.MaxAge, 10)))
	}
	if req.LoginHint != "" {
		options = append(options, oauth2.SetAuthURLParam("login_hint", req.LoginHint))
	}
	return p.oauth(m, req).AuthCodeURL(req.State, options...), nil
}

// prompt is what the provider knows of what it is asked: Google has no login, and
// lets people choose an account.
func (p *Provider) prompt(asked string) string {
	if p.cfg.Issuer == google {
		return strings.ReplaceAll(asked, "login", "select_account")
	}
	return asked
}

func (p *Provider) oauth(m *Metadata, req broker.IdPRequest) *oauth2.Config {
	style, secret := idp.AuthStyle(p.cfg.TokenEndpointAuth, p.cfg.ClientSecret, m.TokenAuthMethods)
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: secret, RedirectURL: req.RedirectURI, Scopes: p.scopes(m),
		Endpoint: oauth2.Endpoint{AuthURL: m.AuthorizationEndpoint, TokenURL: m.TokenEndpoint, AuthStyle: style},
	}
}

// Exchange implements broker.IdP.
func (p *Provider) Exchange(ctx context.Context, req broker.IdPRequest, res broker.IdPResponse) (broker.IdPClaims, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*idp.CallTimeout)
	defer cancel()
	m, err := p.recentMetadata(ctx)
	if err != nil {
		return broker.IdPClaims{}, err
	}
	// RFC 9207: before the code goes anywhere.
	if res.Issuer != "" && res.Issuer != p.cfg.Issuer || res.Issuer == "" && m.IssParameter {
		return broker.IdPClaims{}, &broker.Error{Code: broker.IssuerMismatch, Message: "the answer is not from the identity provider that was asked"}
	}
	proof, err := p.proof(ctx, m)
	if err != nil {
		return broker.IdPClaims{}, err
	}
	token, err := p.oauth(m, req).Exchange(p.client(ctx), res.Code, append(proofOptions(proof), oauth2.VerifierOption(req.Verifier))...)
	if err != nil {
		return broker.IdPClaims{}, idp.ExchangeError(err, res.Code, req.Verifier, p.cfg.ClientSecret, proof.Get(clientAssertion))
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok || raw == "" || len(raw) > idp.MaxAnswer {
		return broker.IdPClaims{}, idp.BadResponse("the identity provider sent no ID token", nil)
	}
	claims, err := p.verify(ctx, m, raw, req.Nonce)
	if err != nil {
		return broker.IdPClaims{}, err
	}
	if err := p.addUserinfo(ctx, m, token, claims); err != nil {
		return broker.IdPClaims{}, err
	}
	out := read(p.cfg.Claims, p.cfg.Issuer, claims)
	if p.cfg.Offline {
		out.RefreshToken = broker.UpstreamToken(token.RefreshToken)
		p.learnConsent(req.State, token.RefreshToken != "")
	}
	return out, nil
}

func (p *Provider) client(ctx context.Context) context.Context {
	return gooidc.ClientContext(ctx, p.cfg.HTTPClient)
}

// addUserinfo asks for what the ID token lacks. What cannot be had may be what
// somebody's role hangs on, so that a failure is one of the login.
func (p *Provider) addUserinfo(ctx context.Context, m *Metadata, token *oauth2.Token, claims map[string]any) error {
	names := p.cfg.Claims
	lacks := func(name string) bool { return idp.Lookup(claims, name) == nil }
	if m.UserinfoEndpoint == "" || !lacks(names.Username) && !lacks(names.Email) && !lacks(names.Groups) &&
		(names.Permissions == "" || !lacks(names.Permissions)) {
		return nil
	}
	if err := idp.CheckBearer(token); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.UserinfoEndpoint, nil)
	if err != nil {
		return idp.Trouble("the identity provider's userinfo", err)
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	body, _, err := idp.Send(p.cfg.HTTPClient, req, idp.MaxDocument)
	if err == nil {
		err = merge(claims, body)
	}
	if err != nil {
		return idp.Trouble("the identity provider's userinfo", err)
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
