package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"

	"github.com/latchkey-id/latchkey/broker"
)

// The clients of the provider: an app that people log in to, and an API that
// asks about the app's tokens.
const (
	appID              = "benchmark-app"
	apiID              = "benchmark-api"
	clientSecret       = "lks_the-secret-of-the-clients-of-the-benchmark"
	redirectURI        = "https://app.example.org/callback"
	redirectURIEncoded = "https%3A%2F%2Fapp.example.org%2Fcallback"
	codeVerifier       = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	fullScope          = "openid profile email groups"
	noIDScope          = "profile email groups"
)

var appBasic, apiBasic = basic(appID), basic(apiID)

func basic(clientID string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(clientID+":"+clientSecret))
}

func oauthClients() ([]broker.Client, error) {
	clients := []broker.Client{
		{ID: appID, Name: "App", FirstParty: true, RedirectURIs: []string{redirectURI}, TokenEndpointAuthMethod: broker.AuthBasic, Scope: fullScope},
		{ID: apiID, Name: "API", GrantTypes: []string{broker.GrantClientCredentials}, TokenEndpointAuthMethod: broker.AuthBasic, Scope: broker.ScopeIntrospect},
	}
	for i := range clients {
		c, err := broker.CheckClient(clients[i])
		if err != nil {
			return nil, err
		}
		c.SecretHash, c.ReadOnly = broker.HashClientSecret(clientSecret), true
		clients[i] = c
	}
	return clients, nil
}

// grants are the codes, and each worker's sessions of the app: one without the
// scope openid and one with it.
type grants struct {
	codes     stock
	withoutID [maxWorkers]string // the refresh tokens that the workers carry
	withID    [maxWorkers]string
	access    [maxWorkers]string
	session   [maxWorkers]string // of access
}

// loginClients gives the workers their sessions through the token endpoint.
func (p *product) loginClients(ctx context.Context) error {
	g := &p.grants
	g.codes = stock{store: p.store, clientID: appID, scope: fullScope, name: "p"}
	first := stock{store: p.store, clientID: appID, scope: fullScope, name: "w"}
	plain := stock{store: p.store, clientID: appID, scope: noIDScope, name: "x"}
	for i := range maxWorkers {
		for _, x := range []struct {
			codes   *stock
			refresh *string
		}{{&first, &g.withID[i]}, {&plain, &g.withoutID[i]}} {
			body, err := p.exchange(ctx, x.codes)
			if err != nil {
				return err
			}
			if hasID := bytes.Contains(body, []byte(`"id_token":"`)); hasID != (x.codes == &first) {
				return fmt.Errorf("scope %q: ID token: %t", x.codes.scope, hasID)
			}
			*x.refresh = field(body, `"refresh_token":"`)
			if x.codes == &first {
				g.access[i], g.session[i] = field(body, `"access_token":"`), field(body, `"session_id":"`)
			}
		}
	}
	return nil
}

// exchange is the answer to one exchange.
func (p *product) exchange(ctx context.Context, codes *stock) ([]byte, error) {
	if err := codes.fill(ctx, maxWorkers); err != nil {
		return nil, err
	}
	c, err := codes.take()
	if err != nil {
		return nil, err
	}
	return answerOf(p.address, codeRequest(p.address, c))
}

// tokenRefreshing is POST /oauth2/token with refresh tokens.
func (p *product) tokenRefreshing(carried *[maxWorkers]string) load {
	return func(worker int) (step, end func() error, err error) {
		return p.carrying(&carried[worker], func(body []byte) string { return field(body, `"refresh_token":"`) }, func(token string) []byte {
			return formRequest("/oauth2/token", p.address, "grant_type=refresh_token&refresh_token="+token, "Authorization", appBasic)
		})
	}
}

func (p *product) introspecting(worker int) (step, end func() error, err error) {
	return fixed(p.address, p.introspectRequest(p.address, worker), http.StatusOK, `"active":true`)
}

func (p *product) introspectRequest(host string, worker int) []byte {
	return formRequest("/oauth2/introspect", host, "token="+p.grants.access[worker], "Authorization", apiBasic, "X-Session", p.grants.session[worker])
}

func (p *product) userinfo(worker int) (step, end func() error, err error) {
	return fixed(p.address, p.userinfoRequest(p.address, worker), http.StatusOK, `"sub":"`)
}

func (p *product) userinfoRequest(host string, worker int) []byte {
	return request("GET", "/oauth2/userinfo", host, "Authorization", "Bearer "+p.grants.access[worker], "X-Session", p.grants.session[worker])
}

const discoveryPath = "/.well-known/openid-configuration"

func (p *product) discovery(int) (step, end func() error, err error) {
	return fixed(p.address, request("GET", discoveryPath, p.address), http.StatusOK)
}

// oauthPairs are the endpoints of the OpenID provider.
func oauthPairs(d database, p *product, c *ceiling) []pair {
	return []pair{
		{part: "code", name: "code exchange, " + d.name, product: p.exchanging(p.address, &p.grants.codes), ceiling: p.exchanging(c.address, &c.codes), goal: 0.50},
		{part: "token", name: "token refresh beside /auth/refresh, " + d.name, product: p.tokenRefreshing(&p.grants.withoutID), ceiling: p.refreshing, slower: 1.15},
		{part: "token", name: "the same with an ID token, " + d.name, product: p.tokenRefreshing(&p.grants.withID), ceiling: p.refreshing},
		{part: "introspect", name: "introspection, " + d.name, product: p.introspecting, ceiling: c.introspecting, goal: 0.60},
		{part: "userinfo", name: "userinfo, " + d.name, product: p.userinfo, ceiling: c.userinfo},
		{part: "discovery", name: "discovery", product: p.discovery, ceiling: c.discovery, goal: 0.75, once: true},
	}
}
