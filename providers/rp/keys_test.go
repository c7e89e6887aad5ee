package rp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

var _ tokens.KeySource = (*verify.RemoteKeySet)(nil)

func jwks(t *testing.T, kids ...string) string {
	t.Helper()
	set := jose.JSONWebKeySet{}
	for _, kid := range kids {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: kid, Algorithm: "ES256", Use: "sig"})
	}
	out, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func TestKeys(t *testing.T) {
	s := newSite(t, text(200, jwks(t, "one", "two")))
	clock := newClock()
	keys := NewKeys(clock.Now)
	for range 3 { // the second time, the set is there
		if found, err := keys.KeySource(s.URL, false).Keys(t.Context(), "one"); err != nil || len(found) != 1 {
			t.Errorf("%v, %v", found, err)
		}
	}
	if all, err := keys.KeySource(s.URL, false).Keys(t.Context(), ""); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
	// U24: forged kids are no requests, and a new key is found.
	for i := range 1000 {
		if found, err := keys.KeySource(s.URL, false).Keys(t.Context(), fmt.Sprint(i)); err != nil || len(found) != 0 {
			t.Fatalf("%v, %v", found, err)
		}
	}
	if n := s.calls.Load(); n > 2 {
		t.Errorf("%d requests", n)
	}
	s.say(text(200, jwks(t, "three")))
	clock.advance(31 * time.Second)
	if found, err := keys.KeySource(s.URL, false).Keys(t.Context(), "three"); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	// Another address has other keys, also where one would do for both.
	other := newSite(t, text(200, jwks(t, "four")))
	if found, err := keys.KeySource(other.URL, false).Keys(t.Context(), "three"); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}

func TestKeysThatCannotBeRead(t *testing.T) {
	thief := newSite(t, text(200, jwks(t, "one")))
	good := jwks(t, "one")
	for name, answer := range map[string]providertest.Responder{
		"404": text(404, good), "500": text(500, good), "redirect": providertest.RedirectTo(302, thief.URL), "no JSON": text(200, "<html>"),
		"no keys": text(200, `{"keys":[]}`), "large": providertest.Flood(verify.MaxJWKSBytes + 1), "bomb": providertest.GzipBomb(4 << 20), "cut off": providertest.CutOff(good[:20]),
		"a private key": text(200, `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"one"}]}`),
	} {
		s := newSite(t, answer)
		if found, err := NewKeys(nil).KeySource(s.URL, false).Keys(t.Context(), "one"); err == nil || len(found) != 0 {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
	if thief.calls.Load() != 0 {
		t.Error("a redirect was followed")
	}
	for _, uri := range []string{"", "file:///etc/passwd", "https://u:p@client.test", "x"} {
		if _, err := NewKeys(nil).KeySource(uri, false).Keys(t.Context(), "one"); err == nil {
			t.Errorf("%q", uri)
		}
	}
}

// What failed is left alone for a moment, and used when it is back after that.
func TestKeysPause(t *testing.T) {
	s := newSite(t, text(500, ""))
	clock := newClock()
	set := NewKeys(clock.Now).KeySource(s.URL, false)
	for range 9 {
		if _, err := set.Keys(t.Context(), "one"); err == nil {
			t.Error("keys out of nothing")
		}
		clock.advance(1100 * time.Millisecond)
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d requests within %v", n, pause)
	}
	s.say(text(200, jwks(t, "one")))
	clock.advance(2 * time.Second)
	if found, err := set.Keys(t.Context(), "one"); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
}

// Many who wait for keys that stall wait as long as one.
func TestKeysStall(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]providertest.Responder{
		"stall": providertest.Stall, "drip": providertest.Drip(strings.Repeat(" ", 1000), 50*time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, answer)
			set := NewKeys(nil).KeySource(s.URL, false)
			begun := time.Now()
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					if found, err := set.Keys(t.Context(), fmt.Sprint(i)); err == nil {
						t.Errorf("%v", found)
					}
				})
			}
			all.Wait()
			if took := time.Since(begun); took > 6*time.Second || s.calls.Load() != 1 {
				t.Errorf("%d requests, %v", s.calls.Load(), took)
			}
		})
	}
}

func TestKeysGuarded(t *testing.T) {
	s := newSite(t, text(200, jwks(t, "one")))
	keys := NewKeys(nil)
	for _, target := range inside(t, port(t, s)) {
		begun := time.Now()
		if found, err := keys.KeySource(target, true).Keys(t.Context(), "one"); err == nil || time.Since(begun) > 2*time.Second {
			t.Errorf("%s: %v, %v after %v", target, found, err, time.Since(begun))
		}
	}
	// What was read for one who may is not there for one who may not.
	if _, err := keys.KeySource(s.URL, false).Keys(t.Context(), "one"); err != nil {
		t.Error(err)
	}
	if found, err := keys.KeySource(s.URL, true).Keys(t.Context(), "one"); err == nil {
		t.Errorf("%v", found)
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestKeysAreBounded(t *testing.T) {
	s := newSite(t, nil)
	s.say(func(w http.ResponseWriter, r *http.Request) bool { return text(200, jwks(t, r.URL.Path))(w, r) })
	keys := NewKeys(nil)
	ask := func(path string) {
		t.Helper()
		if found, err := keys.KeySource(s.URL+path, false).Keys(t.Context(), path); err != nil || len(found) != 1 {
			t.Errorf("%v, %v", found, err)
		}
	}
	ask("/first")
	for i := range maxKeySets - 1 {
		ask(fmt.Sprint("/", i))
	}
	ask("/first") // which is now the one that was used last
	ask("/another")
	for i := range 1000 { // registrations push nobody out
		keys.KeySource(fmt.Sprint("https://client.test/", i), true)
	}
	for _, r := range []*recent{&keys.open, &keys.guarded} {
		if len(r.byURI) != maxKeySets || r.order.Len() != maxKeySets {
			t.Errorf("%d sets, %d in order", len(r.byURI), r.order.Len())
		}
	}
	before := s.calls.Load()
	ask("/first")
	if s.calls.Load() != before {
		t.Error("the one that was used last is forgotten")
	}
	ask("/0") // the one that was not used for longest
	if s.calls.Load() != before+1 {
		t.Error("the one that was not used is remembered")
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for j := range 200 {
				keys.KeySource(fmt.Sprint(s.URL, "/", i*j), i%2 == 0)
			}
		})
	}
	all.Wait()
}
