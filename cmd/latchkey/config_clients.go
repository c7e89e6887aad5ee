package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/latchkey-id/latchkey/broker"
)

// clientConfig is a client as the file names it: as RFC 7591 does.
type clientConfig struct {
	ID                      string    `yaml:"client_id"`
	Secret                  string    `yaml:"client_secret,omitempty"`
	SecretFile              string    `yaml:"client_secret_file,omitempty"`
	Name                    string    `yaml:"client_name,omitempty"`
	URI                     string    `yaml:"client_uri,omitempty"`
	LogoURI                 string    `yaml:"logo_uri,omitempty"`
	PolicyURI               string    `yaml:"policy_uri,omitempty"`
	TermsURI                string    `yaml:"tos_uri,omitempty"`
	Contacts                []string  `yaml:"contacts,omitempty"`
	SoftwareID              string    `yaml:"software_id,omitempty"`
	RedirectURIs            []string  `yaml:"redirect_uris"`
	PostLogoutRedirectURIs  []string  `yaml:"post_logout_redirect_uris,omitempty"`
	ApplicationType         string    `yaml:"application_type"`
	TokenEndpointAuthMethod string    `yaml:"token_endpoint_auth_method,omitempty"`
	GrantTypes              []string  `yaml:"grant_types"`
	ResponseTypes           []string  `yaml:"response_types"`
	Scope                   string    `yaml:"scope"`
	JWKS                    keySet    `yaml:"jwks,omitempty"`
	JWKSURI                 string    `yaml:"jwks_uri,omitempty"`
	IDTokenAlg              string    `yaml:"id_token_signed_response_alg,omitempty"`
	BackchannelLogoutURI    string    `yaml:"backchannel_logout_uri,omitempty"`
	ClaimsInIDToken         bool      `yaml:"claims_in_id_token,omitempty"`
	DPoPBound               bool      `yaml:"dpop_bound_access_tokens,omitempty"`
	RequirePAR              bool      `yaml:"require_pushed_authorization_requests,omitempty"`
	FirstParty              bool      `yaml:"first_party"`
	Providers               []string  `yaml:"providers,omitempty"`
	Resources               []string  `yaml:"resources,omitempty"`
	AllowedOrigins          []string  `yaml:"allowed_origins,omitempty"`
	AccessTTL               *duration `yaml:"access_ttl,omitempty"`
	RefreshTTL              *duration `yaml:"refresh_ttl,omitempty"`
	SessionMaxAge           *duration `yaml:"session_max_age,omitempty"`
	MaxUpstreamAge          *duration `yaml:"max_upstream_age,omitempty"`
}

const minClientSecretBytes = 16

// keySet is a key set that stands in the file, as a mapping or as JSON text.
type keySet []byte

// UnmarshalYAML writes it as JSON. Members of a key are text (RFC 7517 section
// 4), also where YAML would read a number or a date.
func (k *keySet) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*k = keySet(n.Value)
		return nil
	}
	raw, err := json.Marshal(jsonOf(n))
	*k = raw
	return err
}

func jsonOf(n *yaml.Node) any {
	switch n.Kind {
	case yaml.AliasNode:
		return jsonOf(n.Alias)
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, jsonOf(item))
		}
		return list
	case yaml.MappingNode:
		object := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			object[n.Content[i].Value] = jsonOf(n.Content[i+1])
		}
		return object
	}
	if n.Tag == "!!bool" {
		return n.Value == "true"
	}
	return n.Value
}

// MarshalYAML prints it as the mapping that it is.
func (k keySet) MarshalYAML() (any, error) {
	var tree any
	err := json.Unmarshal(k, &tree)
	return tree, err
}

// client is the client for the broker, not checked yet.
func (x *clientConfig) client() broker.Client {
	seconds := func(d *duration) int64 {
		if d == nil {
			return 0
		}
		return d.seconds()
	}
	c := broker.Client{
		ID: x.ID, Name: x.Name, URI: x.URI, LogoURI: x.LogoURI, PolicyURI: x.PolicyURI, TermsURI: x.TermsURI, Contacts: x.Contacts, SoftwareID: x.SoftwareID,
		RedirectURIs: x.RedirectURIs, PostLogoutRedirectURIs: x.PostLogoutRedirectURIs, ApplicationType: x.ApplicationType,
		TokenEndpointAuthMethod: x.TokenEndpointAuthMethod, GrantTypes: x.GrantTypes, ResponseTypes: x.ResponseTypes, Scope: x.Scope,
		JWKS: broker.RawJSON(x.JWKS), JWKSURI: x.JWKSURI, IDTokenAlg: x.IDTokenAlg, BackchannelLogoutURI: x.BackchannelLogoutURI,
		ClaimsInIDToken: x.ClaimsInIDToken, DPoPBound: x.DPoPBound, RequirePAR: x.RequirePAR, FirstParty: x.FirstParty, Providers: x.Providers, Resources: x.Resources,
		AllowedOrigins: x.AllowedOrigins, AccessTTL: seconds(x.AccessTTL), RefreshTTL: seconds(x.RefreshTTL),
		SessionMaxAge: seconds(x.SessionMaxAge), MaxUpstreamAge: seconds(x.MaxUpstreamAge), ReadOnly: true,
	}
	if x.Secret != "" {
		c.SecretHash = broker.HashClientSecret(x.Secret)
	}
	return c
}

