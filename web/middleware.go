package web

import (
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// handler is what every route is: it writes an answer or returns an error.
type handler func(c *gin.Context) error

// as makes a gin handler, with the manner in which errors are written.
func (s *Server) as(r render, h handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := h(c); err != nil {
			s.fail(c, err, r)
		}
	}
}

// principalHandler is a handler of a route that knows who calls.
type principalHandler func(c *gin.Context, p broker.Principal) error

// authenticated is for routes that take whoever may use the JSON API: by an
// access token of a live session, or without one.
func (s *Server) authenticated(h principalHandler) gin.HandlerFunc { return s.behind(s.principal, h) }

// ownSession is for routes that change the account: they need a login.
func (s *Server) ownSession(h principalHandler) gin.HandlerFunc {
	return s.behind(func(c *gin.Context) (broker.Principal, error) {
		p, err := s.principal(c)
		if err == nil {
			err = p.NeedSession()
		}
		return p, err
	}, h)
}

// keyholder is for the routes of API keys, which hand out credentials.
func (s *Server) keyholder(h principalHandler) gin.HandlerFunc {
	return s.behind(s.trustedPrincipal, h)
}

func (s *Server) behind(who func(*gin.Context) (broker.Principal, error), h principalHandler) gin.HandlerFunc {
	return func(c *gin.Context) {
		p, err := who(c)
		if err != nil {
			s.fail(c, err, asBearer)
			return
		}
		c.Header("Cache-Control", "no-store")
		if err := h(c, p); err != nil {
			s.fail(c, err, asText)
		}
	}
}

// principal is who a request to the JSON API comes from. It takes API keys, and
// access tokens of the API's own client and of clients that were granted it.
func (s *Server) principal(c *gin.Context) (broker.Principal, error) {
	if key := apiKey(c, queryToken(c)); key != "" {
		p, err := s.broker.AuthenticateKey(c.Request.Context(), key, device(c))
		if err == nil {
			err = p.NeedAPI(c.Request.Method == http.MethodGet)
		}
		return p, err
	}
	read := s.tokenPrincipal
	if queryToken(c) != "" {
		read = s.queryPrincipal
	}
	p, claims, err := read(c)
	if err != nil {
		return s.orImported(c, queryToken(c), err)
	}
	if p.Session.ID != "" && claims.ClientID != broker.AppClientID && !hasScope(claims.Scope, broker.ScopeAPI) {
		err = &broker.Error{Code: broker.InsufficientScope, Message: "the access token lacks the scope " + broker.ScopeAPI}
	}
	return p, err
}

// administrator is [Server.principal] for the admin API: an administrator, with
// a token of the JSON API's own client or one that was granted the admin scope.
// What shares a secret with an app (HS256) proves too little.
func (s *Server) administrator(h principalHandler) gin.HandlerFunc {
	return func(c *gin.Context) {
		noStore(c)
		p, err := s.adminPrincipal(c)
		if err != nil {
			s.fail(c, err, asAdminRefusal)
			return
		}
		actAs(c, p)
		if err := h(c, p); err != nil {
			s.fail(c, err, asProblem)
		}
	}
}

// adminPrincipal is the administrator who calls.
func (s *Server) adminPrincipal(c *gin.Context) (broker.Principal, error) {
	p, err := s.trustedPrincipal(c)
	if err == nil && !p.User.Role.IsAdmin() {
		err = &broker.Error{Code: broker.Forbidden, Message: "this needs an administrator"}
	}
	return p, err
}

// trustedPrincipal is who calls with a session that is good for more than the
// API: of the JSON API's own client, or of one that was granted the admin scope.
// What such a call leaves behind outlives the session.
func (s *Server) trustedPrincipal(c *gin.Context) (broker.Principal, error) {
	if key := apiKey(c, ""); key != "" {
		p, err := s.broker.AuthenticateKey(c.Request.Context(), key, device(c))
		if err == nil {
			err = p.NeedSession()
		}
		return p, err
	}
	p, claims, err := s.tokenPrincipal(c)
	if err != nil {
		if p, err = s.orImported(c, "", err); err == nil {
			err = p.NeedSession()
		}
		return p, err
	}
	switch {
	case claims.ClientID != broker.AppClientID && !hasScope(claims.Scope, broker.ScopeAdmin):
		err = &broker.Error{Code: broker.InsufficientScope, Message: "the access token lacks the scope " + broker.ScopeAdmin}
	case claims.Algorithm == "HS256":
		err = &broker.Error{Code: broker.InsufficientScope, Message: "this takes no HS256 tokens"}
	}
	return p, err
}

