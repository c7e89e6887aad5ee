package tokens_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

const importedKey = "the secret of the old system"

var importedNow = time.Unix(1_800_000_000, 0)

func signImported(key, head, payload string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const importedHead = `{"alg":"HS256","typ":"JWT"}`

func imported(t testing.TB) *tokens.ImportedSecret {
	t.Helper()
	s, err := tokens.NewImportedSecret([]byte(importedKey))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestImportedKinds(t *testing.T) {
	for payload, want := range map[string]tokens.ImportedClaims{
		`{"userId":"u","username":"n","jti":"j","type":"refresh","iat":1799999000,"exp":1800000001}`: {Kind: tokens.ImportedRefresh, UserID: "u", IssuedAt: 1799999000, ExpiresAt: 1800000001},
		`{"userId":"u","username":"n","type":"access","iat":1799999000,"exp":1800000001}`:            {Kind: tokens.ImportedAccess, UserID: "u", IssuedAt: 1799999000, ExpiresAt: 1800000001},
		`{"keyId":"k","name":"n","type":"api","iat":1799999000}`:                                     {Kind: tokens.ImportedAPIKey, KeyID: "k", IssuedAt: 1799999000},
		`{"userId":"u","username":"n","iat":1500000000}`:                                             {Kind: tokens.ImportedLegacy, UserID: "u", IssuedAt: 1500000000},
	} {
		got, err := imported(t).Parse(signImported(importedKey, importedHead, payload), importedNow)
		if err != nil || got != want {
			t.Errorf("%s: %+v %v", payload, got, err)
		}
	}
	claims, err := imported(t).Parse(signImported(importedKey, importedHead, `{"userId":"u","type":"refresh","exp":1800000000}`), importedNow)
	if !errors.Is(err, tokens.ErrImportedExpired) || claims.UserID != "u" {
		t.Errorf("%+v %v", claims, err)
	}
}

// Whatever the header asks for, HS256 under the one secret decides.
func TestForgedImportedTokens(t *testing.T) {
	const good = `{"userId":"u","type":"refresh","exp":1800000001}`
	whole := signImported(importedKey, importedHead, good)
	parts := strings.Split(whole, ".")
	for name, raw := range map[string]string{
		"empty":             "",
		"no JWT":            "abc",
		"two parts":         parts[0] + "." + parts[1],
		"four parts":        whole + ".x",
		"another secret":    signImported("another secret entirely", importedHead, good),
		"no signature":      parts[0] + "." + parts[1] + ".",
		"half a signature":  whole[:len(whole)-20],
		"alg none":          signImported(importedKey, `{"alg":"none"}`, good),
		"alg HS512":         signImported(importedKey, `{"alg":"HS512"}`, good),
		"alg RS256":         signImported(importedKey, `{"alg":"RS256"}`, good),
		"alg in small":      signImported(importedKey, `{"alg":"hs256"}`, good),
		"alg twice":         signImported(importedKey, `{"alg":"HS256","alg":"none"}`, good),
		"our typ":           signImported(importedKey, `{"alg":"HS256","typ":"rt+jwt"}`, good),
		"crit":              signImported(importedKey, `{"alg":"HS256","crit":["exp"]}`, good),
		"padded signature":  whole + "=",
		"newline":           whole + "\n",
		"space":             " " + whole,
		"no user":           signImported(importedKey, importedHead, `{"type":"refresh","exp":1800000001}`),
		"refresh for ever":  signImported(importedKey, importedHead, `{"userId":"u","type":"refresh"}`),
		"access for ever":   signImported(importedKey, importedHead, `{"userId":"u","type":"access"}`),
		"legacy with exp":   signImported(importedKey, importedHead, `{"userId":"u","exp":1800000001}`),
		"key without ID":    signImported(importedKey, importedHead, `{"userId":"u","type":"api"}`),
		"unknown type":      signImported(importedKey, importedHead, `{"userId":"u","type":"admin","exp":1800000001}`),
		"type of other kin": signImported(importedKey, importedHead, `{"userId":"u","type":["refresh"],"exp":1800000001}`),
		"claim twice":       signImported(importedKey, importedHead, `{"userId":"u","userId":"v","type":"refresh","exp":1800000001}`),
		"exp as text":       signImported(importedKey, importedHead, `{"userId":"u","type":"refresh","exp":"1800000001"}`),
		"negative exp":      signImported(importedKey, importedHead, `{"userId":"u","type":"refresh","exp":-1}`),
		"exp beyond clocks": signImported(importedKey, importedHead, `{"userId":"u","type":"refresh","exp":1e300}`),
		"no object":         signImported(importedKey, importedHead, `["refresh"]`),
		"too long":          signImported(importedKey, importedHead, `{"userId":"`+strings.Repeat("u", tokens.MaxTokenBytes)+`","type":"refresh","exp":1800000001}`),
	} {
		if claims, err := imported(t).Parse(raw, importedNow); !errors.Is(err, tokens.ErrMalformed) || claims != (tokens.ImportedClaims{}) {
			t.Errorf("%s: %+v %v", name, claims, err)
		}
	}
}

func TestImportedSecretIsKeptOutOfText(t *testing.T) {
	if _, err := tokens.NewImportedSecret([]byte("fifteen bytes..")); err == nil || strings.Contains(err.Error(), "fifteen") {
		t.Error(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, imported(t)); strings.Contains(text, importedKey) {
			t.Errorf("%s: %s", format, text)
		}
	}
}

// Nothing that is not signed is believed, and nothing makes the parser fall over.
func FuzzImportedToken(f *testing.F) {
	for _, payload := range []string{
		`{"userId":"u","type":"refresh","exp":1800000001}`, `{"keyId":"k","type":"api"}`, `{"userId":"u"}`, `{}`, `[]`, `{"exp":1e400}`, `{"userId":null,"exp":null}`,
	} {
		f.Add(importedHead, payload, true)
		f.Add(`{"alg":"none"}`, payload, true)
		f.Add(importedHead, payload, false)
	}
	f.Fuzz(func(t *testing.T, head, payload string, signed bool) {
		key := importedKey
		if !signed {
			key = "another secret entirely"
		}
		raw := signImported(key, head, payload)
		claims, err := imported(t).Parse(raw, importedNow)
		switch {
		case err != nil && !errors.Is(err, tokens.ErrImportedExpired):
			if claims != (tokens.ImportedClaims{}) {
				t.Errorf("claims of a token that was refused: %+v", claims)
			}
		case !signed:
			t.Errorf("a token of another secret was taken: %q %q", head, payload)
		case claims.UserID == "" && claims.KeyID == "":
			t.Errorf("a token for nobody was taken: %q", payload)
		case (claims.Kind == tokens.ImportedRefresh || claims.Kind == tokens.ImportedAccess) && claims.ExpiresAt == 0 && err == nil:
			t.Errorf("%s for ever: %q", claims.Kind, payload)
		}
		if _, err := imported(t).Parse(payload, importedNow); err == nil {
			t.Errorf("taken without a signature: %q", payload)
		}
	})
}
