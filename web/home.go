package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// way is a short way on from the home page.
type way struct {
	Path       string
	Text, Help *text
}

var waysOn = []way{
	{"/account", say("Devices"), say("What is logged in to your account, and how to end it")},
	{identitiesPath, say("Logins"), say("The accounts elsewhere with which you log in here")},
	{"/account/password", say("Password"), say("Set or change it")},
	{factorsPath, say("Second factors"), say("An authenticator app, passkeys and recovery codes")},
	{"/account/api-keys", say("API keys"), say("Access for programs that act for you")},
}

var wayToOffice = way{"/admin", say("Administration"), say("Users, sessions, clients, providers, and the audit log")}

// homeView is the home page: who is logged in, what they are to be told, and the
// short ways on.
type homeView struct {
	Told   *told
	Role   *text
	Method *text
	Since  moment
	Ways   []way
}

func (s *Server) homePage(c *gin.Context, p broker.Principal) error {
	told, err := s.told(c, p.User)
	if err != nil {
		return err
	}
	view := homeView{
		Told: told, Role: roles[p.User.Role], Method: s.loginMethod(p.Session), Since: s.moment(p.Session.CreatedAt), Ways: waysOn,
	}
	if p.User.Role.IsAdmin() {
		view.Ways = append([]way{wayToOffice}, waysOn...)
	}
	home := room(c, p, say("You are logged in"))
	home.View = view
	return s.show(c, http.StatusOK, "home", home)
}
