package verify_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
)

// jwksServer publishes a key set, or fails, and counts.
type jwksServer struct {
	*httptest.Server
	mu      sync.Mutex
	respond http.HandlerFunc
	fetches atomic.Int32
}

func serveJWKS(t *testing.T, document []byte) *jwksServer {
	t.Helper()
	s := &jwksServer{}
	s.publish(document)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		s.mu.Lock()
		respond := s.respond
		s.mu.Unlock()
		respond(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *jwksServer) set(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.respond = h
}

func (s *jwksServer) publish(document []byte) {
	s.set(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(document) })
}

func keyRing(t testing.TB, n int) *tokens.KeyRing {
	t.Helper()
	keys := []*tokens.SigningKey{}
	for range n {
		k, err := tokens.GenerateSigningKey("ES256", rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	r, err := tokens.NewKeyRing(keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }

func (c *clock) Advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.at = c.at.Add(d) }

func (s *jwksServer) want(t *testing.T, set *verify.RemoteKeySet, kid string, keys int, fetches int32) {
	t.Helper()
	got, err := set.Keys(context.Background(), kid)
	// An old set is asked for again behind the reader's back.
	for deadline := time.Now().Add(5 * time.Second); s.fetches.Load() < fetches && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if len(got) != keys || s.fetches.Load() != fetches {
		t.Errorf("%d keys after %d fetches (%v), want %d after %d", len(got), s.fetches.Load(), err, keys, fetches)
	}
}

func TestRemoteFetchesAreLimited(t *testing.T) {
	keys := keyRing(t, 2)
	s, c := serveJWKS(t, keys.JWKS()), &clock{at: now}
	set := verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL, Now: c.Now})
	if s.fetches.Load() != 0 {
		t.Error("it fetches before it is asked")
	}
	kid := keys.Keys()[0].ID
	s.want(t, set, kid, 1, 1)
	s.want(t, set, kid, 1, 1)
	s.want(t, set, "", 2, 1)
	// A thousand forged kids are no thousand requests.
	for i := range 1000 {
		if got, err := set.Keys(context.Background(), fmt.Sprint("forged ", i)); len(got) != 0 || err != nil {
			t.Fatalf("%v %v, want no key and no error", got, err)
		}
	}
	s.want(t, set, kid, 1, 1)
	c.Advance(30 * time.Second)
	s.want(t, set, "forged", 0, 2)
	s.want(t, set, "forged", 0, 2)
	// A rotation is seen as soon as the interval permits it.
	next := keyRing(t, 1)
	s.publish(next.JWKS())
	s.want(t, set, next.Keys()[0].ID, 0, 2)
	c.Advance(30 * time.Second)
	s.want(t, set, next.Keys()[0].ID, 1, 3)
	s.want(t, set, kid, 0, 3)
	// And the set is asked for again when it is old.
	c.Advance(10 * time.Minute)
	s.want(t, set, next.Keys()[0].ID, 1, 4)
}

