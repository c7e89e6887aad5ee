package broker_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/providers/providertest"
	"github.com/latchkey-id/latchkey/storage/journal"
	"github.com/latchkey-id/latchkey/test/harness"
)

// An IdP that replaces its tokens, and whose answer is lost: that the old token
// is not taken afterwards proves nothing.
func TestLostAnswerOfARotatingIdP(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		w := newUpstreamWorld(t, database, nil)
		w.rotating()
		login := w.enter("anna")
		for range 3 { // answers that arrive
			w.checkIn(recheckEvery)
			w.is(login, broker.UpstreamAlive)
		}
		lost := func(rw http.ResponseWriter, r *http.Request) bool {
			w.respond(providertest.EndpointToken, nil)
			rec := &swallowed{header: http.Header{}}
			w.idp.ServeHTTP(rec, r)
			panic(http.ErrAbortHandler)
		}
		w.respond(providertest.EndpointToken, lost)
		w.checkIn(recheckEvery)
		w.is(login, broker.UpstreamUnknown)
		if u := w.row(login).Upstream; u.Doubtful != 1 || u.Sealed == "" {
			t.Fatalf("%+v", u)
		}
		w.checkIn(recheckEvery) // invalid_grant
		w.is(login, broker.UpstreamUnknown)
		if u := w.row(login).Upstream; u.Sealed != "" {
			t.Error("the token that is of no more use is kept")
		}
		if n := w.checkIn(100 * recheckEvery); n != 0 {
			t.Errorf("%d checks of a lost token", n)
		}
		w.refreshes(login, "")
		if told := w.events(broker.EventUpstreamUnknown); len(told) != 1 || told[0].Detail["why"] != "token_lost" || told[0].UserID != login.User.ID {
			t.Errorf("%+v", told)
		}
	})
}

// swallowed takes an answer and shows it to nobody.
type swallowed struct{ header http.Header }

func (s *swallowed) Header() http.Header         { return s.header }
func (s *swallowed) Write(b []byte) (int, error) { return len(b), nil }
func (s *swallowed) WriteHeader(int)             {}

// A process that dies between the IdP's answer and the writing of it leaves the
// check doubtful, and logs nobody out.
func TestKilledBetweenAnswerAndWriting(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		w := newUpstreamWorld(t, database, nil)
		w.rotating()
		login := w.enter("anna")
		w.clock.Advance(recheckEvery)
		dying := &dyingStore{Store: w.Store}
		w.change = func(c *broker.Config) { c.Store = dying }
		alive := w.Rig
		w.start()
		if _, err := w.Broker.RecheckUpstreams(ctx); err == nil {
			t.Fatal("the answer was written")
		}
		w.change = nil
		w.start()
		w.Store = alive.Store
		if u := w.row(login).Upstream; u.Doubtful != 1 || u.State != broker.UpstreamAlive {
			t.Fatalf("%+v", u)
		}
		if n := w.check(); n != 0 {
			t.Error("checked again within the lease")
		}
		w.checkIn(time.Minute)
		w.is(login, broker.UpstreamUnknown)
		w.refreshes(login, "")
	})
}

// dyingStore takes leases and writes nothing afterwards.
type dyingStore struct {
	broker.Store
	dead bool
}

func (s *dyingStore) Tx(ctx context.Context, f func(broker.Store) error) error {
	if s.dead {
		return broker.Unavailable(fmt.Errorf("the process is dead"))
	}
	return s.Store.Tx(ctx, f)
}

func (s *dyingStore) DueUpstreams(ctx context.Context, d broker.DueUpstreams) ([]broker.Upstream, error) {
	list, err := s.Store.DueUpstreams(ctx, d)
	s.dead = len(list) > 0
	return list, err
}

