package jws

import (
	"errors"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ErrPrivate says that a key has been shown that should not have been.
var ErrPrivate = errors.New("a JWK with a private part")

var (
	privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}
	publicMembers  = []string{"kty", "crv", "x", "y", "n", "e", "alg", "use", "kid"}
)

// PublicKey reads a JWK from a stranger (RFC 7517). Only the members of the
// key itself are looked at: no certificate, no URL. A key with a private part,
// even an empty one, is ErrPrivate, and so is a symmetric key; a kind of key
// that is not known here is ErrMalformed.
func PublicKey(raw []byte) (jose.JSONWebKey, error) {
	var key jose.JSONWebKey
	var members map[string]jsontext.Value
	if Object(raw, &members) != nil {
		return key, ErrMalformed
	}
	for _, private := range privateMembers {
		if _, there := members[private]; there {
			return key, ErrPrivate
		}
	}
	kept := map[string]jsontext.Value{}
	for _, name := range publicMembers {
		if value, there := members[name]; there {
			kept[name] = value
		}
	}
	text, err := json.Marshal(kept)
	if err != nil || key.UnmarshalJSON(text) != nil || !key.Valid() || !key.IsPublic() {
		return jose.JSONWebKey{}, ErrMalformed
	}
	return key, nil
}
