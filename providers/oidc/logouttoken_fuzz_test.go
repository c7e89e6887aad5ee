package oidc_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

// signedText is a compact JWS of a header and a payload as they are.
func signedText(key ed25519.PrivateKey, head, payload string) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(input)))
}

// object is a JSON object as another reader sees it, or nil.
func object(text string) (o map[string]any) {
	_ = json.Unmarshal([]byte(text), &o)
	return o
}

// Whatever is sent as a logout token: it is accepted only if the IdP has signed it, and as what
// its claims say by their exact names.
func FuzzLogoutToken(f *testing.F) {
	r := newNative(f, nil)
	seed := func(b byte) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
	}
	key, stranger := seed(1), seed(2)
	r.idp.Script(func(s *providertest.Script) {
		s.EditDiscovery = func(m map[string]any) { m["id_token_signing_alg_values_supported"] = []string{"RS256", "EdDSA"} }
		s.ExtraJWKS = []any{jose.JSONWebKey{Key: key.Public(), KeyID: "ed", Algorithm: "EdDSA", Use: "sig"}}
	})
	now := r.clock.Now().Unix()
	const head, event = `{"alg":"EdDSA","kid":"ed","typ":"logout+jwt"}`, `"events":{"` + providertest.LogoutEvent + `":{}}`
	claims := func(more string) string {
		return fmt.Sprintf(`{"iss":"ISSUER","aud":"latchkey","iat":%d,"exp":%d,"jti":"j",%s}`, now, now+120, more)
	}
	good := claims(`"sub":"s","sid":"x",` + event)
	for _, s := range [][2]string{
		{head, good}, {`{"alg":"EdDSA"}`, claims(`"sid":"x",` + event)}, {`{"alg":"none"}`, good}, {`{"alg":"EdDSA","typ":"at+jwt"}`, good}, {`{"alg":"EdDSA","b64":false,"crit":["b64"]}`, good},
		{`{"alg":"EdDSA","ALG":"none","kid":null}`, good}, {head, claims(`"sub":"s","SUB":"t",` + event)}, {head, claims(`"sub":"s","nonce":null,` + event)}, {head, claims(`"sub":"s","sub":"t",` + event)},
		{head, claims(`"sub":"s","events":{"` + providertest.LogoutEvent + `":null}`)}, {head, claims(`"sub":"s\u0000","sid":["x"],` + event)}, {head, strings.Replace(good, `"latchkey"`, `["latchkey","other"]`, 1)},
		{head, strings.Replace(good, `"iat":`, `"nbf":1e300,"iat":-`, 1)}, {head, "null"}, {head, "[]"}, {"", ""}, {"{}", "{}"}, {strings.Repeat("[", 5000), good}, {head, good + good},
	} {
		f.Add(s[0], s[1])
	}
	verify := func(raw string) (broker.IdPLogoutToken, error) { return r.VerifyLogoutToken(context.Background(), raw) }
	if _, err := verify(signedText(key, head, strings.ReplaceAll(good, "ISSUER", r.idp.Issuer()))); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, head, payload string) {
		payload = strings.ReplaceAll(payload, "ISSUER", r.idp.Issuer())
		signed := signedText(key, head, payload)
		unsigned := signed[:strings.LastIndex(signed, ".")+1]
		for _, raw := range []string{head, payload, unsigned, unsigned + "AAAA", signedText(stranger, head, payload)} {
			if token, err := verify(raw); broker.CodeOf(err) != broker.InvalidRequest || token != (broker.IdPLogoutToken{}) {
				t.Errorf("%q: %+v, %v", raw, token, err)
			}
		}
		token, err := verify(signed)
		if err != nil {
			if broker.CodeOf(err) != broker.InvalidRequest || token != (broker.IdPLogoutToken{}) {
				t.Errorf("%s, %s is refused as %+v, %v", head, payload, token, err)
			}
			return
		}
		h, c := object(head), object(payload)
		events, _ := c["events"].(map[string]any)
		_, isLogout := events[providertest.LogoutEvent].(map[string]any)
		_, hasNonce := c["nonce"]
		aud, isList := c["aud"].([]any)
		for _, ok := range []bool{
			h["alg"] == "EdDSA", h["typ"] == nil || strings.Contains(strings.ToLower(fmt.Sprint(h["typ"])), "jwt"), h["crit"] == nil,
			c["iss"] == r.idp.Issuer(), c["aud"] == "latchkey" || isList && slices.Contains(aud, any("latchkey")), isLogout, !hasNonce,
			c["jti"] == token.ID, token.ID != "", c["sub"] == token.Subject || c["sub"] == nil && token.Subject == "",
			c["sid"] == token.SessionID || token.SessionID == "", token.Subject+token.SessionID != "",
			token.ExpiresAt.After(r.clock.Now()), !token.IssuedAt.IsZero(),
		} {
			if !ok {
				t.Fatalf("%s, %s is accepted as %+v", head, payload, token)
			}
		}
	})
}
