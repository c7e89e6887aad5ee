package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/tokens"
)

func TestKeyListShowsNoPrivatePart(t *testing.T) {
	c := newCLI(t)
	out := c.must("", "key", "list", "--json")
	if !strings.Contains(out, `"alg": "ES256"`) || !strings.Contains(out, `"signs": true`) || strings.Contains(out, "private") {
		t.Fatal(out)
	}
	info, err := os.Stat(filepath.Join(c.env["LATCHKEY_DATA_DIR"], "secret.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	if info, err = os.Stat(filepath.Join(c.env["LATCHKEY_DATA_DIR"], "latchkey.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
}

// keyed is what the commands say of a key.
type keyed struct {
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	State     string `json:"state"`
	Signs     bool   `json:"signs"`
	CreatedAt int64  `json:"createdAt"`
	ActiveAt  *int64 `json:"activeAt"`
	NotBefore *int64 `json:"notBefore"`
}

func (c *cli) keys(args ...string) (out []keyed) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.must("", append(args, "--json")...)), &out); err != nil {
		c.t.Fatal(err)
	}
	return out
}

// published are the keys that apps read.
func (x *watchedWorld) published() (kids []string) {
	x.t.Helper()
	_, text := get(x.t, x.base+"/.well-known/jwks.json")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		x.t.Fatal(err)
	}
	for _, key := range set.Keys {
		kids = append(kids, key.KeyID)
	}
	return kids
}

// publishes waits until the server publishes keys.
func (x *watchedWorld) publishes(kids []string) {
	x.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got := x.published()
		if !slices.ContainsFunc(kids, func(kid string) bool { return !slices.Contains(got, kid) }) {
			return
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("the key set has %q, want %q in it", got, kids)
		}
	}
}

// signer is the key of a new access token.
func (x *watchedWorld) signer() string {
	x.t.Helper()
	token, err := jose.ParseSignedCompact(x.passwordLogin().access, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		x.t.Fatal(err)
	}
	return token.Signatures[0].Header.KeyID
}

// What key rotate makes beside a server that runs is in the server's key set, and
// signs nothing before everybody has had the time to read it.
func TestKeyRotateBesideARunningServer(t *testing.T) {
	x := newWatchedWorld(t, "", nil)
	old := x.published()
	signs := x.signer()
	fresh, kids, algorithms := x.keys("key", "rotate"), []string{}, []string{}
	for _, k := range fresh {
		if slices.Contains(old, k.ID) || k.State != "published" || k.Signs || k.ActiveAt != nil || k.NotBefore == nil || *k.NotBefore-k.CreatedAt != (20*time.Minute).Milliseconds() {
			t.Errorf("%+v", k)
		}
		kids, algorithms = append(kids, k.ID), append(algorithms, k.Algorithm)
	}
	slices.Sort(algorithms)
	if want := slices.Sorted(slices.Values(tokens.Algorithms)); !slices.Equal(algorithms, want) {
		t.Errorf("new keys of %q, want %q", algorithms, want)
	}
	x.publishes(append(old, kids...))
	if now := x.signer(); now != signs {
		t.Errorf("%s signs in place of %s", now, signs)
	}
	for _, k := range x.keys("key", "list") {
		if k.Signs != (k.ID == signs) {
			t.Errorf("key list has %+v, and %s signs", k, signs)
		}
	}
	if again := x.keys("key", "rotate"); len(again) != len(fresh) || again[0].ID != fresh[0].ID {
		t.Errorf("rotated again while these wait, it has %+v", again)
	}
}