func TestRemoteKeepsTheLastGoodSet(t *testing.T) {
	keys := keyRing(t, 1)
	s, c := serveJWKS(t, keys.JWKS()), &clock{at: now}
	var kept []byte
	set := verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL, Now: c.Now, Fetched: func(b []byte) { kept = b }})
	kid := keys.Keys()[0].ID
	s.want(t, set, kid, 1, 1)
	if !bytes.Equal(kept, keys.JWKS()) {
		t.Error("the good document is not handed out")
	}
	fetches := int32(1)
	for name, h := range map[string]http.HandlerFunc{
		"500":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"404":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); _, _ = w.Write(keyRing(t, 1).JWKS()) },
		"HTML":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"empty set": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"oct": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"x"}]}`))
		},
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"x":"` + strings.Repeat("x", verify.MaxJWKSBytes) + `","keys":[]}`))
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("{"))
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"private key": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"x","x":"AA","y":"AA","d":"AA"}]}`))
		},
	} {
		s.set(h)
		c.Advance(11 * time.Minute)
		fetches++
		s.want(t, set, kid, 1, fetches)
		s.want(t, set, kid, 1, fetches) // and not again at once
		if got, err := set.Keys(context.Background(), "unknown"); len(got) != 0 || err == nil {
			t.Errorf("%s: an unknown kid is %v %v, want an error: nobody can say", name, got, err)
		}
	}
	s.Close()
	c.Advance(time.Hour)
	s.want(t, set, kid, 1, fetches)

	// A good set of earlier serves while the issuer is down from the start.
	set = verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL, Now: c.Now, Initial: kept})
	s.want(t, set, kid, 1, fetches)
	set = verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL, Now: c.Now, Initial: []byte("nonsense")})
	if got, err := set.Keys(context.Background(), kid); len(got) != 0 || err == nil {
		t.Errorf("%v %v", got, err)
	}
}

// The cap is on what is read: an answer without end is cut off.
func TestRemoteSizeCap(t *testing.T) {
	keys := keyRing(t, 1)
	var sent atomic.Int64
	s := serveJWKS(t, nil)
	s.set(func(w http.ResponseWriter, r *http.Request) {
		chunk := bytes.Repeat([]byte(" "), 64<<10)
		for r.Context().Err() == nil && sent.Load() < 1<<30 {
			n, err := w.Write(chunk)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	set := verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL})
	if got, err := set.Keys(context.Background(), "x"); err == nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes went", n)
	}
	// Just below it is read.
	padded := append([]byte(strings.Repeat(" ", verify.MaxJWKSBytes-len(keys.JWKS()))), keys.JWKS()...)
	s.publish(padded)
	set = verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL})
	if got, err := set.Keys(context.Background(), ""); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
}

// One unusable key does not spoil the set, and is not used.
func TestRemoteSkipsUnusableKeys(t *testing.T) {
	keys := keyRing(t, 1)
	var document map[string][]any
	if err := json.Unmarshal(keys.JWKS(), &document); err != nil {
		t.Fatal(err)
	}
	document["keys"] = append(document["keys"],
		map[string]any{"kty": "oct", "k": "AAAA", "kid": "oct"}, map[string]any{"kty": "new", "kid": "new"}, 7, nil, "x",
		map[string]any{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "off the curve"})
	text, _ := json.Marshal(document)
	s := serveJWKS(t, text)
	set := verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL})
	s.want(t, set, "", 1, 1)
	s.want(t, set, "oct", 0, 1)
	s.want(t, set, "off the curve", 0, 1)
}

// Many at once make one fetch, and a caller that goes away spoils it for none.
func TestRemoteFetchIsShared(t *testing.T) {
	keys := keyRing(t, 1)
	s := serveJWKS(t, keys.JWKS())
	set := verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL})
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if got, err := set.Keys(gone, keys.Keys()[0].ID); len(got) != 1 || err != nil {
		t.Errorf("the first, who has gone: %v %v", got, err)
	}
	set = verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL})
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			ctx := context.Background()
			if i%2 == 0 {
				ctx = gone
			}
			if got, err := set.Keys(ctx, keys.Keys()[0].ID); len(got) != 1 || err != nil {
				t.Errorf("%v %v", got, err)
			}
		})
	}
	group.Wait()
	if n := s.fetches.Load(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

// An issuer that hangs is waited for once, not by each of those who queue.
func TestRemoteHangsOnce(t *testing.T) {
	s, release := serveJWKS(t, nil), make(chan struct{})
	s.set(func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	set := verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL, Client: &http.Client{Timeout: 1100 * time.Millisecond}})
	began := time.Now()
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			if got, err := set.Keys(context.Background(), "x"); err == nil || got != nil {
				t.Errorf("%v %v", got, err)
			}
		})
	}
	if group.Wait(); time.Since(began) > 4*time.Second {
		t.Errorf("it took %v", time.Since(began))
	}
}

// The whole way: a reader that knows the issuer by URL alone.
func TestRemoteVerifier(t *testing.T) {
	keys := keyRing(t, 1)
	s, c := serveJWKS(t, keys.JWKS()), &clock{at: now}
	v, err := verify.New(verify.Config{Issuer: issuer, Keys: verify.NewRemoteKeySet(verify.RemoteConfig{URL: s.URL, Now: c.Now}), Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	token, err := keys.Keys()[0].MintAccess(claims())
	if err != nil {
		t.Fatal(err)
	}
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	if _, err := v.Verify(context.Background(), token.Reveal()); err == nil || !strings.Contains(err.Error(), verify.ErrUnavailable.Error()) {
		t.Errorf("with the issuer down: %v", err)
	}
	s.publish(keys.JWKS())
	c.Advance(30 * time.Second)
	if _, err := v.Verify(context.Background(), token.Reveal()); err != nil {
		t.Errorf("and up again: %v", err)
	}
}
