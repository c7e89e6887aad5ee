package web

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
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
	mostFlows     = 10
	cookieKept    = "latchkey_kept_" // one of a few names, for what other sites post
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

// keptCookie names the cookie of a request that came by POST. Another site can make
// a browser post as often as it likes, and no cookie of ours comes with that by which
// they could be counted (SameSite): so there are sixteen names, and no more.
// The value says whose the secret is; of two that share a name the later one stays.
func (s *Server) keptCookie(c *gin.Context, id string) (name, whose string) {
	sum := sha256.Sum256([]byte(id))
	text := hex.EncodeToString(sum[:8])
	return s.hostName(c, cookieKept+text[:1]), text[1:] + "."
}

func (s *Server) setKept(c *gin.Context, kept broker.Kept) {
	name, whose := s.keptCookie(c, kept.ID)
	s.setCookie(c, name, whose+kept.Secret, kept.Life)
}

// cookieless tells a frame in a page of another site, as its browser names it (Fetch
// Metadata): our cookies (SameSite=Lax) are never there. Such a form in the whole
// window has them again with the GET that follows.
func (s *Server) cookieless(c *gin.Context) bool {
	framed := slices.Contains([]string{"iframe", "frame", "embed", "object"}, c.GetHeader("Sec-Fetch-Dest"))
	return framed && len(c.Request.CookiesNamed(s.hostName(c, cookieSession))) == 0
}

// keptSecret is this browser's secret for what was kept under an id, or empty.
func (s *Server) keptSecret(c *gin.Context, id string) string {
	name, whose := s.keptCookie(c, id)
	secret, ok := strings.CutPrefix(readCookie(c, name), whose)
	if !ok {
		return ""
	}
	return secret
}

func (s *Server) clearKept(c *gin.Context, id string) {
	name, _ := s.keptCookie(c, id)
	s.setCookie(c, name, "", 0)
}

// setFlow ties what waits under an id to this browser, by a secret in a cookie.
// Logins that were begun and left must not fill the headers: the oldest go, which a
// browser sends first (RFC 6265 section 5.4), but for those that this request is about.
func (s *Server) setFlow(c *gin.Context, id, secret string, life time.Duration) {
	all, free, prefix, used := 0, []string{}, s.hostName(c, cookieFlow), s.flowsInUse(c)
	for _, cookie := range c.Request.Cookies() {
		if strings.HasPrefix(cookie.Name, prefix) {
			if all++; !slices.Contains(used, cookie.Name) {
				free = append(free, cookie.Name)
			}
		}
	}
	for _, name := range free[:min(len(free), max(0, all+1-mostFlows))] {
		s.setCookie(c, name, "", 0)
	}
	s.setCookie(c, s.flowCookie(c, id), secret, life)
}

// flowsInUse are the cookies of what a request is about, by its address or by the
// one that it leads back to.
func (s *Server) flowsInUse(c *gin.Context) (names []string) {
	add := func(q url.Values) {
		for _, id := range []string{q.Get("id"), q.Get("state")} {
			if id != "" {
				names = append(names, s.flowCookie(c, id))
			}
		}
	}
	add(c.Request.URL.Query())
	if back, err := url.Parse(c.Query("callback")); err == nil {
		add(back.Query())
	}
	return names
}
