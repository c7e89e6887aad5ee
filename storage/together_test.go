package storage_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
)

// advancers is a file with sessions s0, s1... of one user.
func advancers(t *testing.T, n int) (s *storage.Store, url string) {
	t.Helper()
	url = fileURL(t)
	s = open(t, url)
	u := newUser("anna")
	if err := s.InsertUser(ctx, u); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		at := u.CreatedAt
		err := second(s.InsertSession(ctx, broker.Session{
			ID: fmt.Sprint("s", i), UserID: u.ID, ClientID: "c", AuthTime: at, CreatedAt: at, LastSeenAt: at,
			Rotation: broker.Rotation{AdvancedAt: at, IssuedAt: at}, IdleExpiresAt: at.AddDate(1, 0, 0), AbsExpiresAt: at.AddDate(1, 0, 0),
		}, ""))
		if err != nil {
			t.Fatal(err)
		}
	}
	return s, url
}

// advanced is what one advance of session i brought.
type advanced struct {
	session broker.Session
	user    broker.User
	ok      bool
	err     error
}

func advance(ctx context.Context, s *storage.Store, i int, generation int64) (a advanced) {
	now := newUser("anna").CreatedAt.Add(time.Hour)
	a.session, a.user, a.ok, a.err = s.AdvanceSession(ctx, broker.Advance{
		Touch:    broker.Touch{ID: fmt.Sprint("s", i), Now: now, IdleExpiresAt: now.AddDate(0, 1, 0), IP: fmt.Sprint("192.0.2.", i)},
		ClientID: "c", Generation: generation, AdvancedBefore: now,
	})
	return a
}

// held takes SQLite's writer until what it returns is called.
func held(t *testing.T, s *storage.Store) (release func()) {
	t.Helper()
	taken, free := make(chan struct{}), make(chan struct{})
	var holder sync.WaitGroup
	holder.Go(func() {
		_ = s.Tx(ctx, func(broker.Store) error {
			close(taken)
			<-free
			return nil
		})
	})
	<-taken
	return func() {
		close(free)
		holder.Wait()
	}
}

// meet lets so many advances wait for the writer at once, each of its own session.
func meet(t *testing.T, s *storage.Store, n int, advance func(i int) advanced) []advanced {
	t.Helper()
	out, release := make([]advanced, n), held(t, s)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { out[i] = advance(i) })
	}
	wait(t, func() bool { return s.Gathered() == n })
	release()
	all.Wait()
	return out
}

func wait(t *testing.T, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}

// commits counts those in SQLite's log: the frames that say how long the database is
// after them (https://www.sqlite.org/fileformat.html, section 4.1).
func commits(t *testing.T, url string) (n int) {
	t.Helper()
	const header, frame = 32, 24
	log, err := os.ReadFile(strings.TrimPrefix(url, "sqlite:") + "-wal")
	if err != nil || len(log) < header {
		t.Fatal(err)
	}
	page := int(binary.BigEndian.Uint32(log[8:]))
	for at := header; at+frame+page <= len(log); at += frame + page {
		if binary.BigEndian.Uint32(log[at+4:]) > 0 && string(log[at+8:at+16]) == string(log[16:24]) {
			n++
		}
	}
	return n
}

// Whoever waits for the writer is written with the others, and each gets its own.
func TestAdvancesThatWaitAreWrittenTogether(t *testing.T) {
	const callers = 50
	s, url := advancers(t, callers)
	before := commits(t, url)
	for i, a := range meet(t, s, callers, func(i int) advanced { return advance(ctx, s, i, 0) }) {
		if a.err != nil || !a.ok || a.session.ID != fmt.Sprint("s", i) || a.session.Generation != 1 || a.user.Username != "anna" {
			t.Errorf("s%d: %+v", i, a)
		}
		row, _, err := s.SessionByID(ctx, fmt.Sprint("s", i))
		if err != nil || row.Generation != 1 || row.LastIP != fmt.Sprint("192.0.2.", i) {
			t.Errorf("s%d is at %d, last seen from %s (%v)", i, row.Generation, row.LastIP, err)
		}
	}
	if n := commits(t, url) - before; n != 1 {
		t.Errorf("%d commits", n)
	}
}

// In a group as alone: of those who present the same generation one moves it, and
// whose generation is another moves nothing.
func TestAGroupKeepsTheConditionOfEach(t *testing.T) {
	s, _ := advancers(t, 10)
	moved := 0
	for i, a := range meet(t, s, 30, func(i int) advanced {
		if i < 20 {
			return advance(ctx, s, 0, 0)
		}
		return advance(ctx, s, i-20, int64(i%2))
	}) {
		switch {
		case a.err != nil:
			t.Error(a.err)
		case i < 21 && a.ok:
			moved++
		case i > 20 && a.ok != (i%2 == 0):
			t.Errorf("generation %d presented: %v", i%2, a.ok)
		}
	}
	if moved != 1 {
		t.Errorf("one generation was moved %d times", moved)
	}
}