// brokerClients are the clients of a configuration that was checked.
func (c *config) brokerClients() (out []broker.Client) {
	for i := range c.Clients {
		if client, err := broker.CheckClient(c.Clients[i].client()); err == nil {
			out = append(out, client)
		}
	}
	return out
}

func (c *config) checkClients(p *problems) {
	seen := map[string]bool{}
	for i := range c.Clients {
		x := &c.Clients[i]
		key := fmt.Sprintf("clients[%d]", i)
		if x.ID != "" {
			key = "clients." + x.ID
		}
		if seen[x.ID] && x.ID != "" {
			p.add(key+".client_id", "is used twice; give each client its own")
		}
		seen[x.ID] = true
		if x.ID == broker.AppClientID || x.ID == broker.CLIClientID {
			p.add(key+".client_id", "is the one of a built-in client; choose another")
		}
		checked := x.check(p, key)
		c.checkClientProviders(p, key+".providers", x.Providers)
		x.settle(checked)
	}
}

// check finds what is wrong with one client. What the broker fills in comes
// back.
func (x *clientConfig) check(p *problems, key string) broker.Client {
	c, err := broker.CheckClient(x.client())
	if refused, ok := errors.AsType[*broker.Error](err); ok {
		field, text, _ := strings.Cut(refused.Message, ": ") // it begins with the field
		p.add(key+"."+field, "%s", text)
	}
	for field, d := range map[string]*duration{"access_ttl": x.AccessTTL, "refresh_ttl": x.RefreshTTL, "session_max_age": x.SessionMaxAge} {
		if d != nil && (*d == 0 || time.Duration(*d)%time.Second != 0) {
			p.add(key+"."+field, "is %s, must be whole seconds; leave it out for the setting under tokens", *d)
		}
	}
	if d := x.MaxUpstreamAge; d != nil && (*d == 0 || time.Duration(*d)%time.Second != 0) {
		p.add(key+".max_upstream_age", "is %s, must be whole seconds; leave it out for no limit", *d)
	}
	x.checkSecret(p, key)
	return c
}

func (x *clientConfig) checkSecret(p *problems, key string) {
	switch method := x.TokenEndpointAuthMethod; {
	case method == broker.AuthNone && x.Secret != "", method == broker.AuthPrivateKeyJWT && x.Secret != "":
		p.add(key+".client_secret", "is of no use with token_endpoint_auth_method: %s; remove one of them", method)
	case method == broker.AuthNone, method == broker.AuthPrivateKeyJWT:
	case x.Secret == "" && x.SecretFile == "":
		p.add(key+".client_secret", "is needed, because the client is confidential: make one with: openssl rand -base64 32, "+
			"or, if the client can keep no secret (an app, a page), set token_endpoint_auth_method: none")
	case x.Secret != "" && len(x.Secret) < minClientSecretBytes:
		p.add(key+".client_secret", "has %d bytes, at least %d are needed; make one with: openssl rand -base64 32", len(x.Secret), minClientSecretBytes)
	}
}

func (c *config) checkClientProviders(p *problems, key string, named []string) {
	known := []broker.Provider{}
	for _, x := range c.Providers {
		known = append(known, broker.Provider{ProviderSettings: x.ProviderSettings})
	}
	if err := knownProviders(named, known); err != nil {
		p.add(key, "%v", err)
	}
	if len(named) > 0 && !c.LocalLogin && !slices.ContainsFunc(named, func(id string) bool { return id != localProvider }) {
		p.add(key, "is local alone, and local_login is false: nobody could log in; name a provider")
	}
}

// settle shows in `config print` what the broker filled in.
func (x *clientConfig) settle(c broker.Client) {
	x.ApplicationType, x.GrantTypes, x.ResponseTypes, x.Scope, x.RedirectURIs = c.ApplicationType, c.GrantTypes, c.ResponseTypes, c.Scope, c.RedirectURIs
	x.JWKS = keySet(bytes.TrimSpace(c.JWKS))
}
