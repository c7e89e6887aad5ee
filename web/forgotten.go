package web

import (
	"net/http"

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

func forgotten() (page, *forgottenView) {
	view := &forgottenView{Form: []input{{
		Name: "account", Label: say("Username or e-mail address"), Required: true, Autocomplete: "username", Code: true,
		Rule: say("Give your username or your e-mail address."),
	}}}
	return page{Title: say("Forgotten your password?"), View: view}, view
}

func (s *Server) forgottenPage(c *gin.Context) error {
	if !s.broker.ForgottenOffered() {
		return noSuchPage()
	}
	p, _ := forgotten()
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
		p, view := forgotten()
		p.here = s.broker.PublicURL() + forgottenPath
		return s.retry(c, "forgotten", p, &view.Form, f, err)
	}
	return s.done(c, forgottenPath, "asked")
}

func noSuchPage() error {
	return &broker.Error{Code: broker.NotFound, Message: "there is no such page"}
}
