package broker

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// Caller is who calls the token endpoint: a client that proved what it is
// registered to prove, and the key of its DPoP proof, if it sent one.
type Caller struct {
	Client    Client
	ProvenKey string // RFC 7638 thumbprint; empty: no proof
	Device    Device
}

// mayUse refuses a grant that the client is not registered for.
func (c *Caller) mayUse(grantType string) error {
	if !c.Client.MayUse(grantType) {
		return refuse(UnauthorizedClient, "this client is not registered for the grant "+grantType)
	}
	if c.Client.DPoPBound && c.ProvenKey == "" {
		return refuse(InvalidDPoPProof, "this client has to send a DPoP proof")
	}
	return nil
}

// CodeExchange redeems an authorization code (RFC 6749 section 4.1.3).
type CodeExchange struct {
	Code        string
	RedirectURI string
	Verifier    string // RFC 7636; empty: none was sent
	Resource    string // RFC 8707: must be the one that was authorized
}

// RedeemCode exchanges a code for a session and its tokens. The code, its
// client, redirect URI, verifier and key all have to fit in one statement; what
// does not fit changes nothing. A second redemption with everything right means
// that two hold the code, and ends the session of the first.
func (b *Broker) RedeemCode(ctx context.Context, by Caller, x CodeExchange) (*Login, error) {
	if err := by.mayUse(GrantAuthorizationCode); err != nil {
		return nil, err
	}
	want := AuthorizationCode{ID: hash("authorization code", x.Code), ClientID: by.Client.ID, RedirectURI: x.RedirectURI}
	if x.Code == "" {
		return nil, invalidRequest("code is missing")
	}
	if x.Verifier != "" {
		challenge, err := checkVerifier(x.Verifier)
		if err != nil {
			return nil, err
		}
		want.Challenge = challenge
	}
	if err := b.codeTrusted(ctx, &by.Client, want); err != nil {
		return nil, err
	}
	now := b.now()
	s := b.newSession(&by.Client, "", by.Device, now)
	var code AuthorizationCode
	var u User
	err := b.retryTx(ctx, func(store Store) (err error) {
		if code, err = store.RedeemCode(ctx, want, by.ProvenKey, s.ID, now); err != nil {
			return err
		}
		if x.Resource != "" && x.Resource != code.Authorization.Request.Resource {
			return refuse(InvalidTarget, "the resource is not the one that was authorized")
		}
		s.from(code.Authorization, by.ProvenKey)
		if err := stillPermitted(ctx, store, &by.Client, code.Authorization); err != nil {
			return err
		}
		u, err = b.insertSession(ctx, store, s, "")
		return err
	})
	if errors.Is(err, NotFound) {
		return nil, b.codeNotTaken(ctx, by, want)
	}
	if errors.Is(err, UserDisabled) {
		return nil, refuse(CodeInvalid, "the person was logged out before the code was used")
	}
	if err != nil {
		return nil, err
	}
	return b.mintNew(ctx, by, u, s, code.Authorization.Nonce, now)
}

// checkVerifier returns the challenge of a verifier of the right form (RFC 7636
// section 4.1); CodeInvalid.
func checkVerifier(verifier string) (challenge string, err error) {
	if len(verifier) < 43 || len(verifier) > 128 || strings.ContainsFunc(verifier, notUnreserved) {
		return "", refuse(CodeInvalid, "the code_verifier has 43 to 128 unreserved characters")
	}
	return challengeOf(verifier), nil
}

func notUnreserved(r rune) bool { return notBase64URL(r) && r != '.' && r != '~' }

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// from fills a session from what the person allowed.
func (s *Session) from(a Authorization, provenKey string) {
	s.UserID, s.ParentID, s.FollowsParent, s.Scope, s.Request = a.UserID, a.ParentID, a.FollowsParent, a.Scope, a.Request
	// A proof was asked for it, as for a login; see [Broker.LetInAsked].
	s.Request.Program = s.ClientID == CLIClientID
	s.ProviderID, s.IdPSubject, s.IdPSession, s.AMR, s.AuthTime = a.ProviderID, a.IdPSubject, a.IdPSession, a.AMR, a.AuthTime
	s.UpstreamID, s.VouchedAt = a.UpstreamID, a.VouchedAt
	s.DPoPThumbprint = provenKey
}

// codeNotTaken tells a code that does not fit from a replay.
func (b *Broker) codeNotTaken(ctx context.Context, by Caller, want AuthorizationCode) error {
	invalid := refuse(CodeInvalid, "the code is not known, has expired, or does not belong to this request")
	code, err := b.cfg.Store.CodeByID(ctx, want.ID)
	switch {
	case errors.Is(err, NotFound):
		return invalid
	case err != nil:
		return err
	case code.ClientID != want.ClientID || code.RedirectURI != want.RedirectURI || code.Challenge != want.Challenge || code.RedeemedAt.IsZero():
		return invalid
	}
	if _, err := b.EndSessions(ctx, SessionFilter{ID: code.SessionID}, CodeReused, false, by.Device.IP); err != nil {
		return err
	}
	return refuse(CodeReused, "the code was redeemed already; the session that it made has been ended")
}

// mintNew makes the tokens of a session that was just made.
func (b *Broker) mintNew(ctx context.Context, by Caller, u User, s Session, nonce string, now time.Time) (*Login, error) {
	until, err := b.trustedUntil(ctx, &by.Client, s.ID)
	if err != nil {
		return nil, err
	}
	s.trustedUntil = until
	login, err := b.mint(&by.Client, u, s, 0, 0, now)
	if err != nil {
		return nil, err
	}
	return b.withIDToken(ctx, &by.Client, login, nonce, now)
}

