package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is what forms ask of whoever sends them before they do what a stolen
// cookie must not: the password, a code of the second factor, or a login anew.

// The fields of a form that asks for a proof.
const (
	fieldProof = "proof"
	// fieldAgain is the button that leads to a login anew, and back to the form; its
	// value says which form of the page it is.
	fieldAgain = "again"
)

const (
	cookieTyped = "latchkey_typed"
	maxTyped    = 3500 // bytes: browsers keep cookies of 4096
)

// stepUp is what a form asks for as proof of who is there, for the templates
// "proof" and "again".
type stepUp struct {
	Inputs []input
	Form   string // which of the page's forms it is
	Again  bool   // a login anew does, too
	Only   bool   // and nothing else
	When   *text  // what the form asks for it; nil: whatever is done by it
	Open   bool   // the form was sent and refused
	Bare   bool   // nothing else is typed in the form, so that nothing is kept
	Vain   *text  // that there was a login anew, and it did not help; nil: there was none
}

// stepUp is what a form of this name asks of whoever is logged in.
func (s *Server) stepUp(c *gin.Context, p broker.Principal, form string) (stepUp, error) {
	asked, err := s.broker.StepUpAsked(c.Request.Context(), p)
	return s.askFor(c, p, form, asked), err
}

// letIn is what a yes to this client, or to a device (nil), asks of whoever is logged in.
func (s *Server) letIn(c *gin.Context, p broker.Principal, client *broker.Client) (stepUp, error) {
	asked, err := s.broker.LetInAsked(c.Request.Context(), p, client)
	return s.askFor(c, p, "", asked).bare("let-in"), err
}

// askFor is a form of this name that asks for that.
func (s *Server) askFor(c *gin.Context, p broker.Principal, form string, asked broker.Asked) stepUp {
	out := stepUp{Form: form}
	switch asked {
	case broker.AskedPassword:
		out.Inputs = passwordInput(form)
	case broker.AskedCode:
		out.Inputs, out.Again = codeInput(form), true
	case broker.AskedLogin:
		out.Again, out.Only, out.Vain = true, true, s.inVain(c, p)
	}
	return out
}

// of is the same for another form of the page.
func (u stepUp) of(form string) stepUp {
	u.Form, u.Inputs, u.Bare = form, filled(u.Inputs, nil), false
	for i := range u.Inputs {
		u.Inputs[i].ID = proofID(form)
	}
	return u
}

// bare is the same for another form of the page, in which nothing but the proof is typed.
func (u stepUp) bare(form string) stepUp {
	u = u.of(form)
	u.Bare = true
	return u
}

// only is the same for a form that asks for a proof now and then alone.
func (u stepUp) only(when *text) stepUp {
	u = u.of(u.Form)
	for i := range u.Inputs {
		u.Inputs[i].Required = false
	}
	if u.Again || len(u.Inputs) > 0 {
		u.When = when
	}
	u.Only = false
	return u
}

func proofID(form string) string { return fieldProof + "-" + form }

// passwordInput is where a form asks for the password, and codeInput where for a code
// of the second factor.
func passwordInput(form string) []input {
	return []input{{
		Name: fieldProof, ID: proofID(form), Type: "password", Label: say("Your password"), Autocomplete: "current-password", Required: true, Max: broker.MaxPasswordBytes,
	}}
}

func codeInput(form string) []input {
	at := codeOf(fieldProof)
	at.ID = proofID(form)
	return []input{at}
}

// codeOf is a field for a code of the second factor.
func codeOf(name string) input {
	return input{
		Name: name, Label: say("Code of your second factor"), Autocomplete: "one-time-code", Required: true, Max: 64, Code: true,
		Help: say("Of your authenticator app, or a recovery code. With a passkey alone, log in with it again and do this within five minutes."),
	}
}

