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
	"github.com/latchkey-id/latchkey/web/metrics"
)

// Config is everything that the front end needs. Broker is required.
type Config struct {
	Broker         *broker.Broker
	Version        string
	TrustedProxies []netip.Prefix // whose X-Forwarded-For and -Proto are believed
	CORSOrigins    []string       // origins of web apps that call the JSON API from a browser
	LocalLogin     bool
	// AutoLaunch is the id of the provider that the login page leads on to by
	// itself; empty: none.
	AutoLaunch string
	Log        *slog.Logger
	// FetchMetadata reads an issuer's discovery document for an administrator;
	// nil: not offered.
	FetchMetadata func(ctx context.Context, issuer string) (json.RawMessage, error)
	Metrics       *metrics.Metrics // nil: nothing is counted
	Tracer        broker.Tracer    // nil: nothing is traced
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
	document    []byte // /openapi.yaml
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
	s.document = s.describeAPI()
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
	if s.cfg.Metrics != nil {
		counted := &measured{m: s.cfg.Metrics, routes: map[routeKey]*metrics.Route{}}
		e.Use(counted.measure)
		defer counted.learn(e)
	}
	if s.cfg.Tracer != nil {
		e.Use(s.trace)
	}
	e.Use(s.recover, securityHeaders, limitHeader, s.limitBody)
	e.Use(s.cors())
	e.Use(s.checkOrigin)
	s.routes(e)
	e.NoMethod(s.wrongMethod(e.Routes()))
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
		AllowHeaders:  []string{"Authorization", "Content-Type", "DPoP", headerRefreshToken, headerReturnTokens, headerDeviceName},
		ExposeHeaders: exposed,
	})
	// Without credentials: these endpoints have no use for cookies.
	allowClient := cors.New(cors.Config{
		AllowOriginFunc: func(string) bool { return true },
		AllowMethods:    []string{"GET", "POST"}, MaxAge: time.Hour,
		AllowHeaders:  []string{"Authorization", "Content-Type", "DPoP", headerDeviceName},
		ExposeHeaders: append(slices.Clone(exposed), "DPoP-Nonce"),
	})
	return func(c *gin.Context) {
		origin, path := c.GetHeader("Origin"), c.Request.URL.Path
		switch {
		case origin == "" || strings.HasPrefix(path, "/.well-known/"): // what is well known is open to everybody
		case path == forwardAuthPath: // the answer is the proxy's; 204 to a preflight would let it pass
		case slices.Contains(clientEndpoints, path):
			if slices.Contains(s.cfg.CORSOrigins, origin) || s.broker.OriginAllowed(c.Request.Context(), origin) {
				allowClient(c)
			}
		case slices.Contains(s.cfg.CORSOrigins, origin):
			allow(c)
		}
	}
}

// exposed are headers that scripts of other origins may read.
var exposed = []string{
	"Latchkey-Code", "Latchkey-Verdict", "Retry-After", "WWW-Authenticate", "RateLimit-Limit", "RateLimit-Policy", "RateLimit-Remaining", "RateLimit-Reset",
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
	"POST /auth/{provider}/backchannel-logout", forwardAuthPath,
}

