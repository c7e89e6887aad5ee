package tokens

import "errors"

// ClientAssertion proves a client to the server that it is made for. Whoever
// holds it can be that client there while it lives, so that it prints as a
// placeholder.
type ClientAssertion string

// String keeps the assertion out of logs and errors.
func (ClientAssertion) String() string { return "[client assertion]" }

// GoString keeps the assertion out of %#v.
func (ClientAssertion) GoString() string { return "[client assertion]" }

// Reveal returns the assertion itself.
func (a ClientAssertion) Reveal() string { return string(a) }

// AssertionClaims are the claims of a client assertion. Times are Unix seconds.
type AssertionClaims struct {
	ClientID  string // iss and sub
	Audience  string // aud
	ID        string // jti
	IssuedAt  int64
	ExpiresAt int64
}

// MintAssertion signs a client assertion of private_key_jwt (OIDC Core section
// 9, RFC 7523 section 2.2). Its typ is JWT: some servers that are older than RFC
// 7523bis know no other, and would refuse its client-authentication+jwt. A
// shared key is refused.
func (k *SigningKey) MintAssertion(c AssertionClaims) (ClientAssertion, error) {
	if c.ClientID == "" || c.Audience == "" || c.ID == "" || c.IssuedAt <= 0 || c.ExpiresAt <= c.IssuedAt {
		return "", errors.New("tokens: a client assertion needs a client id, aud, jti, iat, and exp after it")
	}
	raw, err := k.mintPublic(typeJWT, struct {
		Issuer    string `json:"iss"`
		Subject   string `json:"sub"`
		Audience  string `json:"aud"`
		ID        string `json:"jti"`
		IssuedAt  int64  `json:"iat"`
		ExpiresAt int64  `json:"exp"`
	}{c.ClientID, c.ClientID, c.Audience, c.ID, c.IssuedAt, c.ExpiresAt})
	return ClientAssertion(raw), err
}
