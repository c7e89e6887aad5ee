package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt"
	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/pbkdf2"
	"github.com/go-crypt/crypt/algorithm/scrypt"

	"github.com/latchkey-id/latchkey/broker"
)

// Bounds of a hash from elsewhere: one comparison takes at most about a second
// of one core and 128 MiB, whatever the hash says of itself.
const (
	maxMemoryKiB    = 128 * 1024 // argon2, scrypt
	maxArgonWork    = 512 * 1024 // memory in KiB times passes
	maxArgonLanes   = 16
	maxScryptWork   = 1 << 20   // N r p
	maxPBKDF2Rounds = 2_000_000 // Django's default is 1.2 million
	minBcryptCost   = 4
	maxBcryptCost   = 14
	maxHashText     = 512
	minKeyBytes     = 16 // a shorter one matches by chance
	maxKeyBytes     = 64
	maxSaltBytes    = 128
)

var (
	errNotAHash = errors.New("it is not a password hash that is understood: argon2id, argon2i, scrypt, pbkdf2 (SHA-1, SHA-256, SHA-512) and bcrypt (2a, 2b, 2y) are")
	errTooDear  = errors.New("comparing with it would take too much time or memory")
	errKey      = errors.New("its salt or its key is damaged, too short or too long")
)

func newDecoder() (*crypt.Decoder, error) {
	decoder := crypt.NewDecoder()
	for _, register := range []func(algorithm.DecoderRegister) error{
		argon2.RegisterDecoderArgon2id, argon2.RegisterDecoderArgon2i, scrypt.RegisterDecoderScrypt,
		pbkdf2.RegisterDecoderSHA1, pbkdf2.RegisterDecoderSHA256, pbkdf2.RegisterDecoderSHA512, bcrypt.RegisterDecoderStandard,
	} {
		if err := register(decoder); err != nil {
			return nil, err
		}
	}
	return decoder, nil
}

// CheckHash implements broker.PasswordHasher. Its error says what is wrong with
// the hash, never the hash.
func (h *Hasher) CheckHash(hash broker.PasswordHash) error {
	_, err := h.decode(string(hash))
	return err
}

// decode reads a hash that [Hasher.CheckHash] permits. The bounds are looked at
// first: nothing is allocated for what a hash says that it needs.
func (h *Hasher) decode(hash string) (algorithm.Digest, error) {
	if len(hash) > maxHashText {
		return nil, errNotAHash
	}
	parts := strings.Split(hash, "$")
	if len(parts) < 4 || parts[0] != "" {
		return nil, errNotAHash
	}
	bounds, ok := boundsOf[parts[1]]
	if !ok {
		return nil, errNotAHash
	}
	if err := bounds(parts[2:]); err != nil {
		return nil, err
	}
	digest, err := h.decoder.Decode(hash)
	if err != nil {
		return nil, errKey // its parameters are those that were looked at
	}
	return digest, nil
}

// boundsOf checks what follows the name of an algorithm, split at the dollars.
var boundsOf = map[string]func(parts []string) error{
	"argon2id": argonBounds, "argon2i": argonBounds, "scrypt": scryptBounds,
	"pbkdf2": pbkdf2Bounds(20), "pbkdf2-sha1": pbkdf2Bounds(20), "pbkdf2-sha256": pbkdf2Bounds(32), "pbkdf2-sha512": pbkdf2Bounds(64),
	"2a": bcryptBounds, "2b": bcryptBounds, "2y": bcryptBounds,
}

func argonBounds(parts []string) error {
	if len(parts) != 4 || parts[0] != "v=19" {
		return errNotAHash
	}
	p, err := parameters(parts[1], "m", "t", "p")
	switch {
	case err != nil:
		return err
	case p["m"] > maxMemoryKiB || p["t"] > maxArgonWork || p["m"]*p["t"] > maxArgonWork || p["p"] > maxArgonLanes:
		return errTooDear
	}
	return secretBounds(base64.RawStdEncoding, parts[2], parts[3], maxKeyBytes)
}

