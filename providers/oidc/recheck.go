package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// Recheck implements broker.IdP.
func (p *Provider) Recheck(ctx context.Context, token broker.UpstreamToken, by broker.RecheckBy) (broker.RecheckResult, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*idp.CallTimeout)
	defer cancel()
	m, err := p.recentMetadata(ctx)
	if err != nil {
		return broker.RecheckResult{Untouched: true}, err
	}
	proof, err := p.proof(ctx, m)
	if err != nil {
		return broker.RecheckResult{Untouched: true}, err
	}
	if by == broker.RecheckByIntrospection {
		return p.introspect(ctx, m, token, proof)
	}
	return p.refresh(ctx, m, token, proof)
}

// refresh uses the refresh token (RFC 6749 section 6, OIDC Core section 12).
func (p *Provider) refresh(ctx context.Context, m *Metadata, token broker.UpstreamToken, proof url.Values) (broker.RecheckResult, error) {
	sent := false
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }})
	fresh, err := p.sendRefresh(traced, m, token, proof)
	if err != nil {
		return refreshError(err, sent, token.Reveal(), p.cfg.ClientSecret, proof.Get(clientAssertion))
	}
	r := broker.RecheckResult{State: broker.UpstreamAlive}
	if fresh.RefreshToken != token.Reveal() {
		r.Token = broker.UpstreamToken(fresh.RefreshToken)
	}
	raw, has := fresh.Extra("id_token").(string)
	if !has || raw == "" {
		return r, nil // it is optional (OIDC Core section 12.2)
	}
	// A nonce, if any, is the one of the login, which nobody keeps.
	claims, err := p.verifyIDToken(ctx, m, raw, func(string) bool { return true })
	if err != nil {
		return broker.RecheckResult{Token: r.Token}, err
	}
	r.Subject = idp.Text(claims["sub"])
	return r, nil
}

// sendRefresh is the request of oauth2.Config.TokenSource, which takes no
// parameters beside its own; clientcredentials lets grant_type be another.
func (p *Provider) sendRefresh(ctx context.Context, m *Metadata, token broker.UpstreamToken, proof url.Values) (*oauth2.Token, error) {
	c := p.oauth(m, broker.IdPRequest{})
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.Reveal()}}
	maps.Copy(form, proof)
	grant := clientcredentials.Config{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret, TokenURL: c.Endpoint.TokenURL, AuthStyle: c.Endpoint.AuthStyle, EndpointParams: form,
	}
	return grant.Token(p.client(ctx))
}

// refreshError tells the one answer that ends a login from all that say nothing
// about it. The client's own credentials being refused is of the second kind: a
// secret that was changed at the IdP is nobody's logout.
func refreshError(err error, sent bool, secrets ...string) (broker.RecheckResult, error) {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return broker.RecheckResult{Untouched: !sent}, idp.ExchangeError(err, secrets...)
	}
	status := refused.Response.StatusCode
	isRefusal := status >= 400 && status < 500 && status != http.StatusTooManyRequests && refused.ErrorCode != ""
	if isRefusal && refused.ErrorCode == string(broker.InvalidGrant) {
		return broker.RecheckResult{State: broker.UpstreamEnded}, nil
	}
	return broker.RecheckResult{Untouched: isRefusal || status == http.StatusTooManyRequests}, idp.ExchangeError(err, secrets...)
}

// introspect asks about the refresh token (RFC 7662), which stays as it is.
func (p *Provider) introspect(ctx context.Context, m *Metadata, token broker.UpstreamToken, proof url.Values) (broker.RecheckResult, error) {
	const what = "the identity provider's introspection"
	unknown := broker.RecheckResult{Untouched: true}
	if m.IntrospectionEndpoint == "" {
		return unknown, idp.BadResponse("the identity provider has no introspection_endpoint; remove recheck_by", nil)
	}
	c := p.oauth(m, broker.IdPRequest{})
	form := url.Values{"token": {token.Reveal()}, "token_type_hint": {"refresh_token"}}
	if c.Endpoint.AuthStyle == oauth2.AuthStyleInParams {
		form.Set("client_id", c.ClientID)
		if c.ClientSecret != "" {
			form.Set("client_secret", c.ClientSecret)
		}
	}
	maps.Copy(form, proof)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.IntrospectionEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return unknown, idp.Trouble(what, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.Endpoint.AuthStyle == oauth2.AuthStyleInHeader {
		req.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret))
	}
	body, _, err := idp.Send(p.cfg.HTTPClient, req, idp.MaxDocument)
	if err != nil {
		return unknown, idp.Trouble(what, err)
	}
	var said struct {
		Active  *bool  `json:"active"`
		Subject string `json:"sub"`
	}
	if err := json.Unmarshal(body, &said); err != nil || said.Active == nil {
		return unknown, idp.BadResponse(what+" is not valid", errors.New("active is missing, or not a boolean"))
	}
	if !*said.Active {
		return broker.RecheckResult{State: broker.UpstreamEnded}, nil
	}
	return broker.RecheckResult{State: broker.UpstreamAlive, Subject: said.Subject}, nil
}
