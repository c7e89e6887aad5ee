package web

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static/*
var staticFiles embed.FS

// pages are the parsed templates, each with the layout.
type pages struct{ byName map[string]*template.Template }

func loadPages() (*pages, error) {
	p := &pages{byName: map[string]*template.Template{}}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if path.Base(name) == "layout.html" {
			continue
		}
		t, err := template.ParseFS(templateFiles, "templates/layout.html", name)
		if err != nil {
			return nil, err
		}
		p.byName[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	return p, nil
}

// page is what every template gets. Base is the path prefix of the public URL.
type page struct {
	Title   string
	Base    string
	Error   string // a sentence for the person
	Code    string // the code of the error, for support
	Next    string
	Values  map[string]string // what was typed, never a password
	Buttons []button
	Local   bool
	User    *broker.User
	Session *broker.Session
	Method  string
	Since   time.Time
	Token   string
	Retry   string
}

// button leads to an IdP.
type button struct{ Name, URL string }

// show renders whole before it writes: a template that fails is an error, not
// half a page.
func (s *Server) show(c *gin.Context, status int, name string, p page) error {
	p.Base = strings.TrimSuffix(s.publicURL.Path, "/")
	var out bytes.Buffer
	if err := s.pages.byName[name].ExecuteTemplate(&out, "layout.html", p); err != nil {
		return err
	}
	// Only here, and only to ourselves: pages are what has forms.
	c.Header("Content-Security-Policy", contentSecurityPolicy+"; form-action 'self'")
	c.Header("Cache-Control", "no-store")
	c.Data(status, "text/html; charset=utf-8", out.Bytes())
	return nil
}

// asPage says an error to a person; to a program, in JSON.
func asPage(s *Server, c *gin.Context, e *broker.Error, a answer) {
	if wantsJSON(c) {
		asJSON(s, c, e, a)
		return
	}
	p := page{Title: titleOf(a.status), Error: sentence(e, a), Code: string(e.Code)}
	if a.status == http.StatusServiceUnavailable && c.Request.Method == http.MethodGet {
		p.Retry = c.Request.URL.RequestURI()
	}
	if err := s.show(c, a.status, "error", p); err != nil {
		c.String(a.status, "%s", a.text)
	}
}

func titleOf(status int) string {
	switch {
	case status == http.StatusNotFound:
		return "Not found"
	case status >= 500:
		return "Not possible at the moment"
	}
	return "That did not work"
}

func sentence(e *broker.Error, a answer) string {
	text := e.Message
	if text == "" {
		text = a.text
	}
	if e.Code == broker.TemporarilyUnavailable {
		if text = e.Message; text == "" {
			text = "something that Latchkey needs does not answer"
		}
		text += "; nothing is lost, try again in a moment"
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// static serves the few files that pages need. Their names do not change, so
// they are cached shortly.
func (s *Server) static(c *gin.Context) {
	name := "static" + path.Clean("/"+c.Param("file"))
	body, err := staticFiles.ReadFile(name)
	if err != nil {
		c.String(http.StatusNotFound, "Not Found")
		return
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}
	c.Header("Cache-Control", "public, max-age=3600")
	c.Data(http.StatusOK, types[path.Ext(name)], body)
}

// homePage shows who is logged in.
func (s *Server) homePage(c *gin.Context) error {
	p, err := s.pagePrincipal(c)
	if err != nil {
		return s.toLogin(c, err)
	}
	method := "with a password"
	for _, provider := range s.broker.Providers() {
		if provider.ID == p.Session.ProviderID {
			method = "through " + provider.Name
		}
	}
	return s.show(c, http.StatusOK, "home", page{Title: "You are logged in", User: &p.User, Session: &p.Session, Method: method, Since: p.Session.CreatedAt})
}

// toLogin sends whoever has no session to the login, with the reason if a
// session ended.
func (s *Server) toLogin(c *gin.Context, err error) error {
	code := broker.CodeOf(err)
	if a := answers[code]; a.status != http.StatusUnauthorized {
		return err
	}
	to := s.broker.PublicURL() + "/login"
	if code != broker.NoToken {
		s.clearSession(c)
		to += "?ended=" + url.QueryEscape(string(code))
	}
	c.Redirect(http.StatusSeeOther, to)
	return nil
}

// endedSentences tell a person why a session is over.
var endedSentences = map[broker.Code]string{
	broker.LoggedOut:       "You logged out on this device.",
	broker.RevokedByUser:   "You ended this device from your account page.",
	broker.RevokedByAdmin:  "An administrator ended this device.",
	broker.PasswordChanged: "Your password was changed; every device has to log in again.",
	broker.SessionExpired:  "This device was not used for a long time, so its login ended.",
	broker.SessionMaxAge:   "This login reached its age limit.",
	broker.TokenReused:     "Two devices used the same login, so it was ended for safety. If one of them was not you, change your password.",
	broker.UserDisabled:    "Your account was disabled by an administrator.",
	broker.UserDeleted:     "Your account was deleted by an administrator.",
	broker.CodeReused:      "The login was used twice, so it was ended for safety.",
	broker.IdPLogout:       "Your identity provider ended the session.",
	broker.IdPRevoked:      "Your identity provider says that your account may no longer log in.",
}

// loginPage is the door: a button per IdP, and the password form.
func (s *Server) loginPage(c *gin.Context) error {
	q, err := query(c, "next", "ended")
	if err != nil {
		return err
	}
	p := s.door(q["next"])
	if text, ok := endedSentences[broker.Code(q["ended"])]; ok {
		p.Error, p.Code = text, q["ended"]
	}
	return s.show(c, http.StatusOK, "login", p)
}

// door is the login page for somebody on the way to next.
func (s *Server) door(next string) page {
	home := s.broker.PublicURL() + "/"
	if to, ok := s.ownPage(next); ok {
		home = to
	} else {
		next = ""
	}
	p := page{Title: "Log in", Next: next, Local: s.cfg.LocalLogin, Values: map[string]string{}}
	for _, provider := range s.broker.Providers() {
		p.Buttons = append(p.Buttons, button{
			Name: provider.Name,
			URL:  s.broker.PublicURL() + "/auth/" + url.PathEscape(provider.ID) + "?callback=" + url.QueryEscape(home),
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
	p := s.door(value("next"))
	p.Values["username"] = bounded(value("username"))
	l, err := s.broker.LoginPassword(c.Request.Context(), value("username"), value("password"), device(c))
	if err != nil {
		return s.again(c, "login", p, err)
	}
	s.setSession(c, l)
	to := s.broker.PublicURL() + "/"
	if next, ok := s.ownPage(value("next")); ok {
		to = next
	}
	c.Redirect(http.StatusSeeOther, to)
	return nil
}

// again shows a form once more with what is wrong and what was typed.
func (s *Server) again(c *gin.Context, name string, p page, err error) error {
	code := broker.CodeOf(err)
	a := answers[code]
	e := &broker.Error{Code: code}
	if full, ok := err.(*broker.Error); ok {
		e = full
	}
	if a.status >= 500 || code == broker.SetupDone || code == broker.Forbidden {
		return err
	}
	p.Error, p.Code = sentence(e, a), string(code)
	limitHeaders(c.Writer.Header(), e.Limit)
	if e.RetryAfter > 0 {
		c.Header("Retry-After", seconds(e.RetryAfter))
	}
	c.Header("Latchkey-Code", string(code))
	return s.show(c, a.status, name, p)
}

// endSessionForm logs this browser out.
func (s *Server) endSessionForm(c *gin.Context) error {
	to := s.broker.PublicURL() + "/login?ended=" + string(broker.LoggedOut)
	if p, err := s.pagePrincipal(c); err == nil {
		ended, err := s.broker.LogoutSession(c.Request.Context(), p.Session.ID, false, device(c))
		if err != nil {
			return err
		}
		if idp := s.broker.EndSessionURL(c.Request.Context(), ended, to); idp != "" {
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
	return s.show(c, http.StatusOK, "setup", page{Title: "Set up Latchkey", Token: q["token"], Values: map[string]string{}})
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
		p := page{Title: "Set up Latchkey", Token: *f["token"], Values: map[string]string{"username": bounded(*f["username"])}}
		return s.again(c, "setup", p, err)
	}
	s.setSession(c, l)
	c.Redirect(http.StatusSeeOther, s.broker.PublicURL()+"/")
	return nil
}
