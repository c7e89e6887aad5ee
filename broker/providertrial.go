package broker

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Trier is an [IdP] that can be tried without anybody logging in.
type Trier interface {
	// Try asks what a login would ask, with a code that was made up, and returns a
	// step for each thing that it looked at. It follows no redirect, and no secret
	// is in what it returns; what the IdP says may be anything.
	Try(ctx context.Context, req IdPRequest) []TrialStep
}

// Results of a [TrialStep], besides [CheckPassed], [CheckFailed] and [CheckUnknown].
const (
	CheckWarning = "warning" // it may be the reason of trouble
	CheckNote    = "note"    // nothing is wrong, but something is not there
)

// What a [TrialStep] looks at.
const (
	TrialSettings    = "settings"
	TrialDiscovery   = "discovery"
	TrialIssuer      = "issuer"
	TrialFlow        = "code_flow"
	TrialPKCE        = "pkce"
	TrialAuth        = "token_auth"
	TrialScopes      = "scopes"
	TrialKeys        = "keys"
	TrialClock       = "clock"
	TrialEndSession  = "end_session"
	TrialBackchannel = "backchannel_logout"
	TrialRedirect    = "redirect_uri"
	TrialSecret      = "client_secret"
)

// TrialSteps are all things that are looked at, in the order of the results.
var TrialSteps = []string{
	TrialSettings, TrialDiscovery, TrialIssuer, TrialFlow, TrialPKCE, TrialAuth, TrialScopes, TrialKeys, TrialClock, TrialEndSession, TrialBackchannel,
	TrialRedirect, TrialSecret,
}

// TrialStep is one thing that was looked at. Detail is the sentence of the
// finding with its values.
type TrialStep struct {
	Step    string   `json:"step"`
	Result  string   `json:"result"`
	Finding Finding  `json:"finding"`
	Values  []string `json:"values,omitempty"`
	Detail  string   `json:"detail"`
}

// Found makes a step; [Broker.TryProvider] fills in its sentence.
func Found(step, result string, finding Finding, values ...string) TrialStep {
	return TrialStep{Step: step, Result: result, Finding: finding, Values: values}
}

// Trial is what trying a provider came to.
type Trial struct {
	Provider string      `json:"provider"`
	Result   string      `json:"result"`  // the worst of the steps: failed, warning or passed
	TookMS   int64       `json:"took_ms"` // milliseconds
	Steps    []TrialStep `json:"steps"`
}

const (
	// trialTime bounds a trial.
	trialTime = 10 * time.Second
	// maxTrialValue bounds what is repeated of an IdP's words, in characters.
	maxTrialValue = 200
)

// TryProvider tries a provider by its own id, and stores nothing: is it there,
// does it have what is needed, does it know our client and its redirect URI?
func (b *Broker) TryProvider(ctx context.Context, id string) (Trial, error) {
	p, err := b.FindProvider(ctx, id)
	if err != nil {
		return Trial{}, err
	}
	if err := b.MayAskTheWorld(ctx); err != nil {
		return Trial{}, err
	}
	return b.try(ctx, p), nil
}

// try tries a provider. What comes of it is remembered only if ctx still stands:
// otherwise it says more of who asked than of the IdP.
func (b *Broker) try(ctx context.Context, p Provider) Trial {
	out, begun := Trial{Provider: p.ID, Result: CheckPassed}, b.cfg.Now()
	if idp, ok := p.IdP.(Trier); ok {
		bounded, cancel := context.WithTimeout(ctx, trialTime)
		out.Steps = idp.Try(bounded, b.idpRequest(&p, b.newSecret(32)))
		cancel()
	} else {
		out.Steps = []TrialStep{Found(TrialSettings, CheckFailed, FindingNotUsable)}
	}
	out.TookMS = b.cfg.Now().Sub(begun).Milliseconds()
	slices.SortStableFunc(out.Steps, func(a, b TrialStep) int {
		return slices.Index(TrialSteps, a.Step) - slices.Index(TrialSteps, b.Step)
	})
	for i := range out.Steps {
		out.Steps[i].say()
		if result := out.Steps[i].Result; result == CheckFailed || result == CheckWarning && out.Result == CheckPassed {
			out.Result = result
		}
	}
	if ctx.Err() == nil {
		b.tried(&p, begun, out.Steps)
		b.trials.keep(&p, b.now(), out)
	}
	return out
}

// tried takes down how the IdP answered its discovery document.
func (b *Broker) tried(p *Provider, begun time.Time, steps []TrialStep) {
	i := slices.IndexFunc(steps, func(s TrialStep) bool { return s.Step == TrialDiscovery })
	if i < 0 {
		return
	}
	switch steps[i].Finding {
	case FindingTimedOut, FindingNoHost, FindingRefusedConnection, FindingUnreachable:
		b.healths.note(p, b.now(), 0, circuitOpens)
	case FindingDiscovery:
		took, _ := time.ParseDuration(steps[i].Values[0] + "ms")
		b.healths.note(p, begun, took, 0)
	}
}

// say fills the values into the sentence, each bounded and on one line.
func (s *TrialStep) say() {
	for i := range s.Values {
		s.Values[i] = cleanText(s.Values[i], maxTrialValue)
	}
	text, i := FindingTexts[s.Finding], 0
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{")
		out.WriteString(before)
		if !found || i >= len(s.Values) {
			break
		}
		_, text, _ = strings.Cut(rest, "}")
		out.WriteString(s.Values[i])
		i++
	}
	s.Detail = out.String()
}
