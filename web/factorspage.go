package web

import (
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const factorsPath = "/account/factors"

// factorsView is what the page of the second factors is about.
type factorsView struct {
	Never    *text // why there are none; nil: there may be
	First    bool  // because the account has no password yet
	Any      bool
	Since    *moment // when the authenticator app was set up; nil: there is none
	App      factorForm
	Passkeys []passkeyView
	Offered  bool // passkeys
	New      factorForm
	Left     int    // recovery codes
	Refresh  string // where to log in anew in the place of a code; empty: none is asked for
	Recovery factorForm
	Ticket   string
	Codes    []string // at the one moment when they are shown
	Enrol    *enrolView
}

// factorForm is a form of the page; Open: what it asks for is to be seen.
type factorForm struct {
	Inputs []input
	Open   bool
}

// enrolView is an authenticator app that is being set up.
type enrolView struct {
	Secret  string
	Picture template.URL
	Form    []input
}

// passkeyView is a passkey as its owner sees it.
type passkeyView struct {
	ID, Name string
	Kind     *text
	Made     moment
	Used     *moment // nil: never
	Rename   factorForm
	Remove   factorForm
}

var factorsDone = map[string]*text{
	"totp":      say("The authenticator app is set up: from now on your password alone lets nobody in."),
	"removed":   say("It is removed. Nothing else has changed, and no device was logged out."),
	"passkey":   say("The passkey is kept: you can log in with it, and your password alone lets nobody in."),
	"renamed":   say("The passkey has another name."),
	"gone":      say("You have no such passkey; it may have been removed already."),
	"twice":     say("This form was sent already, so no further codes were made. Codes are shown once, where they are made: if you did not keep them, make others."),
	"no_script": say("Making a passkey needs JavaScript, which this browser did not run."),
}

// factorsPage is where whoever is logged in sets up what is asked for beside the
// password.
func (s *Server) factorsPage(c *gin.Context, p broker.Principal) error {
	out, _, err := s.factors(c, p)
	if err != nil {
		return err
	}
	out.Notice = whatWasDone(c, factorsDone)
	return s.show(c, http.StatusOK, "own_factors", out)
}

func (s *Server) factors(c *gin.Context, p broker.Principal) (page, *factorsView, error) {
	out, view := room(c, p, say("Your second factors")), &factorsView{}
	out.View = view
	switch broker.CodeOf(s.broker.MayHaveFactors(p.User)) {
	case broker.Forbidden:
		view.Never = say("This account is a guest's. Guests do not change how they log in.")
		return out, view, nil
	case broker.LocalLoginDisabled:
		view.Never = say("Logging in with a password is switched off here: your identity provider asks for second factors.")
		return out, view, nil
	case broker.NotFound:
		view.Never, view.First = say("You log in through an identity provider, which asks for second factors itself. Here they stand beside a password, and your account has none."), true
		return out, view, nil
	}
	f, err := s.broker.Factors(c.Request.Context(), p.User.ID)
	if err != nil {
		return out, view, err
	}
	view.Any, view.Left, view.Offered, view.Ticket = f.Any(), f.RecoveryCodes, s.broker.PasskeysOffered(), s.broker.FormTicket(p.User.ID)
	ask := func(string) []input { return nil }
	switch needed, err := s.broker.CodeNeeded(c.Request.Context(), p); {
	case err != nil:
		return out, view, err
	case needed:
		ask, view.Refresh = codeInput, s.loginAgain(factorsPath)
	case !p.User.SecondFactor:
		ask = passwordInput
	}
	view.App.Inputs = ask("app")
	if f.TOTP != nil {
		view.Since = new(s.moment(f.TOTP.ConfirmedAt))
	}
	view.New.Inputs = []input{
		{Name: "name", ID: "passkey-name", Label: say("Name of the passkey"), Required: true, Max: broker.MaxPasskeyName, Autocomplete: "off", Rule: say("A name of 1 to 64 characters."), Help: say("Such as the device or the password manager that keeps it.")},
	}
	view.New.Inputs = append(view.New.Inputs, ask("passkey")...)
	view.Recovery.Inputs = ask("recovery")
	for _, k := range f.Passkeys {
		view.Passkeys = append(view.Passkeys, s.passkeyView(k, ask))
	}
	return out, view, nil
}

func (s *Server) passkeyView(k broker.Passkey, ask func(id string) []input) passkeyView {
	v := passkeyView{ID: k.ID, Name: k.Name, Kind: say("stays on one device"), Made: s.moment(k.CreatedAt), Used: s.momentOr(k.LastUsedAt)}
	if k.Synced {
		v.Kind = say("may be on several of your devices")
	}
	v.Rename.Inputs = []input{{Name: "name", ID: "name-" + k.ID, Label: say("Name of the passkey"), Value: k.Name, Required: true, Max: broker.MaxPasskeyName, Autocomplete: "off", Rule: say("A name of 1 to 64 characters.")}}
	v.Remove.Inputs = ask(k.ID)
	return v
}

// factorsAgain shows the page with what was refused, at the form that was sent.
func (s *Server) factorsAgain(c *gin.Context, p broker.Principal, typed map[string]*string, at func(*factorsView) *factorForm, err error) error {
	out, view, trouble := s.factors(c, p)
	if trouble != nil {
		return trouble
	}
	form := at(view)
	if form == nil { // it is gone
		return s.again(c, "own_factors", out, err)
	}
	form.Open = true
	return s.retry(c, "own_factors", out, &form.Inputs, typed, ofProof(err))
}

func appForm(v *factorsView) *factorForm        { return &v.App }
func newPasskeyForm(v *factorsView) *factorForm { return &v.New }
func recoveryForm(v *factorsView) *factorForm   { return &v.Recovery }

// beginAppForm shows what an authenticator app is set up with, in this answer and
// nowhere else.
func (s *Server) beginAppForm(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "username", "proof")
	if err != nil {
		return err
	}
	e, err := s.broker.BeginTOTP(c.Request.Context(), p, or(f["proof"]), device(c))
	if err != nil {
		return s.factorsAgain(c, p, f, appForm, err)
	}
	out, view := s.enrolment(c, p, e)
	out.View = view
	return s.show(c, http.StatusOK, "own_factors", out)
}

