package broker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/web"
)

// An hour in which keys are replaced every minute: what takes 20 minutes takes 30 s,
// and readers keep the set for half of that.
const (
	hourStep      = 10 * time.Second
	hourPublished = 30 * time.Second
	hourAge       = 15 * time.Second
	hourAccess    = 5 * time.Minute
)

// served is a replica as it runs: connections of its own to PostgreSQL, which wakes
// it, a loop that looks by itself as well, and its key set at an address.
type served struct {
	*harness.Rig
	skew  time.Duration
	url   string
	looks chan chan error
}

func serve(t *testing.T, database string, clock *harness.Clock, skew time.Duration) *served {
	t.Helper()
	s := &served{skew: skew, looks: make(chan chan error)}
	s.Rig = harness.New(t, database, func(c *broker.Config) {
		c.GenerateKey, c.Now = manyKeys, func() time.Time { return clock.Now().Add(skew) }
		c.KeyRotation, c.KeyPublished, c.Lifetimes.Access = time.Minute, hourPublished, hourAccess
	})
	handler, err := web.New(web.Config{Broker: s.Broker, LocalLogin: true})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s.url = server.URL
	ctx, stop := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	woken := make(chan struct{}, 1)
	loops.Go(func() { s.Store.Listen(ctx, woken) })
	loops.Go(func() { s.keepUp(ctx, woken) })
	t.Cleanup(func() {
		stop()
		loops.Wait()
	})
	return s
}

func (s *served) keepUp(ctx context.Context, woken <-chan struct{}) {
	for {
		done := make(chan error, 1)
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case done = <-s.looks:
		}
		done <- lives(ctx, s.Rig)
	}
}

// look lets the loop go round once, and returns where it says how that went.
func (s *served) look() <-chan error {
	done := make(chan error, 1)
	s.looks <- done
	return done
}

// takes reports whether a token is good at a replica, by its own clock.
func (s *served) takes(ctx context.Context, token string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/api/me", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status + " " + res.Header.Get("WWW-Authenticate"))
	}
	return nil
}

// reader is an API server that reads the key set of one replica, keeps it for its
// age, and asks for no unknown key in between.
type reader interface {
	check(ctx context.Context, token string) error
}

func (s *strict) check(ctx context.Context, token string) error {
	_, err := s.Verify(ctx, token)
	due := func() bool { return s.clock.Now().UnixMilli()-s.fetched.Load() >= s.age.Milliseconds() }
	for deadline := time.Now().Add(10 * time.Second); due() && time.Now().Before(deadline); {
		time.Sleep(100 * time.Microsecond) // it fetches behind our back
	}
	return err
}

// foreign is go-oidc behind a cache that gives it what it keeps until that is old.
type foreign struct {
	url      string
	clock    *harness.Clock
	kept     []byte
	fetched  time.Time
	verifier *gooidc.IDTokenVerifier
}

func (f *foreign) check(ctx context.Context, token string) error {
	if f.clock.Now().Sub(f.fetched) >= hourAge {
		if err := f.fetch(); err != nil {
			return err
		}
	}
	_, err := f.verifier.Verify(ctx, token)
	return err
}

func (f *foreign) fetch() error {
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Get(f.url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if f.kept, err = io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
		return errors.Join(err, errors.New(res.Status))
	}
	f.fetched = f.clock.Now()
	// A new one: go-oidc goes on with keys that are no longer in the set.
	keys := gooidc.NewRemoteKeySet(gooidc.ClientContext(context.Background(), &http.Client{Transport: f}), f.url)
	const issuer = "http://localhost:8080"
	f.verifier = gooidc.NewVerifier(issuer, keys, &gooidc.Config{ClientID: issuer, SupportedSigningAlgs: []string{"ES256"}, Now: f.clock.Now})
	return nil
}

// RoundTrip implements http.RoundTripper.
func (f *foreign) RoundTrip(r *http.Request) (*http.Response, error) {
	header := http.Header{"Content-Type": {"application/json"}}
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(bytes.NewReader(f.kept)), Request: r}, nil
}

// minted is an access token that is under way.
type minted struct {
	text string
	ends time.Time
	skew time.Duration // of the clock that it was made by
}

// hour is a test of an hour.
type hour struct {
	*testing.T
	clock    *harness.Clock
	replicas []*served
	readers  []reader
	parted   *served // it does not reach the database; nil: all do
	refresh  string
	underWay []minted
	signers  map[string]bool
}

