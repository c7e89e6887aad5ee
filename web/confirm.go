package web

import (
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file is the page between the identity provider and an app of the JSON
// contract, where mobile_confirm is on.

const (
	confirmLife = 5 * time.Minute
	confirmPath = "/auth/:provider/confirm"
)

// askBeforeApp sends the browser to the page that asks, which has a URL of its own
// without anything of the IdP's answer, and binds what waits there to this browser.
func (s *Server) askBeforeApp(c *gin.Context, x *broker.Confirmation) {
	s.setFlow(c, x.ID, x.Secret, confirmLife)
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/auth/"+url.PathEscape(c.Param("provider"))+"/confirm?id="+url.QueryEscape(x.ID))
}

// confirmPage asks whether to go on to an app.
func (s *Server) confirmPage(c *gin.Context) error {
	q, err := query(c, "id")
	if err != nil {
		return err
	}
	x, err := s.broker.FindConfirmation(c.Request.Context(), c.Param("provider"), q["id"], s.flowSecret(c, q["id"]))
	if err != nil {
		return err
	}
	app := appView(x.Request.RedirectURI)
	return s.show(c, http.StatusOK, "confirm", page{
		Title: say("Continue to {app}?", app.Name), User: &x.User, Client: app, Token: x.ID, Detail: x.Request.RedirectURI, outward: true,
		Next: "/auth/" + url.PathEscape(c.Param("provider")) + "/confirm",
	})
}

// appView shows an app by what is known of it: where the browser goes.
func appView(redirectURI string) *client {
	view := &client{Name: redirectURI}
	view.Site, view.App = whereTo(redirectURI)
	if u, err := url.Parse(redirectURI); err == nil {
		if view.Name = u.Scheme; !view.App {
			view.Name = u.Host
		}
	}
	view.Long = len(view.Name) > 32
	return view
}

// confirmForm takes the person's word. Only the page itself can say it, in the
// browser that came back from the IdP.
func (s *Server) confirmForm(c *gin.Context) error {
	c.Header("Cache-Control", "no-store")
	if err := s.sameOrigin(c); err != nil {
		return err
	}
	f, err := onlyFields(c, "id", "decision")
	if err != nil {
		return err
	}
	id, decision := or(f["id"]), or(f["decision"])
	if decision != "allow" && decision != "deny" {
		return badRequest("the form is not complete")
	}
	code, request, err := s.broker.DecideConfirmation(c.Request.Context(), c.Param("provider"), id, s.flowSecret(c, id), decision == "allow")
	refused := broker.CodeOf(err) == broker.AccessDenied && request.ID != ""
	if err != nil && !refused {
		return err
	}
	s.setCookie(c, s.flowCookie(c, id), "", 0)
	if refused {
		return s.toAppOr(c, &request, err)
	}
	c.Redirect(http.StatusSeeOther, appURL(&request, url.Values{"code": {code}}))
	return nil
}
