package web

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// This file is the back of the OpenID provider: what programs call.

// formOf reads a form of parameters, each at most once, and nothing but a form:
// a secret has no business in a URL.
func formOf(c *gin.Context) (url.Values, error) {
	mediaType, _, err := mime.ParseMediaType(c.GetHeader("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return nil, badRequest("the body must be application/x-www-form-urlencoded")
	}
	if err := c.Request.ParseForm(); err != nil {
		return nil, bodyError(err)
	}
	return c.Request.PostForm, nil
}

// call is a request of a program to an endpoint of the authorization server.
type call struct {
	form   url.Values
	caller broker.Caller
}

// param reads a parameter of a call, which readCall has checked.
func (x *call) param(name string) string { return x.form.Get(name) }

// oauthCall wraps an endpoint that clients call with their credentials: the
// form is read, the client and its proof are checked.
func (s *Server) oauthCall(h func(c *gin.Context, x *call) error) gin.HandlerFunc {
	return s.as(asOAuth, func(c *gin.Context) error {
		noStore(c)
		x, err := s.readCall(c)
		if err != nil {
			return err
		}
		return h(c, x)
	})
}

func noStore(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	c.Header("Pragma", "no-cache")
}

func (s *Server) readCall(c *gin.Context) (*call, error) {
	form, err := formOf(c)
	if err != nil {
		return nil, err
	}
	if c.Request.URL.RawQuery != "" {
		return nil, badRequest("parameters belong into the body")
	}
	for name := range form {
		if _, err := once(form, name); err != nil {
			return nil, err
		}
	}
	credentials, err := credentials(c, form)
	if err != nil {
		return nil, err
	}
	ctx := c.Request.Context()
	client, err := s.broker.AuthenticateClient(ctx, credentials, device(c))
	if err != nil {
		return nil, err
	}
	proofs := c.Request.Header.Values("DPoP")
	if len(proofs) > 0 {
		c.Header("DPoP-Nonce", s.broker.DPoPNonce())
	}
	key, err := s.broker.CheckProof(ctx, proofs, c.Request.Method, s.broker.PublicURL()+c.FullPath())
	if err != nil {
		return nil, err
	}
	return &call{form: form, caller: broker.Caller{Client: client, ProvenKey: key, Device: namedDevice(c, form.Get("device_name"))}}, nil
}

// credentials finds how a client says who it is: in one way (RFC 6749 section
// 2.3). With Basic, both halves are form-encoded.
func credentials(c *gin.Context, form url.Values) (broker.ClientCredentials, error) {
	got := broker.ClientCredentials{Method: broker.AuthNone, ID: form.Get("client_id")}
	ways := 0
	if header := c.GetHeader("Authorization"); header != "" {
		ways++
		user, password, ok := c.Request.BasicAuth()
		id, err1 := url.QueryUnescape(user)
		secret, err2 := url.QueryUnescape(password)
		if !ok || err1 != nil || err2 != nil || got.ID != "" && got.ID != id {
			return got, &broker.Error{Code: broker.InvalidClient, Message: "the Authorization header is not usable, or names another client"}
		}
		got.Method, got.ID, got.Secret = broker.AuthBasic, id, secret
	}
	if form.Has("client_secret") {
		ways++
		got.Method, got.Secret = broker.AuthPost, form.Get("client_secret")
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		ways++
		if form.Get("client_assertion_type") != broker.AssertionTypeJWT {
			return got, badRequest("client_assertion_type is not one that is supported")
		}
		got.Method, got.Assertion = broker.AuthPrivateKeyJWT, form.Get("client_assertion")
	}
	switch {
	case ways > 1:
		return got, badRequest("the client authenticates in more than one way")
	case ways == 0 && got.ID == "":
		return got, &broker.Error{Code: broker.InvalidClient, Message: "the client does not say who it is"}
	}
	return got, nil
}

// token is POST /oauth2/token.
func (s *Server) token(c *gin.Context, x *call) error {
	ctx, by := c.Request.Context(), x.caller
	switch grant := x.param("grant_type"); grant {
	case broker.GrantAuthorizationCode:
		return s.tokens(c)(s.broker.RedeemCode(ctx, by, broker.CodeExchange{
			Code: x.param("code"), RedirectURI: x.param("redirect_uri"), Verifier: x.param("code_verifier"), Resource: x.param("resource"),
		}))
	case broker.GrantRefreshToken:
		return s.tokens(c)(s.broker.RefreshClient(ctx, by, x.param("refresh_token"), x.param("scope"), x.param("resource")))
	case broker.GrantClientCredentials:
		return s.tokens(c)(s.broker.ClientCredentials(ctx, by, x.param("scope"), x.param("resource")))
	case broker.GrantDeviceCode:
		return s.tokens(c)(s.broker.PollDevice(ctx, by, x.param("device_code")))
	case broker.GrantTokenExchange:
		return s.tokenExchange(c, x)
	case "":
		return badRequest("grant_type is missing")
	default:
		return &broker.Error{Code: broker.UnsupportedGrantType, Message: "this grant_type is not supported"}
	}
}

// tokenExchange is the grant of RFC 8693: an IdP's ID token in, a session out;
// or an access token in, a narrower one out.
func (s *Server) tokenExchange(c *gin.Context, x *call) error {
	ctx, by := c.Request.Context(), x.caller
	wanted := x.param("requested_token_type")
	switch {
	case x.form.Has("actor_token"):
		return badRequest("actor_token is not supported")
	case wanted != "" && wanted != broker.TokenTypeAccess && wanted != broker.TokenTypeRefresh && wanted != broker.TokenTypeJWT:
		return badRequest("this requested_token_type is not supported")
	}
	switch x.param("subject_token_type") {
	case broker.TokenTypeID:
		if x.param("audience")+x.param("resource") != "" {
			return &broker.Error{Code: broker.InvalidTarget, Message: "a login is for this issuer; exchange its access token for another audience"}
		}
		return s.exchanged(c)(s.broker.ExchangeIDToken(ctx, by, broker.IDTokenExchange{
			Token: x.param("subject_token"), ProviderID: x.param("subject_issuer"), Nonce: x.param("nonce"), Scope: x.param("scope"),
		}))
	case broker.TokenTypeAccess, broker.TokenTypeJWT:
		if wanted == broker.TokenTypeRefresh {
			return badRequest("an access token is exchanged for an access token only")
		}
		claims, err := s.anyAudience.Inspect(ctx, x.param("subject_token"))
		if err != nil {
			return notAGrant(err)
		}
		audience := x.param("audience")
		if audience == "" {
			audience = x.param("resource")
		}
		return s.exchanged(c)(s.broker.ExchangeAccessToken(ctx, by, broker.AccessExchange{Claims: claims, Audience: audience, Scope: x.param("scope")}))
	}
	return badRequest("this subject_token_type is not supported")
}

// notAGrant turns the refusal of a token into that of a grant.
func notAGrant(err error) error {
	if errors.Is(err, verify.ErrUnavailable) {
		return tokenError(err)
	}
	if errors.Is(err, verify.ErrExpired) {
		return &broker.Error{Code: broker.TokenExpired, Message: "the subject_token has expired", Err: err}
	}
	return &broker.Error{Code: broker.CodeInvalid, Message: "the subject_token is not valid", Err: err}
}

// tokenJSON is a token answer (RFC 6749 section 5.1, OIDC Core section 3.1.3.3).
type tokenJSON struct {
	AccessToken      string `json:"access_token"`
	IssuedTokenType  string `json:"issued_token_type,omitempty"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int64  `json:"expires_in"`
	RefreshToken     string `json:"refresh_token,omitempty"`
	RefreshExpiresIn int64  `json:"refresh_expires_in,omitempty"`
	IDToken          string `json:"id_token,omitempty"`
	Scope            string `json:"scope"`
	SessionID        string `json:"session_id,omitempty"`
}

func toTokenJSON(l *broker.Login) tokenJSON {
	out := tokenJSON{
		AccessToken: l.AccessToken.Reveal(), TokenType: "Bearer", ExpiresIn: int64(l.ExpiresIn / time.Second), Scope: l.Scope,
		RefreshToken: l.RefreshToken.Reveal(), IDToken: l.IDToken.Reveal(), SessionID: l.Session.ID,
	}
	if out.RefreshToken != "" {
		out.RefreshExpiresIn = int64(l.RefreshExpiresIn / time.Second)
	}
	if l.Session.DPoPThumbprint != "" {
		out.TokenType = "DPoP"
	}
	return out
}

// tokens answers with tokens, or hands the error on.
func (s *Server) tokens(c *gin.Context) func(*broker.Login, error) error {
	return func(l *broker.Login, err error) error {
		if err == nil {
			c.JSON(http.StatusOK, toTokenJSON(l))
		}
		return err
	}
}

func (s *Server) exchanged(c *gin.Context) func(*broker.Login, error) error {
	return func(l *broker.Login, err error) error {
		if err == nil {
			out := toTokenJSON(l)
			out.IssuedTokenType = broker.TokenTypeAccess
			c.JSON(http.StatusOK, out)
		}
		return err
	}
}

// pushAuthorization is POST /oauth2/par (RFC 9126).
func (s *Server) pushAuthorization(c *gin.Context, x *call) error {
	r, err := authorizationRequest(x.form)
	if err != nil {
		return err
	}
	if key := x.caller.ProvenKey; key != "" { // RFC 9449 section 10.1
		if r.DPoPThumbprint != "" && r.DPoPThumbprint != key {
			return &broker.Error{Code: broker.InvalidDPoPProof, Message: "dpop_jkt is of another key than the proof's"}
		}
		r.DPoPThumbprint = key
	}
	r.Device = x.caller.Device
	pushed, err := s.broker.PushAuthorization(c.Request.Context(), x.caller.Client, r)
	if err != nil {
		return err
	}
	c.JSON(http.StatusCreated, gin.H{"request_uri": pushed.RequestURI, "expires_in": pushed.ExpiresIn})
	return nil
}

// deviceAuthorization is POST /oauth2/device_authorization (RFC 8628 section 3.1).
func (s *Server) deviceAuthorization(c *gin.Context, x *call) error {
	d, err := s.broker.BeginDevice(c.Request.Context(), x.caller, x.param("scope"), x.param("resource"))
	if err != nil {
		return err
	}
	page := s.broker.PublicURL() + "/device"
	c.JSON(http.StatusOK, gin.H{
		"device_code": d.DeviceCode, "user_code": d.UserCode, "verification_uri": page,
		"verification_uri_complete": page + "?user_code=" + d.UserCode,
		"expires_in":                int64(d.ExpiresIn / time.Second), "interval": int64(d.Interval / time.Second),
	})
	return nil
}

// introspect is POST /oauth2/introspect (RFC 7662). token_type_hint is not
// needed: a token says what it is.
func (s *Server) introspect(c *gin.Context, x *call) error {
	if x.caller.Client.Public() {
		return &broker.Error{Code: broker.InvalidClient, Message: "a public client cannot introspect"}
	}
	raw := x.param("token")
	if raw == "" {
		return badRequest("token is missing")
	}
	found, err := s.inspect(c.Request.Context(), x.caller.Client, raw)
	if err == nil {
		c.JSON(http.StatusOK, s.introspection(found))
	}
	return err
}

func (s *Server) inspect(ctx context.Context, by broker.Client, raw string) (broker.Introspection, error) {
	if tokens.LooksLikeAPIKey(raw) {
		return s.broker.IntrospectKey(ctx, by, raw)
	}
	claims, err := s.anyAudience.Inspect(ctx, raw)
	switch {
	case err == nil:
		return s.broker.IntrospectAccess(ctx, by, claims)
	case errors.Is(err, verify.ErrUnavailable):
		return broker.Introspection{}, tokenError(err)
	}
	return s.broker.IntrospectRefresh(ctx, by, raw)
}

// introspectionJSON is an answer of RFC 7662 section 2.2.
type introspectionJSON struct {
	Active       bool                 `json:"active"`
	Issuer       string               `json:"iss,omitempty"`
	Subject      string               `json:"sub,omitempty"`
	Audience     string               `json:"aud,omitempty"`
	ClientID     string               `json:"client_id,omitempty"`
	Username     string               `json:"username,omitempty"`
	Scope        *string              `json:"scope,omitempty"`
	TokenType    string               `json:"token_type,omitempty"`
	IssuedAt     int64                `json:"iat,omitempty"`
	ExpiresAt    int64                `json:"exp,omitempty"`
	ID           string               `json:"jti,omitempty"`
	SessionID    string               `json:"sid,omitempty"`
	AuthTime     int64                `json:"auth_time,omitempty"`
	AMR          []string             `json:"amr,omitempty"`
	ACR          string               `json:"acr,omitempty"`
	Confirmation *tokens.Confirmation `json:"cnf,omitempty"`
}

func (s *Server) introspection(found broker.Introspection) introspectionJSON {
	if !found.Active {
		return introspectionJSON{}
	}
	out := introspectionJSON{Active: true, Issuer: s.broker.PublicURL(), Username: found.User.Username}
	if k := found.Key; k != nil {
		out.Subject, out.Scope, out.ID, out.TokenType, out.IssuedAt = k.UserID, &k.Scope, k.ID, "Bearer", k.CreatedAt.Unix()
		if !k.ExpiresAt.IsZero() {
			out.ExpiresAt = k.ExpiresAt.Unix()
		}
		return out
	}
	if found.Refresh {
		t := found.Token
		out.ClientID, out.Subject, out.SessionID, out.Scope = t.ClientID, t.Subject, t.SessionID, &found.Session.Scope
		out.IssuedAt, out.ExpiresAt = t.IssuedAt, min(found.Session.IdleExpiresAt.Unix(), t.ExpiresAt)
		out.TokenType = "refresh_token"
		return out
	}
	t := found.Claims
	out.ClientID, out.Subject, out.Audience, out.Scope = t.ClientID, t.Subject, t.Audience, &t.Scope
	out.IssuedAt, out.ExpiresAt, out.ID, out.TokenType = t.IssuedAt, t.ExpiresAt, t.ID, "Bearer"
	if t.SessionID != "" {
		out.SessionID, out.AuthTime, out.AMR, out.ACR = t.SessionID, t.AuthTime, t.AMR, broker.ACR(t.AMR)
	}
	if t.Confirmation != nil {
		out.Confirmation, out.TokenType = t.Confirmation, "DPoP"
	}
	return out
}

// revoke is POST /oauth2/revoke (RFC 7009): the session of the token ends. What
// is no token of ours, or another client's, is left alone and is no error.
func (s *Server) revoke(c *gin.Context, x *call) error {
	raw := x.param("token")
	if raw == "" {
		return badRequest("token is missing")
	}
	ctx := c.Request.Context()
	known, err := s.broker.RevokeRefresh(ctx, x.caller, raw)
	if err == nil && !known {
		claims, bad := s.anyAudience.Inspect(ctx, raw)
		if errors.Is(bad, verify.ErrUnavailable) {
			return tokenError(bad)
		}
		if bad == nil {
			err = s.broker.RevokeAccess(ctx, x.caller, claims)
		}
	}
	if err != nil {
		return err
	}
	c.Status(http.StatusOK)
	return nil
}

// userinfo is GET and POST /oauth2/userinfo (OIDC Core section 5.3).
func (s *Server) userinfo(c *gin.Context) {
	noStore(c)
	p, claims, err := s.tokenPrincipal(c)
	if err == nil {
		var said map[string]any
		if said, err = s.broker.Userinfo(p, claims.Scope); err == nil {
			c.JSON(http.StatusOK, said)
			return
		}
	}
	s.fail(c, err, asBearer)
}

// revocations is GET /oauth2/revocations: the signed list of ended sessions. It
// may be kept for a few seconds, and costs nothing when it has not changed.
func (s *Server) revocationList(c *gin.Context) error {
	list, err := s.broker.Revocations(c.Request.Context())
	if err != nil {
		return err
	}
	c.Header("Access-Control-Allow-Origin", "*")
	c.Header("Cache-Control", "public, max-age=2")
	tag := `"` + list.Tag + `"`
	c.Header("ETag", tag)
	if c.GetHeader("If-None-Match") == tag {
		c.Status(http.StatusNotModified)
		return nil
	}
	c.Data(http.StatusOK, "application/jwt", list.Text)
	return nil
}

// idpLogout is POST /auth/:provider/backchannel-logout: an IdP ends sessions.
func (s *Server) idpLogout(c *gin.Context) error {
	noStore(c)
	form, err := formOf(c)
	if err != nil {
		return err
	}
	token, err := once(form, "logout_token")
	if err != nil {
		return err
	}
	if err := s.broker.IdPLogout(c.Request.Context(), c.Param("provider"), token, device(c)); err != nil {
		return err
	}
	c.Status(http.StatusOK)
	return nil
}

// asOAuth says an error as RFC 6749 section 5.2 does.
func asOAuth(s *Server, c *gin.Context, e *broker.Error, a answer) {
	noStore(c)
	status, code := oauthError(e.Code, a)
	body := gin.H{"error": code, "code": string(e.Code)}
	if e.Message != "" {
		body["error_description"] = plainDescription(e.Message)
	} else if text := english.plain(sentence(e, a)); text != "" {
		body["error_description"] = plainDescription(text)
	}
	if a.verdict != "" {
		body["verdict"] = string(verdictOf(e, a))
	}
	if status == http.StatusUnauthorized && strings.HasPrefix(c.GetHeader("Authorization"), "Basic ") {
		c.Header("WWW-Authenticate", fmt.Sprintf(`Basic realm=%q`, "latchkey"))
	}
	c.JSON(status, body)
}

// plainDescription keeps to the characters of RFC 6749 section 5.2.
func plainDescription(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '“' || r == '”' || r == '"':
			return '\''
		case r == '’':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return -1
		}
		return r
	}, text)
}
