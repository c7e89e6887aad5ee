package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is how an administrator tries a provider: the way to it without a
// login, and its rules with the claims of one.

// tryProvider is POST /api/providers/:id/check.
func (s *Server) tryProvider(c *gin.Context, _ broker.Principal) error {
	if _, err := onlyFields(c); err != nil {
		return err
	}
	out, err := s.broker.TryProvider(c.Request.Context(), c.Param("id"))
	if err == nil {
		c.JSON(http.StatusOK, out)
	}
	return err
}

// trialView is what a trial came to, as a person reads it.
type trialView struct {
	State  string // as of check
	Word   *text
	TookMS int
	Steps  []trialStep
}

type trialStep struct {
	State string
	Title *text
	Word  *text
	Text  *text
}

// trialResult is how a result is shown and called.
type trialResult struct {
	state       string
	word, whole *text
}

var trialResults = map[string]trialResult{
	broker.CheckPassed:  {"good", say("good"), say("Everything that can be tried without a login is in order.")},
	broker.CheckFailed:  {"bad", say("wrong"), say("Something is wrong, so that logins fail, or probably do.")},
	broker.CheckWarning: {"warn", say("look at this"), say("Logins may work, but something is worth a look.")},
	broker.CheckUnknown: {"open", say("open"), nil},
	broker.CheckNote:    {"open", say("for your information"), nil},
}

var trialTitles = map[string]*text{
	broker.TrialSettings: say("Settings"), broker.TrialDiscovery: say("Discovery"), broker.TrialIssuer: say("Issuer"), broker.TrialFlow: say("Authorization code flow"),
	broker.TrialPKCE: say("PKCE"), broker.TrialAuth: say("Proof of the client"), broker.TrialScopes: say("Scopes"), broker.TrialKeys: say("Keys"), broker.TrialClock: say("Clock"),
	broker.TrialEndSession: say("Logout there"), broker.TrialBackchannel: say("Logouts from there"), broker.TrialRedirect: say("Redirect URI"), broker.TrialSecret: say("Client secret"),
}

// foundText is a finding's sentence. What an IdP says stands in its places.
func foundText(step broker.TrialStep) *text {
	values := []any{}
	for _, v := range step.Values {
		values = append(values, v)
	}
	return &text{key: broker.FindingTexts[step.Finding], values: values}
}

func viewTrial(t broker.Trial) *trialView {
	whole := trialResults[t.Result]
	out := &trialView{State: whole.state, Word: whole.whole, TookMS: int(t.TookMS)}
	for _, one := range t.Steps {
		r := trialResults[one.Result]
		out.Steps = append(out.Steps, trialStep{State: r.state, Title: trialTitles[one.Step], Word: r.word, Text: foundText(one)})
	}
	return out
}

// tryProviderForm is POST /admin/providers/:id/check. The answer is the page
// itself: nothing is kept that another request could show.
func (s *Server) tryProviderForm(c *gin.Context, p broker.Principal) error {
	if _, err := onlyFields(c); err != nil {
		return err
	}
	trial, err := s.broker.TryProvider(c.Request.Context(), c.Param("id"))
	if err != nil {
		return err
	}
	view, err := s.providerView(c, p) // with the health that was learned
	if err != nil {
		return err
	}
	view.View.(*providerPageView).Trial = viewTrial(trial)
	return s.show(c, http.StatusOK, "office_provider", view)
}

// dryRunInput is the field of a dry run, with an example in it.
func dryRunInput(k knownIdP) []input {
	var example bytes.Buffer
	if json.Indent(&example, []byte(k.Claims), "", "  ") != nil {
		example.Reset()
	}
	return []input{{
		Name: "claims", Type: "textarea", Label: say("Claims, or an ID token"), Required: true, Max: maxBody / 2, Code: true, Value: example.String(),
		Help: say("Claims are a JSON object. This is an example; put in what your provider says. An ID token may have expired; nothing of it is kept."),
	}}
}

// dryRunView is what a login would come to, in words.
type dryRunView struct {
	Refused bool
	Says    []*text
	Token   []trialStep
	User    *broker.DryRunUser
	Role    *text
	Rulings []rulingView
}

