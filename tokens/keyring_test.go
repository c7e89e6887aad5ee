package tokens_test

import (
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
)

func key(t testing.TB, algorithm string, active, retired time.Duration) *tokens.SigningKey {
	t.Helper()
	k, err := tokens.GenerateSigningKey(algorithm, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k.ActiveAt = now.Add(active)
	if retired != 0 {
		k.RetiredAt = now.Add(retired)
	}
	return k
}

func TestSigner(t *testing.T) {
	old, current, next := key(t, "ES256", -2*time.Hour, 0), key(t, "ES256", -time.Hour, 0), key(t, "ES256", time.Hour, 0)
	later, replaced := key(t, "ES256", 2*time.Hour, 0), key(t, "ES256", time.Hour, 2*time.Hour)
	retired, other, otherNext := key(t, "ES256", -time.Minute, -time.Second), key(t, "EdDSA", -time.Minute, 0), key(t, "EdDSA", time.Hour, 0)
	for name, tc := range map[string]struct {
		ring []*tokens.SigningKey
		alg  string
		want *tokens.SigningKey
	}{
		"newest":                       {[]*tokens.SigningKey{old, current}, "ES256", current},
		"in any order":                 {[]*tokens.SigningKey{current, old}, "ES256", current},
		"published, not active":        {[]*tokens.SigningKey{old, next}, "ES256", old},
		"retired":                      {[]*tokens.SigningKey{old, retired}, "ES256", old},
		"the algorithm":                {[]*tokens.SigningKey{old, other}, "ES256", old},
		"the other algorithm signs on": {[]*tokens.SigningKey{old, otherNext}, "EdDSA", old},
		"none active":                  {[]*tokens.SigningKey{later, next, retired}, "ES256", next},
		"none active of any":           {[]*tokens.SigningKey{next, retired, otherNext}, "EdDSA", otherNext},
		"none active nor of its own":   {[]*tokens.SigningKey{later, next}, "EdDSA", next},
		"retired alone":                {[]*tokens.SigningKey{retired, replaced}, "ES256", nil},
		"empty":                        {nil, "ES256", nil},
	} {
		ring, err := tokens.NewKeyRing(tc.ring)
		if err != nil {
			t.Fatal(err)
		}
		if got := ring.Signer(tc.alg, now); got != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestKeyRingIsPublicOnly(t *testing.T) {
	keys := []*tokens.SigningKey{}
	for _, algorithm := range tokens.Algorithms {
		keys = append(keys, key(t, algorithm, 0, 0))
	}
	ring, err := tokens.NewKeyRing(keys)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(ring.JWKS(), &set); err != nil || len(set.Keys) != len(keys) {
		t.Fatalf("%v %s", err, ring.JWKS())
	}
	for i, k := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
			if _, there := k[private]; there {
				t.Errorf("%s of %s is published", private, keys[i].Algorithm)
			}
		}
		if k["kid"] != keys[i].ID || k["alg"] != keys[i].Algorithm || k["use"] != "sig" {
			t.Errorf("key %v", k)
		}
		if found := ring.PublicKeys(keys[i].ID); len(found) != 1 || !found[0].IsPublic() {
			t.Errorf("found %v", found)
		}
	}
	if ring.PublicKeys("") != nil || ring.PublicKeys("unknown") != nil {
		t.Error("an unknown kid finds a key")
	}
	empty, err := tokens.NewKeyRing(nil)
	if err != nil || string(empty.JWKS()) != `{"keys":[]}` {
		t.Errorf("%s %v", empty.JWKS(), err)
	}
}

// A key that was stored is the same key.
func TestSigningKeyRoundTrip(t *testing.T) {
	for _, algorithm := range tokens.Algorithms {
		k := key(t, algorithm, 0, 0)
		stored, err := k.Private()
		if err != nil {
			t.Fatal(err)
		}
		again, err := tokens.ParseSigningKey(algorithm, stored)
		if err != nil || again.ID != k.ID {
			t.Errorf("%s: %v %v", algorithm, again, err)
		}
		if _, err := tokens.ParseSigningKey(algorithm, stored[:len(stored)/2]); err == nil {
			t.Errorf("%s: half a key is read", algorithm)
		}
	}
	if _, err := tokens.GenerateSigningKey("HS256", rand.Reader); err == nil {
		t.Error("a symmetric key was made")
	}
}
