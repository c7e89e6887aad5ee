package verify_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
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

// lister is an issuer that publishes the sessions that ended.
type lister struct {
	*jwksServer
	t     *testing.T
	key   *tokens.SigningKey
	keys  *ring
	clock *clock
	etags atomic.Int32 // requests that were answered with 304
}

func newLister(t *testing.T, sids ...string) *lister {
	t.Helper()
	key, err := tokens.GenerateSigningKey("ES256", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokens.NewKeyRing([]*tokens.SigningKey{key})
	if err != nil {
		t.Fatal(err)
	}
	l := &lister{jwksServer: serveJWKS(t, nil), t: t, key: key, keys: &ring{KeyRing: keys}, clock: &clock{at: now}}
	l.end(sids...)
	return l
}

func (l *lister) list(key *tokens.SigningKey, issuer string, life time.Duration, sids ...string) []byte {
	l.t.Helper()
	at := l.clock.Now()
	raw, err := key.MintRevocations(tokens.RevocationClaims{Issuer: issuer, IssuedAt: at.Unix(), ExpiresAt: at.Add(life).Unix(), Sessions: sids})
	if err != nil {
		l.t.Fatal(err)
	}
	return []byte(raw)
}

// end publishes a list, under an ETag of its sessions.
func (l *lister) end(sids ...string) {
	l.t.Helper()
	body, etag := l.list(l.key, issuer, time.Hour, sids...), fmt.Sprintf("%q", sids)
	l.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			l.etags.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(body)
	})
}

func (l *lister) reader(change func(*verify.RevocationsConfig)) *verify.RemoteRevocations {
	cfg := verify.RevocationsConfig{URL: l.URL, Issuer: issuer, Keys: l.keys, Now: l.clock.Now, Interval: 5 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	l.t.Cleanup(func() { l.clock.Advance(time.Hour) }) // nobody asks any more
	return verify.NewRemoteRevocations(cfg)
}

func wantRevoked(t *testing.T, r verify.Revocations, sid string, want bool) {
	t.Helper()
	if got, err := r.Revoked(context.Background(), sid); err != nil || got != want {
		t.Errorf("%s: %v %v, want %v", sid, got, err, want)
	}
}

// eventually waits for what happens in the background.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in five seconds", what)
		}
	}
}

// more waits for two fetches that began after now, so that one whole is over.
func (l *lister) more(t *testing.T) {
	t.Helper()
	n := l.fetches.Load()
	eventually(t, "fetches", func() bool { return l.fetches.Load() >= n+2 })
}

func TestRevocationsAreFollowed(t *testing.T) {
	l := newLister(t, "ended")
	r := l.reader(nil)
	if l.fetches.Load() != 0 {
		t.Error("it fetches before it is asked")
	}
	wantRevoked(t, r, "ended", true)
	wantRevoked(t, r, "alive", false)
	l.end("ended", "alive")
	eventually(t, "the new list", func() bool { is, err := r.Revoked(t.Context(), "alive"); return is && err == nil })
	wantRevoked(t, r, "ended", true)
	// What has not changed is not sent again.
	eventually(t, "304", func() bool { return l.etags.Load() > 2 })
	wantRevoked(t, r, "alive", true)
}

// Nobody vouches for an expired list by saying that it has not changed.
func TestRevocationsExpiredListIsAskedForAnew(t *testing.T) {
	l := newLister(t, "ended")
	r := l.reader(nil)
	wantRevoked(t, r, "ended", true)
	eventually(t, "304", func() bool { return l.etags.Load() > 0 })
	var whole atomic.Int32
	l.set(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == "" {
			whole.Add(1)
		}
		w.WriteHeader(http.StatusNotModified)
	})
	l.more(t)
	if whole.Load() != 0 {
		t.Error("a current list is asked for as a whole")
	}
	wantRevoked(t, r, "alive", false) // somebody still asks
	l.clock.Advance(time.Hour)
	wantRevoked(t, r, "ended", true)
	eventually(t, "a whole list", func() bool { return whole.Load() > 0 })
	l.end("ended", "alive")
	eventually(t, "the next list", func() bool { is, err := r.Revoked(t.Context(), "alive"); return is && err == nil })
}

