package password

import (
	"context"
	"errors"
	"runtime"
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

// What others wrote may fall over what strangers type: that ends no program, and
// takes no turn away.
func TestAPanicEndsNoProcess(t *testing.T) {
	h := hasher(t, Config{Parallel: 1, Waiting: 1})
	for range 3 {
		err := h.run(context.Background(), func() error { panic("here") })
		if broker.CodeOf(err) != broker.TemporarilyUnavailable {
			t.Fatal(err)
		}
	}
	h.running <- struct{}{} // there is a turn
	<-h.running
	if load := h.Load(); load.Waiting != 0 || load.Done != 0 {
		t.Errorf("%+v", load)
	}
}

// What a hash keeps for itself, others have on top, as long as any is under way.
func TestHashesTakeNoProcessorFromTheRest(t *testing.T) {
	t.Cleanup(runtime.SetDefaultGOMAXPROCS)
	for _, set := range []string{"", "1"} {
		t.Setenv("GOMAXPROCS", set)
		if runtime.SetDefaultGOMAXPROCS(); set != "" {
			runtime.GOMAXPROCS(1)
		}
		before := runtime.GOMAXPROCS(0)
		h := hasher(t, Config{Parallel: 2})
		h.running <- struct{}{}
		h.running <- struct{}{} // two that take their time
		var two sync.WaitGroup
		for range 2 {
			two.Go(func() {
				if _, err := h.Hash(context.Background(), "x"); err != nil {
					t.Error(err)
				}
			})
		}
		for underWay := 0; underWay < 2; runtime.Gosched() {
			lent.mu.Lock()
			underWay = lent.hashes
			lent.mu.Unlock()
		}
		if n := runtime.GOMAXPROCS(0); n != before+2 {
			t.Errorf("GOMAXPROCS=%q: %d processors beside two hashes, %d before", set, n, before)
		}
		if n := cap(hasher(t, Config{}).running); n != max(1, before/2) { // as a reload makes one
			t.Errorf("GOMAXPROCS=%q: a new one computes %d at once", set, n)
		}
		<-h.running
		<-h.running
		two.Wait()
		if n := runtime.GOMAXPROCS(0); n != before {
			t.Errorf("GOMAXPROCS=%q: %d processors after the hashes, %d before", set, n, before)
		}
	}
}
