package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	cookieLink = "latchkey_password" // the secret of the password link that was opened
	// cookieSetupLink is the same of the setup link.
	cookieSetupLink = "latchkey_setup_link"
	linkLife        = 30 * time.Minute
	maxSecret       = 64 // of a link; they have 43 characters of base64url
)

// passwordPage is where a password link leads. The secret goes into a cookie at
// once, out of the address bar, the history and the logs of what comes after.
func (s *Server) passwordPage(c *gin.Context) error {
	q, err := query(c, "token")
	if err != nil {
		return err
	}
	if token := q["token"]; token != "" {
		if len(token) > maxSecret || strings.ContainsFunc(token, notBase64URL) {
			return &broker.Error{Code: broker.PasswordLinkInvalid}
		}
		s.setCookie(c, s.hostName(c, cookieLink), token, linkLife)
		c.Redirect(http.StatusSeeOther, s.inLanguage(c, s.broker.PublicURL()+"/password"))
		return nil
	}
	p := page{Title: say("Choose a password"), Token: readCookie(c, s.hostName(c, cookieLink)), Wrong: "password"}
	u, err := s.broker.PasswordLinkUser(c.Request.Context(), p.Token)
	if err != nil {
		return err
	}
	p.User = &u
	return s.show(c, http.StatusOK, "password", p)
}

func notBase64URL(r rune) bool {
	return r != '-' && r != '_' && !('0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z')
}

// passwordForm sets the password. It logs nobody in: whoever found the link
// would be.
func (s *Server) passwordForm(c *gin.Context) error {
	f, err := fields(c, "token", "password")
	if err != nil {
		return err
	}
	if f["token"] == nil || f["password"] == nil {
		return badRequest("the form is not complete")
	}
	u, err := s.broker.UsePasswordLink(c.Request.Context(), *f["token"], *f["password"], device(c))
	if broker.CodeOf(err) == broker.WeakPassword {
		return s.again(c, "password", page{Title: say("Choose a password"), Token: *f["token"], User: &u}, err)
	}
	if err != nil {
		return err
	}
	s.setCookie(c, s.hostName(c, cookieLink), "", 0)
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/login?password=set")
	return nil
}

// askForPassword shows the form for another password to whoever logged in with a
// temporary one.
func (s *Server) askForPassword(c *gin.Context, p page, e *broker.Error) error {
	u, err := s.broker.TicketUser(c.Request.Context(), e.Ticket)
	if err != nil {
		return err
	}
	p.Title, p.User, p.Ticket, p.Wrong = say("Choose another password"), &u, e.Ticket, "password"
	c.Header("Latchkey-Code", string(e.Code))
	return s.show(c, answers[e.Code].status, "password", p)
}

// newPasswordForm replaces a temporary password and goes on to where the login
// was to lead.
func (s *Server) newPasswordForm(c *gin.Context) error {
	f, err := fields(c, "ticket", "password", "next")
	if err != nil {
		return err
	}
	if f["ticket"] == nil || f["password"] == nil {
		return badRequest("the form is not complete")
	}
	next := ""
	if f["next"] != nil {
		next = *f["next"]
	}
	p := s.doorFor(c, next)
	l, err := s.broker.RedeemTicket(c.Request.Context(), *f["ticket"], *f["password"], device(c))
	switch broker.CodeOf(err) {
	case broker.WeakPassword:
		u, err2 := s.broker.TicketUser(c.Request.Context(), *f["ticket"])
		if err2 != nil {
			return err2
		}
		p.Title, p.User, p.Ticket = say("Choose another password"), &u, *f["ticket"]
		return s.again(c, "password", p, err)
	case broker.InvalidState:
		s.noteRefusal(c, answers[broker.InvalidState].status, &page{Error: sentences[broker.InvalidState], Code: string(broker.InvalidState)})
		c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/login?error="+string(broker.InvalidState)+"&next="+url.QueryEscape(p.Next))
		return nil
	}
	if err != nil {
		return err
	}
	s.setSession(c, l)
	c.Redirect(http.StatusSeeOther, p.Onward)
	return nil
}

// temporary finds a login's refusal that asks for another password.
func temporary(err error) (*broker.Error, bool) {
	e, ok := errors.AsType[*broker.Error](err)
	return e, ok && e.Code == broker.PasswordChangeRequired
}

// makePasswordLink is POST /api/users/:id/password-link.
func (s *Server) makePasswordLink(c *gin.Context, p broker.Principal) error {
	f, err := fields(c, "purpose", "send")
	if err != nil {
		return err
	}
	if f["purpose"] == nil || *f["purpose"] == "" {
		return badRequest("purpose is one of invitation, reset")
	}
	how := broker.Handover{}
	switch or(f["send"]) {
	case "":
	case byMail:
		how = s.byMail(c)
	default:
		return badField("send", "it is mail, or not there")
	}
	l, err := s.broker.SendPasswordLink(c.Request.Context(), &p.User, c.Param("id"), broker.PasswordPurpose(*f["purpose"]), how)
	if err != nil {
		return err
	}
	out := gin.H{"purpose": string(l.Purpose), "expiresAt": l.ExpiresAt.UnixMilli()}
	if out["url"] = l.URL; how.ByMail {
		delete(out, "url")
		out["mailedTo"] = l.MailedTo
	}
	c.JSON(http.StatusCreated, out)
	return nil
}
