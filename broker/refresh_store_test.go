package broker_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
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
	for _, kind := range []string{"memory", "file", "postgres"} {
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
	r := harness.New(t, w.url, func(c *broker.Config) {
		if w.change != nil {
			w.change(c)
		}
		c.Now = w.Clock.Now
		if w.url == "" {
			c.Store = w.Store
		}
	})
	r.Clock = w.Clock
	if w.url == "" {
		r.Store = w.Store
	}
	return &world{Rig: r, kind: w.kind, url: w.url, change: w.change}
}

// raw is a connection to the database beside the store. There is none to a
// database in memory.
func (w *world) raw(t *testing.T) *sql.DB {
	t.Helper()
	driver, dsn := "postgres", w.url
	if file, ok := strings.CutPrefix(w.url, "sqlite:"); ok {
		driver, dsn = "sqlite3", "file:"+file
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
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

// T11: fifty parallel refreshes of one token on two replicas have one
// successor; so have fifty retries of a lost answer a day later.
func TestConcurrentDoubleSpend(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		replica := w.another(t)
		login := w.login(t)
		sid := login.Session.ID
		check := func(g, b int64, first broker.Outcome) {
			t.Helper()
			firsts := 0
			jtis := map[string]bool{}
			for _, a := range storm(50, login.RefreshToken, w, replica) {
				if a.err != nil {
					t.Fatal(a.err)
				}
				c := w.claims(t, a.login.RefreshToken)
				if c.SessionID != sid || c.Generation != g || c.Branch != b {
					t.Errorf("answered (%d, %d) of %s, want (%d, %d) of %s", c.Generation, c.Branch, c.SessionID, g, b, sid)
				}
				if a.login.Outcome == first {
					firsts++
				}
				jtis[c.ID] = true
			}
			if firsts != 1 {
				t.Errorf("%d times %s, want exactly one", firsts, first)
			}
			if len(jtis) != 50 {
				t.Errorf("%d different jti in 50 tokens", len(jtis))
			}
			if row := w.row(t, sid); row.Generation != g || row.Branch != b || !row.EndedAt.IsZero() {
				t.Errorf("the row is at (%d, %d), ended %v; want (%d, %d), alive", row.Generation, row.Branch, row.EndedAt, g, b)
			}
			if n := w.rows(t); n != 1 {
				t.Errorf("%d session rows, want 1", n)
			}
		}
		w.wait(1)
		check(1, 0, broker.OutcomeAdvance)
		w.Clock.Advance(26 * time.Hour)
		check(1, 1, broker.OutcomeReissue)
		if _, err := replica.Broker.Authenticate(ctx, sid); err != nil {
			t.Errorf("the session's access tokens: %v", err)
		}
	})
}

// A losing branch that comes from many places at once ends the session once.
func TestConcurrentReuse(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		replica := w.another(t)
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		w.refreshed(t, rt1, broker.OutcomeAdvance, 2, 0)
		w.wait(1)
		for _, a := range storm(20, rt0, w, replica) {
			if broker.CodeOf(a.err) != broker.TokenReused {
				t.Errorf("%v, want %s", a.err, broker.TokenReused)
			}
		}
		w.ended(t, sid, broker.TokenReused)
		if n := len(w.events(t, sid, "refresh.reuse")); n != 1 {
			t.Errorf("%d events of the reuse, want 1", n)
		}
	})
}

// The promise: a client that lost an answer gets another, at whatever time.
func TestLostAnswerIsAnsweredAgain(t *testing.T) {
	for _, grace := range []time.Duration{standardGrace, time.Second} {
		t.Run(grace.String(), func(t *testing.T) {
			onEach(t, withGrace(grace), func(t *testing.T, w *world) {
				for _, delay := range []time.Duration{0, 40 * time.Second, 11 * time.Minute, 26 * time.Hour} {
					lostAndRetried(t, w, grace, delay)
				}
			})
		})
	}
}

// lostAndRetried loses the answer, and those to two retries, each as late as
// the first; then the last answer arrives and must be good.
func lostAndRetried(t *testing.T, w *world, grace, delay time.Duration) {
	t.Helper()
	rt0 := w.login(t).RefreshToken
	sid := w.claims(t, rt0).SessionID
	w.Clock.Advance(grace)
	w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
	branch, outcome, step := int64(0), broker.OutcomeConverge, int64(0)
	if delay > grace {
		outcome, step = broker.OutcomeReissue, 1
	}
	var last tokens.RefreshToken
	for range 3 {
		w.Clock.Advance(delay)
		branch += step
		last = w.refreshed(t, rt0, outcome, 1, branch)
	}
	w.Clock.Advance(grace)
	w.refreshed(t, last, broker.OutcomeAdvance, 2, 0)
	w.alive(t, sid)
}

// Check 9 of the JSON contract: what was reissued wins once it is used; the
// token that it replaced, coming back later, proves two holders.
func TestForkOfTwoHoldersEnds(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		w.refreshed(t, rt1, broker.OutcomeAdvance, 2, 0) // lost
		w.wait(1)
		branch := w.refreshed(t, rt1, broker.OutcomeReissue, 2, 1)
		newest := w.refreshed(t, branch, broker.OutcomeAdvance, 3, 0)
		w.wait(2)
		w.alive(t, sid)
		w.refused(t, stranger, rt1, broker.TokenReused)
		w.ended(t, sid, broker.TokenReused)
		w.refused(t, phone, newest, broker.TokenReused)
		w.refused(t, phone, rt0, broker.TokenReused)
		if _, err := w.Broker.Authenticate(ctx, sid); !errors.Is(err, broker.TokenReused) {
			t.Errorf("access tokens of the session: %v, want %s", err, broker.TokenReused)
		}
		checkReuseEvent(t, w, sid)
	})
}

