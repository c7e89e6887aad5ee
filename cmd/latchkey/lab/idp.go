package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey-id/latchkey/providers/providertest"
)

// Lies are what the identity provider does wrong.
type Lies struct {
	// Down: whoever connects is cut off.
	Down bool `yaml:"down"`
	// Stall names endpoints that never answer.
	Stall []string `yaml:"stall"`
	// Clock is by how much its clock is ahead of Latchkey's.
	Clock Duration `yaml:"clock"`
	// RotateKeys: it signs with new keys, and the old ones are gone.
	RotateKeys bool `yaml:"rotate_keys"`

	// Sign is how ID tokens are signed: RS256, ES256, none, or HS256 with what is
	// no secret.
	Sign string `yaml:"sign"`
	// UnknownKey: the signature is by a key that nobody was told of.
	UnknownKey bool `yaml:"unknown_key"`
	// Header and Claims of ID tokens win over the true ones: alg, kid; iss, aud, sub,
	// nonce, azp, at_hash and any other.
	Header Patch `yaml:"header"`
	Claims Patch `yaml:"claims"`
	// Times are claims (exp, iat, nbf, auth_time), counted from now.
	Times map[string]Duration `yaml:"times"`

	// What the endpoints answer when they succeed.
	Discovery Patch `yaml:"discovery"`
	JWKS      Patch `yaml:"jwks"`
	Token     Patch `yaml:"token"`
	Userinfo  Patch `yaml:"userinfo"`
}

var (
	endpoints = []string{
		providertest.EndpointDiscovery, providertest.EndpointJWKS, providertest.EndpointAuthorize, providertest.EndpointToken,
		providertest.EndpointUserinfo, providertest.EndpointEndSession, providertest.EndpointIntrospect,
	}
	signatures = []string{
		providertest.AlgRS256, providertest.AlgES256, "none", providertest.AlgHS256PublicPEM, providertest.AlgHS256PublicDER,
		providertest.AlgHS256PublicJWK, providertest.AlgHS256ClientSecret,
	}
	timeClaims = []string{"exp", "iat", "nbf", "auth_time"}
)

func (l Lies) check() error {
	for _, name := range l.Stall {
		if !slices.Contains(endpoints, name) {
			return fmt.Errorf("stall: %q is none of %s", name, strings.Join(endpoints, ", "))
		}
	}
	if l.Sign != "" && !slices.Contains(signatures, l.Sign) {
		return fmt.Errorf("sign: %q is none of %s", l.Sign, strings.Join(signatures, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(l.Times)) {
		if !slices.Contains(timeClaims, name) {
			return fmt.Errorf("times: %q is none of %s", name, strings.Join(timeClaims, ", "))
		}
	}
	return nil
}

func (l Lies) any() bool { return l.Down || len(l.tellers()) > 0 }

// tellers are the endpoints that tell the lies. What is signed comes from one alone.
func (l Lies) tellers() []string {
	signed := l.Clock != 0 || l.RotateKeys || l.Sign != "" || l.UnknownKey || len(l.Header)+len(l.Claims)+len(l.Times) > 0
	out := slices.Clone(l.Stall)
	for name, lies := range map[string]bool{
		providertest.EndpointDiscovery: len(l.Discovery) > 0, providertest.EndpointJWKS: len(l.JWKS) > 0,
		providertest.EndpointToken: signed || len(l.Token) > 0, providertest.EndpointUserinfo: len(l.Userinfo) > 0,
	} {
		if lies {
			out = append(out, name)
		}
	}
	return out
}

// asked is how often those were asked so far, whatever they said.
func (l Lies) asked(p *providertest.IdP) (times int) {
	for _, name := range l.tellers() {
		times += p.Count(name)
	}
	return times
}

// tell lets the provider lie so from now; the zero value makes it honest.
func (l Lies) tell(p *providertest.IdP, clock *Clock) {
	clock.setIdP(l.Clock.span())
	p.SetDown(l.Down)
	if l.RotateKeys {
		p.RotateKey()
	}
	header := map[string]any{}
	for name, member := range l.Header {
		header[name] = merge(nil, member) // the true ones are texts
	}
	p.Script(func(s *providertest.Script) {
		*s = providertest.Script{
			SignAlg: l.Sign, SignWithUnknownKey: l.UnknownKey,
			IDTokenHeader: header, Respond: map[string]providertest.Responder{},
			EditDiscovery: l.Discovery.edit, EditJWKS: l.JWKS.edit, EditTokenAnswer: l.Token.edit, EditUserinfo: l.Userinfo.edit,
			EditIDToken: func(claims map[string]any) {
				l.Claims.edit(claims)
				for name, from := range l.Times {
					claims[name] = clock.IdPNow().Add(from.span()).Unix()
				}
			},
		}
		for _, name := range l.Stall {
			s.Respond[name] = providertest.Stall
		}
	})
}
