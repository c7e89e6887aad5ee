package storage_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/broker"
	"github.com/latchkey-id/latchkey/storage"
	"github.com/latchkey-id/latchkey/test/harness"
	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/test/proc"
)

var five = broker.Quota{Max: 5, Window: 10 * time.Minute}

func limiter(t *testing.T, o storage.LimiterOptions) *storage.Limiter {
	t.Helper()
	l, err := storage.NewLimiter(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// count counts n, and returns how many of them were within the quota.
func count(t *testing.T, l *storage.Limiter, key string, n int) (within int) {
	t.Helper()
	for range n {
		s, err := l.Count(ctx, five, key)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Refused {
			within++
		}
	}
	return within
}

func exceeded(t *testing.T, l *storage.Limiter, key string) bool {
	t.Helper()
	s, err := l.Check(ctx, five, key)
	if err != nil {
		t.Fatal(err)
	}
	if s.Exceeded != (s.RetryAfter > 0) {
		t.Errorf("exceeded %v, and again after %v", s.Exceeded, s.RetryAfter)
	}
	return s.Exceeded
}

// onBothDatabases runs a test with the URL of an empty database.
func onBothDatabases(t *testing.T, f func(t *testing.T, url string)) {
	t.Run("SQLite", func(t *testing.T) { f(t, fileURL(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { f(t, pgtest.Shared(t).NewDatabase(t)) })
}

// Whoever fails at one replica has failed at all, and after a restart as well
// (R37).
func TestFailuresCountOverReplicasAndRestarts(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, url string) {
		clock := harness.NewClock()
		first, second := open(t, url), open(t, url)
		one := limiter(t, storage.LimiterOptions{Store: first, Now: clock.Now})
		two := limiter(t, storage.LimiterOptions{Store: second, Now: clock.Now})
		if got := count(t, one, "alice", 3) + count(t, two, "alice", 3); got != 5 {
			t.Errorf("%d of 6 were let through, want 5", got)
		}
		for _, s := range []*storage.Store{first, second} {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		again := limiter(t, storage.LimiterOptions{Store: open(t, url), Now: clock.Now})
		if !exceeded(t, again, "alice") || exceeded(t, again, "bob") {
			t.Error("the restart forgot alice's failures, or bob has some")
		}
		if s, err := again.Check(ctx, broker.Quota{Max: 6, Window: 10 * time.Minute}, "alice"); err != nil || s.Remaining > 1 {
			t.Errorf("another limit forgives alice: %+v, %v", s, err)
		}
		clock.Advance(2*time.Minute + time.Millisecond)
		if exceeded(t, again, "alice") || count(t, again, "alice", 2) != 1 {
			t.Error("after a fifth of the window there is not one attempt")
		}
		clock.Advance(10*time.Minute + time.Millisecond)
		if got := count(t, again, "alice", 6); got != 5 {
			t.Errorf("%d after the window, want 5", got)
		}
	})
}

// Of many guesses at once, at two replicas, as many count as one after the other.
func TestGuessesAtOnceAreAllCounted(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, url string) {
		clock, within := harness.NewClock(), make(chan int, 20)
		var all sync.WaitGroup
		for _, store := range []*storage.Store{open(t, url), open(t, url)} {
			l := limiter(t, storage.LimiterOptions{Store: store, Now: clock.Now})
			for range 10 {
				all.Go(func() { within <- count(t, l, "alice", 2) })
			}
		}
		all.Wait()
		close(within)
		sum := 0
		for n := range within {
			sum += n
		}
		if sum != 5 {
			t.Errorf("%d of 40 were let through, want 5", sum)
		}
	})
}

// Looking writes nothing, no name is in the table, and what strangers make up
// does not fill it.
func TestLimitRowsAreFewAndNameNobody(t *testing.T) {
	url := fileURL(t)
	store, clock := open(t, url), harness.NewClock()
	l := limiter(t, storage.LimiterOptions{Store: store, Now: clock.Now})
	for i := range 20 {
		exceeded(t, l, fmt.Sprint("account ", i))
	}
	rows := func() []string { return lines(t, raw(t, url), `SELECT id, value, expires_at FROM limits ORDER BY id`) }
	if got := rows(); len(got) != 0 {
		t.Errorf("looking wrote %v", got)
	}
	count(t, l, "the attacker", 5)
	for i := range 20 {
		count(t, l, fmt.Sprint("account ", strings.Repeat("hunter2", 100), i), 1)
	}
	got := rows()
	if len(got) != 21 || strings.Contains(strings.Join(got, ""), "hunter2") || len(got[0]) > 100 {
		t.Errorf("%d rows: %.300s", len(got), got)
	}
	if err := storage.TrimLimits(store, ctx, clock.Now(), 3); err != nil {
		t.Fatal(err)
	}
	if got := rows(); len(got) != 3 || !exceeded(t, l, "the attacker") {
		t.Errorf("%d rows, or the flood drove out who failed most", len(got))
	}
	clock.Advance(time.Hour)
	if _, err := store.Sweep(ctx, broker.Sweep{Now: clock.Now(), LoginsBefore: clock.Now(), Limit: 100}); err != nil {
		t.Fatal(err)
	}
	if got := rows(); len(got) != 0 {
		t.Errorf("not swept: %v", got)
	}
}

// What a process counts on its own asks the database nothing.
func TestOwnQuotasStayInTheProcess(t *testing.T) {
	asked := 0
	store, err := storage.Open(ctx, storage.Options{URL: "sqlite::memory:", Trace: func(string) { asked++ }})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	own := five
	own.Own = true
	l := limiter(t, storage.LimiterOptions{Store: store})
	asked = 0
	for i := range 6 {
		s, err := l.Count(ctx, own, "starts")
		if err != nil || s.Refused != (i == 5) {
			t.Errorf("%d: refused %v, %v", i, s.Refused, err)
		}
	}
	if asked != 0 {
		t.Errorf("%d statements", asked)
	}
}

// Whoever fails while a clock is a year ahead is shut out for a window when it is
// right again, and not for the year; and whoever was shut out gets no guess for it.
func TestClockThatWasAheadShutsNobodyOut(t *testing.T) {
	const year = 365 * 24 * time.Hour
	try := func(t *testing.T, store *storage.Store) {
		clock := harness.NewClock()
		l := limiter(t, storage.LimiterOptions{Store: store, Now: clock.Now})
		clock.Advance(year)
		count(t, l, "alice", 5)
		count(t, l, "bob", 1)
		clock.Advance(-year)
		if !exceeded(t, l, "alice") {
			t.Error("alice's guesses are forgotten")
		}
		if exceeded(t, l, "bob"); count(t, l, "bob", 1) != 0 {
			t.Error("what bob has left is not known, and he has something")
		}
		clock.Advance(2*time.Minute + time.Second)
		for _, name := range []string{"alice", "bob"} {
			if exceeded(t, l, name) || count(t, l, name, 2) != 1 {
				t.Errorf("%s has not one attempt after a fifth of the window", name)
			}
		}
		clock.Advance(10*time.Minute + time.Second)
		if got := count(t, l, "bob", 6); got != 5 {
			t.Errorf("bob has %d attempts after the window, want 5", got)
		}
	}
	t.Run("in a process", func(t *testing.T) { try(t, nil) })
	onBothDatabases(t, func(t *testing.T, url string) { try(t, open(t, url)) })
}

// Redis counts for all replicas. Where it is gone each goes on with what it saw
// itself: nobody is refused for that, and nobody has his guesses back.
func TestRedisCountsForAllAndMayFail(t *testing.T) {
	redis, clock, log := proc.NewRedis(t), harness.NewClock(), &harness.Log{}
	redis.Start()
	options := storage.LimiterOptions{
		Store: open(t, fileURL(t)), RedisURL: redis.URL(), Now: clock.Now, Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	one := limiter(t, options)
	options.Store = open(t, fileURL(t))
	two := limiter(t, options)
	if got := count(t, one, "alice", 3) + count(t, two, "alice", 3); got != 5 || !exceeded(t, one, "alice") {
		t.Errorf("%d of 6 were let through, want 5", got)
	}
	count(t, two, "mallory", 5)
	redis.Stop()
	if exceeded(t, two, "bob") || !exceeded(t, two, "mallory") || exceeded(t, one, "mallory") {
		t.Error("without Redis a process goes by what it counted itself")
	}
	if got := count(t, one, "carol", 8); got != 5 || !exceeded(t, one, "carol") {
		t.Errorf("without Redis %d of 8 were let through, want 5", got)
	}
	for range 20 {
		clock.Advance(time.Minute)
		exceeded(t, one, "dave")
		exceeded(t, two, "dave")
	}
	if n := strings.Count(log.String(), "event=limiter.alone"); n != 2 || strings.Contains(log.String(), "secret@") {
		t.Errorf("%d warnings of two processes, want 2:\n%s", n, log)
	}
	redis.Start()
	for i := range 500 {
		clock.Advance(time.Minute)
		erin := fmt.Sprint("erin", i)
		count(t, one, erin, 5)
		if exceeded(t, two, erin) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("Redis is back, and nobody went there:\n%s", log)
}

// A Redis that never was there keeps nobody out.
func TestNoRedisAtAll(t *testing.T) {
	l := limiter(t, storage.LimiterOptions{RedisURL: "unix://" + filepath.Join(t.TempDir(), "none.sock")})
	if got := count(t, l, "alice", 8); got != 5 || exceeded(t, l, "bob") {
		t.Errorf("%d of 8, want 5", got)
	}
}

func TestRedisURLs(t *testing.T) {
	for url, good := range map[string]bool{
		"redis://localhost:6379": true, "rediss://u:p@redis.example.org:6380/2": true, "unix:///run/redis.sock": true,
		"localhost:6379": false, "http://localhost": false, "redis://:topsecret@host:port": false,
		"redis://localhost?db=2": true, "unix:///run/redis.sock?db=2": true, "redis://localhost/2?db=3": false, "redis://localhost?skip_verify=1": false,
		"redis://[::1]": true, "redis://": false, "redis://:6379": false, "unix://": false, "redis://localhost/x": false, "redis://localhost/-1": false, "redis:localhost": false,
	} {
		err := storage.CheckRedisURL(url)
		if (err == nil) != good || err != nil && strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