// refuse puts what was wrong with the proof beside its field, where it has one.
func (u *stepUp) refuse(err error) (atField bool) {
	u.Open = true
	return refill(nil, err, func(_ *input, e *broker.Error) *text { return sentence(e, answers[e.Code]) }, &u.Inputs)
}

// ofProof is an error about the proof as one of its field.
func ofProof(err error) error {
	if e, ok := errors.AsType[*broker.Error](err); ok && (e.Code == broker.WrongPassword || e.Code == broker.LoginRequired) {
		return ofField(e, fieldProof)
	}
	return err
}

func ofField(e *broker.Error, field string) error {
	at := *e
	at.Field = field
	return &at
}

// loginAgain is the login page for somebody who is to log in anew and come back.
func (s *Server) loginAgain(path string) string {
	return s.broker.PublicURL() + "/login?switch=1&next=" + url.QueryEscape(broker.LoginAnew(s.broker.PublicURL()+path))
}

// inVain says to whoever is back from [Server.loginAgain] that the IdP did not ask;
// nil: it did.
func (s *Server) inVain(c *gin.Context, p broker.Principal) *text {
	if c.Query("again") == "" || !s.broker.NotAskedAnew(p.Session) {
		return nil
	}
	return say("{provider} let you in without asking. Log out at {provider} first, then log in again here.", s.providerOr(p.Session.ProviderID))
}

// provenFields are [onlyFields] of a form of the page at path that asks for a proof.
// gone: its sender logs in anew first, and is on the way there.
func (s *Server) provenFields(c *gin.Context, p broker.Principal, path string, names ...string) (f map[string]*string, gone bool, err error) {
	f, err = onlyFields(c, append(slices.Clone(names), fieldProof, fieldAgain)...)
	if err == nil && or(f[fieldAgain]) != "" {
		return nil, true, s.toLoginAgain(c, p, path, f)
	}
	return f, false, err
}

// toLoginAgain leads to a login anew and back to the page at path, where what was
// typed stands again, but for secrets: sealed, in a cookie of this browser.
func (s *Server) toLoginAgain(c *gin.Context, p broker.Principal, path string, typed map[string]*string) error {
	kept := map[string]string{}
	for name, value := range typed {
		if name != fieldProof && name != "client_secret" {
			kept[name] = or(value)
		}
	}
	sealed, err := s.sealTyped(p, path, kept)
	if err != nil {
		return err
	}
	s.setCookie(c, s.hostName(c, cookieTyped), sealed, flowLife)
	c.Redirect(http.StatusSeeOther, s.loginAgain(path))
	return nil
}

// sealTyped seals what a cookie has room for: the longest texts are left out, and
// stand in the form as the page has them.
func (s *Server) sealTyped(p broker.Principal, path string, kept map[string]string) (string, error) {
	for {
		text, err := json.Marshal(kept)
		if err != nil {
			return "", err
		}
		if sealed := s.broker.SealTyped(p.User.ID, path, text); len(sealed) <= maxTyped || len(kept) == 0 {
			return sealed, nil
		}
		longest := ""
		for name, value := range kept {
			if longest == "" || len(value) > len(kept[longest]) {
				longest = name
			}
		}
		delete(kept, longest)
	}
}

// typedBefore is what stood in a form of the page at path before its sender went to
// log in anew, once; nil: nothing did.
func (s *Server) typedBefore(c *gin.Context, p broker.Principal, path string) map[string]*string {
	name := s.hostName(c, cookieTyped)
	sealed := readCookie(c, name)
	if c.Request.Method != http.MethodGet || c.Query("again") == "" || sealed == "" {
		return nil
	}
	s.setCookie(c, name, "", 0)
	typed := map[string]*string{}
	if text, err := s.broker.OpenTyped(p.User.ID, path, sealed); err != nil || json.Unmarshal(text, &typed) != nil {
		return nil
	}
	return typed
}

// backAgain is what a page says to whoever is back with what was typed.
var backAgain = say("You have logged in again: go on where you were.")