func scryptBounds(parts []string) error {
	if len(parts) != 3 {
		return errNotAHash
	}
	p, err := parameters(parts[0], "ln", "r", "p")
	if err != nil {
		return err
	}
	if p["ln"] > 24 || p["r"] > 1024 || p["p"] > 1024 {
		return errTooDear
	}
	if n := 1 << p["ln"]; n*p["r"]/8 > maxMemoryKiB || n*p["r"]*p["p"] > maxScryptWork {
		return errTooDear
	}
	return secretBounds(base64.RawStdEncoding, parts[1], parts[2], maxKeyBytes)
}

// pbkdf2Bounds is for a hash function of so many bytes. Each further block of a
// longer key would cost as much again.
func pbkdf2Bounds(size int) func([]string) error {
	return func(parts []string) error {
		if len(parts) != 3 {
			return errNotAHash
		}
		rounds, err := number(parts[0])
		if err != nil {
			return err
		}
		if rounds > maxPBKDF2Rounds {
			return errTooDear
		}
		return secretBounds(adaptedBase64, parts[1], parts[2], size)
	}
}

func bcryptBounds(parts []string) error {
	if len(parts) != 2 || len(parts[0]) != 2 || len(parts[1]) != 53 {
		return errNotAHash
	}
	cost, err := number(strings.TrimPrefix(parts[0], "0"))
	if err != nil || cost < minBcryptCost {
		return errNotAHash
	}
	if cost > maxBcryptCost {
		return errTooDear
	}
	return nil
}

// adaptedBase64 has a dot for the plus, as the modular crypt formats do.
var adaptedBase64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./").WithPadding(base64.NoPadding)

func secretBounds(encoding *base64.Encoding, salt, key string, most int) error {
	s, saltErr := encoding.DecodeString(salt)
	k, keyErr := encoding.DecodeString(key)
	if saltErr != nil || keyErr != nil || len(s) > maxSaltBytes || len(k) < minKeyBytes || len(k) > most {
		return errKey
	}
	return nil
}

// parameters reads name=number pairs: exactly the named ones, each positive.
func parameters(text string, names ...string) (map[string]int, error) {
	pairs, out := strings.Split(text, ","), map[string]int{}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		n, err := number(value)
		if err != nil {
			return nil, err
		}
		out[name] = n
	}
	for _, name := range names {
		if out[name] == 0 {
			return nil, errNotAHash
		}
	}
	if len(pairs) != len(names) {
		return nil, errNotAHash
	}
	return out, nil
}

// number reads a positive number. One of more digits than any bound has is too
// much rather than malformed.
func number(text string) (int, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" || text[0] == '0' {
		return 0, errNotAHash
	}
	if len(text) > 9 {
		return 0, errTooDear
	}
	return strconv.Atoi(text)
}

// FromDjango turns a hash as Django stores it (pbkdf2_sha256, pbkdf2_sha1,
// argon2, bcrypt, scrypt) into the form that [Hasher.CheckHash] takes; what
// looks like none of them stays as it is. It judges nothing.
func FromDjango(stored string) broker.PasswordHash {
	name, rest, _ := strings.Cut(stored, "$")
	parts := strings.Split(rest, "$")
	adapted := func(b64 string) string { return strings.ReplaceAll(strings.TrimRight(b64, "="), "+", ".") }
	switch {
	case (name == "pbkdf2_sha256" || name == "pbkdf2_sha1") && len(parts) == 3: // rounds, salt, key
		return broker.PasswordHash(fmt.Sprintf("$%s$%s$%s$%s", strings.Replace(name, "_", "-", 1),
			parts[0], adaptedBase64.EncodeToString([]byte(parts[1])), adapted(parts[2])))
	case name == "scrypt" && len(parts) == 5: // N, salt, r, p, key
		n, err := strconv.Atoi(parts[0])
		ln := 0
		for ; err == nil && n > 1 && n%2 == 0; n /= 2 {
			ln++
		}
		if err == nil && n == 1 {
			return broker.PasswordHash(fmt.Sprintf("$scrypt$ln=%d,r=%s,p=%s$%s$%s", ln, parts[2], parts[3],
				base64.RawStdEncoding.EncodeToString([]byte(parts[1])), strings.TrimRight(parts[4], "=")))
		}
	case name == "argon2":
		return broker.PasswordHash("$" + rest)
	case name == "bcrypt":
		return broker.PasswordHash(rest)
	}
	return broker.PasswordHash(stored)
}