// checkReuseEvent wants one event that names both holders.
func checkReuseEvent(t *testing.T, w *world, sid string) {
	t.Helper()
	events := w.events(t, sid, "refresh.reuse")
	if len(events) != 1 {
		t.Fatalf("%d events of the reuse, want 1", len(events))
	}
	e := events[0]
	user := w.row(t, sid).UserID
	if e.IP != stranger.IP || e.Detail["user_agent"] != stranger.UserAgent ||
		e.Detail["other_ip"] != phone.IP || e.Detail["other_user_agent"] != phone.UserAgent ||
		e.Detail["cause"] != string(broker.TokenReused) || e.UserID != user || e.Detail["other_at"] == "" {
		t.Errorf("the event does not name both holders: %+v", e)
	}
}

// The other shape of a fork: the losing branch itself is presented.
func TestLosingBranchIsATheft(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		loser := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		winner := w.refreshed(t, rt0, broker.OutcomeReissue, 1, 1)
		newest := w.refreshed(t, winner, broker.OutcomeAdvance, 2, 0)
		w.refused(t, stranger, loser, broker.TokenReused) // at once: a branch has no grace
		w.ended(t, sid, broker.TokenReused)
		w.refused(t, phone, newest, broker.TokenReused)
		checkReuseEvent(t, w, sid)
	})
}

// T09.
func TestLateReplayOfARotatedRefreshToken(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		rt2 := w.refreshed(t, rt1, broker.OutcomeAdvance, 2, 0)
		w.refreshed(t, rt0, broker.OutcomeConverge, 2, 0) // within W: a slow process of the same app
		w.wait(1)
		w.refused(t, stranger, rt0, broker.TokenReused)
		w.ended(t, sid, broker.TokenReused)
		w.refused(t, phone, rt2, broker.TokenReused)
		checkReuseEvent(t, w, sid)
	})
}

// T10.
func TestThiefAndOwnerShareAGeneration(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		shared := w.login(t).RefreshToken
		sid := w.claims(t, shared).SessionID
		w.wait(1)
		thief := w.refreshed(t, shared, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		owner := w.refreshed(t, shared, broker.OutcomeReissue, 1, 1)
		w.wait(1)
		thief = w.refreshed(t, thief, broker.OutcomeAdvance, 2, 0)
		w.wait(1)
		w.refused(t, phone, owner, broker.TokenReused)
		w.ended(t, sid, broker.TokenReused)
		w.refused(t, stranger, thief, broker.TokenReused)
	})
}

