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
	pages     *pages
	csrf      *http.CrossOriginProtection
	broker    *broker.Broker
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
	if s.pages, err = loadPages(); err != nil {
		return nil, err
	}
	for _, origin := range append([]string{public.Scheme + "://" + public.Host}, cfg.CORSOrigins...) {
		if err := s.csrf.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
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
		AllowMethods:    []string{"GET", "POST", "PATCH", "DELETE"}, AllowCredentials: true,
		AllowHeaders:  []string{"Authorization", "Content-Type", headerRefreshToken, headerReturnTokens},
		ExposeHeaders: []string{"Latchkey-Code", "Latchkey-Verdict", "Retry-After", "WWW-Authenticate"},
	})
	return func(c *gin.Context) {
		// What is well known is open to everybody, without credentials.
		if slices.Contains(s.cfg.CORSOrigins, c.GetHeader("Origin")) && !strings.HasPrefix(c.Request.URL.Path, "/.well-known/") {
			allow(c)
		}
	}
}

// routes is every route of Latchkey.
func (s *Server) routes(e *gin.Engine) {
	// Operation
	e.GET("/healthz", s.healthz)
	e.GET("/readyz", s.readyz)
	e.GET("/static/*file", s.static)

	r := e.Group("", s.whenReady)

	// Keys and metadata, for whoever checks tokens
	r.GET("/.well-known/jwks.json", s.jwks)
	r.GET("/.well-known/openid-configuration", s.discovery)
	r.GET("/.well-known/oauth-authorization-server", s.discovery)

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
	r.GET("/auth/:provider/config", s.authenticated(s.idpConfig))

	// JSON API: with an access token
	r.POST("/api/authorize", s.authenticated(s.authorize))
	r.GET("/api/me", s.authenticated(s.me))
	r.GET("/api/me/sessions", s.authenticated(s.mySessions))
	r.DELETE("/api/me/sessions/:id", s.authenticated(s.endMySession))
	r.PATCH("/api/me/password", s.authenticated(s.changePassword))

	// Pages
	r.GET("/", s.as(asPage, s.homePage))
	r.GET("/login", s.as(asPage, s.loginPage))
	r.POST("/login/password", s.as(asPage, s.loginForm))
	r.POST("/session/end", s.as(asPage, s.endSessionForm))
	r.GET("/setup", s.as(asPage, s.setupPage))
	r.POST("/setup", s.as(asPage, s.setupForm))
}

// ownKeys lets tokens/verify check our tokens with our own ring.
type ownKeys struct{ broker *broker.Broker }

// Keys implements verify.KeySet.
func (k ownKeys) Keys(_ context.Context, kid string) ([]jose.JSONWebKey, error) {
	return k.broker.KeyRing().PublicKeys(kid), nil
}
