package web

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// setupProviders says of each provider how it answers, and whether it takes our
// client: a secret that is wrong fails every login, and nothing before.
func (s *Server) setupProviders(c *gin.Context, providers []broker.Provider) setupStep {
	step := setupStep{
		ID: "provider", Title: say("An identity provider"),
		Text: say("People log in with the account that they have there, for example at Pocket ID, Authelia, Keycloak or Google."),
	}
	found := make([][]check, len(providers))
	ctx, cancel := context.WithTimeout(c.Request.Context(), setupTrialTime)
	defer cancel()
	var trials sync.WaitGroup
	for i, p := range providers {
		trials.Go(func() { found[i] = s.setupProvider(ctx, p, i < setupTrials) })
		step.Ways = append(step.Ways, button{Text: say("Check {provider}", p.Name), URL: providersPath + "/" + url.PathEscape(p.ID)})
	}
	trials.Wait()
	for _, checks := range found {
		step.Checks = append(step.Checks, checks...)
	}
	step.Done = len(providers) > 0 && step.fine()
	if len(providers) == 0 {
		step.Checks = []check{{"warn", say("There is none yet. Without one people log in with a password.")}}
	}
	step.Ways = append(step.Ways, button{Text: say("Connect an identity provider"), URL: providersPath + "/new"})
	return step
}

const (
	// setupTrialTime bounds what the page waits for all providers together.
	setupTrialTime = 4 * time.Second
	// setupTrials are so many providers that a look at the page tries.
	setupTrials = 5
)

// setupProvider is what a trial of a provider says, and how it answers.
func (s *Server) setupProvider(ctx context.Context, p broker.Provider, try bool) []check {
	health := s.broker.ProviderHealth(p.ID)
	switch {
	case !health.InUse:
		return []check{{"bad", say("{provider} cannot be used: its secret cannot be read, or it was just added.", p.Name)}}
	case health.State == broker.HealthDark: // nobody waits for it once more
		return []check{{"bad", say("{provider} does not answer.", p.Name)}}
	}
	trial, known := s.broker.LastTrial(p)
	if try {
		latest, err := s.broker.RecentTrial(ctx, p)
		if err != nil {
			return []check{{"bad", say("{provider} has not answered yet. Open this page again in a moment.", p.Name)}}
		}
		trial, known, health = latest, true, s.broker.ProviderHealth(p.ID)
	}
	out := []check{setupHealth(p, health.State)}
	if !known {
		return append(out, check{"warn", say("Whether {provider} takes the client secret was not asked now: check it.", p.Name)})
	}
	return append(out, setupTrial(p, trial)...)
}

// setupHealth puts into words how a provider answers.
func setupHealth(p broker.Provider, state broker.HealthState) check {
	switch state {
	case broker.HealthDark:
		return check{"bad", say("{provider} does not answer.", p.Name)}
	case broker.HealthSlow:
		return check{"warn", say("{provider} answers slowly.", p.Name)}
	case broker.HealthOK:
		return check{"good", say("{provider} is connected, and answers.", p.Name)}
	}
	return check{"warn", say("{provider} is connected. Nobody has asked it anything lately: check it.", p.Name)}
}

// setupTrial is what of a trial the set-up says: what fails logins, and, good or
// not, what was found out about the secret.
func setupTrial(p broker.Provider, trial broker.Trial) (out []check) {
	for _, step := range trial.Steps {
		about := step.Step == broker.TrialSecret
		switch {
		case about && step.Finding == broker.FindingSecretRefused && p.ReadOnly:
			out = append(out, check{"bad", say("{provider} refuses the client id or the secret. Copy both from there once more, into the configuration.", p.Name)})
		case about && step.Finding == broker.FindingSecretRefused:
			out = append(out, check{"bad", say("{provider} refuses the client id or the secret. Copy both from there once more, into its settings here.", p.Name)})
		case step.Result == broker.CheckFailed:
			out = append(out, check{"bad", say("{provider}: {finding}", p.Name, foundText(step))})
		case about && step.Result == broker.CheckPassed:
			out = append(out, check{"good", say("{provider} takes the client id and the secret.", p.Name)})
		case about:
			out = append(out, check{"warn", say("{provider}: {finding} The first login shows whether the secret is right.", p.Name, foundText(step))})
		}
	}
	return out
}
