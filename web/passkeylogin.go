package web

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	cookiePasskey = "latchkey_passkey" // who alone may answer the challenge
	passkeyLife   = 5 * time.Minute
)

// passkeyOptions is what the login page's script asks the browser for any passkey by.
func (s *Server) passkeyOptions(c *gin.Context) error {
	options, secret, err := s.broker.BeginPasskeyLogin(c.Request.Context(), device(c))
	if err != nil {
		return err
	}
	s.setCookie(c, s.hostName(c, cookiePasskey), secret, passkeyLife)
	c.JSON(http.StatusOK, options)
	return nil
}

// passkeyForm logs in with a passkey alone.
func (s *Server) passkeyForm(c *gin.Context) error {
	f, err := onlyFields(c, "credential", "next")
	if err != nil {
		return err
	}
	cookie := s.hostName(c, cookiePasskey)
	l, err := s.broker.CompletePasskeyLogin(c.Request.Context(), readCookie(c, cookie), []byte(or(f["credential"])), s.browserDevice(c))
	s.setCookie(c, cookie, "", 0)
	p := s.doorFor(c, or(f["next"]))
	if err != nil {
		return s.passkeyAgain(c, p, err)
	}
	s.setSession(c, l)
	c.Redirect(http.StatusSeeOther, p.Onward)
	return nil
}

// passkeyAgain shows the login page with why the passkey did not do; no field of
// it is wrong.
func (s *Server) passkeyAgain(c *gin.Context, p page, err error) error {
	if broker.CodeOf(err) == broker.RateLimited {
		return s.again(c, "login", p, err)
	}
	if broker.CodeOf(err) != broker.PasskeyInvalid || wantsJSON(c) {
		return err
	}
	p.Error, p.Code = say("The passkey did not work: it is not known here any more, or it took too long. Try again, or log in another way."), string(broker.PasskeyInvalid)
	c.Header("Latchkey-Code", p.Code)
	return s.show(c, answers[broker.PasskeyInvalid].status, "login", p)
}
