package storagetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/latchkey-id/latchkey/broker"
)

var txTests = []test{
	{"a commit is visible, all of it", txCommit},
	{"a rollback leaves nothing", txRollback},
	{"the error of the body comes back as it is", txError},
	{"what is under way is seen inside and not outside", txIsolation},
	{"a transaction inside a transaction is one", txNested},
	{"a refused statement spoils nothing that went before it", txRefusal},
	{"a caller who has gone gets nothing written", txCancelled},
	{"a caller who leaves in the middle takes nothing along", txLeaving},
	{"a panic leaves nothing, and the store works on", txPanic},
	{"many at once lose nothing", txParallel},
}

var errUndo = errors.New("undo")

// everything writes by every method that writes.
func everything(s *suite, tx broker.Store, tag string) error {
	u := newUser(tag)
	deleted := newUser("deleted " + tag)
	grant, request := newGrant(tag, tag), newAuthRequest(tag)
	changed := u
	changed.Name = "changed"
	return errors.Join(
		tx.InsertUser(ctx, u), tx.InsertUser(ctx, deleted), tx.DeleteUser(ctx, deleted.ID), tx.UpdateUser(ctx, changed),
		second(tx.SetPassword(ctx, u.ID, nil, "new", false, t0)),
		tx.InsertPasswordLink(ctx, newPasswordLink(tag, u.ID)), tx.DeletePasswordLinks(ctx, u.ID),
		tx.InsertPasswordLink(ctx, newPasswordLink("2 "+tag, u.ID)), second(tx.TakePasswordLink(ctx, "2 "+tag, t0)),
		tx.InsertIdentity(ctx, newIdentity(tag, u.ID)), tx.TouchIdentity(ctx, newIdentity(tag, u.ID)),
		second(tx.InsertSession(ctx, newSession(tag, u.ID), "")), tx.TouchSession(ctx, broker.Touch{ID: tag, Now: t0, IdleExpiresAt: t0}),
		second(tx.InsertSession(ctx, newSession("2 "+tag, u.ID), "")), second(tx.WriteRotation(ctx, write("2 "+tag))),
		fourth(tx.AdvanceSession(ctx, advance("2 "+tag))),
		second(tx.EndSessions(ctx, broker.SessionFilter{ID: tag}, ending(broker.LoggedOut, false, t0))),
		second(tx.EndBeyond(ctx, u.ID, tag, 1, ending(broker.SessionLimit, false, t0))),
		second(tx.InsertAuthRequest(ctx, request, t0)), tx.InsertIdPLogin(ctx, newIdPLogin(tag)),
		tx.InsertIdPLogin(ctx, newIdPLogin("2 "+tag)), second(tx.TakeIdPLogin(ctx, "2 "+tag, "provider", t0)),
		tx.InsertGrant(ctx, grant), second(tx.RedeemGrant(ctx, grant, tag, t0)),
		tx.InsertSigningKey(ctx, newKey(tag, tag)), tx.ResealSigningKey(ctx, tag, "sealed "+tag, "anew"),
		second(tx.InitFact(ctx, tag, "1")), second(tx.SwapFact(ctx, tag, "1", "2")),
		tx.InsertEvent(ctx, broker.Event{ID: tag, At: t0, Name: tag}),
		authorizations(tx, tag, u.ID),
	)
}

// authorizations is the part of everything that OAuth clients write.
func authorizations(tx broker.Store, tag, userID string) error {
	client, gone := newClient(tag), newClient("gone "+tag)
	client.AllowedOrigins = []string{tag}
	device := newDevice(tag)
	return errors.Join(
		tx.InsertClient(ctx, client), tx.UpdateClient(ctx, client), tx.SetClientSecret(ctx, tag, "anew", t0),
		tx.InsertClient(ctx, gone), tx.DeleteClient(ctx, gone.ID),
		tx.InsertPending(ctx, newPending(tag)), tx.InsertPending(ctx, newPending("2 "+tag)),
		second(tx.TakePending(ctx, "2 "+tag, "browser", "client", t0)),
		tx.InsertCode(ctx, newCode(tag)), second(tx.RedeemCode(ctx, newCode(tag), "key", tag, t0)),
		tx.InsertDeviceCode(ctx, device), second(tx.DecideDevice(ctx, tag, broker.DeviceAllowed, newAuthorization(), t0)),
		third(tx.PollDevice(ctx, tag, "client", t0)), second(tx.RedeemDevice(ctx, tag, "client", tag, t0)),
		tx.SaveConsent(ctx, broker.Consent{UserID: userID, ClientID: tag, Scope: "openid", GrantedAt: t0}),
		second(tx.UseOnce(ctx, tag, t0)), second(tx.UseOnceRelaxed(ctx, "2 "+tag, t0)),
		tx.InsertLogoutNotices(ctx, []broker.LogoutNotice{newNotice(tag), newNotice("2 " + tag)}),
		tx.PostponeLogoutNotice(ctx, tag, t0), tx.DeleteLogoutNotice(ctx, "2 "+tag),
		second(tx.EndFollowers(ctx, []string{tag}, ending(broker.LoggedOut, false, t0))),
		second(tx.EndFollowersBeyond(ctx, "2 "+tag, broker.FollowerLimits{OfClient: 1, OfKind: 1}, ending(broker.SessionLimit, false, t0))),
	)
}

