// Package jws reads compact JSON Web Signatures (RFC 7515) and decides which
// algorithm a key may be used with. It judges nothing else.
package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// Bounds of the keys that are used: shorter ones can be broken, longer ones
// cost a stranger nothing and us time.
const (
	MinRSABits     = 2048
	MaxRSABits     = 4096
	MinSharedBytes = 32 // of an HS256 key (RFC 7518 section 3.2)
)

// ErrMalformed says that a text is no compact JWS, or one with a critical
// extension: none is understood here (RFC 7515 section 4.1.11).
var ErrMalformed = errors.New("not a compact JWS")

// Header is the part of a JOSE header that is looked at.
type Header struct {
	Algorithm string         `json:"alg"`
	Type      string         `json:"typ"`
	KeyID     string         `json:"kid"`
	JWK       jsontext.Value `json:"jwk"`
	Critical  jsontext.Value `json:"crit"`
}

// Message is a JWS whose signature nobody has checked.
type Message struct {
	Header    Header
	text      string
	payload   []byte
	signature []byte
}

var encoding = base64.RawURLEncoding.Strict()

// Parse takes a compact JWS of at most max bytes apart.
func Parse(raw string, maxBytes int) (Message, error) {
	var m Message
	if len(raw) > maxBytes || strings.Count(raw, ".") != 2 {
		return m, ErrMalformed
	}
	i, j := strings.IndexByte(raw, '.'), strings.LastIndexByte(raw, '.')
	head, err1 := Segment(raw[:i])
	payload, err2 := Segment(raw[i+1 : j])
	signature, err3 := Segment(raw[j+1:])
	if errors.Join(err1, err2, err3) != nil || Object(head, &m.Header) != nil || m.Header.Critical != nil {
		return Message{}, ErrMalformed
	}
	m.text, m.payload, m.signature = raw[:j], payload, signature
	return m, nil
}

// Segment reads a part of a compact JWS, which has one spelling alone.
func Segment(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, ErrMalformed // base64 would skip line ends
	}
	return encoding.DecodeString(text)
}

// Type is the typ in lower case and without the prefix that RFC 7515 section
// 4.1.9 lets people leave out.
func (m Message) Type() string {
	return strings.TrimPrefix(strings.ToLower(m.Header.Type), "application/")
}

// Claims decodes the payload.
func (m Message) Claims(into any) error { return Object(m.payload, into) }

// Object decodes a header or claims. Names are matched exactly, and a name that is
// there twice is an error, so that no two readers see different claims.
func Object(raw []byte, into any) error {
	if len(raw) == 0 || raw[0] != '{' {
		return ErrMalformed
	}
	return json.Unmarshal(raw, into)
}

// SignedByOne reports whether one of the keys fits the algorithm of the header
// and made the signature. The caller says which algorithms there are.
func (m Message) SignedByOne(keys []jose.JSONWebKey, algorithms []string) bool {
	return slices.Contains(algorithms, m.Header.Algorithm) && SignedByOne(keys, m.Header.Algorithm, m.text, m.signature)
}

// SignedHS256 reports whether the header says HS256 and the secret, of whatever
// length, made the signature.
func (m Message) SignedHS256(secret []byte) bool {
	return m.Header.Algorithm == "HS256" && jwt.SigningMethodHS256.Verify(m.text, m.signature, secret) == nil
}

// maxTries is how many keys a signature is tried with: a set with thousands,
// and a token without kid, must not cost thousands.
const maxTries = 32

// SignedByOne reports whether a key that fits the algorithm signed the text.
func SignedByOne(keys []jose.JSONWebKey, algorithm, text string, signature []byte) bool {
	tries := 0
	for _, key := range keys {
		if !Fits(key, algorithm) {
			continue
		}
		if tries++; tries > maxTries {
			return false
		}
		if jwt.GetSigningMethod(algorithm).Verify(text, signature, key.Key) == nil {
			return true
		}
	}
	return false
}

// Fits chooses the algorithm by the key, never by the token (RFC 8725 section
// 3.1): a secret is good for HS256 alone, a public key never for it.
func Fits(key jose.JSONWebKey, algorithm string) bool {
	if key.Algorithm != "" && key.Algorithm != algorithm || key.Use != "" && key.Use != "sig" {
		return false
	}
	switch k := key.Key.(type) {
	case *ecdsa.PublicKey:
		return algorithm == "ES256" && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return algorithm == "EdDSA" && len(k) == ed25519.PublicKeySize
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return (algorithm == "RS256" || algorithm == "PS256") && bits >= MinRSABits && bits <= MaxRSABits
	case []byte:
		return algorithm == "HS256" && key.Algorithm == "HS256" && len(k) >= MinSharedBytes
	}
	return false
}
