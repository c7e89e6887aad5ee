package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

type ring struct{ *tokens.KeyRing }

func (r ring) Keys(_ context.Context, kid string) ([]jose.JSONWebKey, error) {
	return r.PublicKeys(kid), nil
}

// verify measures the library that resource servers use, beside one bare
// ES256 verification.
func (o options) verify(ctx context.Context, r *report) error {
	key, err := tokens.GenerateSigningKey("ES256", rand.Reader)
	if err != nil {
		return err
	}
	keys, err := tokens.NewKeyRing([]*tokens.SigningKey{key})
	if err != nil {
		return err
	}
	now := time.Now().Unix()
	raw, err := key.MintAccess(tokens.AccessClaims{
		Issuer: publicURL, Audience: publicURL, Subject: "01900000-0000-7000-8000-000000000000", ClientID: "app", SessionID: "01900000-0000-7000-8000-000000000001",
		ID: "0123456789abcdef012345", IssuedAt: now, ExpiresAt: now + 3600, AuthTime: now, AMR: []string{"pwd"}, Scope: "openid profile email offline_access",
		PreferredUsername: "robin", Role: "user", Groups: []string{"readers"}, UserID: "01900000-0000-7000-8000-000000000000", Username: "robin",
	})
	if err != nil {
		return err
	}
	verifying := func(cache int) (load, error) {
		v, err := verify.New(verify.Config{Issuer: publicURL, Keys: ring{keys}, CacheSize: cache})
		return func(int) (step, end func() error, err error) {
			return func() error { _, err := v.Verify(ctx, raw.Reveal()); return err }, func() error { return nil }, nil
		}, err
	}
	cached, err := verifying(0)
	if err != nil {
		return err
	}
	uncached, err := verifying(-1)
	if err != nil {
		return err
	}
	bare, err := bareVerify()
	if err != nil {
		return err
	}
	for _, workers := range []int{1, 8} {
		for _, x := range []struct {
			name string
			load load
		}{{"verify, cached (ceiling: one ES256 check)", cached}, {"verify, not cached", uncached}} {
			a, b, ratio, err := compare(x.load, bare, workers, o.times, o.each/4)
			if err != nil {
				return err
			}
			r.line(x.name, workers, a, b, fmt.Sprintf("%.0f %%", ratio*100), "at least 90 %", ratio >= 0.9)
		}
	}
	return nil
}

func bareVerify() (load, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("text"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	return func(int) (step, end func() error, err error) {
		return func() error {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
				return errors.New("a good signature was refused")
			}
			return nil
		}, func() error { return nil }, nil
	}, nil
}
