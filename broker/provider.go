package broker

import (
	"context"
	"time"
)

// Provisioning says what happens to somebody who is new here.
type Provisioning string

// What a provider's newcomers get.
const (
	ProvisionCreate Provisioning = "create" // a new user
	ProvisionMatch  Provisioning = "match"  // an existing user, by the link rule
	ProvisionDeny   Provisioning = "deny"   // nothing: only linked identities may log in
)

// LinkRule says how a newcomer may be matched to an existing user.
type LinkRule string

// How a newcomer is matched.
const (
	LinkNone          LinkRule = "none"
	LinkVerifiedEmail LinkRule = "verified_email"
)

// EmailRule says what an IdP's email_verified must be for a login.
type EmailRule string

// What a login needs of email_verified.
const (
	EmailAlways    EmailRule = "always"     // true
	EmailIfPresent EmailRule = "if_present" // anything but an explicit false
	EmailNever     EmailRule = "never"      // nothing
)

// Provider is an IdP with the rules for who may come in through it.
type Provider struct {
	ProviderSettings
	IdP       IdP
	HasSecret bool
	ReadOnly  bool // it stands in the configuration
	// Of one that was added while running.
	CreatedAt time.Time
	UpdatedAt time.Time

	madeOf string // what IdP was made of: the hash of settings and secret
}

// Trusted reports whether the IdP may be at a private address: an issuer in the
// configuration is permission, and so is AllowPrivate.
func (p *Provider) Trusted() bool { return p.ReadOnly || p.AllowPrivate }

// IdP asks an identity provider who somebody is. Trouble of the IdP or of the
// way to it is [TemporarilyUnavailable]; an answer that proves nothing is
// [IdPBadResponse] or a more exact code; a refusal is [AccessDenied] or
// [IdPRefused].
type IdP interface {
	// AuthURL returns where to send the browser. It fails within 5 s when the
	// IdP is dark, if the protocol has something to ask before.
	AuthURL(ctx context.Context, req IdPRequest) (string, error)
	// Exchange redeems what the IdP answered. It never trusts the issuer that
	// stands in a token. The claims hold the IdP's refresh token where logins are
	// checked again, and it gave one.
	Exchange(ctx context.Context, req IdPRequest, res IdPResponse) (IdPClaims, error)
	// Recheck asks whether the login still stands that a refresh token is of. An
	// error says that this is not known.
	Recheck(ctx context.Context, token UpstreamToken, by RecheckBy) (RecheckResult, error)
	// EndSessionURL is where a browser logs out at the IdP, or "".
	EndSessionURL(ctx context.Context, returnTo string) string
	// VerifyIDToken checks an ID token that an app got from the IdP by itself,
	// for one of the audiences that this is allowed for: signature, iss, aud, azp
	// (one of the audiences too), times, and that it is at most ten minutes old.
	// The nonce is the caller's to compare. A bad token is CodeInvalid.
	VerifyIDToken(ctx context.Context, raw string) (IdPToken, error)
	// VerifyLogoutToken checks a back-channel logout token (OIDC Back-Channel
	// Logout section 2.6) but for its replay. A bad token is InvalidRequest.
	VerifyLogoutToken(ctx context.Context, raw string) (IdPLogoutToken, error)
	// Issuer is the configured issuer.
	Issuer() string
}

// Answering is an [IdP] that remembers when it was last heard from.
type Answering interface {
	// LastAnswer is when its discovery document last came; zero: not since the start.
	LastAnswer() time.Time
}

// IdPToken is a verified ID token that did not come with a code of ours.
type IdPToken struct {
	Claims    IdPClaims
	Nonce     string // empty: it has none
	ExpiresAt time.Time
}

// IdPLogoutToken is a verified logout token. Subject or SessionID is set.
type IdPLogoutToken struct {
	Subject   string
	SessionID string
	ID        string // jti
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// IdPRequest is our side of one trip to an IdP. All secrets are derived from
// the state, of which only a hash is stored.
type IdPRequest struct {
	State       string
	Nonce       string
	Verifier    string // PKCE, RFC 7636
	RedirectURI string
	IdPAsk
}

// IdPResponse is what came back on the callback.
type IdPResponse struct {
	Code             string
	State            string
	Issuer           string // the iss parameter, RFC 9207
	Error            string
	ErrorDescription string
}

// IdPClaims is what an IdP says of a person. Issuer is the configured one.
type IdPClaims struct {
	Issuer        string
	Subject       string
	SessionID     string
	Username      string
	Name          string
	Email         string
	EmailVerified *bool // nil: absent, or not a boolean
	Groups        []string
	// Permissions is the claim of that name as it came, in the types of
	// encoding/json; nil: absent.
	Permissions  any
	AMR          []string
	AuthTime     time.Time
	RefreshToken UpstreamToken // the IdP's own; empty: none, or not wanted
}