func hasScope(scope, one string) bool { return slices.Contains(strings.Fields(scope), one) }

// apiKey is the API key of a request, or empty: it came with none.
func apiKey(c *gin.Context, inQuery string) string {
	raw := presented(c, inQuery)
	if !tokens.LooksLikeAPIKey(raw) {
		return ""
	}
	return raw
}

// presented is the token of a request: the one in the query, else the one in
// the header.
func presented(c *gin.Context, inQuery string) string {
	if len(c.Request.Header.Values("Authorization")) == 1 { // two are nobody's
		return verify.Bearer(c.Request)
	}
	return inQuery
}

// orImported is who comes with a token of the system that users were imported
// from, where it was refused as none of ours.
func (s *Server) orImported(c *gin.Context, inQuery string, err error) (broker.Principal, error) {
	if code := broker.CodeOf(err); code != broker.InvalidToken && code != broker.WrongTokenType {
		return broker.Principal{}, err
	}
	p, known, importedErr := s.broker.AuthenticateImported(c.Request.Context(), presented(c, inQuery), device(c))
	if !known {
		return broker.Principal{}, err
	}
	return p, importedErr
}

// queryToken is the token in the query of a GET below /api, where the JSON
// contract has one. A header wins.
func queryToken(c *gin.Context) string {
	if c.GetHeader("Authorization") != "" || c.Request.Method != http.MethodGet || !strings.HasPrefix(c.FullPath(), "/api/") {
		return ""
	}
	return c.Query("token")
}

// queryPrincipal is [Server.tokenPrincipal] for the token in a query: only the
// JSON contract's own client may.
func (s *Server) queryPrincipal(c *gin.Context) (broker.Principal, verify.Claims, error) {
	claims, err := s.verifier.Verify(c.Request.Context(), queryToken(c))
	if err == nil && claims.ClientID != broker.AppClientID {
		err = verify.ErrMalformed
	}
	return s.claimsPrincipal(c, claims, err)
}

// tokenPrincipal reads the access token in the header of a request, with its
// proof where it is bound.
func (s *Server) tokenPrincipal(c *gin.Context) (broker.Principal, verify.Claims, error) {
	claims, err := s.verifier.VerifyRequest(c.Request, s.broker.PublicURL()+c.Request.URL.EscapedPath())
	return s.claimsPrincipal(c, claims, err)
}

// claimsPrincipal is whom the claims of an access token speak of, or why they
// are not believed.
func (s *Server) claimsPrincipal(c *gin.Context, claims verify.Claims, err error) (broker.Principal, verify.Claims, error) {
	if err != nil {
		return broker.Principal{}, claims, tokenError(err)
	}
	if claims.SessionID == "" {
		return broker.Principal{}, claims, &broker.Error{Code: broker.InsufficientScope, Message: "the access token is for no person"}
	}
	p, err := s.broker.Authenticate(c.Request.Context(), claims.SessionID)
	if err == nil && p.User.ID != claims.Subject {
		err = &broker.Error{Code: broker.InvalidToken}
	}
	return p, claims, err
}

// recover turns a panic into trouble of ours. The token that was presented has
// nothing to do with it.
func (s *Server) recover(c *gin.Context) {
	defer func() {
		if r := recover(); r != nil {
			if r == http.ErrAbortHandler {
				panic(r)
			}
			s.cfg.Log.ErrorContext(c.Request.Context(), "panic", "event", "request.panic", "route", c.FullPath(), "panic", r, "stack", string(debug.Stack()))
			if !c.Writer.Written() {
				c.Writer.Header().Del("Set-Cookie") // half a login is none
				s.fail(c, broker.Unavailable(nil), asJSON)
			}
			c.Abort()
		}
	}()
	c.Next()
}

// whenReady answers 503 until the broker can decide anything: nobody is told
// that a token is bad because a database or key is missing.
func (s *Server) whenReady(c *gin.Context) {
	if err := s.broker.Ready(); err != nil {
		c.Abort()
		s.fail(c, broker.Unavailable(err), byAccept)
	}
}