type rulingView struct {
	What          *text
	Before, After string
	Rule          string
}

// refusals say to an administrator why somebody is not let in.
var refusals = map[broker.Code]*text{
	broker.EmailNotVerified: say("the e-mail address is not verified"), broker.DomainNotAllowed: say("there is no verified address of an allowed domain"),
	broker.GroupNotAllowed: say("none of the groups may come in"), broker.NotProvisioned: say("there is no account to link to, and none is made"),
	broker.IdentityConflict: say("the address belongs to an account that cannot be linked"), broker.UserDisabled: say("the account is disabled"),
}

var ruledOn = map[string]*text{
	"account": say("Account"), "username": say("Username"), "profile": say("Profile"), "role": say("Role"), "permissions": say("Permissions"),
}

// accountRulings say how somebody comes to an account.
var accountRulings = map[any]*text{
	"known":   say("The login is known here: it belongs to the account {username}."),
	"linked":  say("The login is new here, and would be linked to the account {username}."),
	"created": say("The login is new here: the account {username} would be made for it."),
}

func viewDryRun(d broker.DryRun) *dryRunView {
	out := &dryRunView{Refused: d.Outcome == broker.OutcomeRefused, User: d.User}
	for _, one := range d.Token {
		r := trialResults[one.Result]
		out.Token = append(out.Token, trialStep{State: r.state, Title: checkTitle(one.Check), Word: r.word, Text: inOurWords(one.Detail)})
	}
	for _, one := range d.Rulings {
		if said := accountRulings[one.After]; one.What == "account" && said != nil && d.User != nil {
			out.Says = append(out.Says, said.with(d.User.Username))
		}
		out.Rulings = append(out.Rulings, rulingView{ruledOn[one.What], ruledValue(one.Before), ruledValue(one.After), one.Rule})
	}
	if out.Refused {
		if why := refusals[d.Code]; why != nil {
			out.Says = []*text{say("The login is refused: {why}. What decides it: {rule}.", why, d.Rule)}
		} else {
			out.Says = []*text{say("The login is refused. What decides it: {rule}.", d.Rule), sentence(&broker.Error{Code: d.Code, Message: d.Message}, answers[d.Code])}
		}
	} else if d.User != nil {
		out.Role = roles[d.User.Role]
	}
	return out
}

// checkTitle is what was looked at in an ID token: one of its claims, or this.
func checkTitle(check string) *text {
	if check == "signature" {
		return say("Signature")
	}
	return &text{key: check}
}

// ruledValue is what a rule found or gave: a word, or an object.
func ruledValue(v any) string {
	if v == nil {
		return ""
	}
	if said, err := json.Marshal(v); err == nil && strings.HasPrefix(string(said), "{") {
		return string(said)
	}
	return fmt.Sprint(v)
}

// dryRunForm is POST /admin/providers/:id/dry-run. Like a trial, its answer is
// the page: claims are somebody's, and stand in no address.
func (s *Server) dryRunForm(c *gin.Context, p broker.Principal) error {
	view, err := s.providerView(c, p)
	if err != nil {
		return err
	}
	v := view.View.(*providerPageView)
	typed, err := onlyFields(c, "claims")
	if err != nil {
		return err
	}
	in := broker.DryRunInput{IDToken: strings.TrimSpace(or(typed["claims"]))}
	if strings.HasPrefix(in.IDToken, "{") {
		in.IDToken, in.Claims = "", []byte(in.IDToken)
	}
	out, err := s.broker.DryRun(c.Request.Context(), v.ID, in)
	if err != nil {
		return s.retry(c, "office_provider", view, &v.Claims, typed, inClaims(err))
	}
	v.Dry, v.Claims = viewDryRun(out), filled(v.Claims, typed)
	return s.show(c, http.StatusOK, "office_provider", view)
}

// inClaims puts what is wrong with what was pasted at the one field that there is.
func inClaims(err error) error {
	e, ok := errors.AsType[*broker.Error](err)
	if !ok || e.Code != broker.InvalidRequest {
		return err
	}
	return badField("claims", strings.TrimPrefix(strings.TrimPrefix(e.Message, "claims: "), "id_token: "))
}
