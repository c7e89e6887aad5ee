package e2e

import (
	"context"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/storage"
)

// posing is an IdP that a trial finds everything at.
type posing struct{ *oidc.Provider }

// Try implements broker.Trier.
func (posing) Try(_ context.Context, req broker.IdPRequest) []broker.TrialStep {
	return []broker.TrialStep{
		broker.Found(broker.TrialDiscovery, broker.CheckPassed, broker.FindingDiscovery, "84"),
		broker.Found(broker.TrialIssuer, broker.CheckPassed, broker.FindingIssuer),
		broker.Found(broker.TrialPKCE, broker.CheckNote, broker.FindingNoPKCE),
		broker.Found(broker.TrialKeys, broker.CheckPassed, broker.FindingKeys, "2", "RS256, ES256"),
		broker.Found(broker.TrialClock, broker.CheckWarning, broker.FindingClockAhead, "95"),
		broker.Found(broker.TrialRedirect, broker.CheckFailed, broker.FindingNotRegistered, "400", req.RedirectURI),
		broker.Found(broker.TrialSecret, broker.CheckUnknown, broker.FindingSecretOpen),
	}
}

// addable lets providers be added on the pages.
func addable(c *broker.Config) {
	c.NewIdP = func(s broker.ProviderSettings, secret string, _ bool) broker.IdP {
		return posing{oidc.New(oidc.Config{Issuer: s.Issuer, ClientID: s.ClientID, ClientSecret: secret, Cache: c.Store.(*storage.Store), Now: c.Now})}
	}
}
