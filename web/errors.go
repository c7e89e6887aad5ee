package web

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// Verdict is what a client should do about a refusal.
type Verdict string

// The verdicts.
const (
	VerdictRefresh Verdict = "refresh" // get a new access token
	VerdictRetry   Verdict = "retry"   // keep the token; ours or the set-up's fault
	VerdictLogin   Verdict = "login"   // the session is over: show the login, local data may stay
	VerdictWipe    Verdict = "wipe"    // as login, and remove local data
)

// answer is how one code is said. text is the JSON contract's error text;
// redirect is the OAuth error (RFC 6749 section 4.1.2.1) for an app's redirect
// URI; verdict is empty for what is not about a token.
type answer struct {
	status   int
	text     string
	verdict  Verdict
	redirect string
}

const (
	invalidRefresh  = "Invalid refresh token"
	expiredRefresh  = "Refresh token expired"
	userInactive    = "User not found or inactive"
	accessDenied    = "access_denied"
	serverError     = "server_error"
	tooManyAttempts = "Too many authentication requests"
)

// answers is the one table from code to status, text, verdict and OAuth error.
// A code that is not in it fails a test.
var answers = map[broker.Code]answer{
	broker.TokenExpired:           {401, "Access token expired", VerdictRefresh, accessDenied},
	broker.TemporarilyUnavailable: {503, "Temporarily unavailable", VerdictRetry, "temporarily_unavailable"},
	broker.RateLimited:            {429, tooManyAttempts, VerdictRetry, "temporarily_unavailable"},
	broker.LocalLoginDisabled:     {403, "Local login is disabled", VerdictRetry, accessDenied},
	broker.ClientMismatch:         {401, invalidRefresh, VerdictRetry, accessDenied},

	broker.NoToken:         {401, "No refresh token provided", VerdictLogin, accessDenied},
	broker.InvalidToken:    {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.WrongTokenType:  {401, "Invalid token type", VerdictLogin, accessDenied},
	broker.CodeInvalid:     {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.SessionUnknown:  {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.SessionExpired:  {401, expiredRefresh, VerdictLogin, accessDenied},
	broker.SessionMaxAge:   {401, expiredRefresh, VerdictLogin, accessDenied},
	broker.SessionLimit:    {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.LoggedOut:       {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.RevokedByUser:   {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.RevokedByAdmin:  {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.PasswordChanged: {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.UserDisabled:    {401, userInactive, VerdictLogin, accessDenied},
	broker.UserDeleted:     {401, userInactive, VerdictLogin, accessDenied},
	broker.ClientRemoved:   {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.IdPLogout:       {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.IdPRevoked:      {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.LinkUndone:      {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.TokenReused:     {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.CodeReused:      {401, invalidRefresh, VerdictLogin, accessDenied},
	broker.KeyMismatch:     {401, invalidRefresh, VerdictLogin, accessDenied},

	broker.InvalidRequest:         {400, "Bad Request", "", "invalid_request"},
	broker.InvalidCredentials:     {401, "Unauthorized", "", accessDenied},
	broker.InvalidRedirectURI:     {400, "Invalid redirect_uri", "", "invalid_request"},
	broker.InvalidState:           {400, "State parameter mismatch", "", "invalid_request"},
	broker.StateMismatch:          {400, "State parameter mismatch", "", "invalid_request"},
	broker.IssuerMismatch:         {400, "Issuer mismatch", "", serverError},
	broker.NonceMismatch:          {400, "Nonce mismatch", "", serverError},
	broker.AccessDenied:           {403, "Access denied", "", accessDenied},
	broker.IdPRefused:             {403, "The identity provider refused the login", "", accessDenied},
	broker.IdPBadResponse:         {502, "The identity provider's answer is not valid", "", serverError},
	broker.ProviderUnknown:        {404, "Not Found", "", "invalid_request"},
	broker.NotProvisioned:         {403, "Unauthorized", "", accessDenied},
	broker.GroupNotAllowed:        {403, "Unauthorized", "", accessDenied},
	broker.DomainNotAllowed:       {403, "Unauthorized", "", accessDenied},
	broker.EmailNotVerified:       {403, "Unauthorized", "", accessDenied},
	broker.IdentityConflict:       {403, "Unauthorized", "", accessDenied},
	broker.LastLoginMethod:        {409, "The last way to log in cannot be removed", "", accessDenied},
	broker.UsernameTaken:          {409, "Username is taken", "", serverError},
	broker.InvalidUsername:        {400, "Invalid username", "", "invalid_request"},
	broker.WeakPassword:           {400, "Invalid new password", "", "invalid_request"},
	broker.WrongPassword:          {400, "Invalid password", "", accessDenied},
	broker.PasswordChangeRequired: {403, "The password has to be changed", "", accessDenied},
	broker.PasswordLinkInvalid:    {400, "Invalid link", "", "invalid_request"},
	broker.Forbidden:              {403, "Forbidden", "", accessDenied},
	broker.NotFound:               {404, "Not Found", "", "invalid_request"},
	broker.SetupDone:              {404, "Not Found", "", "invalid_request"},
	broker.LastAdmin:              {409, "The last administrator stays", "", accessDenied},
	broker.SecondFactorRequired:   {401, "A second factor is required", VerdictLogin, accessDenied},
	broker.SecondFactorInvalid:    {401, "Invalid second factor", "", accessDenied},
	broker.WrongCode:              {400, "Invalid code", "", accessDenied},
	broker.FactorExists:           {409, "There is one already", "", "invalid_request"},
	broker.PasskeyInvalid:         {400, "Invalid passkey", "", accessDenied},
	broker.FormUsed:               {409, "The form was sent already", "", "invalid_request"},

	// The OpenID provider. Where a code is an OAuth error itself, it is said as
	// such; see oauthError.
	broker.InvalidClient:           {401, "Client authentication failed", "", accessDenied},
	broker.UnauthorizedClient:      {400, "The client may not do this", "", accessDenied},
	broker.InvalidGrant:            {400, "Invalid grant", "", accessDenied},
	broker.UnsupportedGrantType:    {400, "Unsupported grant_type", "", "invalid_request"},
	broker.UnsupportedResponseType: {400, "Unsupported response_type", "", "unsupported_response_type"},
	broker.InvalidScope:            {400, "Invalid scope", "", "invalid_scope"},
	broker.InvalidTarget:           {400, "Invalid resource", "", "invalid_target"},
	broker.InsufficientScope:       {403, "Insufficient scope", "", accessDenied},
	broker.LoginRequired:           {400, "A login is required", "", "login_required"},
	broker.ConsentRequired:         {400, "Consent is required", "", "consent_required"},
	broker.UnmetRequirements:       {400, "The login does not meet the requirements", "", "unmet_authentication_requirements"},
	broker.RequestNotSupported:     {400, "Request objects are not supported", "", "request_not_supported"},
	broker.RequestURINotSupported:  {400, "This request_uri is not supported", "", "request_uri_not_supported"},
	broker.InvalidRequestURI:       {400, "This request_uri is not valid", "", "invalid_request_uri"},
	broker.AuthorizationPending:    {400, "Authorization pending", "", accessDenied},
	broker.SlowDown:                {400, "Slow down", "", accessDenied},
	broker.DeviceCodeExpired:       {400, "The code has expired", "", accessDenied},
	broker.InvalidDPoPProof:        {400, "Invalid DPoP proof", "", "invalid_request"},
	broker.UseDPoPNonce:            {400, "A DPoP nonce is needed", "", "invalid_request"},
	broker.InvalidClientMetadata:   {400, "Invalid client metadata", "", "invalid_request"},
	broker.ClientUnknown:           {400, "Unknown client", "", "invalid_request"},
	broker.ClientExists:            {409, "The client exists already", "", "invalid_request"},
	broker.ReadOnlyClient:          {409, "The client cannot be changed here", "", "invalid_request"},
	broker.UserCodeTaken:           {503, "Temporarily unavailable", "", "temporarily_unavailable"},
	broker.UserCodeUnknown:         {400, "Unknown code", "", accessDenied},
	broker.ProviderExists:          {409, "Provider exists", "", serverError},
	broker.ReadOnlyProvider:        {409, "Provider is read-only", "", serverError},
	broker.CrossSite:               {403, "Forbidden", "", accessDenied},
}

// oauthError is a code at the token endpoint and its kin (RFC 6749 section 5.2,
// RFC 8628 section 3.5, RFC 8693 section 2.2.2, RFC 9449 section 5): what was
// proven bad about a grant is invalid_grant.
func oauthError(code broker.Code, a answer) (status int, said string) {
	switch code {
	case broker.InvalidClient:
		return a.status, string(code)
	case broker.TemporarilyUnavailable, broker.UserCodeTaken, broker.RateLimited, broker.IdPBadResponse:
		return a.status, "temporarily_unavailable"
	case broker.UnauthorizedClient, broker.UnsupportedGrantType, broker.InvalidScope, broker.InvalidTarget, broker.AuthorizationPending,
		broker.SlowDown, broker.DeviceCodeExpired, broker.InvalidDPoPProof, broker.UseDPoPNonce, broker.InvalidClientMetadata,
		broker.InvalidRedirectURI, broker.RequestNotSupported, broker.RequestURINotSupported, broker.InvalidRequestURI,
		broker.UnsupportedResponseType, broker.LoginRequired, broker.ConsentRequired, broker.AccessDenied:
		return http.StatusBadRequest, string(code)
	}
	switch {
	case a.verdict != "":
		return http.StatusBadRequest, string(broker.InvalidGrant)
	case a.status == http.StatusForbidden:
		return http.StatusBadRequest, accessDenied
	case a.status == http.StatusNotFound:
		return a.status, "invalid_request"
	}
	return http.StatusBadRequest, "invalid_request"
}

// render writes an error in the manner of a route.
type render func(s *Server, c *gin.Context, e *broker.Error, a answer)

const defaultRetryAfter = 5 * time.Second

// fail is the one way from an error to an answer.
func (s *Server) fail(c *gin.Context, err error, r render) {
	e, ok := errors.AsType[*broker.Error](err)
	if !ok {
		e = broker.Unavailable(err)
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			s.refuseAsSuch(c, http.StatusRequestEntityTooLarge, fmt.Sprintf("The body has more than %d bytes", tooLarge.Limit))
			return
		}
	}
	a, ok := answers[e.Code]
	if !ok {
		e, a = broker.Unavailable(err), answers[broker.TemporarilyUnavailable]
	}
	if a.status >= 500 && c.Request.Context().Err() == nil {
		s.cfg.Log.ErrorContext(c.Request.Context(), "request failed", "event", "request.failed", "route", c.FullPath(), "code", string(e.Code), "error", e)
	}
	h := c.Writer.Header()
	h.Set("Cache-Control", "no-store")
	if a.verdict != "" {
		h.Set("Latchkey-Verdict", string(verdictOf(e, a)))
	}
	h.Set("Latchkey-Code", string(e.Code))
	if s.cfg.Metrics != nil {
		s.cfg.Metrics.Refused(string(e.Code), string(verdictOf(e, a)))
	}
	wait := e.RetryAfter
	if wait <= 0 && a.status == http.StatusServiceUnavailable {
		wait = defaultRetryAfter
	}
	if wait > 0 {
		h.Set("Retry-After", seconds(wait))
	}
	if e.Limit != nil {
		limitHeaders(h, *e.Limit)
	}
	r(s, c, e, a)
}

// refusePlainly is for what is wrong with the request as such; in JSON where
// programs of OAuth read it (RFC 6749 section 5.2).
func refusePlainly(c *gin.Context, status int, text string) {
	if path := c.Request.URL.Path; strings.HasPrefix(path, "/oauth2/") || strings.HasSuffix(path, "/backchannel-logout") {
		noStore(c)
		c.JSON(status, gin.H{"error": string(broker.InvalidRequest), "error_description": text})
		return
	}
	c.String(status, "%s", text)
}

func verdictOf(e *broker.Error, a answer) Verdict {
	if e.Wipe && a.verdict == VerdictLogin {
		return VerdictWipe
	}
	return a.verdict
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f", math.Ceil(d.Seconds())) }

// asJSON is for answers about tokens: error, code, verdict.
func asJSON(_ *Server, c *gin.Context, e *broker.Error, a answer) {
	body := gin.H{"error": a.text, "code": string(e.Code)}
	if a.verdict != "" {
		body["verdict"] = string(verdictOf(e, a))
	}
	if e.Message != "" {
		body["message"] = e.Message
	}
	c.JSON(a.status, body)
}

// asText is the JSON contract's way of refusing most requests: the reason
// phrase, or the one sentence that it has for the case.
func asText(s *Server, c *gin.Context, e *broker.Error, a answer) {
	switch {
	case a.status == 403 && e.Code != broker.Forbidden, a.status >= 429,
		e.Code == broker.SecondFactorRequired, e.Code == broker.SecondFactorInvalid, e.Code == broker.WrongCode:
		asJSON(s, c, e, a) // cases that the contract does not know: the fuller answer
	case e.Code == broker.InvalidRequest && e.Message != "":
		c.String(a.status, "%s", e.Message)
	case e.Code == broker.WeakPassword:
		c.String(a.status, "%s - %s", a.text, e.Message)
	default:
		c.String(a.status, "%s", a.text)
	}
}

// asBearer refuses an access token (RFC 6750 section 3, RFC 9449 section 7.1),
// in the scheme in which it was sent.
func asBearer(s *Server, c *gin.Context, e *broker.Error, a answer) {
	scheme, algs := "Bearer", ""
	if len(c.Request.Header.Values("DPoP")) > 0 || strings.HasPrefix(strings.ToLower(c.GetHeader("Authorization")), "dpop ") {
		scheme, algs = "DPoP", `, algs="`+strings.Join(tokens.Algorithms, " ")+`"`
	}
	refuse := func(status int, said, description string) {
		c.Header("WWW-Authenticate", fmt.Sprintf(`%s error=%q, error_description=%q`, scheme, said, description)+algs)
		if status == http.StatusUnauthorized {
			c.String(status, "Unauthorized")
			return
		}
		asJSON(s, c, e, a)
	}
	switch {
	case e.Code == broker.InsufficientScope:
		refuse(http.StatusForbidden, string(e.Code), plainDescription(e.Message))
	case e.Code == broker.InvalidDPoPProof:
		refuse(http.StatusUnauthorized, string(e.Code), describe(e))
	case a.status != http.StatusUnauthorized:
		asText(s, c, e, a)
	case e.Code == broker.NoToken:
		c.Header("WWW-Authenticate", scheme+strings.Replace(algs, ",", "", 1))
		c.String(http.StatusUnauthorized, "Unauthorized")
	default:
		refuse(http.StatusUnauthorized, "invalid_token", describe(e))
		if e.Code == broker.KeyMismatch && scheme == "Bearer" { // it was sent in the wrong scheme
			c.Writer.Header().Add("WWW-Authenticate", `DPoP algs="`+strings.Join(tokens.Algorithms, " ")+`"`)
		}
	}
}

func describe(e *broker.Error) string {
	switch {
	case e.Message != "":
		return plainDescription(e.Message)
	case e.Err != nil && errors.Is(e.Err, verify.ErrExpired):
		return verify.ErrExpired.Error()
	}
	switch e.Code {
	case broker.InvalidToken, broker.WrongTokenType, broker.InvalidDPoPProof, broker.KeyMismatch:
		return verify.Describe(e.Err)
	}
	return "the session has ended: " + string(e.Code)
}

// tokenError gives the errors of tokens/verify their codes.
func tokenError(err error) error {
	if errors.Is(err, verify.ErrUnknownKey) { // one that was taken back: a refresh gets a token of another
		return &broker.Error{Code: broker.TokenExpired, Message: "the access token was signed with a key that is not in use any more", Err: err}
	}
	if errors.Is(err, verify.ErrFuture) { // a clock was set back: a refresh gets a token of now
		return &broker.Error{Code: broker.TokenExpired, Message: "the access token is from the future: a clock was set", Err: err}
	}
	for is, code := range map[error]broker.Code{
		verify.ErrNoToken: broker.NoToken, verify.ErrExpired: broker.TokenExpired, verify.ErrWrongType: broker.WrongTokenType,
		verify.ErrUnavailable: broker.TemporarilyUnavailable, verify.ErrProof: broker.InvalidDPoPProof, verify.ErrBound: broker.KeyMismatch,
	} {
		if errors.Is(err, is) {
			return &broker.Error{Code: code, Err: err}
		}
	}
	return &broker.Error{Code: broker.InvalidToken, Err: err}
}

// wantsJSON reports whether the caller is a program rather than a browser.
func wantsJSON(c *gin.Context) bool {
	accept := c.GetHeader("Accept")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

func badRequest(message string) error {
	return &broker.Error{Code: broker.InvalidRequest, Message: message}
}
