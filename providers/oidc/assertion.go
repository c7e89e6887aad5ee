package oidc

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
	"github.com/latchkey-id/latchkey/tokens"
)

// Signer makes an assertion that proves the client to that audience, signed with
// that algorithm (RFC 7523 section 2.2). Its errors are those of the broker.
type Signer func(ctx context.Context, clientID, audience, algorithm string) (tokens.ClientAssertion, error)

// assertionAlgs are what an assertion may be signed with, the likeliest to be
// taken first: RS256 is what servers expect of a client that registered none.
var assertionAlgs = []string{"RS256", "ES256", "EdDSA"}

// proof is what a request carries in its form in place of a secret: nothing
// unless private_key_jwt is configured, and never the same twice, because an IdP
// takes an assertion once.
//
// Its audience is the issuer, at every endpoint (RFC 7523bis). The
// metadata of a malicious IdP may name the token endpoint of another one, and
// would get from us what that one takes for a proof; the issuer is what the
// administrator wrote.
func (p *Provider) proof(ctx context.Context, m *Metadata) (url.Values, error) {
	if p.cfg.TokenEndpointAuth != broker.AuthPrivateKeyJWT {
		return nil, nil
	}
	alg, err := assertionAlg(m.AssertionAlgs)
	if err != nil {
		return nil, err
	}
	assertion, err := p.cfg.Assertion(ctx, p.cfg.ClientID, p.cfg.Issuer, alg)
	if err != nil {
		return nil, err
	}
	return url.Values{"client_assertion_type": {broker.AssertionTypeJWT}, clientAssertion: {assertion.Reveal()}}, nil
}

const clientAssertion = "client_assertion"

// assertionAlg picks one of those that the IdP lists; where it lists none, the
// standard's RS256.
func assertionAlg(listed []string) (string, error) {
	for _, alg := range assertionAlgs {
		if len(listed) == 0 || slices.Contains(listed, alg) {
			return alg, nil
		}
	}
	return "", idp.BadResponse(fmt.Sprintf("the identity provider takes no assertion that is signed with one of %v; use a client_secret", assertionAlgs), nil)
}

// proofOptions are the parameters of a proof as x/oauth2 takes them.
func proofOptions(proof url.Values) (out []oauth2.AuthCodeOption) {
	for name := range proof {
		out = append(out, oauth2.SetAuthURLParam(name, proof.Get(name)))
	}
	return out
}
