package web

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const ownPasswordPath = "/account/password"

// ownPasswordView is what the page of the own password is about.
type ownPasswordView struct {
	Form    []input
	First   bool   // there is none yet
	Refresh string // where to log in anew, which a first password needs; empty: it does not
	Vain    *text  // that it was done, and did not help; nil: it was not
	Never   *text  // why there is no form
}

var ownPasswordDone = map[string]*text{
	"changed": say("Your password is changed. Every other device and app has to log in again; this one stays."),
	"set":     say("Your password is set. Every other device and app has to log in again; this one stays."),
}

// ownPasswordPage is where whoever is logged in changes the password, or sets a
// first one.
func (s *Server) ownPasswordPage(c *gin.Context, p broker.Principal) error {
	out, view, err := s.ownPassword(c, p)
	if err != nil {
		return err
	}
	out.Notice, out.View = whatWasDone(c, ownPasswordDone), view
	return s.show(c, http.StatusOK, "own_password", out)
}

func (s *Server) ownPassword(c *gin.Context, p broker.Principal) (page, *ownPasswordView, error) {
	out, view := room(c, p, say("Your password")), &ownPasswordView{First: p.User.PasswordHash == ""}
	out.View = view
	switch {
	case p.User.Role == broker.RoleGuest:
		view.Never = say("This account is a guest's. Guests have no password of their own to change; an administrator gives them one.")
		return out, view, nil
	case !s.cfg.LocalLogin:
		view.Never = say("Logging in with a password is switched off here, so there is none to change.")
		return out, view, nil
	}
	if view.First {
		recent, err := s.broker.RecentlyProven(c.Request.Context(), p)
		if err != nil {
			return out, view, err
		}
		if !recent {
			view.Refresh, view.Vain = s.loginAgain(ownPasswordPath), s.inVain(c, p)
			return out, view, nil
		}
	} else {
		view.Form = append(view.Form, input{
			Name: "current", Type: "password", Label: say("Current password"), Autocomplete: "current-password", Required: true, Max: broker.MaxPasswordBytes,
		})
	}
	needed, err := s.broker.CodeNeeded(c.Request.Context(), p)
	if err != nil {
		return out, view, err
	}
	if needed {
		view.Form = append(view.Form, codeOf("otp"))
	}
	view.Form = append(view.Form, input{
		Name: "password", Type: "password", Label: say("New password"), Autocomplete: "new-password", Required: true,
		Min: s.broker.MinPassword(), Max: broker.MaxPasswordBytes,
		Help: say("At least {n} characters. Length is what counts: a few words are better than one with symbols.", s.broker.MinPassword()),
	})
	return out, view, nil
}

// ownPasswordForm changes it. Every session ends, and this browser goes on in a
// new one.
func (s *Server) ownPasswordForm(c *gin.Context, p broker.Principal) error {
	f, err := onlyFields(c, "username", "current", "otp", "password")
	if err != nil {
		return err
	}
	if f["password"] == nil {
		return badField("password", "the form is not complete")
	}
	in := broker.PasswordChange{Current: f["current"], Code: f["otp"], Fresh: *f["password"]}
	l, err := s.broker.ChangePassword(c.Request.Context(), p, in, device(c))
	if err != nil {
		return s.ownPasswordAgain(c, p, err)
	}
	s.setSession(c, l)
	if p.User.PasswordHash == "" {
		return s.done(c, ownPasswordPath, "set")
	}
	return s.done(c, ownPasswordPath, "changed")
}

// ownPasswordAgain shows the form once more, empty as passwords are.
func (s *Server) ownPasswordAgain(c *gin.Context, p broker.Principal, err error) error {
	out, view, trouble := s.ownPassword(c, p)
	if trouble != nil {
		return trouble
	}
	if e, ok := errors.AsType[*broker.Error](err); ok && e.Code == broker.WrongPassword {
		err = ofField(e, "current")
	}
	return s.retry(c, "own_password", out, &view.Form, nil, err)
}
