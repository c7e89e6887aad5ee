package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// maxReferer bounds the address of the page that a form was sent from.
const maxReferer = 2048

// toLogin sends whoever has no session to the login, and from there back to the
// page. The cookie of a session that ended stays, so that the login page can say
// why.
func (s *Server) toLogin(c *gin.Context, err error) error {
	code := broker.CodeOf(err)
	if a := answers[code]; a.status != http.StatusUnauthorized || wantsJSON(c) {
		return err
	}
	q := url.Values{}
	if code != broker.NoToken {
		q.Set("ended", string(code))
	}
	if c.Request.Method == http.MethodGet && c.FullPath() != "/" {
		q.Set("next", strings.TrimSuffix(s.publicURL.EscapedPath(), "/")+c.Request.URL.RequestURI())
	}
	if from := c.GetHeader("Referer"); c.Request.Method != http.MethodGet && from != "" && len(from) <= maxReferer {
		if own, ok := s.ownPage(from); ok { // what was typed is lost, and the page is there
			q.Set("next", own)
		}
	}
	to := url.URL{Path: "/login", RawQuery: q.Encode()}
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+to.String())
	return nil
}

// loginForm is what the door's form posts.
func (s *Server) loginForm(c *gin.Context) error {
	f, err := fields(c, "username", "password", "next")
	if err != nil {
		return err
	}
	value := func(name string) string {
		if f[name] == nil {
			return ""
		}
		return *f[name]
	}
	p := s.doorFor(c, value("next"))
	p.Values["username"] = bounded(value("username"))
	in := broker.PasswordLogin{Username: value("username"), Password: value("password"), Wait: !wantsJSON(c)}
	l, err := s.broker.LoginWith(c.Request.Context(), in, s.browserDevice(c))
	if e, ok := second(err); ok {
		return s.toSecondStep(c, p, e)
	}
	if e, ok := temporary(err); ok && !wantsJSON(c) {
		return s.askForPassword(c, p, e)
	}
	if err != nil {
		return s.again(c, "login", p, err)
	}
	s.setSession(c, l)
	c.Redirect(http.StatusSeeOther, p.Onward)
	return nil
}

// again shows a form once more with what is wrong and what was typed.
func (s *Server) again(c *gin.Context, name string, p page, err error) error {
	code := broker.CodeOf(err)
	a := answers[code]
	if a.status >= 500 || code == broker.SetupDone || code == broker.Forbidden && p.Shape != shapeOffice || wantsJSON(c) {
		return err
	}
	e, ok := errors.AsType[*broker.Error](err)
	if !ok {
		e = &broker.Error{Code: code}
	}
	p.Error, p.Code, p.Wrong = sentence(e, a), string(code), "password"
	if code == broker.InvalidUsername || code == broker.UsernameTaken {
		p.Wrong = "username"
	}
	if e.Limit != nil {
		limitHeaders(c.Writer.Header(), *e.Limit)
	}
	if e.RetryAfter > 0 {
		c.Header("Retry-After", seconds(e.RetryAfter))
	}
	if a.verdict != "" {
		c.Header("Latchkey-Verdict", string(verdictOf(e, a)))
	}
	c.Header("Latchkey-Code", string(code))
	return s.show(c, a.status, name, p)
}

func (s *Server) afterLogout() string {
	return s.broker.PublicURL() + "/login"
}

// endSessionForm logs this browser out.
func (s *Server) endSessionForm(c *gin.Context) error {
	if err := s.ownForm(c); err != nil {
		return err
	}
	to := s.afterLogout() + "?ended=" + string(broker.LoggedOut)
	p, err := s.pagePrincipal(c)
	if trouble(err) {
		return err // nobody is told to be logged out who is not
	}
	if err == nil {
		ended, err := s.broker.LogoutSession(c.Request.Context(), p.Session.ID, false, device(c))
		if err != nil {
			return err
		}
		if idp := s.broker.EndSessionURL(c.Request.Context(), ended, s.afterLogout()); idp != "" {
			to = idp
		}
	}
	s.clearSession(c)
	c.Redirect(http.StatusSeeOther, to)
	return nil
}

// setupPage makes the first administrator, for whoever has the link from the log.
func (s *Server) setupPage(c *gin.Context) error {
	q, err := query(c, "token")
	if err != nil {
		return err
	}
	cookie := s.hostName(c, cookieSetupLink)
	token := cmp.Or(q["token"], readCookie(c, cookie))
	if err := s.broker.CheckSetup(c.Request.Context(), token, device(c)); err != nil {
		return err
	}
	if q["token"] != "" { // out of the address bar, the history and the logs of what comes after
		s.setCookie(c, cookie, token, linkLife)
		c.Redirect(http.StatusSeeOther, s.inLanguage(c, s.broker.PublicURL()+"/setup"))
		return nil
	}
	return s.show(c, http.StatusOK, "setup", page{Title: say("Set up Latchkey"), Token: token, Wrong: "username"})
}

func (s *Server) setupForm(c *gin.Context) error {
	f, err := fields(c, "token", "username", "password")
	if err != nil {
		return err
	}
	if f["token"] == nil || f["username"] == nil || f["password"] == nil {
		return badRequest("the form is not complete")
	}
	l, err := s.broker.Setup(c.Request.Context(), *f["token"], broker.NewUser{Username: *f["username"], Password: *f["password"]}, device(c))
	if err != nil {
		p := page{Title: say("Set up Latchkey"), Token: *f["token"], Values: map[string]string{"username": bounded(*f["username"])}}
		return s.again(c, "setup", p, err)
	}
	s.setCookie(c, s.hostName(c, cookieSetupLink), "", 0)
	s.setSession(c, l)
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+setupPath)
	return nil
}
