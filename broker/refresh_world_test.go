package broker_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/tokens"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var (
	ctx      = context.Background()
	phone    = broker.Device{IP: "192.0.2.10", UserAgent: "Anna's phone"}
	stranger = broker.Device{IP: "203.0.113.66", UserAgent: "curl"}
)

const standardGrace = 10 * time.Minute

// world is a broker on one kind of database.
type world struct {
	*harness.Rig
	kind   string
	url    string
	change func(*broker.Config)
}

// onEach runs a test on SQLite in memory, SQLite in a file and PostgreSQL.
func onEach(t *testing.T, change func(*broker.Config), test func(t *testing.T, w *world)) {
	t.Helper()
	onKinds(t, []string{"memory", "file", "postgres"}, change, test)
}

// onEachKept is onEach but for memory, into which nobody sees from outside and which
// ends with its process.
func onEachKept(t *testing.T, change func(*broker.Config), test func(t *testing.T, w *world)) {
	t.Helper()
	onKinds(t, []string{"file", "postgres"}, change, test)
}

func onKinds(t *testing.T, kinds []string, change func(*broker.Config), test func(t *testing.T, w *world)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			w := &world{kind: kind, change: change}
			switch kind {
			case "file":
				w.url = "sqlite:" + filepath.Join(t.TempDir(), "latchkey.db")
			case "postgres":
				w.url = pgtest.Shared(t).NewDatabase(t)
			}
			w.Rig = harness.New(t, w.url, change)
			w.User(t, "anna", broker.RoleUser)
			test(t, w)
		})
	}
}

func withGrace(d time.Duration) func(*broker.Config) {
	return func(c *broker.Config) { c.Lifetimes.Grace = d }
}

// another is a second broker over the same database, with the same clock: a
// replica. A database in memory belongs to one process, so there it is a second
// broker over the same store.
func (w *world) another(t *testing.T) *world {
	t.Helper()
	r := harness.NewAt(t, w.Clock, w.url, func(c *broker.Config) {
		if w.change != nil {
			w.change(c)
		}
		if w.url == "" {
			c.Store = w.Store
		}
	})
	if w.url == "" {
		r.Store = w.Store
	}
	return &world{Rig: r, kind: w.kind, url: w.url, change: w.change}
}

// raw is a connection to the database beside the store. There is none to a
// database in memory.
func (w *world) raw(t *testing.T) *sql.DB {
	t.Helper()
	return harness.Open(t, w.url)
}

func (w *world) exec(t *testing.T, statement string) {
	t.Helper()
	if _, err := w.raw(t).Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (w *world) login(t *testing.T) *broker.Login {
	t.Helper()
	login, err := w.Broker.LoginPassword(ctx, "anna", harness.PasswordOf("anna"), phone)
	if err != nil {
		t.Fatal(err)
	}
	return login
}

func (w *world) refresh(from broker.Device, token tokens.RefreshToken) (*broker.Login, error) {
	return w.Broker.Refresh(ctx, token.Reveal(), broker.AppClientID, from)
}

// refreshed refreshes and wants an outcome and a pair, in the answer and in the
// token.
func (w *world) refreshed(t *testing.T, token tokens.RefreshToken, o broker.Outcome, g, b int64) tokens.RefreshToken {
	t.Helper()
	sid := w.claims(t, token).SessionID
	login, err := w.refresh(phone, token)
	if err != nil {
		t.Fatalf("refresh: %v, want %s (%d, %d)", err, o, g, b)
	}
	c := w.claims(t, login.RefreshToken)
	if login.Outcome != o || c.Generation != g || c.Branch != b || c.SessionID != sid || login.Session.ID != sid {
		t.Fatalf("refresh: %s (%d, %d) of %s, want %s (%d, %d) of %s", login.Outcome, c.Generation, c.Branch, c.SessionID, o, g, b, sid)
	}
	return login.RefreshToken
}

// refused refreshes and wants a refusal.
func (w *world) refused(t *testing.T, from broker.Device, token tokens.RefreshToken, code broker.Code) {
	t.Helper()
	if _, err := w.refresh(from, token); broker.CodeOf(err) != code || err == nil {
		t.Fatalf("refresh: %v, want %s", err, code)
	}
}

func (w *world) claims(t *testing.T, token tokens.RefreshToken) tokens.RefreshClaims {
	t.Helper()
	c, err := harness.Secrets(t, harness.Secret).ParseRefresh(token.Reveal(), w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) row(t *testing.T, sid string) broker.Session {
	t.Helper()
	s, _, err := w.Store.SessionByID(ctx, sid)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) rows(t *testing.T) int {
	t.Helper()
	_, n, err := w.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *world) alive(t *testing.T, sid string) {
	t.Helper()
	if s := w.row(t, sid); !s.EndedAt.IsZero() || s.EndCause != "" {
		t.Fatalf("the session ended at %v with cause %s", s.EndedAt, s.EndCause)
	}
}

func (w *world) ended(t *testing.T, sid string, cause broker.EndCause) {
	t.Helper()
	if s := w.row(t, sid); s.EndedAt.IsZero() || s.EndCause != cause {
		t.Fatalf("the session ended at %v with cause %q, want %s", s.EndedAt, s.EndCause, cause)
	}
}

func (w *world) events(t *testing.T, sid, name string) []broker.Event {
	t.Helper()
	events, err := w.Broker.Events(ctx, broker.EventFilter{SessionID: sid, Name: name, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// wait lets so many windows and a bit pass.
func (w *world) wait(windows int) {
	w.Clock.Advance(time.Duration(windows) * (standardGrace + time.Millisecond))
}

type answered struct {
	login *broker.Login
	err   error
}

// storm presents one token n times at once, in turn on each of the worlds.
func storm(n int, token tokens.RefreshToken, worlds ...*world) []answered {
	answers, start := make([]answered, n), make(chan struct{})
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			<-start
			answers[i].login, answers[i].err = worlds[i%len(worlds)].refresh(phone, token)
		})
	}
	close(start)
	wg.Wait()
	return answers
}
