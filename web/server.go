package web

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gin-contrib/cors"
	"github.com/gin-gonic/gin"
	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// Config is everything that the front end needs. Broker is required.
type Config struct {
	Broker         *broker.Broker
	Version        string
	TrustedProxies []netip.Prefix // whose X-Forwarded-For and -Proto are believed
	CORSOrigins    []string       // origins of web apps that call the JSON API from a browser
	LocalLogin     bool
	Log            *slog.Logger
	// FetchMetadata reads an issuer's discovery document for an administrator;
	// nil: not offered.
	FetchMetadata func(ctx context.Context, issuer string) (json.RawMessage, error)
}

// Server is the front end.
type Server struct {
	cfg       Config
	publicURL *url.URL
	verifier  *verify.Verifier
	// anyAudience reads access tokens for whomever they are, bound ones too, for
	// introspection and its kin.
	anyAudience *verify.Verifier
	pages       *pages
	tongues     *tongues
	csrf        *http.CrossOriginProtection
	metadata    []byte // the discovery document
	broker      *broker.Broker
}

// New returns the handler of everything that Latchkey serves.
func New(cfg Config) (http.Handler, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	public, err := url.Parse(cfg.Broker.PublicURL())
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, publicURL: public, broker: cfg.Broker, csrf: http.NewCrossOriginProtection()}
	if s.verifier, err = verify.New(verify.Config{Issuer: cfg.Broker.PublicURL(), Keys: ownKeys{cfg.Broker}, Now: cfg.Broker.Now}); err != nil {
		return nil, err
	}
	s.anyAudience, err = verify.New(verify.Config{
		Issuer: cfg.Broker.PublicURL(), Keys: ownKeys{cfg.Broker}, Now: cfg.Broker.Now, AnyAudience: true,
	})
	if err != nil {
		return nil, err
	}
	if s.pages, err = loadPages(); err != nil {
		return nil, err
	}
	if s.tongues, err = loadTongues(); err != nil {
		return nil, err
	}
	for _, origin := range append([]string{public.Scheme + "://" + public.Host}, cfg.CORSOrigins...) {
		if err := s.csrf.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	for _, pattern := range fromOtherSites {
		s.csrf.AddInsecureBypassPattern(pattern)
	}
	if s.metadata, err = json.Marshal(s.describe()); err != nil {
		return nil, err
	}
	engine, err := s.engine()
	if err != nil {
		return nil, err
	}
	return withoutPrefix(strings.TrimSuffix(public.Path, "/"), engine), nil
}

func (s *Server) engine() (*gin.Engine, error) {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.RemoteIPHeaders = []string{"X-Forwarded-For"}
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false // a password is never sent on
	trusted := []string{}
	for _, p := range s.cfg.TrustedProxies {
		trusted = append(trusted, p.String())
	}
	if err := e.SetTrustedProxies(trusted); err != nil {
		return nil, err
	}
	e.Use(s.recover, securityHeaders, limitBody)
	e.Use(s.cors())
	e.Use(s.checkOrigin)
	s.routes(e)
	e.NoMethod(func(c *gin.Context) {
		refusePlainly(c, http.StatusMethodNotAllowed, "This address does not take the method "+c.Request.Method)
	})
	e.NoRoute(s.as(asPage, func(*gin.Context) error {
		return &broker.Error{Code: broker.NotFound, Message: "there is no such page"}
	}))
	return e, nil
}

// cors lets the configured origins read answers. Any other origin gets nothing
// from it; that is not a refusal, which is checkOrigin's.
func (s *Server) cors() gin.HandlerFunc {
	allow := cors.New(cors.Config{
		AllowOriginFunc: func(string) bool { return true }, // it is asked for the configured ones alone
		AllowMethods:    []string{"GET", "POST", "PUT", "PATCH", "DELETE"}, AllowCredentials: true,
		AllowHeaders:  []string{"Authorization", "Content-Type", "DPoP", headerRefreshToken, headerReturnTokens},
		ExposeHeaders: []string{"Latchkey-Code", "Latchkey-Verdict", "Retry-After", "WWW-Authenticate"},
	})
	// Without credentials: these endpoints have no use for cookies.
	allowClient := cors.New(cors.Config{
		AllowOriginFunc: func(string) bool { return true },
		AllowMethods:    []string{"GET", "POST"}, MaxAge: time.Hour,
		AllowHeaders:  []string{"Authorization", "Content-Type", "DPoP"},
		ExposeHeaders: []string{"DPoP-Nonce", "Latchkey-Code", "Latchkey-Verdict", "Retry-After", "WWW-Authenticate"},
	})
	return func(c *gin.Context) {
		origin, path := c.GetHeader("Origin"), c.Request.URL.Path
		switch {
		case origin == "" || strings.HasPrefix(path, "/.well-known/"): // what is well known is open to everybody
		case slices.Contains(clientEndpoints, path):
			if slices.Contains(s.cfg.CORSOrigins, origin) || s.broker.OriginAllowed(c.Request.Context(), origin) {
				allowClient(c)
			}
		case slices.Contains(s.cfg.CORSOrigins, origin):
			allow(c)
		}
	}
}

