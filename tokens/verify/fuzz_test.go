package verify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// fixedKey is the same in every process: the fuzzer has several, which share their inputs.
func fixedKey(t testing.TB) *tokens.SigningKey {
	t.Helper()
	seed := sha256.Sum256([]byte("a key of the fuzz tests"))
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := tokens.ParseSigningKey("ES256", pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Whatever is presented, or was signed by the issuer, Verify ends; it accepts only what was
// signed, and says of it what every other reader would say.
func FuzzVerify(f *testing.F) {
	r := rigOf(f, fixedKey(f), nil)
	head, body := r.honest()
	good := r.signed(head, body)
	parts := strings.Split(good, ".")
	for _, seed := range []string{
		good, "", ".", "..", good + "\n", good[1:], parts[0] + "." + parts[1] + ".", parts[0] + ".." + parts[2], r.signed(head, with(body, "sub", "v")),
		seg(with(head, "alg", "none")) + "." + parts[1] + ".", seg(with(head, "typ", "JWT")) + "." + parts[1] + "." + parts[2], strings.Repeat("x", 9000),
		seg("null") + "." + seg("null") + ".", seg(`{"alg":"ES256","typ":"at+jwt","kid":null}`) + "." + seg("{}") + ".AA", "\x00.\xff.\x80", seg(`{"crit":{}}`) + "..",
	} {
		f.Add(seed)
	}
	honest, err := json.Marshal(body) // claims, which the target signs itself
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(honest))
	for _, more := range []string{
		`"sub":"v"`, `"SUB":"v"`, `"aud":["` + issuer + `"]`, `"aud":7`, `"exp":1e400`, `"exp":9007199254740993`, `"nbf":null`, `"cnf":{}`, `"cnf":null`, `"amr":[null]`, `"iat":1.5`, `"groups":{}`, `"iss":"x"`, `"ſub":"v"`,
	} {
		f.Add(strings.TrimSuffix(string(honest), "}") + "," + more + "}")
	}
	f.Fuzz(func(t *testing.T, input string) {
		in := *r
		in.t = t
		for _, raw := range []string{input, in.signed(head, input)} {
			c, err := in.Verify(context.Background(), raw)
			if err != nil {
				if !reflect.DeepEqual(c, verify.Claims{}) {
					t.Errorf("%q is refused with the claims %+v", raw, c)
				}
				continue
			}
			signedAsSaid(t, r.key, raw, c)
		}
	})
}

// signedAsSaid holds claims that were accepted against the token, as others read it.
func signedAsSaid(t *testing.T, key *tokens.SigningKey, raw string, c verify.Claims) {
	t.Helper()
	dot := strings.LastIndex(raw, ".")
	_, payload, _ := strings.Cut(raw[:dot], ".")
	strict := base64.RawURLEncoding.Strict()
	signature, err1 := strict.DecodeString(raw[dot+1:])
	claims, err2 := strict.DecodeString(payload)
	if err := errors.Join(err1, err2); err != nil || strings.ContainsAny(raw, "\r\n") || len(signature) != 64 {
		t.Fatalf("%q is accepted, and not everybody can read it: %v", raw, err)
	}
	sum := sha256.Sum256([]byte(raw[:dot]))
	if !ecdsa.Verify(key.Public().Key.(*ecdsa.PublicKey), sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Errorf("%q is accepted, and not signed", raw)
	}
	var read map[string]any
	var tooMuch *json.UnmarshalTypeError // a number that fits nowhere, of a claim that nobody reads; the others are there
	if err := json.Unmarshal(claims, &read); err != nil && !errors.As(err, &tooMuch) {
		t.Fatalf("%q is accepted: %v", raw, err)
	}
	for name, said := range map[string]any{
		"iss": c.Issuer, "aud": c.Audience, "sub": c.Subject, "sid": c.SessionID, "client_id": c.ClientID, "jti": c.ID, "scope": c.Scope, "role": c.Role,
		"iat": float64(c.IssuedAt), "exp": float64(c.ExpiresAt), "nbf": float64(c.NotBefore),
	} {
		if there := read[name]; there != said && (there != nil || !reflect.ValueOf(said).IsZero()) {
			t.Errorf("%q: %s is %v, and read as %v", raw, name, there, said)
		}
	}
	if read["cnf"] != nil || c.Issuer != issuer || c.Audience != issuer || c.Subject == "" {
		t.Errorf("%q is accepted as %+v", raw, c)
	}
}
