package oidc_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/oidc"
	"github.com/latchkey-id/latchkey/providers/providertest"
)

const nonce = "a nonce of the app"

// newNative is a rig whose IdP has two apps that log in by themselves.
func newNative(t testing.TB, change func(*oidc.Config)) *rig {
	t.Helper()
	return newRig(t, func(c *oidc.Config) {
		c.ExchangeAudiences = []string{"native-app", "native-app.web"}
		if change != nil {
			change(c)
		}
	})
}

func (r *rig) native(bend providertest.Bend) string {
	r.t.Helper()
	return r.minted(r.idp.MintIDToken("native-app", "anna", nonce, bend))
}

func (r *rig) logout(bend providertest.Bend) string {
	r.t.Helper()
	return r.minted(r.idp.MintLogoutToken("latchkey", "s-anna", "sid-1", bend))
}

func (r *rig) minted(raw string, err error) string {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	return raw
}

func (r *rig) verifyNative(raw string) error {
	_, err := r.VerifyIDToken(context.Background(), raw)
	return err
}

func (r *rig) verifyLogout(raw string) error {
	_, err := r.VerifyLogoutToken(context.Background(), raw)
	return err
}

// claim sets claims; nil takes one away.
func claim(pairs ...any) func(*rig) providertest.Bend {
	return func(*rig) providertest.Bend {
		return func(_, claims map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				if claims[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
					delete(claims, pairs[i].(string))
				}
			}
		}
	}
}

// at sets claims to times from now.
func at(pairs ...any) func(*rig) providertest.Bend {
	return func(r *rig) providertest.Bend {
		return func(_, claims map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				claims[pairs[i].(string)] = r.clock.Now().Add(pairs[i+1].(time.Duration)).Unix()
			}
		}
	}
}

func header(name string, value any) func(*rig) providertest.Bend {
	return func(*rig) providertest.Bend { return func(header, _ map[string]any) { header[name] = value } }
}

func script(change func(*rig, *providertest.Script)) func(*rig) providertest.Bend {
	return func(r *rig) providertest.Bend {
		r.idp.Script(func(s *providertest.Script) { change(r, s) })
		return nil
	}
}

func signedBy(alg string) func(*rig) providertest.Bend {
	return script(func(_ *rig, s *providertest.Script) { s.SignAlg = alg })
}

func claims(pick func(*rig) (name string, value any)) func(*rig) providertest.Bend {
	return func(r *rig) providertest.Bend {
		name, value := pick(r)
		return claim(name, value)(r)
	}
}

// lie is one token that is not as it should be.
type lie struct {
	name     string
	bend     func(*rig) providertest.Bend
	accepted bool
}

