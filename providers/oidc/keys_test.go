package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Keys that nobody should check anything by are left out, and the others stay.
func TestKeysOfBadLengthSpoilNoOthers(t *testing.T) {
	set := jose.JSONWebKeySet{}
	for _, bits := range []int{512, 1024, 2047, 2048, 3072, 4096, 4097, 8192} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1)) // nothing is checked by it
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}, KeyID: strconv.Itoa(bits)})
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	only := func(some []jose.JSONWebKey) ([]jose.JSONWebKey, error) {
		raw, err := json.Marshal(jose.JSONWebKeySet{Keys: some})
		if err != nil {
			t.Fatal(err)
		}
		return parseKeys(raw)
	}
	set.Keys = append(set.Keys, jose.JSONWebKey{Key: ec.Public(), KeyID: "ec"})
	keys, err := only(set.Keys)
	if err != nil {
		t.Fatal(err)
	}
	kept := []string{}
	for _, k := range keys {
		kept = append(kept, k.KeyID)
	}
	if want := []string{"2048", "3072", "4096", "ec"}; !slices.Equal(kept, want) {
		t.Errorf("kept %q, want %q", kept, want)
	}
	for _, i := range []int{2, 6} {
		if keys, err := only(set.Keys[i : i+1]); err == nil {
			t.Errorf("%d alone is kept: %+v", i, keys)
		}
	}
}
