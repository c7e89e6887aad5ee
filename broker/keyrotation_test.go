package broker_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
	"github.com/latchkey-id/latchkey/tokens/verify"
	"github.com/latchkey-id/latchkey/web/metrics"
)

// manyKeys makes real keys; RSA keys are short ones, because there are many.
func manyKeys(algorithm string, random io.Reader) (*tokens.SigningKey, error) {
	if algorithm != "RS256" {
		return tokens.GenerateSigningKey(algorithm, random)
	}
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		return nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return tokens.ParseSigningKey(algorithm, raw)
}

// replicas are brokers on one SQLite file, each with a store of its own, and with
// clocks that differ.
func replicas(t *testing.T, change func(*broker.Config), skews ...time.Duration) (clock *harness.Clock, out []*harness.Rig) {
	t.Helper()
	url := "sqlite:" + filepath.Join(t.TempDir(), "latchkey.db")
	clock = harness.NewClock()
	for _, skew := range skews {
		out = append(out, harness.New(t, url, func(c *broker.Config) {
			c.GenerateKey = manyKeys
			c.Now = func() time.Time { return clock.Now().Add(skew) }
			if change != nil {
				change(c)
			}
		}))
	}
	return clock, out
}

// live is what a server does every second.
func live(t *testing.T, r *harness.Rig) {
	t.Helper()
	if err := lives(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func lives(ctx context.Context, r *harness.Rig) error {
	return errors.Join(r.Broker.CatchUp(ctx), r.Broker.Attend(ctx))
}

// keySet publishes the keys of brokers, each time of the next one, as behind a
// proxy.
func keySet(t *testing.T, rigs []*harness.Rig) string {
	t.Helper()
	var turn atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(rigs[int(turn.Add(1))%len(rigs)].Broker.PublicKeys(r.Context()))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// strict is a reader that keeps the key set for its age and asks for no unknown
// key in between.
type strict struct {
	*verify.Verifier
	clock   *harness.Clock
	age     time.Duration
	fetched atomic.Int64 // Unix ms of the clock
}

func newStrict(t *testing.T, url string, clock *harness.Clock, age time.Duration) *strict {
	t.Helper()
	s := &strict{clock: clock, age: age}
	keys := verify.NewRemoteKeySet(verify.RemoteConfig{
		URL: url, Now: clock.Now, MaxAge: age, MinInterval: age, Client: &http.Client{Timeout: 10 * time.Second},
		Fetched: func([]byte) { s.fetched.Store(clock.Now().UnixMilli()) },
	})
	var err error
	if s.Verifier, err = verify.New(verify.Config{Issuer: "http://localhost:8080", Keys: keys, Now: clock.Now}); err != nil {
		t.Fatal(err)
	}
	return s
}

func kidOf(t *testing.T, token string) string {
	t.Helper()
	var head struct {
		KeyID string `json:"kid"`
	}
	part, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err = errors.Join(err, json.Unmarshal(raw, &head)); err != nil {
		t.Fatal(err)
	}
	return head.KeyID
}

func states(r *harness.Rig) string {
	var out []string
	for _, k := range r.Broker.SigningKeys() {
		if k.Algorithm == "ES256" {
			out = append(out, string(k.State))
		}
	}
	return strings.Join(out, " ")
}

// TestLifeOfAKey: published, then signing once every replica has it, retired, out
// of the set, and good for hints until it is dropped.
func TestLifeOfAKey(t *testing.T) {
	clock, rigs := replicas(t, func(c *broker.Config) { c.KeyRotation = 90 * 24 * time.Hour }, 0, 0)
	a, b := rigs[0], rigs[1]
	first := a.Broker.Signer().ID
	live(t, a)
	live(t, b)
	want := func(when, state string) {
		t.Helper()
		if got := states(a); got != state {
			t.Errorf("%s: %s, want %s", when, got, state)
		}
	}
	clock.Advance(90*24*time.Hour - 20*time.Minute - time.Second)
	live(t, a)
	want("early", "active")
	clock.Advance(time.Second)
	live(t, b) // which has said nothing for 90 days, and does now
	live(t, a)
	live(t, b)
	want("20 minutes before", "active published")
	clock.Advance(20*time.Minute - time.Second)
	live(t, a)
	live(t, b)
	want("a second before", "active published")
	clock.Advance(time.Second)
	live(t, a)
	want("then", "retired active")
	if a.Broker.Signer().ID == first {
		t.Error("the old key signs on")
	}
	live(t, b)
	if b.Broker.Signer().ID != a.Broker.Signer().ID {
		t.Error("the replicas sign with different keys")
	}
	clock.Advance(time.Hour + 3*time.Minute - time.Millisecond)
	live(t, a)
	want("its last token may live", "retired active")
	clock.Advance(time.Millisecond)
	live(t, a)
	want("its last token has expired", "active")
	hints := func() (n int) {
		for _, k := range a.Broker.KeyRing().HintKeys() {
			if k.Algorithm == "ES256" {
				n++
			}
		}
		return n
	}
	if hints() != 1 {
		t.Errorf("%d keys for hints", hints())
	}
	clock.Advance(401 * 24 * time.Hour)
	live(t, b)
	live(t, a)
	if hints() != 0 {
		t.Errorf("%d keys for hints after 401 days", hints())
	}
}

// TestKeyWaitsForEveryReplica: one that cannot load holds a rotation up for as
// long as it is believed to live.
func TestKeyWaitsForEveryReplica(t *testing.T) {
	clock, rigs := replicas(t, nil, 0, 0)
	a, b := rigs[0], rigs[1]
	live(t, a)
	live(t, b)
	clock.Advance(time.Second)
	waiting, err := a.Broker.RotateKeys(t.Context())
	if err != nil || len(waiting) != 3 || !waiting[0].ActiveAt.IsZero() || !waiting[0].NotBefore.Equal(clock.Now().Add(20*time.Minute)) {
		t.Fatalf("%+v %v", waiting, err)
	}
	if again, err := b.Broker.RotateKeys(t.Context()); err != nil || fmt.Sprint(again) != fmt.Sprint(waiting) {
		t.Errorf("a second rotation: %v %v", again, err)
	}
	clock.Advance(20 * time.Minute)
	stale := broker.Replica{ID: "stuck", SeenAt: clock.Now()}
	if err := a.Store.NoteReplica(t.Context(), stale); err != nil {
		t.Fatal(err)
	}
	live(t, a)
	if got := states(a); got != "active published" {
		t.Errorf("while one has not loaded it: %s", got)
	}
	clock.Advance(3 * time.Minute)
	live(t, a)
	if got := states(a); got != "retired active" {
		t.Errorf("when that one is dead: %s", got)
	}
}

// overdue is what Prometheus reads at a replica.
func overdue(t *testing.T, r *harness.Rig) time.Duration {
	t.Helper()
	m := metrics.New(metrics.Sources{
		Broker: func() metrics.Broker { return r.Broker }, Pools: func() []metrics.Pool { return nil },
		Hashing: func() *metrics.Hashing { return nil }, Expires: func() time.Time { return time.Time{} },
	})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	_, rest, found := strings.Cut(w.Body.String(), "\nlatchkey_signing_key_change_overdue_seconds ")
	text, _, _ := strings.Cut(rest, "\n")
	seconds, err := strconv.ParseFloat(text, 64)
	if !found || err != nil {
		t.Fatalf("no such metric: %v\n%s", err, w.Body)
	}
	return time.Duration(seconds * float64(time.Second))
}

// A replica that lives and loads nothing holds a change of keys up, and the metric
// says for how long, at the others and at itself.
func TestHeldUpKeyChangeIsTold(t *testing.T) {
	const period = 90 * 24 * time.Hour
	clock, rigs := replicas(t, func(c *broker.Config) { c.KeyRotation = period }, 0, 0)
	a, stuck := rigs[0], rigs[1]
	attend := func(passed time.Duration) {
		t.Helper()
		clock.Advance(passed)
		if err := stuck.Store.NoteReplica(t.Context(), broker.Replica{ID: "stuck", SeenAt: clock.Now()}); err != nil {
			t.Fatal(err)
		}
		live(t, a)
	}
	want := func(here, there time.Duration) {
		t.Helper()
		if got, other := overdue(t, a), overdue(t, stuck); got != here || other != there {
			t.Errorf("after %v: %v overdue, and %v at the stuck one; want %v and %v", clock.Now(), got, other, here, there)
		}
	}
	want(0, 0)
	attend(period - 20*time.Minute) // the next key is published
	want(0, 0)
	attend(20 * time.Minute)
	want(0, 0)
	attend(2 * time.Hour)
	want(2*time.Hour, 2*time.Hour)
	if got := states(a); got != "active published" {
		t.Errorf("it is not held up: %s", got)
	}
	clock.Advance(3 * time.Minute) // the stuck one has ended
	live(t, a)
	want(0, 2*time.Hour+3*time.Minute)
	live(t, stuck)
	want(0, 0)
}

// Keys that nobody changes are overdue from the end of their time on; where they are
// never changed, one that was asked for is.
func TestKeyPastItsTimeIsTold(t *testing.T) {
	clock, rigs := replicas(t, func(c *broker.Config) { c.KeyRotation = 24 * time.Hour }, 0)
	clock.Advance(25 * time.Hour)
	if got := overdue(t, rigs[0]); got != time.Hour {
		t.Errorf("%v overdue, want an hour", got)
	}
	clock, rigs = replicas(t, func(c *broker.Config) { c.KeyRotation = 0 }, 0)
	clock.Advance(1000 * 24 * time.Hour)
	if got := overdue(t, rigs[0]); got != 0 {
		t.Errorf("%v overdue, and keys are never changed", got)
	}
	if _, err := rigs[0].Broker.RotateKeys(broker.WithActor(t.Context(), broker.Actor{ID: broker.ActorCommand})); err != nil {
		t.Fatal(err)
	}
	clock.Advance(80 * time.Minute)
	if got := overdue(t, rigs[0]); got != time.Hour {
		t.Errorf("%v overdue since a change was asked for, want an hour", got)
	}
}

// TestStolenSigningKeyRevoked (R27): its tokens die, another signs at once, and
// every refresh goes on, at each replica at once.
func TestStolenSigningKeyRevoked(t *testing.T) {
	clock, rigs := replicas(t, nil, 0, 50*time.Second, 0)
	a, b, c := rigs[0], rigs[1], rigs[2]
	a.User(t, "ada", broker.RoleUser)
	login := a.Login(t, "ada")
	stolen := kidOf(t, login.AccessToken.Reveal())
	list, err := a.Broker.Revocations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reader := newStrict(t, keySet(t, rigs), clock, 10*time.Minute)
	if _, err := reader.Verify(t.Context(), login.AccessToken.Reveal()); err != nil {
		t.Fatal(err)
	}
	signs, err := b.Broker.RevokeKey(broker.WithActor(t.Context(), broker.Actor{ID: broker.ActorCommand}), stolen)
	if err != nil || signs == "" || signs == stolen {
		t.Fatalf("%q %v", signs, err)
	}
	for _, r := range []*harness.Rig{b, a, c} {
		if r != b {
			live(t, r)
		}
		if len(r.Broker.KeyRing().VerificationKeys(stolen)) > 0 || strings.Contains(string(r.Broker.PublicKeys(t.Context())), stolen) {
			t.Error("a replica still knows the key")
		}
		again, err := r.Broker.Refresh(t.Context(), login.RefreshToken.Reveal(), broker.AppClientID, broker.Device{})
		if err != nil {
			t.Fatalf("a refresh: %v", err)
		}
		if kid := kidOf(t, again.AccessToken.Reveal()); kid != signs {
			t.Errorf("%s signs, want %s", kid, signs)
		}
	}
	if now, err := a.Broker.Revocations(t.Context()); err != nil || now.Tag == list.Tag || kidOf(t, string(now.Text)) != signs {
		t.Errorf("the list of ended sessions is signed by the stolen key: %v", err)
	}
	clock.Advance(10 * time.Minute)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := reader.Verify(t.Context(), login.AccessToken.Reveal())
		if errors.Is(err, verify.ErrUnknownKey) {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("a reader whose key set is old takes it: %v", err)
		}
	}
	events, err := a.Store.ListEvents(t.Context(), broker.EventFilter{Name: broker.EventKeyRevoked, Limit: 10})
	if err != nil || len(events) != 1 || events[0].Detail["kid"] != stolen || events[0].Actor != broker.ActorCommand {
		t.Errorf("%+v %v", events, err)
	}
	if _, err := a.Broker.RevokeKey(t.Context(), stolen); broker.CodeOf(err) != broker.NotFound {
		t.Errorf("once more: %v", err)
	}
}

// R25: a clock before the first signing key leaves keys that sign: those that are published
// for longest. None is made that would be new to everybody, and none signs that was
// revoked.
func TestClockBeforeTheFirstKey(t *testing.T) {
	clock, rigs := replicas(t, nil, 0, -31*24*time.Hour)
	right, behind := rigs[0], rigs[1]
	right.User(t, "alice", broker.RoleUser)
	right.Broker.PublicKeys(t.Context())
	known := len(right.Broker.SigningKeys())
	slow := harness.NewClock()
	slow.Set(-31 * 24 * time.Hour)
	signs := func(kid string) {
		t.Helper()
		live(t, behind)
		set := keySet(t, rigs[1:])
		if _, err := newStrict(t, set, slow, time.Minute).Verify(t.Context(), behind.Login(t, "alice").AccessToken.Reveal()); err != nil {
			t.Errorf("a reader of the key set: %v", err)
		}
		keys := behind.Broker.SigningKeys()
		i := slices.IndexFunc(keys, func(k broker.KeyState) bool { return k.Signs })
		if len(keys) != known || i < 0 || keys[i].ID != kid || keys[i].State != broker.KeyActive {
			t.Errorf("%d keys, of which there were %d; want %s to sign: %+v", len(keys), known, kid, keys)
		}
		if _, err := behind.Broker.Revocations(t.Context()); err != nil {
			t.Errorf("the list of ended sessions: %v", err)
		}
	}
	first := right.Broker.Signer().ID
	signs(first)
	clock.Advance(time.Hour)
	slow.Advance(time.Hour)
	instead, err := right.Broker.RevokeKey(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	signs(instead)
}

// TestChangesReachOtherProcesses: providers, keys and lives of tokens that another
// process changed, by one small statement.
func TestChangesReachOtherProcesses(t *testing.T) {
	_, rigs := replicas(t, func(c *broker.Config) {
		c.NewIdP = func(s broker.ProviderSettings, _ string, _ bool) broker.IdP {
			return &namedIdP{issuer: s.Issuer}
		}
	}, 0, 0)
	a, b := rigs[0], rigs[1]
	before := b.Statements.Load()
	if err := b.Broker.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := b.Statements.Load() - before; n != 1 {
		t.Errorf("%d statements to see that nothing changed", n)
	}
	_, err := a.Broker.CreateProvider(t.Context(), broker.ProviderSettings{ID: "work", Name: "Work", Issuer: "https://idp.test", ClientID: "c"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.Broker.Providers()); n != 0 {
		t.Fatalf("%d providers", n)
	}
	if err := b.Broker.CatchUp(t.Context()); err != nil || len(b.Broker.Providers()) != 1 {
		t.Errorf("%d providers, %v", len(b.Broker.Providers()), err)
	}
}

// TestSecretIsChangedReplicaByReplica (R28): the order of docs/replicas.md.
func TestSecretIsChangedReplicaByReplica(t *testing.T) { onBoth(t, changesSecret) }

func changesSecret(t *testing.T, database string) {
	url := cmp.Or(database, "sqlite:"+filepath.Join(t.TempDir(), "latchkey.db")) // which several open
	const next = "the next root secret of a test, long"
	with := func(raw ...string) *harness.Rig {
		return harness.New(t, url, func(c *broker.Config) { c.Secrets = harness.Secrets(t, raw...) })
	}
	refresh := func(r *harness.Rig, token tokens.RefreshToken) tokens.RefreshToken {
		t.Helper()
		if err := r.Broker.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		login, err := r.Broker.Refresh(t.Context(), token.Reveal(), broker.AppClientID, broker.Device{})
		if err != nil {
			t.Fatal(err)
		}
		return login.RefreshToken
	}
	old := with(harness.Secret)
	old.User(t, "ada", broker.RoleUser)
	token := old.Login(t, "ada").RefreshToken
	// First every replica learns to read the new one.
	b := with(harness.Secret, next)
	token = refresh(old, refresh(b, token))
	sealedUnder := func() string {
		keys, err := old.Store.SigningKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		id, _, _ := strings.Cut(keys[0].Sealed, ".")
		return id
	}
	// Then one after the other begins to use it.
	a := with(next, harness.Secret)
	for range 3 {
		token = refresh(b, refresh(a, token))
	}
	if id := harness.Secrets(t, next)[0].ID(); a.Broker.Ready() != nil || b.Broker.Ready() != nil || sealedUnder() != id {
		t.Errorf("%v, %v; the keys are sealed under %s, want %s", a.Broker.Ready(), b.Broker.Ready(), sealedUnder(), id)
	}
	// One that has only the old secret can say nothing of a token, and serves nobody.
	_, err := old.Broker.Refresh(t.Context(), refresh(a, token).Reveal(), broker.AppClientID, broker.Device{})
	if broker.CodeOf(err) != broker.TemporarilyUnavailable || old.Broker.Ready() == nil {
		t.Errorf("the old one says %v", err)
	}
}
