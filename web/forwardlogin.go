package web

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// This file logs a browser in to an app behind a proxy: it begins on the app's
// host, goes through Latchkey, and comes back with a code for a cookie there.

const (
	forwardContinuePath = forwardAuthPath + "/continue"
	// maxReturn bounds the address that is kept in a cookie, for the way back.
	maxReturn = 2048
	// handoversAtOnce is how many logins one browser has under way at an app.
	handoversAtOnce = 5
)

// onHost gives a cookie of an app's host the __Host- prefix where the browser
// speaks https to it, as hostName does for our own.
func onHost(app broker.ForwardApp, name string) string {
	if app.Secure {
		return "__Host-" + name
	}
	return name
}

func forwardCookie(app broker.ForwardApp) string { return onHost(app, "latchkey_forward") }

// handoverPrefix begins the names of the cookies of logins under way, so that two
// tabs do not undo each other.
func handoverPrefix(app broker.ForwardApp) string { return onHost(app, "latchkey_handover_") }

func handoverCookie(app broker.ForwardApp, state string) string {
	sum := sha256.Sum256([]byte(state))
	return handoverPrefix(app) + hex.EncodeToString(sum[:4])
}

// setAppCookie sets a cookie on the host of an app; a life of 0 takes it away.
func setAppCookie(c *gin.Context, app broker.ForwardApp, name, value string, life time.Duration) {
	// #nosec G124 -- HttpOnly, Lax, and Secure but where the app is reached by http
	cookie := &http.Cookie{
		Name: name, Value: value, Path: "/", HttpOnly: true, Secure: app.Secure, SameSite: http.SameSiteLaxMode, MaxAge: int(life / time.Second),
	}
	if life <= 0 {
		cookie.MaxAge = -1
	}
	http.SetCookie(c.Writer, cookie)
}

// beginForward is GET /.latchkey/login on the host of an app. The address to come
// back to stays there, in the cookie: it is no business of Latchkey's, nor of its log.
func (s *Server) beginForward(c *gin.Context) error {
	noStore(c)
	q, err := query(c, "to")
	if err != nil {
		return err
	}
	app, err := s.appHost(c)
	if err != nil {
		return err
	}
	to, ok := appPath(q["to"])
	if !ok {
		return badRequest("to is not the path of a page of this app")
	}
	h, err := s.broker.BeginForward(app)
	if err != nil {
		return err
	}
	s.dropHandovers(c, app)
	setAppCookie(c, app, handoverCookie(app, h.State), h.Secret+"."+base64.RawURLEncoding.EncodeToString([]byte(to)), h.Life)
	c.Redirect(http.StatusFound, s.broker.PublicURL()+forwardContinuePath+"?"+url.Values{"state": {h.State}}.Encode())
	return nil
}

// dropHandovers keeps logins that were begun and left from filling the headers.
func (s *Server) dropHandovers(c *gin.Context, app broker.ForwardApp) {
	left := []string{}
	for _, cookie := range c.Request.Cookies() {
		if strings.HasPrefix(cookie.Name, handoverPrefix(app)) {
			left = append(left, cookie.Name)
		}
	}
	if len(left) < handoversAtOnce {
		return
	}
	for _, name := range left {
		setAppCookie(c, app, name, "", 0)
	}
}

// appPath accepts the path, with its query, of a page on the same host; empty is
// the first page. What a browser could read as another host is refused, and so is
// the way to the login itself. Of what is too long for a cookie the query is left out.
func appPath(to string) (string, bool) {
	if to == "" {
		return "/", true
	}
	odd := func(r rune) bool { return r == '\\' || r == '#' || unicode.IsControl(r) || unicode.IsSpace(r) }
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsFunc(to, odd) {
		return "", false
	}
	u, err := url.ParseRequestURI(to)
	if err != nil || u.Host != "" || u.Scheme != "" || strings.HasPrefix(path.Clean(u.Path)+"/", broker.ForwardPath) {
		return "", false
	}
	if len(to) > maxReturn {
		to, _, _ = strings.Cut(to, "?")
	}
	if len(to) > maxReturn {
		to = "/"
	}
	return to, true
}

// continueForward is GET /forward-auth/continue, on Latchkey's own host: whoever is
// logged in goes on to the app.
func (s *Server) continueForward(c *gin.Context) error {
	noStore(c)
	q, err := query(c, "state")
	if err != nil {
		return err
	}
	if _, err := s.broker.ForwardAppOfState(q["state"]); err != nil {
		return err
	}
	who, err := s.pagePrincipal(c)
	if err != nil {
		return s.toLogin(c, err)
	}
	to, err := s.broker.ContinueForward(c.Request.Context(), q["state"], who)
	if err != nil {
		return err
	}
	c.Redirect(http.StatusSeeOther, to)
	return nil
}

// forwardCallback is GET /.latchkey/callback on the host of an app: the code becomes
// the app's cookie, in the browser that began.
func (s *Server) forwardCallback(c *gin.Context) error {
	noStore(c)
	q, err := query(c, "code", "state")
	if err != nil {
		return err
	}
	app, err := s.appHost(c)
	if err != nil {
		return err
	}
	name := handoverCookie(app, q["state"])
	secret, kept, _ := strings.Cut(readCookie(c, name), ".")
	made, err := s.broker.RedeemForward(c.Request.Context(), app, q["code"], secret, device(c))
	if err != nil {
		return err
	}
	setAppCookie(c, app, name, "", 0)
	setAppCookie(c, app, forwardCookie(app), made.Value, made.Life)
	to, ok := "", false
	if raw, err := base64.RawURLEncoding.DecodeString(kept); err == nil {
		to, ok = appPath(string(raw))
	}
	if !ok {
		to = "/"
	}
	c.Redirect(http.StatusSeeOther, app.Origin+to)
	return nil
}

// forwardAppFor is the app that somebody logs in for on the way to next.
func (s *Server) forwardAppFor(next string) (app broker.ForwardApp, ok bool) {
	u, err := url.Parse(next)
	if err != nil || u.Path != strings.TrimSuffix(s.publicURL.Path, "/")+forwardContinuePath {
		return app, false
	}
	app, err = s.broker.ForwardAppOfState(u.Query().Get("state"))
	return app, err == nil
}