// What goes wrong with one is the trouble of that one, even where SQLite takes the
// whole transaction back for it.
func TestNobodyFailsForANeighbour(t *testing.T) {
	for _, how := range []string{"ABORT", "ROLLBACK"} {
		s, url := advancers(t, 20)
		exec(t, raw(t, url), `CREATE TRIGGER t BEFORE UPDATE ON sessions WHEN NEW.id = 's7' BEGIN SELECT RAISE(`+how+`, 'no'); END`)
		for i, a := range meet(t, s, 20, func(i int) advanced { return advance(ctx, s, i, 0) }) {
			row, _, err := s.SessionByID(ctx, fmt.Sprint("s", i))
			if err != nil || a.ok != (row.Generation == 1) {
				t.Errorf("%s: s%d was told %v, and is at %d (%v)", how, i, a.ok, row.Generation, err)
			}
			switch {
			case i == 7 && (a.ok || broker.CodeOf(a.err) != broker.TemporarilyUnavailable):
				t.Errorf("%s: the one that cannot be written: %v %v", how, a.ok, a.err)
			case i != 7 && (a.err != nil || !a.ok):
				t.Errorf("%s: its neighbour s%d: %v %v", how, i, a.ok, a.err)
			}
		}
	}
}

// Who gives up while waiting is not written, and is no trouble to the others.
func TestWhoGivesUpLeavesTheGroup(t *testing.T) {
	s, _ := advancers(t, 4)
	release := held(t, s)
	impatient, leave := context.WithCancel(ctx)
	out := make([]advanced, 4)
	var all, left sync.WaitGroup
	left.Go(func() { out[0] = advance(impatient, s, 0, 0) })
	wait(t, func() bool { return s.Gathered() == 1 })
	for i := 1; i < 4; i++ {
		all.Go(func() { out[i] = advance(ctx, s, i, 0) })
	}
	wait(t, func() bool { return s.Gathered() == 4 })
	leave()
	left.Wait() // at once, though the writer is taken
	if n := s.Gathered(); n != 3 {
		t.Errorf("%d wait", n)
	}
	release()
	all.Wait()
	if broker.CodeOf(out[0].err) != broker.TemporarilyUnavailable || !errors.Is(out[0].err, context.Canceled) {
		t.Errorf("who gave up: %v", out[0].err)
	}
	for i, a := range out {
		row, _, err := s.SessionByID(ctx, fmt.Sprint("s", i))
		if err != nil || row.Generation != int64(min(i, 1)) || i > 0 && !a.ok {
			t.Errorf("s%d is at %d (%v, %v)", i, row.Generation, err, a.err)
		}
	}
}

