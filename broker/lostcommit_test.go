package broker_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
)

// lossy is a broker that reaches its PostgreSQL over a wire.
type lossy struct {
	*harness.Rig
	t    *testing.T
	wire *harness.Wire
	db   *sql.DB // beside the wire
}

// slowCommits has a COMMIT wait for whoever holds the advisory lock 1.
const slowCommits = `
	CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON audit_events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
	CREATE CONSTRAINT TRIGGER late AFTER DELETE ON pending_logins DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();`

func newLossy(t *testing.T) *lossy {
	t.Helper()
	database := pgtest.Shared(t).NewDatabase(t)
	wire, through := harness.WireTo(t, database)
	rig := harness.New(t, through+"&statement_timeout=60000", func(c *broker.Config) { c.RetryFor = 30 * time.Second })
	db, err := sql.Open("postgres", database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Exec(slowCommits); err != nil {
		t.Fatal(err)
	}
	return &lossy{rig, t, wire, db}
}

// losses are the two ways in which a COMMIT has no answer: it was done, or it is
// under way when the work is tried again.
var losses = map[string]func(w *lossy, do func()){
	"done": func(w *lossy, do func()) {
		w.wire.Lose("COMMIT")
		if do(); w.wire.Lost() != 1 {
			w.t.Error("no answer was lost")
		}
	},
	"under way": func(w *lossy, do func()) {
		held, err := w.db.Begin()
		if err == nil {
			_, err = held.Exec(`SELECT pg_advisory_xact_lock(1)`)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		over := make(chan struct{})
		go func() { defer close(over); do() }()
		if !w.waiting(`wait_event = 'advisory'`, over) {
			w.t.Error("no COMMIT is under way")
		}
		w.wire.Cut(true)
		w.wire.Cut(false)
		w.waiting(`wait_event <> 'advisory'`, over)
		if err := held.Rollback(); err != nil {
			w.t.Error(err)
		}
		<-over
	},
}

// waiting reports that a connection waits for a lock, or else that the work is over.
func (w *lossy) waiting(where string, over chan struct{}) bool {
	w.t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(5 * time.Millisecond) {
		var n int
		err := w.db.QueryRow(`SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND ` + where).Scan(&n)
		if err != nil {
			w.t.Fatal(err)
		}
		if n > 0 {
			return true
		}
		select {
		case <-over:
			return false
		default:
		}
	}
	w.t.Error("neither waits anybody nor is it over")
	return false
}

// sessions is how many sessions live.
func (w *lossy) sessions() (n int) {
	w.t.Helper()
	if err := w.db.QueryRow(`SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL`).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// temporary gives alice, who has an app, a password that she has to change.
func (w *lossy) temporary(u broker.User) {
	w.t.Helper()
	if err := w.Broker.ResetPassword(context.Background(), u.ID, harness.PasswordOf("alice"), true); err != nil {
		w.t.Fatal(err)
	}
}

// lostWork is what is done, what it comes to, and what it comes to when it is asked
// for again.
type lostWork struct {
	do          func() error
	want, again broker.Code
	sessions    int // that live then
}

func (w *lossy) complete(secret, code string) func() error {
	return func() error {
		_, err := w.Broker.CompleteLogin(context.Background(), secret, code, here)
		return err
	}
}

var lostWorks = map[string]func(w *lossy, app *harness.Authenticator, p broker.Principal) lostWork{
	"a second step": func(w *lossy, app *harness.Authenticator, _ broker.Principal) lostWork {
		return lostWork{w.complete(pending(w.t, w.Rig), app.Next(w.t)), "", broker.InvalidState, 2}
	},
	"a second step with a temporary password": func(w *lossy, app *harness.Authenticator, p broker.Principal) lostWork {
		w.temporary(p.User)
		return lostWork{w.complete(pending(w.t, w.Rig), app.Next(w.t)), broker.PasswordChangeRequired, broker.InvalidState, 0}
	},
	"another password in the place of a temporary one": func(w *lossy, app *harness.Authenticator, p broker.Principal) lostWork {
		w.temporary(p.User)
		ticket := ticketIn(w.t, w.complete(pending(w.t, w.Rig), app.Next(w.t))(), broker.PasswordChangeRequired)
		return lostWork{func() error {
			_, err := w.Broker.RedeemTicket(context.Background(), ticket, "another long password", here)
			return err
		}, "", broker.InvalidState, 1}
	},
	"an app that goes for a code": func(w *lossy, app *harness.Authenticator, p broker.Principal) lostWork {
		code := app.Next(w.t)
		return lostWork{func() error { return w.Broker.RemoveTOTP(context.Background(), p, code, here) }, "", broker.WrongPassword, 1}
	},
}

// R12: what a COMMIT took of which no answer came is known as its own by the try after it,
// and by nobody else: the same thing asked for again is refused as ever.
func TestLostCommitIsKnown(t *testing.T) {
	for what, begin := range lostWorks {
		for how, lose := range losses {
			t.Run(what+", "+how, func(t *testing.T) {
				w := newLossy(t)
				w.User(t, "alice", broker.RoleUser)
				app, p := w.Enrol(t, "alice")
				work := begin(w, app, p)
				var err error
				lose(w, func() { err = work.do() })
				if err != nil && broker.CodeOf(err) != work.want || err == nil && work.want != "" {
					t.Errorf("the answer: %v", err)
				}
				if n := w.sessions(); n != work.sessions {
					t.Errorf("%d sessions live, want %d", n, work.sessions)
				}
				wantCode(t, "again", work.do(), work.again)
			})
		}
	}
}

// silentStore commits, and then says once that no answer came.
type silentStore struct {
	broker.Store
	silent bool
}

func (s *silentStore) Tx(ctx context.Context, f func(broker.Store) error) error {
	err := s.Store.Tx(ctx, f)
	if err == nil && s.silent {
		s.silent = false
		return broker.Unavailable(errors.New("the connection was cut behind COMMIT"))
	}
	return err
}

// Whoever's code was taken by a COMMIT that nobody heard of is told what it did, and
// it counts as no failure.
func TestCodeOfALostCommitIsNotWrong(t *testing.T) {
	store := &silentStore{}
	rig := harness.New(t, "", func(c *broker.Config) {
		store.Store, c.Store, c.RetryFor = c.Store, store, time.Minute
	})
	rig.User(t, "alice", broker.RoleUser)
	app, p := rig.Enrol(t, "alice")
	store.silent = true
	if err := rig.Broker.RemoveTOTP(context.Background(), p, app.Next(t), here); err != nil || store.silent {
		t.Errorf("the answer: %v", err)
	}
	if u, err := rig.Store.UserByUsername(context.Background(), "alice"); err != nil || u.SecondFactor {
		t.Errorf("what was committed: %+v %v", u, err)
	}
}