// withIDToken adds an ID token where openid was granted (OIDC Core sections
// 3.1.3.3 and 12.2), and leaves the refresh token out for a client that is not
// registered for it.
func (b *Broker) withIDToken(ctx context.Context, c *Client, login *Login, nonce string, now time.Time) (*Login, error) {
	if !c.MayUse(GrantRefreshToken) {
		login.RefreshToken = ""
	}
	if !hasScope(login.Session.Scope, ScopeOpenID) {
		return login, nil
	}
	algorithm := c.idTokenAlg()
	signer, err := b.idSigner(ctx, algorithm, now)
	if err != nil {
		return nil, err
	}
	s := login.Session
	about := b.userClaims(login.User, s.Scope, s.Request.IDTokenClaims)
	if !c.ClaimsInIDToken { // an ID token travels in URLs, as a hint
		about = pick(about, s.Request.IDTokenClaims)
	}
	claims := tokens.IDClaims{
		Issuer: b.cfg.PublicURL, Subject: s.UserID, Audience: c.ID, IssuedAt: now.Unix(), ExpiresAt: now.Add(login.ExpiresIn).Unix(),
		AuthTime: s.AuthTime.Unix(), Nonce: nonce, ACR: ACR(s.AMR), AMR: s.AMR, SessionID: s.ID,
		AccessTokenHash: tokens.AccessTokenHash(algorithm, login.AccessToken),
		Extra:           about,
	}
	if login.IDToken, err = signer.MintID(claims); err != nil {
		return nil, Unavailable(err)
	}
	return login, nil
}

// RefreshClient is [Broker.Refresh] at the token endpoint (RFC 6749 section 6).
// scope, if any, narrows the access token of this answer alone.
func (b *Broker) RefreshClient(ctx context.Context, by Caller, raw, scope, resource string) (*Login, error) {
	switch {
	case !by.Client.MayUse(GrantRefreshToken):
		return nil, refuse(UnauthorizedClient, "this client is not registered for refresh_token")
	case raw == "":
		return nil, invalidRequest("refresh_token is missing")
	case !subset(scope, by.Client.Scope):
		return nil, refuse(InvalidScope, "the scope is wider than what the client may have")
	}
	login, err := b.refreshBy(ctx, raw, presenter{client: &by.Client, provenKey: by.ProvenKey, device: by.Device})
	if err != nil {
		return nil, err
	}
	now := b.now()
	switch {
	case !subset(scope, login.Session.Scope):
		return nil, refuse(InvalidScope, "the scope is wider than what was granted")
	case resource != "" && resource != login.Session.Request.Resource && resource != b.cfg.PublicURL:
		return nil, refuse(InvalidTarget, "the resource is not the one that was authorized")
	case scope == "":
		scope = by.Client.grantScope(login.Session.Scope) // what was taken from the client since is gone
	}
	if scope != login.Session.Scope {
		if err := b.narrow(&by.Client, login, scope, now); err != nil {
			return nil, err
		}
	}
	return b.withIDToken(ctx, &by.Client, login, "", now)
}

// narrow replaces the access token of an answer by one of fewer scopes.
func (b *Broker) narrow(c *Client, login *Login, scope string, now time.Time) error {
	s := login.Session
	s.Scope = strings.Join(strings.Fields(scope), " ")
	access, err := b.mintAccess(b.accessClaims(login.User, s, now, now.Add(login.ExpiresIn)))
	if err != nil {
		return err
	}
	login.AccessToken, login.Scope = access, s.Scope
	return nil
}

// ClientCredentials gives a client an access token for itself (RFC 6749 section
// 4.4). Nobody logs in: there is no row and no refresh token.
func (b *Broker) ClientCredentials(ctx context.Context, by Caller, scope, resource string) (*Login, error) {
	if err := by.mayUse(GrantClientCredentials); err != nil {
		return nil, err
	}
	if by.Client.Public() {
		return nil, refuse(UnauthorizedClient, "a public client cannot prove who it is")
	}
	// The scopes of a person make no sense without one.
	personal := []string{ScopeOpenID, ScopeProfile, ScopeEmail, ScopeGroups, ScopeOfflineAccess, ScopeAPI, ScopeAdmin}
	if !subset(scope, by.Client.Scope) || slices.ContainsFunc(strings.Fields(scope), func(s string) bool { return slices.Contains(personal, s) }) {
		return nil, refuse(InvalidScope, "the scope is not one that this client may have for itself")
	}
	if err := b.checkResource(&by.Client, resource); err != nil {
		return nil, err
	}
	now := b.now()
	life := b.lifetimes(&by.Client).Access
	claims := tokens.AccessClaims{
		Issuer: b.cfg.PublicURL, Subject: by.Client.ID, Audience: b.cfg.PublicURL, ClientID: by.Client.ID, ID: b.newSecret(16),
		IssuedAt: now.Unix(), ExpiresAt: now.Add(life).Unix(), Scope: scope,
	}
	if resource != "" {
		claims.Audience = resource
	}
	if by.ProvenKey != "" {
		claims.Confirmation = &tokens.Confirmation{Thumbprint: by.ProvenKey}
	}
	access, err := b.mintAccess(claims)
	if err != nil {
		return nil, err
	}
	return &Login{AccessToken: access, ExpiresIn: life, Scope: scope, Session: Session{ClientID: by.Client.ID, DPoPThumbprint: by.ProvenKey}}, nil
}
