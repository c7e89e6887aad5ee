package tokens

import "fmt"

// TypeAccess is the JOSE typ of an access token (RFC 9068 section 2.1).
const TypeAccess = "at+jwt"

// AccessClaims are the claims of an access token: those of RFC 9068, profile
// claims, and the three that clients of the JSON API read (userId, username,
// type). Times are Unix seconds. A token that a client got for itself
// (client_credentials) has no session, no person and no time of a login; its
// Subject is its ClientID.
type AccessClaims struct {
	Issuer            string   `json:"iss"`
	Subject           string   `json:"sub"`
	Audience          string   `json:"aud"`
	ClientID          string   `json:"client_id"`
	SessionID         string   `json:"sid,omitempty"`
	ID                string   `json:"jti"`
	IssuedAt          int64    `json:"iat"`
	ExpiresAt         int64    `json:"exp"`
	NotBefore         int64    `json:"nbf,omitzero"` // never set, and checked where it is
	AuthTime          int64    `json:"auth_time,omitzero"`
	AMR               []string `json:"amr,omitempty"`
	Scope             string   `json:"scope,omitempty"`
	PreferredUsername string   `json:"preferred_username,omitempty"`
	Role              string   `json:"role,omitempty"`
	Groups            []string `json:"groups,omitzero"` // nil is left out, an empty list stays
	UserID            string   `json:"userId,omitempty"`
	Username          string   `json:"username,omitempty"`
	Type              string   `json:"type"`

	// Confirmation binds the token to a key; nil: whoever has it may use it.
	Confirmation *Confirmation `json:"cnf,omitzero"`
	// Algorithm is what the signature was checked with. Minting ignores it.
	Algorithm string `json:"-"`
}

// Confirmation says which key the holder of a token must have (RFC 7800).
type Confirmation struct {
	Thumbprint string `json:"jkt,omitempty"` // RFC 9449 section 6.1
}

// AccessToken is a signed access token. It prints as a placeholder.
type AccessToken string

// String keeps the token out of logs and errors.
func (AccessToken) String() string { return "[access token]" }

// GoString keeps the token out of %#v.
func (AccessToken) GoString() string { return "[access token]" }

// Reveal returns the token itself.
func (t AccessToken) Reveal() string { return string(t) }

// MintAccess signs an access token with this key.
func (k *SigningKey) MintAccess(c AccessClaims) (AccessToken, error) {
	if k.method == nil {
		return "", fmt.Errorf("tokens: unknown algorithm %q", k.Algorithm)
	}
	c.Type = "access"
	raw, err := sign(k.method, k.accessHeader, c, k.secret())
	return AccessToken(raw), err
}
