package oidc

import (
	"slices"
	"strings"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// google gives refresh tokens by parameters of its own in place of the scope
// offline_access, and again only after consent.
const google = "https://accounts.google.com"

// What is known of prompt=consent, which OIDC Core section 11 wants with
// offline_access: most IdPs do without, and with some it stands in the way of
// every login. So it is asked for where a login without it gave no refresh
// token, and no more where it did not help a login that asked for it.
const (
	consentUntried int32 = iota
	consentTried
	consentUseless
)

// scopes are those that are configured, with offline_access (OIDC Core section
// 11) where it is needed and the IdP knows it.
func (p *Provider) scopes(m *Metadata) []string {
	if !p.cfg.Offline || slices.Contains(p.cfg.Scopes, gooidc.ScopeOfflineAccess) || !slices.Contains(m.Scopes, gooidc.ScopeOfflineAccess) {
		return p.cfg.Scopes
	}
	return append(slices.Clip(p.cfg.Scopes), gooidc.ScopeOfflineAccess)
}

// askOffline is what an authorization request says beyond the scope to get a
// refresh token.
func (p *Provider) askOffline(prompt, state string) (string, []oauth2.AuthCodeOption) {
	isGoogle := p.cfg.Issuer == google
	if !p.cfg.Offline || !isGoogle && p.consent.Load() != consentTried {
		return prompt, nil
	}
	if !slices.Contains(strings.Fields(prompt), "consent") {
		prompt = strings.TrimSpace(prompt + " consent")
	}
	if isGoogle {
		return prompt, []oauth2.AuthCodeOption{oauth2.AccessTypeOffline}
	}
	p.consentAsked.Store(&state)
	return prompt, nil
}

// learnConsent remembers what a login says of prompt=consent. That it is useless
// is said by the latest login that asked for it alone: others may have begun
// before, or at another replica.
func (p *Provider) learnConsent(state string, gaveToken bool) {
	if gaveToken || p.consent.CompareAndSwap(consentUntried, consentTried) {
		return
	}
	if asked := p.consentAsked.Load(); asked != nil && *asked == state {
		p.consent.CompareAndSwap(consentTried, consentUseless)
	}
}
