package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// homePage shows who is logged in.
func (s *Server) homePage(c *gin.Context) error {
	p, err := s.pagePrincipal(c)
	if err != nil {
		return s.toLogin(c, err)
	}
	method := say("with a password")
	if name := s.providerName(p.Session.ProviderID); name != "" {
		method = say("through {provider}", name)
	}
	told, err := s.told(c, p.User)
	if err != nil {
		return err
	}
	return s.show(c, http.StatusOK, "home", page{
		Title: say("You are logged in"), User: &p.User, Role: roles[p.User.Role], Method: method, Since: s.moment(p.Session.CreatedAt), Told: told,
		outward: s.broker.EndSessionURL(c.Request.Context(), p.Session, s.afterLogout()) != "",
	})
}

// toLogin sends whoever has no session to the login. The cookie of a session
// that ended stays, so that the login page can say why.
func (s *Server) toLogin(c *gin.Context, err error) error {
	code := broker.CodeOf(err)
	if a := answers[code]; a.status != http.StatusUnauthorized || wantsJSON(c) {
		return err
	}
	to := s.broker.PublicURL() + "/login"
	if code != broker.NoToken {
		to += "?ended=" + url.QueryEscape(string(code))
	}
	c.Redirect(http.StatusSeeOther, to)
	return nil
}

// loginPage is the door: a button per IdP, and the password form. Whoever is
// logged in goes on, unless a session just ended or another account is wanted.
func (s *Server) loginPage(c *gin.Context) error {
	q, err := query(c, "next", "ended", "error", "switch", "password")
	if err != nil {
		return err
	}
	p := s.doorFor(c, q["next"])
	who, err := s.pagePrincipal(c)
	code := broker.CodeOf(err)
	switch {
	case err == nil && (p.Again || p.Choose): // the page says so, and who is logged in
	case err == nil && q["switch"]+q["ended"]+q["error"]+q["password"] == "":
		c.Redirect(http.StatusSeeOther, p.Onward)
		return nil
	case err == nil:
		p.User = &who.User
	case answers[code].status != http.StatusUnauthorized:
		return err
	case code != broker.NoToken:
		// Said once, with what the session knows of its end.
		p.Notice, p.Code = s.ended(c, code), string(code)
		s.clearSession(c)
	}
	if code := broker.Code(q["ended"]); p.Notice == nil && p.User == nil && endings[code].plain != nil {
		if p.Notice = endings[code].plain; code != broker.LoggedOut { // which nobody has to ask about
			p.Code = string(code)
		}
	}
	if q["password"] == "set" {
		p.Notice, p.Code = say("Your password is set. Log in with it."), ""
	}
	if code := broker.Code(q["error"]); sentences[code] != nil {
		p.Error, p.Code = sentence(&broker.Error{Code: code}, answers[code]), string(code)
	}
	return s.show(c, http.StatusOK, "login", p)
}

// doorFor is the login page for somebody on the way to next, who may be on the
// way to a client.
func (s *Server) doorFor(c *gin.Context, next string) page {
	p := s.door(next)
	w := s.waitingFor(c, next)
	if w == nil {
		if u, err := url.Parse(p.Onward); err == nil && u.Path == strings.TrimSuffix(s.publicURL.Path, "/")+"/device" {
			p.Title, p.Device = say("Log in to connect a device"), true
		}
		return p
	}
	p.Client, p.popup, p.outward = clientView(&w.Client, w.RedirectURI), true, true
	p.Title, p.Again, p.Choose = say("Continue to {app}", p.Client.Name), w.Again, w.Choose
	p.Values["username"], p.locales = w.LoginHint, w.UILocales
	if p.Choose {
		p.Onward += "&chosen=1"
	}
	if who, err := s.pagePrincipal(c); err == nil && (p.Again || p.Choose) {
		p.User = &who.User
		if p.Again && w.LoginHint == "" && who.Session.ProviderID == "" {
			p.Values["username"] = who.User.Username
		}
	}
	s.onlyAllowed(&p, w)
	return p
}

// door is the login page for somebody on the way to next.
func (s *Server) door(next string) page {
	p := page{Title: say("Log in"), Local: s.cfg.LocalLogin, Onward: s.broker.PublicURL() + "/", Values: map[string]string{}}
	if to, ok := s.ownPage(next); ok {
		p.Next, p.Onward = next, to
	}
	for _, provider := range s.broker.Providers() {
		p.Buttons = append(p.Buttons, button{
			id: provider.ID, Name: provider.Name,
			URL: s.broker.PublicURL() + "/auth/" + url.PathEscape(provider.ID) + "?callback=" + url.QueryEscape(p.Onward),
		})
	}
	return p
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
	l, err := s.broker.LoginPassword(c.Request.Context(), value("username"), value("password"), s.browserDevice(c))
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
	if a.status >= 500 || code == broker.SetupDone || code == broker.Forbidden || wantsJSON(c) {
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
	limitHeaders(c.Writer.Header(), e.Limit)
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
	if err := s.broker.CheckSetup(c.Request.Context(), q["token"]); err != nil {
		return err
	}
	return s.show(c, http.StatusOK, "setup", page{Title: say("Set up Latchkey"), Token: q["token"], Wrong: "username"})
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
	s.setSession(c, l)
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/")
	return nil
}
