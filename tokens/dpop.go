package tokens

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens/internal/jws"
)

// TypeProof is the JOSE typ of a DPoP proof (RFC 9449 section 4.2).
const TypeProof = "dpop+jwt"

// ProofWindow is how far the iat of a DPoP proof may be from now, either way.
// A proof is therefore good for at most twice as long; its ID must be
// remembered for that long by whoever refuses replays.
const ProofWindow = 60 * time.Second

// MaxProofBytes bounds a DPoP proof; MaxIDBytes bounds the jti that strangers
// choose.
const (
	MaxProofBytes = 8 << 10
	MaxIDBytes    = 256
)

// ErrProof says that a DPoP proof was not accepted. The whole text of an error
// of [ParseProof] is safe to show: it repeats nothing that was presented.
var ErrProof = errors.New("the DPoP proof is not acceptable")

func badProof(reason string) error { return fmt.Errorf("%w: %s", ErrProof, reason) }

// ProofRequest is the request that a DPoP proof must have been made for.
type ProofRequest struct {
	Method      string
	URL         string // absolute; query and fragment do not count
	AccessToken string // presented with it (ath, RFC 9449 section 4.3); empty: no ath is wanted
	Now         time.Time
}

// Proof is an accepted DPoP proof. Whether it was seen before, and whether its
// nonce is one of ours and fresh, is for the caller to say.
type Proof struct {
	Thumbprint string // of its key (RFC 7638, SHA-256, base64url): the jkt
	ID         string // jti
	Nonce      string // empty: it has none
	IssuedAt   time.Time
}

type proofClaims struct {
	ID        string       `json:"jti"`
	Method    string       `json:"htm"`
	URL       string       `json:"htu"`
	IssuedAt  *jws.Seconds `json:"iat"`
	ExpiresAt *jws.Seconds `json:"exp"`
	NotBefore *jws.Seconds `json:"nbf"`
	TokenHash string       `json:"ath"`
	Nonce     string       `json:"nonce"`
}

// ParseProof checks a DPoP proof as RFC 9449 section 4.3 asks, but for replay
// and nonce. headers are all values of the request's DPoP header. Every error
// wraps [ErrProof].
func ParseProof(headers []string, want ProofRequest) (Proof, error) {
	if len(headers) != 1 {
		return Proof{}, badProof("exactly one DPoP header is needed")
	}
	m, err := jws.Parse(headers[0], MaxProofBytes)
	if err != nil {
		return Proof{}, badProof("it is not a JWT, or too long")
	}
	if m.Type() != TypeProof {
		return Proof{}, badProof("its typ is not " + TypeProof)
	}
	key, err := jws.PublicKey(m.Header.JWK)
	if err != nil {
		return Proof{}, badProof("its jwk is not a public key")
	}
	if !m.SignedByOne([]jose.JSONWebKey{key}, Algorithms) {
		return Proof{}, badProof("its signature, alg or key is not good")
	}
	var claims proofClaims
	if m.Claims(&claims) != nil {
		return Proof{}, badProof("its claims cannot be read")
	}
	if err := claims.check(want); err != nil {
		return Proof{}, err
	}
	print, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return Proof{}, badProof("its key has no thumbprint")
	}
	return Proof{
		Thumbprint: base64.RawURLEncoding.EncodeToString(print), ID: claims.ID, Nonce: claims.Nonce,
		IssuedAt: time.Unix(int64(*claims.IssuedAt), 0),
	}, nil
}

func (c proofClaims) check(want ProofRequest) error {
	switch {
	case c.ID == "" || len(c.ID) > MaxIDBytes:
		return badProof("its jti is missing or too long")
	case c.Method == "" || c.Method != want.Method:
		return badProof("its htm is not the method of the request")
	case !sameURL(c.URL, want.URL):
		return badProof("its htu is not the URL of the request")
	case c.IssuedAt == nil || apart(*c.IssuedAt, want.Now) > ProofWindow || -apart(*c.IssuedAt, want.Now) > ProofWindow:
		return badProof("its iat is missing or too far from now")
	case c.ExpiresAt != nil && apart(*c.ExpiresAt, want.Now) <= 0:
		return badProof("it has expired")
	case c.NotBefore != nil && apart(*c.NotBefore, want.Now) > ProofWindow:
		return badProof("its nbf is in the future")
	}
	if want.AccessToken == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(want.AccessToken))
	if subtle.ConstantTimeCompare([]byte(c.TokenHash), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) != 1 {
		return badProof("its ath is not the hash of the access token")
	}
	return nil
}

// apart is how long after now a time is.
func apart(at jws.Seconds, now time.Time) time.Duration { return time.Unix(int64(at), 0).Sub(now) }

// sameURL compares as RFC 9449 section 4.3 says: without query and fragment,
// after the normalization of RFC 3986 sections 6.2.2 and 6.2.3. Dot segments
// are left as they are, and so differ.
func sameURL(a, b string) bool {
	x, ok1 := normalURL(a)
	y, ok2 := normalURL(b)
	return ok1 && ok2 && x == y
}

func normalURL(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || u.User != nil {
		return "", false
	}
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if scheme != "https" && scheme != "http" {
		return "", false
	}
	if port == "443" && scheme == "https" || port == "80" && scheme == "http" {
		port = ""
	}
	path := normalPath(u.EscapedPath())
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + "\x00" + port + "\x00" + path, true
}

// normalPath writes what needs no percent-encoding plainly, and the rest of the
// encodings in capitals (RFC 3986 sections 6.2.2.1 and 6.2.2.2).
func normalPath(escaped string) string {
	var out strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' || i+2 >= len(escaped) {
			out.WriteByte(escaped[i])
			continue
		}
		plain, err := url.PathUnescape(escaped[i : i+3])
		if err == nil && len(plain) == 1 && unreserved(plain[0]) {
			out.WriteString(plain)
		} else {
			out.WriteString(strings.ToUpper(escaped[i : i+3]))
		}
		i += 2
	}
	return out.String()
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
