package oidc

import (
	"context"
	"errors"
	"sync"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// keySet is a go-oidc KeySet over the one key set that fetches with a limit:
// go-oidc's own asks the IdP again for every bad signature.
type keySet struct {
	remote *verify.RemoteKeySet
	algs   []jose.SignatureAlgorithm

	mu  sync.Mutex
	err error
}

var errNoKey = errors.New("signed by none of the identity provider's keys")

// keySet keeps one fetcher per jwks_uri; the last good set is in the cache.
func (p *Provider) keySet(ctx context.Context, m *Metadata, algs []string) *keySet {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil || p.keysURI != m.JWKSURI {
		cfg := verify.RemoteConfig{URL: m.JWKSURI, Client: p.cfg.HTTPClient, Now: p.cfg.Now}
		if p.cfg.Cache != nil {
			if document, _, err := p.cfg.Cache.IdPMetadata(ctx, p.cfg.Issuer, "jwks"); err == nil {
				cfg.Initial = document
			} else if !errors.Is(err, broker.NotFound) {
				cfg.Initial = nil
			}
			cfg.Fetched = func(jwks []byte) {
				_ = p.cfg.Cache.SaveIdPMetadata(context.WithoutCancel(ctx), p.cfg.Issuer, "jwks", jwks, p.cfg.Now())
			}
		}
		p.keys, p.keysURI = &keySet{remote: verify.NewRemoteKeySet(cfg)}, m.JWKSURI
	}
	k := &keySet{remote: p.keys.remote}
	for _, alg := range algs {
		k.algs = append(k.algs, jose.SignatureAlgorithm(alg))
	}
	return k
}

// VerifySignature implements go-oidc's KeySet. The key is chosen by kid among
// the IdP's own; what a header says of keys is not looked at.
func (k *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	jws, err := jose.ParseSigned(raw, k.algs)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errNoKey
	}
	header := jws.Signatures[0].Header
	keys, err := k.remote.Keys(ctx, header.KeyID)
	k.mu.Lock()
	k.err = err
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errNoKey
}

// trouble is why no keys could be had, or nil.
func (k *keySet) trouble() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}
