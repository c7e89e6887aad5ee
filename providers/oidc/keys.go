package oidc

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keysFreshFor is how long an IdP's keys are used without asking again: so long
// a key that it withdrew may still be believed.
const keysFreshFor = 10 * time.Minute

// keysBelievedFor is how long a token that somebody sent us is checked by keys
// that could not be fetched again. Its signature is all that vouches for it,
// whereas a login's comes from the IdP's token endpoint.
const keysBelievedFor = time.Hour

var errNoKey = errors.New("signed by none of the identity provider's keys")

func newKeys(issuer string, client *http.Client, cache Cache, now func() time.Time) *document[[]jose.JSONWebKey] {
	return &document[[]jose.JSONWebKey]{issuer: issuer, kind: "jwks", client: client, cache: cache, now: now, parse: parseKeys, sparing: true}
}

// parseKeys keeps the public keys that can verify; one unusable key does not
// spoil the set.
func parseKeys(raw []byte) (keys []jose.JSONWebKey, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(raw, &set) != nil {
		return nil, errors.New("the key set is not JSON")
	}
	for _, one := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(one, &key) == nil && key.Valid() && key.IsPublic() && key.Use != "enc" && longEnough(key.Key) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no usable public key")
	}
	return keys, nil
}

// longEnough: RSA keys have 2048 bits or more (RFC 7518 section 3.3). Those of more than
// 4096, by which a check takes long, go-jose does not read.
func longEnough(key any) bool {
	k, ok := key.(*rsa.PublicKey)
	return !ok || k.N.BitLen() >= 2048
}

// keySet is a go-oidc KeySet for the verification of one token. go-oidc's own
// asks the IdP again for every bad signature.
type keySet struct {
	document *document[[]jose.JSONWebKey]
	uri      string
	algs     []jose.SignatureAlgorithm
	who      asker
	checkTyp func(typ any) error // of the header; nil: absent
	trouble  error               // why no keys could be had
}

// VerifySignature implements go-oidc's KeySet. What a header says of keys,
// beside the kid, is not looked at.
func (k *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, k.algs) // OIDC Core section 2: never the JSON form
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errNoKey
	}
	if err := k.checkTyp(jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType]); err != nil {
		return nil, err
	}
	keys, _ := k.document.last(ctx)
	if k.document.answeredWithin(keysFreshFor) {
		if payload, err := verifySignature(jws, keys); err == nil {
			return payload, nil
		}
	}
	newer, trouble := k.document.ask(ctx, k.uri, k.who) // the IdP may have a new key
	switch {
	case trouble == nil:
		keys = newer
	case len(keys) == 0, k.who == forStranger && !k.document.answeredWithin(keysBelievedFor):
		k.trouble = trouble
		return nil, trouble
	}
	payload, err := verifySignature(jws, keys)
	if err != nil && k.who == forStranger {
		k.trouble = trouble // it may be signed by a key that we could not get
	}
	return payload, err
}

// verifySignature tries each key that may be meant: without a kid all, and of
// several with the same kid each.
func verifySignature(jws *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, error) {
	header := jws.Signatures[0].Protected
	for _, key := range keys {
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errNoKey
}
