package tokens

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-id/latchkey/tokens/internal/jws"
)

// typeJWT is the JOSE typ of an ID token, which has no type of its own.
const typeJWT = "JWT"

// IDClaims are the claims of an ID token (OIDC Core section 2; sid from OIDC
// Front-Channel Logout section 3). Times are Unix seconds. Extra are claims
// about the person, by name; a name of the protocol in it is left out, in
// whatever case it is written.
type IDClaims struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        string   `json:"aud"`
	AuthorizedParty string   `json:"azp,omitempty"`
	IssuedAt        int64    `json:"iat"`
	ExpiresAt       int64    `json:"exp"`
	AuthTime        int64    `json:"auth_time,omitempty"`
	Nonce           string   `json:"nonce,omitempty"`
	ACR             string   `json:"acr,omitempty"`
	AMR             []string `json:"amr,omitempty"`
	SessionID       string   `json:"sid,omitempty"`
	AccessTokenHash string   `json:"at_hash,omitempty"`

	Extra map[string]any `json:"-"`
}

// idProtocol are the names that Extra cannot set: those above, and those that
// would make the token mean something else.
var idProtocol = []string{
	"iss", "sub", "aud", "azp", "iat", "exp", "auth_time", "nonce", "acr", "amr", "sid", "at_hash",
	"nbf", "jti", "c_hash", "s_hash", "cnf", "events", "sub_jwk",
}

func ofProtocol(name string) bool {
	return slices.ContainsFunc(idProtocol, func(p string) bool { return strings.EqualFold(p, name) })
}

// MarshalJSON implements json.Marshaler: one object, Extra first.
func (c IDClaims) MarshalJSON() ([]byte, error) {
	type plain IDClaims
	protocol, err := json.Marshal(plain(c))
	if err != nil {
		return nil, err
	}
	extra := map[string]any{}
	for name, value := range c.Extra {
		if !ofProtocol(name) {
			extra[name] = value
		}
	}
	if len(extra) == 0 {
		return protocol, nil
	}
	text, err := json.Marshal(extra)
	if err != nil {
		return nil, err
	}
	return append(append(text[:len(text)-1], ','), protocol[1:]...), nil
}

// IDToken is a signed ID token. It prints as a placeholder.
type IDToken string

// String keeps the token out of logs and errors.
func (IDToken) String() string { return "[ID token]" }

// GoString keeps the token out of %#v.
func (IDToken) GoString() string { return "[ID token]" }

// Reveal returns the token itself.
func (t IDToken) Reveal() string { return string(t) }

// MintID signs an ID token with this key. A shared key is refused: whoever can
// check its tokens can also make them.
func (k *SigningKey) MintID(c IDClaims) (IDToken, error) {
	raw, err := k.mintPublic(typeJWT, c)
	return IDToken(raw), err
}

// AccessTokenHash is the at_hash (OIDC Core section 3.1.3.6) of an access token
// in an ID token that is signed with the algorithm: the left half of the hash
// that the algorithm uses, which is SHA-512 for EdDSA. It is empty for an
// unknown algorithm.
func AccessTokenHash(algorithm string, access AccessToken) string {
	var sum []byte
	switch {
	case algorithm == "EdDSA", algorithm == "Ed25519", strings.HasSuffix(algorithm, "S512"):
		h := sha512.Sum512([]byte(access))
		sum = h[:]
	case strings.HasSuffix(algorithm, "S384"):
		h := sha512.Sum384([]byte(access))
		sum = h[:]
	case strings.HasSuffix(algorithm, "S256"):
		h := sha256.Sum256([]byte(access))
		sum = h[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// ParseIDToken reads an ID token of this issuer that comes back as an
// id_token_hint (OIDC Core section 3.1.2.1, RP-Initiated Logout section 2): the
// type, the signature by an asymmetric key of the ring, or one that has left it,
// with that key's own algorithm, and iss. It may have expired: a hint says who somebody was, and
// proves nothing about now. Every error is [ErrMalformed] or [ErrNotIDToken].
func (r *KeyRing) ParseIDToken(raw, issuer string) (IDClaims, error) {
	m, err := jws.Parse(raw, MaxTokenBytes)
	if err != nil {
		return IDClaims{}, ErrMalformed
	}
	if m.Header.Type != typeJWT {
		return IDClaims{}, ErrNotIDToken
	}
	keys := append(r.PublicKeys(m.Header.KeyID), publicOf(r.hints, m.Header.KeyID)...)
	if !m.SignedByOne(keys, Algorithms) {
		return IDClaims{}, ErrMalformed
	}
	type plain IDClaims
	var claims plain
	if m.Claims(&claims) != nil || m.Claims(&claims.Extra) != nil || claims.Issuer != issuer || claims.Subject == "" || claims.Audience == "" {
		return IDClaims{}, ErrMalformed
	}
	for name := range claims.Extra {
		if ofProtocol(name) {
			delete(claims.Extra, name)
		}
	}
	if len(claims.Extra) == 0 {
		claims.Extra = nil
	}
	return IDClaims(claims), nil
}

// mintPublic signs what others check with the published keys.
func (k *SigningKey) mintPublic(typ string, claims any) (string, error) {
	if k.method == nil || k.private == nil {
		return "", fmt.Errorf("tokens: a key with algorithm %q signs no %s", k.Algorithm, typ)
	}
	return sign(k.method, joseHeader(k.Algorithm, typ, k.ID), claims, k.private)
}
