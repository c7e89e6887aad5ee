package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"slices"
	"testing"
)

// Flags of authenticator data (WebAuthn Level 3 section 6.1).
const (
	UserPresent    = 1
	UserVerified   = 4
	BackupEligible = 8
	attested       = 64
)

// SoftKey is an authenticator with one passkey, whose fields a test bends. Its
// browser is at Origin.
type SoftKey struct {
	Origin     string
	RPID       string // empty: as it is asked
	Flags      byte
	Count      uint32 // of the next use
	ID         []byte
	UserHandle []byte
	RSA        *rsa.PrivateKey // the key of the passkey; nil: one of P-256
	Packed     bool            // it attests itself, unasked (section 8.2)
	Chain      []byte          // or says that this certificate's key attests it, which signed nothing
	key        *ecdsa.PrivateKey
}

// NewSoftKey makes one that is well behaved.
func NewSoftKey(tb testing.TB, origin string) *SoftKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	id := make([]byte, 32)
	_, _ = rand.Read(id)
	return &SoftKey{Origin: origin, Flags: UserPresent | UserVerified, Count: 1, ID: id, key: key}
}

var b64 = base64.RawURLEncoding

// asked is what of the options matters.
type asked struct {
	Challenge string `json:"challenge"`
	RPID      string `json:"rpId"`
	RP        struct {
		ID string `json:"id"`
	} `json:"rp"`
	User struct {
		ID string `json:"id"`
	} `json:"user"`
}

func readAsked(tb testing.TB, options string) (a asked) {
	tb.Helper()
	if err := json.Unmarshal([]byte(options), &a); err != nil {
		tb.Fatalf("options %s: %v", options, err)
	}
	return a
}

func (k *SoftKey) clientData(kind, challenge string) []byte {
	data, _ := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": k.Origin, "crossOrigin": false})
	return data
}

// data is the authenticator data, up to what was attested.
func (k *SoftKey) data(rpID string, flags byte) []byte {
	if k.RPID != "" {
		rpID = k.RPID
	}
	sum := sha256.Sum256([]byte(rpID))
	return binary.BigEndian.AppendUint32(append(sum[:], flags), k.Count)
}

// COSE is the public key (RFC 9053 section 7.1.1, RFC 8230 section 4).
func (k *SoftKey) COSE(tb testing.TB) []byte {
	tb.Helper()
	if k.RSA != nil {
		exponent := big.NewInt(int64(k.RSA.E)).Bytes()
		return slices.Concat([]byte{0xa4, 1, 3, 3, 0x39, 1, 0, 0x20}, cborBytes(k.RSA.N.Bytes()), []byte{0x21}, cborBytes(exponent))
	}
	point, err := k.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		tb.Fatal(err)
	}
	return slices.Concat([]byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32}, point[1:33], []byte{0x22, 0x58, 32}, point[33:])
}

// keptKey is a [SoftKey] in JSON, for a test of later.
type keptKey struct {
	Origin     string `json:"origin"`
	Count      uint32 `json:"count"`
	ID         []byte `json:"id"`
	UserHandle []byte `json:"userHandle"`
	Private    []byte `json:"testPrivateKey"` // SEC 1
}

// MarshalJSON keeps it, with its private key.
func (k *SoftKey) MarshalJSON() ([]byte, error) {
	private, err := x509.MarshalECPrivateKey(k.key)
	if err != nil {
		return nil, err
	}
	return json.Marshal(keptKey{k.Origin, k.Count, k.ID, k.UserHandle, private})
}

// UnmarshalJSON brings it back, well behaved.
func (k *SoftKey) UnmarshalJSON(raw []byte) error {
	var kept keptKey
	if err := json.Unmarshal(raw, &kept); err != nil {
		return err
	}
	key, err := x509.ParseECPrivateKey(kept.Private)
	*k = SoftKey{Origin: kept.Origin, Flags: UserPresent | UserVerified, Count: kept.Count, ID: kept.ID, UserHandle: kept.UserHandle, key: key}
	return err
}

// Create answers options of navigator.credentials.create.
func (k *SoftKey) Create(tb testing.TB, options string) string {
	tb.Helper()
	a := readAsked(tb, options)
	handle, err := b64.DecodeString(a.User.ID)
	if err != nil {
		tb.Fatal(err)
	}
	k.UserHandle = handle
	data := slices.Concat(k.data(a.RP.ID, k.Flags|attested), make([]byte, 16), []byte{0, byte(len(k.ID))}, k.ID, k.COSE(tb))
	k.Count++
	client := k.clientData("webauthn.create", a.Challenge)
	// The attestation object, in CBOR.
	object := slices.Concat([]byte{0xa3}, cborText("fmt"), k.statement(tb, data, client), cborText("authData"), cborBytes(data))
	return k.answer(tb, map[string]any{
		"clientDataJSON": b64.EncodeToString(client), "attestationObject": b64.EncodeToString(object),
		"transports": []string{"internal"},
	})
}

// Get answers options of navigator.credentials.get.
func (k *SoftKey) Get(tb testing.TB, options string) string {
	tb.Helper()
	a := readAsked(tb, options)
	data, client := k.data(a.RPID, k.Flags), k.clientData("webauthn.get", a.Challenge)
	k.Count++
	return k.answer(tb, map[string]any{
		"clientDataJSON": b64.EncodeToString(client), "authenticatorData": b64.EncodeToString(data), "signature": b64.EncodeToString(k.sign(tb, data, client)),
		"userHandle": b64.EncodeToString(k.UserHandle),
	})
}

// statement is the format of the attestation, and its statement.
func (k *SoftKey) statement(tb testing.TB, data, client []byte) []byte {
	switch {
	case k.Chain != nil:
		return slices.Concat(cborText("packed"), cborText("attStmt"), []byte{0xa3}, cborText("alg"), []byte{0x39, 1, 0}, // RS256
			cborText("sig"), cborBytes(make([]byte, 256)), cborText("x5c"), []byte{0x81}, cborBytes(k.Chain))
	case k.Packed:
		return slices.Concat(cborText("packed"), cborText("attStmt"), []byte{0xa2}, cborText("alg"), []byte{0x26}, // ES256
			cborText("sig"), cborBytes(k.sign(tb, data, client)))
	}
	return slices.Concat(cborText("none"), cborText("attStmt"), []byte{0xa0})
}

// sign signs authenticator data and the hash of the client data.
func (k *SoftKey) sign(tb testing.TB, data, client []byte) []byte {
	tb.Helper()
	sum := sha256.Sum256(client)
	signed := sha256.Sum256(append(slices.Clone(data), sum[:]...))
	if k.RSA != nil {
		return signRSA(k.RSA, signed)
	}
	signature, err := ecdsa.SignASN1(rand.Reader, k.key, signed[:])
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

func cborText(text string) []byte { return append([]byte{0x60 | byte(len(text))}, text...) }

func cborBytes(b []byte) []byte {
	return slices.Concat([]byte{0x59, byte(len(b) >> 8), byte(len(b))}, b)
}

func (k *SoftKey) answer(tb testing.TB, response map[string]any) string {
	tb.Helper()
	id := b64.EncodeToString(k.ID)
	text, err := json.Marshal(map[string]any{
		"id": id, "rawId": id, "type": "public-key", "authenticatorAttachment": "platform", "clientExtensionResults": map[string]any{}, "response": response,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}