// routes is every route of Latchkey.
func (s *Server) routes(e *gin.Engine) {
	// Operation
	e.GET("/healthz", s.healthz)
	e.GET("/readyz", s.readyz)
	e.GET("/openapi.yaml", s.openAPI)
	e.GET("/static/*file", s.static)

	ready := e.Group("", s.whenReady)
	ready.POST("/auth/refresh", s.as(asJSON, s.refresh)) // which no limit holds up, and none is asked for
	r := ready.Group("", tellLimits)

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
	r.GET(logoutConfirmPath, s.as(asPage, s.confirmLogoutPage))
	r.POST(logoutConfirmPath, s.as(asPage, s.logoutForm))
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
	r.GET("/diagnosis", s.as(asJSON, s.diagnosis))

	// Forward auth: for proxies, and for browsers on the hosts of apps and here
	r.Any(forwardAuthPath, s.forwardAuth)
	r.GET(broker.ForwardPath+"login", s.as(asForward, s.beginForward))
	r.GET(broker.ForwardPath+"callback", s.as(asForward, s.forwardCallback))
	r.GET(forwardContinuePath, s.as(asPage, s.continueForward))

	// JSON API: no credentials needed
	r.GET("/status", s.as(asText, s.status))
	r.GET("/ping", s.ping)
	r.GET("/healthcheck", s.healthcheck)
	r.POST("/login", s.as(asText, s.login))
	r.POST("/logout", s.as(asJSON, s.logout))

	// Login through an IdP: an app's, and a browser's
	r.GET("/auth/:provider", s.as(asText, s.beginIdPLogin))
	r.GET("/auth/:provider/authorize", s.as(asPage, s.openAuthRequest))
	r.GET("/auth/:provider/callback", s.as(asPage, s.idpCallback))
	r.GET("/auth/:provider/mobile-redirect", s.as(asPage, s.idpCallback))
	r.GET(confirmPath, s.as(asPage, s.confirmPage))
	r.POST(confirmPath, s.as(asPage, s.confirmForm))
	r.GET("/auth/:provider/config", s.idpConfig)
	r.GET("/auth/:provider/logo", s.as(asText, s.providerLogo))

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
	r.POST("/api/keys/rotate", s.administrator(s.rotateKeys))
	r.DELETE("/api/keys/:id", s.administrator(s.revokeKey))
	r.GET("/api/audit", s.administrator(s.listEvents))
	r.GET("/api/clients", s.administrator(s.listClients))
	r.POST("/api/clients", s.administrator(s.createClient))
	r.GET("/api/clients/:id", s.administrator(s.showClient))
	r.PUT("/api/clients/:id", s.administrator(s.updateClient))
	r.DELETE("/api/clients/:id", s.administrator(s.deleteClient))
	r.POST("/api/clients/:id/secret", s.administrator(s.newClientSecret))
	r.POST("/api/users/:id/end-legacy-tokens", s.administrator(s.endLegacyTokens))
	r.DELETE("/api/users/:id/factors", s.administrator(s.resetFactors))
	r.POST("/api/users/:id/password-link", s.administrator(s.makePasswordLink))
	r.GET("/api/providers", s.administrator(s.listProviders))
	r.POST("/api/providers", s.administrator(s.createProvider))
	r.GET("/api/providers/:id", s.administrator(s.showProvider))
	r.PUT("/api/providers/:id", s.administrator(s.updateProvider))
	r.DELETE("/api/providers/:id", s.administrator(s.deleteProvider))
	r.POST("/api/providers/:id/test", s.administrator(s.testProvider))
	r.POST("/api/providers/:id/check", s.administrator(s.tryProvider))

	// Pages
	r.GET("/", s.member(s.homePage))
	r.GET("/login", s.as(asPage, s.loginPage))
	r.POST("/login/password", s.as(asPage, s.loginForm))
	r.GET(forgottenPath, s.as(asPage, s.forgottenPage))
	r.POST(forgottenPath, s.as(asPage, s.forgottenForm))
	r.POST("/login/new-password", s.as(asPage, s.newPasswordForm))
	r.GET(secondPath, s.as(asPage, s.secondPage))
	r.POST(secondPath, s.as(asPage, s.secondForm))
	r.POST(secondPath+"/passkey", s.as(asPage, s.secondPasskeyForm))
	r.POST(secondPath+"/passkey/options", s.as(asJSON, s.secondPasskeyOptions))
	r.POST("/login/passkey", s.as(asPage, s.passkeyForm))
	r.POST("/login/passkey/options", s.as(asJSON, s.passkeyOptions))
	r.GET("/password", s.as(asPage, s.passwordPage))
	r.POST("/password", s.as(asPage, s.passwordForm))
	r.POST("/session/end", s.as(asPage, s.endSessionForm))
	r.GET("/account", s.member(s.devicesPage))
	r.GET("/account/ended", s.member(s.pastDevicesPage))
	r.POST("/account/devices/name", s.member(s.nameDeviceForm))
	r.POST("/account/devices/end", s.member(s.endDeviceForm))
	r.POST("/account/devices/end-others", s.member(s.endOthersForm))
	r.POST("/account/devices/end-all", s.member(s.endAllForm))
	r.GET("/account/identities", s.member(s.identitiesPage))
	r.POST("/account/identities/link", s.member(s.linkForm))
	r.POST("/account/identities/unlink", s.member(s.unlinkForm))
	r.GET("/account/password", s.member(s.ownPasswordPage))
	r.POST("/account/password", s.member(s.ownPasswordForm))
	r.GET(factorsPath, s.member(s.factorsPage))
	r.POST(factorsPath+"/totp", s.member(s.beginAppForm))
	r.POST(factorsPath+"/totp/confirm", s.member(s.confirmAppForm))
	r.POST(factorsPath+"/totp/remove", s.member(s.removeAppForm))
	r.POST(factorsPath+"/recovery", s.member(s.recoveryCodesForm))
	r.POST(factorsPath+"/passkeys", s.member(s.newPasskeyFormSent))
	r.POST(factorsPath+"/passkeys/options", s.member(s.newPasskeyOptions))
	r.POST(factorsPath+"/passkeys/:id", s.member(s.renamePasskeyForm))
	r.POST(factorsPath+"/passkeys/:id/remove", s.member(s.removePasskeyForm))
	r.GET("/account/api-keys", s.member(s.ownKeysPage))
	r.POST("/account/api-keys", s.member(s.createOwnKey))
	r.GET("/account/api-keys/:id", s.member(s.ownKeyPage))
	r.POST("/account/api-keys/:id", s.member(s.changeOwnKey))
	r.POST("/account/api-keys/:id/switch", s.member(s.switchOwnKey))
	r.POST("/account/api-keys/:id/delete", s.member(s.deleteOwnKey))
	r.GET("/account/data", s.member(s.dataPage))
	r.POST("/account/data", s.member(s.downloadData))
	r.POST("/account/data/withdraw", s.member(s.withdrawConsent))
	r.GET("/setup", s.as(asPage, s.setupPage))
	r.POST("/setup", s.as(asPage, s.setupForm))

	// Clients, for administrators
	r.GET("/admin/clients", s.officer(s.clientsPage))
	r.GET("/admin/clients/*id", s.officer(s.clientPage))
	r.POST("/admin/clients/*id", s.officer(s.clientForm))
	r.GET("/admin/connect", s.officer(s.connectPage))
	r.GET("/admin/connect/:what", s.officer(s.connectFormPage))
	r.POST("/admin/connect/:what", s.officer(s.connectForm))
	r.GET(keysPath, s.officer(s.keysPage))
	r.POST(keysPath+"/rotate", s.officer(s.rotateKeysForm))
	r.POST(keysPath+"/revoke", s.officer(s.revokeKeyForm))

	// Pages of administrators
	r.GET("/admin", s.officer(s.officeOverview))
	r.GET(auditPath, s.officer(s.officeAudit))
	r.GET(auditPath+"/export", s.officer(s.officeAuditExport))
	r.GET(auditPath+"/events.jsonl", s.officer(s.officeAuditLines))
	r.GET(auditPath+"/events.csv", s.officer(s.officeAuditTable))
	r.GET(setupPath, s.officer(s.officeSetup))
	r.POST(setupPath, s.officer(s.officeSetupDone))
	r.GET(providersPath, s.officer(s.providersPage))
	r.GET(providersPath+"/new", s.officer(s.newProviderPage))
	r.POST(providersPath+"/new", s.officer(s.createProviderForm))
	r.GET(providersPath+"/:id", s.officer(s.providerPage))
	r.POST(providersPath+"/:id", s.officer(s.updateProviderForm))
	r.POST(providersPath+"/:id/check", s.officer(s.tryProviderForm))
	r.POST(providersPath+"/:id/dry-run", s.officer(s.dryRunForm))
	r.POST(providersPath+"/:id/delete", s.officer(s.deleteProviderForm))
	r.GET(usersPath, s.officer(s.usersPage))
	r.GET(newUserPath, s.officer(s.newUserPage))
	r.POST(newUserPath, s.officer(s.newUserForm))
	r.GET(usersPath+"/:id", s.officer(s.userPage))
	r.POST(usersPath+"/:id", s.officer(s.provenUserForm(formProfile, s.changeProfile, profileOf, "username", "name", "email", "emailVerified", "role")))
	r.POST(usersPath+"/:id/permissions", s.officer(s.provenUserForm(formPermissions, s.changePermissions, permissionsIn, permissionFields()...)))
	r.POST(usersPath+"/:id/state", s.officer(s.provenUserForm(formState, s.changeState, nil, "to")))
	r.POST(usersPath+"/:id/unlink", s.officer(s.provenUserForm(formUnlink, s.unlinkUser, nil, "identity")))
	r.POST(usersPath+"/:id/end-sessions", s.officer(s.userForm(s.endSessionsOfUser, nil, "wipe")))
	r.POST(usersPath+"/:id/end-legacy-tokens", s.officer(s.userForm(s.endLegacyOfUser, nil)))
	r.POST(usersPath+"/:id/api-keys", s.officer(s.provenUserForm(formKey, s.changeUserKey, nil, "key", "to")))
	r.POST(usersPath+"/:id/reset-factors", s.officer(s.provenUserForm(formFactors, s.resetFactorsOfUser, nil)))
	r.POST(usersPath+"/:id/password", s.officer(s.passwordOfUserForm))
	r.POST(usersPath+"/:id/delete", s.officer(s.deleteUserForm))
	r.GET(sessionsPath, s.officer(s.sessionsPage))
	r.POST(sessionsPath+"/end", s.officer(s.endSessionsOffice))
	r.GET(sessionsPath+"/:id", s.officer(s.sessionPage))
	r.POST(sessionsPath+"/:id/end", s.officer(s.endSessionOffice))
}

// ownKeys lets tokens/verify check our tokens with our own ring.
type ownKeys struct{ broker *broker.Broker }

// Keys implements verify.KeySet. Another replica may have just made a key.
func (k ownKeys) Keys(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	if keys := k.broker.KeyRing().VerificationKeys(kid); len(keys) > 0 {
		return keys, nil
	}
	if err := k.broker.CatchUp(ctx); err != nil {
		return nil, err
	}
	return k.broker.KeyRing().VerificationKeys(kid), nil
}