// Lies that are the same for both kinds of tokens.
var (
	issuerLies = []lie{
		{"another issuer", claim("iss", "https://idp2.test"), false},
		{"no issuer", claim("iss", nil), false},
		{"the issuer as an array", claims(func(r *rig) (string, any) { return "iss", []string{r.idp.Issuer()} }), false},
		{"the issuer with a slash", claims(func(r *rig) (string, any) { return "iss", r.idp.Issuer() + "/" }), false},
		{"the issuer under ISS only", func(r *rig) providertest.Bend { return claim("iss", nil, "ISS", r.idp.Issuer())(r) }, false},
		{"the issuer under iſs too", func(r *rig) providertest.Bend { return claim("iss", "https://idp2.test", "iſs", r.idp.Issuer())(r) }, false},
		{"no audience", claim("aud", nil), false},
		{"an empty audience", claim("aud", ""), false},
		{"an array of no audience", claim("aud", []string{}), false},
		{"an audience of another", claim("aud", "another"), false},
		{"an audience that is no text", claim("aud", 42), false},
		{"an audience in an object", claim("aud", map[string]any{"native-app": 1, "latchkey": 1}), false},
		{"an audience under AUD only", claim("aud", nil, "AUD", []string{"native-app", "latchkey"}), false},
	}
	algorithmLies = []lie{
		{"none", signedBy("none"), false},
		{"None", signedBy("None"), false},
		{"the public key as a secret, PEM", signedBy(providertest.AlgHS256PublicPEM), false},
		{"the public key as a secret, DER", signedBy(providertest.AlgHS256PublicDER), false},
		{"the public key as a secret, JWK", signedBy(providertest.AlgHS256PublicJWK), false},
		{"the client secret", signedBy(providertest.AlgHS256ClientSecret), false},
		{"HS256 that the IdP advertises", script(func(_ *rig, s *providertest.Script) {
			s.SignAlg = providertest.AlgHS256PublicPEM
			s.EditDiscovery = func(m map[string]any) {
				m["id_token_signing_alg_values_supported"] = []string{"HS256", "none", "RS256"}
			}
		}), false},
		{"an algorithm that the IdP does not advertise", script(func(_ *rig, s *providertest.Script) {
			s.SignAlg = providertest.AlgES256
			s.EditDiscovery = func(m map[string]any) { m["id_token_signing_alg_values_supported"] = []string{"RS256"} }
		}), false},
		{"ES256", signedBy(providertest.AlgES256), true},
		{"a header that says ES256", header("alg", "ES256"), false},
		{"no alg", header("alg", nil), false},
		{"a crit that nobody knows", header("crit", []string{"x"}), false},
		{"a key of nobody", script(func(_ *rig, s *providertest.Script) { s.SignWithUnknownKey = true }), false},
		{"a key of nobody, in the header", func(r *rig) providertest.Bend {
			jwk := r.idp.UnknownJWK()
			r.idp.Script(func(s *providertest.Script) { s.SignWithUnknownKey = true })
			return header("jwk", jwk)(r)
		}, false},
		{"a key of nobody, at an address in the header", func(r *rig) providertest.Bend {
			r.idp.Script(func(s *providertest.Script) { s.SignWithUnknownKey = true })
			return header("jku", r.idp.Issuer()+"/jwks")(r)
		}, false},
		{"a key for encryption", script(func(r *rig, s *providertest.Script) {
			s.SignWithUnknownKey = true
			key := r.idp.UnknownJWK()
			key.Use = "enc"
			s.ExtraJWKS = []any{key}
		}), false},
		{"no kid", header("kid", nil), true},
		{"a kid of none", header("kid", "none of yours"), false},
		{"typ of an access token", header("typ", "at+jwt"), false},
		{"typ of an access token, in full", header("typ", "Application/AT+JWT"), false},
		{"typ of a DPoP proof", header("typ", "dpop+jwt"), false},
		{"typ of a client assertion", header("typ", "client-authentication+jwt"), false},
		{"typ of a security event", header("typ", "secevent+jwt"), false},
		{"typ absent", header("typ", nil), true},
		{"typ JWT", header("typ", "JWT"), true},
	}
	timeLies = []lie{
		{"exp missing", claim("exp", nil), false},
		{"exp 61 s ago", at("exp", -61*time.Second), false},
		{"exp 59 s ago", at("exp", -59*time.Second), true},
		{"exp a text", claim("exp", "4102444800"), false},
		{"exp 1e30", claim("exp", json.RawMessage("1e30")), false},
		{"exp null", claim("exp", json.RawMessage("null")), false},
		{"exp under EXP only", claim("exp", nil, "EXP", 4102444800), false},
		{"iat missing", claim("iat", nil), false},
		{"iat a text", claim("iat", "1767323045"), false},
		{"iat 61 s ahead", at("iat", 61*time.Second), false},
		{"iat 59 s ahead", at("iat", 59*time.Second), true},
		{"iat 10 minutes ago", at("iat", -10*time.Minute), true},
		{"iat longer ago", at("iat", -10*time.Minute-time.Second), false},
		{"iat a year ago", at("iat", -365*24*time.Hour), false},
		{"nbf 61 s ahead", at("nbf", 61*time.Second), false},
		{"nbf 59 s ahead", at("nbf", 59*time.Second), true},
		{"nbf a text", claim("nbf", "0"), false},
	}
	subjectLies = []lie{
		{"sub empty", claim("sub", ""), false},
		{"sub a number", claim("sub", 42), false},
		{"sub with a NUL", claim("sub", "s-\x00anna"), false},
		{"sub too long", claim("sub", strings.Repeat("s", 256)), false},
		{"sub of 255 bytes", claim("sub", strings.Repeat("s", 255)), true},
	}
)