func second[T any](_ T, err error) error                 { return err }
func third[A, B any](_ A, _ B, err error) error          { return err }
func fourth[A, B, C any](_ A, _ B, _ C, err error) error { return err }

// traces counts what of everything is there.
func traces(s *suite, store broker.Store, tag string) (n int) {
	s.Helper()
	count := func(err error) {
		s.Helper()
		switch {
		case err == nil:
			n++
		case broker.CodeOf(err) != broker.NotFound:
			s.Fatal(err)
		}
	}
	one := func(found int, err error) error {
		if err == nil && found == 0 {
			return &broker.Error{Code: broker.NotFound}
		}
		return err
	}
	count(second(store.UserByID(ctx, "id of "+tag)))
	count(second(store.IdentityBySubject(ctx, issuer, tag)))
	_, _, err := store.SessionByID(ctx, tag)
	count(err)
	_, _, err = store.SessionByID(ctx, "2 "+tag)
	count(err)
	count(second(store.AuthRequestByID(ctx, tag, t0)))
	count(second(store.GrantByID(ctx, tag)))
	count(second(store.Fact(ctx, tag)))
	count(second(store.Fact(ctx, "signing_key."+tag)))
	events, err := store.ListEvents(ctx, broker.EventFilter{Name: tag, Limit: 1})
	count(one(len(events), err))
	keys, err := store.SigningKeys(ctx)
	found := 0
	for _, k := range keys {
		if k.ID == tag {
			found++
		}
	}
	count(one(found, err))
	count(second(store.ClientByID(ctx, tag)))
	count(second(store.Pending(ctx, tag, "browser", t0)))
	count(second(store.CodeByID(ctx, tag)))
	count(second(deviceByID(store, tag)))
	count(second(store.ConsentOf(ctx, "id of "+tag, tag)))
	known, err := store.OriginKnown(ctx, tag)
	count(one(map[bool]int{true: 1}[known], err))
	return n
}

const allTraces = 16

func txCommit(s *suite) {
	s.tx(func(tx broker.Store) error { return everything(s, tx, "x") })
	same(s, traces(s, s.Store, "x"), allTraces)
	same(s, s.row("x").EndCause, broker.LoggedOut)
	same(s, must(s.Store.Fact(ctx, "x"))(s), "2")
	must(s.Store.TakeIdPLogin(ctx, "x", "provider", t0))(s)
	same(s, must(s.Store.UseOnce(ctx, "x", t0))(s), false)
	same(s, must(s.Store.UseOnce(ctx, "2 x", t0))(s), false)
	same(s, noticeIDs(must(s.Store.DueLogoutNotices(ctx, t0, t0.Add(time.Hour), 10))(s)), []string{"x"})
}

func txRollback(s *suite) {
	same(s, s.Store.Tx(ctx, func(tx broker.Store) error {
		s.ok(everything(s, tx, "x"))
		return errUndo
	}), errUndo)
	same(s, traces(s, s.Store, "x"), 0)
	_, err := s.Store.TakeIdPLogin(ctx, "x", "provider", t0)
	s.code(err, broker.NotFound)
	same(s, len(must(s.Store.DueLogoutNotices(ctx, t0, t0.Add(time.Hour), 10))(s)), 0)
	s.tx(func(tx broker.Store) error { // nothing is in its way
		same(s, must(tx.UseOnce(ctx, "y", t0))(s), true)
		return everything(s, tx, "x")
	})
	same(s, s.Store.Tx(ctx, func(tx broker.Store) error {
		same(s, must(tx.UseOnce(ctx, "z", t0))(s), true)
		return errUndo
	}), errUndo)
	same(s, must(s.Store.UseOnce(ctx, "z", t0))(s), true)
}

func txError(s *suite) {
	refusal := &broker.Error{Code: broker.WrongPassword, Message: "shown"}
	got := s.Store.Tx(ctx, func(broker.Store) error { return refusal })
	if got != error(refusal) {
		s.Errorf("%v, want the body's own error", got)
	}
}