// Two workers on one database check each login once.
func TestTwoWorkersCheckEachLoginOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		w := newUpstreamWorld(t, database, func(w *upstreamWorld) { w.change = retrying })
		const logins = 40
		for range logins {
			w.enter("anna")
		}
		one := w.Broker
		w.start()
		w.rotating() // a token that is used twice would be refused
		before := w.idp.Count(providertest.EndpointToken)
		w.clock.Advance(recheckEvery)
		var all sync.WaitGroup
		for _, b := range []*broker.Broker{one, w.Broker} {
			all.Go(func() {
				for n := 1; n > 0; {
					var err error
					if n, err = b.RecheckUpstreams(ctx); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		w.check()
		if n := w.idp.Count(providertest.EndpointToken) - before; n != logins {
			t.Errorf("%d calls for %d logins", n, logins)
		}
		if n := len(w.events(broker.EventSessionEnded)); n != 0 {
			t.Errorf("%d logouts", n)
		}
	})
}

// Nothing is kept of logins at an IdP that is not checked again, and nothing
// that is kept is checked once that is taken away.
func TestRecheckIsTakenAway(t *testing.T) {
	w := newUpstreamWorld(t, "", func(w *upstreamWorld) { w.every = 0 })
	never := w.enter("anna")
	if s := w.row(never); s.UpstreamID != "" || s.VouchedAt.IsZero() {
		t.Errorf("%+v", s)
	}
	w.every = recheckEvery
	w.start()
	login := w.enter("anna")
	w.every = 0
	w.start()
	w.idp.Revoke("s-anna")
	if n := w.checkIn(10 * recheckEvery); n != 0 {
		t.Errorf("%d checks", n)
	}
	w.is(login, broker.UpstreamUnknown)
	w.refreshes(login, "")
	w.every = recheckEvery
	w.start()
	w.check()
	w.is(login, broker.UpstreamEnded)
}

// Another client, or another issuer, at the same provider: what was kept is sent
// to nobody, and nobody is logged out.
func TestProviderIsPointedElsewhere(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	login := w.enter("anna")
	w.clientID = "another client of latchkey"
	w.start()
	before := w.idp.Count(providertest.EndpointToken)
	w.checkIn(10 * recheckEvery)
	w.is(login, broker.UpstreamUnknown)
	w.refreshes(login, "")
	if n := w.idp.Count(providertest.EndpointToken) - before; n != 0 {
		t.Errorf("%d tokens were sent", n)
	}
	w.clientID = "latchkey"
	w.start()
	w.check()
	w.is(login, broker.UpstreamAlive)
}

// A root secret that takes the place of another opens what the other sealed.
func TestRootSecretIsReplacedBetweenChecks(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	login := w.enter("anna")
	const next = "the next root secret of a test, long enough"
	w.change = func(c *broker.Config) { c.Secrets = harness.Secrets(t, next, harness.Secret) }
	w.start()
	w.checkIn(recheckEvery)
	w.is(login, broker.UpstreamAlive)
	w.change = func(c *broker.Config) { c.Secrets = harness.Secrets(t, next) }
	w.start()
	w.checkIn(recheckEvery)
	w.is(login, broker.UpstreamAlive)
}

// A sealed token that is put into another row opens nowhere.
func TestSealedTokenMovedToAnotherRow(t *testing.T) {
	w := newUpstreamWorld(t, "", nil)
	anna, ben := w.enter("anna"), w.enter("ben")
	w.clock.Advance(recheckEvery)
	a, b := w.row(anna).Upstream, w.row(ben).Upstream
	for i, u := range []broker.Upstream{*a, *b} {
		moved := u
		moved.Sealed = []string{b.Sealed, a.Sealed}[i]
		if ok, err := w.Store.RecordUpstream(ctx, u, moved); err != nil || !ok {
			t.Fatal("not written", err)
		}
	}
	before := w.idp.Count(providertest.EndpointToken)
	w.check()
	w.is(anna, broker.UpstreamUnknown)
	w.is(ben, broker.UpstreamUnknown)
	if n := w.idp.Count(providertest.EndpointToken) - before; n != 0 {
		t.Errorf("%d tokens were sent", n)
	}
}

// Neither log nor dump nor error has a token of the IdP.
func TestStolenDumpHoldsNoTokenOfTheIdP(t *testing.T) {
	onEachKept(t, nil, func(t *testing.T, base *world) {
		w := newUpstreamWorld(t, base.url, nil)
		w.rotating()
		login := w.enter("anna")
		tokens := w.idp.RefreshTokens()
		w.checkIn(recheckEvery)
		w.is(login, broker.UpstreamAlive)
		w.mobile("ben")
		tokens = append(tokens, w.idp.RefreshTokens()...)
		for i, token := range tokens { // the IdP's answer quotes what it was sent
			w.respond(providertest.EndpointToken, providertest.Body(500+i, form, fmt.Sprintf(`{"error":"bad %s","error_description":%q}`, token, token)))
			w.checkIn(recheckEvery)
		}
		dump := string(harness.Dump(t, base.url))
		if len(tokens) < 3 || !strings.Contains(dump, "upstreams.token=") {
			t.Fatalf("%d tokens", len(tokens))
		}
		for _, token := range tokens {
			if strings.Contains(dump, token) {
				t.Error("the dump holds a token of the IdP")
			}
			if strings.Contains(w.Log.String(), token) {
				t.Error("the log holds a token of the IdP")
			}
		}
		if text := fmt.Sprintf("%v %+v %#v", broker.UpstreamToken(tokens[0]), broker.IdPClaims{RefreshToken: broker.UpstreamToken(tokens[0])}, broker.RecheckResult{Token: broker.UpstreamToken(tokens[0])}); strings.Contains(text, tokens[0]) {
			t.Error(text)
		}
	})
}

// After a restore the database has a refresh token that the IdP replaced long
// since: that it is refused now says nothing about the login.
func TestRestoredUpstreamTokenEndsNoSession(t *testing.T) {
	for _, by := range []string{"a restore", "the journal"} {
		t.Run(by, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ends.journal")
			w := newUpstreamWorld(t, "", func(w *upstreamWorld) {
				w.change = func(c *broker.Config) { c.Journal, c.Replay = journal.New(file), true }
			})
			l := w.enter("anna")
			if by == "a restore" {
				must(t, w.Broker.Restored(ctx))
			} else {
				must(t, journal.New(file).Append(ctx, []broker.JournalLine{{ID: "forgotten", At: w.clock.Now().UnixMilli(), Name: broker.EventSessionEnded, SessionID: "another"}}))
				w.start()
			}
			w.respond(providertest.EndpointToken, providertest.Body(400, form, `{"error":"invalid_grant"}`))
			if n := w.checkIn(recheckEvery); n != 1 {
				t.Fatalf("%d were checked", n)
			}
			w.is(l, broker.UpstreamUnknown)
			w.refreshes(l, "")
		})
	}
}
