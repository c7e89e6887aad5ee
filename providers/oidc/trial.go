package oidc

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
)

// madeUp is a code that no IdP has given, and a secret that nobody has.
const madeUp = "latchkey-asks-whether-this-client-is-known"

// clockDifference is how far two clocks may be apart before it is worth a word.
const clockDifference = 30 * time.Second

// promised are parts of the metadata that only a trial looks at (RFC 8414
// section 2, OIDC Back-Channel Logout section 2).
type promised struct {
	ResponseTypes    []string `json:"response_types_supported"`
	ChallengeMethods []string `json:"code_challenge_methods_supported"`
	Backchannel      bool     `json:"backchannel_logout_supported"`
}

// Try implements broker.Trier. Nothing that it reads is kept.
func (p *Provider) Try(ctx context.Context, req broker.IdPRequest) []broker.TrialStep {
	target, begun := discoveryURL(p.cfg.Issuer), p.cfg.Now()
	got, failed := idp.LookDocument(ctx, p.cfg.HTTPClient, broker.TrialDiscovery, target)
	if failed != nil {
		return []broker.TrialStep{*failed}
	}
	took := p.cfg.Now().Sub(begun)
	var m Metadata
	var also promised
	if json.Unmarshal(got.Body, &m) != nil || json.Unmarshal(got.Body, &also) != nil {
		return []broker.TrialStep{broker.Found(broker.TrialDiscovery, broker.CheckFailed, broker.FindingNotJSON, target)}
	}
	if field := m.lacks(p.cfg.Issuer); field != "" {
		return []broker.TrialStep{broker.Found(broker.TrialDiscovery, broker.CheckFailed, broker.FindingLacks, field), p.tryIssuer(&m)}
	}
	out := []broker.TrialStep{broker.Found(broker.TrialDiscovery, broker.CheckPassed, broker.FindingDiscovery, strconv.FormatInt(took.Milliseconds(), 10))}
	out = append(out, p.tryIssuer(&m), tryClock(got.Header, begun.Add(took/2)))
	out = append(out, p.tryAbilities(&m, also)...)
	if m.Issuer != p.cfg.Issuer {
		return out // it is another's: it gets no secret
	}
	var keys, redirect, secret broker.TrialStep
	var asked sync.WaitGroup
	asked.Go(func() { keys = p.tryKeys(ctx, &m) })
	asked.Go(func() { redirect = p.tryRedirect(ctx, &m, req) })
	asked.Go(func() { secret = p.trySecret(ctx, &m, req) })
	asked.Wait()
	return append(out, keys, redirect, secret)
}

func (p *Provider) tryIssuer(m *Metadata) broker.TrialStep {
	if m.Issuer == p.cfg.Issuer {
		return broker.Found(broker.TrialIssuer, broker.CheckPassed, broker.FindingIssuer)
	}
	return broker.Found(broker.TrialIssuer, broker.CheckFailed, broker.FindingOtherIssuer, m.Issuer, p.cfg.Issuer)
}

// tryAbilities looks at what the metadata promises. A list that is not there
// promises nothing, and forbids nothing.
func (p *Provider) tryAbilities(m *Metadata, also promised) []broker.TrialStep {
	pick := func(step string, good bool, yes broker.Finding, result string, no broker.Finding, values ...string) broker.TrialStep {
		if good {
			return broker.Found(step, broker.CheckPassed, yes)
		}
		return broker.Found(step, result, no, values...)
	}
	noLogout := broker.CheckNote
	if p.cfg.Logout {
		noLogout = broker.CheckWarning
	}
	return []broker.TrialStep{
		pick(broker.TrialFlow, len(also.ResponseTypes) == 0 || slices.Contains(also.ResponseTypes, "code"), broker.FindingFlow,
			broker.CheckFailed, broker.FindingNoFlow, strings.Join(also.ResponseTypes, ", ")),
		pick(broker.TrialPKCE, slices.Contains(also.ChallengeMethods, "S256"), broker.FindingPKCE, broker.CheckNote, broker.FindingNoPKCE),
		p.tryAuth(m), p.tryScopes(m),
		pick(broker.TrialEndSession, m.EndSessionEndpoint != "", broker.FindingEndSession, noLogout, broker.FindingNoEndSession),
		pick(broker.TrialBackchannel, also.Backchannel, broker.FindingBackchannel, broker.CheckNote, broker.FindingNoBackchannel),
	}
}

