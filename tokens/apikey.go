package tokens

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// An API key is lk_<id>_<secret><checksum>, every part base62 of a fixed length:
// 95 random bits that name it, 256 that prove it, and the CRC32 of all before
// it. The checksum is no secret: it tells a typo from a guess without asking the
// database, and it lets a scanner for leaked secrets tell a key from a look-alike.
const (
	apiKeyPrefix   = "lk_"
	apiKeyID       = 16
	apiKeySecret   = 43
	apiKeyChecksum = 6
	apiKeyLength   = len(apiKeyPrefix) + apiKeyID + len("_") + apiKeySecret + apiKeyChecksum

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ErrNotAPIKey is what [ParseAPIKey] says of everything that no key of ours can be.
var ErrNotAPIKey = errors.New("tokens: not an API key")

// APIKey is an API key. It prints as a placeholder; Reveal gives the text for
// the one answer that carries it.
type APIKey string

// String keeps the key out of logs and errors.
func (APIKey) String() string { return "[API key]" }

// GoString keeps the key out of %#v.
func (APIKey) GoString() string { return "[API key]" }

// Reveal returns the key itself.
func (k APIKey) Reveal() string { return string(k) }

// NewAPIKey makes a key and returns the id in it, which is no secret.
func NewAPIKey(random io.Reader) (k APIKey, id string, err error) {
	id, err = randomBase62(random, apiKeyID)
	if err != nil {
		return "", "", err
	}
	secret, err := randomBase62(random, apiKeySecret)
	if err != nil {
		return "", "", err
	}
	text := apiKeyPrefix + id + "_" + secret
	return APIKey(text + checksum62(text)), id, nil
}

// LooksLikeAPIKey reports whether a text means to be an API key and no JWT.
func LooksLikeAPIKey(raw string) bool { return strings.HasPrefix(raw, apiKeyPrefix) }

// ParseAPIKey checks the form and the checksum of a key and returns the id in
// it. It does not know whether there is such a key.
func ParseAPIKey(raw string) (id string, err error) {
	if len(raw) != apiKeyLength || !LooksLikeAPIKey(raw) {
		return "", ErrNotAPIKey
	}
	id, secret := raw[len(apiKeyPrefix):][:apiKeyID], raw[apiKeyLength-apiKeySecret-apiKeyChecksum:]
	body := raw[:apiKeyLength-apiKeyChecksum]
	if raw[len(apiKeyPrefix)+apiKeyID] != '_' || !isBase62(id) || !isBase62(secret) || raw[len(body):] != checksum62(body) {
		return "", ErrNotAPIKey
	}
	return id, nil
}

func isBase62(text string) bool { return strings.Trim(text, base62) == "" }

// randomBase62 makes n digits, each as likely as any other.
func randomBase62(random io.Reader, n int) (string, error) {
	const fair = 256 - 256%len(base62) // the bytes from here on would favour the first digits
	out, raw := make([]byte, 0, n), make([]byte, n)
	for len(out) < n {
		if _, err := io.ReadFull(random, raw); err != nil {
			return "", fmt.Errorf("tokens: no randomness: %w", err)
		}
		for _, b := range raw {
			if int(b) < fair && len(out) < n {
				out = append(out, base62[int(b)%len(base62)])
			}
		}
	}
	return string(out), nil
}

func checksum62(text string) string {
	sum, out := crc32.ChecksumIEEE([]byte(text)), [apiKeyChecksum]byte{}
	for i := range out {
		out[len(out)-1-i] = base62[sum%uint32(len(base62))]
		sum /= uint32(len(base62))
	}
	return string(out[:])
}
