package tokens_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens"
)

// source is a [tokens.KeySource] of a ring, or of trouble.
type source struct {
	ring *tokens.KeyRing
	err  error
}

func (s source) Keys(_ context.Context, kid string) ([]jose.JSONWebKey, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.ring.VerificationKeys(kid), nil
}

func revocationClaims(sids ...string) tokens.RevocationClaims {
	return tokens.RevocationClaims{Issuer: issuer, IssuedAt: now.Unix(), ExpiresAt: now.Add(time.Minute).Unix(), Sessions: sids}
}

func TestRevocationsRoundTrip(t *testing.T) {
	k := key(t, "ES256", 0, 0)
	sids := []string{"again", "again"}
	for i := range 1000 {
		sids = append(sids, fmt.Sprint("ended ", i))
	}
	raw, err := k.MintRevocations(revocationClaims(sids...))
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 1001*15+500 || strings.Contains(payloadText(t, raw), "ended 1") {
		t.Errorf("%d bytes", len(raw))
	}
	l, err := tokens.ParseRevocations(context.Background(), raw, issuer, source{ring: ring(t, k)}, now)
	if err != nil || l.Len() != 1001 || !l.IssuedAt.Equal(now) || !l.ExpiresAt.Equal(now.Add(time.Minute)) {
		t.Fatalf("%d %v", l.Len(), err)
	}
	for _, sid := range sids {
		if !l.Has(sid) {
			t.Errorf("%s is missing", sid)
		}
	}
	for i := range 1000 {
		if l.Has(fmt.Sprint("alive ", i)) {
			t.Errorf("alive %d is on it", i)
		}
	}
	empty, err := k.MintRevocations(revocationClaims())
	if err != nil {
		t.Fatal(err)
	}
	if l, err := tokens.ParseRevocations(context.Background(), empty, issuer, source{ring: ring(t, k)}, now); err != nil || l.Len() != 0 || l.Has("") || l.Has("x") {
		t.Errorf("empty: %v %v", l, err)
	}
	if (tokens.RevocationList{}).Has("x") {
		t.Error("the zero list names somebody")
	}
}

// What is made can be read, and what cannot be read is not made.
func TestRevocationsBound(t *testing.T) {
	k := key(t, "EdDSA", 0, 0)
	mint := func(n int) (string, error) {
		sids := make([]string, n)
		for i := range sids {
			sids[i] = fmt.Sprint(i)
		}
		return k.MintRevocations(revocationClaims(sids...))
	}
	raw, err := mint(280_000)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := tokens.ParseRevocations(context.Background(), raw, issuer, source{ring: ring(t, k)}, now); err != nil || l.Len() != 280_000 {
		t.Errorf("%d %v", l.Len(), err)
	}
	if _, err := mint(320_000); err == nil {
		t.Error("a list that is too long was made")
	}
}

func TestRevocationsForged(t *testing.T) {
	k, other, shared := key(t, "ES256", 0, 0), key(t, "ES256", 0, 0), sharedKey(t)
	keys := source{ring: ring(t, k, shared)}
	s := ofRing(t, k)
	head := object{"alg": "ES256", "kid": k.ID, "typ": "revocations+jwt"}
	prefixes := func(b ...byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	body := object{"iss": issuer, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "ended": prefixes(0, 0, 0, 0, 0, 0, 0, 1)}
	good := s.sign(t, "ES256", head, body)
	if _, err := tokens.ParseRevocations(context.Background(), good, issuer, keys, now); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	bad := map[string]string{
		"empty": "", "no signature": parts[0] + "." + parts[1] + ".", "no session": parts[0] + "." + text(with(body, "ended", "")) + "." + parts[2],
		"a stranger's":   ofRing(t, other).sign(t, "ES256", head, body),
		"no kid":         s.sign(t, "ES256", with(head, "kid", nil), body),
		"crit":           s.sign(t, "ES256", with(head, "crit", []string{"x"}), body),
		"no typ":         s.sign(t, "ES256", with(head, "typ", nil), body),
		"an ID token":    mintID(t, k, idClaims()),
		"another issuer": s.sign(t, "ES256", head, with(body, "iss", "https://evil.example")),
		"no issuer":      s.sign(t, "ES256", head, with(body, "iss", nil)),
		"expired":        s.sign(t, "ES256", head, with(body, "exp", at(-time.Minute))),
		"no exp":         s.sign(t, "ES256", head, with(body, "exp", nil)),
		"no iat":         s.sign(t, "ES256", head, with(body, "iat", nil)),
		"of tomorrow":    s.sign(t, "ES256", head, with(body, "iat", at(61*time.Second))),
		"half a session": s.sign(t, "ES256", head, with(body, "ended", prefixes(0, 1))),
		"not ascending":  s.sign(t, "ES256", head, with(body, "ended", prefixes(0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1))),
		"no base64":      s.sign(t, "ES256", head, with(body, "ended", "=")),
		"a list":         s.sign(t, "ES256", head, with(body, "ended", []string{"x"})),
		"the shared key": hs256([]byte(sharedText), with(head, "alg", "HS256", "kid", shared.ID), body),
		"long":           strings.Repeat("x", tokens.MaxRevocationBytes+1),
	}
	for _, alg := range spellings {
		bad["alg "+alg] = s.sign(t, "ES256", with(head, "alg", alg), body)
	}
	for how, secret := range publicTexts(t, k.Public().Key) {
		bad["HS256 with "+how] = hs256(secret, with(head, "alg", "HS256"), body)
	}
	for name, raw := range bad {
		l, err := tokens.ParseRevocations(context.Background(), raw, issuer, keys, now)
		if !errors.Is(err, tokens.ErrRevocations) || l.Len() != 0 {
			t.Errorf("%s: %v %v", name, l, err)
		}
	}
	down := source{err: errors.New("down")}
	if _, err := tokens.ParseRevocations(context.Background(), good, issuer, down, now); !errors.Is(err, tokens.ErrKeys) || errors.Is(err, tokens.ErrRevocations) {
		t.Errorf("without keys: %v", err)
	}
}

func FuzzParseRevocations(f *testing.F) {
	k, s := fixedKey(f, "EdDSA", "Ed25519")
	keys := source{ring: ring(f, k)}
	good, err := k.MintRevocations(revocationClaims("a", "b", "c"))
	if err != nil {
		f.Fatal(err)
	}
	head := object{"alg": "EdDSA", "kid": k.ID, "typ": "revocations+jwt"}
	plain := payloadText(f, good)
	for _, seed := range []string{
		good, "", "..", good + "\n", good[1:], text(with(head, "alg", "none")) + "." + segment(plain) + ".", segment(`{"typ":"revocations+jwt"}`) + "..", "\x00.\xff.\x80",
		plain, "null", "{}", strings.Replace(plain, `"ended":"`, `"ended":"AAAA`, 1), strings.Replace(plain, `"exp":`, `"exp":-1e3`, 1), strings.Replace(plain, `"ended":"`, `"ended":"_`, 1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		for _, raw := range fuzzed(t, s, "EdDSA", head, input) {
			l, err := tokens.ParseRevocations(context.Background(), raw, issuer, keys, now)
			if err != nil && l.Len() != 0 {
				t.Errorf("%q is refused with a list", raw)
			}
			if err == nil && (claim(t, raw, "iss") != issuer || now.After(l.ExpiresAt.Add(time.Minute)) || l.IssuedAt.After(now.Add(time.Minute))) {
				t.Errorf("%q is accepted with %d", raw, l.Len())
			}
		}
	})
}
