package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens"
)

// jwks publishes the keys. It may be cached shorter than a new key is
// published before it signs.
func (s *Server) jwks(c *gin.Context) {
	c.Header("Cache-Control", "public, max-age=300")
	c.Header("Access-Control-Allow-Origin", "*")
	c.Data(http.StatusOK, "application/json", s.broker.PublicKeys(c.Request.Context()))
}

// discovery says what Latchkey is and where (OIDC Discovery section 3, RFC 8414
// section 2). It does not change while the program runs, and names no endpoint
// that does not exist.
func (s *Server) discovery(c *gin.Context) {
	c.Header("Cache-Control", "public, max-age=300")
	c.Header("Access-Control-Allow-Origin", "*")
	c.Data(http.StatusOK, "application/json", s.metadata)
}

func (s *Server) describe() gin.H {
	public := s.broker.PublicURL()
	secretOrKey := []string{broker.AuthBasic, broker.AuthPost, broker.AuthPrivateKeyJWT}
	withNone := append([]string{broker.AuthNone}, secretOrKey...)
	doc := gin.H{
		"issuer":                                public,
		"authorization_endpoint":                public + "/oauth2/authorize",
		"token_endpoint":                        public + "/oauth2/token",
		"userinfo_endpoint":                     public + "/oauth2/userinfo",
		"jwks_uri":                              public + "/.well-known/jwks.json",
		"introspection_endpoint":                public + "/oauth2/introspect",
		"revocation_endpoint":                   public + "/oauth2/revoke",
		"pushed_authorization_request_endpoint": public + "/oauth2/par",
		"device_authorization_endpoint":         public + "/oauth2/device_authorization",
		"end_session_endpoint":                  public + "/oauth2/logout",
		"latchkey_revocations_endpoint":         public + "/oauth2/revocations",

		"scopes_supported": []string{
			broker.ScopeOpenID, broker.ScopeProfile, broker.ScopeEmail, broker.ScopeGroups, broker.ScopeOfflineAccess,
		},
		"response_types_supported": []string{"code"},
		"response_modes_supported": []string{"query", "form_post"},
		"grant_types_supported": []string{
			broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantClientCredentials, broker.GrantDeviceCode, broker.GrantTokenExchange,
		},
		"subject_types_supported":               []string{"public"},
		"acr_values_supported":                  []string{"1", "2"},
		"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "EdDSA"},
		"claims_supported":                      append([]string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"}, broker.UserClaimNames()...),
		"claim_types_supported":                 []string{"normal"},
		"ui_locales_supported":                  s.tongues.names(),
		"prompt_values_supported":               []string{"none", "login", "consent", "select_account"},
		"code_challenge_methods_supported":      []string{"S256"},

		"token_endpoint_auth_methods_supported":                    withNone,
		"token_endpoint_auth_signing_alg_values_supported":         assertionAlgs,
		"revocation_endpoint_auth_methods_supported":               withNone,
		"revocation_endpoint_auth_signing_alg_values_supported":    assertionAlgs,
		"introspection_endpoint_auth_methods_supported":            secretOrKey,
		"introspection_endpoint_auth_signing_alg_values_supported": assertionAlgs,
		"dpop_signing_alg_values_supported":                        tokens.Algorithms,
		"authorization_response_iss_parameter_supported":           true,
		"backchannel_logout_supported":                             true,
		"backchannel_logout_session_supported":                     true,
		"claims_parameter_supported":                               true,
		"request_parameter_supported":                              false,
		"request_uri_parameter_supported":                          false,
		"require_pushed_authorization_requests":                    false,
	}
	if s.broker.RegistersClients() {
		doc["registration_endpoint"] = public + "/oauth2/register"
	}
	return doc
}

// assertionAlgs sign client assertions (RFC 7523).
var assertionAlgs = []string{"RS256", "PS256", "ES256", "EdDSA"}