// An issuer that says "not modified" to one who has nothing says nothing.
func TestRevocationsNotModifiedOutOfNothing(t *testing.T) {
	l := newLister(t)
	l.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	if is, err := l.reader(nil).Revoked(t.Context(), "x"); err == nil || is {
		t.Errorf("%v %v", is, err)
	}
}

// A check never waits for the network, whatever the issuer does.
func TestRevocationsDoNotWait(t *testing.T) {
	l := newLister(t, "ended")
	r := l.reader(nil)
	wantRevoked(t, r, "ended", true)
	stuck, enter := make(chan struct{}), make(chan struct{}, 100)
	defer close(stuck)
	l.set(func(http.ResponseWriter, *http.Request) { enter <- struct{}{}; <-stuck })
	<-enter
	began := time.Now()
	for range 1000 {
		wantRevoked(t, r, "ended", true)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("a thousand checks took %v", took)
	}
}

// Whatever comes instead of a good list, the last good one counts.
func TestRevocationsKeepTheLastList(t *testing.T) {
	l := newLister(t, "ended")
	stranger, err := tokens.GenerateSigningKey("ES256", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := tokens.NewSharedKey([]byte(sharedText))
	if err != nil {
		t.Fatal(err)
	}
	access, err := shared.MintAccess(claims())
	if err != nil {
		t.Fatal(err)
	}
	write := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }
	}
	unsigned := func(body []byte) []byte { return body[:bytes.LastIndexByte(body, '.')+1] }
	r := l.reader(nil)
	wantRevoked(t, r, "ended", true)
	for name, h := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"404 with a list": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			_, _ = w.Write(l.list(l.key, issuer, time.Hour))
		},
		"HTML":              write([]byte("<html>")),
		"nothing":           write(nil),
		"a stranger's":      write(l.list(stranger, issuer, time.Hour)),
		"another issuer's":  write(l.list(l.key, "https://evil.example", time.Hour)),
		"an expired one":    write(l.list(l.key, issuer, -2*time.Minute)),
		"an unsigned one":   write(unsigned(l.list(l.key, issuer, time.Hour))),
		"an access token":   write([]byte(access.Reveal())),
		"more than we read": write(bytes.Repeat([]byte("x"), tokens.MaxRevocationBytes+1)),
		"a redirect":        func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write([]byte("x"))
		},
	} {
		l.set(h)
		l.more(t)
		if is, err := r.Revoked(t.Context(), "ended"); !is || err != nil {
			t.Errorf("%s: %v %v", name, is, err)
		}
	}
	// A list of yesterday, played back, does not take today's place.
	old := l.list(l.key, issuer, time.Hour)
	l.clock.Advance(time.Second)
	l.end("ended", "ended too")
	eventually(t, "the new list", func() bool { is, _ := r.Revoked(t.Context(), "ended too"); return is })
	l.set(write(old))
	l.more(t)
	wantRevoked(t, r, "ended too", true)
	// Nor does an outage end it, but for those who want that.
	l.Close()
	l.clock.Advance(9 * time.Minute)
	wantRevoked(t, r, "ended", true)
	wantRevoked(t, r, "alive", false)
}

// MaxStale is for those who would rather let nobody in.
func TestRevocationsMaxStale(t *testing.T) {
	l := newLister(t, "ended")
	r := l.reader(func(c *verify.RevocationsConfig) { c.MaxStale = time.Minute })
	wantRevoked(t, r, "ended", true)
	l.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	l.more(t)
	l.clock.Advance(time.Minute)
	wantRevoked(t, r, "alive", false)
	l.clock.Advance(time.Second)
	for _, sid := range []string{"ended", "alive"} {
		if is, err := r.Revoked(t.Context(), sid); err == nil || is {
			t.Errorf("%s: %v %v", sid, is, err)
		}
	}
	l.end("ended")
	eventually(t, "the issuer back", func() bool { is, err := r.Revoked(t.Context(), "ended"); return is && err == nil })
}

