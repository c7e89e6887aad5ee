package storm

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-id/latchkey/test/pgtest"
	"github.com/latchkey-id/latchkey/test/proc"
)

// limited is what programs have in common that count four failures in an hour, so
// that none comes free while a test runs, and believe what a proxy says of addresses.
var limited = []string{"RATE_LIMIT_AUTH_MAX=4", "RATE_LIMIT_AUTH_WINDOW=3600000", "LATCHKEY_TRUSTED_PROXIES=127.0.0.1"}

const stranger = "198.51.100.9"

// over reports whether a limit refused.
func (r reply) over() bool {
	return r.status == http.StatusTooManyRequests && r.header.Get("Retry-After") != "" && r.code() == "rate_limited"
}

// guess spreads four wrong passwords over two programs, each from another address.
func guess(t *testing.T, a, b *process) {
	t.Helper()
	for i := range 4 {
		if r := attempt([]*process{a, b}[i%2], username, "wrong", fmt.Sprint("203.0.113.", i)); r.status != http.StatusUnauthorized {
			t.Fatalf("guess %d: %v", i, r)
		}
	}
}

// Wrong passwords at two programs are limited together, for an account and for an
// address. kill -9 of one of them forgives nobody, and nobody who is logged in
// notices anything.
func TestLimitsOutliveAProcess(t *testing.T) {
	t.Parallel()
	database := pgtest.Shared(t).NewDatabase(t)
	a, b := start(t, database, limited...), start(t, database, limited...)
	_, token := login(a)
	stays := func(p *process) {
		t.Helper()
		if r := attempt(p, username, password, stranger); !r.over() {
			t.Errorf("the right password, from a stranger's address: %v", r)
		}
		if r := attempt(p, "nobody", "wrong", "203.0.113.99"); !r.over() {
			t.Errorf("another guess of the address: %v", r)
		}
		r := refreshOnce(p, token)
		if _, next := r.tokens(); r.status == http.StatusOK {
			token = next
		} else {
			t.Errorf("a refresh: %v", r)
		}
	}
	guess(t, a, b)
	for i, p := range []*process{b, a, b, a} {
		if r := attempt(p, fmt.Sprint("nobody", i), "wrong", "203.0.113.99"); r.status != http.StatusUnauthorized {
			t.Errorf("guess %d of the address: %v", i, r)
		}
	}
	stays(a)
	stays(b)
	b.kill()
	stays(a)
	b.launch()
	b.waitFor("/readyz", http.StatusOK, 30*time.Second)
	stays(b)
	if r := tryLogin(b, password); r.status != http.StatusOK {
		t.Errorf("the owner, at an address that is known: %v", r)
	}
}

// Two programs count by Redis. Without it each goes on with what it saw itself: no
// login is refused for that, no guess is given back, and who is logged in notices
// nothing. Once it is there again they count together.
func TestProgramsCountByRedis(t *testing.T) {
	t.Parallel()
	database, redis := pgtest.Shared(t).NewDatabase(t), proc.NewRedis(t)
	redis.Address = freeAddress(t) // which no other connection takes while Redis is dead
	redis.Start()
	settings := append([]string{"LATCHKEY_REDIS_URL=" + redis.URL()}, limited...)
	a, b := start(t, database, settings...), start(t, database, settings...)
	_, token := login(a)
	refreshed := func() {
		t.Helper()
		for _, p := range []*process{a, b} {
			r := refreshOnce(p, token)
			if _, token = r.tokens(); r.status != http.StatusOK {
				t.Fatalf("a refresh: %v", r)
			}
		}
	}
	guess(t, a, b)
	for _, p := range []*process{a, b} {
		if r := attempt(p, username, password, stranger); !r.over() {
			t.Errorf("after four guesses at two programs: %v", r)
		}
	}
	if n := number(t, openDB(t, database), `SELECT COUNT(*) FROM limits`); n != 0 {
		t.Errorf("the database counts: %d rows", n)
	}

	redis.Stop()
	for i, want := range []int{http.StatusUnauthorized, http.StatusUnauthorized, http.StatusTooManyRequests} {
		if r := attempt(a, username, "wrong", fmt.Sprint("203.0.113.1", i)); r.status != want {
			t.Errorf("guess %d at a program that saw two: %v, want %d", i, r, want)
		}
	}
	if r := attempt(b, username, password, stranger); r.status != http.StatusOK {
		t.Errorf("a login without Redis: %v", r)
	}
	refreshed()

	redis.Start()
	for _, p := range []*process{a, b} {
		p.now.Until(t, "it counts by Redis again", func() bool {
			if r := tryLogin(p, password); r.status != http.StatusOK {
				t.Fatalf("a login: %v", r)
			}
			return strings.Contains(p.output(), `"limiter.shared"`)
		})
		if n := strings.Count(p.output(), `"limiter.alone"`); n != 1 {
			t.Errorf("it says %d times that Redis is away", n)
		}
		if strings.Contains(p.output(), redis.URL()) {
			t.Error("the log has the password of Redis")
		}
	}
	for i, p := range []*process{a, b, a, b} {
		if r := attempt(p, fmt.Sprint("nobody", i), "wrong", "203.0.113.99"); r.status != http.StatusUnauthorized {
			t.Errorf("guess %d: %v", i, r)
		}
	}
	if r := attempt(a, "nobody", "wrong", "203.0.113.99"); !r.over() {
		t.Errorf("after four guesses at two programs: %v", r)
	}
	refreshed()
}
