package tokens_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/latchkey-id/latchkey/tokens"
)

func idClaims() tokens.IDClaims {
	return tokens.IDClaims{
		Issuer: issuer, Subject: "u", Audience: clientID, AuthorizedParty: clientID, IssuedAt: now.Unix(), ExpiresAt: now.Add(time.Hour).Unix(),
		AuthTime: now.Unix(), Nonce: "n", ACR: "1", AMR: []string{"pwd"}, SessionID: "s",
		Extra: map[string]any{"name": "Anna", "groups": []any{"a", "b"}, "email_verified": true},
	}
}

func mintID(t testing.TB, k *tokens.SigningKey, c tokens.IDClaims) string {
	t.Helper()
	token, err := k.MintID(c)
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

func ring(t testing.TB, keys ...*tokens.SigningKey) *tokens.KeyRing {
	t.Helper()
	r, err := tokens.NewKeyRing(keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What we mint, go-oidc takes, at_hash and all, and we read back as it was.
func TestIDTokenRoundTrip(t *testing.T) {
	for _, algorithm := range tokens.Algorithms {
		k := key(t, algorithm, 0, 0)
		c := idClaims()
		c.AccessTokenHash = tokens.AccessTokenHash(algorithm, "the access token")
		raw := mintID(t, k, c)
		theirs := oidc.NewVerifier(issuer, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{k.Public().Key}}, &oidc.Config{
			ClientID: clientID, SupportedSigningAlgs: []string{algorithm}, Now: func() time.Time { return now },
		})
		token, err := theirs.Verify(context.Background(), raw)
		if err != nil {
			t.Fatalf("%s: go-oidc: %v", algorithm, err)
		}
		var extra struct {
			Name string
			SID  string
			AMR  []string
		}
		if err := token.Claims(&extra); err != nil || extra.Name != "Anna" || extra.SID != "s" || len(extra.AMR) != 1 || token.Nonce != "n" {
			t.Errorf("%s: %+v %+v %v", algorithm, token, extra, err)
		}
		if err := token.VerifyAccessToken("the access token"); err != nil {
			t.Errorf("%s: at_hash: %v", algorithm, err)
		}
		if token.VerifyAccessToken("another") == nil {
			t.Errorf("%s: at_hash is good for another token", algorithm)
		}
		got, err := ring(t, k).ParseIDToken(raw, issuer)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: %+v %v", algorithm, got, err)
		}
	}
}

// The example of OIDC Core appendix A.3 and A.4.
func TestAccessTokenHash(t *testing.T) {
	if got := tokens.AccessTokenHash("RS256", "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"); got != "77QmUPtjPfzWtF2AnpK9RQ" {
		t.Error(got)
	}
	for algorithm, n := range map[string]int{"ES256": 22, "HS256": 22, "PS384": 32, "RS512": 43, "EdDSA": 43, "Ed25519": 43, "": 0, "none": 0} {
		if got := tokens.AccessTokenHash(algorithm, "x"); len(got) != n {
			t.Errorf("%s: %q", algorithm, got)
		}
	}
}

// Empty claims are left out: a reader takes "nonce":"" for a nonce.
func TestIDTokenIsClean(t *testing.T) {
	raw := mintID(t, key(t, "ES256", 0, 0), tokens.IDClaims{Issuer: issuer, Subject: "u", Audience: "c", IssuedAt: 1, ExpiresAt: 2})
	if got := payloadText(t, raw); got != `{"iss":"`+issuer+`","sub":"u","aud":"c","iat":1,"exp":2}` {
		t.Error(got)
	}
}

func payloadText(t testing.TB, raw string) string {
	t.Helper()
	payload, err := base64Decode(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

// A person's claims never become the protocol's, whatever they are called.
func TestExtraClaimsCannotOverwrite(t *testing.T) {
	c := idClaims()
	c.Nonce = "" // nor fill in what is not there
	c.Extra = map[string]any{"name": "Anna"}
	for _, name := range []string{
		"iss", "sub", "aud", "azp", "iat", "exp", "auth_time", "nonce", "acr", "amr", "sid", "at_hash", "nbf", "jti", "c_hash", "events", "cnf",
		"SUB", "Sub", "ſub", "iSs", "NONCE",
	} {
		c.Extra[name] = "evil"
	}
	k := key(t, "ES256", 0, 0)
	raw := mintID(t, k, c)
	if body := payloadText(t, raw); strings.Contains(body, "evil") || !strings.Contains(body, "Anna") {
		t.Error(body)
	}
	var lenient struct{ Sub, Iss string }
	if err := json.Unmarshal([]byte(payloadText(t, raw)), &lenient); err != nil || lenient.Sub != "u" || lenient.Iss != issuer {
		t.Errorf("%+v %v", lenient, err)
	}
	got, err := ring(t, k).ParseIDToken(raw, issuer)
	if err != nil || got.Subject != "u" || len(got.Extra) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	if len(c.Extra) < 20 {
		t.Error("minting changed the caller's map")
	}
	if _, err := k.MintID(tokens.IDClaims{Extra: map[string]any{"x": make(chan int)}}); err == nil {
		t.Error("what is no JSON is minted")
	}
}

// A hint may be old; it may not be anybody else's, or anything else.
func TestParseIDTokenForged(t *testing.T) {
	for _, algorithm := range tokens.Algorithms {
		k, other := key(t, algorithm, 0, 0), key(t, algorithm, 0, 0)
		shared := sharedKey(t)
		r := ring(t, k, shared)
		s := ofRing(t, k)
		head := object{"alg": algorithm, "kid": k.ID, "typ": "JWT"}
		body := object{"iss": issuer, "sub": "u", "aud": clientID, "iat": 1, "exp": 2}
		good := s.sign(t, algorithm, head, body)
		if c, err := r.ParseIDToken(good, issuer); err != nil || c.Subject != "u" {
			t.Fatalf("%s: an expired one is no hint: %v", algorithm, err)
		}
		parts := strings.Split(good, ".")
		access, err := k.MintAccess(tokens.AccessClaims{Issuer: issuer, Subject: "u", Audience: clientID})
		if err != nil {
			t.Fatal(err)
		}
		bad := map[string]string{
			"empty": "", "two parts": parts[0] + "." + parts[1], "no signature": parts[0] + "." + parts[1] + ".", "four parts": good + ".x",
			"a line end": good + "\n", "padded": good + "=", "other claims": parts[0] + "." + text(with(body, "sub", "root")) + "." + parts[2],
			"a stranger's key":             ofRing(t, other).sign(t, algorithm, head, body),
			"a stranger's kid":             ofRing(t, other).sign(t, algorithm, with(head, "kid", other.ID), body),
			"a key in the header":          ofRing(t, other).sign(t, algorithm, with(head, "kid", nil, "jwk", jwkOf(t, other.Public().Key)), body),
			"no kid":                       s.sign(t, algorithm, with(head, "kid", nil), body),
			"crit":                         s.sign(t, algorithm, with(head, "crit", []string{"exp"}), body),
			"crit null":                    s.sign(t, algorithm, `{"alg":"`+algorithm+`","kid":"`+k.ID+`","typ":"JWT","crit":null}`, body),
			"two algs":                     s.sign(t, algorithm, `{"alg":"none","alg":"`+algorithm+`","kid":"`+k.ID+`","typ":"JWT"}`, body),
			"two subs":                     s.sign(t, algorithm, head, `{"iss":"`+issuer+`","aud":"c","sub":"u","sub":"v"}`),
			"another issuer":               s.sign(t, algorithm, head, with(body, "iss", "https://evil.example")),
			"the issuer with a slash":      s.sign(t, algorithm, head, with(body, "iss", issuer+"/")),
			"no issuer":                    s.sign(t, algorithm, head, with(body, "iss", nil)),
			"no sub":                       s.sign(t, algorithm, head, with(body, "sub", nil)),
			"no aud":                       s.sign(t, algorithm, head, with(body, "aud", nil)),
			"a list of aud":                s.sign(t, algorithm, head, with(body, "aud", []string{clientID})),
			"an access token":              access.Reveal(),
			"no object":                    s.sign(t, algorithm, head, "null"),
			"long":                         strings.Repeat("x", tokens.MaxTokenBytes+1),
			"the shared key":               hs256([]byte(sharedText), with(head, "alg", "HS256", "kid", shared.ID), body),
			"the shared key's kid":         s.sign(t, algorithm, with(head, "kid", shared.ID), body),
			"the shared key, another kid":  hs256([]byte(sharedText), with(head, "alg", "HS256"), body),
			"the shared key under the alg": hs256([]byte(sharedText), with(head, "kid", shared.ID), body),
		}
		for _, typ := range []any{"at+jwt", "AT+JWT", "application/at+jwt", "rt+jwt", "logout+jwt", "dpop+jwt", "revocations+jwt", nil, "", "jwt"} {
			bad[fmt.Sprintf("typ %v", typ)] = s.sign(t, algorithm, with(head, "typ", typ), body)
		}
		for _, alg := range spellings {
			if alg != algorithm {
				bad["alg "+alg] = text(with(head, "alg", alg)) + "." + parts[1] + "."
				bad["alg "+alg+", signed"] = s.sign(t, algorithm, with(head, "alg", alg), body)
			}
		}
		for _, alg := range append([]string{"PS256"}, tokens.Algorithms...) {
			if alg != algorithm {
				bad["header says "+alg] = s.sign(t, algorithm, with(head, "alg", alg), body)
			}
		}
		for how, secret := range publicTexts(t, k.Public().Key) {
			bad["HS256 with "+how] = hs256(secret, with(head, "alg", "HS256"), body)
		}
		for name, raw := range bad {
			c, err := r.ParseIDToken(raw, issuer)
			if !errors.Is(err, tokens.ErrMalformed) && !errors.Is(err, tokens.ErrNotIDToken) || !reflect.DeepEqual(c, tokens.IDClaims{}) {
				t.Errorf("%s, %s: %+v %v", algorithm, name, c, err)
			}
		}
	}
}

func FuzzParseIDToken(f *testing.F) {
	k, s := fixedKey(f, "ES256", "P-256")
	r := ring(f, k)
	good := mintID(f, k, idClaims())
	head := object{"alg": "ES256", "kid": k.ID, "typ": "JWT"}
	parts := strings.Split(good, ".")
	for _, seed := range []string{
		good, "", "..", good + "\n", good[1:], parts[0] + "." + parts[1] + ".", text(with(head, "alg", "none")) + "." + parts[1] + ".",
		s.sign(f, "ES256", with(head, "typ", "at+jwt"), idClaims()), segment(`{"alg":"ES256","typ":"JWT","kid":null}`) + "." + segment("{}") + ".AA",
		segment(`{"crit":{}}`) + "..", "\x00.\xff.\x80", payloadText(f, good), "null", `{"sub":{}}`, `{"iss":"` + issuer + `","sub":"u","aud":"c","SUB":"v","x":[{}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		for _, raw := range fuzzed(t, s, "ES256", head, input) {
			c, err := r.ParseIDToken(raw, issuer)
			if err != nil && !reflect.DeepEqual(c, tokens.IDClaims{}) {
				t.Errorf("%q is refused with claims", raw)
			}
			if err == nil && (claim(t, raw, "iss") != issuer || claim(t, raw, "sub") != c.Subject || c.Subject == "" || claim(t, raw, "aud") != c.Audience || c.Extra["sub"] != nil) {
				t.Errorf("%q is accepted as %+v", raw, c)
			}
		}
	})
}
