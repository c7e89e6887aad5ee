package web

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
)

// beginIdPLogin is GET /auth/:provider: an app's login if any of its
// parameters is there, else the browser's own.
func (s *Server) beginIdPLogin(c *gin.Context) error {
	q, err := query(c, "response_type", "redirect_uri", "code_challenge", "code_challenge_method", "state", "callback")
	if err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	if q["response_type"] == "" && q["redirect_uri"] == "" && q["code_challenge"] == "" {
		return s.beginWebLogin(c, q)
	}
	id := c.Param("provider")
	r, err := s.broker.BeginApp(c.Request.Context(), broker.AppRequest{
		ProviderID: id, ResponseType: q["response_type"], RedirectURI: q["redirect_uri"], State: q["state"],
		CodeChallenge: q["code_challenge"], CodeChallengeMethod: q["code_challenge_method"], Device: device(c),
	})
	if err != nil {
		if broker.CodeOf(err) == broker.InvalidRedirectURI {
			s.cfg.Log.WarnContext(c.Request.Context(), "redirect_uri is not registered; add it to mobile_redirect_uris if the app is meant to be used",
				"event", "auth.redirect_uri.refused", "redirect_uri", bounded(q["redirect_uri"]))
		}
		return err
	}
	// The next step is here and not at the IdP: the apps rebuild this URL from
	// seven parameters and drop the rest, a nonce for example.
	base := s.broker.PublicURL() + "/auth/" + url.PathEscape(id)
	c.Redirect(http.StatusFound, base+"/authorize?"+url.Values{
		"response_type": {"code"}, "client_id": {broker.AppClientID}, "scope": {broker.AppScope}, "state": {r.State},
		"redirect_uri": {base + "/mobile-redirect"}, "code_challenge": {r.Challenge}, "code_challenge_method": {"S256"},
	}.Encode())
	return nil
}

func (s *Server) beginWebLogin(c *gin.Context, q map[string]string) error {
	if q["state"] != "" {
		return badRequest("Invalid state, not allowed on web flow")
	}
	if q["callback"] == "" {
		c.JSON(http.StatusBadRequest, gin.H{"message": "No callback parameter"})
		return nil
	}
	returnTo, ok := s.ownPage(q["callback"])
	if !ok {
		c.JSON(http.StatusBadRequest, gin.H{"message": "Invalid callback URL - must be same-origin"})
		return nil
	}
	to, state, err := s.broker.BeginWeb(c.Request.Context(), c.Param("provider"), returnTo, s.askOfIdP(c, returnTo), device(c))
	if err != nil {
		s.fail(c, err, byAccept)
		return nil
	}
	s.setFlow(c, state, state, flowLife)
	c.Redirect(http.StatusFound, to)
	return nil
}

// askOfIdP is what the client that waits for this login wants of the IdP.
func (s *Server) askOfIdP(c *gin.Context, returnTo string) broker.IdPAsk {
	w := s.waitingFor(c, returnTo)
	if w == nil {
		return broker.IdPAsk{}
	}
	return broker.IdPAsk{Prompt: w.Prompt, MaxAge: w.MaxAge, LoginHint: w.LoginHint}
}