func (p *Provider) tryAuth(m *Metadata) broker.TrialStep {
	method := p.cfg.TokenEndpointAuth
	if method != broker.AuthPrivateKeyJWT {
		switch style, sent := idp.AuthStyle(method, p.cfg.ClientSecret, m.TokenAuthMethods); {
		case sent == "":
			method = broker.AuthNone
		case style == oauth2.AuthStyleInHeader:
			method = broker.AuthBasic
		default:
			method = broker.AuthPost
		}
	}
	if len(m.TokenAuthMethods) > 0 && !slices.Contains(m.TokenAuthMethods, method) {
		return broker.Found(broker.TrialAuth, broker.CheckWarning, broker.FindingOtherAuth, method, strings.Join(m.TokenAuthMethods, ", "))
	}
	return broker.Found(broker.TrialAuth, broker.CheckPassed, broker.FindingAuth, method)
}

func (p *Provider) tryScopes(m *Metadata) broker.TrialStep {
	if len(m.Scopes) == 0 {
		return broker.Found(broker.TrialScopes, broker.CheckNote, broker.FindingScopesUnsaid)
	}
	unlisted := slices.DeleteFunc(slices.Clone(p.scopes(m)), func(scope string) bool { return slices.Contains(m.Scopes, scope) })
	if len(unlisted) > 0 {
		return broker.Found(broker.TrialScopes, broker.CheckWarning, broker.FindingScopesUnlisted, strings.Join(unlisted, ", "))
	}
	return broker.Found(broker.TrialScopes, broker.CheckPassed, broker.FindingScopes)
}

// tryClock compares our clock, when the answer was made, with what it says (RFC
// 9110 section 6.6.1).
func tryClock(header http.Header, ours time.Time) broker.TrialStep {
	theirs, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return broker.Found(broker.TrialClock, broker.CheckNote, broker.FindingClockUnsaid)
	}
	ahead := theirs.Sub(ours)
	seconds := strconv.FormatInt(int64(ahead.Abs()/time.Second), 10)
	switch {
	case ahead > clockDifference:
		return broker.Found(broker.TrialClock, broker.CheckWarning, broker.FindingClockAhead, seconds)
	case ahead < -clockDifference:
		return broker.Found(broker.TrialClock, broker.CheckWarning, broker.FindingClockBehind, seconds)
	}
	return broker.Found(broker.TrialClock, broker.CheckPassed, broker.FindingClock)
}

func (p *Provider) tryKeys(ctx context.Context, m *Metadata) broker.TrialStep {
	algs := slices.DeleteFunc(slices.Clone(m.SigningAlgs), func(alg string) bool { return !slices.Contains(signingAlgs, alg) })
	if len(m.SigningAlgs) > 0 && len(algs) == 0 {
		return broker.Found(broker.TrialKeys, broker.CheckFailed, broker.FindingOtherAlgorithms, strings.Join(m.SigningAlgs, ", "))
	}
	got, failed := idp.LookDocument(ctx, p.cfg.HTTPClient, broker.TrialKeys, m.JWKSURI)
	if failed != nil {
		return *failed
	}
	keys, err := parseKeys(got.Body)
	if err != nil {
		return broker.Found(broker.TrialKeys, broker.CheckFailed, broker.FindingNoKeys)
	}
	if len(algs) == 0 {
		algs = []string{"RS256"} // which everybody has to know (OIDC Core section 15.1)
	}
	return broker.Found(broker.TrialKeys, broker.CheckPassed, broker.FindingKeys, strconv.Itoa(len(keys)), strings.Join(algs, ", "))
}

func (p *Provider) tryRedirect(ctx context.Context, m *Metadata, req broker.IdPRequest) broker.TrialStep {
	authorize := func(prompt, redirectURI string) string {
		asked := req
		asked.RedirectURI = redirectURI
		options := []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("nonce", req.Nonce), oauth2.S256ChallengeOption(req.Verifier)}
		if prompt != "" {
			options = append(options, oauth2.SetAuthURLParam("prompt", prompt))
		}
		return p.oauth(m, asked).AuthCodeURL(req.State, options...)
	}
	return idp.TryRedirect(ctx, p.cfg.HTTPClient, authorize, req.RedirectURI)
}

func (p *Provider) trySecret(ctx context.Context, m *Metadata, req broker.IdPRequest) broker.TrialStep {
	sent, taken := p.oauth(m, req).ClientSecret, broker.FindingPublicClient
	if p.cfg.TokenEndpointAuth == broker.AuthPrivateKeyJWT {
		taken = broker.FindingAssertion
	}
	exchange := func(ctx context.Context, secret string) error {
		proof, err := p.proof(ctx, m)
		if err != nil {
			return err
		}
		with := p.oauth(m, req)
		with.ClientSecret = secret
		_, err = with.Exchange(p.client(ctx), madeUp, append(proofOptions(proof), oauth2.VerifierOption(req.Verifier))...)
		return err
	}
	return idp.TrySecret(ctx, exchange, sent, madeUp, taken)
}

var _ broker.Trier = (*Provider)(nil)