// clientEndpoints are what single-page apps call, from origins of their own.
var clientEndpoints = []string{
	"/oauth2/token", "/oauth2/userinfo", "/oauth2/revoke", "/oauth2/introspect", "/oauth2/par", "/oauth2/device_authorization",
}

// fromOtherSites are what other sites make browsers send by right: no cookie of
// ours decides anything there.
var fromOtherSites = []string{
	"POST /oauth2/authorize", "POST /oauth2/token", "POST /oauth2/userinfo", "POST /oauth2/introspect", "POST /oauth2/revoke",
	"POST /oauth2/par", "POST /oauth2/device_authorization", "POST /oauth2/register", "POST /oauth2/logout",
	"POST /auth/{provider}/backchannel-logout",
}

// routes is every route of Latchkey.
func (s *Server) routes(e *gin.Engine) {
	// Operation
	e.GET("/healthz", s.healthz)
	e.GET("/readyz", s.readyz)
	e.GET("/openapi.yaml", s.openAPI)
	e.GET("/static/*file", s.static)

	r := e.Group("", s.whenReady)

	// Keys and metadata, for whoever checks tokens
	r.GET("/.well-known/jwks.json", s.jwks)
	r.GET("/.well-known/openid-configuration", s.discovery)
	r.GET("/.well-known/oauth-authorization-server", s.discovery)
	if path := strings.TrimSuffix(s.publicURL.Path, "/"); path != "" { // RFC 8414 section 3.1 puts the issuer's path behind
		r.GET("/.well-known/oauth-authorization-server"+path, s.discovery)
	}

	// OpenID provider: for browsers
	r.GET("/oauth2/authorize", s.as(asPage, s.authorizePage))
	r.POST("/oauth2/authorize", s.as(asPage, s.authorizeForm))
	r.GET("/oauth2/continue", s.as(asPage, s.continuePage))
	r.POST("/oauth2/consent", s.as(asPage, s.consentForm))
	r.GET("/oauth2/logout", s.as(asPage, s.logoutPage))
	r.POST("/oauth2/logout", s.as(asPage, s.logoutFromClient))
	r.POST("/oauth2/logout/confirm", s.as(asPage, s.logoutForm))
	r.GET("/device", s.as(asPage, s.devicePage))
	r.POST("/device", s.as(asPage, s.deviceForm))

	// OpenID provider: for programs
	r.POST("/oauth2/token", s.oauthCall(s.token))
	r.POST("/oauth2/par", s.oauthCall(s.pushAuthorization))
	r.POST("/oauth2/device_authorization", s.oauthCall(s.deviceAuthorization))
	r.POST("/oauth2/introspect", s.oauthCall(s.introspect))
	r.POST("/oauth2/revoke", s.oauthCall(s.revoke))
	r.GET("/oauth2/userinfo", s.userinfo)
	r.POST("/oauth2/userinfo", s.userinfo)
	r.GET("/oauth2/revocations", s.as(asOAuth, s.revocationList))
	r.POST("/oauth2/register", s.as(asOAuth, s.registerClient))
	r.POST("/auth/:provider/backchannel-logout", s.as(asOAuth, s.idpLogout))

	// JSON API: no credentials needed
	r.GET("/status", s.as(asText, s.status))
	r.GET("/ping", s.ping)
	r.GET("/healthcheck", s.healthcheck)
	r.POST("/login", s.as(asText, s.login))
	r.POST("/auth/refresh", s.as(asJSON, s.refresh))
	r.POST("/logout", s.as(asJSON, s.logout))

	// Login through an IdP: an app's, and a browser's
	r.GET("/auth/:provider", s.as(asText, s.beginIdPLogin))
	r.GET("/auth/:provider/authorize", s.as(asPage, s.openAuthRequest))
	r.GET("/auth/:provider/callback", s.as(asPage, s.idpCallback))
	r.GET("/auth/:provider/mobile-redirect", s.as(asPage, s.idpCallback))
	r.GET("/auth/:provider/config", s.idpConfig)

	// JSON API: for API keys too (authenticated), and for a login alone
	// (ownSession). A route below /api that names neither is refused by a test.
	r.POST("/api/authorize", s.authenticated(s.authorize))
	r.GET("/api/me", s.authenticated(s.me))
	r.GET("/api/me/sessions", s.authenticated(s.mySessions))
	r.DELETE("/api/me/sessions/:id", s.ownSession(s.endMySession))
	r.PATCH("/api/me/password", s.ownSession(s.changePassword))

	r.GET("/api/me/identities", s.authenticated(s.myIdentities))
	r.DELETE("/api/me/identities/:id", s.ownSession(s.unlinkMine))

	// API keys: by a login that could administer; who may keep whose, the broker decides
	r.GET("/api/api-keys", s.keyholder(s.listAPIKeys))
	r.POST("/api/api-keys", s.keyholder(s.createAPIKey))
	r.PATCH("/api/api-keys/:id", s.keyholder(s.updateAPIKey))
	r.DELETE("/api/api-keys/:id", s.keyholder(s.deleteAPIKey))

	// Admin API
	r.GET("/api/users/:id/identities", s.administrator(s.identitiesOf))
	r.DELETE("/api/users/:id/identities/:identity", s.administrator(s.unlinkOne))
	r.PATCH("/api/users/:id/openid-unlink", s.administrator(s.unlinkAll))
	r.GET("/api/users", s.administrator(s.listUsers))
	r.POST("/api/users", s.administrator(s.createUser))
	r.GET("/api/users/:id", s.administrator(s.showUser))
	r.PATCH("/api/users/:id", s.administrator(s.updateUser))
	r.DELETE("/api/users/:id", s.administrator(s.deleteUser))
	r.GET("/api/sessions", s.administrator(s.listSessions))
	r.POST("/api/sessions/end", s.administrator(s.endSessions))
	r.GET("/api/sessions/:id", s.administrator(s.showSession))
	r.DELETE("/api/sessions/:id", s.administrator(s.endSession))
	r.GET("/api/keys", s.administrator(s.listKeys))
	r.GET("/api/audit", s.administrator(s.listEvents))
	r.GET("/api/clients", s.administrator(s.listClients))
	r.POST("/api/clients", s.administrator(s.createClient))
	r.GET("/api/clients/:id", s.administrator(s.showClient))
	r.PUT("/api/clients/:id", s.administrator(s.updateClient))
	r.DELETE("/api/clients/:id", s.administrator(s.deleteClient))
	r.POST("/api/clients/:id/secret", s.administrator(s.newClientSecret))
	r.POST("/api/users/:id/end-legacy-tokens", s.administrator(s.endLegacyTokens))
	r.POST("/api/users/:id/password-link", s.administrator(s.makePasswordLink))
	r.GET("/api/providers", s.administrator(s.listProviders))
	r.POST("/api/providers", s.administrator(s.createProvider))
	r.GET("/api/providers/:id", s.administrator(s.showProvider))
	r.PUT("/api/providers/:id", s.administrator(s.updateProvider))
	r.DELETE("/api/providers/:id", s.administrator(s.deleteProvider))
	r.POST("/api/providers/:id/test", s.administrator(s.testProvider))

	// Pages
	r.GET("/", s.as(asPage, s.homePage))
	r.GET("/login", s.as(asPage, s.loginPage))
	r.POST("/login/password", s.as(asPage, s.loginForm))
	r.POST("/login/new-password", s.as(asPage, s.newPasswordForm))
	r.GET("/password", s.as(asPage, s.passwordPage))
	r.POST("/password", s.as(asPage, s.passwordForm))
	r.POST("/session/end", s.as(asPage, s.endSessionForm))
	r.GET("/account/identities", s.as(asPage, s.identitiesPage))
	r.POST("/account/identities/link", s.as(asPage, s.linkForm))
	r.POST("/account/identities/unlink", s.as(asPage, s.unlinkForm))
	r.GET("/setup", s.as(asPage, s.setupPage))
	r.POST("/setup", s.as(asPage, s.setupForm))
}

// ownKeys lets tokens/verify check our tokens with our own ring.
type ownKeys struct{ broker *broker.Broker }

// Keys implements verify.KeySet.
func (k ownKeys) Keys(_ context.Context, kid string) ([]jose.JSONWebKey, error) {
	return k.broker.KeyRing().VerificationKeys(kid), nil
}
