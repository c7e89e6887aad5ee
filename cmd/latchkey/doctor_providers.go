package main

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
)

// trialIDs say which finding of the doctor a finding of a trial is. What is not
// here is good, or no news.
var trialIDs = map[broker.Finding]string{
	broker.FindingNotUsable: "provider_unusable", broker.FindingNoHost: "provider_no_host", broker.FindingRefusedConnection: "provider_refuses_connection",
	broker.FindingTimedOut: "provider_silent", broker.FindingCertificate: "provider_certificate", broker.FindingPrivate: "provider_private",
	broker.FindingUnreachable: "provider_unreachable", broker.FindingTooLarge: "provider_answer", broker.FindingStatus: "provider_answer",
	broker.FindingNotJSON: "provider_answer", broker.FindingLeadsOn: "provider_leads_on",

	broker.FindingLacks: "provider_lacks", broker.FindingOtherIssuer: "issuer_mismatch", broker.FindingNoFlow: "provider_no_code_flow",
	broker.FindingNoPKCE: "provider_no_pkce", broker.FindingOtherAuth: "provider_other_auth", broker.FindingScopesUnlisted: "provider_scopes",
	broker.FindingNoKeys: "provider_no_keys", broker.FindingOtherAlgorithms: "provider_algorithms", broker.FindingClockAhead: "provider_clock",
	broker.FindingClockBehind: "provider_clock",

	broker.FindingNotRegistered: "redirect_uri_unregistered", broker.FindingRegistrationOpen: "redirect_uri_unknown",
	broker.FindingRequestTrouble: "redirect_uri_unknown", broker.FindingRequestRefused: "provider_refuses_request",
	broker.FindingSecretRefused: "client_secret_refused", broker.FindingNoGrant: "provider_no_grant", broker.FindingSecretOpen: "client_secret_unknown",
	broker.FindingTokenTrouble: "client_secret_unknown",
}

// checkProviders tries each provider, side by side.
func checkProviders(ctx context.Context, d *doctor) (out []finding, looked bool) {
	if d.broker == nil {
		return nil, false // there is none, or database or secret have trouble, which is said there
	}
	all, err := d.broker.ProvidersNow(ctx)
	if err != nil {
		return nil, false
	}
	results := make([][]finding, len(all))
	var trials sync.WaitGroup
	for i, x := range all {
		trials.Go(func() { results[i] = d.tryProvider(ctx, x) })
	}
	trials.Wait()
	for _, r := range results {
		out = append(out, r...)
	}
	return out, true
}

// tryProvider asks what a login would ask. A provider that cannot be reached gets
// one finding, however many questions that spoils.
func (d *doctor) tryProvider(ctx context.Context, x broker.Provider) (out []finding) {
	trial, err := d.try(ctx, x.ID)
	if err != nil {
		return []finding{found("provider_unusable", x.ID, values{"provider": x.Name, "id": x.ID, "detail": err.Error()})}
	}
	v := func() values {
		return values{"provider": x.Name, "id": x.ID, "uri": d.broker.CallbackURL(x.ID), "client_id": x.ClientID, "issuer": x.Issuer, "recipe": recipe(x.ReadOnly)}
	}
	seen := map[string]bool{}
	for _, step := range trial.Steps {
		id, news := trialIDs[step.Finding]
		if !news || seen[id] {
			continue
		}
		seen[id] = true
		said := v()
		said["detail"], said["named"] = step.Detail, namedIssuer(step)
		out = append(out, found(id, x.ID, said))
	}
	read := slices.ContainsFunc(trial.Steps, func(s broker.TrialStep) bool { return s.Finding == broker.FindingDiscovery })
	if x.Type != broker.TypeOIDC || !read {
		return out
	}
	return append(out, d.checkPromises(ctx, x, v())...)
}

// promises are parts of the metadata that rules of ours depend on (OIDC Discovery
// section 3).
type promises struct {
	Grants []string `json:"grant_types_supported"`
	Claims []string `json:"claims_supported"`
}

// checkPromises compares what a provider lists with what our settings need of it.
// A list that is not there promises nothing, and forbids nothing.
func (d *doctor) checkPromises(ctx context.Context, x broker.Provider, v values) (out []finding) {
	client := oidc.NewPublicHTTPClient()
	if x.Trusted() {
		client = oidc.NewHTTPClient()
	}
	_, body, err := d.fetch(ctx, client, strings.TrimSuffix(x.Issuer, "/")+"/.well-known/openid-configuration", http.Header{}, nil)
	var listed promises
	if err != nil || json.Unmarshal(body, &listed) != nil {
		return nil // a moment ago it answered
	}
	if x.Recheck > 0 && len(listed.Grants) > 0 && !slices.Contains(listed.Grants, "refresh_token") {
		out = append(out, found("provider_no_refresh", x.ID, v))
	}
	missing := slices.DeleteFunc(neededClaims(x.ProviderSettings), func(claim string) bool { return slices.Contains(listed.Claims, claim) })
	if len(listed.Claims) > 0 && len(missing) > 0 {
		v["claims"] = strings.Join(missing, ", ")
		out = append(out, found("provider_claims", x.ID, v))
	}
	return out
}

// neededClaims are those that a login of a provider is judged by; of one within an
// object, the object.
func neededClaims(s broker.ProviderSettings) (out []string) {
	if s.RequireVerifiedEmail == broker.EmailAlways || s.LinkBy == broker.LinkVerifiedEmail {
		out = append(out, "email_verified")
	}
	if len(s.AllowedDomains) > 0 {
		out = append(out, "email")
	}
	if len(s.AllowedGroups) > 0 || len(s.RoleMap) > 0 {
		claim, _, _ := strings.Cut(cmp.Or(s.Claims.Groups, "groups"), ".")
		out = append(out, claim)
	}
	return out
}

// namedIssuer is the issuer that a discovery document has.
func namedIssuer(step broker.TrialStep) string {
	if step.Finding == broker.FindingOtherIssuer && len(step.Values) > 0 {
		return strings.TrimSpace(step.Values[0])
	}
	return ""
}

// recipe is where the settings of a provider are changed.
func recipe(readOnly bool) string {
	if readOnly {
		return "the configuration"
	}
	return "/admin/providers"
}
