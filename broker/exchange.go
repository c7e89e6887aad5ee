package broker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

// Token types of RFC 8693 section 3.
const (
	TokenTypeAccess  = "urn:ietf:params:oauth:token-type:access_token"
	TokenTypeRefresh = "urn:ietf:params:oauth:token-type:refresh_token"
	TokenTypeID      = "urn:ietf:params:oauth:token-type:id_token"
	TokenTypeJWT     = "urn:ietf:params:oauth:token-type:jwt"
)

// IDTokenExchange is an ID token that an app got from an IdP by itself, through
// the IdP's own SDK (RFC 8693).
type IDTokenExchange struct {
	Token      string
	ProviderID string // empty: the providers of the token's issuer are tried
	Nonce      string // what the app gave to the SDK, where it gave one
	Scope      string
}

// ExchangeIDToken logs somebody in with an IdP's ID token: signature, issuer,
// audience, azp and age are checked, the nonce is the app's, and a token logs
// in once. It makes a session like every login.
func (b *Broker) ExchangeIDToken(ctx context.Context, by Caller, x IDTokenExchange) (login *Login, err error) {
	ctx, span := BeginSpan(ctx, SpanWork, "broker.ExchangeIDToken")
	a := attemptBy(MethodExchange, by.Device)
	a.clientID = by.Client.ID
	defer func() {
		span.End(err)
		b.loginEnded(a, err)
	}()
	if err := by.mayUse(GrantTokenExchange); err != nil {
		return nil, err
	}
	p, token, err := b.verifyExchanged(ctx, &by.Client, x)
	if err != nil {
		return nil, err
	}
	a.provider = p.ID
	if !sameNonce(token.Nonce, x.Nonce) {
		return nil, refuse(CodeInvalid, "the nonce is not the one of the ID token")
	}
	u, err := b.resolve(ctx, p, token.Claims, by.Device)
	a.userID = u.ID
	if err != nil {
		b.cfg.Log.WarnContext(ctx, "login through an IdP refused", "event", "auth.idp.refused", "provider", p.ID, "code", string(CodeOf(err)), "error", err)
		return nil, err
	}
	// Used up with the session that it makes: trouble in between costs nothing.
	once := hash("exchanged ID token", p.IdP.Issuer(), tokenBody(x.Token))
	return b.exchangedSession(ctx, by, p, u, token, x.Scope, once)
}

// exchangeLife is how old an ID token may be, and so how long its use is
// remembered beyond its own end.
const exchangeLife = 10 * time.Minute

// tokenBody is what is signed: the signature itself can be written in more
// than one way.
func tokenBody(raw string) string {
	if i := strings.LastIndexByte(raw, '.'); i >= 0 {
		return raw[:i]
	}
	return raw
}