// A panic on the way to the database is the trouble of those whom it meets.
func TestAPanicEndsNoProcess(t *testing.T) {
	_, url := advancers(t, 3)
	var broken atomic.Bool
	s, err := storage.Open(ctx, storage.Options{URL: url, Trace: func(string) {
		if broken.Load() {
			panic("no memory")
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, a := range meet(t, s, 3, func(i int) advanced {
		broken.Store(true)
		return advance(ctx, s, i, 0)
	}) {
		if broker.CodeOf(a.err) != broker.TemporarilyUnavailable || !strings.Contains(a.err.Error(), "no memory") {
			t.Errorf("%v", a.err)
		}
	}
	broken.Store(false)
	for i, a := range meet(t, s, 3, func(i int) advanced { return advance(ctx, s, i, 0) }) {
		if a.err != nil || !a.ok {
			t.Errorf("s%d after it: %v %v", i, a.ok, a.err)
		}
	}
}

// The log of SQLite is found beside the file that a link leads to.
func TestLogBytesThroughALink(t *testing.T) {
	_, url := advancers(t, 1)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(strings.TrimPrefix(url, "sqlite:"), link); err != nil {
		t.Fatal(err)
	}
	if n, there := open(t, "sqlite:"+link).LogBytes(); !there || n == 0 {
		t.Errorf("%d bytes, %v", n, there)
	}
}

// The law of rotation under a crowd that meets at the writer, beside transactions:
// a session has moved exactly as often as somebody was told so.
func TestACrowdAtTheWriterMovesWhatItIsTold(t *testing.T) {
	const sessions, callers, each = 5, 16, 60
	s, _ := advancers(t, sessions)
	var told [sessions]atomic.Int64
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for n := range each {
				i := (c + n) % sessions
				a := advance(ctx, s, i, told[i].Load())
				if a.err != nil {
					t.Error(a.err)
				}
				if a.ok {
					told[i].Add(1)
				}
				if n%20 == 0 {
					if err := s.Tx(ctx, func(tx broker.Store) error { return tx.NoteChange(ctx) }); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	for i := range sessions {
		row, _, err := s.SessionByID(ctx, fmt.Sprint("s", i))
		if err != nil || row.Generation != told[i].Load() || row.Generation < each/10 {
			t.Errorf("s%d is at %d, told %d times (%v)", i, row.Generation, told[i].Load(), err)
		}
	}
	if s.Gathered() != 0 {
		t.Error("somebody still waits")
	}
}

// waitsToWrite is how often somebody has had to wait for the writer.
func waitsToWrite(s *storage.Store) int64 {
	for _, p := range s.PoolStats() {
		if p.Name == "writer" {
			return p.Waits
		}
	}
	return -1
}

func useOnce(s *storage.Store, id string) error {
	_, err := s.UseOnce(ctx, id, newUser("anna").CreatedAt.AddDate(1, 0, 0))
	return err
}

// What counts once is written for strangers too, in part durably. No phone waits for
// all of those writes that came before.
func TestX03WritesOfStrangersHoldUpNoRefresh(t *testing.T) {
	const strangers = 200
	s, _ := advancers(t, 1)
	release, before := held(t, s), waitsToWrite(s)
	var all sync.WaitGroup
	var written atomic.Int64
	for i := range strangers {
		all.Go(func() {
			if err := useOnce(s, fmt.Sprint("proof ", i)); err != nil {
				t.Error(err)
			}
			written.Add(1)
		})
	}
	wait(t, func() bool { return waitsToWrite(s) == before+strangers })
	passed := make(chan int64, 1)
	all.Go(func() {
		if a := advance(ctx, s, 0, 0); a.err != nil || !a.ok {
			t.Errorf("%+v", a)
		}
		passed <- written.Load()
	})
	wait(t, func() bool { return s.Gathered() == 1 })
	release()
	if n := <-passed; n > strangers/10 {
		t.Errorf("a refresh waited for %d writes of strangers", n)
	}
	all.Wait()
}

// X03: whoever makes a key makes proofs. No disk waits for their records, on either
// database, while all else that counts once is durable.
func TestX03ProofsOfStrangersWaitForNoDisk(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, url string) {
		s, until := open(t, url), newUser("anna").CreatedAt.AddDate(1, 0, 0)
		if err := s.OnlyRelaxed(); err != nil {
			t.Fatal(err)
		}
		for i, want := range []bool{true, false} {
			if fresh, err := s.UseOnceRelaxed(ctx, "a proof", until); err != nil || fresh != want {
				t.Errorf("%d: %v, %v", i, fresh, err)
			}
		}
		if err := useOnce(s, "a form"); err == nil {
			t.Error("a form that was sent is known to no disk")
		}
	})
}

// Those who refresh all the time leave a turn to the others in between.
func TestAdvancesStarveNobody(t *testing.T) {
	const phones, writes = 16, 20
	s, _ := advancers(t, phones)
	var all sync.WaitGroup
	var over atomic.Bool
	var advances atomic.Int64
	for i := range phones {
		all.Go(func() {
			for n := int64(0); !over.Load(); n++ {
				if a := advance(ctx, s, i, n); a.err != nil || !a.ok {
					t.Errorf("%+v", a)
					return
				}
				advances.Add(1)
			}
		})
	}
	wait(t, func() bool { return advances.Load() > phones })
	for i := range writes {
		before := advances.Load()
		if err := useOnce(s, fmt.Sprint("proof ", i)); err != nil {
			t.Error(err)
		}
		if n := advances.Load() - before; n > 20*phones {
			t.Errorf("a write waited for %d advances", n)
		}
	}
	over.Store(true)
	all.Wait()
}

// A name of bytes that are no text, as another program may have written one, is shown
// mended and ends no session.
func TestNameThatIsNoText(t *testing.T) {
	s, url := advancers(t, 1)
	exec(t, raw(t, url), `UPDATE users SET display_name = CAST(x'41ff42' AS TEXT)`)
	if a := advance(ctx, s, 0, 0); a.err != nil || !a.ok || a.user.Name != "A\uFFFDB" {
		t.Errorf("%q, %v, %v", a.user.Name, a.ok, a.err)
	}
	if _, u, err := s.SessionByID(ctx, "s0"); err != nil || u.Name != "A\uFFFDB" {
		t.Errorf("%q, %v", u.Name, err)
	}
}
