package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static/*
var staticFiles embed.FS

// pages are the parsed templates, each with the layout, and the static files
// with the hash that stands in their URLs.
type pages struct {
	byName map[string]*template.Template
	assets map[string]asset
}

type asset struct {
	body    []byte
	version string
}

func loadPages() (*pages, error) {
	p := &pages{byName: map[string]*template.Template{}, assets: map[string]asset{}}
	files, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		body, err := staticFiles.ReadFile("static/" + file.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		p.assets[file.Name()] = asset{body, hex.EncodeToString(sum[:6])}
	}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if path.Base(name) == "layout.html" {
			continue
		}
		t, err := template.New("").Funcs(template.FuncMap{"asset": p.url}).ParseFS(templateFiles, "templates/layout.html", name)
		if err != nil {
			return nil, err
		}
		p.byName[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	return p, nil
}

// url is where a static file is, below the base: it changes with the file.
func (p *pages) url(name string) (string, error) {
	a, ok := p.assets[name]
	if !ok {
		return "", fmt.Errorf("no static file %q", name)
	}
	return "/static/" + name + "?v=" + a.version, nil
}

// page is what every template gets. Base is the path prefix of the public URL.
type page struct {
	Title  string
	Base   string
	Notice string // a sentence about what happened
	Error  string // a sentence about what went wrong
	Code   string // of the notice or error, for support
	Wrong  string // the field to look at
	Values map[string]string
	Local  bool
	Token  string

	Next    string
	Buttons []button
	User    *broker.User // who is logged in
	Method  string
	Since   moment
	Onward  string // the way on for whoever is logged in

	// formTarget is an origin that a form of the page may lead to besides our own.
	formTarget string
}

// button leads on: to an IdP, or to what helps after an error.
type button struct{ Name, URL string }

// moment is a time as a person reads it.
type moment struct{ Relative, Text, Machine string }

func (s *Server) moment(t time.Time) moment {
	t = t.UTC()
	m := moment{Text: t.Format(dateAndTime), Machine: t.Format(time.RFC3339)}
	if m.Relative = "just now"; s.broker.Now().Sub(t) >= time.Minute {
		m.Relative = span(s.broker.Now().Sub(t)) + " ago"
	}
	return m
}

const dateAndTime = "2 January 2006 at 15:04 UTC"

// span says a duration in its largest unit, up to days.
func span(d time.Duration) string {
	n, unit := int(d/time.Minute), "minute"
	switch {
	case d >= 24*time.Hour:
		n, unit = int(d/(24*time.Hour)), "day"
	case d >= time.Hour:
		n, unit = int(d/time.Hour), "hour"
	}
	if n = max(n, 1); n > 1 {
		unit += "s"
	}
	return fmt.Sprint(n, " ", unit)
}

// show renders whole before it writes: a template that fails is an error, not
// half a page.
func (s *Server) show(c *gin.Context, status int, name string, p page) error {
	p.Base = strings.TrimSuffix(s.publicURL.EscapedPath(), "/")
	var out bytes.Buffer
	if err := s.pages.byName[name].ExecuteTemplate(&out, "layout.html", p); err != nil {
		return err
	}
	// Chrome holds form-action against redirects, too: a form that leads on to
	// another origin must name it.
	forms := "; form-action 'self'"
	if p.formTarget != "" {
		forms += " " + p.formTarget
	}
	c.Header("Content-Security-Policy", contentSecurityPolicy+forms)
	c.Header("Cache-Control", "no-store")
	c.Data(status, "text/html; charset=utf-8", out.Bytes())
	return nil
}

var plainHost = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?$|^\[[0-9A-Fa-f:.]+\](:[0-9]+)?$`)

// originOf is scheme and host of a URL, or "" for what has no business in a
// header.
func originOf(target string) string {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || !plainHost.MatchString(u.Host) {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// asPage says an error to a person; to a program, in JSON.
func asPage(s *Server, c *gin.Context, e *broker.Error, a answer) {
	if wantsJSON(c) {
		asJSON(s, c, e, a)
		return
	}
	if c.Request.URL.Path == "/favicon.ico" { // asked for beside answers that are no page
		c.Writer.Header().Del("Latchkey-Code")
		c.Header("Cache-Control", "public, max-age=86400")
		c.Status(http.StatusNoContent)
		return
	}
	name, p := s.errorPage(c, e, a)
	if err := s.show(c, a.status, name, p); err != nil {
		c.String(a.status, "%s", a.text)
	}
}

// errorPage offers what helps: the door where the IdP failed, because the other
// ways in are there, and the same request once more where nothing was used up.
func (s *Server) errorPage(c *gin.Context, e *broker.Error, a answer) (name string, p page) {
	provider, begins := c.Param("provider"), c.FullPath() == "/auth/:provider"
	callback := strings.HasSuffix(c.FullPath(), "/callback") || strings.HasSuffix(c.FullPath(), "/mobile-redirect")
	if (begins || callback) && ofIdP(e) {
		p = s.door(c.Query("callback"))
		p.Error, p.Code = sentence(e, a), string(e.Code)
		if name := s.providerName(provider); name != "" && e.Code == broker.TemporarilyUnavailable {
			p.Error = name + " does not answer at the moment. Try again shortly, or choose another way in."
		}
		return "login", p
	}
	p = page{Title: titleOf(e.Code, a.status), Error: sentence(e, a), Code: string(e.Code)}
	login := s.broker.PublicURL() + "/login"
	switch {
	case callback:
		p.Buttons = []button{{"Log in again", login}} // the URL that came back is used up
	case a.status == http.StatusUnauthorized, e.Code == broker.SetupDone:
		p.Buttons = []button{{"Log in", login}}
	case a.status == http.StatusServiceUnavailable && c.Request.Method == http.MethodGet:
		// Absolute and of our origin: a path of two slashes would lead elsewhere.
		if again, ok := s.ownPage(strings.TrimSuffix(s.publicURL.EscapedPath(), "/") + c.Request.URL.RequestURI()); ok {
			p.Buttons = []button{{"Try again", again}}
		}
	}
	return "error", p
}

// ofIdP reports whether an error is an IdP's answer about a browser's own login.
func ofIdP(e *broker.Error) bool {
	switch e.Code {
	case broker.IdPRefused, broker.AccessDenied, broker.IdPBadResponse, broker.IssuerMismatch, broker.NonceMismatch, broker.NotProvisioned,
		broker.GroupNotAllowed, broker.DomainNotAllowed, broker.EmailNotVerified, broker.IdentityConflict, broker.UserDisabled, broker.ProviderUnknown:
		return true
	}
	return e.Code == broker.TemporarilyUnavailable && e.Message != "" // ours has no message
}

func (s *Server) providerName(id string) string {
	providers := s.broker.Providers()
	for _, p := range providers {
		if p.ID == id {
			return p.Name
		}
	}
	if id == broker.DefaultProviderID && len(providers) > 0 {
		return providers[0].Name
	}
	return ""
}

func titleOf(code broker.Code, status int) string {
	switch {
	case code == broker.SetupDone:
		return "Already set up"
	case status == http.StatusNotFound:
		return "Not found"
	case status >= 500:
		return "Not possible at the moment"
	}
	return "That did not work"
}

// sentence says an error to a person.
func sentence(e *broker.Error, a answer) string {
	text := e.Message
	if text == "" {
		text = sentences[e.Code]
	}
	if text == "" {
		text = a.text
	}
	if first, size := utf8.DecodeRuneInString(text); size > 0 {
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	if text = strings.TrimSuffix(text, ".") + "."; e.Code == broker.RateLimited && e.RetryAfter > 0 {
		text += " Try again in " + span(e.RetryAfter+time.Minute-1) + "."
	}
	return text
}

// static serves the few files that pages need. A URL with the right hash never
// changes its content.
func (s *Server) static(c *gin.Context) {
	name := strings.TrimPrefix(c.Param("file"), "/")
	a, ok := s.pages.assets[name]
	if !ok {
		c.String(http.StatusNotFound, "Not Found")
		return
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}
	if c.Header("Cache-Control", "no-cache"); c.Query("v") == a.version {
		c.Header("Cache-Control", "public, max-age=31536000, immutable")
	}
	c.Data(http.StatusOK, types[path.Ext(name)], a.body)
}

// homePage shows who is logged in.
func (s *Server) homePage(c *gin.Context) error {
	p, err := s.pagePrincipal(c)
	if err != nil {
		return s.toLogin(c, err)
	}
	method := "with a password"
	if name := s.providerName(p.Session.ProviderID); name != "" {
		method = "through " + name
	}
	return s.show(c, http.StatusOK, "home", page{
		Title: "You are logged in", User: &p.User, Method: method, Since: s.moment(p.Session.CreatedAt),
		formTarget: originOf(s.broker.EndSessionURL(c.Request.Context(), p.Session, s.afterLogout())),
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
	q, err := query(c, "next", "ended", "error", "switch")
	if err != nil {
		return err
	}
	p := s.door(q["next"])
	who, err := s.pagePrincipal(c)
	code := broker.CodeOf(err)
	switch {
	case err == nil && q["switch"] == "" && q["ended"] == "" && q["error"] == "":
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
	if code := broker.Code(q["ended"]); p.Notice == "" && endings[code].plain != "" {
		if p.Notice = endings[code].plain; code != broker.LoggedOut { // which nobody has to ask about
			p.Code = string(code)
		}
	}
	if code := broker.Code(q["error"]); sentences[code] != "" {
		p.Error, p.Code = sentence(&broker.Error{Code: code}, answers[code]), string(code)
	}
	return s.show(c, http.StatusOK, "login", p)
}

// door is the login page for somebody on the way to next.
func (s *Server) door(next string) page {
	p := page{Title: "Log in", Local: s.cfg.LocalLogin, Onward: s.broker.PublicURL() + "/", Values: map[string]string{}}
	if to, ok := s.ownPage(next); ok {
		p.Next, p.Onward = next, to
	}
	for _, provider := range s.broker.Providers() {
		p.Buttons = append(p.Buttons, button{
			Name: provider.Name,
			URL:  s.broker.PublicURL() + "/auth/" + url.PathEscape(provider.ID) + "?callback=" + url.QueryEscape(p.Onward),
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
	return s.show(c, http.StatusOK, "setup", page{Title: "Set up Latchkey", Token: q["token"], Wrong: "username"})
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

// ending is how a person is told why a session is over: full where the session
// is at hand, plain where only the cause is known.
type ending struct{ plain, full string }

// endings has one sentence per cause. {when}, {days} and {idp} are the
// session's.
var endings = map[broker.Code]ending{
	broker.LoggedOut:       {"You logged out on this device.", ""},
	broker.RevokedByUser:   {"You ended this device from your account page.", "You ended this device from your account page on {when}."},
	broker.RevokedByAdmin:  {"An administrator ended this device.", "An administrator ended this device on {when}."},
	broker.PasswordChanged: {"Your password was changed; every device has to log in again.", "Your password was changed on {when}; every device has to log in again."},
	broker.SessionExpired:  {"This device was not used for a long time.", "This device was not used for {days}."},
	broker.SessionMaxAge:   {"This login reached its age limit.", "This login reached its limit of {days}."},
	broker.SessionLimit:    {"You logged in on more devices than are allowed; the one unused for longest was ended.", ""},
	broker.TokenReused:     {"Two devices used the same login, so it was ended for safety. If one of them was not you, change your password.", ""},
	broker.CodeReused:      {"This login was redeemed twice, so it was ended for safety.", ""},
	broker.IdPLogout:       {"Your identity provider ended your session there.", "{idp} ended your session there."},
	broker.IdPRevoked:      {"Your identity provider says that your account may no longer log in.", "{idp} says that your account may no longer log in."},
	broker.UserDisabled:    {"Your account was disabled by an administrator.", ""},
	broker.UserDeleted:     {"Your account was deleted by an administrator.", ""},
	broker.ClientRemoved:   {"The app that this login was for has been removed by an administrator.", ""},
	broker.LinkUndone:      {"The link to the account that you logged in with was removed.", ""},
	broker.SessionUnknown:  {"This login is not known any more.", ""},
}

// ended says why the session of the browser's cookie is over. The cookie was
// checked: that is how the code came about.
func (s *Server) ended(c *gin.Context, code broker.Code) string {
	e, ok := endings[code]
	if !ok {
		return "This login is over."
	}
	id, _, _ := strings.Cut(readCookie(c, s.hostName(c, cookieSession)), ".")
	found, _, err := s.broker.SessionsBy(c.Request.Context(), broker.SessionFilter{ID: id}, 0, 1)
	if e.full == "" || id == "" || err != nil || len(found) != 1 {
		return e.plain
	}
	x, life := found[0], time.Duration(0)
	switch code {
	case broker.SessionExpired:
		life = x.IdleExpiresAt.Sub(x.LastSeenAt)
	case broker.SessionMaxAge:
		life = x.AbsExpiresAt.Sub(x.CreatedAt)
	}
	values := map[string]string{"{when}": "", "{days}": "", "{idp}": s.providerName(x.ProviderID)}
	if !x.EndedAt.IsZero() {
		values["{when}"] = x.EndedAt.UTC().Format(dateAndTime)
	}
	if life >= time.Minute {
		values["{days}"] = span(life)
	}
	text := e.full
	for name, value := range values {
		if strings.Contains(e.full, name) {
			if value == "" {
				return e.plain
			}
			text = strings.ReplaceAll(text, name, value)
		}
	}
	return text
}

// sentences are for errors that come without a message of their own.
var sentences = map[broker.Code]string{
	broker.TemporarilyUnavailable: "Something that Latchkey needs does not answer. Nothing is lost: try again in a moment",
	broker.RateLimited:            "There were too many failed attempts",
	broker.LocalLoginDisabled:     "Logging in with a password is switched off",
	broker.InvalidRequest:         "The request is not complete or not valid",
	broker.InvalidCredentials:     "The username or the password is wrong",
	broker.InvalidRedirectURI:     "This app's address is not registered here; an administrator can add it",
	broker.InvalidState:           "This login is not known, was used already, or took longer than ten minutes; begin again",
	broker.StateMismatch:          "This login was begun in another browser; begin again in this one",
	broker.IssuerMismatch:         "The answer is not from the identity provider that was asked",
	broker.NonceMismatch:          "The identity provider's answer belongs to another login",
	broker.AccessDenied:           "The identity provider refused the login",
	broker.IdPRefused:             "The identity provider refused the login",
	broker.IdPBadResponse:         "The identity provider's answer is not valid; an administrator finds the reason in the log",
	broker.ProviderUnknown:        "There is no identity provider of that name",
	broker.NotProvisioned:         "There is no account here for that login; ask an administrator",
	broker.GroupNotAllowed:        "Your groups may not log in here",
	broker.DomainNotAllowed:       "Your e-mail address may not log in here",
	broker.EmailNotVerified:       "Your e-mail address has not been verified",
	broker.IdentityConflict:       "Your e-mail address belongs to an account that cannot be linked; ask an administrator",
	broker.UserDisabled:           "Your account was disabled by an administrator",
	broker.UserDeleted:            "Your account was deleted by an administrator",
	broker.Forbidden:              "This is not for your account",
	broker.NotFound:               "There is no such page",
	broker.SetupDone:              "This installation has an administrator already",
	broker.NoToken:                "You are not logged in",
}