// T13: a token whose generation, session or maker is not what it says is
// nobody's token, and touches nothing.
func TestForgedOrForeignGeneration(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		before := w.row(t, sid)
		foreign := harness.Secrets(t, "the root secret of another deployment")
		claims := w.claims(t, rt0)
		claims.Generation += 50
		ofOthers, err := foreign.Current().MintRefresh(claims)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(rt0.Reveal(), ".")
		ahead := strings.Split(ofOthers.Reveal(), ".")[1]
		for name, raw := range map[string]string{
			"payload edited":           parts[0] + "." + ahead + "." + parts[2],
			"payload edited, unsigned": base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"rt+jwt"}`)) + "." + ahead + ".",
			"another deployment":       ofOthers.Reveal(),
			"cut":                      rt0.Reveal()[:len(rt0.Reveal())-1],
			"not a token":              "x",
		} {
			if _, err := w.Broker.Refresh(ctx, raw, broker.AppClientID, stranger); broker.CodeOf(err) != broker.InvalidToken {
				t.Errorf("%s: %v, want %s", name, err, broker.InvalidToken)
			}
		}
		if got := w.row(t, sid); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the row changed: %+v, was %+v", got, before)
		}
		if w.rows(t) != 1 {
			t.Error("a row was made")
		}
		w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		if w.url == "" {
			return
		}
		w.exec(t, "DELETE FROM sessions")
		w.refused(t, phone, rt0, broker.SessionUnknown)
		if w.rows(t) != 0 {
			t.Error("a row was made for a session that is gone")
		}
	})
}

// backup keeps the sessions as they are; what comes back restores them, and
// gives the broker that runs afterwards.
func (w *world) backup(t *testing.T) (restore func() *world) {
	t.Helper()
	switch w.kind {
	case "file":
		file := strings.TrimPrefix(w.url, "sqlite:")
		w.exec(t, "VACUUM INTO '"+file+".backup'")
		return func() *world {
			if err := w.Store.Close(); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{file, file + "-wal", file + "-shm"} {
				if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
			if err := os.Rename(file+".backup", file); err != nil {
				t.Fatal(err)
			}
			return w.another(t)
		}
	case "postgres":
		w.exec(t, "CREATE TABLE backup AS SELECT * FROM sessions")
		return func() *world {
			w.exec(t, "DELETE FROM sessions; INSERT INTO sessions SELECT * FROM backup; DROP TABLE backup")
			return w
		}
	}
	then, _, err := w.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return func() *world {
		for _, s := range then {
			write := broker.RotationWrite{
				Touch: broker.Touch{ID: s.ID, Now: s.LastSeenAt, IdleExpiresAt: s.IdleExpiresAt, IP: s.LastIP},
				From:  w.row(t, s.ID).Rotation, Next: s.Rotation,
			}
			if ok, err := w.Store.WriteRotation(ctx, write); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		return w
	}
}

// After a restore every device goes on: its token is ahead of the row.
func TestRestoreLogsNobodyOut(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		a, b := w.login(t).RefreshToken, w.login(t).RefreshToken
		sidA, sidB := w.claims(t, a).SessionID, w.claims(t, b).SessionID
		w.wait(1)
		a = w.refreshed(t, a, broker.OutcomeAdvance, 1, 0)
		b1 := w.refreshed(t, b, broker.OutcomeAdvance, 1, 0)
		restore := w.backup(t)
		w.wait(1)
		older := w.refreshed(t, a, broker.OutcomeAdvance, 2, 0)
		w.refreshed(t, b, broker.OutcomeReissue, 1, 1)
		w.wait(1)
		b2 := w.refreshed(t, b, broker.OutcomeReissue, 1, 2)
		newest := w.refreshed(t, older, broker.OutcomeAdvance, 3, 0)
		w.wait(1)

		w = restore()
		if row := w.row(t, sidA); row.Generation != 1 {
			t.Fatalf("the row is at %d, it was not restored", row.Generation)
		}
		// By generation. Every token of the generation before is a parent now.
		w.refreshed(t, newest, broker.OutcomeAhead, 3, 0)
		w.refreshed(t, newest, broker.OutcomeSame, 3, 0)
		w.refreshed(t, older, broker.OutcomeConverge, 3, 0)
		w.wait(1)
		w.refreshed(t, newest, broker.OutcomeAdvance, 4, 0)
		// By branch. The losing branch goes on being one.
		w.refreshed(t, b2, broker.OutcomeAhead, 1, 2)
		w.wait(1)
		w.refreshed(t, b2, broker.OutcomeAdvance, 2, 0)
		w.refused(t, stranger, b1, broker.TokenReused)

		w.alive(t, sidA)
		for _, sid := range []string{sidA, sidB} {
			events := w.events(t, sid, "refresh.ahead")
			if len(events) != 1 || events[0].IP != phone.IP || events[0].Detail["generation"] == "" {
				t.Errorf("events of the ahead: %+v, want one with address and generation", events)
			}
		}
	})
}

// A restored row may be idle long since; the token says when it was used last.
func TestRestoredRowIsNotIdleWhereItsTokenIsYoung(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		const day = 24 * time.Hour
		young, old := w.login(t).RefreshToken, w.login(t).RefreshToken
		stale := w.login(t).RefreshToken // never refreshed: its row forgot nothing
		restore := w.backup(t)
		w.Clock.Advance(day)
		old = w.refreshed(t, old, broker.OutcomeAdvance, 1, 0)
		w.Clock.Advance(9 * day)
		young = w.refreshed(t, young, broker.OutcomeAdvance, 1, 0)
		w.Clock.Advance(22 * day) // the rows are 32 days old, the limit is 30
		w = restore()
		w.refreshed(t, young, broker.OutcomeAhead, 1, 0)
		w.refused(t, phone, old, broker.SessionExpired)
		w.refused(t, phone, stale, broker.SessionExpired)
	})
}

// What was made after the backup is gone, and says so; the event is written
// once, however often the app asks.
func TestSessionMadeAfterTheBackupIsUnknown(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		if w.kind == "memory" {
			t.Skip("rows of a database in memory cannot be removed from outside")
		}
		restore := w.backup(t)
		rt := w.login(t).RefreshToken
		w = restore()
		for range 5 {
			w.refused(t, phone, rt, broker.SessionUnknown)
		}
		events := w.events(t, w.claims(t, rt).SessionID, "refresh.unknown")
		if len(events) != 1 || events[0].UserID != w.claims(t, rt).Subject || events[0].Detail["code"] != string(broker.SessionUnknown) {
			t.Errorf("events: %+v", events)
		}
	})
}

// Ended stays ended: no token, no other end and no clock wakes a session or
// changes its cause.
func TestEndedStaysEnded(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		if err := w.Broker.EndOwnSession(ctx, w.claims(t, rt0).Subject, sid, phone); err != nil {
			t.Fatal(err)
		}
		before := w.row(t, sid)
		w.ended(t, sid, broker.RevokedByUser)

		ahead := w.mint(t, rt1, func(c *tokens.RefreshClaims) { c.Generation += 7 })
		for _, wait := range []int{0, 1, 5} {
			w.wait(wait)
			for _, rt := range []tokens.RefreshToken{rt0, rt1, ahead} {
				w.refused(t, phone, rt, broker.RevokedByUser)
			}
		}
		if n, err := w.Broker.EndSessions(ctx, broker.SessionFilter{ID: sid}, broker.RevokedByAdmin, true, ""); n != 0 || err != nil {
			t.Errorf("ended again: %d, %v", n, err)
		}
		if _, err := w.Broker.Logout(ctx, rt1.Reveal(), true, phone); err != nil {
			t.Error(err)
		}
		w.Clock.Advance(40 * 24 * time.Hour) // now it would be idle as well
		w.refused(t, phone, rt1, broker.RevokedByUser)
		if got := w.row(t, sid); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the ended row changed: %+v, was %+v", got, before)
		}
		if n := len(w.events(t, sid, broker.EventSessionEnded)); n != 1 {
			t.Errorf("%d events of the end, want 1", n)
		}
	})
}

// mint makes a token of ours with other claims.
func (w *world) mint(t *testing.T, like tokens.RefreshToken, change func(*tokens.RefreshClaims)) tokens.RefreshToken {
	t.Helper()
	c := w.claims(t, like)
	change(&c)
	token, err := harness.Secrets(t, harness.Secret).Current().MintRefresh(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// T08: a user who was disabled behind our back, in the database, is refused by
// the very next refresh, whatever outcome it would have had; enabled again, the
// devices go on.
func TestDisabledUserIsRefusedAtOnce(t *testing.T) {
	type setup func(t *testing.T, w *world) tokens.RefreshToken
	advanced := func(t *testing.T, w *world) (rt0, rt1 tokens.RefreshToken) {
		rt0 = w.login(t).RefreshToken
		w.wait(1)
		return rt0, w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
	}
	cases := []struct {
		name string
		make setup
		then broker.Outcome // when enabled again
	}{
		{"advance", func(t *testing.T, w *world) tokens.RefreshToken {
			rt := w.login(t).RefreshToken
			w.wait(1)
			return rt
		}, broker.OutcomeAdvance},
		{"same", func(t *testing.T, w *world) tokens.RefreshToken { return w.login(t).RefreshToken }, broker.OutcomeSame},
		{"converge", func(t *testing.T, w *world) tokens.RefreshToken { rt0, _ := advanced(t, w); return rt0 }, broker.OutcomeConverge},
		{"reissue", func(t *testing.T, w *world) tokens.RefreshToken {
			rt0, _ := advanced(t, w)
			w.wait(1)
			return rt0
		}, broker.OutcomeReissue},
		{"ahead", func(t *testing.T, w *world) tokens.RefreshToken {
			_, rt1 := advanced(t, w)
			return w.mint(t, rt1, func(c *tokens.RefreshClaims) { c.Generation++ })
		}, broker.OutcomeAhead},
	}
	onEach(t, nil, func(t *testing.T, w *world) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				rt := c.make(t, w)
				sid := w.claims(t, rt).SessionID
				before := w.row(t, sid)
				w.setDisabled(t, true)
				w.refused(t, phone, rt, broker.UserDisabled)
				if got := w.row(t, sid); fmt.Sprint(got) != fmt.Sprint(before) {
					t.Errorf("the row changed: %+v, was %+v", got, before)
				}
				if _, err := w.Broker.Authenticate(ctx, sid); !errors.Is(err, broker.UserDisabled) {
					t.Errorf("access tokens: %v", err)
				}
				w.setDisabled(t, false)
				login, err := w.refresh(phone, rt)
				if err != nil || login.Outcome != c.then {
					t.Errorf("enabled again: %v %v, want %s", login, err, c.then)
				}
			})
		}
	})
}

// setDisabled writes the user's row and nothing else: no session ends.
func (w *world) setDisabled(t *testing.T, disabled bool) {
	t.Helper()
	u, err := w.Store.UserByUsername(ctx, "anna")
	if err != nil {
		t.Fatal(err)
	}
	u.DisabledAt = time.Time{}
	if disabled {
		u.DisabledAt = w.Clock.Now()
	}
	if err := w.Store.UpdateUser(ctx, u); err != nil {
		t.Fatal(err)
	}
}

// A reused token of a disabled user is refused like any other, not reported as
// trouble of ours that the client should wait out.
func TestReuseByADisabledUserIsARefusal(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		w.wait(1)
		w.refreshed(t, rt1, broker.OutcomeAdvance, 2, 0)
		w.wait(1)
		w.setDisabled(t, true)
		_, err := w.refresh(phone, rt0)
		if code := broker.CodeOf(err); code != broker.UserDisabled && code != broker.TokenReused {
			t.Errorf("%v, want a refusal", err)
		}
	})
}

// A user who vanished from the database without an end of the sessions.
func TestDeletedUserIsRefusedAtOnce(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		w.wait(1)
		rt1 := w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
		if err := w.Store.DeleteUser(ctx, w.claims(t, rt0).Subject); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, rt := range []tokens.RefreshToken{rt0, rt1} {
				w.refused(t, phone, rt, broker.UserDeleted)
			}
			w.wait(1)
		}
	})
}

// Another client's token, and a bound token without its key, are refused and
// end nothing: a misconfiguration must not log people out.
func TestMismatchEndsNothing(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt0 := w.login(t).RefreshToken
		sid := w.claims(t, rt0).SessionID
		w.wait(1)
		before := w.row(t, sid)
		for range 3 {
			if _, err := w.Broker.Refresh(ctx, rt0.Reveal(), "another-client", stranger); !errors.Is(err, broker.ClientMismatch) {
				t.Fatalf("another client: %v", err)
			}
		}
		// The token and its presenter agree with each other, the row does not.
		others := w.mint(t, rt0, func(c *tokens.RefreshClaims) { c.ClientID = "another-client" })
		if _, err := w.Broker.Refresh(ctx, others.Reveal(), "another-client", stranger); !errors.Is(err, broker.ClientMismatch) {
			t.Fatalf("a token of another client for this row: %v", err)
		}
		if got := w.row(t, sid); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the row changed: %+v, was %+v", got, before)
		}
		if n := len(w.events(t, sid, "refresh.client_mismatch")); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
		w.refreshed(t, rt0, broker.OutcomeAdvance, 1, 0)
	})
}

func TestBoundSessionWithoutItsKeyEndsNothing(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		login := w.login(t)
		bound := login.Session
		bound.ID, bound.DPoPThumbprint = "bound-session", "thumbprint-of-a-key"
		if err := w.Store.InsertSession(ctx, bound, ""); err != nil {
			t.Fatal(err)
		}
		rt := w.mint(t, login.RefreshToken, func(c *tokens.RefreshClaims) { c.SessionID = bound.ID })
		before := w.row(t, bound.ID)
		for range 3 {
			w.wait(1)
			w.refused(t, stranger, rt, broker.KeyMismatch)
		}
		if got := w.row(t, bound.ID); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the row changed: %+v, was %+v", got, before)
		}
		if n := len(w.events(t, bound.ID, "refresh.key_mismatch")); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
	})
}

// Check 10: audiobookshelf#5253, two sessions of one user in one second.
func TestTwoSessionsInTheSameInstant(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		a, b := w.login(t), w.login(t)
		if a.RefreshToken == b.RefreshToken || a.AccessToken == b.AccessToken || a.Session.ID == b.Session.ID {
			t.Fatal("two logins share a token or a session")
		}
		w.wait(1)
		newA := w.refreshed(t, a.RefreshToken, broker.OutcomeAdvance, 1, 0)
		newB := w.refreshed(t, b.RefreshToken, broker.OutcomeAdvance, 1, 0)
		if newA == newB || w.claims(t, newA).ID == w.claims(t, newB).ID {
			t.Error("two refreshes in one instant gave one token")
		}
		if _, err := w.Broker.Logout(ctx, newA.Reveal(), false, phone); err != nil {
			t.Fatal(err)
		}
		w.refused(t, phone, newA, broker.LoggedOut)
		w.alive(t, b.Session.ID)
		w.refreshed(t, newB, broker.OutcomeSame, 1, 0)
	})
}

// Check 17: any generation of the token logs out, even one that would be taken
// for a theft at a refresh.
func TestLogoutByAnyGeneration(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		for which := range 4 {
			line := []tokens.RefreshToken{w.login(t).RefreshToken}
			for g := range int64(3) {
				w.wait(1)
				line = append(line, w.refreshed(t, line[g], broker.OutcomeAdvance, g+1, 0))
			}
			w.wait(1)
			sid := w.claims(t, line[0]).SessionID
			if s, err := w.Broker.Logout(ctx, line[which].Reveal(), false, phone); err != nil || s.ID != sid {
				t.Fatalf("logout by generation %d: %v, session %s", which, err, s.ID)
			}
			w.ended(t, sid, broker.LoggedOut)
			for _, rt := range line {
				w.refused(t, phone, rt, broker.LoggedOut)
			}
			events := w.events(t, sid, broker.EventSessionEnded)
			if len(events) != 1 || events[0].Detail["cause"] != string(broker.LoggedOut) || events[0].IP != phone.IP {
				t.Errorf("events of the end: %+v", events)
			}
		}
	})
}

func TestLogoutOfAllDevices(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		w.User(t, "bob", broker.RoleUser)
		bob := w.Login(t, "bob")
		a, b := w.login(t).RefreshToken, w.login(t).RefreshToken
		if _, err := w.Broker.Logout(ctx, a.Reveal(), true, phone); err != nil {
			t.Fatal(err)
		}
		w.refused(t, phone, a, broker.LoggedOut)
		w.refused(t, phone, b, broker.LoggedOut)
		w.alive(t, bob.Session.ID)
		// A token that is dead proves nothing about the sessions of a later login.
		later := w.login(t)
		if _, err := w.Broker.Logout(ctx, a.Reveal(), true, stranger); err != nil {
			t.Fatal(err)
		}
		w.alive(t, later.Session.ID)
		// Nor does a token of nobody.
		if _, err := w.Broker.Logout(ctx, "x.y.z", true, stranger); err != nil {
			t.Fatal(err)
		}
		w.alive(t, later.Session.ID)
	})
}

// Check 18: a password change ends every session, the one that asked too, and
// the new one works.
func TestPasswordChangeEndsEverySession(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		a, b := w.login(t), w.login(t)
		w.wait(1)
		newA := w.refreshed(t, a.RefreshToken, broker.OutcomeAdvance, 1, 0)
		p, err := w.Broker.Authenticate(ctx, a.Session.ID)
		if err != nil {
			t.Fatal(err)
		}
		current := harness.PasswordOf("anna")
		fresh, err := w.Broker.ChangePassword(ctx, p, &current, "a whole new password", phone)
		if err != nil {
			t.Fatal(err)
		}
		for _, rt := range []tokens.RefreshToken{a.RefreshToken, newA, b.RefreshToken} {
			w.refused(t, phone, rt, broker.PasswordChanged)
		}
		w.ended(t, a.Session.ID, broker.PasswordChanged)
		w.ended(t, b.Session.ID, broker.PasswordChanged)
		w.wait(1)
		w.refreshed(t, fresh.RefreshToken, broker.OutcomeAdvance, 1, 0)
		if _, err := w.Broker.LoginPassword(ctx, "anna", current, phone); !errors.Is(err, broker.InvalidCredentials) {
			t.Errorf("the old password: %v", err)
		}
		if _, err := w.Broker.LoginPassword(ctx, "anna", "a whole new password", phone); err != nil {
			t.Errorf("the new password: %v", err)
		}
	})
}

// A refusal that a client repeats for ever is written down once a day.
func TestRefusalsAreAuditedOnce(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt := w.login(t).RefreshToken
		sid := w.claims(t, rt).SessionID
		if _, err := w.Broker.Logout(ctx, rt.Reveal(), false, phone); err != nil {
			t.Fatal(err)
		}
		repeat := func(want int) {
			t.Helper()
			for range 10 {
				w.refused(t, stranger, rt, broker.LoggedOut)
			}
			events := w.events(t, sid, "refresh.ended")
			if len(events) != want || events[0].IP != stranger.IP || events[0].Detail["code"] != string(broker.LoggedOut) {
				t.Fatalf("events: %+v, want %d", events, want)
			}
		}
		repeat(1)
		w.Clock.Advance(23 * time.Hour)
		repeat(1)
		w.Clock.Advance(time.Hour)
		repeat(2)
		if n := strings.Count(w.Log.String(), "refresh refused"); n != 2 {
			t.Errorf("%d lines in the log, want 2", n)
		}
	})
}

// One row per device for ever.
func TestAThousandRefreshesAreOneRow(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt := w.login(t).RefreshToken
		sid := w.claims(t, rt).SessionID
		for g := range int64(1000) {
			w.wait(1)
			rt = w.refreshed(t, rt, broker.OutcomeAdvance, g+1, 0)
		}
		if n := w.rows(t); n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
		if n := len(w.events(t, sid, "")); n != 1 { // session.started
			t.Errorf("%d events, want 1", n)
		}
	})
}

// A row is kept for its retention and not longer: sessions that ended, from
// their end; sessions that expired unnoticed, from when they expired, and with
// the cause.
func TestSweepKeepsEndedSessionsForTheirRetention(t *testing.T) {
	const day = 24 * time.Hour
	const idle, retention = 30 * day, 90 * day
	type kept struct {
		name  string
		make  func(t *testing.T, w *world) tokens.RefreshToken
		over  time.Duration // from the login to the end of the session
		cause broker.EndCause
	}
	logout := func(t *testing.T, w *world, rt tokens.RefreshToken) tokens.RefreshToken {
		if _, err := w.Broker.Logout(ctx, rt.Reveal(), false, phone); err != nil {
			t.Fatal(err)
		}
		return rt
	}
	cases := []kept{
		{"logged out, never refreshed", func(t *testing.T, w *world) tokens.RefreshToken { return logout(t, w, w.login(t).RefreshToken) }, 0, broker.LoggedOut},
		{"logged out on day 29, never refreshed", func(t *testing.T, w *world) tokens.RefreshToken {
			rt := w.login(t).RefreshToken
			w.Clock.Advance(29 * day)
			return logout(t, w, rt)
		}, 29 * day, broker.LoggedOut},
		{"logged out after a refresh", func(t *testing.T, w *world) tokens.RefreshToken {
			rt := w.login(t).RefreshToken
			w.Clock.Advance(day)
			return logout(t, w, w.refreshed(t, rt, broker.OutcomeAdvance, 1, 0))
		}, day, broker.LoggedOut},
		{"expired, never refreshed", func(t *testing.T, w *world) tokens.RefreshToken { return w.login(t).RefreshToken }, idle, broker.SessionExpired},
		{"expired after a refresh", func(t *testing.T, w *world) tokens.RefreshToken {
			rt := w.login(t).RefreshToken
			w.Clock.Advance(day)
			return w.refreshed(t, rt, broker.OutcomeAdvance, 1, 0)
		}, day + idle, broker.SessionExpired},
	}
	onEach(t, nil, func(t *testing.T, w *world) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				start := w.Clock.Now()
				at := func(d time.Duration) { w.Clock.Advance(start.Add(d).Sub(w.Clock.Now())) }
				rt := c.make(t, w)
				sid := w.claims(t, rt).SessionID
				// Sweeping every day, as the program does, up to the end of the retention.
				for d := c.over; d <= c.over+retention; d += day {
					at(d)
					if err := w.Broker.Sweep(ctx); err != nil {
						t.Fatal(err)
					}
					if _, _, err := w.Store.SessionByID(ctx, sid); err != nil {
						t.Fatalf("%v after its end the row is gone (%v), its retention is %v", d-c.over, err, retention)
					}
					w.refused(t, phone, rt, c.cause)
				}
				// Some slack, but not for ever: idle time and the steps of gc_after.
				at(c.over + retention + idle + 3*day)
				for range 2 {
					if err := w.Broker.Sweep(ctx); err != nil {
						t.Fatal(err)
					}
				}
				w.refused(t, phone, rt, broker.SessionUnknown)
			})
		}
	})
}

// "Every session that ended can say why": the row of a session that expired
// unnoticed gets its cause before it is deleted, and a live one gets none.
func TestSweepWritesTheCauseOfExpiredSessions(t *testing.T) {
	const day = 24 * time.Hour
	limited := func(c *broker.Config) { c.Lifetimes.MaxAge = 40 * day }
	onEach(t, limited, func(t *testing.T, w *world) {
		aged, idle := w.login(t).RefreshToken, w.login(t).RefreshToken
		agedSID, idleSID := w.claims(t, aged).SessionID, w.claims(t, idle).SessionID
		causes := map[string]broker.EndCause{}
		for today := 1; today <= 300 && w.rows(t) > 0; today++ {
			w.Clock.Advance(day)
			if today%9 == 0 && today < 40 {
				aged = w.refreshed(t, aged, broker.OutcomeAdvance, int64(today/9), 0)
			}
			if err := w.Broker.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
			all, _, err := w.Store.ListSessions(ctx, broker.SessionFilter{All: true}, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range all {
				if s.EndCause != "" {
					causes[s.ID] = s.EndCause
				}
				if over := s.Ended(w.Clock.Now()); over == "" && (s.EndCause != "" || !s.EndedAt.IsZero()) {
					t.Fatalf("on day %d a live session got the cause %s", today, s.EndCause)
				}
			}
		}
		if causes[idleSID] != broker.SessionExpired || causes[agedSID] != broker.SessionMaxAge {
			t.Errorf("causes seen in the rows: unused %q, too old %q; want %s, %s", causes[idleSID], causes[agedSID], broker.SessionExpired, broker.SessionMaxAge)
		}
		if n := w.rows(t); n != 0 {
			t.Errorf("%d rows are left for ever", n)
		}
	})
}

// A refresh whose caller has gone is not executed, and costs the store nothing:
// a database in memory lives in one connection, which must survive.
func TestCallerWhoHasGone(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt := w.login(t).RefreshToken
		sid := w.claims(t, rt).SessionID
		w.wait(1)
		before := w.row(t, sid)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		for range 20 {
			if _, err := w.Broker.Refresh(gone, rt.Reveal(), broker.AppClientID, phone); broker.CodeOf(err) != broker.TemporarilyUnavailable {
				t.Fatalf("%v, want %s", err, broker.TemporarilyUnavailable)
			}
		}
		if got := w.row(t, sid); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("the row changed: %+v, was %+v", got, before)
		}
		// Callers who leave in the middle: whatever the moment, the token stays good.
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				leaving, cancel := context.WithTimeout(ctx, time.Duration(i*50)*time.Microsecond)
				defer cancel()
				_, err := w.Broker.Refresh(leaving, rt.Reveal(), broker.AppClientID, phone)
				if err != nil && broker.CodeOf(err) != broker.TemporarilyUnavailable {
					t.Errorf("a caller who left: %v", err)
				}
			})
		}
		wg.Wait()
		login, err := w.refresh(phone, rt)
		if err != nil || w.claims(t, login.RefreshToken).Generation != 1 {
			t.Errorf("after the storm: %v %v", login, err)
		}
	})
}

// Trouble of ours says nothing about a token: never a refusal.
func TestTroubleOfOursIsNoRefusal(t *testing.T) {
	onEach(t, nil, func(t *testing.T, w *world) {
		rt := w.login(t).RefreshToken
		if err := w.Store.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err := w.refresh(phone, rt)
			if e, ok := errors.AsType[*broker.Error](err); !ok || e.Code != broker.TemporarilyUnavailable || e.RetryAfter <= 0 {
				t.Errorf("%v, want %s with a time to come again", err, broker.TemporarilyUnavailable)
			}
			w.wait(1)
		}
		if _, err := w.Broker.Logout(ctx, rt.Reveal(), false, phone); broker.CodeOf(err) != broker.TemporarilyUnavailable {
			t.Errorf("logout: %v", err)
		}
	})
}

// The hot path does not wait for the disk. When the server crashes, an advance
// that was answered may be lost: the row forgot, the token did not.
func TestCrashThatLosesAnAdvanceLogsNobodyOut(t *testing.T) {
	cluster := pgtest.MustStart(t)
	w := &world{kind: "postgres", url: cluster.NewDatabase(t)}
	w.Rig = harness.New(t, w.url, nil)
	w.User(t, "anna", broker.RoleUser)
	rt := w.login(t).RefreshToken
	sid := w.claims(t, rt).SessionID
	outcomes := map[broker.Outcome]int{}
	for crash := 0; crash < 20 && outcomes[broker.OutcomeAhead] < 2; crash++ {
		w.wait(1)
		before := w.claims(t, rt)
		rt = w.refreshed(t, rt, broker.OutcomeAdvance, before.Generation+1, 0)
		if err := errors.Join(cluster.StopImmediate(), cluster.StartAgain()); err != nil {
			t.Fatal(err)
		}
		login, err := w.refresh(phone, rt)
		if err != nil {
			t.Fatalf("after crash %d: %v", crash, err)
		}
		if c := w.claims(t, login.RefreshToken); c.Generation != before.Generation+1 || c.Branch != 0 || c.SessionID != sid {
			t.Fatalf("after crash %d: (%d, %d), want (%d, 0)", crash, c.Generation, c.Branch, before.Generation+1)
		}
		outcomes[login.Outcome]++
		rt = login.RefreshToken
	}
	t.Logf("after crashes: %v", outcomes)
	if outcomes[broker.OutcomeAhead] == 0 {
		t.Error("no crash lost an advance: the hot path waits for the disk, or this test shows nothing")
	}
	if n := len(w.events(t, sid, "refresh.ahead")); n != outcomes[broker.OutcomeAhead] {
		t.Errorf("%d events, want %d", n, outcomes[broker.OutcomeAhead])
	}
	w.alive(t, sid)
	if n := w.rows(t); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// scriptedIdP lets everybody in and remembers what it was asked.
type scriptedIdP struct {
	mu   sync.Mutex
	asks []broker.IdPRequest
}

const idpCode = "code-of-the-idp-itself"

func (s *scriptedIdP) AuthURL(_ context.Context, r broker.IdPRequest) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks = append(s.asks, r)
	return "https://idp.test/authorize?" + url.Values{"state": {r.State}}.Encode(), nil
}

func (s *scriptedIdP) Exchange(context.Context, broker.IdPRequest, broker.IdPResponse) (broker.IdPClaims, error) {
	return broker.IdPClaims{Issuer: "https://idp.test", Subject: "ida-at-the-idp", Username: "ida", SessionID: "session-at-the-idp"}, nil
}

func (s *scriptedIdP) EndSessionURL(context.Context, string) string { return "" }

// A stolen dump logs nobody in: it holds no token, no password, no secret, no
// one-time code and no state of a login under way, in no table.
func TestStolenDumpHoldsNoCredential(t *testing.T) {
	idp := &scriptedIdP{}
	withIdP := func(c *broker.Config) {
		c.Providers = []broker.Provider{{
			ID: "openid", Name: "IdP", Provision: broker.ProvisionCreate, LinkBy: broker.LinkNone, RequireVerifiedEmail: broker.EmailNever, IdP: idp,
		}}
	}
	onEach(t, withIdP, func(t *testing.T, w *world) {
		if w.kind == "memory" {
			t.Skip("a database in memory cannot be read from outside")
		}
		secrets := map[string]string{
			"root secret": harness.Secret, "root secret, base64": base64.RawURLEncoding.EncodeToString([]byte(harness.Secret)),
			"root secret, hex": hex.EncodeToString([]byte(harness.Secret)), "password": harness.PasswordOf("anna"), "code of the IdP": idpCode,
		}
		remember := func(name string, login *broker.Login) {
			secrets[name+": access token"], secrets[name+": refresh token"] = login.AccessToken.Reveal(), login.RefreshToken.Reveal()
			for kind, token := range map[string]string{"access": login.AccessToken.Reveal(), "refresh": login.RefreshToken.Reveal()} {
				parts := strings.Split(token, ".")
				secrets[name+": payload of the "+kind+" token"], secrets[name+": signature of the "+kind+" token"] = parts[1], parts[2]
			}
			secrets[name+": jti"] = w.claims(t, login.RefreshToken).ID
			secrets[name+": page cookie"] = w.Broker.PageCookie(login.Session.ID)[37:]
		}
		rememberIdP(t, w, idp, secrets, remember)
		login := w.login(t)
		remember("login", login)
		w.wait(1)
		for _, name := range []string{"advance", "converge"} {
			next, err := w.refresh(phone, login.RefreshToken)
			if err != nil {
				t.Fatal(err)
			}
			remember(name, next)
		}
		if _, err := w.Broker.LoginPassword(ctx, "anna", "a password mistyped", phone); err == nil {
			t.Fatal("a wrong password was taken")
		}
		secrets["mistyped password"] = "a password mistyped"
		token, err := w.Broker.SetupToken(ctx)
		if err != nil {
			t.Fatal(err)
		}
		secrets["setup token"] = token
		private, err := w.Broker.KeyRing().Keys()[0].Private()
		if err != nil {
			t.Fatal(err)
		}
		secrets["signing key"], secrets["signing key, base64"] = string(private), base64.RawURLEncoding.EncodeToString(private)

		dump := w.dump(t)
		for _, there := range []string{"anna", "ida-at-the-idp", login.Session.ID, "$argon2id$"} {
			if !bytes.Contains(dump, []byte(there)) {
				t.Errorf("the dump does not hold %q: it is not the whole database", there)
			}
		}
		for name, secret := range secrets {
			if len(secret) < 8 || bytes.Contains(dump, []byte(secret)) {
				t.Errorf("the dump holds the %s", name)
			}
		}
		for name, secret := range secrets {
			if strings.Contains(w.Log.String(), secret) {
				t.Errorf("the log holds the %s", name)
			}
		}
		t.Logf("%d secrets sought in %d bytes", len(secrets), len(dump))
	})
}

// rememberIdP walks three logins through an IdP: one to its end, one up to the
// code that waits for its app, one only begun.
func rememberIdP(t *testing.T, w *world, idp *scriptedIdP, secrets map[string]string, remember func(string, *broker.Login)) {
	t.Helper()
	const verifier = "the-code-verifier-of-the-app-0123456789-0123456789"
	secrets["verifier of the app"] = verifier
	for _, step := range []string{"finished", "waiting", "begun"} {
		request := broker.AppRequest{
			ProviderID: "openid", ResponseType: "code", RedirectURI: "audiobookshelf://oauth", State: "app-state-" + step,
			CodeChallenge: challengeOf(verifier), CodeChallengeMethod: "S256",
		}
		if _, err := w.Broker.BeginApp(ctx, request); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Broker.OpenAuthRequest(ctx, "openid", request.State, request.CodeChallenge); err != nil {
			t.Fatal(err)
		}
		ask := idp.asks[len(idp.asks)-1]
		secrets[step+": state"], secrets[step+": nonce"], secrets[step+": verifier"] = ask.State, ask.Nonce, ask.Verifier
		if step == "begun" {
			continue
		}
		done, err := w.Broker.CompleteIdPLogin(ctx, "openid", broker.IdPResponse{Code: idpCode, State: ask.State}, func(string) bool { return false }, phone)
		if err != nil {
			t.Fatal(err)
		}
		secrets[step+": code for the app"] = done.Code
		if step == "waiting" {
			continue
		}
		login, err := w.Broker.RedeemGrant(ctx, "openid", done.Code, request.State, verifier, phone)
		if err != nil {
			t.Fatal(err)
		}
		remember(step, login)
	}
}

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// dump is every table as text; of a file, its bytes as well.
func (w *world) dump(t *testing.T) []byte {
	t.Helper()
	db := w.raw(t)
	list := `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`
	var out bytes.Buffer
	if file, ok := strings.CutPrefix(w.url, "sqlite:"); ok {
		list = `SELECT name FROM sqlite_master WHERE type = 'table'`
		for _, name := range []string{file, file + "-wal"} {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(raw)
		}
	}
	tables := column(t, db, list)
	if len(tables) < 10 {
		t.Fatalf("only %d tables: %v", len(tables), tables)
	}
	for _, table := range tables {
		rows, err := db.Query(`SELECT * FROM "` + table + `"`)
		if err != nil {
			t.Fatal(err)
		}
		columns, _ := rows.Columns()
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			for i, v := range values {
				if text, ok := v.([]byte); ok {
					v = string(text)
				}
				fmt.Fprintf(&out, "%s.%s=%v\n", table, columns[i], v)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func column(t *testing.T, db *sql.DB, query string) (out []string) {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}
