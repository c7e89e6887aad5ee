package web

import (
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the page of those who forgot their password. It is there where
// mail is sent and passwords count.

const forgottenPath = "/login/forgotten"

var forgottenDone = map[string]*text{
	"asked": say("If there is such an account and it has a known e-mail address, a mail with a link is on its way. It can take a few minutes; look among the spam, too."),
}

// forgottenView is the page's one field.
type forgottenView struct{ Form []input }

// forgotten is the page, which leads back to the login on the way to next.
func (s *Server) forgotten(c *gin.Context) (page, *forgottenView) {
	view := &forgottenView{Form: []input{{
		Name: "account", Label: say("Username or e-mail address"), Required: true, Autocomplete: "username", Code: true,
		Rule: say("Give your username or your e-mail address."),
	}}}
	p := page{Title: say("Forgotten your password?"), View: view}
	if _, ok := s.ownPage(c.Query("next")); ok {
		p.Next = c.Query("next")
	}
	return p, view
}

func (s *Server) forgottenPage(c *gin.Context) error {
	if !s.broker.ForgottenOffered() {
		return noSuchPage()
	}
	p, _ := s.forgotten(c)
	p.Notice = whatWasDone(c, forgottenDone)
	return s.show(c, http.StatusOK, "forgotten", p)
}

// forgottenForm answers the same for every account, and for none.
func (s *Server) forgottenForm(c *gin.Context) error {
	if !s.broker.ForgottenOffered() {
		return noSuchPage()
	}
	f, err := fields(c, "account")
	if err != nil {
		return err
	}
	err = s.broker.ForgotPassword(c.Request.Context(), or(f["account"]), s.tongueFor(c, "").tag.String(), device(c))
	if err != nil {
		p, view := s.forgotten(c)
		p.here = s.broker.PublicURL() + forgottenPath
		return s.retry(c, "forgotten", p, &view.Form, f, err)
	}
	path := forgottenPath
	if p, _ := s.forgotten(c); p.Next != "" {
		path += "?next=" + url.QueryEscape(p.Next)
	}
	return s.done(c, path, "asked")
}

func noSuchPage() error {
	return &broker.Error{Code: broker.NotFound, Message: "there is no such page"}
}