// Without a first list nobody can say, and the issuer is not stormed.
func TestRevocationsWithoutAFirstList(t *testing.T) {
	l := newLister(t, "ended")
	l.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	r := l.reader(nil)
	for range 100 {
		if _, err := r.Revoked(t.Context(), "x"); err == nil {
			t.Fatal("an answer out of nothing")
		}
	}
	if n := l.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	l.end("ended")
	l.clock.Advance(time.Second)
	wantRevoked(t, r, "ended", true)

	l.keys.err = errors.New("no keys")
	if _, err := l.reader(nil).Revoked(t.Context(), "x"); !errors.Is(err, tokens.ErrKeys) {
		t.Errorf("without keys: %v", err)
	}
}

// Many at once make one fetch, and nobody waits longer than they want to.
func TestRevocationsFirstFetchIsShared(t *testing.T) {
	l := newLister(t, "ended")
	body := l.list(l.key, issuer, time.Hour, "ended")
	release := make(chan struct{})
	var fetches atomic.Int32
	l.set(func(w http.ResponseWriter, _ *http.Request) { fetches.Add(1); <-release; _, _ = w.Write(body) })
	r := l.reader(func(c *verify.RevocationsConfig) { c.Interval = time.Hour })
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { wantRevoked(t, r, "ended", true) })
	}
	eventually(t, "the first", func() bool { return fetches.Load() == 1 })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Revoked(gone, "ended"); !errors.Is(err, context.Canceled) {
		t.Errorf("who has gone: %v", err)
	}
	close(release)
	if group.Wait(); fetches.Load() != 1 {
		t.Errorf("%d fetches", fetches.Load())
	}
}

// When nobody asks, nothing is fetched; who then asks gets today's answer.
func TestRevocationsSleep(t *testing.T) {
	l := newLister(t, "ended")
	r := l.reader(nil)
	wantRevoked(t, r, "alive", false)
	l.clock.Advance(10 * time.Minute)
	quiet := func() bool {
		n := l.fetches.Load()
		time.Sleep(50 * time.Millisecond)
		return l.fetches.Load() == n
	}
	eventually(t, "sleep", quiet)
	l.end("alive")
	wantRevoked(t, r, "alive", true) // at once
	l.clock.Advance(10 * time.Minute)
	eventually(t, "sleep again", quiet)
	l.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	wantRevoked(t, r, "alive", true) // what was known last
	l.end()
	eventually(t, "and goes on", func() bool { is, err := r.Revoked(t.Context(), "alive"); return !is && err == nil })
}

type answer struct {
	revoked bool
	err     error
	asked   []string
}

func (a *answer) Revoked(_ context.Context, sid string) (bool, error) {
	a.asked = append(a.asked, sid)
	return a.revoked, a.err
}

// A session that has ended ends its tokens, also those that are remembered.
func TestVerifyRevoked(t *testing.T) {
	a := &answer{}
	r := newRig(t, "ES256", func(c *verify.Config) { c.Revocations = a })
	token := r.mint(claims())
	r.want("alive", token, nil)
	a.revoked = true
	r.want("ended, from the cache", token, verify.ErrRevoked)
	r.want("ended, a new token", r.mint(claims()), verify.ErrRevoked)
	if _, err := r.Inspect(t.Context(), token); !errors.Is(err, verify.ErrRevoked) {
		t.Errorf("inspected: %v", err)
	}
	h := newHolder(t, "ES256")
	bound := r.bound(h.thumbprint)
	r.wantRequest("ended, bound", request("GET", booksURL, "DPoP "+bound, h.prove("GET", booksURL, bound, nil)), booksURL, verify.ErrRevoked)
	w := httptest.NewRecorder()
	r.Middleware(http.NotFoundHandler()).ServeHTTP(w, request("GET", booksURL, "Bearer "+token))
	if w.Code != 401 || !strings.Contains(w.Header().Get("WWW-Authenticate"), verify.ErrRevoked.Error()) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	a.revoked, a.err = false, errors.New("nobody knows")
	r.want("nobody knows", token, verify.ErrUnavailable)
	if n := len(a.asked); n != 7 || a.asked[0] != "s" {
		t.Errorf("asked %v", a.asked)
	}
	// A token without a session is nobody's logout; a bad token is not asked about.
	c := claims()
	c.SessionID = ""
	r.want("no session", r.mint(c), nil)
	r.want("expired", r.expired("x"), verify.ErrExpired)
	if n := len(a.asked); n != 7 {
		t.Errorf("asked %v", a.asked)
	}
}
