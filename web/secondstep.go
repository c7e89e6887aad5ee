package web

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// The second step of a login: the password was right, and a code or a passkey is
// asked for. What waits is named by a cookie, and by nothing in a page or a URL.

const (
	secondPath   = "/login/second"
	cookieSecond = "latchkey_second" // the secret of the login that waits
	secondLife   = 5 * time.Minute
)

// secondView is what the page of the second step is about.
type secondView struct {
	Passkeys bool
	Form     []input
}

// second finds a login's refusal that asks for the second factor.
func second(err error) (*broker.Error, bool) {
	e, ok := errors.AsType[*broker.Error](err)
	return e, ok && e.Code == broker.SecondFactorRequired && e.Ticket != ""
}

// toSecondStep leads a browser whose password was right to the page that asks for
// the rest. The secret is always a new one: what the browser had before is
// replaced.
func (s *Server) toSecondStep(c *gin.Context, p page, e *broker.Error) error {
	s.setCookie(c, s.hostName(c, cookieSecond), e.Ticket, secondLife)
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+secondPath+"?next="+url.QueryEscape(p.Next))
	return nil
}

func (s *Server) secondSecret(c *gin.Context) string {
	return readCookie(c, s.hostName(c, cookieSecond))
}

// secondPage asks for the second factor.
func (s *Server) secondPage(c *gin.Context) error {
	q, err := query(c, "next")
	if err != nil {
		return err
	}
	p, err := s.waitingStep(c, q["next"])
	if err != nil {
		return s.loginAnew(c, q["next"], err)
	}
	return s.show(c, http.StatusOK, "second", p)
}

func (s *Server) waitingStep(c *gin.Context, next string) (page, error) {
	p := s.doorFor(c, next)
	step, err := s.broker.FindSecondStep(c.Request.Context(), s.secondSecret(c))
	if err != nil {
		return p, err
	}
	p.Title, p.User = say("One more step"), &step.User
	p.here = withParams(s.broker.PublicURL()+secondPath, url.Values{"next": {p.Next}})
	code := input{Name: "code", Label: say("Recovery code"), Required: true, Autocomplete: "off", Max: 64, Code: true}
	if step.App {
		code.Label, code.Autocomplete = say("Code"), "one-time-code"
		code.Help = say("The six digits that your authenticator app shows, or one of your recovery codes.")
	}
	p.View = &secondView{Passkeys: step.Passkeys, Form: []input{code}}
	return p, nil
}

// loginAnew leads back to the login where the second step is over.
func (s *Server) loginAnew(c *gin.Context, next string, err error) error {
	if !errors.Is(err, broker.InvalidState) || wantsJSON(c) {
		return err
	}
	s.noteRefusal(c, answers[broker.InvalidState].status, &page{Error: sentences[broker.InvalidState], Code: string(broker.InvalidState)})
	s.setCookie(c, s.hostName(c, cookieSecond), "", 0)
	q := url.Values{"error": {string(broker.InvalidState)}}
	if s.secondSecret(c) == "" { // nothing was begun here
		q.Del("error")
	}
	if _, ok := s.ownPage(next); ok {
		q.Set("next", next)
	}
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/login?"+q.Encode())
	return nil
}

// secondForm finishes a login with a code.
func (s *Server) secondForm(c *gin.Context) error {
	f, err := onlyFields(c, "code", "next")
	if err != nil {
		return err
	}
	l, err := s.broker.CompleteLogin(c.Request.Context(), s.secondSecret(c), or(f["code"]), s.browserDevice(c))
	return s.afterSecondStep(c, or(f["next"]), l, err)
}

// secondPasskeyForm finishes a login with a passkey.
func (s *Server) secondPasskeyForm(c *gin.Context) error {
	f, err := onlyFields(c, "credential", "next")
	if err != nil {
		return err
	}
	l, err := s.broker.CompleteLoginByPasskey(c.Request.Context(), s.secondSecret(c), []byte(or(f["credential"])), s.browserDevice(c))
	return s.afterSecondStep(c, or(f["next"]), l, err)
}

// afterSecondStep goes on to where the login was to lead, or asks once more.
func (s *Server) afterSecondStep(c *gin.Context, next string, l *broker.Login, err error) error {
	if e, ok := temporary(err); ok && !wantsJSON(c) {
		s.setCookie(c, s.hostName(c, cookieSecond), "", 0)
		return s.askForPassword(c, s.doorFor(c, next), e)
	}
	if err != nil {
		p, over := s.waitingStep(c, next)
		if over != nil {
			return s.loginAnew(c, next, over)
		}
		return s.retry(c, "second", p, &p.View.(*secondView).Form, nil, atCode(err))
	}
	s.setCookie(c, s.hostName(c, cookieSecond), "", 0)
	s.setSession(c, l)
	c.Redirect(http.StatusSeeOther, s.doorFor(c, next).Onward)
	return nil
}

// atCode puts a wrong code to the field that it was typed into.
func atCode(err error) error {
	if e, ok := errors.AsType[*broker.Error](err); ok && e.Code == broker.SecondFactorInvalid {
		at := *e
		at.Field = "code"
		return &at
	}
	return err
}

// secondPasskeyOptions is what the page's script asks the browser for a passkey by.
func (s *Server) secondPasskeyOptions(c *gin.Context) error {
	options, err := s.broker.BeginPasskeySecond(c.Request.Context(), s.secondSecret(c))
	if err != nil {
		return err
	}
	noStore(c)
	c.JSON(http.StatusOK, options)
	return nil
}
