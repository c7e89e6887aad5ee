package tokens

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// TypeRefresh is the JOSE typ of a refresh token.
const TypeRefresh = "rt+jwt"

// MaxTokenBytes bounds a presented token of any kind; ours are below 1 KiB.
const MaxTokenBytes = 8 << 10

// Why a token was not accepted as one of ours. The session's own state
// (ended, expired by idleness, reused) is judged by the broker, not here.
var (
	ErrMalformed     = errors.New("tokens: not a token of ours")
	ErrWrongType     = errors.New("tokens: a token, but not a refresh token")
	ErrNotIDToken    = errors.New("tokens: a token, but not an ID token")
	ErrPastMaxAge    = errors.New("tokens: past the absolute end of its session")
	errUnusableClaim = errors.New("tokens: unusable claim")
)

// RefreshClaims name the session (sid), the generation (g) and the branch (b)
// that a refresh token stands for. ExpiresAt is the session's absolute end:
// idleness is judged by the session row.
type RefreshClaims struct {
	Issuer     string `json:"iss"`
	Audience   string `json:"aud"`
	Subject    string `json:"sub"`
	ClientID   string `json:"client_id"`
	SessionID  string `json:"sid"`
	Generation int64  `json:"g"`
	Branch     int64  `json:"b"`
	IssuedAt   int64  `json:"iat"`
	ExpiresAt  int64  `json:"exp"`
	ID         string `json:"jti"`
	Type       string `json:"type"`
}

// RefreshToken is a signed refresh token. It prints as a placeholder; Reveal
// gives the text for the one answer that carries it.
type RefreshToken string

// String keeps the token out of logs and errors.
func (RefreshToken) String() string { return "[refresh token]" }

// GoString keeps the token out of %#v.
func (RefreshToken) GoString() string { return "[refresh token]" }

// Reveal returns the token itself.
func (t RefreshToken) Reveal() string { return string(t) }

// MintRefresh signs a refresh token (HS256 under a derived key; kid names the
// root secret).
func (s *RootSecret) MintRefresh(c RefreshClaims) (RefreshToken, error) {
	c.Type = "refresh"
	raw, err := sign(jwt.SigningMethodHS256, s.refreshHeader, c, s.refreshKey)
	return RefreshToken(raw), err
}

// ParseRefresh checks the MAC, the type and the absolute end of a refresh
// token. iss and aud are not compared, so that a change of the public URL logs
// nobody out. A token past its end comes back with its claims and
// [ErrPastMaxAge]; every other error comes with no claims. A token of another
// root secret, or of nobody's, is [ErrUnknownSecret] besides [ErrMalformed].
func (s Secrets) ParseRefresh(raw string, now time.Time) (RefreshClaims, error) {
	var claims RefreshClaims
	if len(raw) > MaxTokenBytes || strings.Count(raw, ".") != 2 {
		return claims, ErrMalformed
	}
	i, j := strings.IndexByte(raw, '.'), strings.LastIndexByte(raw, '.')
	var head header
	if decodeSegment(raw[:i], &head) != nil {
		return claims, ErrMalformed
	}
	if head.Type != TypeRefresh {
		var payload anyPayload
		if decodeSegment(raw[i+1:j], &payload) != nil || payload.Type == "refresh" {
			return claims, ErrMalformed // somebody else's refresh token
		}
		return claims, ErrWrongType
	}
	secret := s.Find(head.KeyID)
	if secret == nil {
		return claims, fmt.Errorf("%w: %w", ErrMalformed, ErrUnknownSecret)
	}
	if head.Algorithm != jwt.SigningMethodHS256.Alg() || head.Critical != nil {
		return claims, ErrMalformed
	}
	signature, err := base64.RawURLEncoding.DecodeString(raw[j+1:])
	if err != nil || jwt.SigningMethodHS256.Verify(raw[:j], signature, secret.refreshKey) != nil {
		return claims, ErrMalformed
	}
	if decodeSegment(raw[i+1:j], &claims) != nil || claims.check() != nil {
		return RefreshClaims{}, ErrMalformed
	}
	if now.Unix() >= claims.ExpiresAt {
		return claims, ErrPastMaxAge
	}
	return claims, nil
}

func (c RefreshClaims) check() error {
	if c.SessionID == "" || c.Generation < 0 || c.Branch < 0 || c.Type != "refresh" || c.ExpiresAt <= 0 {
		return errUnusableClaim
	}
	return nil
}

type header struct {
	Algorithm string         `json:"alg"`
	Type      string         `json:"typ"`
	KeyID     string         `json:"kid"`
	Critical  jsontext.Value `json:"crit"`
}

type anyPayload struct {
	Type string `json:"type"`
}

func decodeSegment(segment string, into any) error {
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// joseHeader is the first part of every token of one key, encoded.
func joseHeader(algorithm, typ, kid string) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":%q,"kid":%q,"typ":%q}`, algorithm, kid, typ))
}

// sign writes a compact JWS. golang-jwt does the cryptography; the claims are
// marshalled from a struct, because its map claims cost twice the time.
func sign(method jwt.SigningMethod, header string, claims, key any) (string, error) {
	payload, err := json.Marshal(claims, jsontext.AllowInvalidUTF8(true)) // a name of old must not end a session
	if err != nil {
		return "", fmt.Errorf("tokens: %w", err)
	}
	const signatureBytes = 96 // of the usual algorithms; RS256 grows it
	token := make([]byte, 0, len(header)+base64.RawURLEncoding.EncodedLen(len(payload))+signatureBytes)
	token = base64.RawURLEncoding.AppendEncode(append(append(token, header...), '.'), payload)
	signature, err := method.Sign(string(token), key)
	if err != nil {
		return "", fmt.Errorf("tokens: %w", err)
	}
	return string(base64.RawURLEncoding.AppendEncode(append(token, '.'), signature)), nil
}
