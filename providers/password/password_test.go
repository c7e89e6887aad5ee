package password

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-id/latchkey/broker"
)

func hasher(t *testing.T, cfg Config) *Hasher {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHashAndVerify(t *testing.T) {
	h, ctx := hasher(t, Config{}), context.Background()
	hash, err := h.Hash(ctx, "correct horse")
	if err != nil || !strings.HasPrefix(string(hash), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("hash %q, %v", string(hash), err)
	}
	for password, want := range map[string]bool{"correct horse": true, "correct horse ": false, "": false, "Correct horse": false} {
		ok, rehash, err := h.Verify(ctx, hash, password)
		if ok != want || rehash || err != nil {
			t.Errorf("%q: ok %v rehash %v err %v", password, ok, rehash, err)
		}
	}
}

func TestUnknownUserPaysForAHashAndNeverMatches(t *testing.T) {
	h := hasher(t, Config{})
	for _, password := range []string{"", "x", "nobodys password has this key !!"} {
		if ok, rehash, err := h.Verify(context.Background(), "", password); ok || rehash || err != nil {
			t.Errorf("%q: %v %v %v", password, ok, rehash, err)
		}
	}
}

// The two hashes are published test vectors of bcrypt.
func TestBcryptIsVerifiedAndAskedToBeReplaced(t *testing.T) {
	h := hasher(t, Config{})
	const hash = "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe" // "a"
	ok, rehash, err := h.Verify(context.Background(), hash, "a")
	if !ok || !rehash || err != nil {
		t.Fatalf("%v %v %v", ok, rehash, err)
	}
	if ok, _, _ := h.Verify(context.Background(), hash, "b"); ok {
		t.Fatal("wrong password accepted")
	}
}

func TestComposedAndDecomposedTextAreOnePassword(t *testing.T) {
	h, ctx := hasher(t, Config{}), context.Background()
	hash, err := h.Hash(ctx, "café au lait")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, _ := h.Verify(ctx, hash, "café au lait"); !ok {
		t.Fatal("the same text in NFD was refused")
	}
}

func TestHashFloodIsTurnedAwayNotQueuedForEver(t *testing.T) {
	h := hasher(t, Config{Parallel: 1, Waiting: 4})
	var wg sync.WaitGroup
	var mu sync.Mutex
	busy, served := 0, 0
	for range 40 {
		wg.Go(func() {
			_, err := h.Hash(context.Background(), "flood flood")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				served++
			case errors.Is(err, broker.TemporarilyUnavailable):
				busy++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if served == 0 || busy == 0 || served+busy != 40 {
		t.Fatalf("served %d, turned away %d", served, busy)
	}
}

func TestCallerWhoHasGoneIsNotServed(t *testing.T) {
	h := hasher(t, Config{Parallel: 1})
	h.running <- struct{}{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := h.Hash(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