func (s *Server) enrolment(c *gin.Context, p broker.Principal, e broker.Enrolment) (page, *factorsView) {
	view := &factorsView{Enrol: &enrolView{
		// #nosec G203 -- a picture of our own in base64
		Secret: inFours(e.Secret), Picture: template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(e.Picture)),
		Form: []input{{Name: "code", Label: say("Code"), Help: say("The six digits that the app shows now."), Required: true, Autocomplete: "one-time-code", Max: 64, Code: true}},
	}}
	return room(c, p, say("Set up an authenticator app")), view
}

// inFours sets a text that is to be typed in groups of four.
func inFours(text string) string {
	groups := []string{}
	for chunk := range slices.Chunk([]byte(text), 4) {
		groups = append(groups, string(chunk))
	}
	return strings.Join(groups, " ")
}

// confirmAppForm makes the app count, and shows the recovery codes, if there were
// none.
func (s *Server) confirmAppForm(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "code")
	if err != nil {
		return err
	}
	codes, err := s.broker.ConfirmTOTP(c.Request.Context(), p, or(f["code"]), device(c))
	switch broker.CodeOf(err) {
	case broker.WrongCode:
		e, trouble := s.broker.WaitingEnrolment(c.Request.Context(), p)
		if trouble != nil {
			return s.factorsAgain(c, p, f, appForm, trouble)
		}
		out, view := s.enrolment(c, p, e)
		out.View = view
		return s.retry(c, "own_factors", out, &view.Enrol.Form, nil, err)
	}
	if err != nil {
		return s.factorsAgain(c, p, nil, appForm, err)
	}
	return s.afterFactor(c, p, codes, "totp")
}

// afterFactor shows recovery codes that were just made, or else leads back.
func (s *Server) afterFactor(c *gin.Context, p broker.Principal, codes []string, done string) error {
	if len(codes) == 0 {
		return s.done(c, factorsPath, done)
	}
	p.User.SecondFactor = true
	out, view, err := s.factors(c, p)
	if err != nil {
		return err
	}
	view.Codes, out.Notice = codes, factorsDone[done]
	return s.show(c, http.StatusOK, "own_factors", out)
}

