package web_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/web"
)

func TestCheck21StorageDown(t *testing.T) {
	cluster := pgtest.MustStart(t)
	idp := startIdP(t)
	x := newSite(t, setup{database: cluster.NewDatabase(t), idp: idp})
	alice, gone := x.login("alice"), x.login("alice")
	list := x.page("alice")
	p := newApp(x)
	callback := p.atIdP(idp, p.toIdP(), "anna")
	x.do(http.MethodPost, "/logout", refreshHeader(gone.refresh)).want(200)
	if err := cluster.StopImmediate(); err != nil {
		t.Fatal(err)
	}
	retry := func(a *answer) {
		t.Helper()
		a.refused(503, broker.TemporarilyUnavailable, web.VerdictRetry).noCookies()
		if a.Header.Get("Retry-After") == "" || a.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: headers %v", a.request, a.Header)
		}
	}
	for range 2 { // while connections die, and when there is none
		retry(x.refresh(alice.refresh))
		retry(x.refresh(gone.refresh))
		retry(x.do(http.MethodPost, "/auth/refresh", cookies(list)))
		retry(x.sendLogin("alice", harness.PasswordOf("alice")))
		retry(x.sendLogin("nobody", "wrong"))
		retry(x.me(alice.access))
		retry(x.do(http.MethodPost, "/api/authorize", bearer(alice.access)))
		retry(x.do(http.MethodGet, "/api/me/sessions", bearer(alice.access)))
		retry(x.changePassword(alice.access, harness.PasswordOf("alice"), "a new password", refreshHeader(alice.refresh)))
		// Nobody is told that a logout worked which did not.
		retry(x.do(http.MethodPost, "/logout", refreshHeader(alice.refresh)))
		retry(x.do(http.MethodPost, "/logout", bearer(alice.access)))
		retry(x.do(http.MethodPost, "/logout", cookies(list)))
		retry(x.do(http.MethodPost, "/logout", cookies([]*http.Cookie{named(list, "__Host-latchkey_session")})))
		retry(x.do(http.MethodGet, "/", cookies(list)))
		retry(x.do(http.MethodGet, "/status"))
		retry(x.do(http.MethodGet, callback))
		retry(p.start(nil))
		retry(p.redeem("some code"))
		x.do(http.MethodGet, "/readyz").want(503)
	}
	// What is proven bad without the database may be said.
	x.refresh("garbage").refused(401, broker.InvalidToken, web.VerdictLogin)
	x.do(http.MethodGet, "/healthz").want(200)
	x.do(http.MethodGet, "/ping").want(200)
	x.do(http.MethodGet, "/.well-known/jwks.json").want(200)

	if err := cluster.StartAgain(); err != nil {
		t.Fatal(err)
	}
	within(t, 20*time.Second, "the refresh works again", func() bool {
		a := x.refresh(alice.refresh)
		if a.Status != 200 && a.Status != 503 {
			t.Fatalf("status %d %s", a.Status, a.Body)
		}
		return a.Status == 200
	})
	x.refresh(gone.refresh).refused(401, broker.LoggedOut, web.VerdictLogin)
	x.me(alice.access).want(200)
	x.do(http.MethodPost, "/auth/refresh", cookies(list)).want(200)
	// The login that was under way goes on: nothing of it was used up.
	back := p.do(http.MethodGet, callback).location()
	p.redeem(back.Query().Get("code")).pair()
}

// flaky fails the next read of a session, once.
type flaky struct {
	broker.Store
	fail atomic.Bool
}

func (f *flaky) SessionByID(ctx context.Context, id string) (broker.Session, broker.User, error) {
	if f.fail.Swap(false) {
		return broker.Session{}, broker.User{}, broker.Unavailable(errors.New("a hiccup"))
	}
	return f.Store.SessionByID(ctx, id)
}

// A hiccup of the database is no reason to call a session ended that lives on.
func TestLogoutDuringAHiccup(t *testing.T) {
	store := &flaky{}
	x := newSite(t, setup{broker: func(c *broker.Config) { store.Store, c.Store = c.Store, store }})
	p, list := x.login("alice"), x.page("alice")
	for how, with := range map[string]option{
		"refresh token": refreshHeader(p.refresh), "access token": bearer(p.access), "cookies": cookies(list),
		"page cookie": cookies([]*http.Cookie{named(list, "__Host-latchkey_session")}),
	} {
		store.fail.Store(true)
		x.do(http.MethodPost, "/logout", with).refused(503, broker.TemporarilyUnavailable, web.VerdictRetry).noCookies()
		if store.fail.Load() {
			t.Errorf("%s: the session was not looked at", how)
		}
	}
	x.refresh(p.refresh).pair()
	x.do(http.MethodPost, "/auth/refresh", cookies(list)).want(200)
}

