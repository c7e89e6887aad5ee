package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// loginPage is the door: a button per IdP, and the password form. Whoever is
// logged in goes on, unless a session just ended or another account is wanted.
func (s *Server) loginPage(c *gin.Context) error {
	q, err := query(c, "next", "ended", "error", "switch", "password", "autoLaunch")
	if err != nil {
		return err
	}
	plain := q["switch"]+q["ended"]+q["error"]+q["password"] == ""
	p := s.doorFor(c, q["next"])
	who, err := s.pagePrincipal(c)
	code := broker.CodeOf(err)
	switch {
	case err == nil && (p.Again || p.Choose): // the page says so, and who is logged in
	case err == nil && plain:
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
	case plain:
		if to := s.launch(c, &p, q["autoLaunch"]); to != "" {
			c.Redirect(http.StatusFound, to)
			return nil
		}
	}
	s.noticeOfDoor(c, &p, q)
	return s.show(c, http.StatusOK, "login", p)
}

// noticeOfDoor says what the address of the login page tells. Anybody can write
// one, so it is said in our own words.
func (s *Server) noticeOfDoor(c *gin.Context, p *page, q map[string]string) {
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
	if p.Notice == nil && p.Error == nil && p.User == nil {
		if needed, err := s.broker.NeedsSetup(c.Request.Context()); err == nil && needed {
			p.Notice = say("This Latchkey is not set up yet. Open the setup link that the server wrote to its log.")
		}
	}
}

// doorFor is the login page for somebody on the way to next, who may be on the
// way to a client.
func (s *Server) doorFor(c *gin.Context, next string) page {
	p := s.door(next)
	w := s.waitingFor(c, next)
	if w == nil {
		if p.Again = broker.AsksAnew(p.Onward); p.Again {
			s.knowAgain(c, &p)
		}
		if app, ok := s.forwardAppFor(p.Onward); ok { // the form leads on to its host
			p.Title, p.outward = say("Continue to {app}", app.Host), true
			return p
		}
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
	if p.Again || p.Choose {
		s.knowAgain(c, &p)
	}
	s.onlyAllowed(&p, w)
	return p
}

// knowAgain says who is logged in to whoever is to log in once more, or to choose.
func (s *Server) knowAgain(c *gin.Context, p *page) {
	who, err := s.pagePrincipal(c)
	if err != nil {
		return
	}
	p.User = &who.User
	if p.Again && p.Values["username"] == "" && who.Session.ProviderID == "" {
		p.Values["username"] = who.User.Username
	}
}

// onlyAllowed leaves the ways to log in that a waiting client takes.
func (s *Server) onlyAllowed(p *page, w *broker.Waiting) {
	if len(w.Client.Providers) == 0 {
		return
	}
	p.Local = p.Local && w.Client.TakesWay("")
	p.Passkeys = p.Passkeys && p.Local
	p.Buttons = slices.DeleteFunc(p.Buttons, func(b button) bool { return !w.Client.TakesWay(b.id) })
}

// door is the login page for somebody on the way to next. It asks no IdP
// anything: one that is known to be in trouble stands behind the others.
func (s *Server) door(next string) page {
	p := page{Title: say("Log in"), Local: s.cfg.LocalLogin, Passkeys: s.cfg.LocalLogin && s.broker.PasskeysOffered(), Forgotten: s.broker.ForgottenOffered(),
		Onward: s.broker.PublicURL() + "/", Values: map[string]string{}}
	if to, ok := s.ownPage(next); ok {
		p.Next, p.Onward = next, to
	}
	p.here = withParams(s.loginAddress(), url.Values{"next": {p.Next}})
	for _, provider := range s.broker.Providers() {
		p.Buttons = append(p.Buttons, button{
			id: provider.ID, Name: provider.Name, Logo: s.logoURL(&provider), Mark: monogram(provider.Name),
			Trouble: troubles[s.broker.ProviderHealth(provider.ID).State],
			URL:     s.broker.PublicURL() + "/auth/" + url.PathEscape(provider.ID) + "?callback=" + url.QueryEscape(p.Onward),
		})
	}
	slices.SortStableFunc(p.Buttons, func(a, b button) int { return rank(a) - rank(b) })
	return p
}

// troubles are what the door says of an IdP that is not well. Its button can be
// pressed all the same: it may be back.
var troubles = map[broker.HealthState]*text{
	broker.HealthDark: say("It does not answer at the moment."),
	broker.HealthSlow: say("It answers slowly at the moment."),
}

func rank(b button) int {
	return map[*text]int{troubles[broker.HealthSlow]: 1, troubles[broker.HealthDark]: 2}[b.Trouble]
}

// PasswordFirst reports whether the password is the way that works best.
func (p page) PasswordFirst() bool {
	return p.Local && !slices.ContainsFunc(p.Buttons, func(b button) bool { return b.Trouble == nil })
}

// monogram stands for the logo of a provider or an app that has none: the first
// letter of its name.
func monogram(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "·"
}
