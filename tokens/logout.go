package tokens

import (
	"errors"
)

// TypeLogout is the JOSE typ of a logout token (OIDC Back-Channel Logout
// section 2.4).
const TypeLogout = "logout+jwt"

// logoutEvent is the member of events that makes a JWT a logout token.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// LogoutClaims are the claims of a logout token: whose login at the client
// Audience has ended. Subject or SessionID is needed; a token without SessionID
// ends all of the subject's. Times are Unix seconds.
type LogoutClaims struct {
	Issuer    string
	Subject   string
	Audience  string
	SessionID string
	ID        string // jti
	IssuedAt  int64
	ExpiresAt int64
}

// LogoutToken is a signed logout token. It prints as a placeholder.
type LogoutToken string

// String keeps the token out of logs and errors.
func (LogoutToken) String() string { return "[logout token]" }

// GoString keeps the token out of %#v.
func (LogoutToken) GoString() string { return "[logout token]" }

// Reveal returns the token itself.
func (t LogoutToken) Reveal() string { return string(t) }

// MintLogout signs a logout token (OIDC Back-Channel Logout section 2.4). It
// never has a nonce, so that it cannot be taken for an ID token. A shared key
// is refused.
func (k *SigningKey) MintLogout(c LogoutClaims) (LogoutToken, error) {
	if c.Issuer == "" || c.Audience == "" || c.ID == "" || c.Subject == "" && c.SessionID == "" || c.IssuedAt <= 0 || c.ExpiresAt <= 0 {
		return "", errors.New("tokens: a logout token needs iss, aud, jti, iat, exp, and sub or sid")
	}
	raw, err := k.mintPublic(TypeLogout, struct {
		Issuer    string              `json:"iss"`
		Subject   string              `json:"sub,omitempty"`
		Audience  string              `json:"aud"`
		SessionID string              `json:"sid,omitempty"`
		ID        string              `json:"jti"`
		IssuedAt  int64               `json:"iat"`
		ExpiresAt int64               `json:"exp"`
		Events    map[string]struct{} `json:"events"`
	}{c.Issuer, c.Subject, c.Audience, c.SessionID, c.ID, c.IssuedAt, c.ExpiresAt, map[string]struct{}{logoutEvent: {}}})
	return LogoutToken(raw), err
}