// removeAppForm takes the authenticator app away.
func (s *Server) removeAppForm(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "username", "proof")
	if err != nil {
		return err
	}
	err = s.broker.RemoveTOTP(c.Request.Context(), p, or(f["proof"]), device(c))
	if err == nil || errors.Is(err, broker.NotFound) && !wantsJSON(c) {
		return s.done(c, factorsPath, "removed")
	}
	return s.factorsAgain(c, p, f, appForm, err)
}

// recoveryCodesForm makes recovery codes and shows them.
func (s *Server) recoveryCodesForm(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "username", "ticket", "proof")
	if err != nil {
		return err
	}
	codes, err := s.broker.MakeRecoveryCodes(c.Request.Context(), p, or(f["proof"]), or(f["ticket"]), device(c))
	if errors.Is(err, broker.FormUsed) && !wantsJSON(c) {
		return s.done(c, factorsPath, "twice")
	}
	if err != nil {
		return s.factorsAgain(c, p, f, recoveryForm, err)
	}
	return s.afterFactor(c, p, codes, "")
}

// newPasskeyOptions is what the page's script makes a passkey by, for whoever gives
// the password or a code.
func (s *Server) newPasskeyOptions(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "username", "name", "proof", "credential")
	if err != nil {
		return err
	}
	options, err := s.broker.BeginPasskey(c.Request.Context(), p, or(f["proof"]), device(c))
	if err != nil {
		return err
	}
	noStore(c)
	c.JSON(http.StatusOK, options)
	return nil
}

// newPasskeyFormSent keeps the passkey that the browser made.
func (s *Server) newPasskeyFormSent(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "username", "name", "proof", "credential")
	if err != nil {
		return err
	}
	if or(f["credential"]) == "" && !wantsJSON(c) {
		return s.done(c, factorsPath, "no_script")
	}
	codes, err := s.broker.AddPasskey(c.Request.Context(), p, or(f["name"]), []byte(or(f["credential"])), device(c))
	if err != nil {
		return s.factorsAgain(c, p, f, newPasskeyForm, err)
	}
	return s.afterFactor(c, p, codes, "passkey")
}

// passkeyFormOf picks a form of one passkey.
func passkeyFormOf(id string, pick func(*passkeyView) *factorForm) func(*factorsView) *factorForm {
	return func(v *factorsView) *factorForm {
		for i := range v.Passkeys {
			if v.Passkeys[i].ID == id {
				return pick(&v.Passkeys[i])
			}
		}
		return nil
	}
}

// renamePasskeyForm gives a passkey another name.
func (s *Server) renamePasskeyForm(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "name")
	if err != nil {
		return err
	}
	id := c.Param("id")
	err = s.broker.RenamePasskey(c.Request.Context(), p, id, or(f["name"]), device(c))
	return s.afterPasskey(c, p, f, id, "renamed", func(v *passkeyView) *factorForm { return &v.Rename }, err)
}

// removePasskeyForm takes a passkey away.
func (s *Server) removePasskeyForm(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "username", "proof")
	if err != nil {
		return err
	}
	id := c.Param("id")
	err = s.broker.RemovePasskey(c.Request.Context(), p, id, or(f["proof"]), device(c))
	return s.afterPasskey(c, p, f, id, "removed", func(v *passkeyView) *factorForm { return &v.Remove }, err)
}

func (s *Server) afterPasskey(c *gin.Context, p broker.Principal, f map[string]*string, id, done string, pick func(*passkeyView) *factorForm, err error) error {
	switch {
	case err == nil:
		return s.done(c, factorsPath, done)
	case errors.Is(err, broker.NotFound) && s.broker.MayHaveFactors(p.User) == nil && !wantsJSON(c):
		return s.done(c, factorsPath, "gone")
	}
	return s.factorsAgain(c, p, f, passkeyFormOf(id, pick), err)
}
