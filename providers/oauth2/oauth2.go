// Package oauth2 asks providers that speak OAuth 2 without OpenID who somebody
// is: GitHub, Discord, and any whose endpoints are known. The authorization code
// (RFC 6749 section 4.1, with PKCE) buys an access token, with which the
// provider's own API is asked for the person. The token is then forgotten.
//
// This proves less than OpenID does. There is no ID token: nothing is signed,
// and nothing says for which login or which client an answer was made. What
// stands in for nonce and iss is the state, which is bound to the browser and to
// the provider, and PKCE; a provider that ignores PKCE takes a stolen code from
// whoever has begun a login of his own. When somebody logged in there is not
// known, nor how, and the provider tells nobody of a logout.
package oauth2

import (
	"context"
	"net/http"

	"golang.org/x/oauth2"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/internal/idp"
	"github.com/latchkey-id/latchkey/providers/internal/outbound"
)

// Config describes one provider.
type Config struct {
	// Issuer stands for the provider in every identity, together with the
	// subject. GitHub and Discord are there; others have their endpoints.
	Issuer       string
	ClientID     string
	ClientSecret string
	// Scopes are asked for besides those that the provider's kind needs.
	Scopes []string
	// Groups asks for groups, and for the scope that this takes.
	Groups bool
	// TokenEndpointAuth is auto, client_secret_basic, client_secret_post or none.
	TokenEndpointAuth string
	Claims            ClaimNames // of the answer of Userinfo
	Endpoints         Endpoints

	// HTTPClient is nil for one that reaches any address. All of them are the
	// configuration's: none that stands in an answer is followed.
	HTTPClient *http.Client
}

// ClaimNames say which field of the userinfo answer gives what.
type ClaimNames = idp.ClaimNames

// Endpoints are the addresses of a provider.
type Endpoints struct {
	Authorization string
	Token         string
	Userinfo      string
	Emails        string // optional: a list of objects with email, primary and verified, in place of the claims
}

// Provider implements broker.IdP.
type Provider struct {
	cfg     Config
	dialect dialect
}

// dialect is what providers do each in their own way.
type dialect struct {
	header  map[string]string      // of every call of the API
	subject func(claim any) string // empty: it is no subject
	ask     func(broker.IdPAsk) map[string]string
	groups  func(ctx context.Context, c caller) ([]string, error)
}

// New is a provider whose endpoints and claims are all configured. Its subjects
// are texts, or whole numbers above zero. It has to be one that never changes
// and never comes to belong to somebody else, which a login name does.
func New(cfg Config) *Provider {
	return newProvider(cfg, dialect{subject: subject})
}

func newProvider(cfg Config, d dialect) *Provider {
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = outbound.Anywhere(idp.Limits)
	}
	cfg.Claims = cfg.Claims.WithDefaults()
	return &Provider{cfg: cfg, dialect: d}
}

// AuthURL implements broker.IdP. There is nothing to ask the provider before,
// so that one that is dark is noticed on the way back only.
func (p *Provider) AuthURL(_ context.Context, req broker.IdPRequest) (string, error) {
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(req.Verifier)}
	if p.dialect.ask != nil {
		for name, value := range p.dialect.ask(req.IdPAsk) {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	return p.oauth(req).AuthCodeURL(req.State, options...), nil
}

func (p *Provider) oauth(req broker.IdPRequest) *oauth2.Config {
	style, secret := idp.AuthStyle(p.cfg.TokenEndpointAuth, p.cfg.ClientSecret, nil)
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: secret, RedirectURL: req.RedirectURI, Scopes: p.cfg.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: p.cfg.Endpoints.Authorization, TokenURL: p.cfg.Endpoints.Token, AuthStyle: style},
	}
}

// Exchange implements broker.IdP. An iss parameter (RFC 9207) is not compared:
// what these providers call themselves is not known. That the state is bound to
// a provider, and the redirect URI too, keeps their answers apart.
func (p *Provider) Exchange(ctx context.Context, req broker.IdPRequest, res broker.IdPResponse) (broker.IdPClaims, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*idp.CallTimeout)
	defer cancel()
	token, err := p.oauth(req).Exchange(context.WithValue(ctx, oauth2.HTTPClient, p.cfg.HTTPClient), res.Code, oauth2.VerifierOption(req.Verifier))
	if err != nil {
		return broker.IdPClaims{}, idp.ExchangeError(err, res.Code, req.Verifier, p.cfg.ClientSecret)
	}
	if err := idp.CheckBearer(token); err != nil {
		return broker.IdPClaims{}, err
	}
	return p.person(ctx, caller{client: p.cfg.HTTPClient, token: token.AccessToken, header: p.dialect.header})
}

// EndSessionURL implements broker.IdP: there is none.
func (p *Provider) EndSessionURL(context.Context, string) string { return "" }

// Recheck implements broker.IdP: without OpenID, no refresh token is asked for,
// and the settings of such a provider have no recheck.
func (p *Provider) Recheck(context.Context, broker.UpstreamToken, broker.RecheckBy) (broker.RecheckResult, error) {
	return broker.RecheckResult{Untouched: true}, idp.BadResponse("logins at this provider cannot be checked again", nil)
}

// VerifyIDToken implements broker.IdP: there are none.
func (p *Provider) VerifyIDToken(context.Context, string) (broker.IdPToken, error) {
	return broker.IdPToken{}, &broker.Error{Code: broker.CodeInvalid, Message: "this identity provider has no ID tokens"}
}

// VerifyLogoutToken implements broker.IdP: there are none.
func (p *Provider) VerifyLogoutToken(context.Context, string) (broker.IdPLogoutToken, error) {
	return broker.IdPLogoutToken{}, &broker.Error{Code: broker.InvalidRequest, Message: "this identity provider has no logout tokens"}
}

// Issuer implements broker.IdP.
func (p *Provider) Issuer() string { return p.cfg.Issuer }