// ownPage accepts a URL of this very origin, below the path of the public URL,
// and returns it absolute. What a browser could read in another way than we do
// is refused.
func (s *Server) ownPage(target string) (string, bool) {
	if strings.ContainsFunc(target, func(r rune) bool { return r == '\\' || unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return "", false
	}
	u, err := url.Parse(target)
	if err != nil || u.User != nil || u.Opaque != "" || strings.HasPrefix(u.Path, "//") || strings.ContainsRune(u.Path, '\\') ||
		strings.ContainsFunc(u.Path, unicode.IsControl) {
		return "", false
	}
	absolute := u.Scheme != "" || u.Host != ""
	if absolute && (u.Scheme != s.publicURL.Scheme || u.Host != s.publicURL.Host) || !strings.HasPrefix(u.EscapedPath(), "/") && (u.Path != "" || !absolute) {
		return "", false
	}
	base := strings.TrimSuffix(s.publicURL.Path, "/")
	if clean := path.Clean("/" + u.Path); clean != base && !strings.HasPrefix(clean, base+"/") {
		return "", false
	}
	u.Scheme, u.Host = s.publicURL.Scheme, s.publicURL.Host
	return u.String(), true
}

// openAuthRequest is GET /auth/:provider/authorize: the system browser that the
// app opened goes on to the IdP.
func (s *Server) openAuthRequest(c *gin.Context) error {
	q, err := query(c, "state", "code_challenge")
	if err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	to, request, err := s.broker.OpenAuthRequest(c.Request.Context(), c.Param("provider"), q["state"], q["code_challenge"], device(c))
	if err != nil {
		return s.toAppOr(c, request, err)
	}
	c.Redirect(http.StatusFound, to)
	return nil
}

// idpCallback is where an IdP sends the browser, and, with a verifier, where
// an app redeems its code.
func (s *Server) idpCallback(c *gin.Context) error {
	c.Header("Cache-Control", "no-store")
	if c.Request.URL.Query().Has("code_verifier") {
		if err := s.redeemGrant(c); err != nil {
			s.fail(c, err, asJSON)
		}
		return nil
	}
	q, err := query(c, "code", "state", "iss", "error", "error_description")
	if err != nil {
		return err
	}
	done, err := s.broker.CompleteIdPLogin(c.Request.Context(), c.Param("provider"), broker.IdPResponse{
		Code: q["code"], State: q["state"], Issuer: q["iss"], Error: q["error"], ErrorDescription: q["error_description"],
	}, func(state string) bool { return s.takeFlow(c, state) }, s.browserDevice(c))
	if done.Link {
		return s.linked(c, done.ReturnTo, err)
	}
	if err != nil {
		c.Set(keyReturnTo, done.ReturnTo)
		return s.toAppOr(c, done.Request, err)
	}
	if done.Confirm != nil {
		s.askBeforeApp(c, done.Confirm)
		return nil
	}
	if done.Request != nil {
		c.Redirect(http.StatusFound, appURL(done.Request, url.Values{"code": {done.Code}}))
		return nil
	}
	s.setSession(c, done.Login)
	c.Redirect(http.StatusFound, done.ReturnTo)
	return nil
}

// keyReturnTo is where the page of an error finds what the login was for.
const keyReturnTo = "return to"

func (s *Server) redeemGrant(c *gin.Context) error {
	q, err := query(c, "code", "state", "code_verifier", "device_name")
	if err != nil {
		return err
	}
	l, err := s.broker.RedeemGrant(c.Request.Context(), c.Param("provider"), q["code"], q["state"], q["code_verifier"], namedDevice(c, q["device_name"]))
	if err != nil {
		return err
	}
	s.answerLogin(c, l, true)
	return nil
}

// takeFlow reports whether this browser began the login of that state, once.
// Cookies of other logins under way are other tabs'.
func (s *Server) takeFlow(c *gin.Context, state string) bool {
	name := s.flowCookie(c, state)
	if readCookie(c, name) != state {
		return false
	}
	s.setCookie(c, name, "", 0)
	return true
}

// toAppOr carries an error to the app that waits for the login; where none is
// known, it is an error of this page.
func (s *Server) toAppOr(c *gin.Context, r *broker.AuthRequest, err error) error {
	if r == nil {
		return err
	}
	code := broker.CodeOf(err)
	a := answers[code]
	if a.status >= 500 {
		s.cfg.Log.ErrorContext(c.Request.Context(), "request failed", "event", "request.failed", "route", c.FullPath(), "code", string(code), "error", err)
	}
	said := a.redirect
	if said != accessDenied && said != "temporarily_unavailable" {
		said = serverError // the app's request was in order when it was begun
	}
	c.Header("Latchkey-Code", string(code))
	c.Redirect(http.StatusFound, appURL(r, url.Values{"error": {said}, "error_description": {string(code)}}))
	return nil
}

// appURL adds parameters to an app's redirect URI (RFC 6749 section 4.1.2).
func appURL(r *broker.AuthRequest, q url.Values) string {
	q.Set("state", r.State)
	return withParams(r.RedirectURI, q)
}

// idpConfig is GET /auth/openid/config?issuer=: what an issuer says of itself,
// for an administrator who sets one up.
func (s *Server) idpConfig(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	p, err := s.adminPrincipal(c)
	if err != nil {
		s.fail(c, err, asBearer)
		return
	}
	actAs(c, p)
	if err := s.readIdPConfig(c); err != nil {
		s.fail(c, err, asText)
	}
}

func (s *Server) readIdPConfig(c *gin.Context) error {
	if s.cfg.FetchMetadata == nil {
		return &broker.Error{Code: broker.Forbidden}
	}
	issuer := c.Query("issuer")
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(issuer) > 2048 {
		return badRequest("Invalid request. Query param 'issuer' is required and must be a URL")
	}
	if err := s.broker.MayAskTheWorld(c.Request.Context()); err != nil {
		return err
	}
	metadata, err := s.cfg.FetchMetadata(c.Request.Context(), issuer)
	if err != nil {
		s.cfg.Log.WarnContext(c.Request.Context(), "discovery failed", "event", "idp.discovery.failed", "issuer", bounded(issuer), "error", err)
		return badRequest("Failed to get openid configuration")
	}
	c.JSON(http.StatusOK, metadata)
	return nil
}

// bounded keeps what strangers send from filling the log.
func bounded(text string) string {
	if len(text) > 200 {
		return text[:200]
	}
	return text
}