// TestRotationFailsNobody (R26, R24): a rotation every minute for an hour, three
// replicas on one PostgreSQL whose clocks are right, fast and slow by 50 s, five
// strict readers, of which two are go-oidc. Twice one replica is parted from the
// database: what it has not loaded signs nowhere, and its readers notice nothing.
func TestRotationFailsNobody(t *testing.T) {
	database, clock := pgtest.Shared(t).NewDatabase(t), harness.NewClock()
	wire, through := harness.WireTo(t, database)
	h := &hour{T: t, clock: clock, signers: map[string]bool{}}
	h.replicas = []*served{serve(t, through, clock, 0), serve(t, database, clock, 50*time.Second), serve(t, database, clock, -50*time.Second)}
	for i := range 5 {
		from := h.replicas[i%len(h.replicas)].url + "/.well-known/jwks.json"
		if i < 3 {
			h.readers = append(h.readers, newStrict(t, from, clock, hourAge))
		} else {
			h.readers = append(h.readers, &foreign{url: from, clock: clock})
		}
	}
	h.replicas[0].User(t, "ada", broker.RoleUser)
	h.refresh = h.replicas[0].Login(t, "ada").RefreshToken.Reveal()
	for n := range int(time.Hour / hourStep) {
		// So long that a key's turn comes, and shorter than the replica is waited for,
		// by the clock that is ahead of its own. It ends when its readers ask again, as
		// they do at every second step: with what they had they could not know a key
		// that signs from then on.
		switch n % 180 {
		case 90:
			h.parted = h.replicas[0]
			wire.Cut(true)
		case 100:
			if h.replicas[1].Broker.KeyChangeOverdue() == 0 {
				t.Error("no key waits for the replica that is parted")
			}
			h.parted = nil
			wire.Cut(false)
		}
		clock.Advance(hourStep)
		h.step(n)
	}
	if len(h.signers) < 40 {
		t.Errorf("%d keys signed in an hour", len(h.signers))
	}
	// 65 minutes: as long as the list of ended sessions is believed, and then some.
	if n := len(h.replicas[0].Broker.KeyRing().Keys()); n > 3*80 {
		t.Errorf("%d keys are in the set: they are not taken out", n)
	}
	t.Logf("%d keys of access tokens", len(h.signers))
}

// step lets the replicas live, one of them mint a token meanwhile, and all readers
// read that and others that are under way.
func (h *hour) step(n int) {
	h.Helper()
	var looked []<-chan error
	for _, r := range h.replicas {
		looked = append(looked, r.look())
	}
	kid := h.mint(n)
	for i, done := range looked {
		if err := <-done; err != nil && h.replicas[i] != h.parted {
			h.Fatalf("step %d: replica %d: %v", n, i, err)
		}
	}
	newest := h.underWay[len(h.underWay)-1]
	for i, r := range h.replicas { // each takes each other's tokens at once
		if len(r.Broker.KeyRing().VerificationKeys(kid)) == 0 {
			h.Fatalf("step %d: replica %d does not know a key that another signs with", n, i)
		}
		ahead := newest.skew - r.skew
		if r == h.parted || ahead.Abs() >= time.Minute {
			continue // it has no database, or the clocks differ by more than is forgiven
		}
		if err := r.takes(h.Context(), newest.text); err != nil {
			h.Fatalf("step %d: replica %d of a token by a clock that is %v ahead: %v", n, i, ahead, err)
		}
	}
	for i, r := range h.readers {
		if n < i%len(h.replicas) {
			continue // so that not all ask at the same steps
		}
		for _, m := range []minted{newest, h.underWay[0], h.underWay[(n*7+i)%len(h.underWay)]} {
			if err := r.check(h.Context(), m.text); err != nil {
				h.Fatalf("step %d: reader %d of a token that ends in %v: %v", n, i, m.ends.Sub(h.clock.Now()), err)
			}
		}
	}
}

func (h *hour) mint(n int) (kid string) {
	h.Helper()
	at := h.replicas[n%len(h.replicas)]
	if at == h.parted {
		at = h.replicas[1]
	}
	login, err := at.Broker.Refresh(h.Context(), h.refresh, broker.AppClientID, broker.Device{})
	if err != nil {
		h.Fatalf("step %d: %v", n, err)
	}
	h.refresh = login.RefreshToken.Reveal()
	fresh := minted{login.AccessToken.Reveal(), h.clock.Now().Add(at.skew + hourAccess), at.skew}
	over := func(m minted) bool { return !m.ends.After(h.clock.Now()) }
	h.underWay = append(slices.DeleteFunc(h.underWay, over), fresh)
	kid = kidOf(h.T, fresh.text)
	h.signers[kid] = true
	return kid
}
