package storage_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// The hot statement finds its row, the user and the identity by an index.
func TestHotStatementUsesThePrimaryKey(t *testing.T) {
	databases(t, func(t *testing.T, url string) {
		hot := open(t, url).HotStatement()
		db := raw(t, url)
		populate(t, db)
		plan, wanted, scan := "", []string{"sqlite_autoindex_sessions_1 (id=?)", "sqlite_autoindex_users_1 (id=?)", "identities_user (user_id=?)"}, "SCAN"
		if _, ok := storage.IsSQLite(url); ok {
			plan = strings.Join(lines(t, db, `EXPLAIN QUERY PLAN `+hot, make([]any, strings.Count(hot, "?"))...), "\n")
		} else {
			wanted, scan = []string{"Index Scan using sessions_pkey on sessions", "users_pkey on users u", "identities_user on identities"}, "Seq Scan"
			plan = genericPlan(t, db, hot)
		}
		for _, part := range wanted {
			if !strings.Contains(plan, part) {
				t.Errorf("the plan has no %q", part)
			}
		}
		if strings.Contains(plan, scan) {
			t.Errorf("the plan scans a table")
		}
		if t.Failed() {
			t.Log(plan)
		}
	})
}

// genericPlan is how PostgreSQL runs a prepared statement, whatever its
// arguments.
func genericPlan(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	n := strings.Count(query, "$")
	for _, statement := range []string{`DISCARD ALL`, `SET plan_cache_mode = force_generic_plan`, `PREPARE hot AS ` + query} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return strings.Join(lines(t, conn, `EXPLAIN EXECUTE hot(`+strings.TrimSuffix(strings.Repeat("NULL, ", n), ", ")+`)`), "\n")
}