func txIsolation(s *suite) {
	same(s, s.Store.Tx(ctx, func(tx broker.Store) error {
		s.ok(everything(s, tx, "x"))
		same(s, traces(s, tx, "x"), allTraces)
		return errUndo
	}), errUndo)
	same(s, traces(s, s.Store, "x"), 0)
}

func txNested(s *suite) {
	same(s, s.Store.Tx(ctx, func(tx broker.Store) error {
		s.ok(tx.Tx(ctx, func(inner broker.Store) error { return everything(s, inner, "x") }))
		return errUndo
	}), errUndo)
	same(s, traces(s, s.Store, "x"), 0)
	s.tx(func(tx broker.Store) error {
		return tx.Tx(ctx, func(inner broker.Store) error { return everything(s, inner, "y") })
	})
	same(s, traces(s, s.Store, "y"), allTraces)
}

// A body that goes on after a refusal must not commit half of its work
// unnoticed: either all that succeeded is there, or Tx reports an error.
func txRefusal(s *suite) {
	s.user("anna")
	err := s.Store.Tx(ctx, func(tx broker.Store) error {
		s.ok(tx.InsertEvent(ctx, broker.Event{ID: "before", At: t0, Name: "before"}))
		taken := newUser("ANNA")
		taken.ID = "another"
		s.code(tx.InsertUser(ctx, taken), broker.UsernameTaken)
		return nil
	})
	events := must(s.Store.ListEvents(ctx, broker.EventFilter{Name: "before", Limit: 1}))(s)
	if (err == nil) != (len(events) == 1) {
		s.Errorf("Tx says %v and %d events are there", err, len(events))
	}
}

func txCancelled(s *suite) {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	err := s.Store.Tx(gone, func(tx broker.Store) error { return everything(s, tx, "x") })
	s.code(err, broker.TemporarilyUnavailable)
	if !errors.Is(err, context.Canceled) {
		s.Errorf("%v does not say that the caller has gone", err)
	}
	same(s, traces(s, s.Store, "x"), 0)
	s.code(s.Store.InsertUser(gone, newUser("anna")), broker.TemporarilyUnavailable)
	_, _, _, err = s.Store.AdvanceSession(gone, advance("s"))
	s.code(err, broker.TemporarilyUnavailable)
	_, err = s.Store.UserByID(gone, "nobody")
	s.code(err, broker.TemporarilyUnavailable)
}

// A caller whose connection breaks in the middle of a transaction rolls back
// that transaction, and nothing else: a database in memory lives in one
// connection, which must not be thrown away with it.
func txLeaving(s *suite) {
	s.user("anna")
	for i := range 3 {
		leaving, cancel := context.WithCancel(ctx)
		err := s.Store.Tx(leaving, func(tx broker.Store) error {
			if err := tx.InsertUser(leaving, newUser(fmt.Sprint("bob ", i))); err != nil {
				return err
			}
			cancel()
			// On SQLite database/sql rolls back on its own as soon as it sees the end of
			// the context, and may throw the connection away; on PostgreSQL it sees none.
			for range 1000 {
				if tx.Ping(ctx) != nil {
					break
				}
				runtime.Gosched()
			}
			return tx.InsertEvent(leaving, broker.Event{ID: fmt.Sprint(i), At: t0, Name: "late"})
		})
		s.code(err, broker.TemporarilyUnavailable)
		must(s.Store.UserByUsername(ctx, "anna"))(s)
		_, err = s.Store.UserByUsername(ctx, fmt.Sprint("bob ", i))
		s.code(err, broker.NotFound)
	}
	s.tx(func(tx broker.Store) error { return tx.InsertUser(ctx, newUser("bob")) })
}

func txPanic(s *suite) {
	func() {
		defer func() {
			if recover() == nil {
				s.Error("the panic was swallowed")
			}
		}()
		_ = s.Store.Tx(ctx, func(tx broker.Store) error {
			s.ok(tx.InsertUser(ctx, newUser("anna")))
			panic("boom")
		})
	}()
	// A transaction left open would block the one writer for ever.
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s.ok(s.Store.Tx(soon, func(tx broker.Store) error { return tx.InsertUser(soon, newUser("bob")) }))
	_, err := s.Store.UserByUsername(soon, "anna")
	s.code(err, broker.NotFound)
}

func txParallel(s *suite) {
	const many, each = 8, 5 // they wait for each other's rows, and a statement waits for seconds only
	for _, err := range inParallel(many, func(i int) error {
		for n := range each {
			if err := s.Store.Tx(ctx, func(tx broker.Store) error { return everything(s, tx, fmt.Sprint(i, "/", n)) }); err != nil {
				return err
			}
		}
		return nil
	}) {
		s.ok(err)
	}
	for i := range many {
		for n := range each {
			same(s, traces(s, s.Store, fmt.Sprint(i, "/", n)), allTraces)
		}
	}
}