// Before the first load nothing is decided.
func TestStarting(t *testing.T) {
	x := openSite(t, setup{})
	u := x.User(t, "alice", broker.RoleUser)
	p := x.login("alice")
	cold, err := broker.New(broker.Config{
		Store: x.Store, Secrets: harness.Secrets(t, harness.Secret), Hasher: harness.Hasher(t), PublicURL: x.public, LocalLogin: true, Now: x.Clock.Now, RetryFor: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	y := x.in(t)
	y.serve(setup{web: func(c *web.Config) { c.Broker = cold }}, true, nil)
	for _, a := range []*answer{
		y.refresh(p.refresh), y.me(p.access), y.refresh("garbage"), y.sendLogin("alice", "wrong"), y.do(http.MethodGet, "/status"), y.do(http.MethodGet, "/.well-known/jwks.json"),
	} {
		a.refused(503, broker.TemporarilyUnavailable, web.VerdictRetry)
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", a.request)
		}
	}
	y.do(http.MethodGet, "/readyz").want(503)
	y.do(http.MethodGet, "/healthz").want(200)
	if err := cold.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	y.do(http.MethodGet, "/readyz").want(200)
	if y.refresh(p.refresh).pair(); y.me(p.access).text("id") != u.ID {
		t.Error("somebody else")
	}
}

// secretSite serves one database with a root secret of its own.
func secretSite(t *testing.T, file string, secrets ...string) (*site, error) {
	t.Helper()
	x := openSiteWithout(t, file)
	b, err := broker.New(broker.Config{
		Store: x.Store, Secrets: harness.Secrets(t, secrets...), Hasher: harness.Hasher(t), PublicURL: x.public, LocalLogin: true, Now: x.Clock.Now, RetryFor: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	x.serve(setup{web: func(c *web.Config) { c.Broker = b }}, true, nil)
	x.Broker = b
	return x, b.Load(context.Background())
}

// Of two processes with different root secrets one serves; the other knows
// nothing, and says no token bad.
func TestTwoRootSecrets(t *testing.T) { onBothDatabases(t, twoRootSecrets) }

func twoRootSecrets(t *testing.T, database string) {
	const old, fresh = harness.Secret, "another root secret, long enough too"
	first := newSite(t, setup{database: database})
	p := first.login("alice")
	list := first.page("alice")

	second, err := secretSite(t, database, fresh)
	if err == nil {
		t.Fatal("the second is ready")
	}
	if errors.Is(err, broker.TemporarilyUnavailable) {
		t.Errorf("the reason is not named: %v", err)
	}
	for _, a := range []*answer{
		second.refresh(p.refresh), second.me(p.access), second.do(http.MethodPost, "/auth/refresh", cookies(list)), second.do(http.MethodPost, "/logout", refreshHeader(p.refresh)),
		second.sendLogin("alice", harness.PasswordOf("alice")), second.do(http.MethodGet, "/", cookies(list)),
	} {
		a.refused(503, broker.TemporarilyUnavailable, web.VerdictRetry).noCookies()
	}
	second.do(http.MethodGet, "/readyz").want(503)
	first.refresh(p.refresh).pair()

	// With the earlier one named the change works, and logs nobody out.
	changed, err := secretSite(t, database, fresh, old)
	if err != nil {
		t.Fatal(err)
	}
	next := changed.refresh(p.refresh).pair()
	if headerOf(t, next.refresh)["kid"] == headerOf(t, p.refresh)["kid"] {
		t.Error("the new token is made under the old secret")
	}
	changed.me(p.access).want(200)
	changed.do(http.MethodPost, "/auth/refresh", cookies(list)).want(200)
	if to := changed.do(http.MethodGet, "/", cookies(list)); to.Status != 200 {
		t.Errorf("the page's cookie leads to %s", to.Header.Get("Location"))
	}
	// From here the first is the one that is out of date.
	if err := first.Broker.Load(context.Background()); err == nil {
		t.Error("the first is still ready")
	}
	first.refresh(p.refresh).refused(503, broker.TemporarilyUnavailable, web.VerdictRetry)
	// And without the earlier one its tokens are unknown, the new ones not.
	alone, err := secretSite(t, database, fresh)
	if err != nil {
		t.Fatal(err)
	}
	alone.refresh(next.refresh).pair()
	alone.refresh(p.refresh).refused(401, broker.InvalidToken, web.VerdictLogin)
}

// openSiteWithout opens the store alone, for a broker of the test's own.
func openSiteWithout(t *testing.T, file string) *site {
	t.Helper()
	store, err := storage.Open(context.Background(), storage.Options{URL: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &site{t: t, log: &harness.Log{}, public: publicURL, Rig: &harness.Rig{Store: store, Clock: harness.NewClock()}}
}