// A refresh updates its row in place: PostgreSQL writes no index and leaves
// nothing for a vacuum of the indexes.
func TestRefreshesAreHeapOnlyUpdates(t *testing.T) {
	url := pgtest.Shared(t).NewDatabase(t)
	s := open(t, url)
	u := newUser("anna")
	now := u.CreatedAt
	session := broker.Session{
		ID: "s", UserID: u.ID, ClientID: "c", AuthTime: now, CreatedAt: now, LastSeenAt: now, // in every index:
		ProviderID: "p", IdPSubject: "subject", IdPSession: "sid", Request: broker.SessionRequest{Resource: "r"}, FollowsParent: true,
		Rotation: broker.Rotation{AdvancedAt: now, IssuedAt: now}, IdleExpiresAt: now.Add(30 * 24 * time.Hour), AbsExpiresAt: now.Add(365 * 24 * time.Hour),
	}
	if err := errors.Join(s.InsertUser(ctx, u), second(s.InsertSession(ctx, session, ""))); err != nil {
		t.Fatal(err)
	}
	const refreshes = 1000
	for g := range int64(refreshes) {
		now = now.Add(11 * time.Minute)
		_, _, ok, err := s.AdvanceSession(ctx, broker.Advance{
			Touch:    broker.Touch{ID: "s", Now: now, IdleExpiresAt: now.Add(30 * 24 * time.Hour), IP: "192.0.2.1"},
			ClientID: "c", Generation: g, AdvancedBefore: now,
		})
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	if err := s.Close(); err != nil { // a backend reports its statistics when it ends
		t.Fatal(err)
	}
	db := raw(t, url)
	var updates, inPlace int
	for deadline := time.Now().Add(30 * time.Second); updates < refreshes && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		err := db.QueryRow(`SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sessions'`).Scan(&updates, &inPlace)
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d updates in place", inPlace, updates)
	// Nothing that a refresh writes is indexed; the slack is for a full page.
	if updates != refreshes || inPlace < refreshes*98/100 {
		t.Errorf("%d of %d updates were in place", inPlace, updates)
	}
}

// Two transactions that lock in opposite order: PostgreSQL throws one of them
// out, and it runs again.
func TestDeadlockVictimRunsAgain(t *testing.T) {
	s := open(t, pgtest.Shared(t).NewDatabase(t))
	for _, name := range []string{"anna", "bob"} {
		if err := s.InsertUser(ctx, newUser(name)); err != nil {
			t.Fatal(err)
		}
	}
	var runs atomic.Int32
	var first sync.WaitGroup // both hold their first lock
	first.Add(2)
	lock := func(names ...string) error {
		met := false
		return s.Tx(ctx, func(tx broker.Store) error {
			runs.Add(1)
			for _, name := range names {
				if err := tx.LockUser(ctx, newUser(name).ID); err != nil {
					return err
				}
				u, err := tx.UserByUsername(ctx, name)
				if err != nil {
					return err
				}
				u.Name += "x"
				if err := tx.UpdateUser(ctx, u); err != nil {
					return err
				}
				if !met {
					met = true
					first.Done()
					first.Wait()
				}
			}
			return nil
		})
	}
	errs := make(chan error, 2)
	go func() { errs <- lock("anna", "bob") }()
	go func() { errs <- lock("bob", "anna") }()
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if n := runs.Load(); n < 3 {
		t.Errorf("%d runs: there was no deadlock", n)
	}
	for _, name := range []string{"anna", "bob"} {
		u, err := s.UserByUsername(ctx, name)
		if err != nil || u.Name != "xx" {
			t.Errorf("%s is %q (%v), want both changes, once each", name, u.Name, err)
		}
	}
}

// A database that is gone is trouble of ours by every method, and when it is
// back the same store goes on.
func TestDatabaseGoesAndComesBack(t *testing.T) {
	c := pgtest.MustStart(t)
	url := c.NewDatabase(t)
	s := open(t, url)
	u := newUser("anna")
	at := u.CreatedAt
	session := broker.Session{
		ID: "s", UserID: u.ID, ClientID: "c", AuthTime: at, CreatedAt: at, LastSeenAt: at, Rotation: broker.Rotation{AdvancedAt: at, IssuedAt: at},
		IdleExpiresAt: at.Add(time.Hour), AbsExpiresAt: at.Add(time.Hour),
	}
	if err := errors.Join(s.InsertUser(ctx, u), second(s.InsertSession(ctx, session, ""))); err != nil {
		t.Fatal(err)
	}
	touch := broker.Touch{ID: "s", Now: at.Add(time.Minute), IdleExpiresAt: at.Add(time.Hour), IP: "192.0.2.1"}
	calls := map[string]func() error{
		"Ping":           func() error { return s.Ping(ctx) },
		"UserByUsername": func() error { _, err := s.UserByUsername(ctx, "anna"); return err },
		"UserByID":       func() error { _, err := s.UserByID(ctx, "nobody"); return notFoundIsFine(err) },
		"UpdateUser":     func() error { return s.UpdateUser(ctx, u) },
		"SessionByID":    func() error { _, _, err := s.SessionByID(ctx, "s"); return err },
		"TouchSession":   func() error { return s.TouchSession(ctx, touch) },
		"ListSessions":   func() error { _, _, err := s.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 10); return err },
		"EndSessions": func() error {
			_, err := s.EndSessions(ctx, broker.SessionFilter{ID: "nobody's"}, broker.End{})
			return err
		},
		"ClientByID":   func() error { _, err := s.ClientByID(ctx, "nobody's"); return notFoundIsFine(err) },
		"ListClients":  func() error { _, err := s.ListClients(ctx, "", 10); return err },
		"InsertClient": func() error { return conflictIsFine(s.InsertClient(ctx, broker.Client{ID: "c"})) },
		"TakePending":  func() error { _, err := s.TakePending(ctx, "p", "b", "c", at); return notFoundIsFine(err) },
		"PollDevice":   func() error { _, _, err := s.PollDevice(ctx, "d", "c", at); return notFoundIsFine(err) },
		"DecideDevice": func() error {
			_, err := s.DecideDevice(ctx, "d", broker.DeviceDenied, broker.Authorization{}, at)
			return err
		},
		"UseOnce":        func() error { _, err := s.UseOnce(ctx, "id", at); return err },
		"UseOnceRelaxed": func() error { _, err := s.UseOnceRelaxed(ctx, "id", at); return err },
		"Notices":        func() error { _, err := s.DueLogoutNotices(ctx, at, at, 10); return err },
		"EndFollowers":   func() error { _, err := s.EndFollowers(ctx, []string{"p"}, broker.End{}); return err },
		"EndFollowersBeyond": func() error {
			_, err := s.EndFollowersBeyond(ctx, "nobody's", broker.FollowerLimits{OfClient: 1, OfKind: 1}, broker.End{})
			return err
		},
		"EndedSince":  func() error { _, err := s.EndedSince(ctx, at); return err },
		"OriginKnown": func() error { _, err := s.OriginKnown(ctx, "https://example.test"); return err },
		"Sweep":       func() error { _, err := s.Sweep(ctx, broker.Sweep{Limit: 10}); return err },
		"AdvanceSession": func() error {
			_, _, _, err := s.AdvanceSession(ctx, broker.Advance{Touch: touch, Generation: 9})
			return err
		},
		"Tx": func() error { return s.Tx(ctx, func(tx broker.Store) error { return tx.UpdateUser(ctx, u) }) },
	}
	all := func(check func(name string, call func() error)) {
		for name, call := range calls {
			check(name, call)
		}
	}
	// The broker tries again for seconds, and so does this: a pooled connection
	// that died is found out, and thrown away, by whoever uses it next.
	const pooled = 16
	works := func(name string, call func() error) {
		var err error
		for range pooled + 1 {
			if err = call(); broker.CodeOf(err) != broker.TemporarilyUnavailable || err == nil {
				break
			}
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	all(works) // every statement is prepared on some connection from here on
	for _, stop := range []func() error{c.StopImmediate, c.StopFast} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		all(func(name string, call func() error) {
			err := call()
			if e, ok := errors.AsType[*broker.Error](err); !ok || e.Code != broker.TemporarilyUnavailable || broker.CodeOf(err) != broker.TemporarilyUnavailable {
				t.Errorf("%s without a database: %v", name, err)
			}
		})
		if _, err := storage.Open(ctx, storage.Options{URL: url}); broker.CodeOf(err) != broker.TemporarilyUnavailable || !errors.Is(err, broker.TemporarilyUnavailable) {
			t.Errorf("Open without a database: %v", err)
		}
		if err := c.StartAgain(); err != nil {
			t.Fatal(err)
		}
		all(works)
	}
	// In the middle of a transaction: all or nothing, and here nothing.
	err := s.Tx(ctx, func(tx broker.Store) error {
		if err := tx.InsertUser(ctx, newUser("bob")); err != nil {
			t.Fatal(err)
		}
		if err := c.StopImmediate(); err != nil {
			t.Fatal(err)
		}
		return tx.InsertUser(ctx, newUser("carol"))
	})
	if broker.CodeOf(err) != broker.TemporarilyUnavailable {
		t.Errorf("a transaction whose database went away: %v", err)
	}
	if err := c.StartAgain(); err != nil {
		t.Fatal(err)
	}
	all(works)
	for _, name := range []string{"bob", "carol"} {
		if _, err := s.UserByUsername(ctx, name); !errors.Is(err, broker.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A backend that is killed, an idle timeout of a proxy: the pool has a dead
	// connection, and nobody notices.
	exec(t, raw(t, url), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'latchkey'`)
	all(works)
}

func conflictIsFine(err error) error {
	if errors.Is(err, broker.ClientExists) {
		return nil
	}
	return err
}

func notFoundIsFine(err error) error {
	if errors.Is(err, broker.NotFound) {
		return nil
	}
	return err
}

// A crash of the server keeps whatever was answered as durable.
func TestDurableWritesSurviveACrash(t *testing.T) {
	c := pgtest.MustStart(t)
	s := open(t, c.NewDatabase(t))
	for i := range 5 {
		u := newUser(fmt.Sprint("user ", i))
		session := broker.Session{
			ID: u.Username, UserID: u.ID, ClientID: "c", AuthTime: u.CreatedAt, CreatedAt: u.CreatedAt, LastSeenAt: u.CreatedAt,
			Rotation:      broker.Rotation{AdvancedAt: u.CreatedAt, IssuedAt: u.CreatedAt},
			IdleExpiresAt: u.CreatedAt.Add(time.Hour), AbsExpiresAt: u.CreatedAt.Add(time.Hour),
		}
		var ended []broker.Session
		err := errors.Join(s.InsertUser(ctx, u), second(s.InsertSession(ctx, session, "")))
		if err == nil {
			ended, err = s.EndSessions(ctx, broker.SessionFilter{ID: u.Username}, broker.End{Cause: broker.LoggedOut, At: u.CreatedAt, KeepUntil: u.CreatedAt})
		}
		if err != nil || len(ended) != 1 {
			t.Fatal(ended, err)
		}
		if err := errors.Join(c.StopImmediate(), c.StartAgain()); err != nil {
			t.Fatal(err)
		}
		row, _, err := s.SessionByID(ctx, u.Username)
		if err != nil || row.EndCause != broker.LoggedOut {
			t.Fatalf("after crash %d: %v, cause %q", i, err, row.EndCause)
		}
	}
}

// A phone that goes on asking for what has ended must not cost the disk a wait each
// time: an event alone is committed without one, and as a part of something with it.
func TestEventsAloneDoNotWaitForTheDisk(t *testing.T) {
	url := pgtest.Shared(t).NewDatabase(t)
	s := open(t, url)
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(`CREATE TABLE waits (id text, how text);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO waits VALUES (NEW.id, current_setting('synchronous_commit')); RETURN NULL; END $$;
		CREATE TRIGGER note AFTER INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION note()`)
	if err != nil {
		t.Fatal(err)
	}
	event := func(id string) broker.Event {
		return broker.Event{ID: id, At: time.Now(), Name: broker.EventOfRefresh(broker.OutcomeEnded)}
	}
	err = errors.Join(s.InsertEvent(ctx, event("alone")), s.Tx(ctx, func(tx broker.Store) error { return tx.InsertEvent(ctx, event("together")) }))
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"alone": "off", "together": "on"} {
		var how string
		if err := db.QueryRow(`SELECT how FROM waits WHERE id = $1`, id).Scan(&how); err != nil || how != want {
			t.Errorf("an event %s is committed with synchronous_commit %q, %v; want %q", id, how, err, want)
		}
	}
}

func second[T any](_ T, err error) error { return err }
