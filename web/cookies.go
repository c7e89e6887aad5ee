package web

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

const (
	cookieRefresh = "refresh_token"    // the JSON contract's
	cookieSession = "latchkey_session" // the pages' own, opaque
	cookieFlow    = "latchkey_flow_"   // one per login under way
	flowLife      = 10 * time.Minute
)

// hostName gives our own cookies the __Host- prefix where https permits it, so
// that no sibling domain can set them (RFC 6265bis section 4.1.3.2).
func (s *Server) hostName(c *gin.Context, name string) string {
	if s.secure(c) {
		return "__Host-" + name
	}
	return name
}

func (s *Server) setCookie(c *gin.Context, name, value string, life time.Duration) {
	// #nosec G124 -- HttpOnly, Lax, and Secure but where the public URL is http
	cookie := &http.Cookie{
		Name: name, Value: value, Path: "/", HttpOnly: true, Secure: s.secure(c), SameSite: http.SameSiteLaxMode,
		MaxAge: int(life / time.Second),
	}
	if life <= 0 {
		cookie.MaxAge = -1
	}
	c.Header("Cache-Control", "no-store")
	http.SetCookie(c.Writer, cookie)
}

// readCookie returns a cookie that came exactly once: of two, one was tossed in.
func readCookie(c *gin.Context, name string) string {
	found := c.Request.CookiesNamed(name)
	if len(found) != 1 {
		return ""
	}
	return found[0].Value
}

// setSession gives a browser both cookies of one session.
func (s *Server) setSession(c *gin.Context, l *broker.Login) {
	s.setCookie(c, cookieRefresh, l.RefreshToken.Reveal(), l.RefreshExpiresIn)
	s.setPageCookie(c, l)
	if stay := s.hostName(c, cookieStay); readCookie(c, stay) != "" {
		s.setCookie(c, stay, "", 0)
	}
}

func (s *Server) setPageCookie(c *gin.Context, l *broker.Login) {
	// As long as the session may live at all: it slides in the database.
	s.setCookie(c, s.hostName(c, cookieSession), s.broker.PageCookie(l.Session.ID), l.Session.AbsExpiresAt.Sub(s.broker.Now()))
}

// clearSession takes both cookies away. Nobody who logs out is logged in again by
// the door itself, nor by the IdP that a client hints at.
func (s *Server) clearSession(c *gin.Context) {
	s.setCookie(c, cookieRefresh, "", 0)
	s.setCookie(c, s.hostName(c, cookieSession), "", 0)
	s.setCookie(c, s.hostName(c, cookieStay), "1", stayLife)
}

func (s *Server) pagePrincipal(c *gin.Context) (broker.Principal, error) {
	return s.broker.AuthenticateCookie(c.Request.Context(), readCookie(c, s.hostName(c, cookieSession)), device(c))
}

// flowCookie names the cookie of one login under way, so that two tabs do not
// undo each other.
func (s *Server) flowCookie(c *gin.Context, state string) string {
	sum := sha256.Sum256([]byte(state))
	return s.hostName(c, cookieFlow+hex.EncodeToString(sum[:4]))
}

func (s *Server) clearFlows(c *gin.Context) {
	prefix := s.hostName(c, cookieFlow)
	for _, cookie := range c.Request.Cookies() {
		if strings.HasPrefix(cookie.Name, prefix) {
			s.setCookie(c, cookie.Name, "", 0)
		}
	}
}