// tell checks each lie at a fresh IdP, and that the honest token is accepted
// after it where the IdP itself is honest again.
func tell(t *testing.T, code broker.Code, mint func(*rig, providertest.Bend) string, verify func(*rig, string) error, lies ...[]lie) {
	for _, some := range lies {
		for _, l := range some {
			t.Run(l.name, func(t *testing.T) {
				r := newNative(t, nil)
				raw := mint(r, l.bend(r))
				err := verify(r, raw)
				switch {
				case l.accepted && err != nil:
					t.Errorf("refused: %v", err)
				case !l.accepted && (err == nil || broker.CodeOf(err) != code):
					t.Errorf("%v, want %s", err, code)
				case err != nil && (strings.Contains(err.Error(), raw) || len(err.Error()) > 400):
					t.Errorf("the error tells too much: %v", err)
				}
				r.idp.Script(func(s *providertest.Script) { *s = providertest.Script{} })
				if err := verify(r, mint(r, nil)); err != nil {
					t.Errorf("the honest one: %v", err)
				}
			})
		}
	}
}

// notTokens are no JWTs at all, or are in another form.
func notTokens(honest string) map[string]string {
	parts := strings.Split(honest, ".")
	flat, _ := json.Marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
	general, _ := json.Marshal(map[string]any{"payload": parts[1], "signatures": []any{map[string]string{"protected": parts[0], "signature": parts[2]}}})
	tampered := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"s-eve"}`))
	return map[string]string{
		"nothing": "", "a word": "x", "dots": "..", "two parts": parts[0] + "." + parts[1], "no signature": parts[0] + "." + parts[1] + ".",
		"four parts": honest + ".x", "space": " " + honest, "JSON": string(flat), "general JSON": string(general),
		"another payload": parts[0] + "." + tampered + "." + parts[2],
		"huge":            honest + strings.Repeat("A", 64<<10), "JWE": strings.Repeat(parts[0]+".", 4) + "x",
	}
}

func TestSentTokensThatAreNone(t *testing.T) {
	r := newNative(t, nil)
	for name, raw := range notTokens(r.native(nil)) {
		if err := r.verifyNative(raw); broker.CodeOf(err) != broker.CodeInvalid || err == nil {
			t.Errorf("ID token, %s: %v", name, err)
		}
	}
	for name, raw := range notTokens(r.logout(nil)) {
		if err := r.verifyLogout(raw); broker.CodeOf(err) != broker.InvalidRequest || err == nil {
			t.Errorf("logout token, %s: %v", name, err)
		}
	}
}

// A token that is too large is not read, whoever has signed it.
func TestSentTokenThatIsLarge(t *testing.T) {
	r := newNative(t, nil)
	for size, accepted := range map[int]bool{40 << 10: true, 60 << 10: false} { // base64 adds a third
		big := claim("x", strings.Repeat("x", size))(r)
		for _, err := range []error{r.verifyNative(r.native(big)), r.verifyLogout(r.logout(big))} {
			if accepted != (err == nil) || err != nil && !refused(err) {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
}

// Two providers of one kind: what one says is nothing to the other.
func TestU07SentToAnotherProvider(t *testing.T) {
	one, two := newNative(t, nil), newNative(t, nil)
	inOnesName := func(_, c map[string]any) { c["iss"] = one.idp.Issuer() }
	for i, err := range []error{
		one.verifyNative(two.native(nil)), one.verifyNative(two.native(inOnesName)),
		one.verifyLogout(two.logout(nil)), one.verifyLogout(two.logout(inOnesName)),
	} {
		if err == nil || broker.CodeOf(err) == broker.TemporarilyUnavailable {
			t.Error(fmt.Sprint(i), err)
		}
	}
}
