package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keysFreshFor is how long an IdP's keys are used without asking again: so long
// a key that it withdrew may still be believed.
const keysFreshFor = 10 * time.Minute

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
		if json.Unmarshal(one, &key) == nil && key.Valid() && key.IsPublic() && key.Use != "enc" {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no usable public key")
	}
	return keys, nil
}

// keySet is a go-oidc KeySet for the verification of one token. go-oidc's own
// asks the IdP again for every bad signature.
type keySet struct {
	document *document[[]jose.JSONWebKey]
	uri      string
	algs     []jose.SignatureAlgorithm
	trouble  error // why no keys could be had
}

// VerifySignature implements go-oidc's KeySet. What a header says of keys,
// beside the kid, is not looked at.
func (k *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	jws, err := jose.ParseSigned(raw, k.algs)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errNoKey
	}
	if isOtherType(jws.Signatures[0].Protected) {
		return nil, errors.New("not an ID token by its typ")
	}
	keys, _ := k.document.last(ctx)
	if k.document.answeredWithin(keysFreshFor) {
		if payload, err := verifySignature(jws, keys); err == nil {
			return payload, nil
		}
	}
	newer, err := k.document.ask(ctx, k.uri) // the IdP may have a new key
	if err != nil && len(keys) == 0 {
		k.trouble = err
		return nil, err
	}
	if err == nil {
		keys = newer
	}
	return verifySignature(jws, keys)
}

// isOtherType refuses the types that say that they are something else (RFC 8725
// section 3.11). Access tokens of many IdPs do not say so: those fail for want
// of our nonce.
func isOtherType(header jose.Header) bool {
	typ, _ := header.ExtraHeaders[jose.HeaderType].(string)
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ == "at+jwt" || typ == "logout+jwt"
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
