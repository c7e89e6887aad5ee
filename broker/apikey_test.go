package broker_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/tokens"
)

// keyStore counts what is asked of the keys, and fails where a test says so.
type keyStore struct {
	broker.Store
	reads, touches atomic.Int64
	down, noTouch  atomic.Bool
}

func (s *keyStore) APIKeyByID(ctx context.Context, id string) (broker.OwnedAPIKey, error) {
	s.reads.Add(1)
	if s.down.Load() {
		return broker.OwnedAPIKey{}, broker.Unavailable(errors.New("the database is gone"))
	}
	return s.Store.APIKeyByID(ctx, id)
}

func (s *keyStore) TouchAPIKey(ctx context.Context, id string, now, before time.Time) error {
	s.touches.Add(1)
	if s.noTouch.Load() {
		return broker.Unavailable(errors.New("the disk is full"))
	}
	return s.Store.TouchAPIKey(ctx, id, now, before)
}

// keyWorld is a broker with root, admin, alice, bob and guest.
type keyWorld struct {
	*harness.Rig
	t     *testing.T
	store *keyStore
	users map[string]broker.User
}

const guessesAllowed = 10

func newKeyWorld(t *testing.T) *keyWorld {
	w := &keyWorld{t: t, store: &keyStore{}, users: map[string]broker.User{}}
	w.Rig = harness.New(t, "", func(c *broker.Config) {
		limiter, err := storage.NewLimiter(storage.LimiterOptions{Store: c.Store.(*storage.Store), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		w.store.Store, c.Limiter, c.Limits.Failures = c.Store, limiter, broker.Quota{Max: guessesAllowed, Window: 10 * time.Minute}
		c.Store = w.store
	})
	for name, role := range map[string]broker.Role{
		"root": broker.RoleRoot, "admin": broker.RoleAdmin, "alice": broker.RoleUser, "bob": broker.RoleUser, "guest": broker.RoleGuest,
	} {
		w.users[name] = w.User(t, name, role)
	}
	return w
}

// by is who asks; "" is the command line.
func (w *keyWorld) by(name string) *broker.User {
	if name == "" {
		return nil
	}
	u := w.users[name]
	return &u
}

func (w *keyWorld) create(by, owner string, change func(*broker.NewAPIKey)) (broker.OwnedAPIKey, string, error) {
	n := broker.NewAPIKey{Name: "a script", UserID: w.users[owner].ID}
	if change != nil {
		change(&n)
	}
	var who *broker.Principal
	if u := w.by(by); u != nil {
		who = &broker.Principal{User: *u, Session: broker.Session{ID: "of a program", ClientID: broker.AppClientID, Request: broker.SessionRequest{Program: true}}}
	}
	k, text, err := w.Broker.CreateAPIKey(context.Background(), who, n, broker.Device{IP: "192.0.2.1"})
	return k, text.Reveal(), err
}

func (w *keyWorld) made(owner string, change func(*broker.NewAPIKey)) (broker.OwnedAPIKey, string) {
	w.t.Helper()
	k, text, err := w.create("", owner, change)
	if err != nil {
		w.t.Fatal(err)
	}
	return k, text
}

func (w *keyWorld) use(text, ip string) (broker.Principal, error) {
	return w.Broker.AuthenticateKey(context.Background(), text, broker.Device{IP: ip})
}

func (w *keyWorld) refused(what string, err error, want broker.Code) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// guess is well-formed and wrong: of an unknown id, or of that one with another
// secret. The source of its randomness begins with the id.
func guess(t *testing.T, id string) string {
	t.Helper()
	var random io.Reader = rand.Reader
	if id != "" {
		digits := make([]byte, len(id))
		for i := range id {
			digits[i] = byte(strings.IndexByte("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", id[i]))
		}
		random = io.MultiReader(bytes.NewReader(digits), rand.Reader)
	}
	k, _, err := tokens.NewAPIKey(random)
	if err != nil || id != "" && !strings.HasPrefix(k.Reveal(), "lk_"+id+"_") {
		t.Fatal(k.Reveal(), err)
	}
	return k.Reveal()
}

func TestKeyIsUsedInOneStatement(t *testing.T) {
	w := newKeyWorld(t)
	k, text := w.made("alice", nil)
	w.store.reads.Store(0)
	p, err := w.use(text, "192.0.2.1")
	if err != nil || p.User.Username != "alice" || p.Key.ID != k.ID || p.Session.ID != "" || w.store.reads.Load() != 1 {
		t.Fatalf("%+v, %v, %d reads", p, err, w.store.reads.Load())
	}
	if p.NeedAPI(false) != nil || !errors.Is(p.NeedSession(), broker.InsufficientScope) {
		t.Error("a key may do what the API offers, and nothing that needs a login")
	}
}

// T08, K01: what was taken away is refused at the next use, and why is said.
func TestKeyIsRefusedAtOnce(t *testing.T) {
	w := newKeyWorld(t)
	ctx, bob := context.Background(), w.users["bob"].ID
	k, text := w.made("bob", func(n *broker.NewAPIKey) { n.ExpiresIn = time.Hour })
	works := func() {
		t.Helper()
		if _, err := w.use(text, "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(want broker.Code) {
		t.Helper()
		_, err := w.use(text, "192.0.2.1")
		w.refused("used", err, want)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	change := func(disabled bool) {
		t.Helper()
		_, err := w.Broker.UpdateAPIKey(ctx, nil, k.ID, broker.APIKeyChange{Disabled: &disabled}, broker.Device{})
		must(err)
	}
	works()
	must(w.Broker.SetDisabled(ctx, bob, true))
	fails(broker.UserDisabled)
	must(w.Broker.SetDisabled(ctx, bob, false))
	works()
	change(true)
	fails(broker.InvalidToken)
	change(false)
	works()
	w.Clock.Advance(time.Hour - time.Millisecond)
	works()
	w.Clock.Advance(time.Millisecond)
	fails(broker.TokenExpired)
	_, second := w.made("bob", nil)
	must(w.Broker.DeleteUser(ctx, bob))
	_, err := w.use(second, "192.0.2.1")
	w.refused("of a deleted user", err, broker.InvalidToken)
	if n := len(must2(w.Broker.APIKeys(ctx, nil, "", "", 10))(t)); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func must2[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// Trouble of ours says nothing about a key, and is no guess.
func TestKeyWithoutDatabase(t *testing.T) {
	w := newKeyWorld(t)
	_, text := w.made("alice", nil)
	w.store.down.Store(true)
	for range 2 * guessesAllowed {
		_, err := w.use(text, "192.0.2.1")
		w.refused("without a database", err, broker.TemporarilyUnavailable)
	}
	w.store.down.Store(false)
	if _, err := w.use(text, "192.0.2.1"); err != nil {
		t.Error(err)
	}
}

// The last use is to the minute, one write a minute, and no call fails for it.
func TestLastUseOfKey(t *testing.T) {
	w := newKeyWorld(t)
	k, text := w.made("alice", nil)
	lastUsed := func() time.Time { return must2(w.Store.APIKeyByID(context.Background(), k.ID))(t).LastUsedAt }
	first := w.Broker.Now()
	for range 100 {
		must2(w.use(text, "192.0.2.1"))(t)
		w.Clock.Advance(500 * time.Millisecond)
	}
	if w.store.touches.Load() != 1 || !lastUsed().Equal(first) {
		t.Errorf("%d writes, last used %v", w.store.touches.Load(), lastUsed())
	}
	w.Clock.Advance(time.Minute)
	w.store.noTouch.Store(true)
	must2(w.use(text, "192.0.2.1"))(t)
	w.store.noTouch.Store(false)
	must2(w.use(text, "192.0.2.1"))(t)
	if !lastUsed().Equal(w.Broker.Now()) {
		t.Errorf("last used %v", lastUsed())
	}
	// A wrong secret is no use.
	w.Clock.Advance(time.Hour)
	at := lastUsed()
	_, err := w.use(guess(t, k.ID), "192.0.2.9")
	w.refused("a guess", err, broker.InvalidToken)
	if !lastUsed().Equal(at) {
		t.Error("a guess counted as a use")
	}
}

// K03: guesses from one address are bounded in what they cost and learn.
func TestKeyGuessing(t *testing.T) {
	w := newKeyWorld(t)
	k, text := w.made("alice", nil)
	_, neighbours := w.made("bob", nil)
	must2(w.use(neighbours, "198.51.100.1"))(t)
	w.store.reads.Store(0)
	answers := map[broker.Code]int{}
	for i := range 10_000 {
		id := ""
		if i%2 == 0 {
			id = k.ID
		}
		_, err := w.use(guess(t, id), "198.51.100.1")
		answers[broker.CodeOf(err)]++
	}
	if n := w.store.reads.Load(); n > guessesAllowed || answers[broker.InvalidToken] > guessesAllowed || answers[broker.RateLimited] < 10_000-guessesAllowed {
		t.Errorf("%d reads, %v", n, answers)
	}
	if n := strings.Count(w.Log.String(), "auth.apikey.failed"); n == 0 || n > guessesAllowed {
		t.Errorf("%d lines in the log", n)
	}
	if log := w.Log.String(); strings.Contains(log, "Failed login") || !strings.Contains(log, `msg="Wrong API key from 198.51.100.1"`) || !strings.Contains(log, "remote_ip=198.51.100.1") {
		t.Error(log)
	}
	// Whoever is behind the same address goes on: by a key in use, and by password.
	for range 2 * guessesAllowed {
		must2(w.use(neighbours, "198.51.100.1"))(t)
	}
	must2(w.Broker.LoginPassword(context.Background(), "alice", harness.PasswordOf("alice"), broker.Device{IP: "198.51.100.1"}))(t)
	must2(w.use(text, "198.51.100.2"))(t)
	// And after the window everything is as before.
	w.Clock.Advance(10 * time.Minute)
	must2(w.use(text, "198.51.100.1"))(t)
}

// A script that runs every hour goes on for ever behind an address from which
// another one tries a wrong key without end.
func TestKeyInUseIsNeverLockedOutByANeighbour(t *testing.T) {
	w := newKeyWorld(t)
	k, text := w.made("alice", nil)
	for hour := range 50 {
		if _, err := w.use(text, "198.51.100.1"); err != nil {
			t.Fatalf("after %d hours: %v", hour, err)
		}
		w.Clock.Advance(time.Hour)
		for range 2 * guessesAllowed {
			_, _ = w.use(guess(t, k.ID), "198.51.100.1")
		}
	}
}

// A key in use asks no limit: it costs the one statement that reads it.
func TestKeyInUseAsksNoLimit(t *testing.T) {
	w := newKeyWorld(t)
	_, text := w.made("alice", nil)
	must2(w.use(text, "198.51.100.1"))(t)
	before := w.Statements.Load()
	must2(w.use(text, "198.51.100.1"))(t)
	if n := w.Statements.Load() - before; n != 1 {
		t.Errorf("%d statements", n)
	}
}

// K03: what no key can be costs no statement and counts as no guess; nothing in
// a key is a pattern.
func TestMalformedKeysAreNotAskedAfter(t *testing.T) {
	w := newKeyWorld(t)
	k, text := w.made("alice", nil)
	w.store.reads.Store(0)
	for _, wrong := range []string{
		"", "lk_", text + "x", text[:len(text)-1], strings.ToLower(text), strings.Repeat("%", len(text)), "lk_" + strings.Repeat("%", 16) + text[19:],
		"lk_" + strings.Repeat("_", 16) + text[19:], "lk_" + k.ID + "_" + strings.Repeat("%", 49), text[:len(text)-6] + "000000", "lk_' OR '1'='1'--_" + text[20:],
		"lk_" + k.ID, strings.Repeat(text, 1000),
	} {
		for range guessesAllowed {
			_, err := w.use(wrong, "192.0.2.1")
			w.refused(wrong[:min(len(wrong), 80)], err, broker.InvalidToken)
		}
	}
	if w.store.reads.Load() != 0 || strings.Contains(w.Log.String(), "auth.apikey.failed") {
		t.Errorf("%d reads; %s", w.store.reads.Load(), w.Log)
	}
	must2(w.use(text, "192.0.2.1"))(t)
}

// P04: failed logins keep no key from working, and the other way round.
func TestFailedLoginsDoNotCountForKeys(t *testing.T) {
	w := newKeyWorld(t)
	_, text := w.made("alice", nil)
	for range 2 * guessesAllowed {
		_, _ = w.Broker.LoginPassword(context.Background(), "alice", "a wrong password", broker.Device{IP: "192.0.2.1"})
	}
	must2(w.use(text, "192.0.2.1"))(t)
}