func byAccept(s *Server, c *gin.Context, e *broker.Error, a answer) {
	if strings.Contains(c.GetHeader("Accept"), "text/html") {
		asPage(s, c, e, a)
		return
	}
	asJSON(s, c, e, a)
}

const contentSecurityPolicy = "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"

func securityHeaders(c *gin.Context) {
	h := c.Writer.Header()
	h["X-Content-Type-Options"] = nosniff
	h["Referrer-Policy"] = noReferrer
	h["Content-Security-Policy"] = policy
}

// Header values are shared between answers: nobody appends to them.
var (
	nosniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	policy     = []string{contentSecurityPolicy}
)

// checkOrigin refuses what another site makes a browser send (CSRF). Programs
// send neither Origin nor Sec-Fetch-Site and pass.
func (s *Server) checkOrigin(c *gin.Context) {
	if err := s.csrf.Check(c.Request); err != nil {
		c.Abort()
		s.fail(c, &broker.Error{Code: broker.CrossSite, Message: "this request was made by another site and was not carried out; open the page here and do it again", Err: err}, byAccept)
	}
}

// sameOrigin wants the word of the browser that a page of this very origin sent
// the request: another of cors_origins, or a sibling domain, is not enough.
func (s *Server) sameOrigin(c *gin.Context) error {
	same := c.GetHeader("Sec-Fetch-Site") == "same-origin"
	if origin, err := url.Parse(c.GetHeader("Origin")); c.GetHeader("Sec-Fetch-Site") == "" && err == nil && origin.Host != "" { // an older browser, or plain http
		same = origin.Host == c.Request.Host || origin.Host == s.publicURL.Host && origin.Scheme == s.publicURL.Scheme
	}
	if !same {
		return &broker.Error{Code: broker.CrossSite, Message: "this is only done from the page of Latchkey itself; open it and do it again"}
	}
	return nil
}

// ownForm is [Server.sameOrigin] for the forms that a program with the cookie may
// send too: a browser says where it comes from, and cors_origins are not here.
func (s *Server) ownForm(c *gin.Context) error {
	if c.GetHeader("Sec-Fetch-Site") == "" && c.GetHeader("Origin") == "" {
		return nil
	}
	return s.sameOrigin(c)
}

// withoutPrefix lets routes answer with and without the path of the public URL.
func withoutPrefix(prefix string, next http.Handler) http.Handler {
	if prefix == "" {
		return next
	}
	stripped := http.StripPrefix(prefix, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch rest, ok := strings.CutPrefix(r.URL.Path, prefix); {
		case ok && rest == "":
			home := r.Clone(r.Context())
			home.URL.Path, home.URL.RawPath = "/", ""
			next.ServeHTTP(w, home)
		case ok && rest[0] == '/':
			stripped.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// device is where a request comes from.
func device(c *gin.Context) broker.Device {
	return broker.Device{IP: c.ClientIP(), UserAgent: c.Request.UserAgent(), Name: deviceName(c.GetHeader(headerDeviceName))}
}

// browserDevice is [device] for a login on a page: the session that the browser
// has is the one that the login replaces.
func (s *Server) browserDevice(c *gin.Context) broker.Device {
	d := device(c)
	d.Language = s.tongueFor(c, "").tag.String()
	if p, err := s.pagePrincipal(c); err == nil {
		d.Replaces = p.Session.ID
	}
	return d
}

// secure reports whether the browser speaks https to us: by configuration, by
// our own TLS, or by the word of a trusted proxy.
func (s *Server) secure(c *gin.Context) bool {
	return s.publicURL.Scheme == "https" || s.overHTTPS(c)
}

// overHTTPS reports whether this request came by https, at least to the proxy in
// front.
func (s *Server) overHTTPS(c *gin.Context) bool {
	if c.Request.TLS != nil {
		return true
	}
	if !s.trusted(c.RemoteIP()) {
		return false
	}
	for _, proto := range strings.Split(c.GetHeader("X-Forwarded-Proto"), ",") {
		if strings.EqualFold(strings.TrimSpace(proto), "https") {
			return true
		}
	}
	return false
}

func (s *Server) trusted(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}
