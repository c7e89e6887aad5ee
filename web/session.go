package web

import (
	"io"
	"net/http"
	"regexp"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// login is POST /login of the JSON API.
func (s *Server) login(c *gin.Context) error {
	f, err := fields(c, "username", "password", "otp", "newPassword", "device_name")
	if err != nil {
		return err
	}
	if f["username"] == nil || f["password"] == nil {
		return errBadRequest
	}
	in := broker.PasswordLogin{Username: *f["username"], Password: *f["password"], Code: f["otp"], Fresh: f["newPassword"]}
	at, inBody := namedDevice(c, or(f["device_name"])), c.GetHeader(headerReturnTokens) == "true"
	at.Program = inBody
	l, err := s.broker.LoginWith(c.Request.Context(), in, at)
	if err != nil {
		return err
	}
	s.answerLogin(c, l, inBody)
	return nil
}

// answerLogin gives the refresh token to the app in the body, or to a browser
// in its cookie; never both.
func (s *Server) answerLogin(c *gin.Context, l *broker.Login, inBody bool) {
	if !inBody {
		s.setCookie(c, cookieRefresh, l.RefreshToken.Reveal(), l.RefreshExpiresIn)
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, s.payload(l, inBody))
}

// refreshToken finds the refresh token of a request. A header wins over the
// cookie, everywhere.
func refreshToken(c *gin.Context) (token string, inHeader bool) {
	if token = c.GetHeader(headerRefreshToken); token != "" {
		return token, true
	}
	return readCookie(c, cookieRefresh), false
}

// refresh is POST /auth/refresh. The body is not read: apps send none, an empty
// one with a JSON content type, or {}.
func (s *Server) refresh(c *gin.Context) error {
	// net/http sees a caller go only once the body is read.
	_, _ = io.Copy(io.Discard, c.Request.Body)
	token, inHeader := refreshToken(c)
	l, err := s.broker.Refresh(c.Request.Context(), token, broker.AppClientID, device(c))
	if err != nil {
		return err
	}
	s.answerLogin(c, l, inHeader)
	return nil
}

// logout is POST /logout. Whoever asks is logged out: what names no session
// ends none, and is no error.
func (s *Server) logout(c *gin.Context) error {
	ctx := c.Request.Context()
	id, inHeader, err := s.namedSession(c)
	if err != nil {
		return err
	}
	ended, err := s.broker.LogoutSession(ctx, id, c.Query("allDevices") == "1", device(c))
	if err != nil {
		return err
	}
	// An app's logout leaves the cookies of another login in the same jar alone.
	inCookie, err := s.broker.SessionIDOf(ctx, readCookie(c, cookieRefresh))
	if err != nil {
		return err
	}
	if !inHeader || id != "" && inCookie == id {
		s.clearSession(c)
	}
	var to *string
	if u := s.broker.EndSessionURL(ctx, ended, s.afterLogout()); u != "" {
		to = &u
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, gin.H{"redirect_url": to})
	return nil
}

// namedSession finds the session that a request to log out names: by a refresh
// token of any generation, an access token, or the page cookie. Headers come
// first; what is stale leaves the word to the next, except that an app, which
// sends headers, does not mean the cookies.
func (s *Server) namedSession(c *gin.Context) (id string, inHeader bool, err error) {
	token, inHeader := refreshToken(c)
	named, err := s.broker.SessionIDOf(c.Request.Context(), token)
	if err != nil || inHeader && named != "" {
		return named, inHeader, err
	}
	p, err := s.principal(c)
	if err == nil || trouble(err) || inHeader {
		return p.Session.ID, true, onlyTrouble(err)
	}
	if named != "" {
		return named, false, nil
	}
	if p, err = s.pagePrincipal(c); trouble(err) {
		return "", false, err
	}
	return p.Session.ID, false, nil
}

// onlyTrouble drops a refusal where that is no error.
func onlyTrouble(err error) error {
	if trouble(err) {
		return err
	}
	return nil
}

// trouble is ours, and says nothing about what was presented.
func trouble(err error) bool {
	return err != nil && broker.CodeOf(err) == broker.TemporarilyUnavailable
}

// authorize is POST /api/authorize: who the access token is for. It holds no
// token.
func (s *Server) authorize(c *gin.Context, p broker.Principal) error {
	who := s.profile(p.User)
	who.User.IsOldToken = p.OldToken
	c.JSON(http.StatusOK, who)
	return nil
}

func (s *Server) me(c *gin.Context, p broker.Principal) error {
	who := toUserJSON(p.User)
	who.IsOldToken = p.OldToken
	c.JSON(http.StatusOK, struct {
		userJSON
		Notice *noticeJSON `json:"notice,omitempty"`
	}{who, s.notice(p.User)})
	return nil
}

const maxPage = 100

func (s *Server) mySessions(c *gin.Context, p broker.Principal) error {
	page, size := count(c.Query("page"), 0, 1_000_000), max(1, count(c.Query("itemsPerPage"), 10, maxPage))
	list, total, out := []broker.Session{}, 0, []sessionJSON{}
	if p.User.Role != broker.RoleGuest {
		var err error
		if list, total, err = s.broker.Sessions(c.Request.Context(), p.User.ID, page*size, size); err != nil {
			return err
		}
	}
	for _, x := range list {
		out = append(out, toSessionJSON(x, p.Session.ID, s.broker.Now()))
	}
	c.JSON(http.StatusOK, gin.H{
		"total": total, "numPages": (total + size - 1) / size, "page": page, "itemsPerPage": size, "sessions": out,
	})
	return nil
}

// count reads a number from a query; what is no number is the standard one.
func count(text string, standard, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return standard
	}
	return min(n, most)
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func (s *Server) endMySession(c *gin.Context, p broker.Principal) error {
	id := c.Param("id")
	if !uuid.MatchString(id) {
		return errBadRequest
	}
	if err := s.broker.EndOwnSession(c.Request.Context(), p, id, false, device(c)); err != nil {
		return err
	}
	c.String(http.StatusOK, "OK")
	return nil
}

// changePassword is PATCH /api/me/password. Every session ends; the new one
// goes into the cookie if the old one was there, else into the answer.
func (s *Server) changePassword(c *gin.Context, p broker.Principal) error {
	const bad = "Missing or invalid password or new password"
	f, err := fields(c, "password", "newPassword", "otp")
	if err != nil {
		if broker.CodeOf(err) == broker.InvalidRequest {
			return badRequest(bad)
		}
		return err
	}
	current, has := f["password"]
	fresh, hasNew := f["newPassword"]
	if !has || !hasNew {
		return badRequest(bad)
	}
	if fresh == nil {
		return &broker.Error{Code: broker.WeakPassword, Message: "a password is needed"}
	}
	token, inHeader := refreshToken(c)
	named, err := s.broker.SessionIDOf(c.Request.Context(), token)
	if err != nil {
		return err
	}
	l, err := s.broker.ChangePassword(c.Request.Context(), p, broker.PasswordChange{Current: current, Code: f["otp"], Fresh: *fresh}, device(c))
	if err != nil {
		return err
	}
	if !inHeader && named == p.Session.ID {
		s.setSession(c, l)
		c.String(http.StatusOK, "OK")
		return nil
	}
	c.JSON(http.StatusOK, gin.H{
		"success": true,
		"user":    gin.H{"accessToken": l.AccessToken.Reveal(), "refreshToken": l.RefreshToken.Reveal()},
	})
	return nil
}
