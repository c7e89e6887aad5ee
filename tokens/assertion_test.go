package tokens_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens"
)

// client asserts itself, honestly and otherwise.
type client struct {
	signer
	alg  string
	keys tokens.KeySource
}

func newClient(t testing.TB, kind, alg string) client {
	t.Helper()
	s := newSigner(t, kind)
	return client{s, alg, keySet(t, with(s.jwk, "kid", "k"))}
}

func keySet(t testing.TB, keys ...object) tokens.KeySource {
	t.Helper()
	raw, err := json.Marshal(object{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	set, err := tokens.ParseKeySet(raw)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (c client) honest() (head, body object) {
	return object{"alg": c.alg, "kid": "k"},
		object{"iss": clientID, "sub": clientID, "aud": issuer, "jti": "j", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
}

func (c client) want(t *testing.T, name, raw, reason string) {
	t.Helper()
	a, err := tokens.ParseAssertion(context.Background(), raw, clientID, issuer, c.keys, now)
	switch {
	case reason == "" && (err != nil || a.ID == "" || !a.ExpiresAt.After(now)):
		t.Errorf("%s: %+v %v", name, a, err)
	case reason != "" && (!errors.Is(err, tokens.ErrAssertion) || errors.Is(err, tokens.ErrKeys) || !strings.Contains(err.Error(), reason) || a != tokens.Assertion{}):
		t.Errorf("%s: %+v %v, want %q", name, a, err, reason)
	}
}

var assertionKinds = map[string]string{"RS256": "RSA", "PS256": "RSA", "ES256": "P-256", "EdDSA": "Ed25519"}

// Assertions that go-jose makes, with every algorithm.
func TestAssertionOfAnotherLibrary(t *testing.T) {
	for alg, kind := range assertionKinds {
		c := newClient(t, kind, alg)
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: c.private, KeyID: "k"}}, (&jose.SignerOptions{}).WithType("JWT"))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := s.Sign(fmt.Appendf(nil, `{"iss":%q,"sub":%q,"aud":%q,"jti":"j","exp":%d}`, clientID, clientID, issuer, now.Add(time.Minute).Unix()))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		a, err := tokens.ParseAssertion(context.Background(), raw, clientID, issuer, c.keys, now)
		if err != nil || a.ID != "j" || !a.ExpiresAt.Equal(now.Add(time.Minute)) {
			t.Errorf("%s: %+v %v", alg, a, err)
		}
		if got := tokens.AssertionSubject(raw); got != clientID {
			t.Errorf("%s: %q", alg, got)
		}
	}
}

func TestAssertionForged(t *testing.T) {
	for alg, kind := range assertionKinds {
		c := newClient(t, kind, alg)
		head, body := c.honest()
		good := c.sign(t, alg, head, body)
		parts := strings.Split(good, ".")
		c.want(t, "honest", good, "")
		c.want(t, "no kid", c.sign(t, alg, with(head, "kid", nil), body), "")
		stranger := newClient(t, kind, alg)
		for name, raw := range map[string]string{
			"a stranger's":         stranger.sign(t, alg, head, body),
			"its key in the head":  stranger.sign(t, alg, with(head, "jwk", stranger.jwk), body),
			"a URL in the head":    stranger.sign(t, alg, with(head, "jku", "https://evil.example/k", "x5u", "https://evil.example/c"), body),
			"an unknown kid":       c.sign(t, alg, with(head, "kid", "x"), body),
			"no signature":         parts[0] + "." + parts[1] + ".",
			"zeros":                parts[0] + "." + parts[1] + "." + segment(strings.Repeat("\x00", 64)),
			"other claims":         parts[0] + "." + text(with(body, "jti", "another")) + "." + parts[2],
			"no alg":               c.sign(t, alg, with(head, "alg", nil), body),
			"the secret of a name": hs256([]byte(clientID), with(head, "alg", "HS256"), body),
		} {
			c.want(t, alg+": "+name, raw, "signature")
		}
		for _, other := range append(append([]string{}, spellings...), tokens.AssertionAlgorithms...) {
			if other != alg {
				c.want(t, alg+": says "+other, c.sign(t, alg, with(head, "alg", other), body), "signature")
				c.want(t, alg+": says "+other+", unsigned", text(with(head, "alg", other))+"."+parts[1]+".", "signature")
			}
		}
		for how, secret := range publicTexts(t, c.private.Public()) {
			c.want(t, "HS256 with "+how, hs256(secret, with(head, "alg", "HS256"), body), "signature")
		}
		for name, raw := range map[string]string{
			"empty": "", "not a JWT": "x", "padded": good + "=", "a line end": good + "\n", "long": c.sign(t, alg, head, with(body, "x", strings.Repeat("x", 8<<10))),
			"crit": c.sign(t, alg, with(head, "crit", []string{"exp"}), body), "two algs": segment(`{"alg":"none","alg":"`+alg+`"}`) + "." + parts[1] + "." + parts[2],
		} {
			c.want(t, alg+": "+name, raw, "not a JWT")
		}
	}
}

// CVE-2025-27370: an audience that a client was told to write by somebody else
// is not ours, and a list of audiences is good for two servers.
func TestAssertionForAnotherServer(t *testing.T) {
	c := newClient(t, "P-256", "ES256")
	head, body := c.honest()
	for _, aud := range []any{
		nil, "", issuer + "/", issuer + "/oauth2/token", strings.ToUpper(issuer), "https://evil.example", []string{issuer}, []string{issuer, "https://evil.example"}, []string{}, object{"x": issuer}, 7, true,
	} {
		c.want(t, fmt.Sprintf("aud %v", aud), c.sign(t, c.alg, head, with(body, "aud", aud)), "aud")
	}
	for _, claim := range []string{"iss", "sub"} {
		for _, value := range []any{nil, "", "another", clientID + " "} {
			c.want(t, fmt.Sprint(claim, " ", value), c.sign(t, c.alg, head, with(body, claim, value)), "client_id")
		}
		c.want(t, claim+" of a list", c.sign(t, c.alg, head, with(body, claim, []string{clientID})), "claims")
	}
	// Nobody is nobody.
	raw := c.sign(t, c.alg, head, with(body, "iss", "", "sub", ""))
	if _, err := tokens.ParseAssertion(context.Background(), raw, "", issuer, c.keys, now); !errors.Is(err, tokens.ErrAssertion) {
		t.Errorf("empty names: %v", err)
	}
	if _, err := tokens.ParseAssertion(context.Background(), c.sign(t, c.alg, head, with(body, "aud", "")), clientID, "", c.keys, now); !errors.Is(err, tokens.ErrAssertion) {
		t.Errorf("an empty issuer: %v", err)
	}
}

// A token of another kind is no assertion (RFC 8725 section 3.11).
func TestAssertionType(t *testing.T) {
	c := newClient(t, "P-256", "ES256")
	head, body := c.honest()
	for _, typ := range []any{nil, "", "JWT", "jwt", "application/jwt", "client-authentication+jwt"} {
		c.want(t, fmt.Sprintf("typ %v", typ), c.sign(t, c.alg, with(head, "typ", typ), body), "")
	}
	for _, typ := range []any{"at+jwt", "dpop+jwt", "logout+jwt", "application/at+jwt", "x"} {
		c.want(t, fmt.Sprintf("typ %v", typ), c.sign(t, c.alg, with(head, "typ", typ), body), "typ")
	}
}

func TestAssertionTimes(t *testing.T) {
	c := newClient(t, "P-256", "ES256")
	head, body := c.honest()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for name, tc := range map[string]struct {
		body   any
		reason string
	}{
		"a second left":           {with(body, "exp", at(time.Second)), ""},
		"expired":                 {with(body, "exp", at(0)), "expired"},
		"expired, and iat 0":      {with(body, "exp", at(-time.Hour), "iat", 0), "expired"},
		"no exp":                  {with(body, "exp", nil), "exp"},
		"exp null":                {`{"iss":"` + clientID + `","sub":"` + clientID + `","aud":"` + issuer + `","jti":"j","exp":null}`, "exp"},
		"exp text":                {with(body, "exp", "9"), "claims"},
		"ten minutes":             {with(body, "exp", at(10*time.Minute)), ""},
		"ten, by a clock ahead":   {with(body, "exp", at(11*time.Minute), "iat", at(time.Minute)), ""},
		"more":                    {with(body, "exp", at(11*time.Minute+time.Second)), "too far"},
		"a year":                  {with(body, "exp", at(8760*time.Hour)), "too far"},
		"exp 2^53":                {with(body, "exp", 1<<53), "too far"},
		"exp 1e300":               {with(body, "exp", 1e300), "claims"},
		"no iat":                  {with(body, "iat", nil), ""},
		"iat soon":                {with(body, "iat", at(time.Minute)), ""},
		"iat later":               {with(body, "iat", at(61*time.Second), "exp", at(5*time.Minute)), "iat"},
		"iat after exp":           {with(body, "iat", at(30*time.Second), "exp", at(20*time.Second)), "iat"},
		"nbf soon":                {with(body, "nbf", at(time.Minute)), ""},
		"nbf later":               {with(body, "nbf", at(61*time.Second)), "nbf"},
		"no jti":                  {with(body, "jti", nil), "jti"},
		"an empty jti":            {with(body, "jti", ""), "jti"},
		"a jti of 257 bytes":      {with(body, "jti", strings.Repeat("j", 257)), "jti"},
		"a jti of a number":       {with(body, "jti", 7), "claims"},
		"no object":               {"[]", "claims"},
		"two subs":                {`{"sub":"a","sub":"b"}`, "claims"},
		"claims in other letters": {object{"ISS": clientID, "SUB": clientID, "AUD": issuer, "JTI": "j", "EXP": at(time.Minute)}, "client_id"},
	} {
		c.want(t, name, c.sign(t, c.alg, head, tc.body), tc.reason)
	}
}

// counted is a key source that counts, or fails.
type counted struct {
	tokens.KeySource
	err   error
	asked int
}

func (s *counted) Keys(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	s.asked++
	if s.err != nil {
		return nil, s.err
	}
	return s.KeySource.Keys(ctx, kid)
}

// Trouble with the keys is not the client's, and nonsense fetches no keys.
func TestAssertionKeys(t *testing.T) {
	c := newClient(t, "P-256", "ES256")
	head, body := c.honest()
	s := &counted{KeySource: c.keys, err: errors.New("down")}
	parse := func(raw string) error {
		_, err := tokens.ParseAssertion(context.Background(), raw, clientID, issuer, s, now)
		return err
	}
	if err := parse(c.sign(t, c.alg, head, body)); !errors.Is(err, tokens.ErrKeys) || errors.Is(err, tokens.ErrAssertion) {
		t.Errorf("down: %v", err)
	}
	if s.err = nil; parse(c.sign(t, c.alg, head, body)) != nil {
		t.Error("up")
	}
	asked := s.asked
	for _, raw := range []string{"x", c.sign(t, c.alg, head, with(body, "aud", "x")), c.sign(t, c.alg, head, with(body, "exp", 1)), c.sign(t, c.alg, with(head, "typ", "x"), body)} {
		if err := parse(raw); !errors.Is(err, tokens.ErrAssertion) {
			t.Error(err)
		}
	}
	if s.asked != asked {
		t.Error("the keys are fetched for nonsense")
	}
	if _, err := tokens.ParseAssertion(context.Background(), c.sign(t, c.alg, head, body), clientID, issuer, nil, now); !errors.Is(err, tokens.ErrAssertion) {
		t.Errorf("no keys at all: %v", err)
	}
	// Our own secret is nobody's key.
	s.KeySource = source{ring: ring(t, sharedKey(t))}
	if err := parse(hs256([]byte(sharedText), with(head, "alg", "HS256", "kid", sharedKey(t).ID), body)); !errors.Is(err, tokens.ErrAssertion) {
		t.Errorf("the shared key: %v", err)
	}
}

// A set of thousands does not cost thousands.
func TestAssertionTriesFewKeys(t *testing.T) {
	c := newClient(t, "P-256", "ES256")
	head, body := c.honest()
	own, err := c.keys.Keys(context.Background(), "")
	if err != nil || len(own) != 1 {
		t.Fatal(err)
	}
	for _, n := range []int{1, 31, 32, 5000} {
		s := many{append(repeat(newSigner(t, "P-256"), n), own...)}
		_, err := tokens.ParseAssertion(context.Background(), c.sign(t, c.alg, with(head, "kid", nil), body), clientID, issuer, s, now)
		if (err == nil) != (n < 32) {
			t.Errorf("the last of %d: %v", n+1, err)
		}
	}
}

type many struct{ keys []jose.JSONWebKey }

func (m many) Keys(context.Context, string) ([]jose.JSONWebKey, error) { return m.keys, nil }

func repeat(s signer, n int) (out []jose.JSONWebKey) {
	for range n {
		out = append(out, jose.JSONWebKey{Key: s.private.Public()})
	}
	return out
}

func TestParseKeySet(t *testing.T) {
	es, rs, ed := newSigner(t, "P-256"), newSigner(t, "RSA"), newSigner(t, "Ed25519")
	set := keySet(t, with(es.jwk, "kid", "a"), with(rs.jwk, "kid", "b"), with(ed.jwk, "kid", "a"), object{"kty": "OKP", "crv": "X25519", "x": "AA"}, object{"kty": "new"})
	for kid, n := range map[string]int{"": 3, "a": 2, "b": 1, "c": 0} {
		if keys, err := set.Keys(context.Background(), kid); err != nil || len(keys) != n {
			t.Errorf("%q: %d %v", kid, len(keys), err)
		}
	}
	bad := map[string]any{
		"no JSON": "{", "null": "null", "a list": []any{es.jwk}, "no keys": object{}, "empty": object{"keys": []any{}}, "keys of text": object{"keys": "x"},
		"only unknown keys": object{"keys": []any{object{"kty": "new"}, 7, nil}}, "33 keys": object{"keys": slices.Repeat([]object{es.jwk}, 33)}, "an oct key": object{"keys": []any{object{"kty": "oct", "k": "AAAA"}}},
		"an oct key among others": object{"keys": []any{es.jwk, object{"kty": "oct", "k": "AAAA"}}}, "long": object{"keys": []any{with(es.jwk, "x5c", strings.Repeat("x", tokens.MaxKeySetBytes))}},
		"a private part of an unknown kind": object{"keys": []any{es.jwk, object{"kty": "new", "priv": "AA"}}},
	}
	for _, s := range []signer{es, rs, ed} {
		bad[fmt.Sprintf("private %T", s.private)] = object{"keys": []any{jwkOf(t, s.private)}}
		bad[fmt.Sprintf("d null %T", s.private)] = object{"keys": []any{es.jwk, with(s.jwk, "d", json.RawMessage("null"))}}
	}
	for name, document := range bad {
		raw, ok := document.(string)
		if !ok {
			marshalled, err := json.Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			raw = string(marshalled)
		}
		if set, err := tokens.ParseKeySet([]byte(raw)); err == nil || set != nil {
			t.Errorf("%s: %v %v", name, set, err)
		}
	}
}

func TestAssertionSubject(t *testing.T) {
	for raw, want := range map[string]string{
		segment(`{}`) + "." + segment(`{"sub":"x"}`) + ".AA": "x", "": "", "x": "", "..": "", segment(`{}`) + "." + segment(`{"sub":7}`) + ".AA": "", segment(`{}`) + "." + segment(`{}`) + ".AA": "",
		segment(`{}`) + "." + segment(`{"sub":"x","sub":"y"}`) + ".AA": "", segment(`{}`) + "." + segment(`{"sub":"`+strings.Repeat("x", 257)+`"}`) + ".AA": "",
	} {
		if got := tokens.AssertionSubject(raw); got != want {
			t.Errorf("%q: %q", raw, got)
		}
	}
}

func FuzzParseAssertion(f *testing.F) {
	s := fixedSigner(f, "P-256")
	c := client{s, "ES256", keySet(f, with(s.jwk, "kid", "k"))}
	head, body := c.honest()
	good := c.sign(f, c.alg, head, body)
	parts := strings.Split(good, ".")
	plain, err := base64Decode(parts[1])
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		good, good + "\n", good[1:], parts[0] + "." + parts[1] + ".", text(with(head, "alg", "none")) + "." + parts[1] + ".", "", "..", "\x00.\xff.\x80",
		c.sign(f, c.alg, with(head, "kid", 7), body), segment(`{"alg":null}`) + "." + segment(`{"aud":null}`) + ".", string(plain), "null", "{}", `{"exp":1e300}`,
		strings.Replace(string(plain), `"`+issuer+`"`, `["`+issuer+`"]`, 1), strings.Replace(string(plain), `"aud"`, `"AUD"`, 1), `{"aud":"x","aud":"y"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		for _, raw := range fuzzed(t, c.signer, c.alg, head, input) {
			a, err := tokens.ParseAssertion(context.Background(), raw, clientID, issuer, c.keys, now)
			if err != nil && a != (tokens.Assertion{}) {
				t.Errorf("%q is refused with %+v", raw, a)
			}
			if err == nil && (a.ID != claim(t, raw, "jti") || a.ID == "" || claim(t, raw, "aud") != issuer || claim(t, raw, "iss") != clientID || tokens.AssertionSubject(raw) != clientID ||
				!a.ExpiresAt.After(now) || a.ExpiresAt.After(now.Add(11*time.Minute))) {
				t.Errorf("%q is accepted as %+v", raw, a)
			}
		}
	})
}