func (b *Broker) exchangedSession(ctx context.Context, by Caller, p *Provider, u User, token IdPToken, scope, once string) (*Login, error) {
	now := b.now()
	s := b.newSession(&by.Client, u.ID, by.Device, now)
	if s.Scope = by.Client.grantScope(scope); scope == "" {
		s.Scope = by.Client.grantScope(AppScope)
	}
	s.DPoPThumbprint = by.ProvenKey
	fromIdP(&s, p.ID, token.Claims, false)
	expires := later(token.ExpiresAt, now).Add(exchangeLife)
	err := b.retryTx(ctx, func(store Store) error {
		fresh, err := store.UseOnce(ctx, once, expires)
		if err == nil && !fresh {
			err = refuse(CodeInvalid, "this ID token has logged somebody in already")
		}
		if err == nil {
			u, err = b.insertSession(ctx, store, s, "")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return b.mintNew(ctx, by, u, s, "", now)
}

// verifyExchanged finds the provider whose token it is. The issuer in the token
// only chooses among configured ones; each checks against its own.
func (b *Broker) verifyExchanged(ctx context.Context, c *Client, x IDTokenExchange) (*Provider, IdPToken, error) {
	if x.Token == "" {
		return nil, IdPToken{}, invalidRequest("subject_token is missing")
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if parts := strings.Split(x.Token, "."); len(parts) == 3 && len(x.Token) <= tokens.MaxTokenBytes {
		if raw, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(raw, &claims)
		}
	}
	refusal := error(refuse(CodeInvalid, "the ID token is from no identity provider whose tokens are accepted here"))
	providers := b.Providers()
	for i := range providers {
		p := &providers[i]
		ours := claims.Issuer == p.IdP.Issuer() || "https://"+claims.Issuer == p.IdP.Issuer() // Google leaves the scheme out at times
		if !ours || x.ProviderID != "" && x.ProviderID != p.ID ||
			len(c.Providers) > 0 && !slices.Contains(c.Providers, p.ID) {
			continue
		}
		token, err := p.IdP.VerifyIDToken(ctx, x.Token)
		if err == nil {
			return p, token, nil
		}
		if !errors.Is(refusal, TemporarilyUnavailable) { // it may have been the right one
			refusal = err
		}
	}
	return nil, IdPToken{}, refusal
}

// sameNonce compares what the app says with what stands in the token: the value
// itself, or its SHA-256, which some SDKs want to be given. A nonce on one side
// alone is a token from another login.
func sameNonce(inToken, given string) bool {
	if inToken == "" || given == "" {
		return inToken == given
	}
	sum := sha256.Sum256([]byte(given))
	for _, form := range []string{given, hex.EncodeToString(sum[:]), base64.RawURLEncoding.EncodeToString(sum[:])} {
		if subtle.ConstantTimeCompare([]byte(form), []byte(inToken)) == 1 {
			return true
		}
	}
	return false
}

// AccessExchange asks for a narrower token for another audience.
type AccessExchange struct {
	Claims   tokens.AccessClaims // of the verified subject token
	Audience string
	Scope    string
}

// ExchangeAccessToken makes, of an access token of the client's own, one for
// another audience that it is registered for: the same session, never wider,
// never longer, never unbound, and no refresh token (RFC 8693).
func (b *Broker) ExchangeAccessToken(ctx context.Context, by Caller, x AccessExchange) (*Login, error) {
	if err := by.mayUse(GrantTokenExchange); err != nil {
		return nil, err
	}
	invalid := refuse(CodeInvalid, "the subject_token is not an access token of this client")
	c := x.Claims
	switch {
	case c.ClientID != by.Client.ID || c.SessionID == "":
		return nil, invalid
	case by.Client.Public() && c.Confirmation == nil && c.Audience != b.cfg.PublicURL:
		// An API that it was made for has it too, and could call in this client's name.
		return nil, refuse(CodeInvalid, "the subject_token is for another audience already")
	case c.Confirmation != nil && c.Confirmation.Thumbprint != by.ProvenKey:
		return nil, &Error{Code: KeyMismatch, Message: "the subject_token is bound to another key"}
	case x.Audience == "":
		return nil, refuse(InvalidTarget, "audience or resource is needed")
	case !subset(x.Scope, c.Scope):
		return nil, refuse(InvalidScope, "the scope is wider than the subject_token's")
	}
	if err := b.checkResource(&by.Client, x.Audience); err != nil {
		return nil, err
	}
	p, err := b.Authenticate(ctx, c.SessionID)
	if err != nil {
		return nil, err
	}
	if p.User.ID != c.Subject || p.Session.ClientID != c.ClientID {
		return nil, invalid
	}
	now := b.now()
	s := p.Session
	s.Request.Resource, s.Scope = x.Audience, by.Client.grantScope(cmp.Or(x.Scope, c.Scope))
	end := earlier(time.Unix(c.ExpiresAt, 0), b.accessEnd(&by.Client, s, now))
	if !now.Before(end) {
		return nil, &Error{Code: TokenExpired}
	}
	access, err := b.mintAccess(b.accessClaims(p.User, s, now, end))
	if err != nil {
		return nil, err
	}
	return &Login{User: p.User, Session: s, Scope: s.Scope, AccessToken: access, ExpiresIn: end.Sub(now)}, nil
}
