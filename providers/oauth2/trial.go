package oauth2

import (
	"context"
	"sync"

	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// madeUp is a code that nobody has given, and a secret that nobody has.
const madeUp = "latchkey-asks-whether-this-client-is-known"

// Try implements broker.Trier. Without OpenID a provider says nothing of itself:
// there is the client alone to be tried.
func (p *Provider) Try(ctx context.Context, req broker.IdPRequest) []broker.TrialStep {
	authorize := func(prompt, redirectURI string) string {
		asked := req
		asked.RedirectURI = redirectURI
		options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(req.Verifier)}
		if prompt != "" {
			options = append(options, oauth2.SetAuthURLParam("prompt", prompt))
		}
		return p.oauth(asked).AuthCodeURL(req.State, options...)
	}
	exchange := func(ctx context.Context, secret string) error {
		with := p.oauth(req)
		with.ClientSecret = secret
		_, err := with.Exchange(context.WithValue(ctx, oauth2.HTTPClient, p.cfg.HTTPClient), madeUp, oauth2.VerifierOption(req.Verifier))
		return err
	}
	var redirect, secret broker.TrialStep
	var asked sync.WaitGroup
	asked.Go(func() { redirect = idp.TryRedirect(ctx, p.cfg.HTTPClient, authorize, req.RedirectURI) })
	asked.Go(func() {
		secret = idp.TrySecret(ctx, exchange, p.oauth(req).ClientSecret, madeUp, broker.FindingPublicClient)
	})
	asked.Wait()
	return []broker.TrialStep{redirect, secret}
}

var _ broker.Trier = (*Provider)(nil)
